"""Sealing and writing an entry in one step, for a log that has one for each message.

It gives the bytes that `entries.seal` and `Entry.encode` give, with the same checks, in two thirds of
the time: no value is made in between. A test compares the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from itertools import product
from json.encoder import encode_basestring
from typing import Final

from liaison.tlog import commitment, disclosure, merkle
from liaison.tlog.commitment import KEY_BYTES, MAX_NUMBER, MAX_VALUE_BYTES, Value
from liaison.tlog.entries import (
    MAX_TIME,
    PSEUDONYM_BYTES,
    VERSION,
    PolicyRef,
)
from liaison.tlog.errors import EntryError
from liaison.tlog.fields import SCHEMAS, EntryType, Schema
from liaison.tlog.text import to_base64

_MAX_VERSION: Final = 2**32 - 1
_ORDER: Final = ("channel", "epoch", "period", "policy", "seq", "size")


class _Plan:
    """What sealing an entry of one type takes, made ready."""

    def __init__(self, type_: EntryType, schema: Schema) -> None:
        self.names = frozenset(schema.sealed)
        self.tail = f'"type":"{type_.value}","v":{VERSION}}}'
        self.count = len(schema.sealed)
        # By field: its name and the kind of its values; what stands before the value where it is
        # hashed, and all of that where it is absent; what stands before it in JSON.
        self.fields = [
            (
                name,
                disclosure.KINDS[kind],
                commitment.label(name),
                commitment.label(name) + b"null",
                f'"{name}":'.encode(),
            )
            for name, kind in schema.sealed.items()
        ]
        # Where the fields' keys begin and end.
        self.keys = [(KEY_BYTES * at, KEY_BYTES * (at + 1)) for at in range(self.count)]
        # What may stand in the open: for each name whether it is there.
        self.shapes = {
            shape
            for shape in product((False, True), repeat=len(_ORDER))
            if schema.required <= {n for n, there in zip(_ORDER, shape, strict=True) if there}
            and {n for n, there in zip(_ORDER, shape, strict=True) if there} <= schema.shown
        }

    def encode(self, fields: Mapping[str, Value]) -> tuple[list[bytes], bytes]:
        """Return what is hashed of each field after its key, and all of them in JSON.

        Raises:
            EntryError: fields that the type has not, or values that they can't have.
        """
        if not fields.keys() <= self.names:
            raise EntryError("an entry of this type has other fields")
        hashed, parts = [], []
        for name, kind, label, nothing, prefix in self.fields:
            value = fields.get(name)
            if value is None:
                hashed.append(nothing)
                continue
            encoded = _value(name, kind, value)
            hashed.append(label + encoded)
            parts.append(prefix + encoded)
        return hashed, b"{" + b",".join(parts) + b"}"


_PLANS: Final = {type_: _Plan(type_, schema) for type_, schema in SCHEMAS.items()}


class Form:
    """Fields of entries that differ in few of them: what they have in common, made ready once.

    A log has an entry for each message, and those of one sender have nearly all in common.

    Args:
        type_: of the entries.
        fields: of one of them.
        varying: names of those that differ: each of them has a value in every entry.

    Raises:
        EntryError: fields that the type has not, values that they can't have, or none where one
            has to be.
    """

    __slots__ = ("_hashed", "_parts", "_varying", "type")

    def __init__(
        self, type_: EntryType, fields: Mapping[str, Value], varying: Collection[str]
    ) -> None:
        plan = _PLANS[type_]
        if any(fields.get(name) is None for name in varying):
            raise EntryError("a field that differs from entry to entry has a value in each")
        _check_lengths(fields)
        self.type = type_
        self._hashed, _ = plan.encode(fields)
        # In JSON: what stands between the values that differ.
        self._parts: list[bytes] = []
        # By field that differs: its name and kind; what stands before its value where it is hashed;
        # its places among what is hashed, and in JSON.
        self._varying: list[tuple[str, type, bytes, int, int]] = []
        between = b"{"
        for at, (name, kind, label, _, prefix) in enumerate(plan.fields):
            value = fields.get(name)
            if value is None:
                continue
            between += prefix if between == b"{" else b"," + prefix
            if name in varying:
                self._varying.append((name, kind, label, at, len(self._parts) + 1))
                self._parts += (between, b"")
                between = b""
            else:
                between += _value(name, kind, value)
        self._parts.append(between + b"}")

    def encode(self, fields: Mapping[str, Value]) -> tuple[list[bytes], bytes]:
        """Return what `_Plan.encode` does for all fields.

        Args:
            fields: those that differ, and no others.
        """
        if len(fields) != len(self._varying):
            raise EntryError("an entry of this form has other fields that differ")
        hashed, parts = self._hashed.copy(), self._parts.copy()
        for name, kind, label, at, place in self._varying:
            encoded = parts[place] = _value(name, kind, fields.get(name))
            hashed[at] = label + encoded
        return hashed, b"".join(parts)


def _value(name: str, kind: type, value: Value) -> bytes:
    if not isinstance(value, kind):
        raise EntryError(f"a field {name} of an entry can't say this")
    try:
        if kind is str:
            # What `encode_value` does but for the length, which is looked at for all at once.
            return encode_basestring(value).encode()  # type: ignore[arg-type] # of that kind
        return commitment.encode_value(value)
    except UnicodeEncodeError as error:
        raise EntryError("a text in an entry is Unicode") from error


def write(  # noqa: PLR0913 - one step after the other, without calls that cost
    type_: EntryType,
    time: int,
    fields: Mapping[str, Value],
    rng: Callable[[int], bytes],
    *,
    form: Form | None = None,
    channel: bytes | None = None,
    seq: int | None = None,
    epoch: int | None = None,
    policy: PolicyRef | None = None,
    size: int | None = None,
    period: int | None = None,
) -> tuple[bytes, bytes]:
    """Make an entry's bytes, and those of what shows its fields; see `entries.seal`.

    Args:
        form: where it is given, `fields` are those alone that differ from it.

    Raises:
        EntryError: fields that the type has not, or values that they can't have.
    """
    plan = _PLANS[type_]
    shape = (
        channel is not None,
        epoch is not None,
        period is not None,
        policy is not None,
        seq is not None,
        size is not None,
    )
    if shape not in plan.shapes or (form is not None and form.type is not type_):
        raise EntryError(f"an entry of type {type_} has other fields")
    hashed, opening = (plan if form is None else form).encode(fields)
    secret, new = rng(KEY_BYTES), hashlib.sha256
    keys = commitment.derive_keys(secret, plan.count)
    made = [
        new(keys[first:last] + each).digest()
        for (first, last), each in zip(plan.keys, hashed, strict=True)
    ]
    sealed = secret + opening
    if len(sealed) > MAX_VALUE_BYTES:
        # Seldom: each of the texts is well below, or all of them together would not be.
        _check_lengths(fields)
    words = []
    if channel is not None:
        if len(channel) != PSEUDONYM_BYTES:
            raise EntryError(f"a channel's pseudonym has {PSEUDONYM_BYTES} bytes")
        words.append(f'{{"channel":"{channel.hex()}"')
    if epoch is not None:
        words.append(f'"epoch":{_number(epoch)}')
    words.append(f'"fields":"{to_base64(commitment.hash_fields(made))}"')
    if period is not None:
        words.append(f'"period":{_number(period)}')
    if policy is not None:
        words.append(_policy(policy.version, policy.digest))
    if seq is not None:
        words.append(f'"seq":{_number(seq, 1)}')
    if size is not None:
        words.append(f'"size":{_number(size)}')
    words.append(f'"time":{_number(time, most=MAX_TIME)}')
    words.append(plan.tail)
    entry = ",".join(words).encode()
    return (entry if channel is not None else b"{" + entry), sealed


def _check_lengths(fields: Mapping[str, Value]) -> None:
    for value in fields.values():
        commitment.encode_value(value)


def _number(value: int, least: int = 0, most: int = MAX_NUMBER) -> int:
    if type(value) is not int or not least <= value <= most:
        raise EntryError(f"a number of an entry is not between {least} and {most}")
    return value


@lru_cache(maxsize=256)
def _policy(version: int, digest: bytes) -> str:
    _number(version, 1, _MAX_VERSION)
    if len(digest) != merkle.HASH_BYTES:
        raise EntryError("the digest of an agreement has 32 bytes")
    return f'"policy":{{"digest":"{to_base64(digest)}","version":{version}}}'
