"""Commitments to the fields of an entry, and the openings that show what was committed to.

A commitment is SHA-256 over a fresh 32-byte key, the field's name and its value. Whoever has no
key learns nothing from it, not even by trying values; whoever is shown one opening learns nothing
of the others. Openings are kept apart from the log and can be deleted: then nobody can tell any
more what the entry said, and the tree still verifies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple, TypeAlias

from liaison.tlog.errors import EntryError, OpeningError, OpeningFormatError
from liaison.tlog.merkle import HASH_BYTES
from liaison.tlog.text import from_base64, to_base64

KEY_BYTES: Final = 32
MAX_VALUE_BYTES: Final = 512 * 1024
"""Room for the names of all devices that one commit can add."""
MAX_OPENINGS_BYTES: Final = 2 * 1024 * 1024
MAX_NUMBER: Final = 2**53 - 1
"""Every JSON reader keeps it exact."""

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


Openings: TypeAlias = Mapping[str, Opening]


def commit(key: bytes, name: str, value: Value) -> bytes:
    """Return the commitment to a field, 32 bytes.

    Args:
        key: 32 fresh random bytes.
        name: of the field, at most 255 bytes.
        value: of the field.

    Raises:
        EntryError: a value that has no form here, or too long a one.
    """
    # The key has one length and the name tells its own, so no two fields hash the same bytes.
    return hashlib.sha256(key + _label(name) + encode_value(value)).digest()


def seal(
    fields: Mapping[str, Value], rng: Callable[[int], bytes]
) -> tuple[dict[str, bytes], dict[str, Opening]]:
    """Commit to fields, each with a key of its own.

    Args:
        fields: by name.
        rng: gives random bytes.

    Returns:
        The commitments and the openings.

    Raises:
        EntryError: a value that has no form here, or too long a one.
    """
    keys, at = rng(KEY_BYTES * len(fields)), 0
    commitments, openings = {}, {}
    for name, value in fields.items():
        key = keys[at : at + KEY_BYTES]
        encoded = b"null" if value is None else encode_value(value)
        commitments[name] = hashlib.sha256(key + _label(name) + encoded).digest()
        openings[name] = Opening(key, value)
        at += KEY_BYTES
    return commitments, openings


def verify(commitments: Mapping[str, bytes], name: str, opening: Opening) -> Value:
    """Check an opening against an entry's commitments, and return the value.

    Raises:
        OpeningError: the entry has no such field, or the opening is of something else.
    """
    commitment = commitments.get(name)
    if commitment is None:
        raise OpeningError(f"the entry has no field {name[:80]!r}")
    try:
        computed = commit(opening.key, name, opening.value)
    except EntryError as error:
        raise OpeningError(f"no value of a field: {error.message}") from error
    if len(opening.key) != KEY_BYTES or computed != commitment:
        raise OpeningError(f"the opening of {name} does not fit the entry")
    return opening.value


# The names of fields are few, and each message has a dozen of them.
@lru_cache(maxsize=256)
def _label(name: str) -> bytes:
    label = name.encode()
    return len(label).to_bytes(1) + label


# --- values ---------------------------------------------------------------------------------------


def encode_value(value: Value) -> bytes:
    """Return the one encoding of a value: canonical JSON (RFC 8785).

    Raises:
        EntryError: a number out of range, half a character, or too long.
    """
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) > MAX_NUMBER):
        raise EntryError("a number in an entry is whole and fits 53 bits")
    try:
        # Most are texts, for which the encoder's own first step is all there is to do.
        data = encode_basestring(value).encode() if isinstance(value, str) else dump(value)
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


def encode_openings(openings: Openings) -> bytes:
    """Write openings, from `seal` or `decode_openings`, as they are stored: canonical JSON."""
    return dump({n: {"key": to_base64(o.key), "value": o.value} for n, o in openings.items()})


def decode_openings(data: bytes) -> dict[str, Opening]:
    """Read openings. Nothing is verified.

    Raises:
        OpeningFormatError: not openings.
    """
    if len(data) > MAX_OPENINGS_BYTES:
        raise OpeningFormatError(
            f"the openings of an entry have at most {MAX_OPENINGS_BYTES} bytes"
        )
    try:
        return {name: _opening(body) for name, body in load(data).items()}
    except (ValueError, KeyError, TypeError, AttributeError, EntryError) as error:
        raise OpeningFormatError(f"not the openings of an entry: {error}") from error


def _opening(body: dict[str, Any]) -> Opening:
    if body.keys() != {"key", "value"}:
        raise ValueError("an opening has a key and a value")
    opening = Opening(from_base64(body["key"]), decode_value(body["value"]))
    if len(opening.key) != KEY_BYTES:
        raise ValueError("the key of an opening has 32 bytes")
    encode_value(opening.value)
    return opening


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
