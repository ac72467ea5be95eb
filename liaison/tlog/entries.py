"""Entries: what the log says, as small canonical JSON.

An entry is bytes first: the log's leaf is the hash of exactly these, so `decode` takes only what
`encode` would have written. Times are Unix milliseconds by the relay's clock.
"""

from __future__ import annotations

import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from liaison.model import ChannelId, Epoch, Seq
from liaison.tlog import commitment, disclosure, merkle
from liaison.tlog.commitment import KEY_BYTES, MAX_NUMBER, Value
from liaison.tlog.disclosure import Disclosure, Sealed
from liaison.tlog.errors import EntryError, EntryTooLargeError
from liaison.tlog.fields import OPEN, SCHEMAS, SEQUENCED, EntryType
from liaison.tlog.text import to_base64
from liaison.values import dataclass

VERSION: Final = 2
MAX_ENTRY_BYTES: Final = 16 * 1024
"""Of ours; the field's formats have room for 64 KiB less one byte."""
PSEUDONYM_BYTES: Final = 16
MAX_TIME: Final = 253402300799999  # 9999-12-31T23:59:59.999Z

_PSEUDONYM: Final = b"liaison log channel v1"


def _subsets(names: Iterable[str]) -> Iterator[set[str]]:
    some = sorted(names)
    for chosen in range(1 << len(some)):
        yield {name for bit, name in enumerate(some) if chosen >> bit & 1}


_PLANS: Final = {
    type_: [
        (name, commitment.label(name), f'"{name}":'.encode(), disclosure.KINDS[kind])
        for name, kind in schema.sealed.items()
    ]
    for type_, schema in SCHEMAS.items()
}


_SHOWN: Final = {
    type_: frozenset(
        sum(1 << bit for bit, name in enumerate(sorted(OPEN)) if name in names)
        for names in map(schema.required.union, _subsets(schema.shown - schema.required))
    )
    for type_, schema in SCHEMAS.items()
}
"""Which fields an entry of a type may show, a bit for each in the order of their names."""


def pseudonym(origin: str, channel: ChannelId) -> bytes:
    """Return the name under which a channel stands in a log, 16 bytes.

    Whoever knows the channel's id can compute it, so nobody can be shown one channel under two
    names; the id is random and known to the channel's members and the relay only, so nobody else
    can tell which channel it is, or that it is one in another log.

    Args:
        origin: of the log.
        channel: which channel.
    """
    log = origin.encode()
    data = _PSEUDONYM + b"\0" + len(log).to_bytes(2) + log + channel.value
    return hashlib.sha256(data).digest()[:PSEUDONYM_BYTES]


def size_bucket(size: int) -> int:
    """Return the power of two that a size in bytes is told as: at least 256, never less than it."""
    return max(256, 1 << (size - 1).bit_length())


