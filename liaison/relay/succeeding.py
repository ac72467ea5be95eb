"""Giving up a log that can't go on: what its head is, and whether a version may name a successor.

The head is the largest checkpoint that the log's key has signed and that is still to be had here:
in the log's files, in the database, in the evidence, where witnesses have shown more. The parties
decide which head they hold to; the relay takes no version that contradicts what it has signed, and
none while the log is whole, because such a version would only take something away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from liaison.errors import ConflictError, LiaisonError
from liaison.policy.agreement import Agreement
from liaison.policy.log_rules import Predecessor
from liaison.relay.publishing import Publisher
from liaison.relay.recording import origin_of
from liaison.relay.services.book import Book
from liaison.relay.services.entries import administration as entries
from liaison.relay.services.errors import AgreementRefusedError, UnknownLogError
from liaison.relay.tilestore import TileStore
from liaison.relay.work import Operation, Work
from liaison.storage import logs
from liaison.storage.logs import LogRow
from liaison.tlog import merkle, witness
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import TileError
from liaison.tlog.note import Note
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.values import dataclass

_GUIDE: Final = "see docs/operating/log.md"


class LogWholeError(ConflictError):
    """The log is whole: it needs no successor.

    Nothing was changed. Only a log that the relay refuses, or can't have confirmed by its
    witnesses, is given up.
    """

    code = "log.whole"


@dataclass(frozen=True, slots=True)
class Head:
    """Where a log ended, as far as is known here.

    Args:
        row: of the log.
        signed: what its key has signed; the largest is the head.
    """

    row: LogRow
    signed: tuple[Checkpoint, ...]

    @property
    def checkpoint(self) -> Checkpoint:
        """The largest checkpoint that the log has signed; of no entries where none is left."""
        nothing = Checkpoint(self.row.origin, 0, merkle.EMPTY_ROOT)
        return max(self.signed, key=lambda one: one.size, default=nothing)

    @property
    def predecessor(self) -> Predecessor:
        """What an agreement says of it."""
        return Predecessor(self.row.origin, self.checkpoint.size, self.checkpoint.root)


@dataclass(frozen=True, slots=True)
class Successors:
    """Answers for the logs of one relay.

    Args:
        publisher: has their files, and knows which are refused.
        book: of agreements; its own, so that it is never behind another's transaction.
    """

    publisher: Publisher
    book: Book

    async def head(self, agreement: str | None) -> Head:
        """Return where an agreement's log ended, or the relay's own for None.

        Raises:
            UnknownLogError: there is none.
        """
        async with self.publisher.database.read() as tx:
            row = await logs.find(tx, agreement)
            life = None if agreement is None else await self.book.life(tx, agreement)
        if row is None:
            raise UnknownLogError(f"the relay has no log of {agreement or 'its own'}")
        keys = [self.publisher.vkey(row.origin)]
        for version in life.versions if life is not None else ():
            # The log's key may be what was lost.
            keys += [
                VerifierKey(row.origin, SignatureType.ED25519, key.public)
                for key in version.agreement.relay.log_signers
            ]
        store = self.publisher.files(row.origin)
        return await asyncio.to_thread(_head, row, store, keys)

    async def check(self, agreement: Agreement) -> None:
        """Check that a version that names a successor may; others may always.

        Raises:
            LogWholeError: the log needs none.
            AgreementRefusedError: what it names as the head is not the head.
        """
        named, id_ = agreement.log.predecessor, agreement.agreement_id
        async with self.publisher.database.read() as tx:
            row = await logs.find(tx, id_)
        if named is None or row is None or row.generation >= agreement.log.generation:
            return
        self._check_given_up(id_)
        head = await self.head(id_)
        roots = await asyncio.to_thread(
            _roots_at, self.publisher.files(row.origin), head, named.size
        )
        if roots and named.root not in roots:
            raise AgreementRefusedError(
                f"the first {named.size} entries of {row.origin} have another root than"
                f" version {agreement.version} names",
                hint=f"`liaison-relay log successor --partnership {id_}` tells what to write; {_GUIDE}",
            )

    def _check_given_up(self, agreement: str | None) -> None:
        publisher = self.publisher
        held = publisher.held(agreement)
        refused = agreement in publisher.recorder.refused
        if refused or held is None or (agreement is not None and not held.may_sign):
            return
        raise LogWholeError(
            f"the log of {agreement or 'this relay'} is whole: it needs no successor",
            hint=f"a version that keeps the log leaves its generation as it is; {_GUIDE}",
            unchanged="nothing was changed",
        )

    async def begin_root(self) -> Head:
        """Begin the successor of the relay's own log; by the operator. Return the old one's head.

        Raises:
            LogWholeError: the log needs none.
        """
        self._check_given_up(None)
        head = await self.head(None)
        await self.publisher.writer.submit(_BeginRoot(head))
        return head

    def next_origin(self, head: Head) -> str:
        """Return the name of the log that follows."""
        relay = self.publisher.recorder.relay
        return origin_of(relay, head.row.agreement, head.row.generation + 1)


@dataclass
class _BeginRoot(Operation[None]):
    """Begins the root log's successor; again changes nothing."""

    head: Head

    async def apply(self, work: Work) -> None:
        """Begin it with the head of the old one."""
        row, checkpoint = self.head.row, self.head.checkpoint
        found = await logs.find(work.tx, None)
        if found is None or found.generation != row.generation:
            return
        work.succeed(None, row.generation + 1)
        work.record(entries.succeeds(row.origin, checkpoint.size, checkpoint.root))
        work.record(*entries.done("log.succeeded", row.origin))


def _head(row: LogRow, store: TileStore, keys: Iterable[VerifierKey]) -> Head:
    notes = [store.checkpoint(), row.published, row.cosigned, *store.evidence()]
    known = list(keys)
    return Head(row, tuple(one for one in (_signed(known, data) for data in notes) if one))


def _signed(keys: list[VerifierKey], data: bytes | None) -> Checkpoint | None:
    if data is None:
        return None
    try:
        return witness.signed_by_log(Note.decode(data), keys)
    except LiaisonError:
        # Evidence has other things in it, too.
        return None


def _roots_at(store: TileStore, head: Head, size: int) -> set[bytes]:
    """Return the roots that the log's first entries have by what it has signed; none if unknown here."""
    roots = {one.root for one in head.signed if one.size == size}
    newest = head.checkpoint
    if size < newest.size and not roots:
        try:
            tree = store.tree(newest.size)
            if tree.root() == newest.root:
                roots.add(tree.root_at(size))
        except (TileError, OSError):
            # Tiles are lost: what the parties have counts.
            return set()
    return roots
