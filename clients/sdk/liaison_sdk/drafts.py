"""Drafts: messages on their way through the hands that release them.

A draft lies, as it will be sent, in one part of a message in a national channel:
target channel, header with the signatures so far, content. Whoever adds a
signature sends it on as a new message there, so copies with different signatures
may be about; what they have in common is united.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

from liaison.envelope import cbor
from liaison.envelope.content import Content, Disposition, Single
from liaison.envelope.errors import ReleaseError
from liaison.envelope.header import Header, Kind
from liaison.envelope.release import Part, Release
from liaison.errors import LiaisonError
from liaison.labels import Label
from liaison.model import ChannelId, DeviceId, EndpointId, MessageId, Precedence
from liaison.policy import sending
from liaison.policy.agreement import Agreement
from liaison.policy.requests import Decision, Released, deny
from liaison.trust import check_content, verify_release
from liaison.values import dataclass
from liaison_sdk.environment import Environment
from liaison_sdk.errors import NotADraftError
from liaison_sdk.store import Transaction, messages
from liaison_sdk.store.messages import MessageRecord, MessageState

if TYPE_CHECKING:
    from liaison_sdk.message import Attachment

MEDIA_TYPE: Final = "application/vnd.liaison.draft+cbor"
_VERSION: Final = 1
_SHOWN: Final = frozenset(MessageState) - {MessageState.WITHHELD, MessageState.FAILED}
_SENT: Final = _SHOWN - {MessageState.REFUSED}
_LOOK_BACK: Final = 200
"""Messages of a channel among which copies of a draft are looked for."""


@dataclass(frozen=True, slots=True)
class DraftPart:
    """A message as it will be sent.

    Args:
        channel: where it will go.
        policy: that channel's, by its drafter's word; decides nothing but what is shown.
        header: with the signatures so far.
        content: its encoding.
    """

    channel: ChannelId
    policy: str
    header: Header
    content: bytes = field(repr=False)

    @property
    def name(self) -> tuple[ChannelId, bytes, bytes]:
        """What all copies of a draft have in common."""
        return self.channel, self.header.bare(), self.content

    def as_part(self) -> Single:
        """Return the part of a message that carries the draft."""
        item: list[Any] = [
            _VERSION,
            self.channel.value,
            self.policy,
            self.header.encode(),
            self.content,
        ]
        return Single(MEDIA_TYPE, cbor.encode(item), Disposition.RENDER)

    @classmethod
    def from_part(cls, data: bytes) -> Self:
        """Read what `as_part` wrote.

        Raises:
            NotADraftError: it is something else, or names another content than it has.
        """
        try:
            match cbor.decode(data):
                case [
                    1,
                    bytes() as channel,
                    str() as policy,
                    bytes() as header,
                    bytes() as content,
                ]:
                    found = cls(ChannelId(channel), policy, Header.decode(header), content)
                case _:
                    raise NotADraftError("the message carries no draft that is known here")
            Content.decode(content)
            check_content(found.header, content)
        except (LiaisonError, ValueError) as e:
            raise NotADraftError(f"the draft in the message can't be read: {e}") from e
        if found.header.release is None:
            raise NotADraftError("nobody has signed the draft in the message")
        return found


@dataclass(frozen=True, slots=True)
class SignatureView:
    """Who has done what for a draft; the signature was verified."""

    part: Part
    endpoint: EndpointId


@dataclass(frozen=True, slots=True)
class DraftView:
    """A draft as people judge it.

    Args:
        channel_id, channel_name: where it will go; no name where this device is not there.
        agreement_id, agreement_version, policy: what binds it.
        id: of the message that it becomes.
        kind, action, info, dtg, to, copy, label, marking, expires: of that message.
        text, subject, language, attachments: what it says.
        signatures: under all copies of it in this channel.
        missing: what it still needs, in words; empty where it can be sent.
        problem: why a signature does not count; empty where all do.
        sent: whether it is in its channel already, or on its way there, as far as this
            device knows.
    """

    channel_id: ChannelId
    channel_name: str
    agreement_id: str
    agreement_version: int
    policy: str
    id: MessageId
    kind: Kind
    action: Precedence
    info: Precedence
    dtg: datetime
    to: tuple[EndpointId, ...]
    copy: tuple[EndpointId, ...]
    label: Label
    marking: str
    expires: datetime | None
    text: str = field(repr=False)
    subject: str = field(repr=False)
    language: str
    attachments: tuple[Attachment, ...] = field(repr=False)
    signatures: tuple[SignatureView, ...]
    missing: tuple[str, ...]
    problem: str
    sent: bool

    @property
    def is_released(self) -> bool:
        """Whether all have signed whom the agreement asks for."""
        return not self.missing and not self.problem

    @property
    def can_be_sent(self) -> bool:
        """Whether all have signed, and nobody is known to have sent it."""
        return self.is_released and not self.sent


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the signatures under a draft are worth.

    Args:
        signed: by whom; verified.
        missing: what is still needed, in words.
        problem: why they are worth nothing.
    """

    signed: tuple[Released, ...] = ()
    missing: tuple[str, ...] = ()
    problem: str = ""


