"""A message as a person reads it, and as a program does.

Everything in it was written by another device: text passes `terminal.clean`,
and the text's lines are indented so that no message can imitate the heading of
the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from liaison.model import EndpointId, format_dtg
from liaison_cli.terminal import clean_line, indented

if TYPE_CHECKING:
    from liaison_cli.rulebook import Remarks
    from liaison_sdk import Message
    from liaison_sdk.drafts import DraftView
    from liaison_sdk.message import Attachment, ReceiptView

ID_DIGITS: Final = 8
"""Digits of an id that people see; any unambiguous prefix of four names a message."""


def record(message: Message, remarks: Remarks) -> dict[str, Any]:
    """Return what programs are told of a message and of what the agreement says about it."""
    sender = message.sender
    reply = message.in_reply_to
    drafted = message.draft
    return {
        "id": str(message.id),
        "channel": str(message.channel_id),
        "channel_name": message.channel_name,
        "from": str(sender) if sender else None,
        "from_endpoint": str(sender.endpoint) if sender else None,
        "own": message.outgoing,
        "to": [str(e) for e in message.to],
        "info": [str(e) for e in message.copy],
        "precedence": message.precedence.name,
        "action_precedence": message.action.name,
        "info_precedence": message.info.name,
        "dtg": message.dtg_text,
        "time": _seconds(message.dtg),
        "kind": str(message.kind),
        "subject": message.subject or None,
        "text": message.text,
        "label": message.label.marking() if message.label else "",
        "marking": message.marking,
        "attachments": [_attachment(a) for a in message.attachments],
        "state": str(message.state),
        "reason": message.reason or None,
        "reason_code": message.reason_code or None,
        "in_reply_to": str(reply.message_id) if reply else None,
        "read": message.shown,
        "seq": message.seq,
        "logged": message.logged,
        "log_late": message.late,
        "log_given_up": message.given_up,
        "expires": _seconds(message.expires),
        "acknowledge_by": _seconds(remarks.acknowledge_by),
        "reply_by": _seconds(remarks.reply_by),
        "receipts": [
            {
                "device": str(r.sender),
                "status": str(r.status),
                "answer": str(r.answer) if r.answer else None,
                "at": int(r.at.timestamp()),
                "note": r.note or None,
                "state": str(r.state),
                "reason": r.reason or None,
                "reason_code": r.reason_code or None,
            }
            for r in message.receipts
        ],
        "draft": None if drafted is None else draft_record(drafted),
    }


def draft_record(draft: DraftView) -> dict[str, Any]:
    """Return what programs are told of a draft."""
    return {
        "id": str(draft.id),
        "channel": str(draft.channel_id),
        "channel_name": draft.channel_name or None,
        "agreement": draft.agreement_id,
        "agreement_version": draft.agreement_version,
        "policy": draft.policy,
        "kind": str(draft.kind),
        "to": [str(e) for e in draft.to],
        "info": [str(e) for e in draft.copy],
        "action_precedence": draft.action.name,
        "info_precedence": draft.info.name,
        "dtg": format_dtg(draft.dtg),
        "label": draft.label.marking(),
        "marking": draft.marking,
        "subject": draft.subject or None,
        "text": draft.text,
        "attachments": [_attachment(a) for a in draft.attachments],
        "expires": _seconds(draft.expires),
        "signatures": [
            {"part": str(one.part), "endpoint": str(one.endpoint)} for one in draft.signatures
        ],
        "missing": list(draft.missing),
        "problem": draft.problem or None,
        "released": draft.is_released,
        "sent": draft.sent,
    }


def text(message: Message, remarks: Remarks) -> str:
    """Return what people read."""
    return "\n".join(_lines(message, remarks))


def _lines(message: Message, remarks: Remarks) -> Iterator[str]:
    number = str(message.id)[:ID_DIGITS]
    yield (
        f"{message.dtg_text or 'no DTG'}  {message.precedence.name}"
        f"  {clean_line(message.marking) or '-'}"
        f"  {clean_line(message.channel_name)}  [{number}] {state(message)}"
    )
    yield f"FROM     {message.sender or 'unknown'}"
    yield from _addressees(message.to, message.copy)
    if message.in_reply_to is not None:
        yield f"REPLY TO [{str(message.in_reply_to.message_id)[:ID_DIGITS]}]"
    yield from _said(message.subject, message.text, message.attachments)
    if message.draft is not None:
        yield from _draft(message.draft, number)
    if wanted := _wanted(remarks):
        yield f"ANSWER   {wanted}"
    for r in message.receipts:
        answer = f" {r.answer}" if r.answer else ""
        note = f": {clean_line(r.note)}" if r.note else ""
        yield f"RECEIPT  {r.sender} {r.status}{answer}{note}{_not_taken(r)}"
    if message.reason:
        rule = f" ({clean_line(message.reason_code)})" if message.reason_code else ""
        yield f"REASON   {clean_line(message.reason)}{rule}"
    yield ""


def _not_taken(receipt: ReceiptView) -> str:
    """Say of an own answer that it waits, or why it never goes out."""
    state = str(receipt.state)
    if state == "queued":
        return " (waits on this device)"
    if state == "refused":
        code = f", {clean_line(receipt.reason_code)}" if receipt.reason_code else ""
        return f" (refused: {clean_line(receipt.reason)}{code})"
    return ""


def _addressees(to: Sequence[EndpointId], copy: Sequence[EndpointId]) -> Iterator[str]:
    if to:
        yield f"TO       {_names(to)}"
    if copy:
        yield f"INFO     {_names(copy)}"


def _said(subject: str, text: str, attachments: Sequence[Attachment]) -> Iterator[str]:
    if subject:
        yield f"SUBJECT  {clean_line(subject)}"
    if text:
        yield indented(text)
    for a in attachments:
        name, kind = clean_line(a.filename), clean_line(a.media_type)
        yield f"ATTACHED {a.index}: {name} ({kind}, {size(a.size)})"


def _draft(draft: DraftView, number: str) -> Iterator[str]:
    """Describe a draft: all that its signers vouch for, and what is missing."""
    place = clean_line(draft.channel_name) or f"channel {str(draft.channel_id)[:ID_DIGITS]}"
    yield (
        f"DRAFT    {format_dtg(draft.dtg)}  {draft.action.name}  {clean_line(draft.marking) or '-'}"
        f"  for {place}, a {draft.kind}"
        f" ({clean_line(draft.policy)} of {clean_line(draft.agreement_id)}"
        f" version {draft.agreement_version})"
    )
    yield from _addressees(draft.to, draft.copy)
    yield from _said(draft.subject, draft.text, draft.attachments)
    if draft.expires is not None:
        yield f"EXPIRES  {format_dtg(draft.expires)}"
    for signature in draft.signatures:
        yield f"SIGNED   {signature.part} by {signature.endpoint}"
    for what in draft.missing:
        yield f"MISSING  {clean_line(what)}"
    if draft.problem:
        yield f"PROBLEM  {clean_line(draft.problem)}"
    elif draft.sent:
        yield f"SENT     it is in {place}"
    elif draft.can_be_sent:
        yield f"READY    liaison release {number} sends it"


def _wanted(remarks: Remarks) -> str:
    """Return by when the agreement wants an answer that has not been given here, in words."""
    wanted = []
    if remarks.acknowledge_by is not None and not remarks.acknowledged:
        wanted.append(f"acknowledge by {format_dtg(remarks.acknowledge_by)}")
    if remarks.reply_by is not None:
        wanted.append(f"reply by {format_dtg(remarks.reply_by)}")
    return ", ".join(wanted)


def state(message: Message) -> str:
    """Return where the message is, in words: queued, accepted, logged, received, ..."""
    word = str(message.state).lower()
    if message.late:
        return f"{word}, not in the log"
    if message.given_up:
        return f"{word}, logged in a part that was given up"
    if message.logged:
        # Of an own message the log says more than the relay's word; another's was received, too.
        return "logged" if word == "accepted" else f"{word}, logged"
    return word


def size(count: int) -> str:
    """Write a number of bytes in the unit that people expect."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def _attachment(attachment: Attachment) -> dict[str, Any]:
    return {
        "index": attachment.index,
        "name": attachment.filename,
        "size": attachment.size,
        "media_type": attachment.media_type,
    }


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())


def _names(endpoints: Iterable[EndpointId]) -> str:
    return ", ".join(map(str, endpoints))
