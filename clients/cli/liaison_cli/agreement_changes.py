"""`liaison agreement amend | diff | simulate`: the next version, and what it would change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liaison.errors import LiaisonError
from liaison.model import EndpointId
from liaison_cli import agreement_files, documents, offices
from liaison_cli.agreement_proposals import PartyOption
from liaison_cli.context import Context, command
from liaison_cli.errors import UsageProblemError

if TYPE_CHECKING:
    from liaison.policy.agreement import Agreement

NameArgument = Annotated[str, typer.Argument(help="A file (YAML or signed), or an agreement's id.")]


async def amend(
    cli: Context,
    agreement: NameArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    party: PartyOption = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an older file.")] = False,
) -> None:
    """Write the next version of an agreement as YAML, for people to change.

    It names the version before by its digest, and says the same until somebody
    changes it.
    """
    from dataclasses import replace

    from liaison.policy import agreement_yaml

    documents.check_new(output, force=force)
    found = await agreement_files.find(cli, agreement, party)
    old = found.agreement
    following = replace(old, version=old.version + 1, previous=old.digest())
    documents.write(output, agreement_yaml.render(following).encode())
    if not found.complete:
        missing = ", ".join(str(code) for code in old.codes if code not in found.signed_by)
        cli.out.note(f"version {old.version} is not signed by {missing}: it may still change")
    if output == documents.STANDARD:
        return
    record = {
        "id": following.agreement_id,
        "version": following.version,
        "previous": old.digest().hex(),
        "file": str(output),
    }
    cli.out.record(record, str(output))
    cli.out.hint(f"change it, then: liaison agreement simulate {output} --against {agreement}")


async def diff(
    cli: Context,
    old: Annotated[str, typer.Argument(help="A file (YAML or signed), or an agreement's id.")],
    new: Annotated[str, typer.Argument(help="Another one.")],
    party: PartyOption = None,
) -> None:
    """Show every field in which two agreements differ."""
    from liaison.policy import changes
    from liaison_cli import agreement_words

    before = (await agreement_files.find(cli, old, party)).agreement
    after = (await agreement_files.find(cli, new, party)).agreement
    found = changes.changed_fields(before, after)
    records = map(agreement_words.field_record, found)
    cli.out.page(records, agreement_words.field_lines(found), "they say the same")


async def simulate(
    cli: Context,
    new: Annotated[Path, typer.Argument(help="The amendment: YAML, or signed.")],
    against: Annotated[
        str | None,
        typer.Option(help="What it is compared with: a file or an id. [default: what is in force]"),
    ] = None,
    endpoint: Annotated[
        list[str] | None, typer.Option(help="Also for this endpoint; repeatable.")
    ] = None,
    offline: Annotated[bool, typer.Option("--no-sync", help="Do not ask the relay.")] = False,
    party: PartyOption = None,
) -> None:
    """Say who would gain and lose what under an amendment.

    For every endpoint that either version names, for those given with
    `--endpoint`, and where a device is enrolled here for every one in the relay's
    directory; whom nobody names are judged together. Signs and sends nothing.
    """
    from liaison_cli import agreement_words

    wanted = {EndpointId.parse(name) for name in endpoint or ()}
    after = agreement_files.draft(new).agreement
    if against is None and after.version == 1:
        raise UsageProblemError("version 1 changes nothing yet", hint="say --against")
    name = against or after.agreement_id
    before = (await agreement_files.find(cli, name, party, offline=offline)).agreement
    if not offline and agreement_files.has_device(cli):
        wanted |= await _directory(cli, before)
    found = agreement_words.effects(before, after, wanted, offices.now())
    title = f"{after.agreement_id}: version {before.version} -> version {after.version}"
    lines = [title, "", *agreement_words.effect_lines(found)]
    records = [effect.record() for effect in found]
    cli.out.page(records, lines, "nobody would gain or lose anything")
    _check_order(cli, before, after)


def register(app: typer.Typer) -> None:
    """Add the commands to `liaison agreement`."""
    for verb in (amend, diff, simulate):
        command(app)(verb)


async def _directory(cli: Context, agreement: Agreement) -> set[EndpointId]:
    """Return the endpoints of an agreement that have devices; those that are known without it."""
    from liaison_cli import clients

    async with clients.open_client(cli, receive=False) as client:
        try:
            await clients.reach(client)
            return {entry.device.endpoint for entry in await client.devices(agreement.agreement_id)}
        except LiaisonError as e:
            cli.out.note(f"{e.message}; this is for the endpoints that are named")
            return set()


def _check_order(cli: Context, before: Agreement, after: Agreement) -> None:
    from liaison.policy import succession
    from liaison.policy.standing import EVERYONE

    try:
        succession.check(before, after, EVERYONE, offices.now())
    except succession.SuccessionError as e:
        # Not a failure of the simulation: what it is for is to find such things before signing.
        cli.out.note(f"it could not follow: {e.message}")
