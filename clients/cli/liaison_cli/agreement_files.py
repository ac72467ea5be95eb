"""Finding an agreement: in a file, with this device, or with the registrar's relay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from liaison_cli import documents
from liaison_cli.context import Context
from liaison_cli.errors import NotFoundError

if TYPE_CHECKING:
    from liaison_cli.agreement_page import Draft
    from liaison_sdk.agreements import AgreementStanding


def draft(file: Path) -> Draft:
    """Read an agreement from a file, `-` from stdin; YAML or signed.

    Raises:
        FileProblemError: it can't be read.
        DocumentError: it is no agreement.
        BadSignatureError: a signature under it does not hold.
    """
    from liaison_cli.agreement_page import Draft

    return Draft.parse(documents.read(file))


def is_file(name: str) -> bool:
    """Whether a name on the command line is a file's.

    Raises:
        NotFoundError: it can't be anything else, and there is none.
    """
    if name == str(documents.STANDARD) or Path(name).is_file():
        return True
    if "/" in name or "." in name:
        raise NotFoundError(f"there is no file {name}")
    return False


async def find(
    cli: Context, name: str, party: str | None = None, *, offline: bool = False
) -> Draft:
    """Return the agreement that a file holds, or the newest version of the one of this id.

    Args:
        cli: whose state it is.
        name: a file, `-`, or an id.
        party: the registrar's to ask by, where several are here; None for the device, if any.
        offline: do not ask the relay; for a device.

    Raises:
        NotFoundError: there is no such file, or neither a device nor a registrar to ask.
    """
    if is_file(name):
        return draft(Path(name))
    from liaison_cli import clients, offices
    from liaison_cli.agreement_page import Draft

    if party is None and has_device(cli):
        async with clients.open_client(cli, receive=False, offline=offline) as client:
            if not offline:
                await clients.connect(cli, client)
            found = await client.agreement(name)
    else:
        async with await offices.open_desk(cli, party) as desk:
            found = await desk.agreement(name)
    return Draft(found, found.codes, None)


async def standing(cli: Context, agreement_id: str, party: str | None = None) -> AgreementStanding:
    """Return where an agreement stands: the version in force, and how each party takes part.

    Args:
        cli: whose state it is.
        agreement_id: its id.
        party: see `find`.
    """
    from liaison_cli import clients, offices

    if party is None and has_device(cli):
        async with clients.open_client(cli, receive=False) as client:
            await clients.connect(cli, client)
            return await client.standing(agreement_id)
    async with await offices.open_desk(cli, party) as desk:
        return await desk.standing(agreement_id)


def has_device(cli: Context) -> bool:
    """Whether a device is enrolled in this home."""
    from liaison_sdk.keystore import Keystore

    return Keystore.exists(cli.home)
