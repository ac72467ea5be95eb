"""Commands that administer: parties, agreements, holds, logs, and what auditors get.

The running relay does their work (`admin`), or, with the relay stopped, the command itself under its lock;
there is never a second writer. The rules of `commands` hold here too.
"""

# Only what a command needs is imported, inside it.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from liaison import words
from liaison.relay import startup
from liaison.relay.command_options import AsJSON, Data, relay_of, settings_of
from liaison.relay.errors import BodyError

party = typer.Typer(no_args_is_help=True, help="Parties that this relay serves.")
agreement = typer.Typer(no_args_is_help=True, help="Agreements that this relay serves.")
hold = typer.Typer(no_args_is_help=True, help="Legal holds: agreements of which nothing is erased.")
audit = typer.Typer(no_args_is_help=True, help="What auditors are given.")
log = typer.Typer(no_args_is_help=True, help="The transparency logs of this relay.")

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The signed document.")]

_MAX_FILE = 2 << 20


@party.command("add")
def party_add(file: File, data: Data = None) -> None:
    """Admit a party, or its new keys, from its public party file."""
    done = _admin(data, {"do": "party.add", "document": _document(file)})
    typer.echo(f"admitted {done['party']} ({done['name']})")


@party.command("list")
def party_list(data: Data = None, as_json: AsJSON = False) -> None:  # noqa: FBT002 - a flag
    """List the admitted parties with the fingerprints of their roots."""
    parties = _admin(data, {"do": "party.list"})
    if as_json:
        typer.echo(json.dumps(parties, ensure_ascii=False))
        return
    for one in parties:
        typer.echo(f"{one['party']:10}{one['name']}")
        for root in one["roots"]:
            typer.echo(f"          root {root}")


@agreement.command("add")
def agreement_add(file: File, data: Data = None) -> None:
    """Admit an agreement that all its parties have signed."""
    done = _admin(data, {"do": "agreement.add", "document": _document(file)})
    typer.echo(f"admitted {done['agreement']} version {done['version']} ({done['digest'][:16]})")


@agreement.command("admit")
def agreement_admit(
    agreement_id: Annotated[
        str, typer.Argument(metavar="ID", help="The id of the agreement that waits.")
    ],
    data: Data = None,
) -> None:
    """Admit a new agreement that its parties have proposed here and all have signed."""
    done = _admin(data, {"do": "agreement.admit", "id": agreement_id})
    typer.echo(f"admitted {done['agreement']} version {done['version']} ({done['digest'][:16]})")


@agreement.command("list")
def agreement_list(data: Data = None, as_json: AsJSON = False) -> None:  # noqa: FBT002 - a flag
    """List the admitted agreements."""
    agreements = _admin(data, {"do": "agreement.list"})
    if as_json:
        typer.echo(json.dumps(agreements, ensure_ascii=False))
        return
    for one in agreements:
        parties = " ".join(one["parties"])
        typer.echo(f"{one['agreement']}  version {one['version']}  {parties}  {one['title']}")


Held = Annotated[str, typer.Argument(metavar="AGREEMENT", help="The agreement's id.")]


@hold.command("set")
def hold_set(
    agreement_id: Held,
    reason: Annotated[str, typer.Option(help="Why, for the operator's own list.")],
    data: Data = None,
) -> None:
    """Erase nothing of an agreement from now on; its parties see that there is a hold."""
    _admin(data, {"do": "hold.set", "agreement": agreement_id, "reason": reason})
    typer.echo(f"held {agreement_id}")


@hold.command("release")
def hold_release(agreement_id: Held, data: Data = None) -> None:
    """End a hold; what is over its time is erased with the next pass."""
    _admin(data, {"do": "hold.release", "agreement": agreement_id})
    typer.echo(f"released {agreement_id}")


@hold.command("list")
def hold_list(data: Data = None, as_json: AsJSON = False) -> None:  # noqa: FBT002 - a flag
    """List all holds, those released too."""
    from liaison.relay import times

    holds = _admin(data, {"do": "hold.list"})
    if as_json:
        typer.echo(json.dumps(holds, ensure_ascii=False))
        return
    for one in holds:
        until = "in force" if one["released_at"] is None else times.iso(one["released_at"])
        typer.echo(f"{one['agreement']}  {times.iso(one['set_at'])}  {until}  {one['reason']}")


