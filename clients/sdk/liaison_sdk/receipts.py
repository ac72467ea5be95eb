"""Receipts: what this device tells the senders of messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from liaison.envelope.header import Header, Kind, MessageRef
from liaison.envelope.receipt import Answer, Receipt, Status
from liaison.model import DeviceId, Precedence
from liaison_sdk import composing
from liaison_sdk.composing import Draft
from liaison_sdk.environment import Environment
from liaison_sdk.store import Transaction, answers, outbox
from liaison_sdk.store.answers import AnswerRecord
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.store.messages import MessageState

_MOST_WAITING: Final = 16
"""Own messages of a channel that may wait before failures go unreported."""


def queue_answer(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    ref: MessageRef,
    answer: Answer,
    *,
    note: str,
    precedence: Precedence,
) -> int:
    """Queue an acknowledgement; return its number in the outbox.

    Where the same is the last that waits to be said about the message, its number is
    returned, and nothing is queued: who says it again while the relay is away means it once.

    Raises:
        PolicyRefusedError: the agreement does not let this device send receipts.
    """
    receipt = Receipt(ref, Status.ACKNOWLEDGED, env.now, answer=answer, note=note)
    earlier = answers.about(tx, record.channel, ref)[-1:]
    for last in earlier:
        if last.state is MessageState.QUEUED and replace(last.receipt, at=receipt.at) == receipt:
            return last.number
    number = _queue(env, tx, record, receipt, precedence, required=True)
    answers.insert(tx, AnswerRecord(number, record.channel, receipt))
    return number


def queue_failure(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    header: Header,
    sender: DeviceId | None,
    code: str,
) -> None:
    """Queue the news that a message could not be shown, where the agreement lets us.

    Where the sender is not known, because not even that could be decrypted, the
    receipt names this device in its place; ids are random, so the sender
    recognises its message by the id alone.
    """
    if record.state is not ChannelState.ACTIVE or outbox.count(tx, record.channel) >= _MOST_WAITING:
        # A relay that delivers nothing but rubbish must not make us talk without end.
        return
    ref = MessageRef(sender or env.account.device, header.message_id)
    receipt = Receipt(ref, Status.FAILED, env.now, code=code)
    _queue(env, tx, record, receipt, header.action, required=False)


def _queue(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    receipt: Receipt,
    precedence: Precedence,
    *,
    required: bool,
) -> int:
    agreement = env.trust.agreement(tx, record.agreement_id, record.agreement_version)
    draft = Draft(
        parts=(receipt.as_part(),),
        kind=Kind.RECEIPT,
        action=precedence,
        info=precedence,
        in_reply_to=receipt.ref,
    )
    composed = composing.compose(env, record, agreement, draft)
    decision = composing.judge(env, tx, record, agreement, composed)
    if required:
        decision.require()
    elif not decision.allow:
        return 0
    return composing.queue(env, tx, record, composed)
