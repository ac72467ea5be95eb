"""Finding an agreement: in a file, or with this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from liaison_cli import documents
from liaison_cli.context import Context
from liaison_cli.errors import NotFoundError

if TYPE_CHECKING:
    from liaison_cli.agreement_page import Draft


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


async def find(cli: Context, name: str) -> Draft:
    """Return the agreement that a file holds, or the one of this id that this device knows.

    Args:
        cli: whose state it is.
        name: a file, `-`, or an id.

    Raises:
        NotFoundError: there is no such file.
        NotEnrolledError: it is no file, and there is no device here to ask.
    """
    if is_file(name):
        return draft(Path(name))
    from liaison_cli import clients
    from liaison_cli.agreement_page import Draft

    async with clients.open_client(cli, receive=False) as client:
        found = await client.agreement(name)
    return Draft(found, found.codes, None)


def has_device(cli: Context) -> bool:
    """Whether a device is enrolled in this home."""
    from liaison_sdk.keystore import Keystore

    return Keystore.exists(cli.home)
