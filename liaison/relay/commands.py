"""The commands of `liaison-relay`; each reads its options, calls one thing, prints.

`__main__` has the rules for output and exit status.
"""

# Only what a command needs is imported, inside it: `--help` answers at once and
# `serve` is ready within a second.
# ruff: noqa: PLC0415

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liaison.relay import startup
from liaison.relay.errors import BodyError
from liaison.relay.files import DataDir

if TYPE_CHECKING:
    from liaison.relay.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Run and administer a Liaison relay.",
)
party = typer.Typer(no_args_is_help=True, help="Parties that this relay serves.")
agreement = typer.Typer(no_args_is_help=True, help="Agreements that this relay serves.")
hold = typer.Typer(no_args_is_help=True, help="Legal holds: agreements of which nothing is erased.")
audit = typer.Typer(no_args_is_help=True, help="What auditors are given.")
log = typer.Typer(no_args_is_help=True, help="The transparency logs of this relay.")
app.add_typer(party, name="party")
app.add_typer(agreement, name="agreement")
app.add_typer(log, name="log")
app.add_typer(hold, name="hold")
app.add_typer(audit, name="audit")

Data = Annotated[
    Path | None,
    typer.Option("--data", help="The relay's data directory; else LIAISON_RELAY_DATA."),
]
File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The signed document.")]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# typer carries its own copy of click in some versions; its public errors lead to the classes of
# whichever it uses.
UsageProblem: Any = typer.BadParameter.__mro__[1]
Interrupted: Any = typer.Abort

_MAX_FILE = 2 << 20
DEFAULT_ORIGIN = "https://127.0.0.1:8443"


@app.command()
def init(
    data: Data = None,
    origin: Annotated[
        str, typer.Option(help="Where clients reach it: scheme, host and port.")
    ] = DEFAULT_ORIGIN,
) -> None:
    """Make a relay: its keys, its identity document, its settings, its database.

    Prints the path of the public identity document, which registrars and
    agreements need. A directory that holds a relay is left as it is.
    """
    from liaison.crypto.secret import random_bytes
    from liaison.relay import files, identity, settings
    from liaison.storage import migrate

    found = DataDir.find(data)
    url = settings.check_origin(origin)
    identity.check_unused(found)
    files.make_private_directory(found.path)
    with files.exclusive(found):
        if not found.settings.exists():
            port = url.rpartition(":")[2] if url.count(":") > 1 else "8443"
            files.write_public(found.settings, settings.template(f"127.0.0.1:{port}").encode())
        migrate.upgrade(found.database_url(settings.load(found.path).database_url))
        identity.create(found, url, random_bytes)
    typer.echo(found.identity)


@app.command(name="migrate")
def migrate_command(data: Data = None) -> None:
    """Bring the database to this release's schema; the relay may be running."""
    from liaison.storage import migrate

    found = _relay(data)
    url = found.database_url(_settings(found).database_url)
    migrate.upgrade(url)
    typer.echo(f"schema {migrate.head()}")


@app.command(name="serve")
def serve_command(
    data: Data = None,
    listen: Annotated[
        str | None, typer.Option(help="Address and port; port 0 takes a free one.")
    ] = None,
    dev_tls: Annotated[  # noqa: FBT002 - typer turns it into a flag
        bool, typer.Option("--dev-tls", help="Make a local CA for trials: ca.pem in the data.")
    ] = False,
) -> None:
    """Serve until SIGTERM; prints `listening on https://...` when ready."""
    with startup.loading():
        from liaison.relay import serve

    found = _relay(data)
    serve.run(found, _settings(found, listen=listen, tls="dev" if dev_tls else None))


@app.command()
def check(data: Data = None) -> None:
    """Look at settings, keys, TLS, database and disk; exit 1 where one would fail."""
    from liaison.relay import checks

    found = _relay(data)
    findings = checks.run(found, lambda: _settings(found))
    for finding in findings:
        typer.echo(f"{finding.verdict:8}{finding.check:12}{finding.text}")
    if any(finding.verdict is checks.Verdict.FAILED for finding in findings):
        raise typer.Exit(1)


