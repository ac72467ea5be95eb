"""`liaison agreement suspend | resume | withdraw | affirm | exclude | history`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liaison.errors import ConflictError
from liaison.model import PartyCode
from liaison_cli import agreement_files, documents, offices
from liaison_cli.agreement_proposals import PartyOption, YesOption
from liaison_cli.asking import agree
from liaison_cli.context import Context, command
from liaison_cli.errors import AmbiguousError, NotFoundError, UsageProblemError
from liaison_cli.terminal import clean_line

if TYPE_CHECKING:
    from liaison.policy.lifecycle import Event
    from liaison_sdk.agreements import HistoryEntry
    from liaison_sdk.registrar.acts import ExclusionOutcome
    from liaison_sdk.registrar.desk import RelayDesk

IdArgument = Annotated[str, typer.Argument(help="The agreement's id.")]
ReasonOption = Annotated[str, typer.Option(help="For people; stands in what is signed.")]


class AlreadyExcludedError(ConflictError):
    """The others have excluded the party before."""

    code = "cli.already_excluded"


async def suspend(
    cli: Context, agreement: IdArgument, reason: ReasonOption = "", party: PartyOption = None
) -> None:
    """Suspend the own party's participation, at once.

    Its devices send nothing more and are removed from every channel, until
    `liaison agreement resume`. In a bilateral agreement that stops all traffic.
    """
    from liaison.policy.lifecycle import Event

    await _declare(cli, agreement, Event.SUSPEND, reason, party)


async def resume(
    cli: Context, agreement: IdArgument, reason: ReasonOption = "", party: PartyOption = None
) -> None:
    """Take part again.

    The party's devices come back into channels when somebody adds them.
    """
    from liaison.policy.lifecycle import Event

    await _declare(cli, agreement, Event.RESUME, reason, party)


async def withdraw(
    cli: Context,
    agreement: IdArgument,
    reason: ReasonOption = "",
    party: PartyOption = None,
    yes: YesOption = False,
) -> None:
    """Leave an agreement for good, at once.

    There is no way back but a new agreement; what binds the parties after the end
    stands in the agreement itself.
    """
    from liaison.policy.lifecycle import Event

    code = offices.choose(cli, party)
    await agree(
        f"{code} leaves {agreement} for good; withdraw?", yes=yes, unchanged="nothing was signed"
    )
    await _declare(cli, agreement, Event.WITHDRAW, reason, party)


async def affirm(
    cli: Context, agreement: IdArgument, reason: ReasonOption = "", party: PartyOption = None
) -> None:
    """Say again how the own party takes part, before its last word is too old.

    The agreement says how often; from then on the others are warned, or send
    nothing more.
    """
    from liaison.policy.lifecycle import Event

    await _declare(cli, agreement, Event.AFFIRM, reason, party)


async def exclude(
    cli: Context,
    *,
    agreement: IdArgument,
    excluded: Annotated[str, typer.Argument(metavar="party", help="The party's code.")],
    reason: Annotated[
        str, typer.Option(help="For people; stands in what is signed. Needed by the first.")
    ] = "",
    from_file: Annotated[
        Path | None, typer.Option("--from", help="What another party has signed, as a file.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write what is signed, for the others.")
    ] = None,
    party: PartyOption = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an older file.")] = False,
    retract: Annotated[
        bool, typer.Option("--retract", help="Take back what this party has started instead.")
    ] = False,
    yes: YesOption = False,
) -> None:
    """Exclude another party, by the agreement's own rule. It is final.

    The first authority starts it with a reason; the others find it at the relay
    and join in with the same command. It holds once enough have signed. Until
    then the one that has started it can take it back from the relay, though not
    from whoever has a copy.
    """
    code = PartyCode.parse(excluded.upper())
    if retract:
        await _retract(cli, agreement, code, from_file, party)
        return
    if output is not None:
        documents.check_new(output, force=force)
    async with await offices.open_desk(cli, party) as desk:
        own = str(offices.choose(cli, party))
        begun = await _begun(desk, agreement, code, from_file)
        if begun is not None:
            cli.out.note(f"{', '.join(begun.signed)} gave as the reason: {begun.exclusion.reason}")
        if begun is not None and own in begun.signed:
            outcome = begun
        else:
            if begun is None:
                await _check_startable(desk, agreement, code, reason)
            question = f"exclude {code} from {agreement} for good?"
            await agree(question, yes=yes, unchanged="nothing was signed")
            outcome = (
                await desk.countersign_exclusion(begun.envelope)
                if begun is not None
                else await desk.exclude(agreement, code, reason=reason)
            )
    if output is not None:
        documents.write(output, outcome.envelope)
    if output != documents.STANDARD:
        _say_excluded(cli, outcome, output)


async def history(cli: Context, agreement: IdArgument, party: PartyOption = None) -> None:
    """Show what has happened to an agreement, oldest first.

    Its versions with who has signed them, what each party has said of its
    participation, and exclusions; all of it signed, and verified from the own
    authority's key. A version begins when it is valid and the relay had all
    signatures: that moment is the relay's word, a signature bears no date.
    """
    if party is None and agreement_files.has_device(cli):
        from liaison_cli import clients

        async with clients.open_client(cli, receive=False) as client:
            await clients.connect(cli, client)
            found = await client.agreement_history(agreement)
    else:
        async with await offices.open_desk(cli, party) as desk:
            found = await desk.history(agreement)
    cli.out.page(map(_record, found), map(_line, found), "nothing has happened yet")


def register(app: typer.Typer) -> None:
    """Add the commands to `liaison agreement`."""
    for verb in (suspend, resume, withdraw, affirm, exclude, history):
        command(app)(verb)


async def _declare(
    cli: Context, agreement: str, event: Event, reason: str, party: str | None
) -> None:
    from liaison.policy import lifecycle
    from liaison.policy.fields import format_instant

    async with await offices.open_desk(cli, party) as desk:
        said = await desk.declare(agreement, event, reason=reason)
    record = {
        "agreement": said.agreement_id,
        "party": str(said.party),
        "number": said.number,
        "state": said.state.value,
        "since": said.since,
        "reason": said.reason or None,
        "next_update": said.next_update,
    }
    until = format_instant(said.next_update)
    words = lifecycle.in_words(said.state)
    text = f"{said.party} {words}: {said.agreement_id}, statement {said.number}"
    cli.out.record(record, text)
    if said.state is not lifecycle.Participation.WITHDRAWN:
        cli.out.hint(f"say so again before {until}: liaison agreement affirm {said.agreement_id}")


async def _retract(
    cli: Context, agreement: str, code: PartyCode, file: Path | None, party: str | None
) -> None:
    async with await offices.open_desk(cli, party) as desk:
        begun = await _begun(desk, agreement, code, file)
        if begun is None:
            raise NotFoundError(f"no exclusion of {code} waits for signatures")
        await desk.retract_exclusion(begun.envelope)
    record = {"agreement": agreement, "party": str(code), "reason": begun.exclusion.reason}
    cli.out.record(record, f"the exclusion of {code} from {agreement} is taken back")


async def _check_startable(desk: RelayDesk, agreement: str, code: PartyCode, reason: str) -> None:
    from liaison.policy.lifecycle import Participation

    for one in (await desk.standing(agreement)).parties:
        if one.party == code and one.state is Participation.EXCLUDED:
            raise AlreadyExcludedError(f"{code} is excluded from {agreement} already")
    if not reason:
        raise UsageProblemError("nobody has started that: give a --reason")


async def _begun(
    desk: RelayDesk, agreement: str, code: PartyCode, file: Path | None
) -> ExclusionOutcome | None:
    """Return the exclusion of a party that others have signed, from the relay or from a file."""
    from liaison.policy import exclusion
    from liaison_sdk.registrar.acts import ExclusionOutcome

    if file is None:
        waiting = await desk.waiting_exclusions(agreement)
        found = [one for one in waiting if one.exclusion.party == code]
        if len(found) > 1:
            raise AmbiguousError(
                f"several exclusions of {code} have been started",
                hint="get the file of the one that is meant, and give it with --from",
            )
        return found[0] if found else None
    data = documents.read(file)
    said = exclusion.read(data)
    if (said.agreement_id, said.party) != (agreement, code):
        raise UsageProblemError(f"{file} excludes {said.party} from {said.agreement_id}")
    signed = exclusion.signers(data, await desk.agreement(agreement))
    return ExclusionOutcome(data, said, tuple(sorted(map(str, signed))), (), in_force=False)


def _say_excluded(cli: Context, outcome: ExclusionOutcome, output: Path | None) -> None:
    said = outcome.exclusion
    record = {
        "agreement": said.agreement_id,
        "party": str(said.party),
        "reason": said.reason,
        "signed": list(outcome.signed),
        "missing": list(outcome.missing),
        "in_force": outcome.in_force,
    }
    if output is not None:
        record["file"] = str(output)
    if outcome.in_force:
        text = f"{said.party} is excluded from {said.agreement_id}"
    else:
        waiting = f", not by {', '.join(outcome.missing)}" if outcome.missing else ""
        signed = ", ".join(outcome.signed)
        # Who has signed is the relay's word.
        text = clean_line(f"{said.party} is not excluded yet: signed by {signed}{waiting}")
    cli.out.record(record, text)
    if not outcome.in_force:
        cli.out.hint(
            f"the others join in with: liaison agreement exclude {said.agreement_id} {said.party}"
        )


def _record(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "at": int(entry.at.timestamp()),
        "kind": entry.kind.value,
        "text": entry.text,
        "party": None if entry.party is None else str(entry.party),
        "version": entry.version,
        "number": entry.number,
        "state": None if entry.state is None else entry.state.value,
        "reason": entry.reason or None,
        "until": _seconds(entry.until),
        "valid_from": _seconds(entry.valid_from),
        "signed_by": [str(code) for code in entry.signers],
    }


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())


def _line(entry: HistoryEntry) -> str:
    reason = f" ({entry.reason})" if entry.reason else ""
    until = f", until {_instant(entry.until)}" if entry.until is not None else ""
    signers = f", signed by {', '.join(map(str, entry.signers))}" if entry.signers else ""
    dated = entry.valid_from not in (None, entry.at)
    since = f", valid from {_instant(entry.valid_from)}" if dated and entry.valid_from else ""
    return f"{_instant(entry.at)}  {entry.text}{reason}{signers}{since}{until}"


def _instant(at: datetime) -> str:
    from liaison.policy.fields import format_instant

    return format_instant(int(at.timestamp()))
