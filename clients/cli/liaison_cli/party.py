"""`liaison party ...`, for registrars: the party itself and its relay.

The verbs about devices are in `party_devices`, under the same name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liaison_cli import documents, offices, party_devices, party_watch
from liaison_cli.context import Context, KeyringOption, command
from liaison_cli.errors import NotAdmittedError, NotFoundError
from liaison_cli.terminal import clean_line

if TYPE_CHECKING:
    from liaison.policy.party import Party

app = typer.Typer(
    help="Registrar: a party, its keys, its devices.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

PartyOption = party_devices.PartyOption


def register(root: typer.Typer) -> None:
    """Add the group to `liaison`."""
    root.add_typer(app, name="party")


@command(app)
def init(
    cli: Context,
    code: Annotated[str, typer.Argument(help="The party's code, such as NOR.")],
    name: Annotated[str, typer.Option(help="The party's name, for people.")],
    years: Annotated[
        int, typer.Option(help="How long the root certificate is good.", min=1, max=30)
    ] = 10,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The public party file. [default: CODE.party.json]"),
    ] = None,
    keyring: KeyringOption = False,
) -> None:
    """Make a party: its root CA, its authority's key and its registrar's key.

    The private keys are sealed under the passphrase and stay here. The public
    party file is for the operator of the relay and for the other parties.
    """
    from liaison.model import PartyCode
    from liaison_sdk.registrar.office import RegistrarOffice

    party = PartyCode.parse(code)
    file = output or Path(f"{party.path}.party.json")
    documents.check_new(file)
    office = RegistrarOffice.found(
        cli.home,
        None if keyring else cli.passphrase(new=True),
        party,
        name,
        now=offices.now(),
        lifetime_days=365 * years,
    )
    documents.write(file, office.party.encode())
    record = {"party": str(party), "name": name, "file": str(file), "root": _root(office.party)}
    text = f"{party} ({name})\nroot  {record['root']}\nfile  {file}"
    cli.out.record(record, text)
    cli.out.hint("hand the file to the relay's operator, and tell them the root's fingerprint")


@command(app)
def export(
    cli: Context,
    code: Annotated[str | None, typer.Argument(help="The party's code.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write it; - is stdout.")
    ] = documents.STANDARD,
) -> None:
    """Write the public party file again."""
    from liaison_sdk.registrar.store import RegistrarStore

    party = RegistrarStore.public_party(cli.home, offices.choose(cli, code))
    documents.write(output, party.encode())
    if output != documents.STANDARD:
        cli.out.record({"party": str(party.code), "file": str(output)}, str(output))


@command(app, "list")
def list_(cli: Context) -> None:
    """List the parties whose registrar is here."""
    from liaison_sdk.registrar.store import RegistrarStore

    found = [
        RegistrarStore.public_party(cli.home, code) for code in RegistrarStore.parties(cli.home)
    ]
    rows = [{"party": str(p.code), "name": p.name, "root": _root(p)} for p in found]
    cli.out.table(rows, ("party", "name", "root"), "there is no registrar here")


@command(app)
def show(
    cli: Context,
    party: Annotated[
        str | None, typer.Argument(help="A code, or a party file that somebody sent.")
    ] = None,
) -> None:
    """Show a party's fingerprints, to compare them by another way.

    A party of this registrar is opened with the passphrase, and its relay and
    revocation list are shown too.
    """
    record = _of_file(Path(party)) if party and Path(party).is_file() else _of_office(cli, party)
    lines = [f"{record['party']} ({clean_line(record['name'])})"]
    for title, key in (
        ("root", "roots"),
        ("authority key", "authority_keys"),
        ("registrar key", "registrar_keys"),
    ):
        lines += [f"{title:<14} {value}" for value in record[key]]
    if record["own"]:
        lines.append(f"{'relay':<14} {record['relay'] or 'not connected'}")
        lines.append(f"{'revocations':<14} {record['revocation_list'] or 'no list yet'}")
    cli.out.record(record, "\n".join(lines))


@command(app)
async def connect(
    cli: Context,
    url: Annotated[str, typer.Argument(help="The relay, https://host:port.")],
    identity: Annotated[
        Path, typer.Option(help="The relay's public identity, relay.json, from its operator.")
    ],
    party: PartyOption = None,
) -> None:
    """Pin the party's relay, and prove that it knows this registrar.

    The relay must show that it holds the key in the identity file. The CA given
    with --ca is remembered, and the party's revocation list is published.
    """
    import time

    from liaison.policy.relay_identity import RelayIdentity
    from liaison.wire.handshake import HandshakeError
    from liaison.wire.problems import RemoteError

    relay = RelayIdentity.parse(documents.read(identity))
    office = offices.open_office(cli, party, online=True)
    from liaison_sdk.registrar import desk

    try:
        published = await desk.connect(office, url, relay, time.time, ca_pem=offices.ca_pem(cli.ca))
    except RemoteError as e:
        if e.remote_code != HandshakeError.code:
            raise
        raise NotAdmittedError(
            f"the relay does not know {office.party.code}, or other keys of it",
            hint="its operator admits the party file: liaison-relay party add FILE",
            unchanged="nothing was pinned",
        ) from e
    record = {
        "party": str(office.party.code),
        "relay": relay.origin,
        "url": url,
        "revocation_list": published.number,
    }
    cli.out.record(record, f"{office.party.code} uses the relay {relay.origin}")


party_devices.register(app)
party_watch.register(app)


def _root(party: Party) -> str:
    return party.roots[0].fingerprint


def _public(party: Party) -> dict[str, Any]:
    return {
        "party": str(party.code),
        "name": party.name,
        "roots": [root.fingerprint for root in party.roots],
        "authority_keys": [key.key_id for key in party.authority_keys],
        "registrar_keys": [key.key_id for key in party.registrar_keys],
        "relay": None,
        "revocation_list": None,
        "own": False,
    }


def _of_file(file: Path) -> dict[str, Any]:
    from liaison.policy.party import Party

    return _public(Party.parse(documents.read(file)))


def _of_office(cli: Context, code: str | None) -> dict[str, Any]:
    if code is not None and ("/" in code or code.endswith(".json")):
        raise NotFoundError(f"there is no file {code}")
    office = offices.open_office(cli, code)
    connection = office.state.connection
    current = office.revocation_list()
    return _public(office.party) | {
        "relay": connection.identity.origin if connection else None,
        "revocation_list": current.number if current else None,
        "own": True,
    }
