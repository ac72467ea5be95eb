"""From one epoch of a channel to the next, or out of it: what each means for the store.

Runs inside store transactions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from liaison.errors import LiaisonError
from liaison.mls import snapshot
from liaison.mls.effects import CommitEffect
from liaison.mls.group import Group
from liaison.mls.group import merge as merge_epochs
from liaison.mls.state import succeed
from liaison.model import ChannelId
from liaison.trust import CHANNEL_BINDING_EXTENSION, ChannelBinding
from liaison.trust.rejection import Rejection
from liaison_sdk import renewals
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ChannelClosedError, RelayBrokenError
from liaison_sdk.events import Event, EventKind
from liaison_sdk.groups import limits_of
from liaison_sdk.store import Transaction, channels, commits, items, meta, stays
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.store.commits import StagedRecord
from liaison_sdk.store.items import Told
from liaison_sdk.trust_store import device_of

_MOST_AHEAD: Final = 1 << 32
"""Steps by which a later copy of this store can be ahead; nobody encrypts so often."""


def merge(env: Environment, tx: Transaction, staged: StagedRecord, seq: int, time_ms: int) -> bool:
    """Make an own commit's epoch the channel's, because the relay has accepted it.

    Returns False where that was done already, by another process or by the
    delivery of the commit.
    """
    current = commits.load(tx, staged.channel)
    record = channels.load(tx, staged.channel)
    if current is None or current.digest != staged.digest or record is None:
        return False
    new = snapshot.restore(staged.blobs.epoch, staged.blobs.ratchets)
    before = None
    if staged.external:
        new = _with_readable_past(env, tx, record, new, time_ms // 1000)
    else:
        # Messages went on in the old epoch while the commit was under way; its
        # used keys must not come back with the copy that was made then.
        before = env.groups.load(tx, record)
        new = merge_epochs(before, new)
    if staged.fresh_leaf:
        record = replace(record, leaf_at=time_ms // 1000)
    if record.state is ChannelState.STALE:
        record = replace(record, state=ChannelState.ACTIVE)
    save_next_epoch(
        env, tx, replace(record, reason="", rejection=b""), before, new, time_ms // 1000
    )
    commits.delete(tx, staged.channel)
    told = replace(Told.decode(staged.told), time_ms=time_ms) if staged.told else None
    items.take(tx, staged.channel, seq, staged.digest, told)
    if staged.external:
        stays.begin(tx, staged.channel, seq, new.epoch)
    return True


def _with_readable_past(
    env: Environment, tx: Transaction, record: ChannelRecord, new: Group, at: int
) -> Group:
    """Keep what can still be read: messages of earlier epochs may be on their way."""
    try:
        old = env.groups.load(tx, record)
    except ChannelClosedError:
        # A Welcome that could not be used left no group.
        return new
    if old.group_id != new.group_id or old.epoch >= new.epoch:
        return new
    return succeed(old, new, at)


def save_next_epoch(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    before: Group | None,
    new: Group,
    at: int,
) -> ChannelRecord:
    """Store a new epoch.

    Args:
        env: where to.
        tx: the transaction.
        record: the channel.
        before: its group so far; None where this device comes back by the new one.
        new: its group from now on.
        at: when the epoch began, Unix seconds.
    """
    binding = ChannelBinding.decode(new.extension(CHANNEL_BINDING_EXTENSION))
    agreement = env.trust.agreement(tx, record.agreement_id, binding.version)
    new = replace(new, limits=limits_of(agreement, binding.policy))
    readable = set(new.epochs)
    kept = {e: v for e, v in record.versions if e in readable}
    kept[new.epoch] = binding.version
    # A stale channel is only read in until it was joined anew.
    keeps = record.state in (ChannelState.LEAVING, ChannelState.STALE)
    record = replace(
        renewals.after(record, before, new, at),
        state=record.state if keeps else ChannelState.ACTIVE,
        agreement_version=binding.version,
        epoch_at=at,
        versions=tuple(sorted(kept.items())),
    )
    return env.groups.save_epoch(tx, record, new)


def mark_stale(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    reason: str,
    rejection: Rejection | None = None,
) -> None:
    """Note that the channel has to be joined anew before anything is sent in it.

    Args:
        env: where it is told.
        tx: the transaction.
        record: the channel.
        reason: a sentence.
        rejection: what the other members are told when this device joins anew.
    """
    report = b"" if rejection is None else rejection.encode()
    stale = replace(record, state=ChannelState.STALE, reason=reason, rejection=report)
    channels.save(tx, stale)
    commits.delete(tx, record.channel)
    env.announce(tx, Event(EventKind.RESYNC, record.channel, reason))


def mark_all_stale(env: Environment, tx: Transaction, relay_version: int) -> list[ChannelId]:
    """Note that this store is an old copy: the relay has seen a later one.

    Every channel is joined anew before anything is encrypted in it, because keys
    that this copy thinks fresh have been used.

    Raises:
        RelayBrokenError: no copy can be that late; believed, it would use up the numbers.
    """
    own = meta.number(tx, meta.STATE_VERSION)
    if relay_version <= own:
        return []
    if relay_version - own > _MOST_AHEAD:
        raise RelayBrokenError("the relay claims a state that this device can't have reached")
    marked = []
    for record in channels.load_all(tx):
        if record.state is ChannelState.ACTIVE:
            mark_stale(env, tx, record, "this store is an old copy")
            marked.append(record.channel)
    meta.set_number(tx, meta.STATE_VERSION, relay_version)
    return marked


def reject(env: Environment, tx: Transaction, record: ChannelRecord, error: LiaisonError) -> None:
    """Stop following a channel whose members have broken the agreement.

    The relay should have refused that commit, so what comes after it is not
    worth more. Nothing is sent, nothing is shown, and the reason is kept.
    """
    reason = f"a commit breaks the agreement: {error.message}"
    channels.save(tx, replace(record, state=ChannelState.REJECTED, reason=reason))
    commits.delete(tx, record.channel)
    env.announce(tx, Event(EventKind.PROBLEM, record.channel, reason))


def leave(env: Environment, tx: Transaction, record: ChannelRecord) -> None:
    """Forget the keys of a channel that this device is out of."""
    left = record.state is ChannelState.LEAVING
    state = ChannelState.LEFT if left else ChannelState.REMOVED
    reason = "" if left else "this device was removed"
    channels.forget_group(tx, replace(record, state=state, reason=reason))
    commits.delete(tx, record.channel)
    tx.after_commit(lambda: env.groups.forget(record.channel))
    env.announce(tx, Event(EventKind.CHANNEL, record.channel, state.value))


def announce_members(
    env: Environment, tx: Transaction, record: ChannelRecord, effect: CommitEffect
) -> None:
    """Tell who came and who went."""
    if effect.external:
        return
    for added in effect.added:
        name = device_of(added.leaf_node.credential)
        env.announce(tx, Event(EventKind.MEMBER, record.channel, f"{name} was added"))
    for removed in effect.removed:
        name = device_of(removed.leaf_node.credential)
        env.announce(tx, Event(EventKind.MEMBER, record.channel, f"{name} was removed"))
