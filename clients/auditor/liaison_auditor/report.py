"""`liaison-auditor report`: verify a bundle, and make its report anew from what was verified."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liaison import words
from liaison_auditor import bundles
from liaison_auditor.bundles import Bundle, PolicyFile, Required
from liaison_auditor.context import Context, command
from liaison_auditor.errors import FileProblemError

if TYPE_CHECKING:
    from liaison.audit.report import Checked
    from liaison.audit.verify import Report
    from liaison.tlog.policy import Policy
    from liaison.tlog.vkey import VerifierKey


def report(
    cli: Context,
    bundle: Bundle,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write it. [default: beside the bundle]"),
    ] = None,
    policy: PolicyFile = None,
    require: Required = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an older file.")] = False,
) -> None:
    """Verify BUNDLE and write its report: one HTML file that needs nothing else.

    Nothing is written of a bundle that does not verify; the exit code is 3 then.
    """
    from liaison.audit.report import Summary, render
    from liaison.audit.verify import read_head, verify

    target = output or bundle.with_suffix(".html")
    if target.exists() and not force:
        raise FileProblemError(
            f"{target} is there already",
            hint="choose another file with --output, or write over it with --force",
            unchanged="nothing was written",
        )
    trusted = bundles.read_policy(policy)
    with bundles.told(cli, bundle), bundle.open("rb") as file:
        summary = Summary(read_head(file, policy=trusted).manifest.facts)
        found = verify(file, policy=trusted, required=require or (), take=summary.add)
    page = render(summary, _checked(found, tuple(require or ())))
    target.write_text(page, encoding="utf-8")
    record = {"report": str(target), "entries": found.manifest.entries}
    cli.out.record(record, f"{target}: of {words.entries(found.manifest.entries)}, verified")


def register(app: typer.Typer) -> None:
    """Add the command to `liaison-auditor`."""
    command(app)(report)


def _checked(found: Report, required: tuple[str, ...]) -> Checked:
    from liaison.audit.report import Checked

    parties = found.manifest.facts.agreement.parties
    owners = {
        member: name
        for name, group in found.policy.groups.items()
        if name in parties
        for member in group.members
    }
    return Checked(
        at=time.time_ns() // 1_000_000,
        entries=found.manifest.entries,
        opened=found.manifest.disclosed,
        checkpoints=found.checkpoints,
        is_own_policy=found.is_own_policy,
        keys=tuple(_keys(found.policy, found.manifest.facts.origin)),
        owners=owners,
        required=required,
        notes=tuple(_notes(found)),
    )


def _keys(policy: Policy, origin: str) -> Iterator[tuple[str, str, str]]:
    for key in policy.log_keys(origin):
        yield "log", key.name, fingerprint(key)
    for name, listed in policy.witnesses.items():
        yield "witness", name, fingerprint(listed.key)


def fingerprint(key: VerifierKey) -> str:
    """Return what `liaison agreement show` prints of the same key, 64 hex digits."""
    scheme = key.type.scheme.encode()
    return hashlib.sha256(b"liaison key v1\0" + scheme + b"\0" + key.public).hexdigest()


def _notes(found: Report) -> Iterator[str]:
    from liaison.audit.report import told

    if found.begun:
        begun = words.count(len(found.begun), "channel")
        yield f"{begun} began before this range: an earlier bundle shows how."
    yield from told(found.misdated)
    if not found.is_own_verifier:
        yield "The verify.py in the bundle is not the one that this program knows."
