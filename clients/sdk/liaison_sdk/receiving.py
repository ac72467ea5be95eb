"""A message that was delivered: decrypted, judged, and stored with what follows from it.

No message disappears: one that can't be decrypted, contradicts itself or breaks the agreement is
stored with the reason. Runs inside store transactions, as a part of `inbound`.
"""

from __future__ import annotations

from liaison.crypto import kdf
from liaison.envelope.content import Content
from liaison.envelope.header import Header, Kind
from liaison.envelope.receipt import Receipt
from liaison.errors import LiaisonError
from liaison.mls import peek
from liaison.mls.credentials import Credential
from liaison.mls.errors import FutureEpochError, MLSError
from liaison.mls.group import ApplicationReceived, process
from liaison.model import DeviceId, MessageId, Precedence
from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import SendMessage
from liaison.policy.requests import Decision
from liaison.wire.frames import Deliver
from liaison_sdk import drafts, judgement, log_credentials, log_told, merging, receipts, refreshing
from liaison_sdk.delivered import Delivered, NotYetError, WrongItemError
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ChannelClosedError, ChannelRejectedError
from liaison_sdk.events import Event, EventKind
from liaison_sdk.log_credentials import CredentialUnloggedError
from liaison_sdk.store import Transaction, channels, messages
from liaison_sdk.store import receipts as receipt_table
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.store.items import Told
from liaison_sdk.store.messages import MessageRecord, MessageState
from liaison_sdk.trust_store import device_of


def take(
    env: Environment, tx: Transaction, record: ChannelRecord | None, delivered: Delivered
) -> Told | None:
    """Store what follows from a message; return what it has to say in the log."""
    item, at, digest = delivered.item, delivered.at, delivered.digest
    try:
        opened, record = _decrypt(env, tx, record, delivered)
    except LiaisonError as e:
        _fail(env, tx, record, item, e)
        if isinstance(e, FutureEpochError):
            _note_gap(env, tx, item)
        return log_told.of_unread(record, item, digest)
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
        _fail(env, tx, record, item, e, sender=sender)
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
        delivered.require_news()
    if decision.allow:
        decision = drafts.judge_once(tx, item.channel, sender, header, item.seq) or decision
    if decision.allow:
        decision = _logged(env, tx, agreement, credential, header) or decision
    # Whatever becomes of the message: its key is used, and goes now.
    record = env.groups.save_message(tx, record, opened.group)
    stored = MessageRecord(
        channel=item.channel,
        sender=sender,
        message_id=header.message_id,
        outgoing=False,
        state=MessageState.RECEIVED if decision.allow else MessageState.WITHHELD,
        precedence=header.precedence_for(env.account.device.endpoint),
        header=opened.authenticated_data,
        content=opened.plaintext,
        seq=item.seq,
        time_ms=item.time_ms,
        reason_code="" if decision.allow else decision.rule,
        reason="" if decision.allow else decision.reason,
        credentials=_lacking(decision, credential, header),
    )
    _keep(env, tx, record, stored, header, content)
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
    env: Environment, tx: Transaction, record: ChannelRecord | None, delivered: Delivered
) -> tuple[ApplicationReceived, ChannelRecord]:
    if record is None:
        raise ChannelClosedError("the message is for a channel that is not here")
    if record.state is ChannelState.REJECTED:
        raise ChannelRejectedError(record.reason)
    group = env.groups.load(tx, record)
    agreement = env.trust.agreement(tx, record.agreement_id, record.agreement_version)
    opened = process(
        group, delivered.item.payload, now=delivered.at, validator=env.trust.validator(agreement)
    )
    if not isinstance(opened, ApplicationReceived):
        raise WrongItemError("the relay delivered a handshake message as a message")
    return opened, record


def _logged(
    env: Environment, tx: Transaction, agreement: Agreement, sender: Credential, header: Header
) -> Decision | None:
    """Return why a message is withheld that stands on a certificate that is not in the log, or None.

    Raises:
        NotYetError: the log has to be asked first; nothing was written.
    """
    try:
        unknown = log_credentials.check_message(env, tx, agreement, sender, header)
    except CredentialUnloggedError as e:
        return Decision(allow=False, rule=e.code, reason=e.message)
    if unknown:
        raise NotYetError(agreement, unknown)
    return None


def _keep(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    message: MessageRecord,
    header: Header,
    content: Content,
) -> None:
    if header.kind is Kind.RECEIPT and message.sender is not None:
        if message.state is MessageState.RECEIVED:
            _receipt(env, tx, record, message.sender, content)
        return
    if messages.insert(tx, message) is not None:
        env.announce(tx, Event(EventKind.MESSAGE, record.channel, str(header.kind)))


def _receipt(
    env: Environment, tx: Transaction, record: ChannelRecord, sender: DeviceId, content: Content
) -> None:
    try:
        receipt = Receipt.from_content(content)
    except LiaisonError as e:
        env.announce(tx, Event(EventKind.PROBLEM, record.channel, e.message))
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
    env.announce(tx, Event(EventKind.RECEIPT, record.channel, text))


def _note_gap(env: Environment, tx: Transaction, item: Deliver) -> None:
    """A message of an epoch that this store has not reached: a commit is missing here.

    The relay delivers a commit before what follows it, so it was delivered to a
    later copy of this store, or withheld. Joining anew helps in both cases.
    """
    record = channels.load(tx, item.channel)
    if record is not None and record.state is ChannelState.ACTIVE:
        reason = "this store lacks a commit that it was given"
        merging.mark_stale(env, tx, record, reason)


def _fail(
    env: Environment,
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
        sender = _sender(env, tx, record, error, item.epoch)
    own = env.account.device
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
    env.announce(tx, Event(EventKind.PROBLEM, item.channel, error.message))
    # A receipt for a receipt would answer itself for ever.
    if record is not None and header is not None and header.kind is not Kind.RECEIPT:
        receipts.queue_failure(env, tx, record, header, sender, error.code)


def _sender(
    env: Environment, tx: Transaction, record: ChannelRecord, error: LiaisonError, epoch: int
) -> DeviceId | None:
    leaf = error.sender_leaf if isinstance(error, MLSError) else None
    if leaf is None:
        return None
    group = env.groups.load(tx, record)
    # As of the message's epoch: the leaf may be someone else's by now.
    for keys in (group.keys, *group.past):
        if keys.epoch == epoch and leaf in keys.members:
            return device_of(keys.members[leaf].credential)
    return None


def _lacking(decision: Decision, sender: Credential, header: Header) -> tuple[bytes, ...]:
    """Return what has to be in the log before a message is shown that is withheld for that."""
    if decision.rule != CredentialUnloggedError.code:
        return ()
    return tuple(log_credentials.of_message(sender, header))


def _peek(payload: bytes) -> tuple[Header | None, bytes]:
    """Read a header that nobody has authenticated: for listing a failure only."""
    try:
        data = peek.parse_header(payload).authenticated_data
        return Header.decode(data), data
    except LiaisonError:
        return None, b""
