"""What messages are judged by: remembered of the group before, or read in the transaction that writes them.

What is remembered is enough for nearly all of them, and asks the database nothing, or only where channels
end and whether the messages are stored already. `services.seats` and `services.heads` keep it and tell why it
holds. Where it is not enough, or somebody would be refused by it, everything is read, in few statements for all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.envelope.header import Header
from liaison.model import ChannelId, EndpointId
from liaison.policy.agreement import Agreement
from liaison.relay.recording import Draft
from liaison.relay.services.append import Append
from liaison.relay.services.audiences import Audiences
from liaison.relay.services.book import Book
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.entries import channel as entries
from liaison.relay.services.entries.channel import Place
from liaison.relay.services.errors import UnknownChannelError
from liaison.relay.services.heads import Head, Heads
from liaison.relay.services.lives import Life
from liaison.relay.services.releases import SentReleases
from liaison.relay.services.seats import Key, Seat, Seats
from liaison.relay.work import Work
from liaison.storage import agreements, channels, devices, items, members, remembered
from liaison.storage.channels import ChannelRow
from liaison.storage.devices import Standing
from liaison.storage.items import Ident, Item, Sent, Stored
from liaison.storage.members import MemberRow
from liaison.storage.progress import Reached
from liaison.storage.questions import together
from liaison.values import dataclass


@dataclass
class Read:
    """What the database says about channels and those who send there."""

    channels: dict[bytes, ChannelRow]
    agreements: Mapping[int, Agreement]
    lives: Mapping[str, Life]
    audiences: Mapping[int, frozenset[EndpointId]]
    members: dict[tuple[int, int], MemberRow]
    places: dict[int, Place] = field(default_factory=dict)

    @property
    def versions(self) -> dict[int, int]:
        """What `set_heads` knows the channels' rows by."""
        return {row.key: row.version for row in self.channels.values()}


@dataclass
class Facts:
    """What the database says about a batch, and what the batch has changed so far.

    Args:
        heads: the channels' last numbers, by key.
        stored: what is stored already under the batch's ids.
        standing: of the certificates, by key.
        seats: those that are known before; with what was found out about them since, all of them.
        read: what seats are made of that are not; None where all are.
        mark: what seats are kept under.
        relied: the heads that were not read, but are to be compared; None where nothing is.
    """

    heads: dict[int, int]
    stored: dict[Ident, Stored | Item]
    standing: Mapping[int, Standing]
    releases: SentReleases
    now_ms: int
    seats: dict[Key, Seat]
    read: Read | None
    mark: Hashable = None
    relied: Mapping[int, Head] | None = None
    begun: set[Key] = field(default_factory=set)
    repeating: set[int] = field(default_factory=set)
    cursors: dict[int, Reached] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    new: list[Item] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    first: dict[int, int] = field(default_factory=dict)

    def seat(self, op: Append) -> Seat:
        """Find out what holds for all messages of a device to a channel.

        Raises:
            UnknownChannelError: there is none.
        """
        read = self.read
        row = None if read is None else read.channels.get(op.send.channel.value)
        if read is None or row is None:
            raise UnknownChannelError(f"there is no channel {op.send.channel}")
        member = read.members.get((row.key, op.caller.key))
        agreement = read.agreements[row.agreement]
        audience = read.audiences[row.key]
        place = read.places.get(row.key)
        if place is None:
            parties = entries.parties_of(audience)
            place = read.places[row.key] = Place(agreement, op.send.channel, row.key, parties)
        return Seat(
            row=row,
            agreement=agreement,
            life=read.lives[agreement.agreement_id],
            audience=audience,
            place=place,
            member=member,
            standing=self.standing[op.caller.certificate],
            oldest_epoch=0 if member is None else _oldest_epoch(row, member),
        )


