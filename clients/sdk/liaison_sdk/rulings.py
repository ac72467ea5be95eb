"""What the relay's ruling on a message, or one made here in its place, means for the store.

Runs inside store transactions, as a part of `outbound`.
"""

from __future__ import annotations

from dataclasses import replace

from liaison.envelope.header import Header
from liaison.wire.frames import Accepted
from liaison_sdk import log_told
from liaison_sdk.environment import Environment
from liaison_sdk.events import Event, EventKind
from liaison_sdk.store import Transaction, answers, items, messages, outbox
from liaison_sdk.store.items import Told
from liaison_sdk.store.messages import MessageState
from liaison_sdk.store.outbox import OutboxRecord


def accept(env: Environment, tx: Transaction, row: OutboxRecord, answer: Accepted) -> None:
    """Note that the relay has accepted a message, if it is this one that it has.

    What lies there under the message's id is another one where the digests differ; then the message
    was refused.
    """
    if answer.digest not in (row.digest, *row.earlier):
        # Something else lies under our id: what we sent was not accepted.
        text = "the relay says that it stored something else under this message's id"
        refuse(env, tx, row, "message.digest_mismatch", text)
        return
    _keep(env, tx, row, answer)
    env.ruled(tx, row.number)


def refuse(env: Environment, tx: Transaction, row: OutboxRecord, code: str, reason: str) -> None:
    """Note that a message will never be sent, and why."""
    outbox.delete(tx, row.number)
    message = messages.find_own(tx, row.channel, row.message_id)
    if message is not None:
        refused = replace(message, state=MessageState.REFUSED, reason_code=code, reason=reason)
        messages.save_outcome(tx, refused)
    else:
        answer = answers.rule(tx, row.number, MessageState.REFUSED, code, reason)
        if answer is not None:
            reason = f"the answer to {answer.receipt.ref.message_id} was refused: {reason}"
    env.ruled(tx, row.number)
    env.announce(tx, Event(EventKind.REFUSED, row.channel, reason))


def _keep(env: Environment, tx: Transaction, row: OutboxRecord, answer: Accepted) -> None:
    outbox.delete(tx, row.number)
    items.take(tx, row.channel, answer.seq, answer.digest, _told(env, row, answer))
    message = messages.find_own(tx, row.channel, row.message_id)
    if message is not None:
        accepted = replace(
            message, state=MessageState.ACCEPTED, seq=answer.seq, time_ms=answer.time_ms
        )
        messages.save_outcome(tx, accepted)
    else:
        answers.rule(tx, row.number, MessageState.ACCEPTED)


def _told(env: Environment, row: OutboxRecord, answer: Accepted) -> Told | None:
    """Return what an own message has to say in the log; None for an earlier ciphertext of it."""
    if row.epoch is None or answer.digest != row.digest:
        return None
    header = Header.decode(row.header)
    return log_told.of_message(
        env.account.device,
        header,
        answer.digest,
        epoch=row.epoch,
        size=len(row.ciphertext),
        time_ms=answer.time_ms,
        version=header.agreement_version,
    )