def of(record: MessageRecord) -> DraftPart | None:
    """Return the draft that a stored message carries, or None.

    Raises:
        NotADraftError: it says that it carries one, and does not.
    """
    if not record.content or record.state not in _SHOWN:
        return None
    for part in Content.decode(record.content).parts():
        if isinstance(part, Single) and part.media_type == MEDIA_TYPE:
            return DraftPart.from_part(part.data)
    return None


def united(env: Environment, tx: Transaction, where: ChannelId, draft: DraftPart) -> DraftPart:
    """Return a draft with the good signatures under all its copies in a channel."""
    known = None if draft.header.release is None else draft.header.release
    if known is None:
        return draft
    release = known if _holds(env, tx, draft) else Release(known.content)
    for other in _copies(tx, where, draft):
        if other.header.release is None or not _holds(env, tx, other):
            # One bad signature among them would spoil all.
            continue
        for signature in other.header.release.signatures:
            try:
                release = release.with_signature(signature)
            except ReleaseError:
                break
    if not release.signatures:
        return draft
    return replace(draft, header=draft.header.with_release(release))


def inspect(env: Environment, tx: Transaction, draft: DraftPart) -> Inspection:
    """Return who has signed a draft, and what it still needs."""
    try:
        agreement = _agreement(env, tx, draft)
        signed = _signed(env, tx, agreement, draft)
        policy = agreement.channel(draft.policy)
    except LiaisonError as e:
        return Inspection(problem=e.message)
    if policy.release is None or not sending.needs_release(draft.header, policy):
        return Inspection(signed)
    # Releasing is a nation's own affair: nobody signs for another party.
    own = [one for one in signed if one.endpoint.party == env.account.device.party]
    missing = sending.missing_parts(own, agreement, policy, policy.release)
    return Inspection(signed, tuple(missing))


def sendings(tx: Transaction, channel: ChannelId, header: Header) -> list[MessageRecord]:
    """Return the messages of a channel that are what a header's release was made for.

    Args:
        tx: the transaction.
        channel: where it was to go.
        header: of the draft, or of a message that carries the release.
    """
    if header.release is None:
        return []
    known = messages.named(tx, channel, header.message_id)
    return [record for record in known if record.state in _SENT and _is_of(record, header)]


def judge_once(
    tx: Transaction, channel: ChannelId, sender: DeviceId, header: Header, seq: int
) -> Decision | None:
    """Return why a released message is not shown: another device has sent it before; or None.

    Args:
        tx: the transaction.
        channel: where it came.
        sender: the device that has sent it.
        header: its own.
        seq: its place in the channel.
    """
    for known in sendings(tx, channel, header):
        if known.sender != sender and known.seq is not None and known.seq < seq:
            return deny("release.used", f"{known.sender} has sent this release before")
    return None


def _is_of(record: MessageRecord, header: Header) -> bool:
    known = Header.decode(record.header)
    if known.release is None or header.release is None:
        return False
    return (known.bare(), known.release.content) == (header.bare(), header.release.content)


def signatures(signed: Iterable[Released]) -> tuple[SignatureView, ...]:
    """Return the signatures as people read them."""
    return tuple(SignatureView(one.part, one.endpoint) for one in signed)


def _copies(tx: Transaction, where: ChannelId, draft: DraftPart) -> Iterable[DraftPart]:
    for record in messages.history(tx, where, _LOOK_BACK, unread=False):
        try:
            other = of(record)
        except NotADraftError:
            continue
        if other is not None and other.name == draft.name:
            yield other


def _agreement(env: Environment, tx: Transaction, draft: DraftPart) -> Agreement:
    header = draft.header
    return env.trust.agreement(tx, header.agreement_id, header.agreement_version)


def _signed(
    env: Environment, tx: Transaction, agreement: Agreement, draft: DraftPart
) -> tuple[Released, ...]:
    validator = env.trust.strict_validator(tx, agreement)
    return verify_release(draft.header, draft.channel, validator, env.now)


def _holds(env: Environment, tx: Transaction, draft: DraftPart) -> bool:
    try:
        _signed(env, tx, _agreement(env, tx, draft), draft)
    except LiaisonError:
        return False
    return True
