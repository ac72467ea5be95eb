"""Makes messages: content and header from what the caller wants to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace

from liaison.envelope import content as contents
from liaison.envelope.cbor import Item
from liaison.envelope.content import Content, Multi, Part, Semantics, Single
from liaison.envelope.header import Header, Kind, MessageRef
from liaison.labels import Label
from liaison.model import EndpointId, MessageId, Precedence
from liaison.policy import contents as judging
from liaison.policy import labelling, languages
from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import Decision, SendMessage
from liaison.values import dataclass
from liaison_sdk import judgement
from liaison_sdk.environment import Environment
from liaison_sdk.store import Transaction, messages, outbox
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.store.messages import MessageRecord, MessageState
from liaison_sdk.store.outbox import OutboxRecord, OutboxState


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is not bound to an agreement's version yet.

    Args:
        parts: what it says; at least one.
        kind: what it is for.
        action, info: precedences.
        to, copy: addressees.
        label: None for the agreement's default.
        subject: empty for none.
        expires: Unix seconds, or None.
        in_reply_to: an earlier message.
    """

    parts: tuple[Part, ...] = field(repr=False)
    kind: Kind = Kind.TEXT
    action: Precedence = Precedence.ROUTINE
    info: Precedence = Precedence.ROUTINE
    to: tuple[EndpointId, ...] = ()
    copy: tuple[EndpointId, ...] = ()
    label: Label | None = None
    subject: str = field(default="", repr=False)
    expires: int | None = None
    in_reply_to: MessageRef | None = None


@dataclass(frozen=True, slots=True)
class Composed:
    """A message ready for the outbox."""

    header: Header
    content: bytes = field(repr=False)


def default_label(agreement: Agreement) -> Label:
    """Return the label that an agreement gives to messages without one."""
    return Label(agreement.labels.policy, agreement.labels.default)


def compose(
    env: Environment, record: ChannelRecord, agreement: Agreement, draft: Draft
) -> Composed:
    """Turn a draft into header and content, with a fresh id and salt.

    Raises:
        HeaderError, ContentError, ContentTooLargeError: the draft has no place in the format.
    """
    salt = env.options.rng(contents.SALT_BYTES)
    parts = _in_language(draft.parts, languages.usual(agreement, record.policy))
    label = draft.label or default_label(agreement)
    extensions: dict[int | str, Item] = {contents.LABEL: labelling.encode_label(label)}
    if draft.subject:
        extensions[contents.SUBJECT] = draft.subject
    header = Header(
        message_id=MessageId(env.options.rng(16)),
        kind=draft.kind,
        action=draft.action,
        info=min(draft.info, draft.action),
        dtg=env.now,
        label=labelling.header_label(label, salt),
        agreement_id=record.agreement_id,
        agreement_version=record.agreement_version,
        to=tuple(sorted(set(draft.to))),
        copy=tuple(sorted(set(draft.copy) - set(draft.to))),
        expires=draft.expires,
        in_reply_to=draft.in_reply_to,
    )
    content = Content(salt=salt, body=_body(parts), extensions=extensions)
    return Composed(header, content.encode())


def request(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    agreement: Agreement,
    composed: Composed,
) -> SendMessage:
    """Return what this device asks for when it sends a message.

    Raises:
        ReleaseInvalidError: a signature under it does not hold.
    """
    actor = env.account.device.endpoint
    # A channel that is joined anew has no group: it is judged again before it is encrypted.
    stale = record.state is ChannelState.STALE
    audience = frozenset({actor}) if stale else env.groups.audience(tx, record)
    header = composed.header
    released = judgement.released(env, tx, record, agreement, header, env.now)
    return SendMessage(actor, record.policy, header, len(composed.content), audience, released)


def renew(composed: Composed, before: Agreement, after: Agreement) -> Composed:
    """Return a message, made under one version of the agreement, as it is under another.

    Who chose no label gets the default of the new version; a label that was
    chosen stays, and so does everything that several persons have signed.
    """
    header = composed.header
    if header.release is not None:
        return composed
    header = replace(header, agreement_version=after.version)
    label = default_label(after)
    if labelling.label_of(header) != default_label(before) or label == default_label(before):
        return Composed(header, composed.content)
    content = Content.decode(composed.content)
    extensions = {**content.extensions, contents.LABEL: labelling.encode_label(label)}
    header = replace(header, label=labelling.header_label(label, content.salt))
    return Composed(header, replace(content, extensions=extensions).encode())


def judge(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    agreement: Agreement,
    composed: Composed,
) -> Decision:
    """Decide whether the agreement lets this device send it; the relay decides again.

    Raises:
        ReleaseInvalidError: a signature under it does not hold.
    """
    asked = request(env, tx, record, agreement, composed)
    decision = judgement.decide(env, tx, asked, agreement)
    if not decision.allow:
        return decision
    inside = Content.decode(composed.content)
    return judging.judge(inside, agreement, record.policy) or decision


def but_for_release(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    agreement: Agreement,
    composed: Composed,
) -> Decision:
    """Decide as `judge` does, as if all whom the agreement asks for had released it."""
    policy = agreement.channel(record.policy)
    free = replace(policy, release=None)
    others = tuple(free if one is policy else one for one in agreement.channels)
    return judge(env, tx, record, replace(agreement, channels=others), composed)


def queue(env: Environment, tx: Transaction, record: ChannelRecord, composed: Composed) -> int:
    """Put a message into the outbox, and show it among the own ones unless it is a receipt.

    Returns its number in the outbox.
    """
    header = composed.header
    encoded = header.encode()
    if header.kind is not Kind.RECEIPT:
        shown = MessageRecord(
            channel=record.channel,
            sender=env.account.device,
            message_id=header.message_id,
            outgoing=True,
            state=MessageState.QUEUED,
            precedence=header.action,
            header=encoded,
            content=composed.content,
            shown=True,
        )
        messages.insert(tx, shown)
    return outbox.insert(
        tx,
        OutboxRecord(
            channel=record.channel,
            message_id=header.message_id,
            precedence=header.action,
            state=OutboxState.QUEUED,
            header=encoded,
            content=composed.content,
        ),
    )


def _in_language(parts: Sequence[Part], language: str) -> tuple[Part, ...]:
    """Return parts whose texts declare a language, where they declare none themselves."""
    return tuple(
        replace(one, language=language)
        if isinstance(one, Single) and one.text and not one.language
        else one
        for one in parts
    )


def _body(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    return Multi(Semantics.PROCESS_ALL, tuple(parts))
