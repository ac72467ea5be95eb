"""`liaison agreement sign | propose | proposals | retract`: how a version gets its signatures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from liaison_cli import agreement_files, documents, offices
from liaison_cli.asking import agree
from liaison_cli.context import Context, command
from liaison_cli.errors import AmbiguousError, NotFoundError, UsageProblemError
from liaison_cli.terminal import clean_line

if TYPE_CHECKING:
    from liaison.policy.agreement import Agreement
    from liaison.wire.v1 import ProposalStatus
    from liaison_cli.agreement_page import Draft
    from liaison_sdk.registrar.desk import RelayDesk

PartyOption = Annotated[
    str | None, typer.Option("--party", help="Which party, where several are here.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_DIGITS: Final = 12
_MIN_DIGITS: Final = 4


async def sign(
    cli: Context,
    file: Annotated[Path | None, typer.Argument(help="YAML, or a signed agreement.")] = None,
    proposal: Annotated[
        str | None,
        typer.Option(help="Instead of a file, one at the relay: digits of its digest, or the id."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write.")
    ] = None,
    party: PartyOption = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an older file.")] = False,
    yes: YesOption = False,
) -> None:
    """Sign an agreement as a party's authority.

    From YAML this makes the signed file; to a signed file it adds a signature.
    What is signed is the agreement with every key in it: check it first. A
    proposal is fetched from the relay, shown with what it would change, and
    brought back once it is signed.
    """
    if proposal is not None:
        if file is not None or output is not None:
            raise UsageProblemError("a proposal comes from the relay and goes back there")
        await _sign_proposal(cli, proposal, party, yes=yes)
        return
    if file is None or output is None:
        raise UsageProblemError("give a file and --output FILE, or --proposal")
    from liaison_cli.agreement_page import Draft

    documents.check_new(output, force=force)
    envelope = offices.sign(offices.open_store(cli, party), agreement_files.draft(file))
    documents.write(output, envelope)
    signed = Draft.parse(envelope)
    if output != documents.STANDARD:
        cli.out.record(signed.record() | {"file": str(output)}, signed.verdict())


async def propose(
    cli: Context,
    file: Annotated[Path, typer.Argument(help="YAML, or a signed agreement.")],
    party: PartyOption = None,
) -> None:
    """Sign a version of an agreement, and bring it to the others.

    It waits at the relay for their signatures, and takes effect by itself once all parties have signed; the very first version
    when the relay's operator has admitted it.
    """
    draft = agreement_files.draft(file)
    office = offices.open_office(cli, party, online=True)
    envelope = draft.envelope
    if envelope is None or office.party.code not in draft.signed_by:
        envelope = offices.sign(office.store, draft)
    async with await offices.desk_of(cli, office) as desk:
        status = await desk.propose(envelope)
    _say(cli, draft.agreement, status)


async def proposals(cli: Context, party: PartyOption = None) -> None:
    """List the versions that wait for signatures, or for the operator."""
    async with await offices.open_desk(cli, party) as desk:
        rows = [_record(status) for status in await desk.proposals()]
    columns = ("proposal", "id", "version", "signed", "missing")
    cli.out.table(rows, columns, "there are no proposals")


async def retract(
    cli: Context,
    proposal: Annotated[str, typer.Argument(help="Digits of its digest, or the agreement's id.")],
    party: PartyOption = None,
) -> None:
    """Take back a version that this party has proposed, while it waits.

    A signature can't be taken back: whoever has a copy can bring it again, and
    the others may sign that. To be safe, agree on another version.
    """
    async with await offices.open_desk(cli, party) as desk:
        status = _named(proposal, await desk.proposals())
        await desk.retract(status.digest)
    name = clean_line(status.id)
    cli.out.record(_record(status), f"{name} version {status.version}: taken back")


def register(app: typer.Typer) -> None:
    """Add the commands to `liaison agreement`."""
    for verb in (sign, propose, proposals, retract):
        command(app)(verb)


async def _sign_proposal(cli: Context, name: str, party: str | None, *, yes: bool) -> None:
    from liaison_cli.agreement_page import Draft

    async with await offices.open_desk(cli, party) as desk:
        status = _named(name, await desk.proposals())
        text = Draft.parse(await desk.proposal(status.digest))
        record = await _show(cli, desk, text)
        question = f"sign {text.agreement.agreement_id} version {text.agreement.version}?"
        await agree(question, yes=yes, unchanged="nothing was signed")
        # By the digest of what was shown: the relay can't have another one signed.
        signed = await desk.countersign(text.agreement.digest())
    _say(cli, text.agreement, signed, record)


async def _show(cli: Context, desk: RelayDesk, text: Draft) -> dict[str, Any]:
    """Show what a proposal says or would change; return that for programs."""
    from liaison.policy import changes
    from liaison_cli import agreement_words
    from liaison_cli.agreement_page import page

    following = text.agreement
    if following.previous is None:
        if not cli.out.as_json:
            cli.out.record({}, page(following, text.signed_by))
        return {"changes": [], "effects": [], "log": []}
    before = await desk.agreement(following.agreement_id, following.version - 1)
    fields = changes.changed_fields(before, following)
    effects = agreement_words.effects(before, following, (), offices.now())
    log = agreement_words.log_lines(before, following, await desk.log_differences(following))
    if not cli.out.as_json:
        lines = [
            f"{following.agreement_id}: version {before.version} -> version {following.version}",
            "",
            *agreement_words.field_lines(fields),
            "",
            *log,
            *(
                agreement_words.effect_lines(effects)
                if effects
                else ["nobody gains or loses a right"]
            ),
            "",
        ]
        cli.out.page([{}], lines, "")
    return {
        "changes": [agreement_words.field_record(change) for change in fields],
        "effects": [effect.record() for effect in effects],
        "log": [line for line in log if line],
    }


def _named(name: str, listed: list[ProposalStatus]) -> ProposalStatus:
    found = [
        status
        for status in listed
        if status.id == name
        or (len(name) >= _MIN_DIGITS and status.digest.hex().startswith(name.lower()))
    ]
    if not found:
        raise NotFoundError(f"there is no proposal {name}", hint="see liaison agreement proposals")
    if len(found) > 1:
        names = ", ".join(status.digest.hex()[:_DIGITS] for status in found)
        raise AmbiguousError(f"there are several proposals {name}", hint=f"name one of: {names}")
    return found[0]


def _record(status: ProposalStatus) -> dict[str, Any]:
    return {
        "proposal": status.digest.hex()[:_DIGITS],
        "id": status.id,
        "version": status.version,
        "digest": status.digest.hex(),
        "signed": list(status.signed),
        "missing": list(status.missing),
        "active": status.active,
    }


def _say(
    cli: Context,
    text: Agreement,
    status: ProposalStatus,
    more: dict[str, Any] | None = None,
) -> None:
    # Names and digest are those of what was signed here; the rest is the relay's word.
    missing = clean_line(", ".join(status.missing))
    if status.active:
        state = "signed by all parties, and admitted"
    elif missing:
        state = f"proposed, not signed by {missing}"
    else:
        state = "signed by all parties; the relay's operator admits it"
    name, digits = text.agreement_id, text.digest().hex()[:_DIGITS]
    cli.out.record(_record(status) | (more or {}), f"{name} version {text.version}: {state}")
    if missing and not status.active:
        cli.out.hint(f"they sign it with: liaison agreement sign --proposal {digits}")
    elif not status.active:
        cli.out.hint(f"the operator's command: liaison-relay agreement admit {name}")
