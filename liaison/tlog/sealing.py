"""Sealing and writing an entry in one step, for a log that has one for each message.

It gives the bytes that `entries.seal` and `Entry.encode` give, with the same checks, in two thirds of
the time: no value is made in between. A test compares the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
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
        # hashed, without and with an absent one; what stands before it in JSON; where its key is.
        self.fields = [
            (
                name,
                disclosure.KINDS[kind],
                commitment.label(name),
                commitment.label(name) + b"null",
                f'"{name}":'.encode(),
                KEY_BYTES * at,
                KEY_BYTES * (at + 1),
            )
            for at, (name, kind) in enumerate(schema.sealed.items())
        ]
        # What may stand in the open: for each name whether it is there.
        self.shapes = {
            shape
            for shape in product((False, True), repeat=len(_ORDER))
            if schema.required <= {n for n, there in zip(_ORDER, shape, strict=True) if there}
            and {n for n, there in zip(_ORDER, shape, strict=True) if there} <= schema.shown
        }


_PLANS: Final = {type_: _Plan(type_, schema) for type_, schema in SCHEMAS.items()}


def write(  # noqa: C901, PLR0912, PLR0913 - one step after the other, without calls that cost
    type_: EntryType,
    time: int,
    fields: Mapping[str, Value],
    rng: Callable[[int], bytes],
    *,
    channel: bytes | None = None,
    seq: int | None = None,
    epoch: int | None = None,
    policy: PolicyRef | None = None,
    size: int | None = None,
    period: int | None = None,
) -> tuple[bytes, bytes]:
    """Make an entry's bytes, and those of what shows its fields; see `entries.seal`.

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
    if shape not in plan.shapes or not fields.keys() <= plan.names:
        raise EntryError(f"an entry of type {type_} has other fields")
    secret, new = rng(KEY_BYTES), hashlib.sha256
    keys = commitment.derive_keys(secret, plan.count)
    made, parts = [], []
    try:
        for name, kind, label, nothing, prefix, first, last in plan.fields:
            value = fields.get(name)
            if value is None:
                made.append(new(keys[first:last] + nothing).digest())
                continue
            if not isinstance(value, kind):
                raise EntryError(f"a field {name} of an entry can't say this")
            if kind is str:
                encoded = encode_basestring(value).encode()  # type: ignore[arg-type] # of that kind
            elif value == ():
                encoded = b"[]"
            else:
                encoded = commitment.encode_value(value)
            made.append(new(keys[first:last] + label + encoded).digest())
            parts.append(prefix + encoded)
    except UnicodeEncodeError as error:
        raise EntryError("a text in an entry is Unicode") from error
    sealed = secret + b"{" + b",".join(parts) + b"}"
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
