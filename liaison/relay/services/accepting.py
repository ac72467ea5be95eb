"""Messages that wait to be accepted: judged and stored together, in the writer's transaction.

What a message says of itself was read before (`append`); whether it may be
accepted is decided inside the transaction that gives it its number, against
rows that nobody else changes before the commit. Many are decided at once, in
a handful of statements, and what many have in common is found out once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.envelope.header import Header
from liaison.errors import LiaisonError
from liaison.model import ChannelId, EndpointId, Seq
from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import SendMessage
from liaison.relay.recording import Draft
from liaison.relay.services.append import Append
from liaison.relay.services.audiences import Audiences
from liaison.relay.services.book import Book
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.entries import channel as entries
from liaison.relay.services.entries.channel import Place
from liaison.relay.services.errors import (
    AgreementSupersededError,
    EpochStaleError,
    GroupMismatchError,
    MessageIdConflictError,
    NotMemberError,
    RemovalPendingError,
    UnknownChannelError,
)
from liaison.relay.services.fullness import Fullness
from liaison.relay.services.heads import Head, Heads, Relied
from liaison.relay.services.judging import Judge, Remembering
from liaison.relay.services.lives import Life
from liaison.relay.services.registry import check_standing
from liaison.relay.services.releases import SentReleases
from liaison.relay.services.seats import Key, Seat, Seats
from liaison.relay.services.sequence import Sequencer
from liaison.relay.work import Batch, Work
from liaison.storage import agreements, channels, devices, items, members, progress, remembered
from liaison.storage.channels import ChannelRow
from liaison.storage.devices import Standing
from liaison.storage.items import Ident, Item, Sent, Stored
from liaison.storage.members import MemberRow
from liaison.storage.progress import Reached
from liaison.storage.questions import together
from liaison.storage.remembered import mark
from liaison.values import dataclass
from liaison.wire import frames
from liaison.wire.frames import ItemKind

_DAY_MS = 86_400_000
_MESSAGE = ItemKind.MESSAGE


@dataclass
class _Facts:
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
    read: _Read | None
    mark: Hashable = None
    relied: Mapping[int, Head] | None = None
    begun: set[Key] = field(default_factory=set)
    repeating: set[int] = field(default_factory=set)
    cursors: dict[int, Reached] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    new: list[Item] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    first: dict[int, int] = field(default_factory=dict)


@dataclass
class _Read:
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
class Appends(Batch[Append, frames.Accepted]):
    """Judges and stores messages together.

    Checks, in this order: the session's certificate, the channel, whether it is a
    resend, membership, group, the agreement's newer version, who has to go, epoch,
    the agreement, whether the channel has room, whether its release was sent before.
    """

    sequencer: Sequencer
    book: Book
    clock: Callable[[], int]
    judge: Judge
    fullness: Fullness
    audiences: Audiences = field(default_factory=Audiences)
    seats: Seats = field(default_factory=Seats)
    heads: Heads = field(default_factory=Heads)

    def __post_init__(self) -> None:
        """Ask the judge once where many messages ask the same."""
        self.judge = Remembering(self.judge)

    async def apply_all(
        self, work: Work, operations: Sequence[Append]
    ) -> Sequence[frames.Accepted | LiaisonError]:
        """Return for each message what its sender is told."""
        # One for each device and channel; most messages of a batch have theirs in common.
        asked = {(op.caller.certificate, op.send.channel.value): op for op in operations}
        now = await mark(work.tx)
        facts = await self._recall(work.tx, operations, asked, now)
        answers = [] if facts is None else [self._one(facts, op) for op in operations]
        if facts is None or (facts.relied is not None and any(map(_is_refusal, answers))):
            # What is compared is compared with what is written: nobody is refused by it. And who sends again
            # what was accepted is told so, whatever has changed since.
            facts = await self._read(work, operations, asked, now)
            answers = [self._one(facts, op) for op in operations]
            # Whoever is refused may go on like that: the others' messages are not judged twice each time.
            facts.repeating |= {
                op.caller.key
                for op, one in zip(operations, answers, strict=True)
                if _is_refusal(one)
            }
        if facts.new:
            await self._write(work, facts)
        if facts.repeating:
            self.heads.repeated(facts.repeating, facts.now_ms)
        await devices.saw_state_versions(work.tx, facts.seen)
        return answers

    async def _write(self, work: Work, facts: _Facts) -> None:
        tx = work.tx
        versions = {} if facts.read is None else facts.read.versions
        if facts.relied is not None and remembered.compares(tx):
            unchanged = Relied.of(facts.relied, facts.seats)
            versions = unchanged.versions
            await unchanged.compare(tx)
        elif facts.relied is not None:
            remembered.rely(tx)
        await self.sequencer.append(work, facts.new)
        work.after_commit(partial(self.fullness.accepted, facts.new))
        work.record(*facts.drafts)
        heads = {item.channel: item.seq for item in facts.new}
        self.heads.leave(heads)
        await channels.set_heads(tx, heads, versions)
        await progress.move_cursors(tx, facts.cursors)
        work.after_commit(partial(self._moved, tx, facts, heads))

    def _moved(self, tx: AsyncConnection, facts: _Facts, heads: Mapping[int, int]) -> None:
        version = remembered.version(tx)
        moved = {key: Head(seq, version, facts.now_ms) for key, seq in heads.items()}
        self.heads.move(facts.mark, moved)

    async def _recall(
        self,
        tx: AsyncConnection,
        operations: Sequence[Append],
        asked: Mapping[Key, Append],
        now: Hashable,
    ) -> _Facts | None:
        """Return what is remembered of all of them, if that is enough."""
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
        return _Facts(
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

    async def _read(
        self,
        work: Work,
        operations: Sequence[Append],
        asked: Mapping[Key, Append],
        now: Hashable,
    ) -> _Facts:
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
        facts = _Facts(
            heads={row.key: row.head for row in rows.values()},
            stored=stored,
            standing=standing,
            releases=await SentReleases.find(tx, rows, _sent(operations)),
            now_ms=self.clock(),
            seats={},
            read=_Read(
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

    def _one(self, facts: _Facts, op: Append) -> frames.Accepted | LiaisonError:
        try:
            return self._accept(facts, op)
        except LiaisonError as refusal:
            refusal.unchanged = refusal.unchanged or "nothing was stored"
            return refusal

    def _accept(self, facts: _Facts, op: Append) -> frames.Accepted:
        send = op.send
        key = op.caller.certificate, send.channel.value
        seat = facts.seats[key] if key in facts.begun else self._begin(facts, key, op)
        row, member = seat.row, seat.member
        ident = (row.key, op.caller.key, send.message_id.value)
        known = facts.stored.get(ident)
        if known is not None:
            facts.repeating.add(op.caller.key)
            return _again(op, known)
        if member is None:
            raise NotMemberError(f"{op.caller.id} is not a member of channel {send.channel}")
        is_current = op.group_id == row.group_id and seat.oldest_epoch <= op.epoch <= row.epoch
        if not (is_current and seat.is_open):
            self._check_group(facts, seat, member, op)
        alike = (op.header.alike, op.header.dtg, op.size)
        if alike not in seat.allowed:
            self._judge(facts, seat, op)
            if alike[0] is not None:
                seat.allowed.add(alike)
        head = facts.heads[row.key]
        self.fullness.check(row.key, head, op.precedence, op.size)
        facts.releases.take(row.key, op.caller, op.header)
        item = _item(facts, seat, op, head + 1)
        # Before anything is kept of it: what the log can't tell of is refused.
        facts.drafts.append(_draft(seat, op, item))
        facts.new.append(item)
        facts.heads[row.key] = item.seq
        facts.stored[ident] = item
        _follow(facts, member, item)
        _see(facts, op)
        return _accepted(op, item.seq, item.accepted_at, duplicate=False)

    def _begin(self, facts: _Facts, key: Key, op: Append) -> Seat:
        """Return the device's seat in the channel, as it is now."""
        check_standing(facts.standing, op.caller, facts.now_ms)
        seat = facts.seats.get(key)
        if seat is None:
            seat = facts.seats[key] = _seat(facts, op)
        second = facts.now_ms // 1000
        if seat.second != second:
            seat.second = second
            seat.allowed.clear()
            seat.is_open = self._is_open(seat, second)
        facts.begun.add(key)
        return seat

    def _is_open(self, seat: Seat, now: int) -> bool:
        try:
            self._check_open(seat, now)
        except LiaisonError:
            return False
        return True

    def _judge(self, facts: _Facts, seat: Seat, op: Append) -> None:
        if isinstance(op.released, LiaisonError):
            raise op.released
        request = SendMessage(
            op.caller.id.endpoint,
            seat.row.policy,
            op.header,
            op.size,
            seat.audience,
            # A commit may have brought in a version with other roots in between.
            op.released if op.under == seat.row.agreement else (),
        )
        now, standing = facts.now_ms // 1000, seat.life.standing
        self.judge(request, seat.agreement, now, standing=standing).require()

    def _check_group(self, facts: _Facts, seat: Seat, member: MemberRow, op: Append) -> None:
        row = seat.row
        if op.group_id != row.group_id:
            raise GroupMismatchError(
                f"the message is for another group than channel {op.send.channel}"
            )
        self._check_open(seat, facts.now_ms // 1000)
        oldest = _oldest_epoch(row, member)
        if not oldest <= op.epoch <= row.epoch:
            raise EpochStaleError(
                f"the channel is at epoch {row.epoch} and takes messages from epoch {oldest} on,"
                f" this is of epoch {op.epoch}",
                hint="process the commits that came since and encrypt it again",
            )

    def _check_open(self, seat: Seat, now: int) -> None:
        _check_current(seat.agreement, seat.life, now)
        row = seat.row
        if row.removals_pending or self.audiences.overstay(row, seat.audience, seat.life, now):
            raise RemovalPendingError(hint="commit the removal that the relay has proposed")


def _is_refusal(answer: object) -> bool:
    return isinstance(answer, LiaisonError)


def _is_any_released(operations: Sequence[Append]) -> bool:
    return any(op.header.release is not None for op in operations)


def _idents(operations: Sequence[Append]) -> set[Sent]:
    return {(op.send.channel.value, op.caller.key, op.send.message_id.value) for op in operations}


def _sent(operations: Sequence[Append]) -> Iterator[tuple[ChannelId, DeviceCaller, Header]]:
    return ((op.send.channel, op.caller, op.header) for op in operations)


def _seat(facts: _Facts, op: Append) -> Seat:
    """Find out what holds for all messages of a device to a channel."""
    read = facts.read
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
        standing=facts.standing[op.caller.certificate],
        oldest_epoch=0 if member is None else _oldest_epoch(row, member),
    )


