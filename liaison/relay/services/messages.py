"""Messages: the path that every one takes. Judged and stored in the writer's transaction.

What a message says of itself is read before it waits; whether it may be
accepted is decided inside the transaction that gives it its number, against
rows that nobody else changes before the commit. Many are decided at once, in
a handful of statements.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from liaison.envelope.header import Header
from liaison.errors import LiaisonError
from liaison.mls import peek
from liaison.mls.framing import ContentType, WireFormat
from liaison.model import ChannelId, EndpointId, MessageId, Seq
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
    UnknownMessageError,
)
from liaison.relay.services.fullness import Fullness
from liaison.relay.services.judging import Judge, Remembering
from liaison.relay.services.lives import Life
from liaison.relay.services.refusals import Asked, Refusals
from liaison.relay.services.registry import check_standing
from liaison.relay.services.releases import SentReleases
from liaison.relay.services.sequence import Sequencer
from liaison.relay.services.states import find
from liaison.relay.writer import Batch, Operation, Work, Writer
from liaison.storage import channels, devices, items, members
from liaison.storage.channels import ChannelRow
from liaison.storage.devices import Standing
from liaison.storage.engine import Database
from liaison.storage.items import Ident, Item, Stored
from liaison.storage.members import MemberRow
from liaison.trust import AgreementValidator
from liaison.trust.release import verify_release
from liaison.wire import frames, v1
from liaison.wire.frames import ItemKind

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Messages:
    """Accepts messages and answers for them."""

    database: Database
    writer: Writer
    book: Book
    clock: Callable[[], int]
    appends: Appends
    refusals: Refusals

    async def accept(self, caller: DeviceCaller, send: frames.Send) -> frames.Accepted:
        """Store one message; durable when this returns. A resend is answered as the first time.

        Raises:
            MessageInvalidError: not an application message with a readable header.
            LiaisonError: refused, as `Appends` decides; nothing was stored.
            UnavailableError: not known to be stored; send it again.
        """
        append = read(caller, send, self.appends)
        if append.header.release is not None:
            append.under, append.released = await self._released(append)
        asked = Asked(caller, "send", channel=send.channel)
        return await self.refusals.watch(asked, self.writer.submit(append))

    def put(
        self,
        caller: DeviceCaller,
        send: frames.Send,
        done: Callable[[frames.Accepted | Exception], object],
    ) -> bool:
        """Begin to accept a message, as `accept` does.

        Args:
            caller: the device.
            send: the message.
            done: called once with the answer, or with what it was refused for; where that is one
                of `refusals.TOLD`, `refused` has to be awaited before the sender hears of it.

        Returns:
            Whether it was begun. Otherwise it takes more than a callback: await `accept`.

        Raises:
            MessageInvalidError: not an application message with a readable header.
            UnavailableError: nothing was taken.
        """
        append = read(caller, send, self.appends)
        if append.header.release is not None:
            return False
        self.writer.put(append, done)
        return True

    async def refused(self, caller: DeviceCaller, send: frames.Send, refusal: LiaisonError) -> None:
        """Tell the log of a refusal, before the sender hears of it."""
        await self.refusals.tell(Asked(caller, "send", channel=send.channel), refusal)

    async def _released(self, op: Append) -> tuple[int, tuple[Released, ...] | LiaisonError]:
        """Return who has released a message by which version, or why the signatures do not hold.

        Here, before it waits: chains and signatures take time that others would wait for.
        A refusal is told in its turn, because a resend is answered as the first time.
        """
        async with self.database.read() as tx:
            row = await channels.find(tx, op.send.channel.value)
            if row is None or await members.find(tx, row.key, op.caller.key) is None:
                # Refused for that in its turn; nobody else makes the relay verify anything.
                return 0, ()
            agreement = (await self.book.agreement(tx, row.agreement)).agreement
            revoked = await self.book.revoked(tx)
        validator, now = AgreementValidator(agreement, revoked), self.clock() // 1000
        try:
            signed = await asyncio.to_thread(
                verify_release, op.header, op.send.channel, validator, now
            )
        except LiaisonError as error:
            return row.agreement, error
        return row.agreement, signed

    async def outcome(
        self, caller: DeviceCaller, channel: ChannelId, message: MessageId
    ) -> v1.Outcome:
        """Return what became of a message that the device sent.

        Raises:
            UnknownMessageError: the relay has accepted none with this id.
        """
        async with self.database.read() as tx:
            row = await find(tx, channel)
            ident = (row.key, caller.key, message.value)
            found = (await items.find(tx, [ident])).get(ident)
        if found is None:
            raise UnknownMessageError(hint="it was not stored: send it again")
        return v1.Outcome(seq=found.seq, digest=found.digest, time_ms=found.accepted_at)


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
    if header.message_id != send.message_id:
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
    stored: dict[Ident, Stored]
    releases: SentReleases
    now_ms: int
    heads: dict[int, int] = field(default_factory=dict)
    cursors: dict[int, int] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    new: list[Item] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    places: dict[int, Place] = field(default_factory=dict)


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
            await channels.set_heads(work.tx, facts.heads)
            await members.set_cursors(work.tx, facts.cursors)
        await devices.saw_state_versions(work.tx, facts.seen)
        return answers

    async def _facts(self, work: Work, operations: Sequence[Append]) -> _Facts:
        tx = work.tx
        # The lock on the channels comes first: what is read after it stays true.
        rows = await channels.lock(tx, {op.send.channel.value for op in operations})
        pairs = {
            (row.key, op.caller.key)
            for op in operations
            if (row := rows.get(op.send.channel.value)) is not None
        }
        idents = {
            (row.key, op.caller.key, op.send.message_id.value)
            for op in operations
            if (row := rows.get(op.send.channel.value)) is not None
        }
        texts = await self.book.agreements(tx, (row.agreement for row in rows.values()))
        ids = {text.agreement_id for text in texts.values()}
        return _Facts(
            channels=rows,
            agreements=texts,
            lives=await self.book.lives(tx, ids, work.after_commit),
            audiences=await self.audiences.find(work, rows.values()),
            members=await members.find_pairs(tx, pairs),
            standing=await devices.standing(tx, {op.caller.certificate for op in operations}),
            stored=await items.find(tx, idents),
            releases=await SentReleases.find(
                tx, rows, ((op.send.channel, op.caller, op.header) for op in operations)
            ),
            now_ms=self.clock(),
        )

    def _one(self, facts: _Facts, op: Append) -> frames.Accepted | LiaisonError:
        try:
            return self._accept(facts, op)
        except LiaisonError as refusal:
            refusal.unchanged = refusal.unchanged or "nothing was stored"
            return refusal

    def _accept(self, facts: _Facts, op: Append) -> frames.Accepted:
        check_standing(facts.standing, op.caller, facts.now_ms)
        row = facts.channels.get(op.send.channel.value)
        if row is None:
            raise UnknownChannelError(f"there is no channel {op.send.channel}")
        ident = (row.key, op.caller.key, op.send.message_id.value)
        known = facts.stored.get(ident)
        if known is not None:
            return _again(op, known)
        member = facts.members.get((row.key, op.caller.key))
        if member is None:
            raise NotMemberError(f"{op.caller.id} is not a member of channel {op.send.channel}")
        agreement = facts.agreements[row.agreement]
        self._check_group(facts, row, member, op)
        self._judge(facts, row, op)
        head = facts.heads.get(row.key, row.head)
        self.fullness.check(row.key, head, op.precedence, op.size)
        facts.releases.take(row.key, op.caller, op.header)
        item = _item(facts, row, op, agreement)
        facts.new.append(item)
        facts.drafts.append(_draft(facts, row, op, item, agreement))
        facts.heads[row.key] = item.seq
        facts.stored[ident] = Stored(item.seq, item.epoch, item.accepted_at, item.digest)
        _follow(facts, member, item)
        _see(facts, op)
        return _accepted(op, item.seq, item.accepted_at, duplicate=False)

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
        agreement = facts.agreements[row.agreement]
        life, now = facts.lives[agreement.agreement_id], facts.now_ms // 1000
        _check_current(agreement, life, now)
        if row.removals_pending or self.audiences.overstay(
            row, facts.audiences[row.key], life, now
        ):
            raise RemovalPendingError(hint="commit the removal that the relay has proposed")
        oldest = max(row.oldest_epoch, row.epoch - row.past_epochs, member.joined_epoch)
        if not oldest <= op.epoch <= row.epoch:
            raise EpochStaleError(
                f"the channel is at epoch {row.epoch} and takes messages from epoch {oldest} on,"
                f" this is of epoch {op.epoch}",
                hint="process the commits that came since and encrypt it again",
            )


def _check_current(agreement: Agreement, life: Life, now: int) -> None:
    newer = life.supersedes(agreement, now)
    if newer is not None:
        raise AgreementSupersededError(
            f"version {newer.agreement.version} of {agreement.agreement_id} is in force, the channel"
            f" is bound to version {agreement.version}",
            hint="commit the amendment and encrypt it again",
        )


def _again(op: Append, known: Stored) -> frames.Accepted:
    if known.digest != op.digest:
        raise MessageIdConflictError(f"message {op.send.message_id} was accepted with other bytes")
    return _accepted(op, known.seq, known.accepted_at, duplicate=True)


def _accepted(op: Append, seq: int, time_ms: int, *, duplicate: bool) -> frames.Accepted:
    return frames.Accepted(op.send.request, duplicate, Seq(seq), time_ms, op.digest)


def _item(facts: _Facts, row: ChannelRow, op: Append, agreement: Agreement) -> Item:
    return Item(
        channel=row.key,
        seq=facts.heads.get(row.key, row.head) + 1,
        kind=ItemKind.MESSAGE,
        lane=op.header.action,
        precedence=op.header.action,
        epoch=op.epoch,
        sender=op.caller.key,
        message_id=op.send.message_id.value,
        accepted_at=facts.now_ms,
        expires_at=_expiry(facts.now_ms, op.header, agreement, row.policy),
        size=op.size,
        digest=op.digest,
        payload=op.send.payload,
    )


def _draft(facts: _Facts, row: ChannelRow, op: Append, item: Item, agreement: Agreement) -> Draft:
    place = facts.places.get(row.key)
    if place is None:
        parties = entries.parties_of(facts.audiences[row.key])
        place = facts.places[row.key] = Place(agreement, op.send.channel, row.key, parties)
    return entries.message(
        place,
        op.caller.id,
        op.header,
        seq=item.seq,
        epoch=item.epoch,
        size=item.size,
        digest=item.digest,
    )


def _expiry(now_ms: int, header: Header, agreement: Agreement, policy: str) -> int:
    kept = now_ms + agreement.channel(policy).retention_days * _DAY_MS
    return kept if header.expires is None else min(kept, header.expires * 1000)


def _follow(facts: _Facts, member: MemberRow, item: Item) -> None:
    """A device that has read all keeps having read all when it sends."""
    if facts.cursors.get(member.key, member.cursor) == item.seq - 1:
        facts.cursors[member.key] = item.seq


def _see(facts: _Facts, op: Append) -> None:
    device = op.caller.key
    facts.seen[device] = max(facts.seen.get(device, 0), op.send.state_version)
