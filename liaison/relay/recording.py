"""Recording: what was done becomes entries of the log, in the transaction that does it.

An operation says what it did with `Work.record(Draft(...))`. At the end of a group of operations,
before its commit, the recorder seals the drafts of those that were not undone, gives each its
place in its log and stores entries, openings and the log's new state: a handful of statements for
a whole group. What is recorded and what it records are durable together, or neither is. Publishing
comes after the commit, and is `liaison.relay.publishing`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import field
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.errors import LiaisonError
from liaison.model import ChannelId
from liaison.policy import log_rules
from liaison.relay.errors import LogRefusedError
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import logs
from liaison.storage.engine import Database
from liaison.storage.logs import LogRow
from liaison.tlog import commitment, entries, sealing, sequencer
from liaison.tlog.commitment import Value
from liaison.tlog.entries import PolicyRef
from liaison.tlog.fields import EntryType
from liaison.tlog.sealing import Form
from liaison.tlog.sequencer import State
from liaison.values import dataclass

RNG = Callable[[int], bytes]
Step = Callable[[str], object]
"""Told of each step by its name, before the next begins; tests end the process there."""


def nothing(_step: str) -> None:
    """Take no notice of a step."""


_SECRET_BYTES: Final = commitment.KEY_BYTES


class Draft(NamedTuple):
    """An entry to be; it gets its time, its secrets and its place when its group is recorded.

    Args:
        log: id of the agreement whose log it goes into; None for the relay's root log.
        type: what it records.
        fields: what is committed to, by name; those left out are committed to as None.
        channel: which channel; the entry shows its pseudonym.
        channel_key: key of the channel's row, by which its entries are found; with `seq`.
        seq: the item's place in the channel.
        epoch: of the group when the item was made.
        policy: the version of the agreement.
        size: in bytes; the entry shows the power of two.
        period: of the root log.
        audience: codes of the parties that may be shown what opens the entry; None for every
            party of the agreement.
        mark: 32 bytes by which the relay finds the entry, such as a certificate's SHA-256.
        form: what the entry has in common with others; then `fields` are those alone that differ.
    """

    log: str | None
    type: EntryType
    fields: Mapping[str, Value]
    channel: ChannelId | None = None
    channel_key: int | None = None
    seq: int | None = None
    epoch: int | None = None
    policy: PolicyRef | None = None
    size: int | None = None
    period: int | None = None
    audience: tuple[str, ...] | None = None
    mark: bytes | None = None
    form: Form | None = None


def origin_of(relay: str, agreement: str | None, generation: int = 1) -> str:
    """Return a log's origin.

    Args:
        relay: the relay's own origin, without a scheme.
        agreement: id of the agreement; None for the relay's root log.
        generation: 1, or more for a log that follows another.
    """
    if agreement is None:
        name = f"{relay}/root-log"
        return name if generation == 1 else f"{name}/{generation}"
    return log_rules.origin(relay, agreement, generation)


class Growth(NamedTuple):
    """What a transaction has added to a log.

    Args:
        log: key of the log.
        first: index of the first of the entries.
        entries: as they are stored.
        state: of the log, with them.
    """

    log: int
    first: int
    entries: tuple[bytes, ...]
    state: State


class _Head(NamedTuple):
    """Where a log ends."""

    key: int
    generation: int
    origin: str
    state: State

    @property
    def place(self) -> tuple[int, int]:
        """Orders logs."""
        return self.generation, self.key


class _Refusal(NamedTuple):
    """Why a log takes nothing more."""

    generation: int
    why: LiaisonError


@dataclass
class Recorder:
    """Turns drafts into entries.

    Args:
        relay: the relay's origin.
        clock: Unix milliseconds.
        rng: gives random bytes.
        step: see `Step`.
    """

    relay: str
    clock: Callable[[], int]
    rng: RNG
    step: Step = nothing
    listeners: list[Callable[[Sequence[Growth]], object]] = field(default_factory=list)
    """Called after a commit with what it has added to logs; they must not block."""
    _heads: dict[str | None, _Head] = field(default_factory=dict)
    _refused: dict[str | None, _Refusal] = field(default_factory=dict)
    _begun: dict[str | None, int] = field(default_factory=dict)

    # --- logs that can't be trusted any more ---

    @property
    def refused(self) -> Mapping[str | None, LiaisonError]:
        """Why nothing more is recorded in some logs, by agreement."""
        return {log: refusal.why for log, refusal in self._refused.items()}

    def refuse(self, log: str | None, why: LiaisonError, generation: int = 1) -> None:
        """Record nothing more in a log, and so refuse what would have to be.

        A log that has a successor is not asked for any more.
        """
        if generation >= self._begun.get(log, 1):
            self._refused.setdefault(log, _Refusal(generation, why))

    def succeeded(self, log: str | None, generation: int) -> None:
        """Take note of a log's successor: what was wrong with those before it stops nothing."""
        self._begun[log] = max(generation, self._begun.get(log, 1))
        refusal = self._refused.get(log)
        if refusal is not None and refusal.generation < generation:
            del self._refused[log]

    def check(self, log: str | None) -> None:
        """Check that a log takes entries.

        Raises:
            LogRefusedError: it does not.
        """
        refusal = self._refused.get(log)
        if refusal is not None:
            raise LogRefusedError(
                f"the log of {log or 'this relay'} is damaged: {refusal.why.message}",
                hint=refusal.why.hint,
                unchanged="nothing was accepted",
            )

    # --- recording ---

    async def write(
        self,
        tx: AsyncConnection,
        drafts: Sequence[Draft],
        successors: Mapping[str | None, int] = MappingProxyType({}),
    ) -> Callable[[], object]:
        """Record drafts at the end of a transaction.

        Args:
            tx: what the drafts tell of is in it.
            drafts: in the order in which it happened.
            successors: generations of the logs that the transaction begins in others' places.

        Returns:
            What is to be called once the transaction is durable, and not otherwise.

        Raises:
            LiaisonError: a draft is none that an entry can be made of.
            OvertakenError: the transaction has to be done again.
        """
        by_log: dict[str | None, list[Draft]] = {}
        for draft in drafts:
            by_log.setdefault(draft.log, []).append(draft)
        new = {log: await self._succeed(tx, log, each) for log, each in successors.items()}
        known = self._known(tx, drafts)
        heads = await self._read(tx, by_log.keys() - new.keys(), known) | new
        rng = _pool(self.rng, len(drafts))
        new_entries: list[logs.Entry] = []
        new_openings: list[logs.Openings] = []
        grown: list[Growth] = []
        steps: list[logs.Step] = []
        # In the order in which `logs.find_all` locks them: two nodes never wait in a circle.
        for name in sorted(by_log, key=lambda one: (one is not None, *heads[one].place)):
            batch = _Batch(heads[name], by_log[name], self.clock(), rng)
            heads[name] = batch.head
            steps.append(batch.step)
            new_entries += batch.entries
            new_openings += batch.openings
            grown.append(batch.growth)
        await logs.advance(tx, steps)
        await logs.append(tx, new_entries, new_openings)
        self.step("recorded")
        return lambda: self._committed(heads, grown)

    def _committed(self, heads: Mapping[str | None, _Head], grown: Sequence[Growth]) -> None:
        self.step("committed")
        self._heads.update(heads)
        for log, head in heads.items():
            if head.generation > 1:
                self.succeeded(log, head.generation)
        for listener in self.listeners:
            listener(grown)

    async def open(self, tx: AsyncConnection, agreement: str | None) -> int:
        """Return the key of an agreement's log (the root log for None), made where it is absent.

        Whoever makes one also has to record what stands at its beginning.
        """
        found = await logs.find(tx, agreement)
        return (await self._create(tx, agreement)).key if found is None else found.key

    async def _succeed(self, tx: AsyncConnection, log: str | None, generation: int) -> _Head:
        # Locked: another node that is writing into the old one ends first.
        found = (await logs.find_all(tx, [log], lock=True)).get(log)
        if found is not None and found.generation >= generation:
            return _head(found)
        return await self._create(tx, log, generation)

    async def _create(
        self, tx: AsyncConnection, agreement: str | None, generation: int = 1
    ) -> _Head:
        state, origin = State(), origin_of(self.relay, agreement, generation)
        key = await logs.create(
            tx, origin, agreement, generation, state.encode(), now_ms=self.clock()
        )
        if key is None:
            return _head((await logs.find_all(tx, [agreement], lock=True))[agreement])
        return _Head(key, generation, origin, state)

    def _known(
        self, tx: AsyncConnection, drafts: Sequence[Draft]
    ) -> MutableMapping[str | None, _Head]:
        """Return what may be relied on of what is remembered of logs."""
        if tx.dialect.name == "sqlite":
            # One writer: the state that it has last committed is the state. Should something else have written
            # after all, it is found out when this is written.
            return self._heads
        if logs.swap_with_channels(tx) and all(draft.channel_key is not None for draft in drafts):
            # Another node may have written since: then it is found out when this is written, and what is
            # taken from here is not there any more. Only where a log has a successor could it go
            # unnoticed, but that one begins with a lock on all channels of the agreement.
            return self._heads
        return {}

    async def _read(
        self,
        tx: AsyncConnection,
        names: Iterable[str | None],
        known: MutableMapping[str | None, _Head],
    ) -> dict[str | None, _Head]:
        # Whatever is not known is locked until the commit, so that no other node writes into it.
        found = {name: known[name] for name in names if name in known}
        absent = [name for name in names if name not in known]
        for name in found:
            # Until it is durable: a transaction that is overtaken reads it anew.
            del known[name]
        return found | await self._lock(tx, absent) if absent else found

    async def _lock(
        self, tx: AsyncConnection, names: Sequence[str | None]
    ) -> dict[str | None, _Head]:
        rows = await logs.find_all(tx, names, lock=True)
        found = {name: _head(row) for name, row in rows.items()}
        # In one order on all nodes: two that make the same logs would else wait in a circle.
        for name in sorted(names, key=lambda one: one or ""):
            if name not in found:
                found[name] = await self._create(tx, name)
        return found


