"""`liaison save`: the attachments of a message, into files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from liaison_cli import clients, messages
from liaison_cli.ack import MessageArgument
from liaison_cli.context import Context, command
from liaison_cli.errors import FileProblemError, NotFoundError
from liaison_cli.progress import bar


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
    sender attached. Files of one message that have the same name are numbered.
    """
    import asyncio

    from liaison_sdk.names import unique_names

    if not to.is_dir():
        raise FileProblemError(
            f"there is no folder {to}", hint="make it first", unchanged="nothing was written"
        )
    async with clients.open_client(cli, receive=False) as client:
        found = await client.message(message)
        # Whoever signs a draft has to see its files.
        files = found.attachments if found.draft is None else found.draft.attachments
        chosen = [a for a in files if index is None or a.index == index]
        if not chosen:
            what = "no attachment" if index is None else f"no attachment {index}"
            raise NotFoundError(f"message {str(found.id)[: messages.ID_DIGITS]} has {what}")
        names = unique_names(a.filename for a in files)
        targets = {a.index: to / name for a, name in zip(files, names, strict=True)}
        for attachment in chosen:
            _check_free(targets[attachment.index], force=force)
        await clients.reach(client)
        for attachment in chosen:
            target = targets[attachment.index]
            with bar("fetching") as progress:
                file = await found.save(attachment, target, overwrite=force, progress=progress)
            digest = await asyncio.to_thread(_sha256, file)
            record = {"file": str(file), "size": attachment.size, "sha256": digest}
            cli.out.record(record, f"{file} ({messages.size(attachment.size)})")


def register(app: typer.Typer) -> None:
    """Add the command to `liaison`."""
    command(app)(save)


def _check_free(target: Path, *, force: bool) -> None:
    # Before anything is fetched. A folder of that name would otherwise take the file in.
    if target.is_dir() or (target.exists() and not force):
        raise FileProblemError(
            f"{target} is there already",
            hint="choose another folder with --to"
            if target.is_dir()
            else "choose another folder with --to, or write over it with --force",
            unchanged="nothing was written",
        )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
