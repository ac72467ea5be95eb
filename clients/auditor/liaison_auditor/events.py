"""`liaison-auditor events`: what a bundle's entries say, filtered, in several formats."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from liaison import words
from liaison_auditor import bundles
from liaison_auditor.bundles import Bundle, PolicyFile, Required
from liaison_auditor.context import Context, command
from liaison_auditor.errors import FileProblemError, MissingExtraError, UsageProblemError

if TYPE_CHECKING:
    from liaison.audit.events import Event

_COLUMNS: Final = ("index", "time", "type", "channel", "party", "who", "what")
_WHO: Final = ("sender", "device", "subject", "agreement", "origin")
_WHAT: Final = ("action", "kind", "act", "change", "code", "step", "rule", "label", "reason")
_MAX_NAMED: Final = 3
"""Devices of a commit that people are shown; its `member` entries name all of them."""

_PSEUDONYM: Final = 8
"""Digits of a channel's pseudonym that people are shown; as many as a filter needs at least."""


class Format(StrEnum):
    """How events are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


def events(
    cli: Context,
    bundle: Bundle,
    *,
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="Of this type; repeatable.")
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="In the channel whose pseudonym begins so.")
    ] = None,
    party: Annotated[str | None, typer.Option(help="Of this party.")] = None,
    precedence: Annotated[
        str | None, typer.Option(help="With this precedence, for action or information.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="From this time on, as 2026-11-22T06:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.TABLE,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write them. [default: stdout]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an older file.")] = False,
    policy: PolicyFile = None,
    require: Required = None,
) -> None:
    """Write what the entries of BUNDLE say, after verifying it.

    What the bundle does not open can't be filtered by: of such an entry only its type, time and
    channel are known. Exits 3 where the bundle is not right; nothing is written then.
    """
    from liaison.tlog.fields import EntryType

    known = {each.value for each in EntryType}
    if unknown := sorted(set(type_ or ()) - known):
        raise UsageProblemError(
            f"no type of entries: {', '.join(unknown)}", hint=f"types: {', '.join(sorted(known))}"
        )
    if output is not None and output.exists() and not force:
        raise FileProblemError(
            f"{output} is there already",
            hint="choose another file, or write over it with --force",
            unchanged="nothing was written",
        )
    if format_ is Format.PARQUET:
        if output is None:
            raise UsageProblemError("Parquet goes to a file", hint="name it with --output")
        _check_parquet()
    low, high = (_time(each) for each in (since, until))
    bundles.verified(cli, bundle, policy, require)
    found = (
        event
        for event in bundles.events_of(bundle)
        if (not type_ or event.type in type_)
        and (channel is None or (event.channel or "").startswith(channel.lower()))
        and (party is None or event.text("party") == party)
        and (precedence is None or precedence.upper() in _precedences(event))
        and (low is None or low <= event.time)
        and (high is None or event.time < high)
    )
    if output is None:
        _print(cli, found, format_)
        return
    with output.open("wb") as file:
        count = _write(file, found, format_)
    cli.out.record(
        {"output": str(output), "events": count}, f"{output}: {words.count(count, 'event')}"
    )


def register(app: typer.Typer) -> None:
    """Add the command to `liaison-auditor`."""
    command(app)(events)


def _precedences(event: Event) -> tuple[str, str]:
    return event.text("action"), event.text("info")


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageProblemError(f"not a time: {text}", hint="as 2026-11-22T06:00Z") from error
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return int(when.timestamp() * 1000)


def _print(cli: Context, found: Iterator[Event], format_: Format) -> None:
    from liaison.audit import events as audit
    from liaison_auditor.output import clean_line

    if format_ is Format.CSV:
        for cells in (audit.COLUMNS, *(event.row() for event in found)):
            sys.stdout.write(audit.table([[clean_line(cell) for cell in cells]]).decode())
    elif format_ is Format.JSON or cli.out.as_json:
        for event in found:
            cli.out.record(event.to_json(), event.encode().decode().rstrip("\n"))
    else:
        cli.out.table(map(_line, found), _COLUMNS, "no such events")


def _check_parquet() -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError(
            "writing Parquet needs pyarrow",
            hint="install liaison-auditor[parquet]",
            unchanged="nothing was written",
        )


def _line(event: Event) -> dict[str, Any]:
    return {
        "index": event.index,
        "time": bundles.iso(event.time),
        "type": event.type.value,
        "channel": None if event.channel is None else event.channel[:_PSEUDONYM],
        "party": event.get("party"),
        "who": next(filter(None, (event.text(name) for name in _WHO)), None),
        "what": _what(event) if event.is_opened else "(not opened)",
    }


def _what(event: Event) -> str:
    said = [event.text(name) for name in _WHAT]
    match event.type.value:
        case "commit":
            said += [_ended(event)]
        case "delivered":
            said += [_range(event, "item")]
        case "export":
            said += [_range(event, "entry", "entries"), *event.texts("filters")]
        case "erasure":
            said += [_range(event, "entry", "entries")]
        case "checkpoint":
            size = event.number("size")
            said += [] if size is None else [words.entries(size)]
    return " ".join(filter(None, said))


def _ended(event: Event) -> str:
    """Say what a commit did; one that only renews keys names nobody."""
    parts = [f"epoch {event.epoch} ended"]
    for change in ("added", "removed"):
        if devices := event.texts(change):
            rest = len(devices) - _MAX_NAMED
            more = f" and {rest} more" if rest > 0 else ""
            parts.append(f"{change} {', '.join(devices[:_MAX_NAMED])}{more}")
    return "; ".join(parts)


def _range(event: Event, one: str, many: str = "") -> str:
    """Name a range, its last one included; empty where its ends are not opened, or there is none."""
    first, last = event.number("first"), event.number("last")
    if first is None or last is None:
        return ""
    return f"{one} {first}" if first == last else f"{many or one + 's'} {first} to {last}"


def _write(file: BinaryIO, found: Iterator[Event], format_: Format) -> int:
    from liaison.audit import events as audit

    count = 0

    def counted() -> Iterator[Event]:
        nonlocal count
        for event in found:
            count += 1
            yield event

    if format_ is Format.PARQUET:
        from liaison.audit import parquet

        parquet.write(counted(), file)
    elif format_ is Format.CSV:
        file.write(audit.header())
        file.writelines(audit.table([event.row()]) for event in counted())
    else:
        file.writelines(event.encode() for event in counted())
    return count
