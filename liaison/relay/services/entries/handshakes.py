"""What a handshake message does to a channel, as the log tells it.

The entry of a commit may be opened by the parties of those who were in the channel before it and
of those who are after it: who is removed learns of it, who is added learns what began its epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from liaison.mls.framing import SenderKind
from liaison.mls.proposals import Remove
from liaison.model import ChannelId, DeviceId
from liaison.policy.agreement import Agreement
from liaison.relay.recording import Draft
from liaison.relay.services.entries import channel as entries
from liaison.relay.services.entries.channel import Change, Place
from liaison.relay.services.leaves import Leaf
from liaison.relay.services.rules import CommitPlan
from liaison.relay.services.sequence import Handshake
from liaison.relay.services.states import ChannelState


def founded(agreement: Agreement, channel: ChannelId, key: int, device: DeviceId) -> list[Draft]:
    """A channel was opened by its only member."""
    place = Place(agreement, channel, key, (str(device.party),))
    return entries.members(place, [Change(device, "founded")], epoch=0)


def committed(
    state: ChannelState,
    plan: CommitPlan,
    sender: DeviceId,
    commit: Handshake,
    *,
    seq: int,
    now: int,
) -> list[Draft]:
    """An epoch was ended: the commit, then who came and went by it.

    Args:
        state: what the commit was judged against.
        plan: what it does.
        sender: whose it is.
        commit: the message.
        seq: its number.
        now: Unix seconds.
    """
    agreement = state.agreement if plan.amended is None else plan.amended.agreement
    before = _devices(state)
    came = [one.device for one in (*plan.added, *((plan.joined,) if plan.joined else ()))]
    place = _place(state, agreement, (*before.values(), *came))
    item = entries.commit(
        place,
        sender,
        seq=seq,
        epoch=state.row.epoch,
        size=len(commit.payload),
        digest=commit.digest,
        added=came,
        removed=(before[leaf] for leaf in plan.removed),
    )
    changes = _changes(state, plan, before, now)
    return [item, *entries.members(place, changes, epoch=state.row.epoch + 1)]


def proposed(
    state: ChannelState, sender: DeviceId | None, new: Sequence[Handshake], *, last: int
) -> list[Draft]:
    """Proposals were sequenced, the last of them with the number `last`."""
    place = _place(state, state.agreement, _devices(state).values())
    return [
        entries.proposal(
            place, sender, seq=seq, epoch=state.row.epoch, size=len(one.payload), digest=one.digest
        )
        for seq, one in enumerate(new, last - len(new) + 1)
    ]


def _place(state: ChannelState, agreement: Agreement, devices: Iterable[DeviceId]) -> Place:
    parties = tuple(sorted({str(one.party) for one in devices}))
    return Place(agreement, ChannelId(state.row.id), state.row.key, parties)


def _devices(state: ChannelState) -> dict[int, DeviceId]:
    return {seat.leaf: DeviceId.parse(seat.name) for seat in state.seats}


def _changes(
    state: ChannelState, plan: CommitPlan, before: dict[int, DeviceId], now: int
) -> list[Change]:
    if plan.joined is not None:
        return [Change(plan.joined.device, "returned")]
    due, left = state.due(now), _left(state)
    reasons = {leaf: one.cause.name.lower() for leaf, one in due.items()}
    gone = [
        Change(before[leaf], "removed", reasons.get(leaf, "left" if leaf in left else None))
        for leaf in plan.removed
    ]
    renewed = [Change(one.device, "renewed") for one in plan.updated if _is_renewed(state, one)]
    return [*gone, *renewed, *(Change(one.device, "added") for one in plan.added)]


def _left(state: ChannelState) -> set[int]:
    return {
        one.proposal.leaf
        for one in state.group.pending
        if isinstance(one.proposal, Remove)
        and one.sender.kind is SenderKind.MEMBER
        and one.sender.index == one.proposal.leaf
    }


def _is_renewed(state: ChannelState, after: Leaf) -> bool:
    node = state.group.member(after.leaf).leaf_node
    return Leaf.of(after.leaf, node).serial != after.serial
