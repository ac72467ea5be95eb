"""A NATS server of our own on a loopback port, that can be stopped and started again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from liaison.fanout import Bus, Subscription

SECONDS = 30
"""How long a test waits for what has to come."""
AGAIN = 0.5
"""Seconds after which a test says something once more."""
_numbers = itertools.count(1_000)
_BINARY = Path(sys.executable).parent / "nats-server"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@dataclass
class NatsServer:
    """One server.

    Args:
        options: more of its command line.
        port: the same after a pause.
    """

    options: tuple[str, ...] = ()
    port: int = field(default_factory=_free_port)
    _process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            str(_BINARY),
            *("--addr", "127.0.0.1", "--port", str(self.port), *self.options),
            stderr=asyncio.subprocess.PIPE,
        )
        assert self._process.stderr is not None
        said = b""
        async with asyncio.timeout(SECONDS):
            async for line in self._process.stderr:
                said += line
                if b"Server is ready" in line:
                    return
        raise RuntimeError(f"nats-server ended: {said.decode(errors='replace')}")

    async def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.communicate()
            self._process = None


@contextlib.asynccontextmanager
async def running(*options: str) -> AsyncIterator[NatsServer]:
    """Run a server until the block ends."""
    if not _BINARY.exists():
        pytest.skip("there is no nats-server beside this Python")
    server = NatsServer(options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def heard(sender: Bus, subscription: Subscription, topic: str) -> None:
    """Wait until all that a node has sent so far was heard by another's subscriber.

    What a node says when it connects wakes every topic, without a note. A server may lose what is
    sent in the moment in which the other subscribes, so it is said until it is heard.
    """
    sent = set()
    async with asyncio.timeout(SECONDS):
        while True:
            sent.add((topic, f"n{next(_numbers)}"))
            sender.wake(*max(sent))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN):
                    while not sent & await subscription.wait():
                        pass
                    return
