"""What goes wrong between a client and the relay: a wire that breaks or falls silent, frames mangled."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from liaison.wire import frames
from liaison_sdk.transport import Answer, Socket, Transport

PATIENCE = 120
_PIECE = 64 << 10


@dataclass(eq=False)
class _Link:
    """One connection through the wire, both ways together."""

    left: int | None
    """Bytes until it breaks; None where it does not."""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    is_silent: bool = False

    def break_(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Wire:
    """Forwards the connections to one port to another.

    Args:
        port: where clients look for the relay.
        target: where it is.
    """

    def __init__(self, port: int, target: int) -> None:
        self.target = target
        self.next_cut: Callable[[], int | None] = lambda: None
        """After how many bytes the next connection breaks."""
        self.opened = 0
        self.cuts = 0
        self._port = port
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for link in self._links:
            link.break_()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def fall_silent(self) -> None:
        """Swallow whatever comes on the connections that are open, and keep them open."""
        for link in self._links:
            link.is_silent = True

    def break_all(self) -> None:
        """Break every connection."""
        for link in list(self._links):
            link.break_()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.opened += 1
        link = _Link(self.next_cut(), [writer])
        self._links.add(link)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            link.writers.append(back)
            await asyncio.gather(self._pump(link, reader, back), self._pump(link, there, writer))
        except OSError:
            pass  # one of its ends is gone
        finally:
            link.break_()
            self._links.discard(link)
            self._tasks.discard(task)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_PIECE):
            if link.is_silent:
                continue
            if link.left is not None:
                data = data[: link.left]
                link.left -= len(data)
            writer.write(data)
            await writer.drain()
            if link.left == 0:
                self.cuts += 1
                raise ConnectionResetError
        if not link.is_silent:
            raise ConnectionResetError


class Mangler:
    """A way to the relay on which frames come twice, in another order, or cut.

    Args:
        plain: the honest way.
        rng: chooses.
        chance: of each frame to be mangled.
        deaf: where set, frames of the relay are read only while it is.
    """

    def __init__(
        self,
        plain: Transport,
        rng: random.Random,
        chance: float = 0.0,
        deaf: asyncio.Event | None = None,
    ) -> None:
        self.plain = plain
        self.rng = rng
        self.chance = chance
        self.hears = deaf
        self.done: dict[str, int] = {"twice": 0, "swapped": 0, "cut": 0}
        self.refused: Counter[str] = Counter()
        """What the relay has refused, by its code."""
        self.news = asyncio.Event()

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None = None,
    ) -> Answer:
        """See `Transport`."""
        return await self.plain.request(method, path, headers=headers, body=body)

    async def connect(self, path: str, *, headers: Mapping[str, str]) -> Socket:
        """See `Transport`."""
        return _Mangled(await self.plain.connect(path, headers=headers), self)

    async def close(self) -> None:
        """See `Transport`."""
        await self.plain.close()

    async def told(self, code: str) -> None:
        """Wait until the relay refuses something, once more, with this code."""
        before = self.refused[code]
        async with asyncio.timeout(PATIENCE):
            while self.refused[code] == before:
                self.news.clear()
                await self.news.wait()

    def cut(self, data: bytes) -> bytes:
        """Return the beginning of a frame: less than every head has."""
        return data[: self.rng.randrange(1, 5)]

    def how(self) -> str:
        """Choose what becomes of a frame."""
        if self.rng.random() >= self.chance:
            return ""
        chosen = self.rng.choice(sorted(self.done))
        self.done[chosen] += 1
        return chosen


class _Mangled:
    def __init__(self, plain: Socket, mangler: Mangler) -> None:
        self._plain = plain
        self._mangler = mangler
        self._ready: list[bytes] = []
        self._held = b""

    async def send(self, data: bytes) -> None:
        match self._mangler.how():
            case "twice":
                await self._plain.send(data)
                await self._plain.send(data)
            case "cut":
                await self._plain.send(self._mangler.cut(data))
            case "swapped":
                # Behind whatever is sent next; where nothing is, it is lost.
                self._held = data
            case _:
                await self._plain.send(data)
                held, self._held = self._held, b""
                if held:
                    await self._plain.send(held)

    async def receive(self) -> bytes:
        if self._mangler.hears is not None:
            await self._mangler.hears.wait()
        if self._ready:
            return self._ready.pop()
        data = await self._plain.receive()
        frame = frames.decode_relay(data)
        if isinstance(frame, frames.Refused):
            self._mangler.refused[frame.problem.code] += 1
            self._mangler.news.set()
        match self._mangler.how():
            case "twice":
                self._ready.append(data)
            case "cut":
                return self._mangler.cut(data)
            case "swapped":
                self._ready.append(data)
                return await self._plain.receive()
        return data

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self._plain.close()
