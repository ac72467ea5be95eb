"""Reads the logs entry by entry, in the background: is each channel in there once?

What `log_following` asks for comes with proofs that it is in the log, and no proof that nothing
else is. A relay could put two runs of one channel into one tree, and show each member its own. Who
reads all entries sees both. So each device does, a part at a time: entry bundles, from which the
log's tree is computed on, against the checkpoint that was verified last. Nothing waits for this.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from liaison.errors import LiaisonError
from liaison.model import ChannelId
from liaison.tlog import merkle, tiles
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.entries import Entry, pseudonym
from liaison.tlog.errors import ForkError, ProofError
from liaison.tlog.merkle import HASH_BYTES, CompactRange
from liaison.tlog.note import Note
from liaison.tlog.tiles import WIDTH, Tile, TileTree
from liaison.values import dataclass
from liaison.wire.problems import RemoteError
from liaison_sdk import log_alarms
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ConnectionLostError
from liaison_sdk.log_channels import ChannelRuns
from liaison_sdk.store import Transaction, channels, logs, walks
from liaison_sdk.store.walks import WalkRecord

if TYPE_CHECKING:
    from liaison_sdk.store.logs import LogRecord

Fetch = Callable[[Tile], Awaitable[bytes]]

BACK: Final = 256 * WIDTH
"""Entries before its end from which a log is read that is longer when it is first met."""
TAIL_EVERY: Final = 300
"""Seconds between readings of a bundle that is not full yet: it has to be fetched again later."""
_NOT_FOUND: Final = 404
_LATER: Final = frozenset({429, 500, 502, 503, 504})
"""What the relay answers where the same may be had a little later."""
_PLACED: Final = b'"seq":'
"""What stands in the entry of every item; the others need not be read."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is read at once.

    Args:
        record: how far the log was read.
        known: how far it was verified.
        checkpoint: of `known`.
        end: one past the last entry to be read.
    """

    record: WalkRecord
    known: LogRecord
    checkpoint: Checkpoint
    end: int


@dataclass(frozen=True, slots=True)
class Wrong:
    """A channel that contradicts itself.

    Args:
        index: of the entry.
        entry: itself.
        error: what is wrong with it.
    """

    index: int
    entry: Entry
    error: LiaisonError


async def walk(env: Environment, agreement_id: str, most: int, *, whole: bool = False) -> bool:
    """Read on in a log; return whether there is more.

    Args:
        env: where to.
        agreement_id: whose log.
        most: entries; less than a bundle has: none.
        whole: whether the newest entries count in any case, that do not fill a bundle yet.

    Raises:
        ConnectionLostError: the relay can't be reached; nothing was noted.
    """
    step = await env.read(lambda tx: _plan(env, tx, agreement_id, most, whole=whole))
    if step is None:
        return False

    async def fetch(tile: Tile) -> bytes:
        return await _tile(env, step, tile)

    try:
        before = await _before(step, fetch)
        data = await entries(before.size, step.end, fetch)
        after = await asyncio.to_thread(lambda: before.extend(merkle.hash_leaves(data)))
        await _check(step.checkpoint, after, fetch)
    except ConnectionLostError:
        raise
    except LiaisonError as e:
        await env.write(lambda tx, error=e: _failed(env, tx, step, error))  # type: ignore[misc]  # a default argument binds the name
        return False
    runs, wrong = await asyncio.to_thread(_follow, step.record, before.size, data)
    new = replace(
        step.record,
        size=after.size,
        hashes=after.hashes,
        channels=runs.followed,
        at=env.now if after.size + WIDTH > step.checkpoint.size else step.record.at,
        problem="",
    )
    await env.write(lambda tx: _keep(env, tx, step, new, wrong))
    return after.size + WIDTH <= step.checkpoint.size


# --- what is to be read -----------------------------------------------------------------


def _plan(
    env: Environment, tx: Transaction, agreement_id: str, most: int, *, whole: bool
) -> Step | None:
    known = logs.load(tx, agreement_id)
    if not known.note or most < WIDTH:
        return None
    checkpoint = Checkpoint.parse(Note.decode(known.note).text)
    record = walks.load(tx, agreement_id)
    if record is None or record.origin != checkpoint.origin:
        start = max(0, checkpoint.size - BACK) // WIDTH * WIDTH
        record = WalkRecord(agreement_id, checkpoint.origin, start)
    begin = record.size or record.start
    end = min(checkpoint.size, begin + most)
    is_tail = end == checkpoint.size and (whole or env.now - record.at >= TAIL_EVERY)
    if not is_tail:
        end -= end % WIDTH
    return Step(record, known, checkpoint, end) if end > begin else None


def restart(tx: Transaction, agreement_id: str) -> None:
    """Have a log read from its beginning, as far as it was verified."""
    note = logs.load(tx, agreement_id).note
    if note:
        origin = Checkpoint.parse(Note.decode(note).text).origin
        walks.save(tx, WalkRecord(agreement_id, origin))


def _generation(record: WalkRecord) -> int:
    """Return which of the agreement's logs it is: those after the first have a number behind the id."""
    if record.origin.endswith(f"/log/{record.agreement}"):
        return 1
    return int(record.origin.rpartition("/")[2])


# --- reading ----------------------------------------------------------------------------


async def _tile(env: Environment, step: Step, tile: Tile) -> bytes:
    record = step.record
    generation = _generation(record)
    before = "" if generation == 1 else f"{generation}/"
    return await env.api.log_tile(record.agreement, before + tile.path)


