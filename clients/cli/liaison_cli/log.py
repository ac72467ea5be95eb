"""`liaison log ...`: what the relay's log has shown this device, and what it should have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liaison import words
from liaison.errors import VerificationError
from liaison_cli import clients, documents
from liaison_cli.context import Context, command
from liaison_cli.errors import NotFoundError

if TYPE_CHECKING:
    from liaison_sdk.log_status import Alarm, ChannelLog, LogStatus
    from liaison_sdk.store.generations import EndedLog

app = typer.Typer(
    help="The relay's log: what is proven, and what is missing.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class LogUnsoundError(VerificationError):
    """The log does not show what it should, or contradicts what this device was given."""

    code = "cli.log_unsound"


def register(root: typer.Typer) -> None:
    """Add the group to `liaison`."""
    root.add_typer(app, name="log")


@command(app)
async def status(cli: Context) -> None:
    """Say what the logs have shown so far, without asking the relay."""
    async with clients.open_client(cli, offline=True) as client:
        found = await client.log_status()
    _print(cli, found)


@command(app)
async def verify(
    cli: Context,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole", help="Read every entry of the logs, too: 300 bytes for each message."
        ),
    ] = False,
) -> None:
    """Ask the logs for all that they have to show, and check it.

    Exits 3 where a log contradicts itself or what this device was given, where a message is not
    there that should be, where it does not have the certificate of a member, and where its
    witnesses have cosigned nothing for long.
    """
    async with clients.open_client(cli) as client:
        await clients.reach(client)
        await clients.sync(cli, client)
        found = await client.follow_logs(whole=whole)
    _print(cli, found)
    unsound = [one.agreement_id for one in found if not one.is_sound]
    if unsound:
        raise LogUnsoundError(
            f"the log of {', '.join(unsound)} does not show all that it should",
            hint="keep the evidence (liaison log evidence), and tell your registrar",
        )


@command(app)
async def evidence(
    cli: Context,
    number: Annotated[int, typer.Argument(help="Of the alarm, from liaison log status.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write it; - is stdout.")
    ] = documents.STANDARD,
) -> None:
    """Write what the relay had sent when an alarm was raised."""
    async with clients.open_client(cli, offline=True) as client:
        alarms = [alarm for one in await client.log_status() for alarm in one.alarms]
    for alarm in alarms:
        if alarm.number == number:
            documents.write(output, alarm.evidence + b"\n")
            return
    raise NotFoundError(f"there is no alarm {number}", hint="liaison log status lists them")


@command(app)
async def proof(
    cli: Context,
    message: Annotated[str, typer.Argument(help="An own message, by the beginning of its id.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write it; - is stdout.")
    ] = documents.STANDARD,
) -> None:
    """Write what proves to anybody that an own message is in the log.

    It was kept when the log first showed the message, so it holds whatever becomes of the relay.
    It shows sender, addressees, time and label, and nothing of the text.
    """
    async with clients.open_client(cli, offline=True) as client:
        found = await client.log_proof(await client.message(message))
    if found is None:
        raise NotFoundError(
            f"there is no proof of {message} here",
            hint="there is one of own messages that are logged; see liaison read",
        )
    documents.write(output, found + b"\n")


def record(status: LogStatus) -> dict[str, Any]:
    """Return what programs are told of a log."""
    return {
        "agreement": status.agreement_id,
        "origin": status.origin,
        "sound": status.is_sound,
        "size": status.size,
        "newest": status.newest,
        "witnesses": list(status.witnesses),
        "needed": list(status.needed),
        "asked_at": _seconds(status.asked_at),
        "advanced_at": _seconds(status.advanced_at),
        "problem": status.problem or None,
        "cosigned_at": _seconds(status.cosigned_at),
        "old": status.old or None,
        "read": list(status.read),
        "unread": status.unread or None,
        "channels": [
            {
                "channel": str(one.channel),
                "name": one.name,
                "epoch": one.epoch,
                "confirmed": one.confirmed,
                "overdue": one.overdue,
                "followed": one.followed,
                "unlogged": one.unlogged,
                "late": one.late,
            }
            for one in status.channels
        ],
        "devices": [
            {"device": one.device, "missing": one.missing, "since": _seconds(one.since)}
            for one in status.unlogged
        ],
        "alarms": [_alarm(one) for one in status.alarms],
        "ended": [
            {
                "generation": one.generation,
                "verified": one.size,
                "kept": one.kept,
                "given_up_messages": one.dropped,
                "unlogged_messages": one.unlogged,
                "at": one.at,
            }
            for one in status.ended
        ],
    }


def lines(status: LogStatus) -> Iterator[str]:
    """Give what people read about a log."""
    yield f"{status.agreement_id}  {status.origin}"
    yield f"  verified  {_verified(status)}"
    if status.problem:
        yield f"  problem   {status.problem}"
    if status.old:
        yield f"  OLD       {status.old}; it may show others more"
    yield f"  read      {_read(status)}"
    for channel in status.channels:
        yield f"  channel   {_channel(channel)}"
    for device in status.unlogged:
        known = "is not in the log" if device.missing else "could not be looked up"
        yield f"  device    {device.device} {known}, since {_moment(device.since)}"
    for ended in status.ended:
        yield f"  ended     {_ended(ended)}"
    for alarm in status.alarms:
        word = "past" if alarm.past else "ALARM"
        yield f"  {word} {alarm.number}   {_moment(alarm.at)} {alarm.text} ({alarm.code})"


def _print(cli: Context, found: Sequence[LogStatus]) -> None:
    text = (line for status in found for line in lines(status))
    cli.out.page(map(record, found), text, "no agreement here has a log")


def _verified(status: LogStatus) -> str:
    if not status.size:
        return "nothing yet"
    entries = words.entries(status.size)
    if status.newest > status.size:
        entries += f" of {status.newest}"
    if status.witnesses:
        return f"{entries}, cosigned by {', '.join(status.witnesses)}"
    return f"{entries}, by the relay's word: the agreement names no witness"


def _read(status: LogStatus) -> str:
    first, end = status.read
    if first == end:
        return status.unread or "nothing yet, entry by entry"
    said = f"entries {first} to {end - 1} one by one"
    return f"{said}; no more: {status.unread}" if status.unread else said


def _channel(channel: ChannelLog) -> str:
    said = [f"epoch {channel.epoch} {'confirmed' if channel.confirmed else 'unconfirmed'}"]
    if channel.overdue:
        said[0] += ", long overdue"
    if channel.unlogged:
        said.append(f"{channel.unlogged} not logged")
    if channel.late:
        said.append(f"{channel.late} of them late")
    return f"{channel.name}: {', '.join(said)}"


def _ended(ended: EndedLog) -> str:
    kept = words.count(ended.kept, "counts", "count")
    said = [f"log {ended.generation}: {words.entries(ended.size)} verified, {kept}"]
    if ended.dropped:
        said.append(f"{words.count(ended.dropped, 'message')} logged in what they gave up")
    if ended.unlogged:
        said.append(f"{words.count(ended.unlogged, 'message was', 'messages were')} in no log")
    return "; ".join(said)


def _alarm(alarm: Alarm) -> dict[str, Any]:
    return {
        "number": alarm.number,
        "channel": None if alarm.channel is None else str(alarm.channel),
        "code": alarm.code,
        "text": alarm.text,
        "at": _seconds(alarm.at),
        "past": alarm.past,
    }


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())
