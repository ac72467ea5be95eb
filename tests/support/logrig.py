"""A relay's log without the relay: writer, recorder and publisher on one database and one folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import insert

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.relay.publishing import Publisher
from liaison.relay.recording import Draft, Recorder, Step, nothing, origin_of
from liaison.relay.tilestore import TileStore
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import logs, logs_reading
from liaison.storage.engine import Database
from liaison.storage.logs import LogRow
from liaison.storage.tables import meta
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.fields import EntryType
from liaison.tlog.note import Note
from liaison.tlog.policy import Listed, Policy
from liaison.tlog.quorum import Group
from liaison.tlog.vkey import SignatureType, VerifierKey

RELAY = "relay.example"
AGREEMENT = "alliance"
SECONDS = 30
"""How long a test waits for what has to come."""
ORIGIN = origin_of(RELAY, AGREEMENT)


@dataclass
class Act(Operation[None]):
    """Records so many entries."""

    count: int
    what: str = "act"
    agreement: str | None = AGREEMENT
    name: str = ""

    async def apply(self, work: Work) -> None:
        """Record them, and write a row by whose name the operation is known."""
        if self.name:
            await work.tx.execute(insert(meta).values(name=self.name, value=self.count))
        work.record(
            *(
                Draft(self.agreement, EntryType.ADMIN, {"act": f"{self.what} {number}"})
                for number in range(self.count)
            )
        )


@dataclass
class Clock:
    """Unix milliseconds."""

    ms: int = 1_790_000_000_000

    def __call__(self) -> int:
        """Return them."""
        return self.ms


@dataclass
class LogRig:
    """Everything that records and publishes; see `opened`."""

    database: Database
    writer: Writer
    recorder: Recorder
    publisher: Publisher
    signer: SigningKey
    news: asyncio.Event

    async def until_cosigned(self, size: int | None = None) -> LogRow:
        """Wait until a quorum has cosigned so many entries, or all that there are."""
        async with asyncio.timeout(SECONDS):
            while True:
                self.news.clear()
                row = await self.row()
                if row.cosigned_size >= (row.size if size is None else size):
                    return row
                await self.news.wait()

    async def until_refused(self) -> None:
        """Wait until the log was found to be damaged, and the evidence is kept."""
        async with asyncio.timeout(SECONDS):
            while AGREEMENT not in self.recorder.refused:
                self.news.clear()
                await self.news.wait()

    @property
    def store(self) -> TileStore:
        """The files of the agreement's log."""
        held = self.publisher.held(AGREEMENT)
        assert held is not None
        return held.store

    @property
    def key(self) -> VerifierKey:
        """The key of the agreement's log."""
        return VerifierKey.of(ORIGIN, SignatureType.ED25519, self.signer)

    async def act(self, count: int = 1, what: str = "act") -> None:
        """Record entries of the agreement's log."""
        await self.writer.submit(Act(count, what))

    async def row(self, agreement: str | None = AGREEMENT) -> LogRow:
        """Return the log's row."""
        async with self.database.read() as tx:
            found = await logs.find(tx, agreement)
        assert found is not None
        return found

    async def entries(self) -> list[bytes]:
        """Return the entries of the agreement's log."""
        row = await self.row()
        async with self.database.read() as tx:
            return await logs_reading.data(tx, row.key, 0, row.size)

    async def shown(self) -> Checkpoint:
        """Return the checkpoint file's, after checking its signature."""
        data = await asyncio.to_thread(self.store.checkpoint)
        assert data is not None
        note = Note.decode(data)
        note.verify([self.key])
        return Checkpoint.parse(note.text)


@dataclass
class Policies:
    """One policy for all logs; tests replace it."""

    policy: Policy | None = field(default_factory=Policy)

    async def find(self, _agreement: str, _generation: int) -> Policy | None:
        """Return it."""
        return self.policy


def policy_of(witnesses: Sequence[tuple[str, VerifierKey]], threshold: int) -> Policy:
    """Return a policy under which so many of the witnesses are a quorum."""
    listed = {name: Listed(key) for name, key in witnesses}
    return Policy((), listed, {"quorum": Group(threshold, tuple(listed))}, "quorum")


@contextlib.asynccontextmanager
async def opened(
    url: str,
    folder: Path,
    signer: SigningKey,
    *,
    policies: Policies | None = None,
    urls: Mapping[str, str] | None = None,
    step: Step = nothing,
) -> AsyncIterator[LogRig]:
    """Start what records, and look at what was published; nothing is published by itself."""
    clock, news = Clock(), asyncio.Event()

    def taken(name: str) -> None:
        step(name)
        # The other steps are taken in threads.
        if name in ("kept", "refused"):
            news.set()

    database = Database.open(url)
    recorder = Recorder(RELAY, clock, os.urandom, taken)
    writer = Writer(database, recorder=recorder)
    publisher = Publisher(
        database=database,
        writer=writer,
        recorder=recorder,
        root=folder,
        signer=signer,
        policies=(policies or Policies()).find,
        urls=urls or {},
        clock=clock,
        step=taken,
    )
    await writer.start()
    await publisher.open()
    try:
        yield LogRig(database, writer, recorder, publisher, signer, news)
    finally:
        await publisher.close()
        await writer.stop()
        await database.close()


def new_signer() -> SigningKey:
    """Make a log key."""
    return SigningKey.generate(SignatureScheme.ED25519)
