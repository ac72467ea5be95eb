"""`liaison-auditor witness ...`: make a party's witness, run it, ask it what it has seen."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liaison import words
from liaison_auditor.context import Context, command
from liaison_auditor.errors import (
    Exit,
    FileProblemError,
    UsageProblemError,
    WitnessStateError,
)

if TYPE_CHECKING:
    from liaison_auditor.witness.keys import WitnessKey
    from liaison_auditor.witness.state import Evidence, State

app = typer.Typer(
    help="Run a party's witness: it cosigns the logs that have only grown.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DataOption = Annotated[
    Path,
    typer.Option(
        "--data", help="The witness's folder.", file_okay=False, envvar="LIAISON_WITNESS_DATA"
    ),
]
_ALGORITHMS = ("ed25519", "ml-dsa-44")


def keygen(
    cli: Context,
    data: DataOption,
    name: Annotated[str, typer.Option(help="Its name in agreements, such as witness.mod.example.")],
    algorithm: Annotated[str, typer.Option(help="ed25519 or ml-dsa-44.")] = "ed25519",
) -> None:
    """Make a witness's folder with a key, or add a key of another algorithm.

    Prints the public key as notes and policies name it; `vkey` prints it as an
    agreement wants it.
    """
    from liaison_auditor.witness import keys
    from liaison_auditor.witness.settings import Folder

    if algorithm not in _ALGORITHMS:
        raise UsageProblemError(f"there is no algorithm {algorithm!r}", hint="ed25519 or ml-dsa-44")
    _check_name(name)
    key, line = keys.generate(name, keys.Algorithm(algorithm))
    folder = Folder(data)
    folder.create()
    keys.save(folder.keys / f"{algorithm}.key", line)
    cli.out.record(_described(key), str(key.public))


def vkey(
    cli: Context,
    data: DataOption,
    party: Annotated[str, typer.Option(help="The party whose witness it is, for the YAML.")] = "",
) -> None:
    """Print the witness's public keys as an agreement's `witnesses` section wants them.

    Each key counts as a witness of its own there, so an agreement names one of them,
    or each under another name.
    """
    from liaison_auditor.witness import keys
    from liaison_auditor.witness.settings import Folder

    for key in keys.load_all(Folder(data).keys):
        record = _described(key) | {"party": party or None}
        cli.out.record(record, _as_yaml(record))


def add_log(
    cli: Context,
    data: DataOption,
    log: Annotated[str, typer.Argument(help="The log's verifier key, or its origin.")],
    key: Annotated[
        str,
        typer.Option(help="With an origin: the log's Ed25519 key, base64, as in the agreement."),
    ] = "",
) -> None:
    """Let the witness follow a log; a running one has to be started again."""
    from liaison_auditor.witness.settings import Folder

    found = _log_key(log, key)
    added = Folder(data).add_log(found)
    record = {"origin": found.name, "vkey": str(found), "added": added}
    cli.out.record(record, f"{'follows' if added else 'follows already'} {found}")


async def serve(
    cli: Context,
    data: DataOption,
    listen: Annotated[
        str, typer.Option(help="Another address than witness.toml's, HOST:PORT.")
    ] = "",
) -> None:
    """Cosign until SIGTERM or SIGINT; prints its address once it listens.

    A log that forks, shrinks or proves nothing is reported on stderr, and `status` keeps
    the evidence.
    """
    import asyncio
    from dataclasses import replace

    from liaison.errors import LiaisonError
    from liaison.tlog.errors import ForkError, ProofError
    from liaison_auditor.witness import keys, settings
    from liaison_auditor.witness.running import forbid_core_dumps, listening
    from liaison_auditor.witness.server import Witness
    from liaison_auditor.witness.state import State

    forbid_core_dumps()
    folder = settings.Folder(data)
    found = folder.load()
    if listen:
        host, port = settings.address(listen)
        found = replace(found, host=host, port=port)
    if not found.logs:
        cli.out.note("it follows no log yet; liaison-auditor witness add-log adds one")

    def report(origin: str, error: LiaisonError) -> None:
        if isinstance(error, WitnessStateError):
            cli.out.error(error)
        if isinstance(error, (ForkError, ProofError)):
            cli.out.failure(
                error.code,
                f"{origin}: {error.message}",
                hint="liaison-auditor witness status shows what is held against it",
            )

    witness = Witness(keys.load_all(folder.keys), found.logs, State(folder.state), report=report)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with listening(witness, found) as url:
        cli.out.record({"url": url}, f"listening on {url}")
        await stop.wait()


def status(
    cli: Context,
    data: DataOption,
    save: Annotated[
        Path | None, typer.Option(help="Write the evidence into this folder, two notes each.")
    ] = None,
) -> Exit:
    """Show what was cosigned last for each log, and what is held against it.

    Exits 3 when a log has forked, has become shorter, or has not shown since that it only
    grew; 0 when all are well.
    """
    from liaison_auditor.witness.settings import Folder
    from liaison_auditor.witness.state import State

    folder = Folder(data)
    origins = sorted(folder.load().logs)
    if not folder.state.exists():
        cli.out.note("nothing was cosigned yet")
        return Exit.DONE
    state = State(folder.state)
    try:
        rows = [_status_of(state, origin) for origin in origins]
        held = state.evidence()
    finally:
        state.close()
    cli.out.table(rows, ("log", "size", "cosigned", "state"), "it follows no log yet")
    if save is not None:
        _save(cli, save, held)
    against = [item for item in held if not item.settled]
    for item in against:
        cli.out.failure(f"witness.{item.kind}", f"{item.origin}: {_words(item)}")
    return Exit.VERIFICATION if against else Exit.DONE


def register(main: typer.Typer) -> None:
    """Add the commands to `liaison-auditor`."""
    command(app)(keygen)
    command(app)(vkey)
    command(app, "add-log")(add_log)
    command(app)(serve)
    command(app)(status)
    main.add_typer(app, name="witness")


def _check_name(name: str) -> None:
    # What the lines of notes and policies can hold, and agreements accept.
    printable = name.isascii() and name.isprintable() and not set(" +") & set(name)
    if not 0 < len(name) <= 200 or not printable or name in {"none", "quorum"}:
        raise UsageProblemError(
            "a witness's name has up to 200 printable ASCII characters without blank and plus",
            hint="a name such as witness.mod.example",
        )


def _log_key(log: str, key: str) -> Any:
    from liaison.tlog.errors import VerifierKeyError
    from liaison.tlog.text import from_base64
    from liaison.tlog.vkey import SignatureType, VerifierKey

    if not key:
        return VerifierKey.parse(log)
    try:
        return VerifierKey(log, SignatureType.ED25519, from_base64(key))
    except ValueError as e:
        raise VerifierKeyError("the key is not base64") from e


def _described(key: WitnessKey) -> dict[str, Any]:
    from liaison.tlog.text import to_base64

    public = key.public
    return {
        "name": public.name,
        "vkey": str(public),
        "key": {"scheme": public.type.scheme.value, "public": to_base64(public.public)},
    }


def _as_yaml(record: dict[str, Any]) -> str:
    # A name may look like a number or a word of YAML; in quotes it stays a text.
    party = record["party"] or "# your party's code"
    return (
        f"# {record['vkey']}\n"
        f"- party: {party}\n"
        f'  name: "{record["name"]}"\n'
        f"  key:\n"
        f"    scheme: {record['key']['scheme']}\n"
        f"    public: {record['key']['public']}"
    )


def _status_of(state: State, origin: str) -> dict[str, Any]:
    last = state.latest(origin)
    held = [str(item.kind) for item in state.evidence(origin) if not item.settled]
    return {
        "log": origin,
        "size": None if last is None else last.checkpoint.size,
        "root": None if last is None else last.checkpoint.root.hex(),
        "cosigned": None if last is None else _shown(last.time),
        "state": sorted(set(held)) or ["nothing yet" if last is None else "well"],
    }


def _words(item: Evidence) -> str:
    from liaison_auditor.witness.state import Kind

    when = f"on {_shown(item.time)} it came with {words.entries(item.size)}"
    if item.kind is Kind.FORK:
        return f"{when} and another root than before: two signed histories"
    if item.kind is Kind.SHRUNK:
        return f"{when}, fewer than were cosigned: an old backup was restored, or entries were cut"
    return f"{when} and no proof that it had grown from what was cosigned"


def _shown(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _save(cli: Context, folder: Path, held: Sequence[Evidence]) -> None:
    if not folder.is_dir():
        raise FileProblemError(f"there is no folder {folder}", hint="make it first")
    for number, item in enumerate(held, 1):
        for side, data in (("ours", item.ours), ("theirs", item.theirs)):
            (folder / f"{number}-{item.kind}-{side}.note").write_bytes(data)
        (folder / f"{number}-{item.kind}.request").write_bytes(item.request)
    cli.out.note(f"{words.count(len(held), 'pair of notes is', 'pairs of notes are')} in {folder}")
