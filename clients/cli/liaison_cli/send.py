"""`liaison send`: a message into a channel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from liaison.model import EndpointId, Precedence
from liaison_cli import clients, messages
from liaison_cli.channels import ChannelArgument
from liaison_cli.context import Context, command
from liaison_cli.errors import FileProblemError, UsageProblemError
from liaison_cli.progress import bar

if TYPE_CHECKING:
    from liaison_sdk import Channel, Message, Sent

MAX_STDIN_BYTES: Final = 4 * 1024 * 1024


async def send(
    cli: Context,
    *,
    channel: ChannelArgument,
    text: Annotated[
        str | None, typer.Argument(help="The text; - or a pipe: read from stdin.")
    ] = None,
    attach: Annotated[list[Path] | None, typer.Option(help="A file; repeatable.")] = None,
    precedence: Annotated[
        str, typer.Option("--precedence", "-p", help="DEFERRED ... FLASH: how fast it goes.")
    ] = "ROUTINE",
    info_precedence: Annotated[
        str | None, typer.Option(help="For those in --info. [default: as --precedence]")
    ] = None,
    to: Annotated[
        list[str] | None, typer.Option(help="An endpoint that is to act; repeatable.")
    ] = None,
    info: Annotated[
        list[str] | None, typer.Option(help="An endpoint that is to know; repeatable.")
    ] = None,
    reply_to: Annotated[
        str | None, typer.Option(help="Digits of the id of the message that this answers.")
    ] = None,
    subject: Annotated[str, typer.Option("--subject", "-s", help="One line.")] = "",
    wait: Annotated[bool, typer.Option(help="Wait until the relay has stored it.")] = True,
    seconds: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait for the relay at most.", min=0.1)
    ] = 60,
) -> None:
    """Send a message to everybody in a channel.

    Every member of the channel can read it; `--to` and `--info` say who is to
    act. It is stored here before it goes out, so an interrupted send goes on
    with the next command.
    """
    options = _options(precedence, info_precedence, to, info)
    files = list(attach or ())
    _check_files(files)
    options |= {"attach": files, "subject": subject, "wait": wait}
    body = _body(text, has_files=bool(files))
    async with clients.open_client(cli) as client:
        await clients.catch_up(client)
        found = await client.channel(channel)
        if reply_to:
            options["reply_to"] = await client.message(reply_to)
        with bar("sending") as progress:
            sending = found.send(body, **options, progress=progress)
            sent = await clients.accepted(client, sending, seconds)
        message = await client.message(f"{sent.message_id}@{client.device}")
        outside = await _outside(found, {*options["to"], *options["copy"]})
    if outside:
        cli.out.note(f"not in {found.name}, and won't read it: {', '.join(outside)}")
    _say(cli, found, sent, message)


def register(app: typer.Typer) -> None:
    """Add the command to `liaison`."""
    command(app)(send)


def _options(
    precedence: str, info_precedence: str | None, to: list[str] | None, info: list[str] | None
) -> dict[str, Any]:
    return {
        "precedence": Precedence.parse(precedence),
        "info": Precedence.parse(info_precedence) if info_precedence else None,
        "to": [EndpointId.parse(name) for name in to or ()],
        "copy": [EndpointId.parse(name) for name in info or ()],
    }


async def _outside(channel: Channel, addressed: set[EndpointId]) -> list[str]:
    """Return who was addressed and is not there to read it."""
    if not addressed:
        return []
    present = {member.device.endpoint for member in await channel.members()}
    return sorted(str(endpoint) for endpoint in addressed - present)


def _say(cli: Context, channel: Channel, sent: Sent, message: Message) -> None:
    record = {
        "id": str(sent.message_id),
        "channel": str(channel.id),
        "channel_name": channel.name,
        "dtg": message.dtg_text,
        "precedence": message.action.name,
        "state": str(sent.state),
        "seq": sent.seq,
    }
    number = str(sent.message_id)[: messages.ID_DIGITS]
    cli.out.record(record, f"{message.dtg_text}  {message.action.name}  [{number}] {sent.state}")


def _check_files(files: list[Path]) -> None:
    for file in files:
        if not file.is_file():
            raise FileProblemError(f"{file} is not a file", unchanged="nothing was sent")


def _body(text: str | None, *, has_files: bool) -> str:
    if text is not None and text != "-":
        return text
    if text is None and (has_files or sys.stdin.isatty()):
        if has_files:
            return ""
        raise UsageProblemError(
            "there is nothing to send", hint="give a text, a file, or - for stdin"
        )
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise UsageProblemError("the text is too long", hint="send it as a file with --attach")
    try:
        body = data.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as e:
        raise UsageProblemError("stdin is not text", hint="send it as a file with --attach") from e
    if not body and not has_files:
        raise UsageProblemError("there is nothing to send: stdin is empty")
    return body
