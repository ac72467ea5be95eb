"""`liaison agreement ...`: making, checking, signing and reading agreements."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from liaison.errors import VerificationError
from liaison_cli import documents, offices
from liaison_cli.context import Context, command
from liaison_cli.errors import NotFoundError, UsageProblemError

if TYPE_CHECKING:
    from liaison.policy.agreement import Agreement
    from liaison_cli.agreement_page import Draft

app = typer.Typer(
    help="Agreements: make, check, sign, read.", no_args_is_help=True, rich_markup_mode=None
)
_DAY: Final = 86_400
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]
FileArgument = Annotated[Path, typer.Argument(help="YAML, or a signed agreement.")]


class Relation(StrEnum):
    """The kinds of agreement that there are templates for."""

    BILATERAL = "bilateral"
    MULTILATERAL = "multilateral"
    HUMANITARIAN = "humanitarian"
    EXERCISE = "exercise"


class PartyMismatchError(VerificationError):
    """The agreement names other keys for a party than the party's own file."""

    code = "cli.party_mismatch"


@command(app)
def new(
    cli: Context,
    *,
    kind: Annotated[Relation, typer.Option(help="Which template.")],
    party: Annotated[list[Path], typer.Option(help="A party file; repeatable.")],
    relay: Annotated[Path, typer.Option(help="The relay's public identity, relay.json.")],
    agreement_id: Annotated[str, typer.Option("--id", help="Such as nor-deu-2026.")],
    output: OutputOption,
    title: Annotated[str, typer.Option(help="For people.")] = "",
    legal_basis: Annotated[str, typer.Option(help="For people.")] = "To be named by the parties.",
    days: Annotated[int, typer.Option(help="How long it is valid.", min=1, max=3660)] = 365,
    suite: Annotated[
        str | None, typer.Option(help="The cipher suite, such as 0xF002. [default: hybrid]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an older file.")] = False,
) -> None:
    """Write an agreement as YAML, complete and valid, for people to change."""
    from liaison.crypto import suites
    from liaison.policy import agreement_yaml, templates
    from liaison.policy.agreement import AgreementKind
    from liaison.policy.party import Party
    from liaison.policy.relay_identity import RelayIdentity

    documents.check_new(output, force=force)
    start = offices.now() // 60 * 60
    made = templates.new(
        AgreementKind(kind.value),
        agreement_id=agreement_id,
        parties=[Party.parse(documents.read(file)) for file in party],
        relay=RelayIdentity.parse(documents.read(relay)),
        valid_from=start,
        valid_until=start + days * _DAY,
        title=title,
        legal_basis=legal_basis,
        cipher_suite=suites.DEFAULT if suite is None else _suite(suite),
    )
    documents.write(output, agreement_yaml.render(made).encode())
    if output != documents.STANDARD:
        record = {"id": made.agreement_id, "version": made.version, "file": str(output)}
        cli.out.record(record, str(output))
        cli.out.hint(f"read it, change it, then: liaison agreement sign {output} -o FILE")


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
    draft = _draft(file)
    for other in party_file or ():
        _check_party(draft.agreement, other)
    cli.out.record(draft.record(), draft.verdict())


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
    draft = _draft(file)
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
def show(
    cli: Context,
    agreement: Annotated[
        str | None, typer.Argument(help="A file, or the id of one of this device's agreements.")
    ] = None,
) -> None:
    """Show an agreement as a page; with --json the document that is signed."""
    import asyncio

    from liaison_cli.agreement_page import page

    if agreement is not None and (agreement == "-" or Path(agreement).is_file()):
        draft = _draft(Path(agreement))
        found, signed = draft.agreement, draft.signed_by
    else:
        found = asyncio.run(_known(cli, agreement))
        signed = list(found.codes)
    cli.out.record(_document(found), page(found, signed))


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


def _document(agreement: Agreement) -> dict[str, Any]:
    return dict(agreement.document())


async def _known(cli: Context, agreement_id: str | None) -> Agreement:
    from liaison_cli import clients

    if agreement_id is not None and ("/" in agreement_id or "." in agreement_id):
        raise NotFoundError(f"there is no file {agreement_id}")
    async with clients.open_client(cli, receive=False) as client:
        if agreement_id is not None:
            return await client.agreement(agreement_id)
        return clients.only(await client.agreements(), "agreement", lambda a: a.agreement_id)


def _draft(file: Path) -> Draft:
    from liaison_cli.agreement_page import Draft

    return Draft.parse(documents.read(file))


def _check_party(agreement: Agreement, file: Path) -> None:
    from liaison.policy.party import Party

    party = Party.parse(documents.read(file))
    if agreement.party(party.code) != party:
        raise PartyMismatchError(
            f"the agreement names other keys for {party.code} than {file}",
            hint="do not sign it; find out who made it",
        )


def _suite(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise UsageProblemError(f"{text!r} is not a cipher suite, such as 0xF002") from None