@audit.command("export")
def audit_export(  # noqa: PLR0913, PLR0917 - one for each option
    partnership: Annotated[str, typer.Option(metavar="ID", help="The agreement's id.")],
    party_code: Annotated[
        str,
        typer.Option("--party", metavar="CODE", help="For whom; it opens what that party may see."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new bundle, a ZIP file.")],
    since: Annotated[
        str | None, typer.Option("--from", help="Open nothing older: 2026-11-01[T12:00:00Z], UTC.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Open nothing of this time or newer, UTC.")
    ] = None,
    generation: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of the log; else the one that goes on.")
    ] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Add the events as Parquet.")] = False,  # noqa: FBT002 - a flag
    report: Annotated[bool, typer.Option("--report", help="Add the report, an HTML page.")] = False,  # noqa: FBT002 - a flag
    data: Data = None,
) -> None:
    """Write a part of a partnership's log for one party's auditors; the log tells of it.

    The relay may be running. `liaison-auditor verify` checks the bundle, or the verify.py inside.
    """
    from liaison.model import PartyCode
    from liaison.relay import exporting, identity, times

    found = relay_of(data)
    wanted = exporting.Wanted(
        partnership,
        PartyCode.parse(party_code),
        None if since is None else times.parse(since),
        None if until is None else times.parse(until),
        parquet=parquet,
        report=report,
        generation=generation,
    )
    url = found.database_url(settings_of(found).database_url)
    with exporting.new_file(output) as (file, finish):
        keys = identity.load(found)
        made, told = exporting.run(url, found.logs, keys.log, wanted, file)
        # Told first: a bundle that is out of hand and not in the log can't be called back.
        _admin(data, {"do": "audit.exported", "export": json.dumps(told.to_json())})
        finish()
    typer.echo(
        f"wrote {output}: entries {made.facts.first} to {made.facts.end - 1},"
        f" {made.disclosed} opened for {party_code}, manifest {made.digest.hex()}"
    )


@log.command("status")
def log_status(data: Data = None, as_json: AsJSON = False) -> None:  # noqa: FBT002 - a flag
    """Say how far each log is, who has cosigned it, and what is wrong; exit 1 where one is refused."""
    from liaison.relay import log_words

    found = _admin(data, {"do": "log.status"})
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        for line in log_words.lines(found):
            typer.echo(line)
    if any(one["refused"] for one in found):
        raise typer.Exit(1)


@log.command("successor")
def log_successor(
    partnership: Annotated[str, typer.Option(metavar="ID", help="The agreement's id.")],
    data: Data = None,
    as_json: AsJSON = False,  # noqa: FBT002 - a flag
) -> None:
    """Print what an amendment has to say so that a new log follows one that can't go on."""
    from liaison.relay import log_words

    found = _admin(data, {"do": "log.successor", "agreement": partnership})
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        for line in log_words.successor(found):
            typer.echo(line)


@log.command("begin-root")
def log_begin_root(
    data: Data = None,
    lost: Annotated[  # noqa: FBT002 - a flag
        bool,
        typer.Option("--lost", help="More of it was signed than is here: it ends in any case."),
    ] = False,
) -> None:
    """Begin a new root log in the place of one that is refused; the old one stays as it is."""
    found = _admin(data, {"do": "log.begin_root"} | ({"lost": "yes"} if lost else {}))
    before = found["predecessor"]
    typer.echo(
        f"{found['log']} follows the first {words.entries(before['size'])} of {before['origin']}"
    )


def _document(file: Path) -> str:
    if file.stat().st_size > _MAX_FILE:
        raise BodyError(f"{file} is larger than {_MAX_FILE} bytes")
    try:
        return file.read_text()
    except UnicodeDecodeError:
        raise BodyError(f"{file} is not text") from None


def _admin(data: Path | None, request: dict[str, str]) -> Any:
    from liaison.relay import adminsocket

    found = relay_of(data)
    answer = adminsocket.ask(found, request)
    if answer is not None:
        return answer
    with startup.loading():
        from liaison.relay import admin, identity
        from liaison.relay import log as lines

    # What it finds wrong goes to stderr: stdout has the answer alone.
    lines.configure("warning")
    return admin.run_stopped(found, settings_of(found), identity.load(found), request)
