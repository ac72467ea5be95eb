"""`liaison party watch`: what the logs say about a party's keys, compared with its books."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liaison import words
from liaison.errors import UnavailableError, VerificationError
from liaison_cli import offices
from liaison_cli.context import Context, command
from liaison_cli.party_devices import PartyOption

if TYPE_CHECKING:
    from liaison_sdk.registrar.comparing import KeyEvent
    from liaison_sdk.registrar.watching import Watched


class NotOurDoingError(VerificationError):
    """A log says something about the party's keys that this office has not done."""

    code = "cli.not_our_doing"


class LogNotReadError(UnavailableError):
    """A log could not be read on; what is in it since the last time is not known."""

    code = "cli.log_not_read"


async def watch(
    cli: Context,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take all alarms as looked into, first.")
    ] = False,
    party: PartyOption = None,
) -> None:
    """Read on in the logs, and tell what is new about the party's keys and acts.

    Every entry since the last time is read and checked: certificates, revocations,
    key packages, signatures of the authority, statements, exclusions. Exits 3 while
    there is an alarm: an entry that is not this office's doing, something that it
    signed and that is not there, or a log that is not whole. It stays one until
    somebody has looked into it and says --accept. Exits 1 where a log could not be
    read on.
    """
    async with await offices.open_desk(cli, party) as desk:
        if accept:
            count = await desk.accept_alarms()
            cli.out.note(f"{words.count(count, 'alarm is', 'alarms are')} taken as looked into")
        found = await desk.watch()
    records = [record(one) for one in found]
    text = (line for one in found for line in lines(one))
    cli.out.page(records, text, "no agreement of this party has a log yet")
    for one in found:
        if one.problem:
            cli.out.note(f"{one.agreement_id}: {one.problem}")
    alarms = sum(len(one.alarms) for one in found)
    if alarms:
        raise NotOurDoingError(
            f"{words.count(alarms, 'alarm')}: something in the log is not this office's doing",
            hint="find out who did it; a key of the party may be in other hands",
        )
    unread = [one.agreement_id for one in found if one.problem]
    if unread:
        raise LogNotReadError(
            f"the log of {', '.join(unread)} could not be read on",
            hint="try again; where that lasts, ask the relay's operator and the other parties",
        )


def register(app: typer.Typer) -> None:
    """Add the verb to `liaison party`."""
    command(app)(watch)


def record(watched: Watched) -> dict[str, Any]:
    """Return what programs are told of one log."""
    return {
        "agreement": watched.agreement_id,
        "size": watched.size,
        "problem": watched.problem or None,
        "events": [
            {
                "index": event.index,
                "time": event.time_ms // 1000,
                "act": event.act,
                "subject": event.subject,
                "serial": event.serial or None,
                "problem": event.problem or None,
            }
            for event in watched.events
        ],
        "alarms": [
            {"index": alarm.index, "text": alarm.text, "at": alarm.at} for alarm in watched.alarms
        ],
    }


def lines(watched: Watched) -> Iterator[str]:
    """Give what people read about one log."""
    yield f"{watched.agreement_id}: {words.entries(watched.size)} read, {_count(watched.events)}"
    for event in watched.events:
        at = datetime.fromtimestamp(event.time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        yield f"  {event.index:>6}  {at}  {event.act}  {event.subject}"
    for alarm in watched.alarms:
        where = f"entry {alarm.index}" if alarm.index >= 0 else "the log"
        yield f"  ALARM   {where}: {alarm.text}"


def _count(events: Sequence[KeyEvent]) -> str:
    return f"{len(events)} new about this party's keys"
