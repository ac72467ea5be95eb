"""One log as its publisher has it: what was signed last, the tiles, what waits, who cosigns."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import field
from typing import Final

from liaison import words
from liaison.errors import LiaisonError
from liaison.relay.asking import RESTORE
from liaison.relay.recording import Growth
from liaison.relay.tilestore import TileStore
from liaison.relay.witnessing import Cosigning
from liaison.storage.logs import LogRow
from liaison.tlog import merkle, witness
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import ForkError, ShrunkError, TileError
from liaison.tlog.merkle import CompactRange
from liaison.tlog.note import Note
from liaison.tlog.sequencer import State
from liaison.tlog.vkey import VerifierKey
from liaison.values import dataclass

CHUNK: Final = 4096
"""Entries that are read at once; a multiple of a tile's width."""
PATIENCE: Final = 1.0
"""Seconds for which the database's row waits for the witnesses before it is written without them."""


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
    cosigning: Cosigning | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    is_over: bool = False
    """Whether another log follows: nothing more is published of this one."""
    _grown: list[Growth] = field(default_factory=list)
    _waiting: int = 0

    @property
    def origin(self) -> str:
        """Its name."""
        return self.vkey.name

    @property
    def may_sign(self) -> bool:
        """Whether nobody has seen more of the log than is here, as far as can be known."""
        if self.agreement is None:
            return True
        return self.cosigning is not None and self.cosigning.confirmed.is_set()

    @property
    def is_unconfirmed(self) -> bool:
        """Whether nothing is signed until a quorum of its witnesses has answered."""
        return self.cosigning is not None and not self.may_sign

    def end(self) -> None:
        """Publish nothing more, and ask no witness."""
        self.is_over = True
        for task in self.tasks:
            task.cancel()

    def remember(self, growth: Growth) -> None:
        """Keep what was recorded until it is published; of much, the database has to be read."""
        self._waiting += len(growth.entries)
        if self._waiting > CHUNK:
            self._grown, self._waiting = [], 0
        else:
            self._grown.append(growth)

    def take(self) -> tuple[State, list[bytes]] | None:
        """Return what was recorded since the tiles, and the state with it; None to read it."""
        grown, self._grown, self._waiting = self._grown, [], 0
        if self.is_over:
            return None
        entries: list[bytes] = []
        state: State | None = None
        for one in grown:
            if one.state.size <= self.tree.size:
                continue
            if one.first != self.tree.size + len(entries):
                return None
            entries += one.entries
            state = one.state
        return None if state is None else (state, entries)


def is_due(held: Held) -> bool:
    """Whether the database's row is to be written now.

    Where witnesses are at work, it is written with what they cosign.
    """
    return held.cosigning is None or now() - held.stored_at >= PATIENCE


def now() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


def check_not_shorter(signed: Checkpoint, state: State) -> None:
    """Check that the database has what was signed.

    Raises:
        ShrunkError: it is an old copy.
    """
    if signed.size > state.size:
        raise ShrunkError(
            f"the database has {words.entries(state.size)} of the log and"
            f" {words.count(signed.size, 'was', 'were')} signed",
            hint=RESTORE,
        )


def forked(held: Held) -> ForkError:
    """Return what says that the database has another history."""
    return ForkError(
        "the database does not go on where the checkpoint of"
        f" {words.entries(held.signed.size)} ended",
        hint=RESTORE,
    )


def tree_of(held: Held) -> CompactRange | None:
    """Read the tree of the checkpoint that was signed last from its tiles; None if it is not there."""
    try:
        tree = held.store.tree(held.signed.size).compact_range()
    except (TileError, OSError):
        return None
    return tree if tree.root == held.signed.root else None


def root_of(held: Held, size: int) -> bytes | None:
    """Return the root of the log's first entries, from its tiles; None where they are fewer."""
    tree = held.store.tree(held.tree.size)
    return tree.root_at(size) if size <= tree.size else None


def stored_note(held: Held, row: LogRow) -> Note:
    """Return the checkpoint that the database has, which is newer than our files have.

    Another node may have gone on, or our files may have been lost.

    Raises:
        ForkError: the database's is of other entries than the database has.
        NoteUnsignedError, NoteSignatureError: it was signed with another key.
    """
    note = Note.decode(row.published or b"")
    checkpoint = witness.signed_by_log(note, [held.vkey])
    if root_of(held, checkpoint.size) != checkpoint.root:
        raise ForkError(
            "the database does not have the"
            f" {words.count(checkpoint.size, 'entry that was', 'entries that were')} signed",
            hint=RESTORE,
        )
    return note


def is_lost(held: Held) -> bool:
    """Whether a tile of what was signed is not there."""
    return next(held.store.absent(held.signed.size), None) is not None


def extended(tree: CompactRange, entries: Sequence[bytes]) -> CompactRange:
    """Return the tree with more entries."""
    return tree.extend(merkle.hash_leaves(entries))


def told(row: LogRow) -> bytes:
    """Return what the database says of a log, as a checkpoint that nobody has signed."""
    try:
        return State.decode(row.state).checkpoint(row.origin).text.encode()
    except LiaisonError:
        return row.state


def short(data: bytes) -> str:
    """Return what tells pieces of evidence apart."""
    return hashlib.sha256(data).hexdigest()[:8]
