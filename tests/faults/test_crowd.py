"""Everybody comes back at once, after the relay was killed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    TCPConnector,
    WSMsgType,
    WSServerHandshakeError,
)

from liaison.wire import frames
from tests.support.camp import Camp
from tests.support.client import RawClient
from tests.support.duty import IS_LONG, SEED
from tests.support.people import People
from tests.support.relay import RelayProcess
from tests.support.tally import Tally
from tests.support.traffic import traffic

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]

AT_ONCE = 200
"""Connections that this machine, which plays them all, opens at the same moment."""
CROWD = 10_000 if IS_LONG else 60
PATIENCE = 1_200 if IS_LONG else 120
BASE = 192 << 20
"""Bytes that a relay may have in memory without a crowd."""
EACH = 192 << 10
"""Bytes for each of the crowd: what TLS takes, and what a handshake leaves behind."""
READ_AT_ONCE = 16 << 10
"""Bytes that Python reads from a TLS connection at once: of a usual 256 KiB each, this process
would have 2.5 GiB in the long run, and keep them."""
FREE = 1_000_000
OPEN = {
    # One device stands for thousands, and one address.
    "MAX_STREAMS_PER_DEVICE": FREE,
    "MAX_CONNECTIONS_PER_DEVICE": FREE,
    "MAX_UNPROVEN_PER_ADDRESS": FREE,
    "MAX_STREAMS": FREE,
    "RATE_DEVICE": FREE,
    "BURST_DEVICE": FREE,
    "RATE_PARTY": FREE,
    "BURST_PARTY": FREE,
    "RATE_ADDRESS": FREE,
    "BURST_ADDRESS": FREE,
    "RATE_CONNECTIONS": FREE,
    "BURST_CONNECTIONS": FREE,
}


@dataclass
class Crowd:
    """Connections that are opened again as soon as they are gone.

    Args:
        session: opens them.
        client: of their device; they share its token, and the next one when that has expired.
    """

    session: ClientSession
    client: RawClient
    up: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    opening: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    renewing: asyncio.Lock = field(default_factory=asyncio.Lock)
    rng: random.Random = field(default_factory=lambda: random.Random(SEED))

    async def member(self) -> None:
        """Be connected, for ever."""
        tries = 0
        while True:
            with contextlib.suppress(ClientError, OSError, TimeoutError):
                tries = 0 if await self._connection() else tries
            # As clients wait.
            await asyncio.sleep(min(30, 0.25 * 2**tries) * (1 + self.rng.random()) / 2)
            tries += 1

    async def _connection(self) -> bool:
        """Connect, and return when that is over; False where it did not come about."""
        token = self.client.token
        async with self.opening:
            try:
                opened = await self.session.ws_connect(
                    "/v1/stream",
                    protocols=(frames.SUBPROTOCOL,),
                    headers={"Authorization": f"Bearer {token}"},
                )
            except WSServerHandshakeError as e:
                if e.status == 401:
                    await self._renew(token)
                raise
        async with opened as socket:
            await socket.send_bytes(
                frames.encode(frames.Hello(deliver=False, limit=0, state_version=0))
            )
            if (await socket.receive()).type is not WSMsgType.BINARY:
                return False
            self._count(1)
            try:
                while (await socket.receive()).type is WSMsgType.BINARY:
                    pass
            finally:
                self._count(-1)
            return True

    async def _renew(self, old: str) -> None:
        """Log in again: to gather a crowd may take longer than a token holds."""
        async with self.renewing:
            if self.client.token == old:
                assert (await self.client.login()).status == 201

    def _count(self, step: int) -> None:
        self.up += step
        self.news.set()

    async def gathered(self, size: int) -> None:
        """Wait until so many are connected."""
        async with asyncio.timeout(PATIENCE):
            while self.up != size:
                self.news.clear()
                await self.news.wait()


async def somebody(camp: Camp) -> RawClient:
    """Enrol one more device, and return its client."""
    async with camp.stage() as stage, AsyncExitStack() as stack:
        people = People(stage.relay, camp.world, stack)
        people._admitted |= {"NOR", "DEU"}
        device = await people.enrol("deu/crowd#d1")
        return RawClient(
            f"https://127.0.0.1:{camp.port}",
            stage.relay.ca,
            stage.relay.identity,
            device.device,
            device.key,
        )


@contextlib.asynccontextmanager
async def crowd(client: RawClient, ca: Path, size: int) -> AsyncIterator[Crowd]:
    """Let a crowd come, and go at the end."""
    connector = TCPConnector(limit=0, ssl=ssl.create_default_context(cafile=str(ca)))
    async with (
        client,
        ClientSession(
            client.url, connector=connector, timeout=ClientTimeout(total=None)
        ) as session,
    ):
        assert (await client.login()).status == 201
        found = Crowd(session, client)
        tasks = [asyncio.create_task(found.member()) for _ in range(size)]
        try:
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def most_memory(pid: int) -> int:
    """Return the most bytes that a process has had in memory."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


async def test_all_come_back_at_once_and_messages_go_on(
    camp: Camp, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await somebody(camp)
    monkeypatch.setattr("asyncio.sslproto.SSLProtocol.max_size", READ_AT_ONCE)
    for name, value in OPEN.items():
        monkeypatch.setenv(f"LIAISON_RELAY_{name}", str(value))
    relay = RelayProcess(camp.relay, camp.port)
    await asyncio.to_thread(relay.start)
    try:
        async with (
            traffic(camp) as both,
            crowd(client, camp.relay / "ca.pem", CROWD) as many,
        ):
            await both.send(10)
            await many.gathered(CROWD)
            await both.send(10)
            await asyncio.to_thread(relay.kill)
            await both.send(10)
            await asyncio.to_thread(relay.start)
            await many.gathered(CROWD)
            await both.send(10)

            await both.count(tally)
            assert most_memory(relay.pid) < BASE + CROWD * EACH
    finally:
        if relay.is_running:
            relay.kill()
