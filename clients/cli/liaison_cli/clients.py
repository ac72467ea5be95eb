"""The device's client, opened for one command, and the things that people name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from liaison import words
from liaison.errors import LiaisonError, UnavailableError, UnknownError
from liaison_cli import startup
from liaison_cli.context import Context
from liaison_cli.errors import AmbiguousError, NotFoundError

if TYPE_CHECKING:
    from liaison_sdk import Client, MessageId, Sent

T = TypeVar("T")
CONNECT_SECONDS: Final = 5.0
"""How long a command that needs the relay waits for the connection."""
SYNC_SECONDS: Final = 15.0
"""How long a command that can do without the relay lets it send what waits."""
SILENT_SECONDS: Final = 1.0
"""How long a person is left without a word."""
_LOOK_SECONDS: Final = 0.1
_LOCALES: Final = ("LC_ALL", "LC_MESSAGES", "LANG")


class QueuedError(UnavailableError):
    """The message, or the answer, is stored but the relay has not taken it yet."""

    code = "cli.queued"


class UnreachableError(UnavailableError):
    """The relay can't be reached."""

    code = "cli.relay_unreachable"


def open_client(cli: Context, *, receive: bool = True, offline: bool = False) -> Client:
    """Return the device's client; use it as an async context manager.

    Args:
        cli: where the state is.
        receive: take what the relay has for this device, unless another process does.
        offline: use the store alone and never connect.

    Raises:
        NotEnrolledError: there is no device here; nobody was asked for a passphrase.
    """
    from liaison_sdk.errors import NotEnrolledError
    from liaison_sdk.keystore import Keystore

    if not Keystore.exists(cli.home):
        raise NotEnrolledError(
            f"no device is enrolled in {cli.home}",
            hint="enrol it with: liaison enrol URL --code CODE",
        )
    phrase = cli.passphrase() if Keystore.needs_passphrase(cli.home) else None
    # Argon2 runs on another core while the rest of the program is loaded on this one.
    unlocking = Keystore.opening(cli.home, phrase)
    if not offline:
        startup.load_network()
    from liaison_sdk import Client, Options

    return Client.open(
        cli.home,
        unlocking=unlocking,
        ca_file=cli.ca,
        receive=receive,
        offline=offline,
        options=Options(language=language()),
    )


def language() -> str:
    """Return the reader's language as the environment gives it, such as `nb-NO`."""
    chosen = next((text for name in _LOCALES if (text := os.environ.get(name))), "")
    tag = chosen.partition(".")[0].partition("@")[0].replace("_", "-")
    return tag if tag not in ("", "C", "POSIX") else "en"


async def reach(client: Client) -> None:
    """Wait for the relay.

    Raises:
        UnreachableError: it did not answer in time; nothing was sent.
    """
    try:
        await client.wait_connected(CONNECT_SECONDS)
    except UnavailableError as e:
        raise UnreachableError(
            e.message
            if e.code.startswith("connection.")
            else f"the relay can't be reached: {e.message}",
            hint=e.hint or "check the network, the relay's address and --ca",
            unchanged="nothing was changed",
        ) from e


async def accepted(client: Client, sending: Coroutine[Any, Any, Sent], seconds: float) -> Sent:
    """Wait until the relay has taken a message.

    Args:
        client: whose message it is.
        sending: a call of `Channel.send`.
        seconds: to wait at most; without a connection no longer than `CONNECT_SECONDS`, and where
            attempts to connect fail at once, only until it is stored.

    Raises:
        QueuedError: the relay has not taken it; it is stored and goes out later.
        UnreachableError: the relay can't be reached, and it was not stored.
    """
    before = {message.id for message in await client.outbox()}

    async def stored() -> list[MessageId]:
        return [message.id for message in await client.outbox() if message.id not in before]

    outcome = await _in_time(client, sending, seconds, stored)
    if not isinstance(outcome, str):
        return outcome
    waiting = await stored()
    if not waiting:
        raise UnreachableError(outcome, unchanged="nothing was sent or stored")
    from liaison_cli.messages import ID_DIGITS

    raise QueuedError(
        f"{outcome}: [{str(waiting[-1])[:ID_DIGITS]}] waits on this device",
        hint="it is stored, and goes out with liaison channels sync; don't send it again",
    )


async def answered(client: Client, answer: Sent, seconds: float) -> Sent:
    """Wait until the relay has taken an answer that is stored; see `accepted`.

    Args:
        client: whose answer it is.
        answer: what `Message.acknowledge` returned.
        seconds: to wait at most.

    Raises:
        QueuedError: the relay has not taken it; it goes out later.
    """

    async def stored() -> list[Sent]:
        return [answer]

    outcome = await _in_time(client, client.ruling(answer), seconds, stored)
    if not isinstance(outcome, str):
        return outcome
    from liaison_cli.messages import ID_DIGITS

    raise QueuedError(
        f"{outcome}: the answer to [{str(answer.message_id)[:ID_DIGITS]}] waits on this device",
        hint="it is stored, and goes out with liaison channels sync; don't give it again",
    )


