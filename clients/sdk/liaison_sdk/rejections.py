"""Commits that a member can't follow: what it reports when it joins anew, and what others hear.

See `liaison.trust.rejection`. Runs inside store transactions.
"""

from __future__ import annotations

from liaison.errors import LiaisonError
from liaison.mls import peek
from liaison.mls.framing import SenderKind
from liaison.mls.group import CommitStaged, Group
from liaison.trust.rejection import Rejection
from liaison.wire.frames import Deliver
from liaison_sdk import judgement, merging
from liaison_sdk.environment import Environment
from liaison_sdk.events import Event, EventKind
from liaison_sdk.store import Transaction
from liaison_sdk.store.channels import ChannelRecord


def give_up(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    group: Group,
    item: Deliver,
    digest: bytes,
    error: LiaisonError,
) -> None:
    """Note that a commit can't be followed: the channel is joined anew, with a report of it.

    Whether only this device can't follow or nobody can, it can't tell. Joining anew helps in both
    cases: it needs nothing of the epoch that the commit leads to but its public state.

    Args:
        env: where it is told.
        tx: the transaction.
        record: the channel.
        group: as it was before the commit.
        item: the commit.
        digest: of it.
        error: why it can't be followed.
    """
    report = _report(group, item, digest, error)
    by = f" of {report.committer}" if report is not None else ""
    reason = f"a commit{by} can't be followed: {error.message}"
    merging.mark_stale(env, tx, record, reason, report)


def _report(group: Group, item: Deliver, digest: bytes, error: LiaisonError) -> Rejection | None:
    try:
        header = peek.parse_header(item.payload)
        if header.sender is None or header.sender.kind is not SenderKind.MEMBER:
            return None
        committer = judgement.device_at(group, header.sender.index)
    except LiaisonError:
        # Nobody knows whose it is.
        return None
    return Rejection(header.epoch, digest, committer, error.code)


def tell(
    env: Environment, tx: Transaction, record: ChannelRecord, before: Group, commit: CommitStaged
) -> None:
    """Tell why a member has come back, where it says so."""
    if not commit.effect.external or not commit.effect.removed:
        return
    try:
        report = Rejection.decode(commit.authenticated_data)
    except LiaisonError:
        # It was restored from a backup, or says something that is not known here.
        return
    who = judgement.device_at(before, commit.effect.removed[0].leaf)
    text = (
        f"{who} could not follow a commit of {report.committer} in epoch {report.epoch}"
        f" ({report.code}) and has joined anew"
    )
    env.announce(tx, Event(EventKind.PROBLEM, record.channel, text))
