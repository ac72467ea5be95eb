"""Works off what the relay delivers: checks it, decrypts it, stores it.

An item and everything that follows from it (the group's next state, the
message, a receipt to be sent) are stored in one transaction; only then may the
item be acknowledged. An item that comes again is recognised and skipped.

No message disappears: one that can't be decrypted, contradicts itself or breaks
the agreement is stored with the reason. The relay's word is taken for nothing
but the order of items and the time of acceptance.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from liaison.crypto import kdf
from liaison.envelope.content import Content
from liaison.envelope.header import Header, Kind
from liaison.envelope.receipt import Receipt
from liaison.errors import LiaisonError
from liaison.mls import peek
from liaison.mls.credentials import Credential
from liaison.mls.errors import FutureEpochError, MLSError, OwnMessageError, StaleEpochError
from liaison.mls.framing import ContentType
from liaison.mls.group import (
    ApplicationReceived,
    CommitStaged,
    OwnCommitEcho,
    ProposalStored,
    process,
)
from liaison.model import ChannelId, DeviceId, MessageId, Precedence
from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import SendMessage
from liaison.policy.requests import Decision
from liaison.wire.frames import Deliver, ItemKind
from liaison_sdk import (
    drafts,
    judgement,
    log_credentials,
    log_told,
    merging,
    receipts,
    refreshing,
    rejections,
)
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ChannelClosedError, ChannelRejectedError
from liaison_sdk.events import Event, EventKind
from liaison_sdk.joining import Joiner
from liaison_sdk.log_credentials import CredentialUnloggedError
from liaison_sdk.log_following import LogFollower
from liaison_sdk.store import Transaction, channels, commits, items, messages
from liaison_sdk.store import receipts as receipt_table
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.store.items import Told
from liaison_sdk.store.messages import MessageRecord, MessageState
from liaison_sdk.trust_store import device_of

_NONE: Final[Mapping[bytes, str]] = MappingProxyType({})
_KINDS: Final = {
    ContentType.APPLICATION: ItemKind.MESSAGE,
    ContentType.PROPOSAL: ItemKind.PROPOSAL,
    ContentType.COMMIT: ItemKind.COMMIT,
}
_BATCH: Final = 64
"""Items in one transaction: one sync of the disk for all of them."""
_CLOCK_BEHIND: Final = 86_400
"""Seconds by which this device's clock may be behind the relay's."""


class WrongItemError(ChannelRejectedError):
    """The relay delivered something under a name that is not its own."""

    code = "item.wrong_kind"


class _NotYetError(Exception):
    """Something that the relay may have is needed to judge an item; nothing was written.

    Args:
        agreement: whose log has to be asked for certificates; None for documents.
        credentials: these, with their devices' names.
    """

    def __init__(
        self, agreement: Agreement | None = None, credentials: Mapping[bytes, str] = _NONE
    ) -> None:
        super().__init__()
        self.agreement = agreement
        self.credentials = credentials


class Inbound:
    """Takes deliveries, in their order."""

    def __init__(self, environment: Environment, joiner: Joiner, follower: LogFollower) -> None:
        self._env: Final = environment
        self._joiner: Final = joiner
        self._follower: Final = follower
        self._looked_up: tuple[ChannelId, int] | None = None
        self._lacking = _NotYetError()

    async def take(self, delivered: Sequence[Deliver]) -> None:
        """Store everything that follows from these items; then they may be acknowledged.

        Raises:
            ConnectionLostError, RemoteError: a Welcome needs something from the
                relay; nothing of it was stored, and it will be delivered again.
            StoreError: the store failed; what was not stored comes again.
        """
        rest = [_as_it_says(item) for item in delivered]
        while rest:
            if rest[0].kind is ItemKind.WELCOME:
                await self._joiner.take(rest.pop(0))
                continue
            batch = list(itertools.takewhile(_needs_no_relay, rest[:_BATCH]))
            taken = await self._env.write(lambda tx, b=batch: self._take_all(tx, b))  # type: ignore[misc]  # a default argument binds the loop's value
            del rest[:taken]
            if taken < len(batch):
                await self._look_up(batch[taken])

    def _take_all(self, tx: Transaction, batch: Sequence[Deliver]) -> int:
        """Store what follows from items; return how many, up to one that something lacks for."""
        for number, item in enumerate(batch):
            if items.is_taken(tx, item.channel, item.seq):
                continue
            try:
                self._take(tx, item, kdf.sha256(item.payload))
            except _NotYetError as e:
                self._lacking = e
                return number
        return len(batch)

    async def _look_up(self, item: Deliver) -> None:
        """Fetch what the parties have signed since, or ask the log: then the item is judged.

        Raises:
            ConnectionLostError, RemoteError: that could not be fetched; the item is
                delivered again.
        """
        lacking = self._lacking
        if lacking.agreement is not None:
            await self._follower.require(lacking.agreement, lacking.credentials)
            return
        record = await self._env.read(lambda tx: channels.load(tx, item.channel))
        if record is not None:
            await refreshing.refresh(self._env, record.agreement_id)
        self._looked_up = (item.channel, item.seq)

    def _require_news(self, item: Deliver) -> None:
        """Ask for the parties' documents, once, before something is held against anybody.

        Raises:
            _NotYetError: they were not fetched for this item yet; nothing was written.
        """
        if self._looked_up != (item.channel, item.seq):
            raise _NotYetError

    def _take(self, tx: Transaction, item: Deliver, digest: bytes) -> None:
        if item.kind is ItemKind.GAP:
            items.take(tx, item.channel, item.seq, digest)
            return
        record = channels.load(tx, item.channel)
        told: Told | None = None
        if items.is_repeated(tx, item.channel, digest):
            # The relay sequenced the same bytes twice; what they say is known.
            told = log_told.of_unread(record, item, digest)
            items.take(tx, item.channel, item.seq, digest, told)
            return
        match item.kind:
            case ItemKind.MESSAGE:
                told = self._message(tx, record, item, digest)
            case ItemKind.COMMIT if record is not None:
                told = self._commit(tx, record, item, digest)
            case ItemKind.PROPOSAL if record is not None:
                told = self._proposal(tx, record, item, digest)
        # After what may find that something lacks for it, and before the transaction ends.
        items.take(tx, item.channel, item.seq, digest, told)

    def _time(self, item: Deliver) -> int:
        """The relay's time of acceptance, which can't lie far in the future.

        The own clock may be behind, and what was in order then must not be taken for a breach:
        the message would be withheld, the channel given up.
        """
        return min(item.time_ms // 1000, self._env.now + _CLOCK_BEHIND)

    # --- messages -----------------------------------------------------------------------

    def _message(
        self, tx: Transaction, record: ChannelRecord | None, item: Deliver, digest: bytes
    ) -> Told | None:
        """Store what follows from a message; return what it has to say in the log."""
        try:
            opened, record = self._decrypt(tx, record, item)
        except LiaisonError as e:
            self._fail(tx, record, item, e)
            if isinstance(e, FutureEpochError):
                self._note_gap(tx, item)
            return log_told.of_unread(record, item, digest)
        env, at = self._env, self._time(item)
        credential = opened.sender.leaf_node.credential
        sender = device_of(credential)
        agreement = env.trust.agreement(tx, record.agreement_id, record.version_at(opened.epoch))
        try:
            header = Header.decode(opened.authenticated_data)
            content = Content.decode(opened.plaintext)
            judgement.check_content(header, content, opened.plaintext)
            released = judgement.released(env, tx, record, agreement, header, at)
        except LiaisonError as e:
            record = env.groups.save_message(tx, record, opened.group)
            self._fail(tx, record, item, e, sender=sender)
            return log_told.of_unread(record, item, digest)
        audience = env.groups.audience_of(item.channel, opened.group, opened.epoch)
        size = len(item.payload)
        decision = judgement.judge_message(
            agreement,
            SendMessage(sender.endpoint, record.policy, header, size, audience, released),
            content,
            env.account.device.endpoint,
            standing=env.trust.standing(tx, record.agreement_id),
            accepted_at=at,
            now=env.now,
        )
        if not decision.allow and decision.rule.startswith(refreshing.CHANGING):
            # The party may take part again, and this device not know of it.
            self._require_news(item)
        if decision.allow:
            decision = drafts.judge_once(tx, item.channel, sender, header, item.seq) or decision
        if decision.allow:
            decision = self._logged(tx, agreement, credential, header) or decision
        # Whatever becomes of the message: its key is used, and goes now.
        record = env.groups.save_message(tx, record, opened.group)
        stored = MessageRecord(
            channel=item.channel,
            sender=sender,
            message_id=header.message_id,
            outgoing=False,
            state=MessageState.RECEIVED if decision.allow else MessageState.WITHHELD,
            precedence=header.precedence_for(self._env.account.device.endpoint),
            header=opened.authenticated_data,
            content=opened.plaintext,
            seq=item.seq,
            time_ms=item.time_ms,
            reason_code="" if decision.allow else decision.rule,
            reason="" if decision.allow else decision.reason,
            credentials=_lacking(decision, credential, header),
        )
        self._keep(tx, record, stored, header, content)
        return log_told.of_message(
            sender,
            header,
            digest,
            epoch=opened.epoch,
            size=size,
            time_ms=item.time_ms,
            version=agreement.version,
        )

    def _decrypt(
        self, tx: Transaction, record: ChannelRecord | None, item: Deliver
    ) -> tuple[ApplicationReceived, ChannelRecord]:
        if record is None:
            raise ChannelClosedError("the message is for a channel that is not here")
        if record.state is ChannelState.REJECTED:
            raise ChannelRejectedError(record.reason)
        env = self._env
        group = env.groups.load(tx, record)
        agreement = env.trust.agreement(tx, record.agreement_id, record.agreement_version)
        opened = process(
            group, item.payload, now=self._time(item), validator=env.trust.validator(agreement)
        )
        if not isinstance(opened, ApplicationReceived):
            raise WrongItemError("the relay delivered a handshake message as a message")
        return opened, record

    def _logged(
        self, tx: Transaction, agreement: Agreement, sender: Credential, header: Header
    ) -> Decision | None:
        """Return why a message is withheld that stands on a certificate that is not in the log, or None.

        Raises:
            _NotYetError: the log has to be asked first; nothing was written.
        """
        try:
            unknown = log_credentials.check_message(self._env, tx, agreement, sender, header)
        except CredentialUnloggedError as e:
            return Decision(allow=False, rule=e.code, reason=e.message)
        if unknown:
            raise _NotYetError(agreement, unknown)
        return None

    def _keep(
        self,
        tx: Transaction,
        record: ChannelRecord,
        message: MessageRecord,
        header: Header,
        content: Content,
    ) -> None:
        if header.kind is Kind.RECEIPT and message.sender is not None:
            if message.state is MessageState.RECEIVED:
                self._receipt(tx, record, message.sender, content)
            return
        if messages.insert(tx, message) is not None:
            self._env.announce(tx, Event(EventKind.MESSAGE, record.channel, str(header.kind)))

    def _receipt(
        self, tx: Transaction, record: ChannelRecord, sender: DeviceId, content: Content
    ) -> None:
        try:
            receipt = Receipt.from_content(content)
        except LiaisonError as e:
            self._env.announce(tx, Event(EventKind.PROBLEM, record.channel, e.message))
            return
        receipt_table.save(
            tx,
            record.channel,
            receipt.ref,
            sender,
            receipt.status,
            receipt.encode(),
        )
        text = f"{sender}: {receipt.status.value}"
        self._env.announce(tx, Event(EventKind.RECEIPT, record.channel, text))

    def _note_gap(self, tx: Transaction, item: Deliver) -> None:
        """A message of an epoch that this store has not reached: a commit is missing here.

        The relay delivers a commit before what follows it, so it was delivered to a
        later copy of this store, or withheld. Joining anew helps in both cases.
        """
        record = channels.load(tx, item.channel)
        if record is not None and record.state is ChannelState.ACTIVE:
            reason = "this store lacks a commit that it was given"
            merging.mark_stale(self._env, tx, record, reason)

    def _fail(
        self,
        tx: Transaction,
        record: ChannelRecord | None,
        item: Deliver,
        error: LiaisonError,
        *,
        sender: DeviceId | None = None,
    ) -> None:
        """Store a message that can't be shown, with the reason, and tell its sender."""
        header, data = _peek(item.payload)
        if record is not None and sender is None:
            sender = self._sender(tx, record, error, item.epoch)
        own = self._env.account.device
        message = MessageRecord(
            channel=item.channel,
            sender=sender,
            # Without a readable header there is no id; the bytes name the message then.
            message_id=header.message_id if header else MessageId(kdf.sha256(item.payload)[:16]),
            outgoing=False,
            state=MessageState.FAILED,
            precedence=header.precedence_for(own.endpoint) if header else Precedence.ROUTINE,
            header=data if header else b"",
            content=b"",
            seq=item.seq,
            time_ms=item.time_ms,
            reason_code=error.code,
            reason=error.message,
        )
        if messages.insert(tx, message) is None:
            return
        self._env.announce(tx, Event(EventKind.PROBLEM, item.channel, error.message))
        # A receipt for a receipt would answer itself for ever.
        if record is not None and header is not None and header.kind is not Kind.RECEIPT:
            receipts.queue_failure(self._env, tx, record, header, sender, error.code)

    def _sender(
        self, tx: Transaction, record: ChannelRecord, error: LiaisonError, epoch: int
    ) -> DeviceId | None:
        leaf = error.sender_leaf if isinstance(error, MLSError) else None
        if leaf is None:
            return None
        group = self._env.groups.load(tx, record)
        # As of the message's epoch: the leaf may be someone else's by now.
        for keys in (group.keys, *group.past):
            if keys.epoch == epoch and leaf in keys.members:
                return device_of(keys.members[leaf].credential)
        return None

    # --- handshakes ---------------------------------------------------------------------

    def _proposal(
        self, tx: Transaction, record: ChannelRecord, item: Deliver, digest: bytes
    ) -> Told | None:
        """Keep a proposal; return what it has to say in the log."""
        env = self._env
        if not record.state.is_open:
            return None
        group = env.groups.load(tx, record)
        agreement = env.trust.agreement(tx, record.agreement_id, record.agreement_version)
        now = self._time(item)
        told = log_told.of_proposal(record, item, digest, None, known=False)
        try:
            stored = process(group, item.payload, now=now, validator=env.trust.validator(agreement))
            if not isinstance(stored, ProposalStored):
                raise WrongItemError("the relay delivered something else as a proposal")
            who = log_told.proposer(group, stored.queued)
            told = log_told.of_proposal(record, item, digest, who)
            judgement.judge_proposal(env, tx, record, agreement, group, stored.queued, now)
        except OwnMessageError:
            # It was stored before it was sent.
            return log_told.of_proposal(record, item, digest, env.account.device)
        except StaleEpochError:
            return told
        except LiaisonError as e:
            self._require_news(item)
            # A proposal that is not kept is never committed here, and a commit
            # that contains it is not followed.
            env.announce(tx, Event(EventKind.PROBLEM, record.channel, e.message))
            return told
        env.groups.save_epoch(tx, record, stored.group)
        env.announce(tx, Event(EventKind.PROPOSAL, record.channel))
        return told

    def _commit(
        self, tx: Transaction, record: ChannelRecord, item: Deliver, digest: bytes
    ) -> Told | None:
        """Follow a commit; return what it has to say in the log, as far as it could be read."""
        env = self._env
        staged = commits.load(tx, record.channel)
        if staged is not None and staged.digest == digest:
            merging.merge(env, tx, staged, item.seq, item.time_ms)
            return None
        if not record.state.is_open:
            return None
        try:
            group = env.groups.load(tx, record)
        except ChannelClosedError:
            # A Welcome that could not be used: there is no group to follow it with.
            return None
        agreement = env.trust.agreement(tx, record.agreement_id, record.agreement_version)
        now = self._time(item)
        try:
            result = process(group, item.payload, now=now, validator=env.trust.validator(agreement))
            if isinstance(result, OwnCommitEcho):
                # Accepted, and what it led to is not here: this store is an old copy.
                merging.mark_stale(env, tx, record, "an own commit is not in this store")
                return None
            if not isinstance(result, CommitStaged):
                raise WrongItemError("the relay delivered something else as a commit")
        except StaleEpochError:
            return None
        except LiaisonError as e:
            if record.state is not ChannelState.STALE:
                rejections.give_up(env, tx, record, group, item, digest, e)
            return None
        size = len(item.payload)
        told = log_told.of_commit(group, result.effect, digest, size=size, time_ms=item.time_ms)
        try:
            judgement.judge_commit(env, tx, record, agreement, group, result.effect, now)
        except LiaisonError as e:
            self._require_news(item)
            merging.reject(env, tx, record, e)
            return told
        commits.delete(tx, record.channel)
        if result.group is None:
            merging.leave(env, tx, record)
            return told
        at = item.time_ms // 1000
        merging.save_next_epoch(env, tx, record, group, result.group, at)
        merging.announce_members(env, tx, record, result.effect)
        rejections.tell(env, tx, record, group, result)
        return told


def _lacking(decision: Decision, sender: Credential, header: Header) -> tuple[bytes, ...]:
    """Return what has to be in the log before a message is shown that is withheld for that."""
    if decision.rule != CredentialUnloggedError.code:
        return ()
    return tuple(log_credentials.of_message(sender, header))


def _as_it_says(item: Deliver) -> Deliver:
    """Return an item as what its own bytes say that it is, whatever the relay calls it.

    A message that passed for something else would be taken, found in the log by its digest, and
    shown to nobody.
    """
    try:
        kind = _KINDS[peek.parse_header(item.payload).content_type]
    except LiaisonError:
        return item
    return item if item.kind is kind else replace(item, kind=kind)


def _needs_no_relay(item: Deliver) -> bool:
    return item.kind is not ItemKind.WELCOME


def _peek(payload: bytes) -> tuple[Header | None, bytes]:
    """Read a header that nobody has authenticated: for listing a failure only."""
    try:
        data = peek.parse_header(payload).authenticated_data
        return Header.decode(data), data
    except LiaisonError:
        return None, b""
