"""Publishing: what was recorded becomes tiles, a signed checkpoint, and cosignatures.

The order is the log's promise. Entries are durable before they are read here; their tiles are on
the disk before a checkpoint is signed; the signed checkpoint is on the disk before a witness or a
reader sees it. A crash between two of these heals when the publisher next looks, because everything
follows from the database; what would not heal is refused: a database that does not go on where the
last signed checkpoint ended is an old copy or another history, and signing on would show two.

The tree is computed a second time from the stored entries and compared with the recorder's state, so
that nothing is ever signed that the database does not hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import Final, TypeVar

from liaison.crypto.signing import Signer
from liaison.errors import LiaisonError, UnavailableError
from liaison.relay import log, tilestore
from liaison.relay.recording import Recorder, Step, nothing
from liaison.relay.tilestore import TileStore
from liaison.relay.witnessing import RESTORE, Answer, Cosigning, Requests, WitnessUnreachableError
from liaison.relay.writer import Operation, Work, Writer
from liaison.storage import logs, logs_reading
from liaison.storage.engine import Database
from liaison.storage.logs import LogRow, Signed
from liaison.tlog import merkle, sequencer
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import ForkError, ShrunkError, TileError
from liaison.tlog.merkle import CompactRange
from liaison.tlog.note import Note
from liaison.tlog.policy import Policy
from liaison.tlog.sequencer import State
from liaison.tlog.vkey import SignatureType, VerifierKey

INTERVAL: Final = 0.1
"""Seconds between two checkpoints of a log, at least."""
LOOK: Final = 5.0
"""Seconds after which all logs are looked at, whether there was news or not."""
PATIENCE: Final = 1.0
"""Seconds for which the database's row waits for the witnesses before it is written without them."""
CHUNK: Final = 4096
"""Entries that are read at once; a multiple of a tile's width."""
_AT_ONCE: Final = 4
_SYNCING: Final = 8

_GUIDE: Final = "see docs/operating/log.md"
_T = TypeVar("_T")

Policies = Callable[[str, int], Awaitable[Policy | None]]
"""Gives the trust policy of an agreement's log, of a generation; None where it is not known."""


@dataclass
class StoreCheckpoints(Operation[None]):
    """Stores signed checkpoints, and those that have a quorum."""

    published: Sequence[Signed]
    cosigned: Sequence[Signed]
    now_ms: int
    is_own: bool = True

    async def apply(self, work: Work) -> None:
        """Store them, where they are not older than what is there."""
        await logs.publish(work.tx, [*self.published, *self.cosigned])
        for one in self.cosigned:
            await logs.cosign(work.tx, one, now_ms=self.now_ms)


@dataclass
class Held:
    """One log, as its files are.

    Args:
        key: of its row.
        agreement: None for the relay's own.
        generation: of the log.
        vkey: the log's key; its name is the origin.
        store: the files.
        signed: the checkpoint that was signed last, on the disk.
        note: the same with its signature.
        tree: of the tiles that are on the disk.
        is_whole: whether the tiles were looked for that should be there.
        fresh: entries that were read with the log's row, and the index of the first.
        stored_at: when a checkpoint was last stored in the database, in the loop's time.
        cosigning: its witnesses; None for the relay's own log.
    """

    key: int
    agreement: str | None
    generation: int
    vkey: VerifierKey
    store: TileStore
    signed: Checkpoint
    note: Note
    tree: CompactRange = field(default_factory=CompactRange)
    is_whole: bool = False
    stored_at: float = -PATIENCE
    fresh: tuple[int, list[bytes]] = (0, [])
    cosigning: Cosigning | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """Its name."""
        return self.vkey.name