@dataclass(frozen=True, slots=True)
class PolicyRef:
    """The version of the agreement that something was decided under.

    Args:
        version: 1 or more.
        digest: 32 bytes, of the agreement's payload.
    """

    version: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry.

    Args:
        type: what it records.
        time: Unix milliseconds.
        fields: what is committed to, 32 bytes, from `commitment.hash_fields`.
        channel: the channel's pseudonym, 16 bytes.
        seq: the item's place in the channel.
        epoch: of the group when the item was made; for a commit, the epoch that it ends.
        policy: the version of the agreement.
        size: in bytes, from `size_bucket`.
        period: counts the periods of a relay's root log.
    """

    type: EntryType
    time: int
    fields: bytes
    channel: bytes | None = None
    seq: Seq | None = None
    epoch: Epoch | None = None
    policy: PolicyRef | None = None
    size: int | None = None
    period: int | None = None

    def __post_init__(self) -> None:
        """Check that the entry has the fields of its type, and no others.

        Raises:
            EntryError: it does not, or a value is out of bounds.
        """
        channel, policy = self.channel, self.policy
        shown = (
            (channel is not None)
            | (self.epoch is not None) << 1
            | (self.period is not None) << 2
            | (policy is not None) << 3
            | (self.seq is not None) << 4
            | (self.size is not None) << 5
        )
        if shown not in _SHOWN[self.type]:
            raise EntryError(f"an entry of type {self.type} has other fields in the open")
        if len(self.fields) != merkle.HASH_BYTES:
            raise EntryError("what an entry commits to has 32 bytes")
        if channel is not None and len(channel) != PSEUDONYM_BYTES:
            raise EntryError(f"a channel's pseudonym has {PSEUDONYM_BYTES} bytes")
        _number(self.time, MAX_TIME)
        if self.seq is not None:
            _number(self.seq, MAX_NUMBER, least=1)
        for number in (self.epoch, self.size, self.period):
            if number is not None:
                _number(number, MAX_NUMBER)
        if policy is not None:
            _number(policy.version, 2**32 - 1, least=1)
            if len(policy.digest) != merkle.HASH_BYTES:
                raise EntryError("the digest of an agreement has 32 bytes")

    @property
    def is_sequenced(self) -> bool:
        """Whether the entry takes a place in its channel."""
        return self.type in SEQUENCED

    def encode(self) -> bytes:
        """Return the entry's bytes.

        Raises:
            EntryTooLargeError: more than `MAX_ENTRY_BYTES`.
        """
        # Written by hand, in the order of the names: a log has an entry for each message, and this
        # takes a third of the encoder's time. No text in it needs an escape.
        parts = []
        if self.channel is not None:
            parts.append(f'"channel":"{self.channel.hex()}"')
        if self.epoch is not None:
            parts.append(f'"epoch":{self.epoch}')
        parts.append(f'"fields":"{to_base64(self.fields)}"')
        if self.period is not None:
            parts.append(f'"period":{self.period}')
        if self.policy is not None:
            digest, version = to_base64(self.policy.digest), self.policy.version
            parts.append(f'"policy":{{"digest":"{digest}","version":{version}}}')
        if self.seq is not None:
            parts.append(f'"seq":{self.seq}')
        if self.size is not None:
            parts.append(f'"size":{self.size}')
        parts.append(f'"time":{self.time},"type":"{self.type.value}","v":{VERSION}')
        data = f"{{{','.join(parts)}}}".encode()
        if len(data) > MAX_ENTRY_BYTES:
            raise EntryTooLargeError(f"an entry has at most {MAX_ENTRY_BYTES} bytes")
        return data

    @classmethod
    def decode(cls, data: bytes) -> Entry:
        """Read an entry.

        Raises:
            EntryTooLargeError: more than `MAX_ENTRY_BYTES`.
            EntryError: anything else that `encode` would not have written.
        """
        if len(data) > MAX_ENTRY_BYTES:
            raise EntryTooLargeError(f"an entry has at most {MAX_ENTRY_BYTES} bytes")
        try:
            entry = _entry(json.loads(data.decode()))
        except EntryError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise EntryError(f"not an entry of the log: {error}") from error
        # Whatever is not in its one form, stands twice or was not read is not written back alike.
        if entry.encode() != data:
            raise EntryError("an entry of the log has one form, and this is another")
        return entry

    def open(self, shown: Disclosure | Sealed) -> dict[str, Value]:
        """Check what is shown of the entry's fields, and return their values by name.

        Raises:
            OpeningError: it is of something else, or the relay committed to a value that such a
                field can't have.
        """
        return disclosure.verify(self.type, self.fields, shown)


def seal(
    type_: EntryType,
    time: int,
    fields: Mapping[str, Value],
    rng: Callable[[int], bytes],
    **shown: Any,
) -> tuple[Entry, Sealed]:
    """Make an entry, and what shows the fields that it commits to.

    Args:
        type_: what it records.
        time: Unix milliseconds.
        fields: what is committed to; those left out are committed to as None.
        rng: gives random bytes; asked once, for 32.
        shown: what stands in the open: `channel`, `seq`, `epoch`, `policy`, `size`, `period`.

    Raises:
        EntryError: fields that the type has not, or values that they can't have.
    """
    plan = _PLANS[type_]
    if not fields.keys() <= SCHEMAS[type_].sealed.keys():
        raise EntryError(f"an entry of type {type_} has other fields")
    secret, new = rng(KEY_BYTES), hashlib.sha256
    made, parts, values = [], [], {}
    # The steps of `commitment` by hand: a message has a dozen fields, and a relay many messages.
    keys = commitment.field_keys(secret, len(plan))
    for (name, label, prefix, kind), key in zip(plan, keys, strict=True):
        value = fields.get(name)
        if value is None:
            made.append(new(key + label + b"null").digest())
            continue
        if not isinstance(value, kind):
            raise EntryError(f"a field {name} of an entry can't say this")
        encoded = commitment.encode_value(value)
        made.append(new(key + label + encoded).digest())
        parts.append(prefix + encoded)
        values[name] = value
    entry = Entry(type_, time, commitment.hash_fields(made), **shown)
    return entry, Sealed(secret, values, b"{" + b",".join(parts) + b"}")


def _entry(body: dict[str, Any]) -> Entry:
    """Read what `encode` will have to write back alike; what it does not look at is not checked."""
    channel, policy = body.get("channel"), body.get("policy")
    return Entry(
        EntryType(body["type"]),
        body["time"],
        binascii.a2b_base64(body["fields"]),
        channel=None if channel is None else bytes.fromhex(channel),
        seq=body.get("seq"),
        epoch=body.get("epoch"),
        policy=None if policy is None else _policy(policy["version"], policy["digest"]),
        size=body.get("size"),
        period=body.get("period"),
    )


# Thousands of entries are of one version of the agreement. Typed: 1, 1.0 and true are equal to
# Python, and what one of them left must not be found by another.
@lru_cache(maxsize=64, typed=True)
def _policy(version: int, digest: str) -> PolicyRef:
    return PolicyRef(version, binascii.a2b_base64(digest))


def _number(value: object, most: int, *, least: int = 0) -> None:
    if type(value) is not int or not least <= value <= most:
        raise EntryError(f"a number of an entry is not between {least} and {most}")
