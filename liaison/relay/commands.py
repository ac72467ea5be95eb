"""The commands of `liaison-relay`; each reads its options, calls one thing, prints.

`__main__` has the rules for output and exit status, and `admin_commands` what the running relay is asked to do.
"""

# Only what a command needs is imported, inside it: `--help` answers at once and
# `serve` is ready within a second.
# ruff: noqa: PLC0415

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from liaison import words
from liaison.relay import admin_commands, startup
from liaison.relay.command_options import Data, relay_of, settings_of
from liaison.relay.files import DataDir

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Run and administer a Liaison relay.",
)
app.add_typer(admin_commands.party, name="party")
app.add_typer(admin_commands.agreement, name="agreement")
app.add_typer(admin_commands.log, name="log")
app.add_typer(admin_commands.hold, name="hold")
app.add_typer(admin_commands.audit, name="audit")

# typer carries its own copy of click in some versions; its public errors lead to the classes of
# whichever it uses.
UsageProblem: Any = typer.BadParameter.__mro__[1]
Interrupted: Any = typer.Abort

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
    from liaison.relay import files, identity, settings, settings_words
    from liaison.storage import migrate

    found = DataDir.find(data)
    url = settings.check_origin(origin)
    identity.check_unused(found)
    files.make_private_directory(found.path)
    with files.exclusive(found):
        if not found.settings.exists():
            port = url.rpartition(":")[2] if url.count(":") > 1 else "8443"
            text = settings_words.template(f"127.0.0.1:{port}")
            files.write_public(found.settings, text.encode())
        migrate.upgrade(found.database_url(settings.load(found.path).database_url))
        identity.create(found, url, random_bytes)
    typer.echo(found.identity)


@app.command(name="migrate")
def migrate_command(data: Data = None) -> None:
    """Bring the database to this release's schema; the relay may be running."""
    from liaison.storage import migrate

    found = relay_of(data)
    url = found.database_url(settings_of(found).database_url)
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

    found = relay_of(data)
    serve.run(found, settings_of(found, listen=listen, tls="dev" if dev_tls else None))


@app.command()
def check(data: Data = None) -> None:
    """Look at settings, keys, TLS, database and disk; exit 1 where one would fail."""
    from liaison.relay import checks

    found = relay_of(data)
    findings = checks.run(found, lambda: settings_of(found))
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

    found = relay_of(data)
    made = backup.make(found, settings_of(found), folder, time.time_ns() // 1_000_000)
    size = sum(kept.size for kept in made.files.values())
    logs = words.count(len(made.logs), "log")
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
    typer.echo(relay_of(data).identity.read_text(), nl=False)


@app.command()
def metrics(data: Data = None) -> None:
    """Print what the running relay counts, as Prometheus reads it."""
    from liaison.relay import adminsocket
    from liaison.relay.errors import AdminError

    found = relay_of(data)
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
