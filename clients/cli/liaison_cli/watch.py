"""`liaison watch`: messages as they come."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from liaison.errors import LiaisonError
from liaison_cli import clients, messages
from liaison_cli.context import Context, command
from liaison_cli.rulebook import Remarks, Rulebook

if TYPE_CHECKING:
    import asyncio

    from liaison.model import ChannelId
    from liaison_sdk import Client, Message

_SYNC_SECONDS: Final = 60.0
_RENEWED: Final = 300.0
_TOLD: Final = frozenset(
    {"alarm", "connected", "disconnected", "problem", "refused", "resync", "unlogged"}
)


async def watch(
    cli: Context,
    channel: Annotated[
        str | None, typer.Argument(help="A channel's name, or digits of its id. [default: all]")
    ] = None,
    count: Annotated[int | None, typer.Option(help="End after so many messages.", min=1)] = None,
    seconds: Annotated[
        float | None, typer.Option("--for", help="End after so many seconds.", min=0)
    ] = None,
) -> None:
    """Print messages as they come, each once.

    Goes on until it is interrupted. A message counts as read before it is
    printed, so none is printed twice even if this is killed; `liaison read`
    always has all of them.
    """
    import asyncio

    async with clients.open_client(cli) as client:
        place = None
        if channel is not None:
            # This device may have been added to it just now.
            name = channel
            place = (await clients.newest(cli, client, lambda: client.channel(name))).id
        work = asyncio.create_task(_print(cli, client, place, count))
        told = asyncio.create_task(_tell(cli, client))
        try:
            with _ended_by_signals(work):
                async with asyncio.timeout(seconds):
                    await work
        except (TimeoutError, asyncio.CancelledError):
            # Both are ways of saying "enough"; every message printed is marked already.
            if not work.cancelled():
                raise
        finally:
            told.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await told


def register(app: typer.Typer) -> None:
    """Add the command to `liaison`."""
    command(app)(watch)


async def _print(
    cli: Context, client: Client, channel: ChannelId | None, count: int | None
) -> None:
    printed = 0
    beside = _Beside(client)
    async for message in client.messages(channel):
        remarks, going_on = await beside.remarks(message)
        cli.out.record(messages.record(message, remarks), messages.text(message, remarks))
        printed += 1
        if printed == count or not going_on:
            return


class _Beside:
    """A rulebook that is opened anew now and then: agreements change while one watches."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._book = Rulebook(client)
        self._opened = time.monotonic()

    async def remarks(self, message: Message) -> tuple[Remarks, bool]:
        """Return what stands beside a message, and whether the watch goes on."""
        import asyncio

        if time.monotonic() - self._opened > _RENEWED:
            self._book, self._opened = Rulebook(self._client), time.monotonic()
        try:
            return await self._book.remarks(message), True
        except asyncio.CancelledError:
            # It is marked as read already: it is printed, whatever can be said beside it.
            return Remarks(), False


async def _tell(cli: Context, client: Client) -> None:
    """Say on stderr when the watch is complete, and when the relay comes and goes."""
    # None: the first attempt that fails is told, the next ones are made in silence.
    seconds: float | None = None
    while (problem := await _problem(client, seconds)) is not None:
        if seconds is None:
            cli.out.note(f"{problem}; it is tried again until it can")
        seconds = _SYNC_SECONDS
    cli.out.note("watching")
    async for event in client.events():
        if event.kind in _TOLD:
            cli.out.note(event.text or str(event.kind))


async def _problem(client: Client, seconds: float | None) -> str | None:
    """Fetch what waits; return why that failed, or None."""
    try:
        await client.sync(seconds)
    except LiaisonError as e:
        # The client goes on trying by itself; a watch outlives the relay's absence, and what
        # is wrong for good ends `Client.messages`, too.
        return e.message
    return None


@contextlib.contextmanager
def _ended_by_signals(task: asyncio.Task[None]) -> Iterator[None]:
    import asyncio

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
