"""`liaison agreement ...`: checking and reading agreements.

The other verbs are in `agreement_new`, `agreement_changes`, `agreement_proposals` and
`agreement_life`, under the same name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liaison.errors import VerificationError
from liaison_cli import (
    agreement_changes,
    agreement_files,
    agreement_life,
    agreement_log,
    agreement_new,
    agreement_proposals,
    documents,
    offices,
)
from liaison_cli.context import Context, command

if TYPE_CHECKING:
    from liaison.policy.agreement import Agreement

app = typer.Typer(
    help="Agreements: make, sign, read, change, end.", no_args_is_help=True, rich_markup_mode=None
)
FileArgument = Annotated[Path, typer.Argument(help="YAML, or a signed agreement.")]


def register(root: typer.Typer) -> None:
    """Add the group to `liaison`."""
    root.add_typer(app, name="agreement")


class PartyMismatchError(VerificationError):
    """The agreement names other keys for a party than the party's own file."""

    code = "cli.party_mismatch"


agreement_new.register(app)


@command(app)
def check(
    cli: Context,
    file: FileArgument,
    party_file: Annotated[
        list[Path] | None,
        typer.Option(help="A party file got by another way, to compare; repeatable."),
    ] = None,
) -> None:
    """Check that an agreement is sound, and say who has signed it.

    Exits 3 when a signature does not hold or a party's keys are not the ones in
    its party file. Signatures are checked by the keys in the agreement itself:
    compare those with `--party-file`, or by their fingerprints.
    """
    from liaison_cli import agreement_words

    draft = agreement_files.draft(file)
    for other in party_file or ():
        _check_party(draft.agreement, other)
    cli.out.record(draft.record(), draft.verdict())
    for remark in agreement_words.label_remarks(draft.agreement):
        cli.out.note(remark)
    if not draft.agreement.is_in_force(offices.now()):
        cli.out.note(f"it is not in force now, but {_validity(draft.agreement)}")


agreement_proposals.register(app)


@command(app)
async def show(
    cli: Context,
    agreement: Annotated[
        str | None, typer.Argument(help="A file, or an agreement's id. [default: the only one]")
    ] = None,
    party: agreement_proposals.PartyOption = None,
) -> None:
    """Show an agreement as a page; with --json the document that is signed.

    By its id it is shown as it is in force, with how each party takes part now.
    """
    from liaison_cli.agreement_page import page

    if agreement is not None and agreement_files.is_file(agreement):
        draft = agreement_files.draft(Path(agreement))
        text = page(draft.agreement, draft.signed_by)
        cli.out.record(dict(draft.agreement.document()), text)
        return
    from liaison.policy.fields import format_instant

    found = await agreement_files.standing(cli, agreement or await _only(cli), party)
    in_force = found.agreement
    cli.out.record(dict(in_force.document()), page(in_force, in_force.codes, found))
    if found.newest.version > in_force.version:
        start = format_instant(found.newest.valid_from)
        cli.out.note(f"version {found.newest.version} begins at {start}")


agreement_log.register(app)


@command(app, "list")
async def list_(cli: Context) -> None:
    """List the agreements of this device's party."""
    from liaison_cli import clients

    async with clients.open_client(cli, receive=False) as client:
        await clients.connect(cli, client)
        found = await client.agreements()
    rows = [
        {
            "id": a.agreement_id,
            "version": a.version,
            "title": a.title,
            "parties": [str(code) for code in a.codes],
            "valid_until": a.valid_until,
            "channels": [policy.name for policy in a.channels],
        }
        for a in found
    ]
    columns = ("id", "version", "title", "parties", "channels")
    cli.out.table(rows, columns, "there is no agreement yet")


async def _only(cli: Context) -> str:
    from liaison_cli import clients

    async with clients.open_client(cli, receive=False) as client:
        await clients.connect(cli, client)
        found = clients.only(await client.agreements(), "agreement", lambda a: a.agreement_id)
    return found.agreement_id


def _validity(agreement: Agreement) -> str:
    from liaison.policy.fields import format_instant

    start, end = format_instant(agreement.valid_from), format_instant(agreement.valid_until)
    return f"from {start} to {end}"


def _check_party(agreement: Agreement, file: Path) -> None:
    from liaison.policy.party import Party

    party = Party.parse(documents.read(file))
    if agreement.party(party.code) != party:
        raise PartyMismatchError(
            f"the agreement names other keys for {party.code} than {file}",
            hint="do not sign it; find out who made it",
        )


agreement_changes.register(app)
agreement_life.register(app)
