"""`liaison-auditor verify`, `show` and `compare`: what a bundle is, and whether it is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liaison import words
from liaison_auditor import bundles
from liaison_auditor.bundles import Bundle, PolicyFile, Required
from liaison_auditor.context import Context, command
from liaison_auditor.errors import UsageProblemError

if TYPE_CHECKING:
    from liaison.audit.verify import Report


def verify(
    cli: Context, bundle: Bundle, policy: PolicyFile = None, require: Required = None
) -> None:
    """Check that every byte of BUNDLE is what the log and its witnesses have signed.

    Exits 0 when nothing is wrong, and 3 with the first entry that can't be believed and why.
    """
    found = bundles.verified(cli, bundle, policy, require)
    text = [f"{heading:12} {line}" for heading, line in bundles.lines(found)]
    cli.out.record(bundles.record(bundle, found), "\n".join([*text, "whole, and signed"]))
    for note in bundles.notes(found):
        cli.out.note(note)


def show(
    cli: Context,
    bundle: Bundle,
    index: Annotated[
        int | None, typer.Argument(help="An entry's number; without one, what the bundle is.")
    ] = None,
    policy: PolicyFile = None,
    require: Required = None,
) -> None:
    """Show what BUNDLE is of, or one of its entries, after verifying it.

    Exits 3 where the bundle is not right.
    """
    found = bundles.verified(cli, bundle, policy, require)
    facts = found.manifest.facts
    if index is None:
        _show_bundle(cli, bundle, found)
        return
    if not facts.first <= index < facts.end:
        raise UsageProblemError(f"the bundle has the entries {facts.first} to {facts.end - 1}")
    for event in bundles.events_of(bundle):
        if event.index == index:
            body = event.to_json()
            fields = body.pop("fields")
            lines = [f"{name:10} {_value(value)}" for name, value in body.items()]
            lines += ["fields     not opened"] if fields is None else []
            lines += [f"  {name:10} {_value(value)}" for name, value in (fields or {}).items()]
            cli.out.record(event.to_json(), "\n".join(lines))
            return


def compare(
    cli: Context,
    one: Bundle,
    other: Annotated[
        Path, typer.Argument(help="Another of the same log.", exists=True, dir_okay=False)
    ],
    policy: PolicyFile = None,
) -> None:
    """Check that two bundles show one history of one log: a fork is what two parties were shown.

    Exits 0 when they do, 3 when they show two histories or one of them is not right by itself, and
    1 when they are of different logs, name different keys, or nothing connects their ranges.
    """
    from liaison.audit.compare import compare as compared
    from liaison.audit.errors import BundleForkError

    trusted = bundles.read_policy(policy)
    if trusted is None:
        cli.out.note("the keys are those that the bundles name: give your own with --policy")
    try:
        with bundles.told(cli, one), one.open("rb") as a, other.open("rb") as b:
            found = compared(a, b, policy=trusted)
    except BundleForkError as error:
        fork = {"fork": True, "index": error.index, "size": error.size, "problem": error.message}
        cli.out.record(fork, f"two histories: {error.message}")
        raise
    shared = {"origin": found.origin, "first": found.first, "end": found.end}
    sizes = words.count(len(found.sizes), "signed size")
    entries = f"{words.entries(found.end - found.first)} and {sizes} in common"
    cli.out.record({"fork": False, **shared, "sizes": list(found.sizes)}, f"one history: {entries}")


def _show_bundle(cli: Context, bundle: Path, found: Report) -> None:
    facts, agreement = found.manifest.facts, found.manifest.facts.agreement
    asked = {"since": facts.since, "until": facts.until, "made_at": facts.made_at}
    times = {name: None if at is None else bundles.iso(at) for name, at in asked.items()}
    more = {"parties": dict(agreement.parties), "limits": dict(agreement.limits), **times}
    files = {name: file.size for name, file in found.manifest.files.items()}
    text = [*bundles.lines(found), *_more(found, times)]
    cli.out.record(
        {**bundles.record(bundle, found), **more, "files": files},
        "\n".join(f"{heading:12} {line}" for heading, line in text),
    )
    for note in bundles.notes(found):
        cli.out.note(note)


def _more(found: Report, times: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    agreement = found.manifest.facts.agreement
    for code in agreement.parties:
        yield "party", bundles.party(found, code)
    for precedence, seconds in agreement.limits.items():
        yield "limit", f"{precedence} to be acknowledged within {seconds} s"
    for name, time in times.items():
        if time is not None:
            yield name.replace("_", " "), time
    size = sum(file.size for file in found.manifest.files.values())
    yield "files", f"{len(found.manifest.files)}, {size} bytes"


def _value(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)


def register(app: typer.Typer) -> None:
    """Add the commands to `liaison-auditor`."""
    for verb in (verify, show, compare):
        command(app)(verb)
