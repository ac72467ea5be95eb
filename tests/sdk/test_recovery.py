"""Crashes, restored copies, lost connections, several processes: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from liaison.wire import frames
from liaison_sdk import ChannelState, Client, MessageState, Options
from liaison_sdk.errors import ConnectionLostError
from liaison_sdk.store import SQLiteStore, Transaction
from liaison_sdk.transport import AiohttpTransport, Answer, Socket
from tests.sdk.support import (
    AGREEMENT,
    CALM,
    PASSPHRASE,
    POLICY,
    QUICK,
    Stage,
    endpoint,
    next_message,
    until,
)
from tests.support.relay import running
from tests.support.world import World

T = TypeVar("T")

ATTACHE = "nor/defatt-berlin#d1"
OFFICER = "deu/lno-j3#d1"
SENDER = Path(__file__).parent / "sender.py"


class Crash(Exception):  # noqa: N818
    """What a kill looks like from inside: the step did not come back."""


class Killer:
    """Lets the store fail at one write, before or after it is durable."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        self.after = False
        self.home: Path | None = None
        plain = SQLiteStore._transact

        def transact(store: SQLiteStore, begin: str, work: Callable[[Transaction], T]) -> T:
            if begin == "BEGIN" or self.left is None or store._path.parent != self.home:
                return plain(store, begin, work)
            self.left -= 1
            if self.left > 0:
                return plain(store, begin, work)
            # From here on the process is dead.
            if self.after and self.left == 0:
                plain(store, begin, work)
            raise Crash

        monkeypatch.setattr(SQLiteStore, "_transact", transact)

    @contextlib.contextmanager
    def armed(self, home: Path, step: int, *, after: bool) -> Iterator[None]:
        self.home, self.left, self.after = home, step, after
        try:
            yield
        finally:
            self.left = None


async def _pair(stage: Stage) -> None:
    await stage.enrol(ATTACHE)
    await stage.enrol(OFFICER)
    async with stage.client(ATTACHE) as nor:
        await nor.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])