@dataclass
class Publisher:
    """Publishes all logs of a relay.

    Args:
        database: read only; what is stored goes through the writer.
        writer: stores checkpoints.
        recorder: tells which logs grew, and is told which are damaged.
        root: folder of all logs' files.
        signer: the relay's log key.
        policies: see `Policies`.
        urls: where witnesses are, by name.
        clock: Unix milliseconds.
        context: whom to trust as a witness's host; None for the system's authorities.
        step: told of each step by its name; tests end the process there.
    """

    database: Database
    writer: Writer
    recorder: Recorder
    root: Path
    signer: Signer
    policies: Policies
    urls: Mapping[str, str]
    clock: Callable[[], int]
    context: SSLContext | None = None
    step: Step = nothing
    _held: dict[int, Held] = field(default_factory=dict)
    _grown: set[int] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _refusing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _requests: Requests | None = None
    _working: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_AT_ONCE, "log")
    )
    _syncing: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_SYNCING, "log-sync")
    )

    # --- the life of the publisher ---

    async def open(self) -> None:
        """Look at what was signed, and refuse the logs whose database does not go on from there."""
        self.recorder.listeners.append(self.wake)
        for row in await self._rows(None):
            await self._begin(row)

    async def run(self) -> None:
        """Publish until cancelled."""
        if self.urls:
            self._requests = Requests(self.context)
        loop = asyncio.get_running_loop()
        looked = -LOOK
        while True:
            began = loop.time()
            # At times all: another node may have ended before it published what it recorded.
            everything = began - looked >= LOOK
            looked = began if everything else looked
            await self.publish(everything=everything)
            await asyncio.sleep(began + INTERVAL - loop.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(looked + LOOK):
                    await self._news.wait()
            self._news.clear()

    async def close(self) -> None:
        """Stop asking witnesses, and let go of threads and connections."""
        tasks = [task for held in self._held.values() for task in held.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._requests is not None:
            await self._requests.close()
        self._working.shutdown(wait=False)
        self._syncing.shutdown(wait=False)

    def wake(self, keys: Iterable[int]) -> None:
        """Publish these logs soon."""
        self._grown.update(keys)
        self._news.set()

    def files(self, origin: str) -> TileStore:
        """Return the files of a log, to be read."""
        return TileStore(tilestore.folder(self.root, origin), self._syncing)

    def vkey(self, origin: str) -> VerifierKey:
        """Return the key of a log, as witnesses and auditors have it."""
        return VerifierKey.of(origin, SignatureType.ED25519, self.signer)

    def held(self, agreement: str | None) -> Held | None:
        """Return an agreement's log as it is published here; None where there is none yet."""
        found = [held for held in self._held.values() if held.agreement == agreement]
        return max(found, key=lambda held: held.generation, default=None)

    def check(self) -> None:
        """Check that no log is damaged.

        Raises:
            LogRefusedError: one is; the message says which and what to do.
        """
        for agreement in self.recorder.refused:
            self.recorder.check(agreement)

    # --- one pass over the logs that grew ---

    async def publish(self, *, everything: bool = True) -> None:
        """Publish once: all logs, or those that grew since."""
        keys, self._grown = self._grown, set()
        try:
            rows = await self._rows(None if everything else keys, with_entries=True)
        except Exception as error:  # noqa: BLE001 - logged, and tried again
            self._grown |= keys
            log.logger().error("worker_failed", worker="log", **log.failure(error))
            return
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def publish(row: LogRow) -> Held | None:
            async with at_once:
                return await self._attempt(row)

        found = await asyncio.gather(*(publish(row) for row in rows))
        await self._keep([held for held in found if held is not None])

    async def _rows(self, keys: set[int] | None, *, with_entries: bool = False) -> list[LogRow]:
        """Return the newest generations, of all logs or of some; read what is new in them too."""
        async with self.database.read() as tx:
            rows = await (logs.listing(tx) if keys is None else logs.by_keys(tx, keys))
            newest = {row.agreement: row for row in rows}
            for row in newest.values() if with_entries else ():
                held = self._held.get(row.key)
                if held is not None and 0 < row.size - held.tree.size <= CHUNK:
                    first = held.tree.size
                    held.fresh = first, await logs_reading.data(tx, row.key, first, row.size)
        return list(newest.values())

    async def _attempt(self, row: LogRow) -> Held | None:
        """Publish one log; return it if there is something to be stored of it."""
        try:
            held = self._held.get(row.key) or await self._begin(row)
            if row.agreement in self.recorder.refused:
                return None
            return await self._publish(held, row)
        except Exception as error:  # noqa: BLE001 - logged, and tried again in the next pass
            if isinstance(error, LiaisonError) and not isinstance(error, UnavailableError):
                await self._refuse(self._held[row.key], error, {"database": _told(row)})
                return None
            self._grown.add(row.key)
            log.logger().error("worker_failed", worker="log", **log.failure(error))
            return None

    async def _keep(self, new: Sequence[Held]) -> None:
        if not new:
            return
        signed = [Signed(held.key, held.signed.size, held.note.encode()) for held in new]
        # Nobody is asked to cosign the relay's own log.
        own = [one for one, held in zip(signed, new, strict=True) if held.cosigning is None]
        try:
            await self.writer.submit(StoreCheckpoints(signed, own, self.clock()))
            for held in new:
                held.stored_at = _now()
            self.step("stored")
        except UnavailableError as error:
            log.logger().error("worker_failed", worker="log", **log.failure(error))

    # --- recognising a log after a start ---

    async def _begin(self, row: LogRow) -> Held:
        vkey = self.vkey(row.origin)
        store = TileStore(tilestore.folder(self.root, row.origin), self._syncing)
        nothing = Checkpoint(row.origin, 0, merkle.EMPTY_ROOT)
        note = Note(nothing.text).signed_by(vkey, self.signer)
        held = Held(row.key, row.agreement, row.generation, vkey, store, nothing, note)
        self._held[row.key] = held
        try:
            await self._recognise(held, row)
        except UnavailableError:
            del self._held[row.key]
            raise
        except LiaisonError as error:
            await self._refuse(held, error, {"database": _told(row)})
        return held

    async def _recognise(self, held: Held, row: LogRow) -> None:
        data = await self._in_thread(held.store.checkpoint)
        if data is None:
            return
        held.note = Note.decode(data)
        held.note.verify([held.vkey])
        held.signed = Checkpoint.parse(held.note.text)
        state = State.decode(row.state)
        _check_not_shorter(held.signed, state)
        before = await self._in_thread(partial(_tree_of, held))
        if before is None:
            # Tiles are lost or damaged: they are derived again before anything else is signed.
            return
        held.tree = before
        if state.size - before.size <= CHUNK:
            since = await self._entries(held, before.size, state.size)
            try:
                sequencer.verify_follows(held.signed, state, held.origin, since, before)
            except ForkError:
                raise _forked(held) from None

    # --- publishing one log ---

    async def _publish(self, held: Held, row: LogRow) -> Held | None:
        state = State.decode(row.state)
        _check_not_shorter(held.signed, state)
        await self._follow(held, state)
        if held.agreement is not None and held.cosigning is None:
            await self._start_cosigning(held, row)
        if held.cosigning is not None and not held.cosigning.confirmed.is_set():
            # Nothing is signed before witnesses have said that they have seen no more than this.
            return None
        if held.signed.size < state.size:
            await self._in_thread(partial(self._sign, held, state))
            if held.cosigning is not None:
                held.cosigning.offer(held.note)
        if row.published_size >= held.signed.size:
            return None
        if held.cosigning is not None and _now() - held.stored_at < PATIENCE:
            # The witnesses are at work: the row is written with what they cosign.
            return None
        return held

    def _sign(self, held: Held, state: State) -> None:
        """Sign a checkpoint whose tiles are on the disk, and put it there too; blocks."""
        old = held.signed.size
        checkpoint = state.checkpoint(held.origin)
        note = Note(checkpoint.text).signed_by(held.vkey, self.signer)
        self.step("signed")
        held.store.show(note.encode(), self.step)
        held.signed, held.note = checkpoint, note
        self.step("shown")
        held.store.prune(old, checkpoint.size)

    async def _follow(self, held: Held, state: State) -> None:
        """Bring the tiles up to the database's state.

        Raises:
            ForkError: the database holds other entries than were signed.
            TileConflictError: a tile has other bytes than the entries give.
        """
        if not held.is_whole:
            if await self._in_thread(partial(_is_lost, held)):
                held.tree = CompactRange()
            held.is_whole = True
        if held.tree.size < held.signed.size or state.size - held.tree.size > CHUNK:
            await self._check_all(held, state)
        while (at := held.tree.size) < state.size:
            end = state.size if state.size - at <= CHUNK else at - at % CHUNK + CHUNK
            entries = await self._entries(held, at, end)
            # The last of them gives the state's tree, or nothing of it is written.
            expected = state.tree if end == state.size else None
            held.tree = await self._in_thread(partial(self._grow, held, entries, expected))
        self.step("tiles")

    def _grow(
        self, held: Held, entries: Sequence[bytes], expected: CompactRange | None
    ) -> CompactRange:
        grown = held.tree.extend(merkle.hash_leaves(entries))
        if expected is not None and grown != expected:
            raise _forked(held)
        derived = sequencer.publish(held.tree.size, entries, held.store.read)
        held.store.write(derived, self.step)
        return grown

    async def _check_all(self, held: Held, state: State) -> None:
        """Check a long way before any of it is written: what was written can't be taken back."""
        tree = held.tree
        while (at := tree.size) < state.size:
            end = min(at - at % CHUNK + CHUNK, state.size)
            if at < held.signed.size:
                end = min(end, held.signed.size)
            entries = await self._entries(held, at, end)
            tree = await self._in_thread(partial(_extended, tree, entries))
            if tree.size == held.signed.size and tree.root != held.signed.root:
                raise _forked(held)
        if tree != state.tree:
            raise _forked(held)

    async def _entries(self, held: Held, first: int, last: int) -> list[bytes]:
        at, fresh = held.fresh
        held.fresh = 0, []
        if at == first and len(fresh) == last - first:
            return fresh
        async with self.database.read() as tx:
            return await logs_reading.data(tx, held.key, first, last)

    # --- witnesses ---

    async def _start_cosigning(self, held: Held, row: LogRow) -> None:
        agreement = held.agreement or ""
        cosigning = Cosigning(
            origin=held.origin,
            policy=lambda: self.policies(agreement, held.generation),
            urls=self.urls,
            post=self._post,
            prove=partial(self._prove, held),
            size=partial(self._size, held),
            keep=partial(self._keep_cosigned, held),
            refuse=partial(self._accused, held),
            clock=self.clock,
            known=row.cosigned_size,
        )
        await cosigning.begin(held.note)
        held.cosigning = cosigning
        held.tasks += [
            asyncio.create_task(cosigning.run(), name=f"cosigning {held.origin}"),
            asyncio.create_task(self._when_confirmed(held, cosigning)),
        ]

    async def _when_confirmed(self, held: Held, cosigning: Cosigning) -> None:
        await cosigning.confirmed.wait()
        self.wake([held.key])

    async def _post(self, url: str, body: bytes) -> Answer:
        if self._requests is None:
            raise WitnessUnreachableError("no witness is set")
        return await self._requests.post(url, body)

    async def _prove(self, held: Held, old: int, new: int) -> tuple[bytes, ...]:
        proof = await self._in_thread(lambda: held.store.tree(new).prove_consistency(old))
        return tuple(proof)

    async def _size(self, held: Held) -> int:
        (row,) = await self._rows({held.key})
        return row.size

    async def _keep_cosigned(self, held: Held, checkpoint: Checkpoint, note: Note) -> None:
        if not checkpoint.size:
            return
        self.step("cosigned")
        signed = Signed(held.key, checkpoint.size, note.encode())
        await self.writer.submit(StoreCheckpoints((), [signed], self.clock()))
        held.stored_at = _now()
        self.step("kept")

    async def _accused(
        self, held: Held, error: LiaisonError, request: bytes, answer: bytes
    ) -> None:
        await self._refuse(held, error, {"request": request, "answer": answer})

    # --- logs that are damaged ---

    async def _refuse(self, held: Held, error: LiaisonError, evidence: Mapping[str, bytes]) -> None:
        error.hint = f"{error.hint}; {_GUIDE}" if error.hint else _GUIDE
        self.recorder.refuse(held.agreement, error)
        kept = {"signed": held.note.encode(), **evidence}
        names = [f"{error.code}-{name}-{_short(data)}" for name, data in kept.items()]
        log.logger().error("log_refused", origin=held.origin, code=error.code)
        # Two witnesses may say the same at the same time.
        async with self._refusing:
            for name, data in zip(names, kept.values(), strict=True):
                await self._in_thread(partial(held.store.keep_evidence, name, data))
        self.step("refused")
        for task in held.tasks:
            task.cancel()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._working, work)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _check_not_shorter(signed: Checkpoint, state: State) -> None:
    if signed.size > state.size:
        raise ShrunkError(
            f"the database has {state.size} entries of the log and {signed.size} were signed",
            hint=RESTORE,
        )


def _forked(held: Held) -> ForkError:
    return ForkError(
        f"the database does not go on where the checkpoint of {held.signed.size} entries ended",
        hint=RESTORE,
    )


def _tree_of(held: Held) -> CompactRange | None:
    """Read the tree of the checkpoint that was signed last from its tiles; None if it is not there."""
    try:
        tree = held.store.tree(held.signed.size).compact_range()
    except (TileError, OSError):
        return None
    return tree if tree.root == held.signed.root else None


def _is_lost(held: Held) -> bool:
    return next(held.store.absent(held.signed.size), None) is not None


def _extended(tree: CompactRange, entries: Sequence[bytes]) -> CompactRange:
    return tree.extend(merkle.hash_leaves(entries))


def _told(row: LogRow) -> bytes:
    """Return what the database says of a log, as a checkpoint that nobody has signed."""
    try:
        return State.decode(row.state).checkpoint(row.origin).text.encode()
    except LiaisonError:
        return row.state


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]
