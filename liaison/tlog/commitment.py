"""Commitments to the fields of an entry, and the openings that show what was committed to.

A commitment is SHA-256 over a key of 32 bytes, the field's name and its value. Whoever has no key
learns nothing from it, not even by trying values; whoever is shown one opening learns nothing of
the others. An entry holds one hash over the commitments of all its fields, and the keys of all of
them come from one secret, which is kept apart from the log and can be deleted: then nobody can
tell any more what the entry said, and the tree still verifies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple, TypeAlias

from liaison.tlog.errors import EntryError
from liaison.tlog.merkle import HASH_BYTES
from liaison.tlog.text import from_base64

KEY_BYTES: Final = 32
MAX_VALUE_BYTES: Final = 512 * 1024
"""Room for the names of all devices that one commit can add."""
MAX_NUMBER: Final = 2**53 - 1
"""Every JSON reader keeps it exact."""

_FIELDS: Final = b"liaison log fields v1\0"
_KEYS: Final = b"liaison log keys v1\0"

Value: TypeAlias = "str | int | tuple[str, ...] | None"
"""What a field can say; None for nothing, so that the entry does not show that it is absent."""


class Opening(NamedTuple):
    """What shows the value of one field.

    Args:
        key: 32 bytes, used for this field only.
        value: of the field.
    """

    key: bytes
    value: Value

    def __repr__(self) -> str:
        # Whoever holds the key can show the value to anyone.
        return f"<Opening of {len(self.key)} bytes>"


def field_keys(secret: bytes, count: int) -> list[bytes]:
    """Return the keys of an entry's fields, in the order of their names, 32 bytes each.

    One step gives them all, and one of them says nothing of another or of the secret.

    Args:
        secret: of the entry, 32 fresh random bytes.
        count: how many fields its type has.
    """
    keys = derive_keys(secret, count)
    return [keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)]


def derive_keys(secret: bytes, count: int) -> bytes:
    """Return `field_keys` in one piece."""
    return hashlib.shake_256(_KEYS + secret).digest(KEY_BYTES * count)


def commit(key: bytes, name: str, value: Value) -> bytes:
    """Return the commitment to a field, 32 bytes.

    Args:
        key: 32 bytes, from `field_keys`.
        name: of the field, at most 255 bytes.
        value: of the field.

    Raises:
        EntryError: a value that has no form here, or too long a one.
    """
    # The key has one length and the name tells its own, so no two fields hash the same bytes.
    return hashlib.sha256(key + label(name) + encode_value(value)).digest()


def hash_fields(commitments: Iterable[bytes]) -> bytes:
    """Return what an entry holds of its fields, 32 bytes.

    Args:
        commitments: of all fields of its type, in the order of their names.
    """
    return hashlib.sha256(_FIELDS + b"".join(commitments)).digest()


# The names of fields are few, and each message has a dozen of them.
@lru_cache(maxsize=256)
def label(name: str) -> bytes:
    """Return a field's name as it is hashed: after its length in one byte."""
    data = name.encode()
    return len(data).to_bytes(1) + data


# --- values ---------------------------------------------------------------------------------------


def encode_value(value: Value) -> bytes:
    """Return the one encoding of a value: canonical JSON (RFC 8785).

    Raises:
        EntryError: a number out of range, half a character, or too long.
    """
    try:
        # Most are texts, for which the encoder's own first step is all there is to do.
        if isinstance(value, str):
            data = encode_basestring(value).encode()
        elif isinstance(value, tuple):
            data = f"[{','.join(map(encode_basestring, value))}]".encode()
        elif value is None:
            data = b"null"
        elif isinstance(value, bool) or abs(value) > MAX_NUMBER:
            raise EntryError("a number in an entry is whole and fits 53 bits")
        else:
            data = b"%d" % value
    except UnicodeEncodeError as error:
        raise EntryError("a text in an entry is Unicode") from error
    if len(data) > MAX_VALUE_BYTES:
        raise EntryError(f"a field of an entry has at most {MAX_VALUE_BYTES} bytes")
    return data


def decode_value(value: object) -> Value:
    """Take a value out of JSON.

    Raises:
        EntryError: it is of no kind that a field can have.
    """
    if isinstance(value, bool):
        raise EntryError("a field is a text, a number, or a list of texts")
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, list) and all(isinstance(member, str) for member in value):
        return tuple(value)
    raise EntryError("a field is a text, a number, or a list of texts")


def read_opening(body: object) -> Opening:
    """Take an opening out of JSON. Nothing is verified.

    Raises:
        ValueError: not an opening.
        EntryError: its value is none that a field can have.
    """
    if not isinstance(body, dict) or body.keys() != {"key", "value"}:
        raise ValueError("an opening has a key and a value")
    opening = Opening(read_key(body["key"]), decode_value(body["value"]))
    encode_value(opening.value)
    return opening


def read_key(text: object) -> bytes:
    """Take a key or a secret out of JSON.

    Raises:
        ValueError: not 32 bytes in base64.
    """
    key = from_base64(text) if isinstance(text, str) else b""
    if len(key) != KEY_BYTES:
        raise ValueError("a key has 32 bytes")
    return key


# --- canonical JSON -------------------------------------------------------------------------------


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def dump(value: object) -> bytes:
    """Write canonical JSON of texts, whole numbers, lists and objects with ASCII names.

    For these the standard library's writer gives RFC 8785's form, ten times as fast as others.

    Raises:
        UnicodeEncodeError: half a character.
    """
    return _ENCODER.encode(value).encode()


def load(data: bytes) -> dict[str, Any]:
    """Read an object in canonical JSON.

    Raises:
        ValueError: not JSON, not canonical, or not an object.
    """
    try:
        loaded = json.loads(data.decode())
        canonical = dump(loaded) == data
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    # What is written back alike has no field twice and one spelling for each value.
    if not canonical or not isinstance(loaded, dict):
        raise ValueError("not an object in canonical JSON")
    return loaded


def decode_hash(text: object) -> bytes:
    """Take a commitment or digest out of JSON.

    Raises:
        ValueError: not 32 bytes in base64.
    """
    data = from_base64(text) if isinstance(text, str) else b""
    if len(data) != HASH_BYTES:
        raise ValueError("a digest has 32 bytes")
    return data
