"""The message header: MLS `authenticated_data` of application messages.

The relay reads it to decide and to order; AEAD and the sender's signature bind
it to the content. A deterministic CBOR map with small integer keys; a header
that is not byte for byte what this module would write is refused. Whoever sent
it is not in it: the sender is the MLS leaf. Times are Unix seconds.

docs/protocol/envelope.md has the table of keys.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import field, replace
from enum import IntEnum
from typing import Final, Self, TypeVar

from liaison.envelope import cbor
from liaison.envelope.cbor import Item
from liaison.envelope.errors import HeaderError, HeaderVersionError
from liaison.envelope.release import Release
from liaison.errors import MalformedError
from liaison.model import DeviceId, EndpointId, MessageId, Precedence
from liaison.values import dataclass

_Number = TypeVar("_Number", bound=IntEnum)
_H = TypeVar("_H", bound="Header")

VERSION: Final = 1
MAX_HEADER_BYTES: Final = 48 * 1024
"""Three released signatures with their certificates have room, with the largest keys too."""
MAX_ADDRESSEES: Final = 100
"""Action and information addressees, each."""
MAX_CATEGORIES: Final = 32
MAX_TEXT: Final = 100
"""Characters in an agreement id, a label policy, a classification, a category."""
DIGEST_BYTES: Final = 32
_MAX_TIME: Final = 253402300799  # 9999-12-31T23:59:59Z
_MAX_VERSION: Final = 2**32 - 1

_V, _ID, _KIND, _ACTION, _INFO, _DTG, _LABEL, _AGREEMENT = range(8)
_EXPIRES, _TO, _COPY, _REPLY, _RELEASE = range(8, 13)
_REQUIRED: Final = frozenset({_V, _ID, _KIND, _ACTION, _INFO, _DTG, _LABEL, _AGREEMENT})
_KNOWN: Final = _REQUIRED | {_EXPIRES, _TO, _COPY, _REPLY, _RELEASE}


class Kind(IntEnum):
    """What a message is for; the agreement says who may send which."""

    TEXT = 1
    RECEIPT = 2
    NOTICE = 3
    FORM = 4
    FILE = 5
    CONTROL = 6

    @classmethod
    def parse(cls, text: str) -> Kind:
        """Accept `text`, `notice`, ...

        Raises:
            HeaderError: no such kind.
        """
        for kind in cls:
            if kind.name.lower() == text:
                return kind
        known = ", ".join(k.name.lower() for k in cls)
        raise HeaderError(f"{text[:40]!r} is not a kind of message ({known})")

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class HeaderLabel:
    """The label as far as the relay has to judge it.

    Args:
        policy: id of the label policy.
        classification: a level of it.
        categories: (tag name, value), sorted.
        digest: 32 bytes over the full label and a salt that only members know
            (`liaison.labels.label_digest`).
    """

    policy: str
    classification: str
    categories: tuple[tuple[str, str], ...] = ()
    digest: bytes = bytes(DIGEST_BYTES)

    def __post_init__(self) -> None:
        """Check sizes and order.

        Raises:
            HeaderError: a text is empty or too long, or the categories are not sorted.
        """
        _text(self.policy)
        _text(self.classification)
        if len(self.categories) > MAX_CATEGORIES:
            raise HeaderError(f"a label has at most {MAX_CATEGORIES} categories")
        for tag, value in self.categories:
            _text(tag)
            _text(value)
        if list(self.categories) != sorted(set(self.categories)):
            raise HeaderError("the label's categories are not sorted, each once")
        if len(self.digest) != DIGEST_BYTES:
            raise HeaderError(f"the label's digest has {DIGEST_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class MessageRef:
    """Names a message in its channel: ids are unique per device, not over all devices."""

    device: DeviceId
    message_id: MessageId

    def __str__(self) -> str:
        return f"{self.message_id}@{self.device}"


@dataclass(frozen=True, slots=True)
class Header:
    """What everyone on the way may know about a message.

    Args:
        message_id: random; unique per (channel, sending device).
        kind: what the message is for.
        action: precedence for those who are to act.
        info: precedence for everyone else, at most `action`.
        dtg: the drafter's time, Unix seconds.
        label: confidentiality.
        agreement_id: the agreement that the sender believes to be in force.
        agreement_version: and its version.
        to: who is to act; says nothing about who can read.
        copy: who is to be informed.
        expires: Unix seconds after which nobody shows it; None for never.
        in_reply_to: an earlier message of the channel.
        release: who has signed the draft, where the channel asks for several persons.
        alike: the same object in headers that were read and differ in id, time and the label's
            digest alone; None where that was not seen. What was found out about the rest of one
            holds for the others.
    """

    message_id: MessageId
    kind: Kind
    action: Precedence
    info: Precedence
    dtg: int
    label: HeaderLabel
    agreement_id: str
    agreement_version: int
    to: tuple[EndpointId, ...] = ()
    copy: tuple[EndpointId, ...] = ()
    expires: int | None = None
    in_reply_to: MessageRef | None = None
    release: Release | None = None
    # A copy with another value is made anew, and so is like no other.
    alike: object = field(default=None, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check what every header must fulfil, whoever made it.

        Raises:
            HeaderError: a value is out of range, or two contradict each other.
        """
        # STANAG 4406 practice: information is never more urgent than action.
        if self.info > self.action:
            raise HeaderError("the information precedence is above the action precedence")
        _bounded(self.dtg, 0, _MAX_TIME, "time")
        _bounded(self.agreement_version, 1, _MAX_VERSION, "agreement version")
        _text(self.agreement_id)
        if self.expires is not None:
            _bounded(self.expires, self.dtg + 1, _MAX_TIME, "expiry")
        for addressees in (self.to, self.copy):
            if len(addressees) > MAX_ADDRESSEES:
                raise HeaderError(f"a message has at most {MAX_ADDRESSEES} addressees of a kind")
            if list(addressees) != sorted(set(addressees)):
                raise HeaderError("the addressees are not sorted, each once")
        if set(self.to) & set(self.copy):
            raise HeaderError("an endpoint is addressed both for action and for information")

    def bare(self) -> bytes:
        """Return the encoding without the release: what its signatures are about."""
        return replace(self, release=None).encode()

    def with_release(self, release: Release) -> Self:
        """Return the header with other signatures, and otherwise the same."""
        return replace(self, release=release)

    @property
    def precedence(self) -> Precedence:
        """What queues are ordered by."""
        return self.action

    @property
    def addresses_somebody(self) -> bool:
        """Whether the message names addressees; one that names none is for everyone."""
        return bool(self.to or self.copy)

    def precedence_for(self, endpoint: EndpointId) -> Precedence:
        """Return how fast the message is meant to reach one endpoint.

        A message that addresses nobody is for action by everyone.
        """
        if endpoint in self.to or not self.addresses_somebody:
            return self.action
        return self.info

    def encode(self) -> bytes:
        """Return the bytes for `authenticated_data`.

        Raises:
            HeaderError: larger than a header may be.
        """
        label: list[Item] = [
            self.label.policy,
            self.label.classification,
            [[tag, value] for tag, value in self.label.categories],
            self.label.digest,
        ]
        # In ascending order of the keys, as `encode_ordered` wants it.
        fields: dict[int | str, Item] = {
            _V: VERSION,
            _ID: self.message_id.value,
            _KIND: int(self.kind),
            _ACTION: int(self.action),
            _INFO: int(self.info),
            _DTG: self.dtg,
            _LABEL: label,
            _AGREEMENT: [self.agreement_id, self.agreement_version],
        }
        if self.expires is not None:
            fields[_EXPIRES] = self.expires
        if self.to:
            fields[_TO] = [str(endpoint) for endpoint in self.to]
        if self.copy:
            fields[_COPY] = [str(endpoint) for endpoint in self.copy]
        if self.in_reply_to is not None:
            ref = self.in_reply_to
            fields[_REPLY] = [str(ref.device), ref.message_id.value]
        if self.release is not None:
            fields[_RELEASE] = self.release.item()
        data = cbor.encode_ordered(fields)
        if len(data) > MAX_HEADER_BYTES:
            raise HeaderError(f"a header has at most {MAX_HEADER_BYTES} bytes")
        return data

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a header.

        Raises:
            HeaderVersionError: a later version.
            HeaderError: anything else that this module would not have written.
        """
        mould = _MOULDS.get(_shape(data))
        # Smaller times have a shorter encoding.
        if mould is not None and data[_AT_DTG : _AT_DTG + 2] != b"\0\0":
            return mould(cls, data)
        header = cls._decode(data)
        _Mould.keep(header, data)
        return header

    @classmethod
    def _decode(cls, data: bytes) -> Self:
        if len(data) > MAX_HEADER_BYTES:
            raise HeaderError(f"a header has at most {MAX_HEADER_BYTES} bytes")
        try:
            # Every message comes this way: each value's type is checked once, by who reads it.
            header = cls._read(cbor.decode_unchecked(data))
        except HeaderError:
            raise
        except MalformedError as error:
            raise HeaderError(f"the header is malformed: {error.message}") from error
        # Two encodings of one header would let a message be altered unseen by
        # whoever compares bytes.
        if header.encode() != data:
            raise HeaderError("the header is not in its one encoding")
        return header

    @classmethod
    def _read(cls, item: Item) -> Self:
        if not isinstance(item, dict):
            raise HeaderError("the header is not a map")
        if item.get(_V) != VERSION:
            raise HeaderVersionError
        if not _REQUIRED <= item.keys() <= _KNOWN:
            raise HeaderError("the header lacks a field or has an unknown one")
        label = _list(item[_LABEL], 4)
        agreement = _list(item[_AGREEMENT], 2)
        expires = item.get(_EXPIRES)
        return cls(
            message_id=MessageId(_octets(item[_ID])),
            kind=_member(Kind, item[_KIND]),
            action=_member(Precedence, item[_ACTION]),
            info=_member(Precedence, item[_INFO]),
            dtg=_integer(item[_DTG]),
            label=HeaderLabel(
                _str(label[0]), _str(label[1]), _categories(label[2]), _octets(label[3])
            ),
            agreement_id=_str(agreement[0]),
            agreement_version=_integer(agreement[1]),
            to=_endpoints(item.get(_TO, [])),
            copy=_endpoints(item.get(_COPY, [])),
            expires=None if expires is None else _integer(expires),
            in_reply_to=_ref(item[_REPLY]) if _REPLY in item else None,
            release=Release.from_item(item[_RELEASE]) if _RELEASE in item else None,
        )


# --- headers that differ in little ------------------------------------------------------

_new: Final = object.__new__
_HEADER_SLOTS: Final = {name: getattr(Header, name).__set__ for name in Header.__slots__}
_LABEL_SLOTS: Final = {name: getattr(HeaderLabel, name).__set__ for name in HeaderLabel.__slots__}
_PUT_ID: Final = _HEADER_SLOTS["message_id"]
_PUT_DTG: Final = _HEADER_SLOTS["dtg"]
_PUT_LABEL: Final = _HEADER_SLOTS["label"]
_PUT_ALIKE: Final = _HEADER_SLOTS["alike"]
_PUT_DIGEST: Final = _LABEL_SLOTS["digest"]
_MOULDS: Final[OrderedDict[tuple[bytes, bytes, bytes], _Mould]] = OrderedDict()
_MOST_MOULDS: Final = 1_024
_LARGEST_MOULD: Final = 2_048
"""Bytes of a header beyond which it is read anew each time."""
_AT_ID: Final = 5
_AT_DTG: Final = 29
"""Where the id and the drafter's time stand, when that is of four bytes."""
_DIGEST: Final = bytes((0x58, DIGEST_BYTES))
"""How a byte string of 32 bytes begins."""


