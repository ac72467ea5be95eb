"""What the commands on bundles share: their arguments, and how they say what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liaison import words
from liaison_auditor.context import Context

if TYPE_CHECKING:
    from liaison.audit.events import Event
    from liaison.audit.verify import Report
    from liaison.tlog.policy import Policy

_MAX_POLICY_BYTES = 1 << 20

Bundle = Annotated[Path, typer.Argument(help="The exported bundle.", exists=True, dir_okay=False)]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy", help="A tlog-policy of your own: keys and quorum. [default: the bundle's]"
    ),
]
Required = Annotated[
    list[str] | None,
    typer.Option("--require", help="A witness that must have cosigned the end; repeatable."),
]


def read_policy(file: Path | None) -> Policy | None:
    """Read the auditor's own policy, if one was given."""
    from liaison.tlog.policy import Policy

    if file is None:
        return None
    with file.open("rb") as opened:
        return Policy.parse(opened.read(_MAX_POLICY_BYTES))


@contextmanager
def told(cli: Context, bundle: Path) -> Iterator[None]:
    """With `--json`, say what is wrong with a bundle and which entry it concerns, before it ends."""
    from liaison.audit.errors import BundleInvalidError

    try:
        yield
    except BundleInvalidError as error:
        if cli.out.as_json:
            wrong = {"index": error.index, "part": error.part, "problem": error.message}
            cli.out.record({"bundle": str(bundle), "valid": False, **wrong}, "")
        raise


def verified(cli: Context, bundle: Path, policy: Path | None, required: list[str] | None) -> Report:
    """Verify a bundle, or say what is wrong with it."""
    from liaison.audit.verify import verify

    trusted = read_policy(policy)
    with told(cli, bundle), bundle.open("rb") as file:
        return verify(file, policy=trusted, required=required or ())


def lines(found: Report) -> Iterator[tuple[str, str]]:
    """Say what was verified, in headings and texts."""
    from liaison_auditor.report import fingerprint

    facts, last = found.manifest.facts, found.checkpoints[-1]
    yield "log", facts.origin
    if facts.predecessor is not None:
        before = facts.predecessor
        yield "follows", f"{before.origin}, up to entry {before.size}, root {before.root.hex()}"
    yield "agreement", f"{facts.agreement.id}, {_versions(found)}"
    yield "for", party(found, facts.party)
    opened = f"{found.manifest.disclosed} opened"
    yield "entries", f"{facts.first} to {facts.end - 1}; {opened}"
    size = last.checkpoint.size
    yield "checkpoints", f"{len(found.checkpoints)}; the last of {words.entries(size)}"
    for name, seconds in sorted(last.witnesses.items()):
        key = fingerprint(found.policy.witnesses[name].key)
        yield "witness", f"{name} at {moment(seconds)}, key {key}"
    if not last.witnesses:
        yield "witness", "none: the log vouches for itself alone"
    for log_key in found.policy.log_keys(facts.origin):
        yield "log key", fingerprint(log_key)


def notes(found: Report) -> Iterator[str]:
    """Say what the verification does not show."""
    if not found.is_own_policy:
        yield "the keys are those that the bundle names: give your own with --policy"
    if found.attached:
        yield f"not checked, only signed by the log: what stands in {', '.join(found.attached)}"
    for each in found.misdated:
        yield f"{each.told()}: ask the relay's operator why"
    if not found.is_own_verifier:
        yield "the verify.py in the bundle is not the one that this program knows"
    if found.begun:
        where = "this range: an earlier bundle shows how"
        if found.manifest.facts.begins_with is not None:
            where = "this log: a bundle of the log that it follows shows how"
        yield f"{words.count(len(found.begun), 'channel')} began before {where}"


def record(bundle: Path, found: Report) -> dict[str, Any]:
    """Return what was verified, for `--json`."""
    facts, last = found.manifest.facts, found.checkpoints[-1]
    return {
        "bundle": str(bundle),
        "valid": True,
        "origin": facts.origin,
        "predecessor": None if facts.predecessor is None else facts.predecessor.values,
        "agreement": facts.agreement.id,
        "party": facts.party,
        "first": facts.first,
        "end": facts.end,
        "opened": found.manifest.disclosed,
        "checkpoints": [each.checkpoint.size for each in found.checkpoints],
        "witnesses": {name: moment(at) for name, at in sorted(last.witnesses.items())},
        "own_policy": found.is_own_policy,
        "misdated": [
            {
                "witness": each.witness,
                "late": each.is_late,
                "seconds": each.seconds,
                "entry": each.entry,
                "time": iso(each.time),
                "size": each.size,
                "cosigned_at": moment(each.cosigned_at),
                "checkpoints": each.checkpoints,
            }
            for each in found.misdated
        ],
        "not_checked": list(found.attached),
        "manifest": found.manifest.digest.hex(),
    }


def _versions(found: Report) -> str:
    """Name the versions of the agreement that were in force."""
    known = [str(each.version) for each in found.manifest.facts.agreement.versions]
    return f"{words.noun(len(known), 'version')} {', '.join(known) or '-'}"


def party(found: Report, code: str) -> str:
    """Name a party."""
    name = found.manifest.facts.agreement.parties.get(code)
    return code if name is None else f"{code} ({name})"


def moment(seconds: int) -> str:
    """Write the time of a cosignature."""
    from liaison.audit.dates import moment as write

    return write(seconds)


def iso(time: int) -> str:
    """Write Unix milliseconds."""
    from liaison.audit.events import iso as write

    return write(time)


def events_of(bundle: Path) -> Iterator[Event]:
    """Give the events of a bundle that was verified."""
    from liaison.audit.verify import read_events

    with bundle.open("rb") as file:
        yield from read_events(file)
