"""Encrypts what is queued: on the group as it is stored, and with the group's next state.

Group and ciphertext change together or not at all, so no key is ever used for two messages. Runs
inside store transactions, as a part of `outbound`.
"""

from __future__ import annotations

from dataclasses import replace

from liaison.envelope.header import Header
from liaison.mls.group import encrypt as encrypt_content
from liaison.policy.agreement import Agreement
from liaison.policy.errors import PolicyRefusedError
from liaison_sdk import composing, duties, log_credentials, plans
from liaison_sdk.composing import Composed
from liaison_sdk.environment import Environment
from liaison_sdk.store import Transaction, channels, messages, meta, outbox
from liaison_sdk.store.channels import ChannelState
from liaison_sdk.store.messages import MessageState
from liaison_sdk.store.outbox import OutboxRecord


def encrypt(env: Environment, tx: Transaction, row: OutboxRecord) -> OutboxRecord | None:
    """Encrypt a queued message as its channel stands now, and store both.

    Returns:
        The row with its ciphertext; None where something has to be done in the channel first.

    Raises:
        PolicyRefusedError: the agreement does not allow it.
        StatusOverdueError, CredentialUnloggedError: not before somebody has spoken.
        ChannelUnknownError, ChannelClosedError, ChannelRejectedError: nothing is sent there any more.
    """
    stored = channels.load(tx, row.channel)
    if stored is not None and stored.state is ChannelState.STALE:
        return None
    record = channels.load_open(tx, row.channel)
    group = env.groups.load(tx, record)
    agreement = env.trust.agreement(tx, record.agreement_id, record.agreement_version)
    due = duties.due(env, tx, record, group)
    if due.own is not None:
        raise PolicyRefusedError(due.own.reason, rule=due.own.rule)
    if due or plans.is_spent(group):
        return None
    # Until a fresh word comes it waits, and is encrypted then.
    duties.check_fresh(env, tx, agreement)
    if log_credentials.check_group(env, tx, record, agreement):
        return None
    row, composed = _renewed(env, tx, row, agreement)
    # Who can read it has been decided since it was queued.
    composing.judge(env, tx, record, agreement, composed).require()
    after, ciphertext = encrypt_content(
        group,
        row.content,
        signer=env.account.signer(group.suite.signature),
        rng=env.options.rng,
        authenticated_data=row.header,
    )
    # The group that has forgotten the key, and what the key has made, together
    # or not at all; nothing is sent before.
    env.groups.save_message(tx, record, after)
    env.blocked.pop(row.channel, None)
    version = meta.next_state_version(tx)
    row = outbox.save_encrypted(tx, row, ciphertext, group.epoch, version)
    _mark(tx, row, MessageState.SENDING)
    return row


def _renewed(
    env: Environment, tx: Transaction, row: OutboxRecord, agreement: Agreement
) -> tuple[OutboxRecord, Composed]:
    """Return a queued message under the version of the agreement that the channel is at now."""
    composed = Composed(Header.decode(row.header), row.content)
    named = composed.header.agreement_version
    if named == agreement.version:
        return row, composed
    before = env.trust.agreement(tx, agreement.agreement_id, named)
    composed = composing.renew(composed, before, agreement)
    header, content = composed.header.encode(), composed.content
    message = messages.find_own(tx, row.channel, row.message_id)
    if message is not None:
        messages.save_outcome(tx, replace(message, header=header, content=content))
    return replace(row, header=header, content=content), composed


def _mark(tx: Transaction, row: OutboxRecord, state: MessageState) -> None:
    message = messages.find_own(tx, row.channel, row.message_id)
    if message is not None and message.state is not state:
        messages.save_outcome(tx, replace(message, state=state))
