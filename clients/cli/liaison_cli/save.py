"""`liaison save`: the attachments of a message, into files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final

import typer

from liaison_cli import clients, messages
from liaison_cli.ack import MessageArgument
from liaison_cli.context import Context, command
from liaison_cli.errors import FileProblemError, NotFoundError
from liaison_cli.progress import bar
from liaison_cli.terminal import clean_line

_MAX_NAME_BYTES: Final = 200
_FALLBACK: Final = "attachment"


async def save(
    cli: Context,
    message: MessageArgument,
    to: Annotated[Path, typer.Option(help="The folder to write to.")] = Path(),
    index: Annotated[
        int | None, typer.Option(help="Which attachment. [default: all]", min=0)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an older file.")] = False,
) -> None:
    """Fetch, check and decrypt attachments.

    A file appears under its name only when all of it is there and it is what the
    sender attached.
    """
    import asyncio

    if not to.is_dir():
        raise FileProblemError(
            f"there is no folder {to}", hint="make it first", unchanged="nothing was written"
        )
    async with clients.open_client(cli, receive=False) as client:
        found = await client.message(message)
        chosen = [a for a in found.attachments if index is None or a.index == index]
        if not chosen:
            what = "no attachment" if index is None else f"no attachment {index}"
            raise NotFoundError(f"message {str(found.id)[: messages.ID_DIGITS]} has {what}")
        await clients.reach(client)
        for attachment in chosen:
            target = to / safe_name(attachment.filename)
            with bar("fetching") as progress:
                file = await found.save(attachment, target, overwrite=force, progress=progress)
            digest = await asyncio.to_thread(_sha256, file)
            record = {"file": str(file), "size": attachment.size, "sha256": digest}
            cli.out.record(record, f"{file} ({messages.size(attachment.size)})")


def register(app: typer.Typer) -> None:
    """Add the command to `liaison`."""
    command(app)(save)


def safe_name(name: str) -> str:
    """Return a file name of a stranger as one that stays in its folder and hides nothing."""
    last = clean_line(name).replace("\\", "/").rsplit("/", 1)[-1]
    plain = "".join("_" if c in '<>:"|?*\N{REPLACEMENT CHARACTER}' else c for c in last)
    plain = plain.strip().lstrip(".-~").rstrip(". ")
    stem, dot, suffix = plain.rpartition(".")
    if not dot or len(suffix.encode()) > 20:
        stem, suffix = plain, ""
    room = _MAX_NAME_BYTES - len(suffix.encode())
    stem = stem.encode()[:room].decode("utf-8", "ignore")
    return (f"{stem}.{suffix}" if suffix else stem) or _FALLBACK


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