async def _all_texts(client: Client) -> Counter[str]:
    history = await client.history()
    assert [m.reason for m in history if m.state is MessageState.FAILED] == []
    return Counter(m.text for m in history if not m.outgoing)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_sender_killed_at_any_write_loses_and_repeats_nothing(
    pair: Stage, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    killer = Killer(monkeypatch)
    queued = []
    for step in range(1, 6):
        text = f"step {step}"
        with contextlib.suppress(Crash):
            async with pair.client(ATTACHE, CALM) as nor:
                await nor.wait_connected()
                channel = await nor.channel("duty")
                with killer.armed(pair.homes[ATTACHE], step, after=after):
                    await asyncio.wait_for(channel.send(text), 10)
        async with pair.client(ATTACHE) as nor:
            await nor.sync(10)
            queued += [m.text for m in await nor.history() if m.text == text]
            assert {m.state for m in await nor.history()} <= {MessageState.ACCEPTED}
    async with pair.client(OFFICER) as deu:
        await deu.sync(10)

        assert await _all_texts(deu) == Counter(queued)
        assert len(queued) >= 4


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_reader_killed_at_any_write_misses_and_repeats_nothing(
    pair: Stage, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    killer = Killer(monkeypatch)
    sent = []
    async with pair.client(ATTACHE) as nor:
        channel = await nor.channel("duty")
        for step in range(1, 7):
            await channel.send(f"step {step}")
            sent.append(f"step {step}")
            if step == 3:
                await channel.update()
            with contextlib.suppress(Crash):
                async with pair.client(OFFICER, CALM) as deu:
                    with killer.armed(pair.homes[OFFICER], step, after=after):
                        await asyncio.wait_for(deu.sync(2), 5)
    async with pair.client(OFFICER) as deu:
        await deu.sync(10)

        assert await _all_texts(deu) == Counter(sent)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_member_killed_at_any_write_of_a_commit_leaves_no_fork(
    pair: Stage, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    killer = Killer(monkeypatch)
    async with pair.client(OFFICER) as deu:
        for step in range(1, 4):
            with contextlib.suppress(Crash):
                async with pair.client(ATTACHE, CALM) as nor:
                    await nor.wait_connected()
                    channel = await nor.channel("duty")
                    with killer.armed(pair.homes[ATTACHE], step, after=after):
                        await asyncio.wait_for(channel.update(), 10)
            async with pair.client(ATTACHE) as nor:
                await nor.sync(10)
                await (await nor.channel("duty")).send(f"step {step}")
                received = await next_message(deu)
                await (await deu.channel("duty")).send(f"answer {step}")
                answer = await next_message(nor)

                assert (received.text, answer.text) == (f"step {step}", f"answer {step}")
                epochs = {(await c.channel("duty")).epoch for c in (nor, deu)}
                assert len(epochs) == 1


async def test_a_channel_whose_registration_was_interrupted_is_registered_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.enrol(ATTACHE)
    killer = Killer(monkeypatch)
    with contextlib.suppress(Crash):
        async with stage.client(ATTACHE, CALM) as nor:
            await nor.sync(10)
            with killer.armed(stage.homes[ATTACHE], 3, after=False):
                await nor.create_channel(AGREEMENT, POLICY, "duty")
    async with stage.client(ATTACHE) as nor:

        async def active() -> bool:
            return [c.state for c in await nor.channels()] == [ChannelState.ACTIVE]

        await until(nor, active)
        sent = await (await nor.channel("duty")).send("to nobody yet")

        assert sent.state is MessageState.ACCEPTED


async def test_a_message_is_shown_once_however_often_the_program_starts(pair: Stage) -> None:
    async with pair.client(ATTACHE) as nor:
        channel = await nor.channel("duty")
        for number in range(3):
            await channel.send(f"number {number}")
    shown = []
    for _ in range(3):
        async with pair.client(OFFICER) as deu:
            shown.append((await next_message(deu)).text)

    assert shown == ["number 0", "number 1", "number 2"]


async def test_several_processes_send_from_one_store_and_use_no_key_twice(pair: Stage) -> None:
    home = pair.homes[ATTACHE]
    async with pair.client(ATTACHE) as watching:
        await watching.sync(10)
        processes = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                str(SENDER),
                str(home),
                PASSPHRASE,
                "duty",
                name,
                "8",
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            for name in ("a", "b", "c")
        ]
        here = await watching.channel("duty")
        for number in range(8):
            await here.send(f"here {number}")
        for process in processes:
            output, _ = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0, output.decode()
        assert await watching.outbox() == []
    async with pair.client(OFFICER) as deu:
        await deu.sync(20)
        texts = await _all_texts(deu)

    wanted = [f"{name} {number}" for name in ("here", "a", "b", "c") for number in range(8)]
    assert texts == Counter(wanted)


async def test_a_store_restored_from_a_backup_is_noticed_and_joins_anew(pair: Stage) -> None:
    home = pair.homes[ATTACHE]
    backup = home.parent / "backup"
    async with pair.client(ATTACHE) as nor:
        await (await nor.channel("duty")).send("before the backup")
    await asyncio.to_thread(shutil.copytree, home, backup)
    async with pair.client(ATTACHE) as nor:
        await (await nor.channel("duty")).send("after the backup")
        epoch = (await nor.channel("duty")).epoch
    await asyncio.to_thread(shutil.rmtree, home)
    await asyncio.to_thread(backup.rename, home)
    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        await nor.wait_connected()
        await (await nor.channel("duty")).send("after the restoration")
        await deu.sync(10)

        assert (await nor.channel("duty")).epoch == epoch + 1
        assert await _all_texts(deu) == Counter(
            ["before the backup", "after the backup", "after the restoration"]
        )
        await (await deu.channel("duty")).send("read you")
        assert (await next_message(nor)).text == "read you"


async def test_a_restored_reader_goes_on_reading(pair: Stage) -> None:
    home = pair.homes[OFFICER]
    backup = home.parent / "backup"
    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        await (await nor.channel("duty")).send("one")
        await next_message(deu)
        await (await deu.channel("duty")).send("two")
    await asyncio.to_thread(shutil.copytree, home, backup)
    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        await (await deu.channel("duty")).send("three")
        await (await nor.channel("duty")).update()
        await deu.sync(10)
    await asyncio.to_thread(shutil.rmtree, home)
    await asyncio.to_thread(backup.rename, home)
    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        await deu.sync(10)
        await (await nor.channel("duty")).send("four")

        async with asyncio.timeout(10):
            assert (await next_message(deu)).text == "four"


async def test_a_relay_that_restarts_loses_nothing_and_is_found_again(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as first:
        relay = await first.enter_async_context(running(tmp_path / "relay"))
        port = int(relay.url.rpartition(":")[2])
        stage = Stage(relay, World(), tmp_path / "devices")
        await stage.open()
        await _pair(stage)
        async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
            channel = await nor.channel("duty")
            await channel.send("before")
            await next_message(deu)
            await first.aclose()
            for client in (nor, deu):
                await until(client, functools.partial(_is_away, client))
            sent = await channel.send("while it was away", wait=False)
            async with running(tmp_path / "relay", port=port):
                waiting = await next_message(deu, 20)
                await channel.send("after")

                assert sent.state is MessageState.QUEUED
                assert waiting.text == "while it was away"
                assert (await next_message(deu, 20)).text == "after"


async def _is_away(client: Client) -> bool:
    return not client.connected


async def test_what_comes_while_a_channel_is_joined_anew_is_not_taken_for_what_is_here(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE, CALM) as nor, pair.client(OFFICER, CALM) as deu:
        await deu.sync(10)
        channel = await nor.channel("duty")
        connection: Any = deu._parts.connection
        take, inbox = connection._take, connection._live.inbox
        put, joining, arrived, storing = inbox.put_nowait, *(asyncio.Event() for _ in range(3))
        may_join, may_store = asyncio.Event(), asyncio.Event()

        def note(frame: frames.RelayFrame) -> None:
            put(frame)
            if joining.is_set():
                arrived.set()

        async def join_anew() -> None:
            joining.set()
            await may_join.wait()

        async def store(delivered: list[frames.Deliver]) -> None:
            if joining.is_set():
                storing.set()
                await may_store.wait()
            await take(delivered)

        inbox.put_nowait, connection.on_stale, connection._take = note, join_anew, store
        await channel.send("one")
        await joining.wait()
        await channel.send("two")
        await arrived.wait()
        may_join.set()
        await storing.wait()
        assert not connection.caught_up

        may_store.set()
        await deu.sync(10)
        assert await _all_texts(deu) == Counter(["one", "two"])


class Brief(AiohttpTransport):
    """A way to the relay on which each connection breaks behind the first delivery."""

    async def connect(self, path: str, *, headers: Mapping[str, str]) -> Socket:
        return _Brief(await super().connect(path, headers=headers))


@dataclass
class _Brief:
    plain: Socket
    is_broken: bool = False

    async def send(self, data: bytes) -> None:
        await self.plain.send(data)

    async def receive(self) -> bytes:
        if self.is_broken:
            raise ConnectionLostError
        data = await self.plain.receive()
        self.is_broken = isinstance(frames.decode_relay(data), frames.Deliver)
        return data

    async def close(self) -> None:
        await self.plain.close()


async def test_what_came_before_a_connection_broke_does_not_come_again_for_ever(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        await deu.sync(10)
        await nor.sync(10)
    async with pair.client(ATTACHE) as nor:
        channel = await nor.channel("duty")
        for number in range(5):
            await channel.send(f"number {number}")
    way = Brief(pair.relay.url, ca_file=pair.relay.ca)
    async with Client.open(
        pair.homes[OFFICER], passphrase=PASSPHRASE, options=QUICK, transport=way
    ) as deu:
        shown = [(await next_message(deu)).text for _ in range(5)]

    assert shown == [f"number {number}" for number in range(5)]


class Nowhere:
    """A relay that is never there."""

    async def request(self, *_: object, **__: object) -> Answer:
        raise ConnectionLostError

    async def connect(self, *_: object, **__: object) -> Socket:
        raise ConnectionLostError

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Pauses:
    """Notes for how long a client would wait before it connects again, and ends it after some."""

    seen: list[float] = field(default_factory=list)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def sleep(self, seconds: float) -> None:
        """Stand in for the wait; shorter ones than the shortest, and looks at the store, are others'."""
        if seconds >= 1 and seconds != 77:
            self.seen.append(seconds)
        if len(self.seen) >= 8:
            self.enough.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    @property
    def options(self) -> Options:
        """A client's, to whom chance is fair."""
        return Options(
            sleep=self.sleep,
            chance=lambda: 0.5,
            backoff_first=1,
            backoff_most=20,
            poll_interval=77,
        )


async def test_waits_between_attempts_grow_and_are_spread_by_chance(stage: Stage) -> None:
    await stage.enrol(ATTACHE)
    pauses = Pauses()

    async with Client.open(
        stage.homes[ATTACHE], passphrase=PASSPHRASE, options=pauses.options, transport=Nowhere()
    ):
        await asyncio.wait_for(pauses.enough.wait(), 10)

    assert pauses.seen[:8] == [1.5, 3.0, 6.0, 12.0, 15.0, 15.0, 15.0, 15.0]
    assert QUICK.backoff_most < pauses.options.backoff_most


class Curt(AiohttpTransport):
    """A way to the relay on which each connection breaks behind the relay's Ready."""

    async def connect(self, path: str, *, headers: Mapping[str, str]) -> Socket:
        return _Curt(await super().connect(path, headers=headers))


@dataclass
class _Curt(_Brief):
    async def receive(self) -> bytes:
        if self.is_broken:
            raise ConnectionLostError
        self.is_broken = True
        return await self.plain.receive()


async def test_waits_also_grow_where_each_connection_breaks_at_its_beginning(stage: Stage) -> None:
    await stage.enrol(ATTACHE)
    pauses, way = Pauses(), Curt(stage.relay.url, ca_file=stage.relay.ca)

    async with Client.open(
        stage.homes[ATTACHE], passphrase=PASSPHRASE, options=pauses.options, transport=way
    ):
        await asyncio.wait_for(pauses.enough.wait(), 10)

    assert pauses.seen[:6] == [1.5, 3.0, 6.0, 12.0, 15.0, 15.0]
