"""Messages that wait to be accepted: judged and stored together, in the writer's transaction.

What a message says of itself is read before it waits; whether it may be
accepted is decided inside the transaction that gives it its number, against
rows that nobody else changes before the commit. Many are decided at once, in
a handful of statements, and what many have in common is found out once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial

from liaison.envelope.header import Header
from liaison.errors import LiaisonError
from liaison.mls import peek
from liaison.mls.framing import ContentType, WireFormat
from liaison.model import EndpointId, Seq
from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import Released, SendMessage
from liaison.relay.recording import Draft
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
    MessageInvalidError,
    NotMemberError,
    RemovalPendingError,
    UnknownChannelError,
)
from liaison.relay.services.fullness import Fullness
from liaison.relay.services.judging import Judge, Remembering
from liaison.relay.services.lives import Life
from liaison.relay.services.registry import check_standing
from liaison.relay.services.releases import SentReleases
from liaison.relay.services.sequence import Sequencer
from liaison.relay.writer import Batch, Operation, Work
from liaison.storage import agreements, channels, devices, items, members
from liaison.storage.channels import ChannelRow
from liaison.storage.devices import Standing
from liaison.storage.items import Ident, Item, Stored
from liaison.storage.members import MemberRow
from liaison.storage.quick import together
from liaison.tlog.commitment import Value
from liaison.values import dataclass
from liaison.wire import frames
from liaison.wire.frames import ItemKind

_DAY_MS = 86_400_000
_MESSAGE = ItemKind.MESSAGE


@dataclass
class Append(Operation[frames.Accepted]):
    """One message that waits to be judged and stored."""

    together: Appends
    caller: DeviceCaller
    send: frames.Send
    group_id: bytes
    epoch: int
    header: Header
    digest: bytes
    precedence: int
    size: int
    released: tuple[Released, ...] | LiaisonError = ()
    """Who has signed the release, or why the signatures do not hold."""
    under: int = 0
    """The version of the agreement whose roots the signatures were verified by."""

    def batch(self) -> Appends:
        """Messages are stored together."""
        return self.together


def read(caller: DeviceCaller, send: frames.Send, appends: Appends) -> Append:
    """Read what a message says of itself.

    Raises:
        MessageInvalidError: it is not an application message with a readable
            header, or its id is not the frame's.
    """
    try:
        outer = peek.parse_header(send.payload)
        header = Header.decode(outer.authenticated_data)
    except LiaisonError as error:
        raise MessageInvalidError(error.message, unchanged="nothing was stored") from error
    if outer.wire_format is not WireFormat.PRIVATE_MESSAGE:
        raise MessageInvalidError("handshakes do not come as messages")
    if outer.content_type is not ContentType.APPLICATION:
        raise MessageInvalidError("this is not an application message")
    if header.message_id.value != send.message_id.value:
        raise MessageInvalidError("the frame and the message's header give different ids")
    if send.state_version >= 1 << 63:
        raise MessageInvalidError("the state version is not a number that a client can reach")
    return Append(
        together=appends,
        caller=caller,
        send=send,
        group_id=outer.group_id,
        epoch=outer.epoch,
        header=header,
        digest=hashlib.sha256(send.payload).digest(),
        precedence=header.action,
        size=len(send.payload),
    )


@dataclass
class _Facts:
    """What the database says about a batch, and what the batch has changed so far."""

    channels: dict[bytes, ChannelRow]
    agreements: Mapping[int, Agreement]
    lives: Mapping[str, Life]
    audiences: Mapping[int, frozenset[EndpointId]]
    members: dict[tuple[int, int], MemberRow]
    standing: Mapping[int, Standing]
    stored: dict[Ident, Stored | Item]
    releases: SentReleases
    now_ms: int
    seats: dict[tuple[int, bytes], _Seat] = field(default_factory=dict)
    heads: dict[int, int] = field(default_factory=dict)
    cursors: dict[int, int] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    new: list[Item] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    places: dict[int, Place] = field(default_factory=dict)


@dataclass(slots=True)
class _Seat:
    """What is found out once for all messages of a batch by one device to one channel.

    Args:
        row: of the channel.
        agreement: that the channel is bound to.
        place: where the messages stand in the log.
        member: the device's stay; None where it has none.
        oldest_epoch: that the device may send in.
        is_open: whether neither a newer agreement nor a removal has to come first.
        keep_ms: for how long the channel's messages are kept; -1 before the first is accepted.
        allowed: of which messages the judge has said so: the likeness of their headers, their
            time and their size.
        told: what the log was told of a message, by the likeness of its header.
    """

    row: ChannelRow
    agreement: Agreement
    place: Place
    member: MemberRow | None
    oldest_epoch: int
    is_open: bool
    keep_ms: int = -1
    allowed: set[tuple[object, int, int]] = field(default_factory=set)
    told: dict[object, Mapping[str, Value]] = field(default_factory=dict)


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

    def __post_init__(self) -> None:
        """Ask the judge once where many messages ask the same."""
        self.judge = Remembering(self.judge)

    async def apply_all(
        self, work: Work, operations: Sequence[Append]
    ) -> Sequence[frames.Accepted | LiaisonError]:
        """Return for each message what its sender is told."""
        facts = await self._facts(work, operations)
        answers = [self._one(facts, operation) for operation in operations]
        if facts.new:
            await self.sequencer.append(work, facts.new)
            work.after_commit(partial(self.fullness.accepted, facts.new))
            work.record(*facts.drafts)
            versions = {row.key: row.version for row in facts.channels.values()}
            await channels.set_heads(work.tx, facts.heads, versions)
            await members.set_cursors(work.tx, facts.cursors)
        await devices.saw_state_versions(work.tx, facts.seen)
        return answers

    async def _facts(self, work: Work, operations: Sequence[Append]) -> _Facts:
        tx = work.tx
        # One for each device and channel; most messages of a batch have theirs in common.
        asked = {(op.caller.certificate, op.send.channel.value): op for op in operations}
        ids = {id_ for _, id_ in asked}
        questions = (
            channels.with_ids(tx, ids),
            agreements.changes_under(ids),
            members.stays_in(tx, {(id_, op.caller.key) for (_, id_), op in asked.items()}),
            devices.standing_of({certificate for certificate, _ in asked}),
            items.stored_as(
                tx,
                {
                    (op.send.channel.value, op.caller.key, op.send.message_id.value)
                    for op in operations
                },
            ),
        )
        # What is read after the lock on the channels stays true. Without it, what is read at once and
        # remembered of these very rows was true at one moment, and `set_heads` notices where that is over.
        released = any(op.header.release is not None for op in operations)
        held = await channels.hold(tx, ids, firmly=released)
        found = await together(tx, *questions)
        if not held and not self._remembers(found[0], found[1]):
            await channels.hold(tx, ids, firmly=True)
            found = await together(tx, *questions)
        rows, changes, stays, standing, stored = found
        texts = await self.book.agreements(tx, (row.agreement for row in rows.values()))
        named = {text.agreement_id for text in texts.values()}
        return _Facts(
            channels=rows,
            agreements=texts,
            lives=await self.book.lives(tx, named, work.after_commit, changes),
            audiences=await self.audiences.find(work, rows.values()),
            members=stays,
            standing=standing,
            stored=stored,
            releases=await SentReleases.find(
                tx, rows, ((op.send.channel, op.caller, op.header) for op in operations)
            ),
            now_ms=self.clock(),
        )

    def _remembers(self, rows: Mapping[bytes, ChannelRow], changes: Mapping[str, int]) -> bool:
        """Return whether nothing more has to be read about these channels."""
        under = {row.agreement for row in rows.values()}
        return self.book.remembers(under, changes) and self.audiences.remembers(rows.values())

    def _one(self, facts: _Facts, op: Append) -> frames.Accepted | LiaisonError:
        try:
            return self._accept(facts, op)
        except LiaisonError as refusal:
            refusal.unchanged = refusal.unchanged or "nothing was stored"
            return refusal

    def _accept(self, facts: _Facts, op: Append) -> frames.Accepted:
        send = op.send
        seat = facts.seats.get((op.caller.certificate, send.channel.value))
        if seat is None:
            seat = self._seat(facts, op)
        row, member = seat.row, seat.member
        ident = (row.key, op.caller.key, send.message_id.value)
        known = facts.stored.get(ident)
        if known is not None:
            return _again(op, known)
        if member is None:
            raise NotMemberError(f"{op.caller.id} is not a member of channel {send.channel}")
        is_current = op.group_id == row.group_id and seat.oldest_epoch <= op.epoch <= row.epoch
        if not (is_current and seat.is_open):
            self._check_group(facts, row, member, op)
        alike = (op.header.alike, op.header.dtg, op.size)
        if alike not in seat.allowed:
            self._judge(facts, row, op)
            if alike[0] is not None:
                seat.allowed.add(alike)
        head = facts.heads.get(row.key, row.head)
        self.fullness.check(row.key, head, op.precedence, op.size)
        facts.releases.take(row.key, op.caller, op.header)
        item = _item(facts, seat, op, head + 1)
        facts.new.append(item)
        facts.drafts.append(_draft(seat, op, item))
        facts.heads[row.key] = item.seq
        facts.stored[ident] = item
        _follow(facts, member, item)
        _see(facts, op)
        return _accepted(op, item.seq, item.accepted_at, duplicate=False)

    def _seat(self, facts: _Facts, op: Append) -> _Seat:
        """Find out what holds for all messages of the device to the channel."""
        check_standing(facts.standing, op.caller, facts.now_ms)
        row = facts.channels.get(op.send.channel.value)
        if row is None:
            raise UnknownChannelError(f"there is no channel {op.send.channel}")
        member = facts.members.get((row.key, op.caller.key))
        agreement = facts.agreements[row.agreement]
        place = facts.places.get(row.key)
        if place is None:
            parties = entries.parties_of(facts.audiences[row.key])
            place = facts.places[row.key] = Place(agreement, op.send.channel, row.key, parties)
        seat = _Seat(
            row,
            agreement,
            place,
            member,
            0 if member is None else _oldest_epoch(row, member),
            self._is_open(facts, row),
        )
        facts.seats[op.caller.certificate, row.id] = seat
        return seat

    def _is_open(self, facts: _Facts, row: ChannelRow) -> bool:
        try:
            self._check_open(facts, row)
        except LiaisonError:
            return False
        return True

    def _judge(self, facts: _Facts, row: ChannelRow, op: Append) -> None:
        if isinstance(op.released, LiaisonError):
            raise op.released
        agreement = facts.agreements[row.agreement]
        request = SendMessage(
            op.caller.id.endpoint,
            row.policy,
            op.header,
            op.size,
            facts.audiences[row.key],
            # A commit may have brought in a version with other roots in between.
            op.released if op.under == row.agreement else (),
        )
        standing = facts.lives[agreement.agreement_id].standing
        self.judge(request, agreement, facts.now_ms // 1000, standing=standing).require()

    def _check_group(self, facts: _Facts, row: ChannelRow, member: MemberRow, op: Append) -> None:
        if op.group_id != row.group_id:
            raise GroupMismatchError(
                f"the message is for another group than channel {op.send.channel}"
            )
        self._check_open(facts, row)
        oldest = _oldest_epoch(row, member)
        if not oldest <= op.epoch <= row.epoch:
            raise EpochStaleError(
                f"the channel is at epoch {row.epoch} and takes messages from epoch {oldest} on,"
                f" this is of epoch {op.epoch}",
                hint="process the commits that came since and encrypt it again",
            )

    def _check_open(self, facts: _Facts, row: ChannelRow) -> None:
        agreement = facts.agreements[row.agreement]
        life, now = facts.lives[agreement.agreement_id], facts.now_ms // 1000
        _check_current(agreement, life, now)
        if row.removals_pending or self.audiences.overstay(
            row, facts.audiences[row.key], life, now
        ):
            raise RemovalPendingError(hint="commit the removal that the relay has proposed")


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


def _item(facts: _Facts, seat: _Seat, op: Append, seq: int) -> Item:
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


def _draft(seat: _Seat, op: Append, item: Item) -> Draft:
    header = op.header
    draft = entries.message(
        seat.place,
        op.caller.id,
        header,
        seq=item.seq,
        epoch=item.epoch,
        size=item.size,
        digest=item.digest,
        like=seat.told.get(header.alike),
    )
    if header.alike is not None:
        seat.told[header.alike] = draft.fields
    return draft


def _follow(facts: _Facts, member: MemberRow, item: Item) -> None:
    """A device that has read all keeps having read all when it sends."""
    if facts.cursors.get(member.key, member.cursor) == item.seq - 1:
        facts.cursors[member.key] = item.seq


def _see(facts: _Facts, op: Append) -> None:
    device = op.caller.key
    facts.seen[device] = max(facts.seen.get(device, 0), op.send.state_version)
