"""What a program is shown of what is stored: messages, drafts, answers, and what became of them.

Pure: from records to the values of `message` and `drafts`. Whatever must not be shown is left out
here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from liaison.envelope import content as contents
from liaison.envelope.attachment import Attachment as Descriptor
from liaison.envelope.content import Content, Disposition, External, Single
from liaison.envelope.header import Header, Kind
from liaison.envelope.receipt import Receipt
from liaison.errors import LiaisonError
from liaison.model import ChannelId, DeviceId, MessageId
from liaison.policy import labelling
from liaison_sdk import drafts
from liaison_sdk.drafts import DraftPart, DraftView, Inspection
from liaison_sdk.markings import Marker
from liaison_sdk.message import Attachment, Message, ReceiptView, Sent
from liaison_sdk.names import unique_names
from liaison_sdk.store.answers import AnswerRecord
from liaison_sdk.store.messages import MessageRecord, MessageState

if TYPE_CHECKING:
    from liaison_sdk.client import Client

_EXPIRED: Final = "message.expired"
_NOT_SHOWN: Final = (MessageState.WITHHELD, MessageState.FAILED)


def view(
    record: MessageRecord,
    *,
    client: Client,
    channel_name: str,
    receipts: Sequence[tuple[DeviceId, bytes]],
    answers: Sequence[AnswerRecord],
    draft: DraftView | None,
    marker: Marker,
    now: int,
) -> Message:
    """Turn a stored message into what a program sees.

    Args:
        record: from the store.
        client: that it acts through.
        channel_name: display name of its channel.
        receipts: who sent which receipt about it.
        answers: what this device has answered.
        draft: that it carries.
        marker: shows its label.
        now: Unix seconds: what has expired is not shown.
    """
    header = Header.decode(record.header) if record.header else None
    if header is not None and header.expires is not None and header.expires <= now:
        reason = "the message has expired"
        record = replace(
            record, state=MessageState.WITHHELD, reason_code=_EXPIRED, reason=reason, content=b""
        )
    seen: dict[str, Any] = {"text": "", "subject": "", "language": "", "attachments": ()}
    if record.content and record.state not in _NOT_SHOWN:
        seen = said(record.content)
    else:
        draft = None
    return Message(
        id=record.message_id,
        channel_id=record.channel,
        channel_name=channel_name,
        sender=record.sender,
        outgoing=record.outgoing,
        state=record.state,
        reason_code=record.reason_code,
        reason=record.reason,
        kind=header.kind if header else Kind.TEXT,
        precedence=record.precedence,
        action=header.action if header else record.precedence,
        info=header.info if header else record.precedence,
        dtg=_time(header.dtg) if header else None,
        to=header.to if header else (),
        copy=header.copy if header else (),
        label=labelling.label_of(header) if header else None,
        in_reply_to=header.in_reply_to if header else None,
        expires=_time(header.expires) if header and header.expires is not None else None,
        seq=record.seq,
        accepted_at=None if record.time_ms is None else _time(record.time_ms / 1000),
        shown=record.shown,
        logged=record.logged is not None and record.logged >= 0,
        late=record.late and record.logged is None,
        given_up=record.logged is not None and record.logged < 0,
        receipts=(
            *(_receipt(sender, Receipt.decode(data)) for sender, data in receipts),
            *(_answer(client.device, answer) for answer in answers),
        ),
        draft=draft,
        number=record.number or 0,
        marker=marker,
        client=client,
        **seen,
    )


def sent(
    record: MessageRecord | None, channel: ChannelId, message_id: MessageId, number: int
) -> Sent:
    """Return what a sender is told about an own message."""
    if record is None:
        return Sent(message_id, channel, MessageState.ACCEPTED, number=number)
    accepted = None if record.time_ms is None else _time(record.time_ms / 1000)
    return Sent(message_id, channel, record.state, record.seq, accepted, number)


def answered(record: AnswerRecord) -> Sent:
    """Return what a reader is told about an own answer; its place in the channel is not kept."""
    ref, answer = record.receipt.ref, record.receipt.answer
    return Sent(ref.message_id, record.channel, record.state, number=record.number, answer=answer)


def draft_view(
    draft: DraftPart, inspection: Inspection, channel_name: str, marker: Marker, *, sent: bool
) -> DraftView:
    """Return a draft as people judge it.

    Args:
        draft: with all signatures that are known.
        inspection: of these.
        channel_name: of the channel where it will go.
        marker: shows its label.
        sent: whether it is there already.
    """
    header = draft.header
    label = labelling.label_of(header)
    return DraftView(
        channel_id=draft.channel,
        channel_name=channel_name,
        agreement_id=header.agreement_id,
        agreement_version=header.agreement_version,
        policy=draft.policy,
        id=header.message_id,
        kind=header.kind,
        action=header.action,
        info=header.info,
        dtg=_time(header.dtg),
        to=header.to,
        copy=header.copy,
        label=label,
        marking=marker.mark(label),
        expires=None if header.expires is None else _time(header.expires),
        signatures=drafts.signatures(inspection.signed),
        missing=inspection.missing,
        problem=inspection.problem,
        sent=sent,
        **said(draft.content),
    )


def said(encoded: bytes) -> dict[str, Any]:
    """Return text, subject, language and attachments of a content."""
    content = Content.decode(encoded)
    subject = content.extensions.get(contents.SUBJECT, "")
    texts = [
        part
        for part in content.parts()
        if isinstance(part, Single)
        and part.text is not None
        and part.disposition is not Disposition.ATTACHMENT
    ]
    return {
        "text": "\n".join(part.text or "" for part in texts),
        "subject": subject if isinstance(subject, str) else "",
        "language": texts[0].language if texts else "",
        "attachments": _attachments(content),
    }


def _attachments(content: Content) -> tuple[Attachment, ...]:
    found: list[Descriptor] = []
    for part in content.parts():
        # A part of another kind, which this program can't fetch, is no file here.
        with contextlib.suppress(LiaisonError):
            if isinstance(part, External):
                found.append(Descriptor.from_part(part))
    names = unique_names(descriptor.filename for descriptor in found)
    return tuple(
        Attachment(
            index=index,
            filename=name,
            media_type=descriptor.media_type,
            size=descriptor.size,
            description=descriptor.description,
            descriptor=descriptor,
        )
        for index, (name, descriptor) in enumerate(zip(names, found, strict=True))
    )


def _answer(own: DeviceId, answer: AnswerRecord) -> ReceiptView:
    return replace(
        _receipt(own, answer.receipt),
        state=answer.state,
        reason_code=answer.reason_code,
        reason=answer.reason,
    )


def _receipt(sender: DeviceId, receipt: Receipt) -> ReceiptView:
    return ReceiptView(
        sender=sender,
        status=receipt.status,
        at=_time(receipt.at),
        answer=receipt.answer,
        code=receipt.code,
        note=receipt.note,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
