"""Two devices that exchange messages on a relay in this process, and everything counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field, replace

from liaison.model import Precedence
from liaison_sdk import Client, Event, EventKind, MessageState, Options
from liaison_sdk.transport import AiohttpTransport, Transport
from tests.sdk.support import PASSPHRASE, QUICK, until
from tests.support.camp import ATTACHE, CHANNEL, OFFICER, Camp
from tests.support.tally import Tally

PATIENCE = 120
_RULINGS = (MessageState.ACCEPTED, MessageState.REFUSED)
PATIENT = replace(QUICK, request_timeout=60)
"""Waits for answers as long as a loaded machine may take."""


@dataclass
class Traffic:
    """A sender and a reader.

    What was seen once is not looked at again, so that a round costs the same after a hundred
    others; only `count` looks at everything.

    Args:
        nor: sends.
        deu: reads.
        shown: what `deu` was shown, by its text.
        missing: of what was sent, what `deu` may still be shown.
    """

    nor: Client
    deu: Client
    shown: Counter[str] = field(default_factory=Counter)
    sent: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _refusals: int = 0
    """That `nor` has told of, and nobody has looked at."""
    _rulings: dict[str, MessageState] = field(default_factory=dict)
    """The relay's, on what was sent; none is ever changed."""
    _ruled: int = 0
    """On how many there is a ruling, counted from the first to one without."""

    async def send(self, count: int, precedence: Precedence = Precedence.ROUTINE) -> None:
        """Queue messages; nobody waits for the relay."""
        channel = await self.nor.channel(CHANNEL)
        for _ in range(count):
            text = f"serial {len(self.sent)}"
            self.sent.append(text)
            self.missing.add(text)
            await channel.send(text, precedence=precedence, wait=False)

    async def own(self, state: MessageState) -> set[str]:
        """Return those of the sender's messages on which the relay has ruled so."""
        for m in await self.nor.history(limit=len(self.sent) - self._ruled):
            if m.outgoing and m.state in _RULINGS:
                self._rulings[m.text] = m.state
        while self._ruled < len(self.sent) and self.sent[self._ruled] in self._rulings:
            self._ruled += 1
        return {text for text, ruling in self._rulings.items() if ruling is state}

    async def accepted(self) -> set[str]:
        """Return what the relay has acknowledged so far."""
        return await self.own(MessageState.ACCEPTED)

    async def some_accepted(self) -> None:
        """Wait until one more is acknowledged than before."""
        before = await self.accepted()

        async def more() -> bool:
            return not await self.accepted() <= before

        await until(self.nor, more, PATIENCE)

    async def until(self, what: Coroutine[object, object, None]) -> None:
        """Send until something has come about; raises what it raises."""
        coming = asyncio.create_task(what)
        while not coming.done():
            await self.send(10)
            through = asyncio.create_task(self.all_shown())
            await asyncio.wait((coming, through), return_when=asyncio.FIRST_COMPLETED)
            through.cancel()
            await asyncio.gather(through, return_exceptions=True)
        await coming

    async def all_shown(self) -> None:
        """Wait until the reader was shown whatever was sent, or the sender told that it never is."""
        async with asyncio.timeout(PATIENCE):
            while self.missing:
                self._news.clear()
                if told := self._refusals:
                    self.missing -= await self.own(MessageState.REFUSED)
                    self._refusals -= told
                else:
                    await self._news.wait()

    async def watch(self) -> None:
        """Note what is shown, for ever."""
        async for message in self.deu.messages():
            self.shown[message.text] += 1
            self.missing.discard(message.text)
            self._news.set()

    def hear(self, event: Event) -> None:
        """Note that `nor` was told of a refusal."""
        if event.kind is EventKind.REFUSED:
            self._refusals += 1
            self._news.set()

    async def count(self, tally: Tally) -> None:
        """Wait until everything has arrived, and compare both ends."""
        await self.all_shown()
        await self.nor.sync(PATIENCE)
        await self.deu.sync(PATIENCE)
        own = {m.text: m.state for m in await self.nor.history() if m.outgoing}
        had = [m for m in await self.deu.history() if not m.outgoing]
        stored = Counter(m.text for m in had)
        strange = [
            *((m.text, m.reason) for m in had if m.state is not MessageState.RECEIVED),
            *(text for text in stored if own.get(text) is not MessageState.ACCEPTED),
            *(text for text, ruling in self._rulings.items() if own.get(text) is not ruling),
        ]
        accepted = {text for text, state in own.items() if state is MessageState.ACCEPTED}
        tally.count(accepted, stored | self.shown, strange=strange)


@contextlib.asynccontextmanager
async def traffic(
    camp: Camp,
    options: Options = PATIENT,
    *,
    sender: Transport | None = None,
    reader: Transport | None = None,
    reader_options: Options | None = None,
) -> AsyncIterator[Traffic]:
    """Open both devices of a camp, whose relay runs already or comes later.

    Args:
        camp: whose.
        options: of both, or of the sender where there are `reader_options`.
        sender, reader: how they reach the relay; the usual way where left out.
    """
    async with (
        Client.open(
            camp.home(ATTACHE), passphrase=PASSPHRASE, options=options, transport=sender
        ) as nor,
        Client.open(
            camp.home(OFFICER),
            passphrase=PASSPHRASE,
            options=reader_options or options,
            transport=reader,
        ) as deu,
    ):
        found = Traffic(nor, deu)
        nor._env.listeners.add(found.hear)
        watching = asyncio.create_task(found.watch())
        try:
            yield found
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def told(client: Client, kind: EventKind) -> asyncio.Event:
    """Return what is set once a client tells of something, from now on."""
    heard = asyncio.Event()

    def hear(event: Event) -> None:
        if event.kind is kind:
            heard.set()

    client._env.listeners.add(hear)
    return heard


def transport(camp: Camp) -> AiohttpTransport:
    """Return the usual way to the relay of a camp."""
    return AiohttpTransport(f"https://127.0.0.1:{camp.port}", ca_file=camp.relay / "ca.pem")
