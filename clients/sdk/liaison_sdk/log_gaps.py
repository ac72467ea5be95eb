"""When it is an alarm that the log leaves something out of a channel.

An honest relay shows a device what came while it was in the channel. So there is a gap also where
a new stay has begun whose invitation has yet to come, and that is none of the relay's doing. An
invitation is at the relay when the log shows the stay: it comes with all that waits there. So a gap
is an alarm where the relay shows it once more to a process that has, a while after the first time,
taken all that waits, and no new stay is known. Whether it has all when it asks says nothing: a relay
that delivers something before each answer, and says that it was all after it, would never be told.

When it was noticed stands in the store: a process may end long before. Only what an honest relay
would do ends the wait, a new stay or all that was left out; an answer without the gap does not, or
a relay could go on for ever by leaving out and showing less in turn.
"""

from __future__ import annotations

import math
from dataclasses import field

from liaison.errors import LiaisonError
from liaison.model import ChannelId
from liaison.tlog.commitment import MAX_NUMBER
from liaison.tlog.errors import ChannelGapError
from liaison.values import dataclass
from liaison_sdk import log_places, log_stays
from liaison_sdk.environment import Environment
from liaison_sdk.log_asking import Outcome, Plan, followed_channels
from liaison_sdk.log_places import Following, Place
from liaison_sdk.store import Transaction, channels, gaps, items, stays
from liaison_sdk.store.channels import ChannelState
from liaison_sdk.store.gaps import GapRecord


@dataclass(frozen=True, slots=True)
class Patience:
    """What it takes here and now to believe that something is left out.

    Args:
        wait: seconds from the first time that the relay shows it to when all that waits was taken.
        had_all: when this process had last taken all that waited at the relay, on the clock of `at`;
            minus infinity where it never had.
        at: now, in seconds of a clock that is never set.
        set_at: when the other clock was set last, on that clock; minus infinity where it was not.
        noticed: what this process was the first to notice, on that clock.
    """

    wait: float
    had_all: float
    at: float
    set_at: float = -math.inf
    noticed: dict[ChannelId, float] = field(default_factory=dict)


def forks(
    env: Environment, tx: Transaction, plan: Plan, outcome: Outcome, patience: Patience
) -> dict[ChannelId, LiaisonError]:
    """Return what an answer contradicts, without gaps that may be a new stay's; those are noted."""
    for channel, (following, _) in outcome.followed.items():
        note_shown(tx, channel, plan.following[channel], following)
    return {
        channel: error
        for channel, error in outcome.forked.items()
        if not isinstance(error, ChannelGapError)
        or (
            is_proven(
                tx,
                channel,
                plan.following[channel],
                _end(plan, outcome, channel),
                env.now,
                patience,
            )
            and not _is_invited(env, tx, plan, outcome, channel)
        )
    }


def is_proven(
    tx: Transaction, channel: ChannelId, known: Following, end: int, now: int, patience: Patience
) -> bool:
    """Note that something is left out of a channel; return whether no new stay can explain it.

    Args:
        tx: the transaction.
        channel: which channel.
        known: how far it had been followed when the relay was asked.
        end: the last place that it has shown.
        now: Unix seconds.
        patience: what it takes.
    """
    if log_stays.has_moved(stays.load(tx, channel), known):
        return False
    noted = gaps.load(tx, channel)
    # What was noticed later than now was noticed on a clock that has been put right since.
    if noted is None or noted.since > now:
        gaps.save(tx, channel, GapRecord(max(end, known.after + 1), now))
        tx.after_commit(lambda: patience.noticed.update({channel: patience.at}))
        return False
    # Whole seconds, so one more than the wait. And where this process has seen it all, its own clock
    # has the last word: the other one may have been set meanwhile.
    had_all = now - (patience.at - patience.had_all)
    has_waited = had_all - noted.since >= patience.wait + 1
    begun = max(patience.noticed.get(channel, -math.inf), patience.set_at)
    return has_waited and patience.had_all >= begun + patience.wait


def note_shown(tx: Transaction, channel: ChannelId, known: Following, following: Following) -> None:
    """Forget what was left out of a channel, where all of it is shown by now.

    Args:
        tx: the transaction.
        channel: which channel.
        known: how far it had been followed when the relay was asked.
        following: how far it is followed with the answer.
    """
    noted = gaps.load(tx, channel)
    if noted is None or log_stays.has_moved(stays.load(tx, channel), known):
        return
    if following.after >= noted.end:
        gaps.drop(tx, channel)


def forget_left(tx: Transaction, agreement_id: str) -> None:
    """Forget what was left out of an agreement's channels that are not followed any more."""
    waiting = gaps.channels(tx)
    if not waiting:
        return
    followed = {record.channel for record in followed_channels(tx, agreement_id)}
    for channel in waiting:
        record = channels.load(tx, channel)
        if record is not None and record.agreement_id == agreement_id and channel not in followed:
            gaps.drop(tx, channel)


# --- parts ------------------------------------------------------------------------------


def _is_invited(
    env: Environment, tx: Transaction, plan: Plan, outcome: Outcome, channel: ChannelId
) -> bool:
    """Whether the log goes on with a commit that has brought this device in, by what it can't use.

    Such an invitation begins no stay, which joining anew does, and until then this device is out of
    step. A relay that only says so would have to log another commit than its members know.
    """
    record = channels.load(tx, channel)
    if record is None or record.state is not ChannelState.STALE:
        return False
    place = _behind(plan, outcome, channel)
    return (
        place is not None
        and place.is_commit
        and str(env.account.device) in (place.added or ())
        and items.is_taken(tx, channel, place.seq)
    )


def _behind(plan: Plan, outcome: Outcome, channel: ChannelId) -> Place | None:
    """Return the place with which an answer goes on where it leaves something out of a channel."""
    view = plan.following[channel].view
    shown = () if outcome.answered is None else outcome.answered.entries
    places = log_places.between(shown, view.channel, 1, MAX_NUMBER)
    expected = range(view.next_seq, view.next_seq + len(places))
    found = (each for each, seq in zip(places, expected, strict=True) if each.seq != seq)
    place = next(found, None)
    return place if place is not None and place.seq > view.next_seq else None


def _end(plan: Plan, outcome: Outcome, channel: ChannelId) -> int:
    """Return the last place of a channel that an answer shows; 0 for none."""
    name = plan.following[channel].view.channel
    shown = () if outcome.answered is None else outcome.answered.entries
    return max((each.entry.seq or 0 for each in shown if each.entry.channel == name), default=0)
