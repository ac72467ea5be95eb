"""`liaison agreement ...`: making, checking, signing and reading agreements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liaison.errors import VerificationError
from liaison_cli import agreement_changes, agreement_files, agreement_new, documents, offices
from liaison_cli.context import Context, command

if TYPE_CHECKING:
    from liaison.policy.agreement import Agreement
    from liaison_cli.agreement_page import Draft

app = typer.Typer(
    help="Agreements: make, check, sign, read.", no_args_is_help=True, rich_markup_mode=None
)
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]
FileArgument = Annotated[Path, typer.Argument(help="YAML, or a signed agreement.")]


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
    for who, channel in agreement_words.uncleared(draft.agreement):
        level = draft.agreement.labels.default
        cli.out.note(f"{who} may be in {channel} channels and is not cleared for {level}")
    if not draft.agreement.is_in_force(offices.now()):
        cli.out.note(f"it is not in force now, but {_validity(draft.agreement)}")


@command(app)
def sign(
    cli: Context,
    file: FileArgument,
    output: OutputOption,
    party: Annotated[
        str | None, typer.Option("--party", help="Which party, where several are here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an older file.")] = False,
) -> None:
    """Sign an agreement as a party's authority.

    From YAML this makes the signed file; to a signed file it adds a signature.
    What is signed is the agreement with every key in it: check it first.
    """
    from liaison_cli.agreement_page import Draft
    from liaison_sdk.registrar import authority

    documents.check_new(output, force=force)
    draft = agreement_files.draft(file)
    store = offices.open_store(cli, party)
    if draft.envelope is None:
        envelope = authority.sign(store, draft.agreement)
    else:
        envelope = authority.countersign(store, draft.envelope, draft.agreement)
    documents.write(output, envelope)
    signed = Draft.parse(envelope)
    if output != documents.STANDARD:
        cli.out.record(signed.record() | {"file": str(output)}, signed.verdict())


@command(app)
async def show(
    cli: Context,
    agreement: Annotated[
        str | None, typer.Argument(help="A file, or the id of one of this device's agreements.")
    ] = None,
) -> None:
    """Show an agreement as a page; with --json the document that is signed."""
    from liaison_cli.agreement_page import page

    found = await _shown(cli, agreement)
    cli.out.record(dict(found.agreement.document()), page(found.agreement, found.signed_by))


@command(app, "list")
async def list_(cli: Context) -> None:
    """List the agreements of this device's party."""
    from liaison_cli import clients

    async with clients.open_client(cli, receive=False) as client:
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


async def _shown(cli: Context, name: str | None) -> Draft:
    from liaison_cli import clients
    from liaison_cli.agreement_page import Draft

    if name is not None:
        return await agreement_files.find(cli, name)
    async with clients.open_client(cli, receive=False) as client:
        found = clients.only(await client.agreements(), "agreement", lambda a: a.agreement_id)
    return Draft(found, found.codes, None)


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
