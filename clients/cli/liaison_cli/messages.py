"""A message as a person reads it, and as a program does.

Everything in it was written by another device: text passes `terminal.clean`,
and the text's lines are indented so that no message can imitate the heading of
the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from liaison.model import EndpointId
from liaison_cli.terminal import clean_line, indented

if TYPE_CHECKING:
    from liaison_sdk import Message

ID_DIGITS: Final = 8
"""Digits of an id that people see; any unambiguous prefix of four names a message."""


def record(message: Message) -> dict[str, Any]:
    """Return what programs are told of a message."""
    sender = message.sender
    reply = message.in_reply_to
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
        "time": int(message.dtg.timestamp()) if message.dtg else None,
        "kind": str(message.kind),
        "subject": message.subject or None,
        "text": message.text,
        "label": message.marking,
        "attachments": [
            {"index": a.index, "name": a.filename, "size": a.size, "media_type": a.media_type}
            for a in message.attachments
        ],
        "state": str(message.state),
        "reason": message.reason or None,
        "reason_code": message.reason_code or None,
        "in_reply_to": str(reply.message_id) if reply else None,
        "read": message.shown,
        "seq": message.seq,
        "receipts": [
            {
                "device": str(r.sender),
                "status": str(r.status),
                "answer": str(r.answer) if r.answer else None,
                "at": int(r.at.timestamp()),
                "note": r.note or None,
            }
            for r in message.receipts
        ],
    }


def text(message: Message) -> str:
    """Return what people read."""
    return "\n".join(_lines(message))


def _lines(message: Message) -> Iterator[str]:
    marking = clean_line(message.marking) or "-"
    number = str(message.id)[:ID_DIGITS]
    yield (
        f"{message.dtg_text or 'no DTG'}  {message.precedence.name}  {marking}"
        f"  {clean_line(message.channel_name)}  [{number}] {state(message)}"
    )
    yield f"FROM     {message.sender or 'unknown'}"
    if message.to:
        yield f"TO       {_names(message.to)}"
    if message.copy:
        yield f"INFO     {_names(message.copy)}"
    if message.in_reply_to is not None:
        yield f"REPLY TO [{str(message.in_reply_to.message_id)[:ID_DIGITS]}]"
    if message.subject:
        yield f"SUBJECT  {clean_line(message.subject)}"
    if message.text:
        yield indented(message.text)
    for a in message.attachments:
        name, kind = clean_line(a.filename), clean_line(a.media_type)
        yield f"ATTACHED {a.index}: {name} ({kind}, {size(a.size)})"
    for r in message.receipts:
        answer = f" {r.answer}" if r.answer else ""
        note = f": {clean_line(r.note)}" if r.note else ""
        yield f"RECEIPT  {r.sender} {r.status}{answer}{note}"
    if message.reason:
        yield f"REASON   {clean_line(message.reason)}"
    yield ""


def state(message: Message) -> str:
    """Return the word for where the message is: queued, accepted, received, ..."""
    return str(message.state).lower()


def size(count: int) -> str:
    """Write a number of bytes in the unit that people expect."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def _names(endpoints: Iterable[EndpointId]) -> str:
    return ", ".join(map(str, endpoints))