def _shape(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a header without its id, its time and what may be the digest of its label."""
    at = data.find(_DIGEST, _AT_DTG + 4) + 2
    after = at + DIGEST_BYTES
    return data[:_AT_ID], data[_AT_ID + 16 : _AT_DTG] + data[_AT_DTG + 4 : at], data[after:]


_Put = Callable[[object, object], None]


def _others(
    one: object, slots: Mapping[str, _Put], without: Collection[str]
) -> list[tuple[_Put, object]]:
    """Return what puts all of an object's values but some into another."""
    return [(put, getattr(one, name)) for name, put in slots.items() if name not in without]


class _Mould:
    """A header that was read, for others that differ from it in id, time and digest alone.

    Every message has a header, and one sender's differ in nothing else: what was read and checked
    of the rest once is taken over.
    """

    __slots__ = ("_at", "_header", "_label")

    def __init__(self, header: Header, at: int) -> None:
        self._header = _others(header, _HEADER_SLOTS, {"message_id", "dtg", "label"})
        self._label = _others(header.label, _LABEL_SLOTS, {"digest"})
        self._at = at

    @classmethod
    def keep(cls, header: Header, data: bytes) -> None:
        """Remember a header that was read from these bytes."""
        at = data.find(_DIGEST, _AT_DTG + 4) + 2
        large = len(data) > _LARGEST_MOULD or header.release is not None
        # A time of four bytes, after which nothing depends on it; and a digest that stands where
        # it was looked for: other texts may have the bytes that it begins with.
        if large or header.expires is not None or not 1 << 16 <= header.dtg < 1 << 32:
            return
        turned = bytes(255 - byte for byte in header.label.digest)
        other = replace(header, label=replace(header.label, digest=turned)).encode()
        if other != data[:at] + turned + data[at + DIGEST_BYTES :]:
            return
        _PUT_ALIKE(header, object())
        _MOULDS[_shape(data)] = cls(header, at)
        if len(_MOULDS) > _MOST_MOULDS:
            _MOULDS.popitem(last=False)

    def __call__(self, kind: type[_H], data: bytes) -> _H:
        """Return the header that stands in bytes of this shape."""
        at = self._at
        label = _new(HeaderLabel)
        for put, value in self._label:
            put(label, value)
        _PUT_DIGEST(label, data[at : at + DIGEST_BYTES])
        header = _new(kind)
        for put, value in self._header:
            put(header, value)
        _PUT_LABEL(header, label)
        _PUT_ID(header, MessageId(data[_AT_ID : _AT_ID + 16]))
        _PUT_DTG(header, int.from_bytes(data[_AT_DTG : _AT_DTG + 4]))
        return header


def _ref(item: Item) -> MessageRef:
    device, message_id = _list(item, 2)
    return MessageRef(DeviceId.parse(_str(device)), MessageId(_octets(message_id)))


def _endpoints(item: Item) -> tuple[EndpointId, ...]:
    if not isinstance(item, list) or len(item) > MAX_ADDRESSEES:
        raise HeaderError("not a list of addressees")
    return tuple(EndpointId.parse(_str(name)) for name in item)


def _categories(item: Item) -> tuple[tuple[str, str], ...]:
    if not isinstance(item, list) or len(item) > MAX_CATEGORIES:
        raise HeaderError("not a list of categories")
    pairs = [_list(pair, 2) for pair in item]
    return tuple((_str(tag), _str(value)) for tag, value in pairs)


def _member(kind: type[_Number], item: Item) -> _Number:
    try:
        return kind(_integer(item))
    except ValueError as error:
        raise HeaderError(f"there is no such {kind.__name__.lower()}") from error


def _list(item: Item, length: int) -> list[Item]:
    if not isinstance(item, list) or len(item) != length:
        raise HeaderError("a field is not a list of the right length")
    return item


def _str(item: Item) -> str:
    if not isinstance(item, str):
        raise HeaderError("a field is not text")
    return item


def _octets(item: Item) -> bytes:
    if not isinstance(item, bytes):
        raise HeaderError("a field is not a byte string")
    return item


def _integer(item: Item) -> int:
    if not isinstance(item, int) or isinstance(item, bool):
        raise HeaderError("a field is not an integer")
    return item


def _text(text: str) -> None:
    if not 1 <= len(text) <= MAX_TEXT or not text.isprintable():
        raise HeaderError(f"a name in the header is not 1 to {MAX_TEXT} printable characters")


def _bounded(value: int, low: int, high: int, what: str) -> None:
    if not low <= value <= high:
        raise HeaderError(f"the {what} is out of range")