@dataclass
class FactFinder:
    """Finds out what a batch of messages is judged by."""

    book: Book
    clock: Callable[[], int]
    audiences: Audiences = field(default_factory=Audiences)
    seats: Seats = field(default_factory=Seats)
    heads: Heads = field(default_factory=Heads)

    async def recall(
        self,
        tx: AsyncConnection,
        operations: Sequence[Append],
        asked: Mapping[Key, Append],
        now: Hashable,
    ) -> Facts | None:
        """Return what is remembered of all of them, if that is enough.

        Args:
            tx: nothing was asked in it.
            operations: the messages.
            asked: one of them for each device and channel.
            now: `remembered.mark` in this transaction.
        """
        known = self.seats.recall(now, asked.keys())
        if known is None:
            return None
        rows = {seat.row.id: seat.row for seat in known.values()}
        now_ms = self.clock()
        heads: dict[int, int]
        stored: dict[Ident, Stored | Item]
        relied_on = self.heads.recall(now, (row.key for row in rows.values()), now_ms)
        is_new = self.heads.is_new({op.caller.key for op in operations}, now_ms)
        if relied_on is not None and is_new and not _is_any_released(operations):
            # Nothing is looked for: a message that is stored already spoils the statement that writes.
            heads, stored = {key: head.seq for key, head in relied_on.items()}, {}
        elif remembered.compares(tx):
            return None
        else:
            keys, relied_on = [row.key for row in rows.values()], None
            heads, stored = await together(
                tx, channels.heads_of(keys), items.stored_as(tx, _idents(operations))
            )
        return Facts(
            heads=heads,
            stored=stored,
            standing={certificate: seat.standing for (certificate, _), seat in known.items()},
            releases=await SentReleases.find(tx, rows, _sent(operations)),
            now_ms=now_ms,
            seats=known,
            read=None,
            mark=now,
            relied=relied_on,
        )

    async def read(
        self,
        work: Work,
        operations: Sequence[Append],
        asked: Mapping[Key, Append],
        now: Hashable,
    ) -> Facts:
        """Return what the database says, and have what seats are made of it kept.

        Args:
            work: the transaction's.
            operations: the messages.
            asked: one of them for each device and channel.
            now: `remembered.mark` in this transaction.
        """
        tx, sent = work.tx, _idents(operations)
        ids = {id_ for _, id_ in asked}
        questions = (
            channels.with_ids(tx, ids),
            agreements.changes_under(ids),
            members.stays_in(tx, {(id_, op.caller.key) for (_, id_), op in asked.items()}),
            devices.standing_of({certificate for certificate, _ in asked}),
            items.stored_as(tx, sent),
        )
        # What is read after the lock on the channels stays true. Without it, what is read at once and
        # remembered of these very rows was true at one moment, and `set_heads` notices where that is over.
        held = await channels.hold(tx, ids, firmly=_is_any_released(operations))
        found = await together(tx, *questions)
        names: Mapping[int, Sequence[str]] = {}
        new = [row.id for row in found[0].values() if not self.audiences.remembers([row])]
        if not held and new:
            # Mostly an epoch is new, and its members are read with everything else.
            *found, names = await together(tx, *questions, members.endpoints_of(new))
        if not held and not self._remembers(found[0], found[1], names):
            await channels.hold(tx, ids, firmly=True)
            names, found = {}, await together(tx, *questions)
        rows, changes, stays, standing, stored = found
        texts = await self.book.agreements(tx, (row.agreement for row in rows.values()))
        named = {text.agreement_id for text in texts.values()}
        facts = Facts(
            heads={row.key: row.head for row in rows.values()},
            stored=stored,
            standing=standing,
            releases=await SentReleases.find(tx, rows, _sent(operations)),
            now_ms=self.clock(),
            seats={},
            read=Read(
                channels=rows,
                agreements=texts,
                lives=await self.book.lives(tx, named, work.after_commit, changes),
                audiences=await self.audiences.find(work, rows.values(), names),
                members=stays,
            ),
            mark=now,
        )
        # Only then: what was read may be undone with the transaction.
        work.after_commit(partial(self.seats.keep, now, facts.seats))
        return facts

    def _remembers(
        self,
        rows: Mapping[bytes, ChannelRow],
        changes: Mapping[str, int],
        names: Collection[int] = (),
    ) -> bool:
        """Return whether nothing more has to be read about these channels, some of whose members were."""
        under = {row.agreement for row in rows.values()}
        unnamed = [row for row in rows.values() if row.key not in names]
        return self.book.remembers(under, changes) and self.audiences.remembers(unnamed)


def _is_any_released(operations: Sequence[Append]) -> bool:
    return any(op.header.release is not None for op in operations)


def _idents(operations: Sequence[Append]) -> set[Sent]:
    return {(op.send.channel.value, op.caller.key, op.send.message_id.value) for op in operations}


def _sent(operations: Sequence[Append]) -> Iterator[tuple[ChannelId, DeviceCaller, Header]]:
    return ((op.send.channel, op.caller, op.header) for op in operations)


def _oldest_epoch(row: ChannelRow, member: MemberRow) -> int:
    return max(row.oldest_epoch, row.epoch - row.past_epochs, member.joined_epoch)