def _oldest_epoch(row: ChannelRow, member: MemberRow) -> int:
    return max(row.oldest_epoch, row.epoch - row.past_epochs, member.joined_epoch)


def _check_current(agreement: Agreement, life: Life, now: int) -> None:
    newer = life.supersedes(agreement, now)
    if newer is not None:
        raise AgreementSupersededError(
            f"version {newer.agreement.version} of {agreement.agreement_id} is in force, the channel"
            f" is bound to version {agreement.version}",
            hint="commit the amendment and encrypt it again",
        )


def _again(op: Append, known: Stored | Item) -> frames.Accepted:
    if known.digest != op.digest:
        raise MessageIdConflictError(f"message {op.send.message_id} was accepted with other bytes")
    return _accepted(op, known.seq, known.accepted_at, duplicate=True)


def _accepted(op: Append, seq: int, time_ms: int, *, duplicate: bool) -> frames.Accepted:
    return frames.Accepted(op.send.request, duplicate, Seq(seq), time_ms, op.digest)


def _item(facts: _Facts, seat: Seat, op: Append, seq: int) -> Item:
    header, now_ms = op.header, facts.now_ms
    if seat.keep_ms < 0:
        seat.keep_ms = seat.agreement.channel(seat.row.policy).retention_days * _DAY_MS
    expires_at = now_ms + seat.keep_ms
    if header.expires is not None:
        expires_at = min(expires_at, header.expires * 1000)
    # In the order of its fields: names would cost as much as all the rest.
    return Item(
        seat.row.key, seq, _MESSAGE, header.action, header.action, op.epoch, op.caller.key,
        op.send.message_id.value, now_ms, expires_at, op.size, op.digest, op.send.payload,
    )  # fmt: skip


def _draft(seat: Seat, op: Append, item: Item) -> Draft:
    header, sender = op.header, op.caller.id
    return entries.message(
        seat.place,
        sender,
        header,
        seq=item.seq,
        epoch=item.epoch,
        size=item.size,
        digest=item.digest,
        form=seat.form(sender, header),
    )


def _follow(facts: _Facts, member: MemberRow, item: Item) -> None:
    """A device that has read all keeps having read all when it sends."""
    reached = facts.cursors.get(member.key)
    if reached is not None:
        if reached.to == item.seq - 1:
            facts.cursors[member.key] = Reached(reached.since, item.seq)
        return
    # Whether it has is asked where it is written; where it was just read, not for nothing.
    if facts.first.setdefault(item.channel, item.seq) != item.seq:
        return
    if facts.read is None or member.cursor == item.seq - 1:
        facts.cursors[member.key] = Reached(item.seq - 1, item.seq)


def _see(facts: _Facts, op: Append) -> None:
    device = op.caller.key
    facts.seen[device] = max(facts.seen.get(device, 0), op.send.state_version)