@app.command(name="backup")
def backup_command(
    folder: Annotated[Path, typer.Argument(help="A new folder; it gets no private key.")],
    data: Data = None,
) -> None:
    """Back the relay up and check the copy; the relay may be running."""
    import time

    from liaison.relay import backup

    found = _relay(data)
    made = backup.make(found, _settings(found), folder, time.time_ns() // 1_000_000)
    size = sum(kept.size for kept in made.files.values())
    logs = "1 log" if len(made.logs) == 1 else f"{len(made.logs)} logs"
    typer.echo(f"wrote {folder}: {size >> 10} KiB, {logs}, checked")
    if not made.was_stopped:
        typer.echo(
            "liaison-relay: hint: the relay is running: what it accepts from now on is not in it",
            err=True,
        )


@app.command(name="restore")
def restore_command(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="What `backup` wrote.")
    ],
    data: Data = None,
    keys: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A copy of the relay's keys/."),
    ] = None,
    root_checkpoint: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="The root log's newest checkpoint that is known."
        ),
    ] = None,
    lost_root_log: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--lost-root-log", help="The root log's end is lost: begin a new one.")
    ] = False,
) -> None:
    """Make a data directory of a backup, whose files and logs are checked first."""
    import time

    from liaison.relay import restoring, times

    found = DataDir.find(data)
    known = None if root_checkpoint is None else root_checkpoint.read_bytes()
    root = restoring.RootWord(known, lost_root_log)
    done = restoring.restore(folder, found, keys, root, time.time_ns() // 1_000_000)
    typer.echo(
        f"restored {done.manifest.origin} as it was at {times.iso(done.manifest.made_ms)}"
        f" into {found.path}"
    )
    if done.lost_root:
        typer.echo(
            f"liaison-relay: hint: {done.lost_root} ends here: liaison-relay log begin-root"
            f" --data {found.path} before it serves",
            err=True,
        )
    if done.missing_keys:
        typer.echo(f"liaison-relay: hint: put its keys into {found.keys}", err=True)
    typer.echo(
        f"liaison-relay: hint: see what liaison-relay check --data {found.path} says", err=True
    )


@app.command()
def identity(data: Data = None) -> None:
    """Print the public identity document."""
    typer.echo(_relay(data).identity.read_text(), nl=False)


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

    found = _relay(data)
    wanted = exporting.Wanted(
        partnership,
        PartyCode.parse(party_code),
        None if since is None else times.parse(since),
        None if until is None else times.parse(until),
        parquet=parquet,
        report=report,
        generation=generation,
    )
    url = found.database_url(_settings(found).database_url)
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
    typer.echo(f"{found['log']} follows the first {before['size']} entries of {before['origin']}")


@app.command()
def metrics(data: Data = None) -> None:
    """Print what the running relay counts, as Prometheus reads it."""
    from liaison.relay import adminsocket
    from liaison.relay.errors import AdminError

    found = _relay(data)
    text = adminsocket.ask(found, {"do": "metrics"})
    if text is None:
        raise AdminError("the relay is not running", hint="only a running relay counts")
    typer.echo(text, nl=False)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit status.

    Raises:
        UsageProblem: it was not understood.
        Interrupted: the operator ended it.
        LiaisonError, OSError: it failed.
    """
    result = _asked(arguments).main(
        args=list(arguments), prog_name="liaison-relay", standalone_mode=False
    )
    return result if isinstance(result, int) else 0


def _asked(arguments: Sequence[str]) -> Any:
    """Make ready the command that is asked for; all of them where none is, as help and completion do."""
    name = arguments[0] if arguments else ""
    part = copy.copy(app)
    part.registered_commands = [
        info
        for info in app.registered_commands
        if info.callback and name == (info.name or info.callback.__name__)
    ]
    part.registered_groups = [info for info in app.registered_groups if name == info.name]
    if part.registered_commands or part.registered_groups:
        return typer.main.get_group(part)
    return typer.main.get_command(app)


def _relay(data: Path | None) -> DataDir:
    found = DataDir.find(data)
    found.require()
    return found


def _settings(found: DataDir, **overrides: object) -> Settings:
    from liaison.relay import settings

    return settings.load(found.path, **overrides)


def _document(file: Path) -> str:
    if file.stat().st_size > _MAX_FILE:
        raise BodyError(f"{file} is larger than {_MAX_FILE} bytes")
    try:
        return file.read_text()
    except UnicodeDecodeError:
        raise BodyError(f"{file} is not text") from None


def _admin(data: Path | None, request: dict[str, str]) -> Any:
    from liaison.relay import adminsocket

    found = _relay(data)
    answer = adminsocket.ask(found, request)
    if answer is not None:
        return answer
    with startup.loading():
        from liaison.relay import admin, identity
        from liaison.relay import log as lines

    # What it finds wrong goes to stderr: stdout has the answer alone.
    lines.configure("warning")
    return admin.run_stopped(found, _settings(found), identity.load(found), request)
