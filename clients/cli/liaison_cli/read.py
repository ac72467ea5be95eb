"""`liaison read`: the messages in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from liaison.errors import LiaisonError
from liaison_cli import clients, messages
from liaison_cli.context import Context, command
from liaison_cli.rulebook import Rulebook

if TYPE_CHECKING:
    from liaison.model import ChannelId
    from liaison_sdk import Client, Message

_POLL_SECONDS: Final = 0.2
_LOG_SECONDS: Final = 2.0


async def read(
    cli: Context,
    channel: Annotated[
        str | None, typer.Argument(help="A channel's name, or digits of its id. [default: all]")
    ] = None,
    unread: Annotated[
        bool,
        typer.Option("--unread/--all", help="Only what was not read yet."),
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for unread messages.", min=0)] = 0,
    count: Annotated[
        int, typer.Option(help="With --wait: until there are so many unread.", min=1)
    ] = 1,
    offline: Annotated[bool, typer.Option("--no-sync", help="Do not ask the relay.")] = False,
) -> None:
    """Print messages and mark them as read.

    They stand in the order in which they came to this device: what is urgent
    overtakes. Fetches what waits; if the relay can't be reached, it says so and
    prints what came before.
    """
    async with clients.open_client(cli, offline=offline) as client:
        if not offline:
            await clients.sync(cli, client)
        place = (await client.channel(channel)).id if channel is not None else None
        if wait:
            await _await_unread(client, place, wait, count)
        listed = await _listed(client, place, unread=unread)
        if not offline and client.connected and any(map(_may_be_logged, listed)):
            await _follow_logs(client)
            listed = await _listed(client, place, unread=unread)
        # Before they are printed, so that no `watch` prints them once more.
        await client.mark_shown([m for m in listed if not (m.outgoing or m.shown)])
        book = Rulebook(client)
        shown = [(message, await book.remarks(message)) for message in listed]
    for message, remarks in shown:
        cli.out.record(messages.record(message, remarks), messages.text(message, remarks))
    if not listed:
        cli.out.note("there are no messages" if not unread else "there is nothing unread")


def register(app: typer.Typer) -> None:
    """Add the command to `liaison`."""
    command(app)(read)


async def _listed(client: Client, place: ChannelId | None, *, unread: bool) -> list[Message]:
    return await (client.unread(place) if unread else client.history(place))


def _may_be_logged(message: Message) -> bool:
    """Whether the log may show by now what it had not shown before."""
    return not message.logged and message.accepted_at is not None


async def _follow_logs(client: Client) -> None:
    """Ask the logs once, so that what they have is told; messages are shown without them, too."""
    import asyncio
    import contextlib

    with contextlib.suppress(LiaisonError, TimeoutError):
        async with asyncio.timeout(_LOG_SECONDS):
            await client.follow_logs()


async def _await_unread(
    client: Client, channel: ChannelId | None, seconds: float, count: int
) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        if len(await client.unread(channel)) >= count or loop.time() >= deadline:
            return
        await asyncio.sleep(_POLL_SECONDS)
