"""Opening a registrar's office, and its desk at the relay, for one command."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from liaison.model import PartyCode
from liaison_cli import startup
from liaison_cli.context import Context
from liaison_cli.errors import AmbiguousError, NotFoundError

if TYPE_CHECKING:
    from liaison_cli.agreement_page import Draft
    from liaison_sdk.registrar.desk import RelayDesk
    from liaison_sdk.registrar.office import RegistrarOffice
    from liaison_sdk.registrar.store import RegistrarStore


def now() -> int:
    """Return the time in Unix seconds."""
    return int(time.time())


def choose(cli: Context, code: str | None) -> PartyCode:
    """Return the party that a command is for: the named one, or the only one here.

    Raises:
        NotFoundError: there is none here.
        AmbiguousError: there are several.
    """
    from liaison_sdk.registrar.store import RegistrarStore

    if code is not None:
        return PartyCode.parse(code.upper())
    parties = RegistrarStore.parties(cli.home)
    if not parties:
        raise NotFoundError(
            f"there is no registrar in {cli.home}",
            hint="it is the registrar who does this, in a home of their own: --home FOLDER; "
            "a new party's is made with: liaison party init CODE --name NAME",
        )
    if len(parties) > 1:
        names = ", ".join(map(str, parties))
        raise AmbiguousError(f"there are several parties here: {names}", hint="say --party CODE")
    return parties[0]


def open_office(cli: Context, code: str | None, *, online: bool = False) -> RegistrarOffice:
    """Open the office under the passphrase; see `open_store`."""
    store = open_store(cli, code, online=online)
    from liaison_sdk.registrar.office import RegistrarOffice

    return RegistrarOffice(store)


def open_store(cli: Context, code: str | None, *, online: bool = False) -> RegistrarStore:
    """Open what an office has on disk.

    Args:
        cli: where the state is.
        code: the party's; None for the only one here.
        online: the relay will be needed, too.
    """
    from liaison_sdk.keystore import Keystore
    from liaison_sdk.registrar.store import RegistrarStore

    party = choose(cli, code)
    # Before anybody is asked for a passphrase.
    RegistrarStore.public_party(cli.home, party)
    folder = RegistrarStore.folder_of(cli.home, party)
    phrase = cli.passphrase() if Keystore.needs_passphrase(folder) else None
    # Argon2 runs on another core while the rest of the program is loaded on this one.
    unlocking = Keystore.opening(folder, phrase)
    if online:
        startup.load_network()
        import liaison_sdk.registrar.desk
    import liaison_sdk.registrar.office  # noqa: F401 - loaded for whoever has asked

    return RegistrarStore.of(unlocking.result())


async def open_desk(cli: Context, code: str | None) -> RelayDesk:
    """Open the office and return its desk at the relay; use it as a context manager."""
    return await desk_of(cli, open_office(cli, code, online=True))


async def desk_of(cli: Context, office: RegistrarOffice) -> RelayDesk:
    """Return an open office's desk at the relay; use it as a context manager."""
    from liaison_sdk.registrar.desk import RelayDesk

    return await RelayDesk.open(office, time.time, ca_pem=ca_pem(cli.ca))


def sign(store: RegistrarStore, draft: Draft) -> bytes:
    """Return an agreement with the signature of the store's authority on it.

    Raises:
        ForeignPartyError: it leaves the party out, or names other keys for it.
    """
    from liaison_sdk.registrar import authority

    if draft.envelope is None:
        return authority.sign(store, draft.agreement)
    return authority.countersign(store, draft.envelope, draft.agreement)


def ca_pem(file: Path | None) -> str | None:
    """Read the CA certificates that were named on the command line."""
    from liaison_cli import documents

    return documents.read_text(file) if file is not None else None