async def _in_time(
    client: Client,
    work: Coroutine[Any, Any, Sent],
    seconds: float,
    stored: Callable[[], Awaitable[Sequence[object]]],
) -> Sent | str:
    """Return what the relay said of a message, or why it said nothing."""
    import asyncio

    task = asyncio.ensure_future(work)
    refusal = asyncio.ensure_future(_refusal(client, stored))
    try:
        async with asyncio.timeout(seconds):
            await asyncio.wait(
                {task, refusal}, timeout=CONNECT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if task.done() or client.connected:
                return await task
            return "the relay can't be reached"
    except TimeoutError:
        return f"the relay did not answer within {words.count(round(seconds), 'second')}"
    finally:
        task.cancel()
        refusal.cancel()
        await asyncio.wait({task, refusal})


async def _refusal(client: Client, stored: Callable[[], Awaitable[Sequence[object]]]) -> None:
    """Return when an attempt to connect has failed and the message is safe in the outbox.

    It goes on as long as there is a connection, or hope of one; then somebody else gives up.
    """
    import asyncio

    while True:
        try:
            # Without a limit: until the next attempt that fails.
            await client.wait_connected()
        except LiaisonError:
            is_stored = bool(await stored())
        else:
            is_stored = False
        # Also before it returns: where the failure is for good, the client says so itself.
        await asyncio.sleep(_LOOK_SECONDS)
        if is_stored:
            return


async def catch_up(client: Client) -> bool:
    """Take the newest epochs of the channels before something is encrypted.

    Whoever was added meanwhile could not read a message of an older epoch. Without
    the relay nothing is taken: the message waits in the outbox, and is encrypted
    later.

    Returns:
        Whether everything is here.
    """
    import asyncio

    with contextlib.suppress(TimeoutError, UnavailableError):
        async with asyncio.timeout(CONNECT_SECONDS):
            # None: where nobody answers at the first attempt, there is no use in waiting.
            await client.sync(None)
            return True
    return False


async def newest(cli: Context, client: Client, find: Callable[[], Awaitable[T]]) -> T:
    """Catch up, and return what a person has named.

    Over a slow line there is more to fetch than a message that goes out waits for. What
    is named and not here may be a part of it: a channel that this device was added to a
    moment ago. So it is waited for, or the person learns that the relay is away.

    Raises:
        UnknownError: nothing of this name is here, or has come.
    """
    has_all = await catch_up(client)
    try:
        return await find()
    except UnknownError:
        if has_all:
            raise
    await sync(cli, client)
    return await find()


async def sync(cli: Context, client: Client, seconds: float = SYNC_SECONDS) -> bool:
    """Fetch what is waiting and send what is queued; say so where that fails.

    Where nobody answers at the first attempt there is no waiting, and where the
    network swallows it the person learns at once what is waited for.

    Args:
        cli: for what is said.
        client: whose messages.
        seconds: how long fetching may take once there is a connection.

    Returns:
        Whether everything is here. Otherwise the store still has what came before.
    """
    import asyncio

    try:
        await _first_contact(cli, client)
        async with asyncio.timeout(seconds):
            await client.sync()
    except UnavailableError as e:
        cli.out.note(f"{e.message}; this is what came before")
        return False
    except TimeoutError:
        cli.out.note(
            f"the relay did not send everything within {words.count(round(seconds), 'second')}"
        )
        return False
    return True


async def connect(cli: Context, client: Client) -> bool:
    """Connect, so that what is asked for next is the newest; say so where that fails.

    Returns:
        Whether there is a connection. Otherwise the store still has what came before.
    """
    try:
        await _first_contact(cli, client)
    except UnavailableError as e:
        cli.out.note(f"{e.message}; this is what came before")
        return False
    return True


async def _first_contact(cli: Context, client: Client) -> None:
    import asyncio

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SILENT_SECONDS):
            await client.wait_connected()
            return
    cli.out.note(f"waiting for the relay, {CONNECT_SECONDS:.0f} seconds at most")
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.wait_connected()
    except TimeoutError as e:
        raise UnreachableError("the relay does not answer") from e


def only(found: Sequence[T], what: str, name: Callable[[T], str]) -> T:
    """Return the only element of a list.

    Args:
        found: the elements.
        what: their noun.
        name: gives an element's name, for the hint.

    Raises:
        NotFoundError: there is none.
        AmbiguousError: there are several.
    """
    if not found:
        raise NotFoundError(f"there is no {what} yet")
    if len(found) > 1:
        names = ", ".join(name(element) for element in found)
        raise AmbiguousError(f"there are several {what}s", hint=f"name one of: {names}")
    return found[0]
