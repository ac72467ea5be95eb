"""Messages that wait to be accepted: judged and stored together, in the writer's transaction.

What a message says of itself was read before (`append`); whether it may be
accepted is decided inside the transaction that gives it its number, against
facts (`facts`) that nobody else changes before the commit. Many are decided at once, in
a handful of statements, and what many have in common is found out once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.errors import LiaisonError
from liaison.model import Seq
from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import SendMessage
from liaison.relay.recording import Draft
from liaison.relay.services.append import Append
from liaison.relay.services.entries import channel as entries
from liaison.relay.services.errors import (
    AgreementSupersededError,
    EpochStaleError,
    GroupMismatchError,
    MessageIdConflictError,
    NotMemberError,
    RemovalPendingError,
)
from liaison.relay.services.facts import FactFinder, Facts
from liaison.relay.services.fullness import Fullness
from liaison.relay.services.heads import Head, Relied
from liaison.relay.services.judging import Judge, Remembering
from liaison.relay.services.lives import Life
from liaison.relay.services.registry import check_standing
from liaison.relay.services.seats import Key, Seat
from liaison.relay.services.sequence import Sequencer
from liaison.relay.work import Batch, Work
from liaison.storage import channels, devices, progress, remembered
from liaison.storage.items import Item, Stored
from liaison.storage.members import MemberRow
from liaison.storage.progress import Reached
from liaison.storage.remembered import mark
from liaison.values import dataclass
from liaison.wire import frames
from liaison.wire.frames import ItemKind

_DAY_MS = 86_400_000
_MESSAGE = ItemKind.MESSAGE


@dataclass
class Appends(Batch[Append, frames.Accepted]):
    """Judges and stores messages together.

    Checks, in this order: the session's certificate, the channel, whether it is a
    resend, membership, group, the agreement's newer version, who has to go, epoch,
    the agreement, whether the channel has room, whether its release was sent before.
    """

    sequencer: Sequencer
    finder: FactFinder
    judge: Judge
    fullness: Fullness

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
        facts = await self.finder.recall(work.tx, operations, asked, now)
        answers = [] if facts is None else [self._one(facts, op) for op in operations]
        if facts is None or (facts.relied is not None and any(map(_is_refusal, answers))):
            # What is compared is compared with what is written: nobody is refused by it. And who sends again
            # what was accepted is told so, whatever has changed since.
            facts = await self.finder.read(work, operations, asked, now)
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
            self.finder.heads.repeated(facts.repeating, facts.now_ms)
        await devices.saw_state_versions(work.tx, facts.seen)
        return answers

    async def _write(self, work: Work, facts: Facts) -> None:
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
        self.finder.heads.leave(heads)
        await channels.set_heads(tx, heads, versions)
        await progress.move_cursors(tx, facts.cursors)
        work.after_commit(partial(self._moved, tx, facts, heads))

    def _moved(self, tx: AsyncConnection, facts: Facts, heads: Mapping[int, int]) -> None:
        version = remembered.version(tx)
        moved = {key: Head(seq, version, facts.now_ms) for key, seq in heads.items()}
        self.finder.heads.move(facts.mark, moved)

    def _one(self, facts: Facts, op: Append) -> frames.Accepted | LiaisonError:
        try:
            return self._accept(facts, op)
        except LiaisonError as refusal:
            refusal.unchanged = refusal.unchanged or "nothing was stored"
            return refusal

    def _accept(self, facts: Facts, op: Append) -> frames.Accepted:
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
            self._check_group(facts, seat, op)
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

    def _begin(self, facts: Facts, key: Key, op: Append) -> Seat:
        """Return the device's seat in the channel, as it is now."""
        check_standing(facts.standing, op.caller, facts.now_ms)
        seat = facts.seats.get(key)
        if seat is None:
            seat = facts.seats[key] = facts.seat(op)
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

    def _judge(self, facts: Facts, seat: Seat, op: Append) -> None:
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

    def _check_group(self, facts: Facts, seat: Seat, op: Append) -> None:
        row = seat.row
        if op.group_id != row.group_id:
            raise GroupMismatchError(
                f"the message is for another group than channel {op.send.channel}"
            )
        self._check_open(seat, facts.now_ms // 1000)
        oldest = seat.oldest_epoch
        if not oldest <= op.epoch <= row.epoch:
            raise EpochStaleError(
                f"the channel is at epoch {row.epoch} and takes messages from epoch {oldest} on,"
                f" this is of epoch {op.epoch}",
                hint="process the commits that came since and encrypt it again",
            )

    def _check_open(self, seat: Seat, now: int) -> None:
        _check_current(seat.agreement, seat.life, now)
        row = seat.row
        if row.removals_pending or self.finder.audiences.overstay(
            row, seat.audience, seat.life, now
        ):
            raise RemovalPendingError(hint="commit the removal that the relay has proposed")


def _is_refusal(answer: object) -> bool:
    return isinstance(answer, LiaisonError)


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


def _item(facts: Facts, seat: Seat, op: Append, seq: int) -> Item:
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


def _follow(facts: Facts, member: MemberRow, item: Item) -> None:
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


def _see(facts: Facts, op: Append) -> None:
    device = op.caller.key
    facts.seen[device] = max(facts.seen.get(device, 0), op.send.state_version)
