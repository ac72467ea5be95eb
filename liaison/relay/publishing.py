"""Publishing: what was recorded becomes tiles, a signed checkpoint, and cosignatures.

The order is the log's promise. Entries are durable before they are read here; their tiles are on
the disk before a signed checkpoint is, and that is before a witness or a reader sees it. A crash
between two of these heals when the publisher next looks, because everything follows from the
database; what would not heal is refused: a database that does not go on where the last signed
checkpoint ended is an old copy or another history, and signing on would show two.

What this process has just recorded it need not read again; all else, and every few seconds
everything, comes from the database. How one log's files are brought up to it is in
`liaison.relay.tiling`, and what becomes of one that is refused in `liaison.relay.damaged`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import Final, TypeVar

from liaison.crypto.signing import Signer
from liaison.errors import LiaisonError, UnavailableError
from liaison.relay import held as held_log
from liaison.relay import log, tilestore
from liaison.relay.asking import Answer, Requests, Subject, WitnessUnreachableError
from liaison.relay.damaged import Refuser
from liaison.relay.held import Held
from liaison.relay.recording import Growth, Recorder, Step, nothing
from liaison.relay.tilestore import TileStore
from liaison.relay.tiling import Tiler
from liaison.relay.witnessing import Cosigning
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import logs
from liaison.storage.engine import Database
from liaison.storage.logs import LogRow, Signed
from liaison.tlog import merkle
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import ShrunkError
from liaison.tlog.note import Note
from liaison.tlog.policy import Policy
from liaison.tlog.sequencer import State
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.values import dataclass

INTERVAL: Final = 0.1
"""Seconds between two checkpoints of a log, at least."""
LOOK: Final = 5.0
"""Seconds after which all logs are looked at, whether there was news or not."""
_AT_ONCE: Final = 4
_SYNCING: Final = 8

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
        await logs.sign(work.tx, self.published, self.cosigned, now_ms=self.now_ms)


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
    _passing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _requests: Requests | None = None
    _working: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_AT_ONCE, "log")
    )
    _syncing: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_SYNCING, "log-sync")
    )
    _tiler: Tiler = field(init=False)
    _damaged: Refuser = field(init=False)

    def __post_init__(self) -> None:
        self._tiler = Tiler(self.database, self.signer, self._working, self.step)
        self._damaged = Refuser(self.recorder, self._working, self.step)

    # --- the life of the publisher ---

    async def open(self) -> None:
        """Look at what was signed, and refuse the logs whose database does not go on from there."""
        self.recorder.listeners.append(self._remember)
        for row in await self._rows(None):
            await self._begin(row)

    async def give_up(self, origin: str) -> None:
        """Refuse the relay's own log if it has this name: its operator says that its end is lost."""
        held = self.held(None)
        if held is not None and held.origin == origin and None not in self.recorder.refused:
            lost = ShrunkError(
                f"the end of {origin} is lost, as whoever restored the relay has said",
                hint="`liaison-relay log begin-root` begins the next one",
            )
            await self._damaged.refuse(held, lost, {})

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
            try:
                await self.publish(everything=everything)
            except Exception as error:  # noqa: BLE001 - logged, and tried again
                log.logger().error("worker_failed", worker="log", **log.failure(error))
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

    def _remember(self, grown: Sequence[Growth]) -> None:
        for one in grown:
            held = self._held.get(one.log)
            if held is not None:
                held.remember(one)
        self.wake(one.log for one in grown)

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

    def newest(self) -> dict[str | None, Held]:
        """Return what `held` does of all logs at once; the relay's own under None."""
        found: dict[str | None, Held] = {}
        for held in self._held.values():
            before = found.setdefault(held.agreement, held)
            if before.generation < held.generation:
                found[held.agreement] = held
        return found

    @property
    def agreements(self) -> frozenset[str]:
        """The agreements whose logs are published here."""
        return frozenset(h.agreement for h in self._held.values() if h.agreement is not None)

    # --- one pass over the logs that grew ---

    async def publish(self, *, everything: bool = True) -> None:
        """Publish once: all logs, or those that grew since."""
        # Two passes over one log would each grow its tree, and find that the other's is not theirs.
        async with self._passing:
            await self._publish_once(everything=everything)

    async def _publish_once(self, *, everything: bool) -> None:
        keys, self._grown = self._grown, set()
        known = {} if everything else self._known(keys)
        try:
            rows = await self._rows(None if everything else keys - known.keys())
        except Exception as error:  # noqa: BLE001 - logged, and tried again
            self._grown |= keys
            log.logger().error("worker_failed", worker="log", **log.failure(error))
            return
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def publish(key: int, step: Callable[[], Awaitable[Held | None]]) -> Held | None:
            async with at_once:
                return await self._attempt(key, step)

        found = await asyncio.gather(
            *(publish(row.key, partial(self._publish, row)) for row in rows),
            *(publish(key, partial(self._publish_known, *one)) for key, one in known.items()),
        )
        await self._keep([held for held in found if held is not None])

    def _known(self, keys: set[int]) -> dict[int, tuple[Held, State, list[bytes]]]:
        """Return what is in memory of those logs that were looked at since the start."""
        found = {}
        for key in keys:
            held = self._held.get(key)
            if held is None or held.is_over or not held.is_whole:
                continue
            if held.agreement not in self.recorder.refused:
                taken = held.take()
                if taken is not None:
                    found[key] = held, *taken
        return found

    async def _rows(self, keys: set[int] | None) -> list[LogRow]:
        """Return the newest generations, of all logs or of some."""
        if keys is not None and not keys:
            return []
        async with self.database.read() as tx:
            rows = await (logs.listing(tx) if keys is None else logs.by_keys(tx, keys))
        newest = {row.agreement: row for row in rows}
        return list(newest.values())

    async def _attempt(self, key: int, step: Callable[[], Awaitable[Held | None]]) -> Held | None:
        """Publish one log; return it if there is something to be stored of it."""
        try:
            return await step()
        except Exception as error:  # noqa: BLE001 - logged, and tried again in the next pass
            if isinstance(error, LiaisonError) and not isinstance(error, UnavailableError):
                await self._damaged.refuse(self._held[key], error, await self._words_of(key))
                return None
            self._grown.add(key)
            log.logger().error("worker_failed", worker="log", **log.failure(error))
            return None

    async def _words_of(self, key: int) -> dict[str, bytes]:
        """Return what the database says of a log, for the evidence."""
        try:
            (row,) = await self._rows({key})
        except UnavailableError:
            # The refusal does not wait for it.
            return {}
        return {"database": held_log.told(row)}

    async def _keep(self, new: Sequence[Held]) -> None:
        if not new:
            return
        signed = [Signed(held.key, held.signed.size, held.note.encode()) for held in new]
        # Nobody is asked to cosign the relay's own log.
        own = [one for one, held in zip(signed, new, strict=True) if held.cosigning is None]
        try:
            await self.writer.submit(StoreCheckpoints(signed, own, self.clock()))
            for held in new:
                held.stored_at = held_log.now()
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
        self._end_before(held)
        self._held[row.key] = held
        try:
            await self._tiler.recognise(held, row)
        except UnavailableError:
            del self._held[row.key]
            raise
        except LiaisonError as error:
            await self._damaged.refuse(held, error, {"database": held_log.told(row)})
        return held

    def _end_before(self, held: Held) -> None:
        """Publish nothing more of the logs that this one follows, whichever node began it."""
        self.recorder.succeeded(held.agreement, held.generation)
        for one in self._held.values():
            if one.agreement == held.agreement and one.generation < held.generation:
                one.end()

    # --- publishing one log ---

    async def _publish(self, row: LogRow) -> Held | None:
        """Publish what the database has of a log."""
        held = self._held.get(row.key) or await self._begin(row)
        if held.is_over or row.agreement in self.recorder.refused:
            return None
        state = State.decode(row.state)
        held_log.check_not_shorter(held.signed, state)
        await self._tiler.follow(held, state)
        self.step("tiles")
        newest = held.note
        if row.published_size > held.signed.size:
            newest = await self._in_thread(partial(held_log.stored_note, held, row))
        if held.agreement is not None and held.cosigning is None:
            await self._start_cosigning(held, row, newest)
        elif held.cosigning is not None and not held.may_sign:
            held.cosigning.offer(newest)
        # Nothing is signed before witnesses have said that they have seen no more than this.
        if held.may_sign and held.signed.size < state.size:
            old = await self._in_thread(partial(self._tiler.sign, held, state))
            await self._offer(held, old)
        return held if row.published_size < held.signed.size and held_log.is_due(held) else None

    async def _publish_known(
        self, held: Held, state: State, entries: Sequence[bytes]
    ) -> Held | None:
        """Publish what was just recorded."""

        def work() -> int | None:
            held.tree = self._tiler.grow(held, entries, state.tree)
            self.step("tiles")
            return self._tiler.sign(held, state) if held.may_sign else None

        old = await self._in_thread(work)
        if old is None:
            return None
        await self._offer(held, old)
        return held if held_log.is_due(held) else None

    async def _offer(self, held: Held, old: int) -> None:
        if held.cosigning is not None:
            held.cosigning.offer(held.note)
        await self._in_thread(partial(held.store.prune, old, held.signed.size))

    # --- witnesses ---

    async def _start_cosigning(self, held: Held, row: LogRow, newest: Note) -> None:
        agreement = held.agreement or ""
        subject = Subject(
            key=held.vkey,
            post=self._post,
            prove=partial(self._prove, held),
            size=partial(self._size, held),
            root=partial(self._root, held),
            refuse=partial(self._damaged.refuse, held),
        )
        cosigning = Cosigning(
            subject=subject,
            policy=lambda: self.policies(agreement, held.generation),
            urls=self.urls,
            keep=partial(self._keep_cosigned, held),
            known=row.cosigned_size,
        )
        await cosigning.begin(newest)
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
        # From the whole tree: one that another node has published has no tiles of its own here.
        tree = held.store.tree(held.tree.size)
        return tuple(await self._in_thread(partial(tree.prove_consistency, old, new)))

    async def _size(self, held: Held) -> int:
        (row,) = await self._rows({held.key})
        return row.size

    async def _root(self, held: Held, size: int) -> bytes | None:
        return await self._in_thread(partial(held_log.root_of, held, size))

    async def _keep_cosigned(self, held: Held, checkpoint: Checkpoint, note: Note) -> None:
        if not checkpoint.size:
            return
        self.step("cosigned")
        signed = Signed(held.key, checkpoint.size, note.encode())
        await self.writer.submit(StoreCheckpoints((), [signed], self.clock()))
        held.stored_at = held_log.now()
        self.step("kept")

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._working, work)