@dataclass
class OpenRootLog(Operation[None]):
    """Makes the relay's own log, where it is not there."""

    recorder: Recorder

    async def apply(self, work: Work) -> None:
        """Make it."""
        await self.recorder.open(work.tx, None)


async def begin(database: Database, writer: Writer, recorder: Recorder) -> None:
    """Make the relay's own log at its first start.

    Raises:
        UnavailableError: the database could not write it.
    """
    async with database.read() as tx:
        there = await logs.find(tx, None)
    if there is None:
        await writer.submit(OpenRootLog(recorder))


class _Batch:
    """Entries that go into one log together."""

    def __init__(self, head: _Head, drafts: Sequence[Draft], now_ms: int, rng: RNG) -> None:
        time = head.state.stamp(now_ms)
        written = [_seal(head.origin, draft, time, rng) for draft in drafts]
        placed = sequencer.append_written(head.state, time, [entry for entry, _ in written])
        self._before = head.state.size
        self.head = _Head(head.key, head.generation, head.origin, placed.state)
        self.growth = Growth(head.key, placed.first, placed.entries, placed.state)
        self.entries = [
            logs.Entry(
                head.key, index, draft.type, time, draft.channel_key, draft.seq, draft.mark, data
            )
            for index, (draft, data) in enumerate(
                zip(drafts, placed.entries, strict=True), placed.first
            )
        ]
        self.openings = [
            logs.Openings(head.key, index, logs.audience(draft.audience), opening)
            for index, (draft, (_, opening)) in enumerate(
                zip(drafts, written, strict=True), placed.first
            )
        ]

    @property
    def step(self) -> logs.Step:
        """How the log's row changes: nobody else may have changed it since it was read."""
        state = self.head.state
        return logs.Step(self.head.key, self._before, state.size, state.encode())


def _seal(origin: str, draft: Draft, time: int, rng: RNG) -> tuple[bytes, bytes]:
    return sealing.write(
        draft.type,
        time,
        draft.fields,
        rng,
        form=draft.form,
        channel=None if draft.channel is None else _pseudonym(origin, draft.channel.value),
        seq=draft.seq,
        epoch=draft.epoch,
        policy=draft.policy,
        size=None if draft.size is None else entries.size_bucket(draft.size),
        period=draft.period,
    )


@lru_cache(maxsize=4096)
def _pseudonym(origin: str, channel: bytes) -> bytes:
    return entries.pseudonym(origin, ChannelId(channel))


def _head(row: LogRow) -> _Head:
    return _Head(row.key, row.generation, row.origin, State.decode(row.state))


def _pool(rng: RNG, count: int) -> RNG:
    """Draw the randomness of a whole group at once."""
    whole, at = rng(_SECRET_BYTES * count), 0

    def take(size: int) -> bytes:
        nonlocal at
        part = whole[at : at + size]
        at += size
        # A log that has to be sealed again needs fresh secrets, and more of them.
        return part if len(part) == size else rng(size)

    return take
