"""Bringing one log's files up to the database: recognised after a start, extended, signed.

The tree is computed a second time from the entries and compared with the recorder's state. Whatever
does not go on where the last signed checkpoint ended is refused before a byte of it is written.
What blocks is done in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from liaison.crypto.signing import Signer
from liaison.relay import held as held_log
from liaison.relay.held import CHUNK, Held
from liaison.relay.recording import Step
from liaison.storage import logs_reading
from liaison.storage.engine import Database
from liaison.storage.logs import LogRow
from liaison.tlog import merkle, sequencer
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import ForkError
from liaison.tlog.merkle import CompactRange
from liaison.tlog.note import Note
from liaison.tlog.sequencer import State
from liaison.values import dataclass

_T = TypeVar("_T")


@dataclass(frozen=True)
class Tiler:
    """Writes the tiles and checkpoints of logs.

    Args:
        database: read only.
        signer: the relay's log key.
        working: runs what blocks.
        step: told of each step by its name; tests end the process there.
    """

    database: Database
    signer: Signer
    working: Executor
    step: Step

    async def recognise(self, held: Held, row: LogRow) -> None:
        """Find out what of a log was signed, and whether the database goes on from there.

        Raises:
            LiaisonError: it does not, or what was signed is nothing of ours.
        """
        data = await self._in_thread(held.store.checkpoint)
        if data is None:
            return
        held.note = Note.decode(data)
        held.note.verify([held.vkey])
        held.signed = Checkpoint.parse(held.note.text)
        state = State.decode(row.state)
        held_log.check_not_shorter(held.signed, state)
        before = await self._in_thread(partial(held_log.tree_of, held))
        if before is None:
            # Tiles are lost or damaged: they are derived again before anything else is signed.
            return
        held.tree = before
        if state.size - before.size <= CHUNK:
            since = await self._entries(held, before.size, state.size)
            try:
                sequencer.verify_follows(held.signed, state, held.origin, since, before)
            except ForkError:
                raise held_log.forked(held) from None

    def sign(self, held: Held, state: State) -> int:
        """Sign a checkpoint whose tiles were written, and put it on the disk; blocks.

        Returns:
            The size of the one before it.
        """
        old = held.signed.size
        checkpoint = state.checkpoint(held.origin)
        note = Note(checkpoint.text).signed_by(held.vkey, self.signer)
        self.step("signed")
        held.store.show(note.encode(), self.step)
        held.signed, held.note = checkpoint, note
        self.step("shown")
        return old

    async def follow(self, held: Held, state: State) -> None:
        """Bring the tiles up to the database's state.

        Raises:
            ForkError: the database holds other entries than were signed.
            TileConflictError: a tile has other bytes than the entries give.
        """
        if not held.is_whole:
            if await self._in_thread(partial(held_log.is_lost, held)):
                held.tree = CompactRange()
            held.is_whole = True
        if held.tree.size < held.signed.size or state.size - held.tree.size > CHUNK:
            await self._check_all(held, state)
        while (at := held.tree.size) < state.size:
            end = state.size if state.size - at <= CHUNK else at - at % CHUNK + CHUNK
            entries = await self._entries(held, at, end)
            # The last of them gives the state's tree, or nothing of it is written.
            expected = state.tree if end == state.size else None
            held.tree = await self._in_thread(partial(self.grow, held, entries, expected))

    def grow(
        self, held: Held, entries: Sequence[bytes], expected: CompactRange | None
    ) -> CompactRange:
        """Write the tiles of more entries; blocks.

        Args:
            held: the log; its tree is left as it is.
            entries: those after its tree.
            expected: the tree that they give; None where it is not known.

        Returns:
            The tree with them.

        Raises:
            ForkError, TileConflictError: see `follow`; nothing was written.
        """
        grown = held.tree.extend(merkle.hash_leaves(entries))
        if expected is not None and grown != expected:
            raise held_log.forked(held)
        derived = sequencer.publish(held.tree.size, entries, held.store.read)
        held.store.write(derived, self.step, held.signed.size)
        return grown

    async def _check_all(self, held: Held, state: State) -> None:
        """Check a long way before any of it is written: what was written can't be taken back."""
        tree = held.tree
        while (at := tree.size) < state.size:
            end = min(at - at % CHUNK + CHUNK, state.size)
            if at < held.signed.size:
                end = min(end, held.signed.size)
            entries = await self._entries(held, at, end)
            tree = await self._in_thread(partial(held_log.extended, tree, entries))
            if tree.size == held.signed.size and tree.root != held.signed.root:
                raise held_log.forked(held)
        if tree != state.tree:
            raise held_log.forked(held)

    async def _entries(self, held: Held, first: int, last: int) -> list[bytes]:
        async with self.database.read() as tx:
            return await logs_reading.data(tx, held.key, first, last)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self.working, work)