async def entries(first: int, size: int, fetch: Fetch) -> list[bytes]:
    """Fetch the entries from one place up to a size; nothing of them is verified.

    Raises:
        TileError: what was served is no such bundle.
        RemoteError: the relay does not have it.
    """
    found: list[bytes] = []
    for index in range(first // WIDTH, -(-size // WIDTH)):
        width = min(WIDTH, size - index * WIDTH)
        found += (await _bundle(Tile(None, index, width), fetch))[max(0, first - index * WIDTH) :]
    return found


async def _bundle(tile: Tile, fetch: Fetch) -> list[bytes]:
    data, full = await _partial(tile, fetch)
    return tiles.decode_entries(Tile(None, tile.index) if full else tile, data)[: tile.width]


async def _hashes(tile: Tile, fetch: Fetch) -> bytes:
    data, full = await _partial(tile, fetch)
    return data[: tile.width * HASH_BYTES] if full else data


async def _partial(tile: Tile, fetch: Fetch) -> tuple[bytes, bool]:
    """Fetch a tile, or the full one in its place; return which."""
    try:
        return await fetch(tile), False
    except RemoteError as e:
        # A partial tile may go once the full one is there.
        if not tile.is_partial or e.problem.status != _NOT_FOUND:
            raise
    return await fetch(replace(tile, width=WIDTH)), True


class _LackingError(Exception):
    """A tile has to be fetched first."""

    def __init__(self, tile: Tile) -> None:
        super().__init__()
        self.tile = tile


async def _computed(
    size: int, fetch: Fetch, work: Callable[[TileTree], Sequence[bytes]]
) -> list[bytes]:
    """Compute something from a log's tree, fetching the tiles that it needs."""
    there: dict[Tile, bytes] = {}

    def read(tile: Tile) -> bytes:
        if tile not in there:
            raise _LackingError(tile)
        return there[tile]

    while True:
        try:
            return list(work(TileTree(size, read)))
        except _LackingError as e:
            there[e.tile] = await _hashes(e.tile, fetch)


async def _before(step: Step, fetch: Fetch) -> CompactRange:
    """Return the tree up to where reading goes on; that it is the log's shows afterwards."""
    record = step.record
    if record.size or not record.start:
        return CompactRange(record.size, record.hashes)
    nodes = list(merkle.full_nodes(0, record.start))
    size = step.checkpoint.size
    hashes = await _computed(size, fetch, lambda tree: [tree.node(node) for node in nodes])
    return CompactRange(record.start, tuple(hashes))


async def _check(checkpoint: Checkpoint, read: CompactRange, fetch: Fetch) -> None:
    """Check that what was read is how the log begins.

    Raises:
        ForkError: it is not.
    """
    size, proof = read.size, list[bytes]()
    if size < checkpoint.size:
        proof = await _computed(
            checkpoint.size, fetch, lambda tree: tree.prove_consistency(size, checkpoint.size)
        )
    try:
        merkle.verify_consistency(size, checkpoint.size, proof, read.root, checkpoint.root)
    except ProofError as error:
        raise ForkError(
            f"the entries that the relay gives are not those of its log of {checkpoint.size}"
        ) from error


# --- what it shows ----------------------------------------------------------------------


def _follow(
    record: WalkRecord, first: int, data: Sequence[bytes]
) -> tuple[ChannelRuns, list[Wrong]]:
    generation = _generation(record) if record.start == 0 else None
    runs = ChannelRuns(record.channels, generation=generation, goes_on=False)
    wrong = []
    for index, each in enumerate(data, first):
        if _PLACED not in each:
            continue
        try:
            entry = Entry.decode(each)
        except LiaisonError:
            # Nobody can be shown what is none; registrars are told.
            continue
        error = runs.take(entry)
        if error is not None:
            wrong.append(Wrong(index, entry, error))
    return runs, wrong


def _keep(
    env: Environment, tx: Transaction, step: Step, new: WalkRecord, wrong: Sequence[Wrong]
) -> None:
    if not _is_next(tx, step):
        return
    walks.save(tx, new)
    own = _own(tx, step)
    for one in wrong:
        channel = own.get(one.entry.channel or b"")
        log_alarms.alarm(
            env,
            tx,
            new.agreement,
            channel,
            one.error,
            lambda o=one: _evidence(step, o),  # type: ignore[misc]  # a default argument binds the loop's value
        )


def _failed(env: Environment, tx: Transaction, step: Step, error: LiaisonError) -> None:
    if not _is_next(tx, step):
        return
    if isinstance(error, RemoteError) and error.problem.status in _LATER:
        return
    walks.save(tx, replace(step.record, problem=error.message))
    if isinstance(error, ForkError):
        log_alarms.alarm(env, tx, step.record.agreement, None, error, lambda: _evidence(step, None))


def _is_next(tx: Transaction, step: Step) -> bool:
    """Whether no other process of the device has read on meanwhile."""
    found = walks.load(tx, step.record.agreement)
    return found is None or found.origin != step.record.origin or found.size == step.record.size


def _own(tx: Transaction, step: Step) -> Mapping[bytes, ChannelId]:
    origin = step.checkpoint.origin
    return {pseudonym(origin, one.channel): one.channel for one in channels.load_all(tx)}


def _evidence(step: Step, wrong: Wrong | None) -> bytes:
    found = None
    if wrong is not None:
        found = {"index": wrong.index, "entry": wrong.entry.encode().decode()}
    return json.dumps(
        {"known": step.known.note.decode(), "read": [step.record.size, step.end], "twice": found}
    ).encode()
