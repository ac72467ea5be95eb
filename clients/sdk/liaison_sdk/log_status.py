"""What is known of the agreements' logs, for people and programs to look at."""

from __future__ import annotations

from dataclasses import field
from datetime import UTC, datetime
from typing import Final

from liaison.model import ChannelId
from liaison.policy.agreement import Agreement
from liaison.tlog.errors import ForkError, ShrunkError
from liaison.trust import log as trusted
from liaison.values import dataclass
from liaison_sdk import log_asking, log_checks, log_stays
from liaison_sdk.environment import Environment
from liaison_sdk.store import (
    Transaction,
    alarms,
    credentials,
    generations,
    logs,
    messages,
    stays,
    walks,
)
from liaison_sdk.store.channels import ChannelRecord
from liaison_sdk.store.generations import EndedLog

_DAY: Final = 86_400
_OF_THE_LOG: Final = frozenset({ShrunkError.code, ForkError.code})


@dataclass(frozen=True, slots=True)
class ChannelLog:
    """One channel in the log of its agreement.

    Args:
        channel, name: which one.
        epoch: of its group.
        confirmed: whether the log has shown the commit that began that epoch.
        overdue: whether it should have by now, and has not.
        followed: the last place of the channel that was followed in the log.
        unlogged: accepted messages that are not proven to be in the log.
        late: those of them that should be by now.
    """

    channel: ChannelId
    name: str
    epoch: int
    confirmed: bool
    overdue: bool
    followed: int
    unlogged: int
    late: int


@dataclass(frozen=True, slots=True)
class UnloggedDevice:
    """A device whose certificate is not proven to be in the log.

    Args:
        device: its name.
        missing: whether the log is known not to have it; otherwise it could not say yet.
        since: when it was first asked for.
    """

    device: str
    missing: bool
    since: datetime


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that an honest relay does not do.

    Args:
        number: names it here.
        channel: None where it concerns the whole log.
        code: stable.
        text: for people.
        at: when it was noticed.
        evidence: what the relay had sent, JSON.
        past: whether it is about a log that the parties have given up since.
    """

    number: int
    channel: ChannelId | None
    code: str
    text: str
    at: datetime
    evidence: bytes = field(repr=False)
    past: bool = False


@dataclass(frozen=True, slots=True)
class LogStatus:
    """How far the log of an agreement was verified.

    Args:
        agreement_id: whose log.
        origin: its name.
        size: entries under the last checkpoint that was verified; 0 before the first.
        newest: entries that the relay says there are.
        witnesses: who had cosigned that checkpoint.
        needed: the witnesses that the agreement names.
        asked_at, advanced_at: when the relay last answered, and when the checkpoint last moved on.
        problem: why nothing could be verified the last time; empty where all was well.
        cosigned_at: when a witness of the own party, or of any where it has none, cosigned last
            what was shown here; None where none ever did.
        old: what is wrong where the relay, though it answers, shows only what witnesses cosigned
            long ago: it may show others more. Empty where it does not.
        read: the entries that were read one by one, to see that no channel stands there twice:
            the first, and one past the last.
        unread: why they could not be read on the last time; empty where they could.
        channels: that this device is or was in.
        unlogged: devices in them that are not known to be in the log.
        alarms: oldest first.
        ended: the logs before it, that the parties have given up; what was verified of them.
    """

    agreement_id: str
    origin: str
    size: int
    newest: int
    witnesses: tuple[str, ...]
    needed: tuple[str, ...]
    asked_at: datetime | None
    advanced_at: datetime | None
    problem: str
    cosigned_at: datetime | None
    old: str
    read: tuple[int, int]
    unread: str
    channels: tuple[ChannelLog, ...]
    unlogged: tuple[UnloggedDevice, ...]
    alarms: tuple[Alarm, ...]
    ended: tuple[EndedLog, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is missing that should be there, and nothing is wrong."""
        late = any(channel.late or channel.overdue for channel in self.channels)
        missing = any(device.missing for device in self.unlogged)
        wrong = any(not alarm.past for alarm in self.alarms)
        return bool(self.size) and not (wrong or self.old or self.unread or late or missing)


def status(env: Environment, tx: Transaction) -> list[LogStatus]:
    """Return what is known of each log, by the agreements' ids."""
    found = []
    raised = alarms.load_all(tx)
    for agreement in log_asking.agreements(env, tx):
        name = agreement.agreement_id
        known, ended = logs.load(tx, name), generations.load(tx, name).ended
        walked = walks.load(tx, name)
        old = log_checks.is_old(agreement, known.cosigned_at, known.asked_at)
        if log_asking.has_left(env, tx, agreement):
            # To who has left the relay shows the log that there was until then.
            old = False
        records = log_asking.followed_channels(tx, name)
        found.append(
            LogStatus(
                agreement_id=name,
                origin=trusted.origin(agreement),
                size=known.size,
                newest=known.newest,
                witnesses=known.witnesses,
                needed=tuple(witness.name for witness in agreement.witnesses),
                asked_at=_time(known.asked_at),
                advanced_at=_time(known.advanced_at),
                problem=known.problem,
                cosigned_at=_time(known.cosigned_at),
                old=log_checks.old_text(known.cosigned_at) if old else "",
                read=(0, 0) if walked is None else (walked.start, walked.size),
                unread="" if walked is None else walked.problem,
                channels=tuple(_channel(env, tx, agreement, record) for record in records),
                unlogged=tuple(
                    UnloggedDevice(
                        one.name,
                        one.state is credentials.CredentialState.MISSING,
                        datetime.fromtimestamp(one.since, UTC),
                    )
                    for one in credentials.unlogged(tx, name)
                ),
                alarms=tuple(_alarm(one, ended) for one in raised if one.agreement == name),
                ended=ended,
            )
        )
    return found


def _channel(
    env: Environment, tx: Transaction, agreement: Agreement, record: ChannelRecord
) -> ChannelLog:
    known = stays.load(tx, record.channel)
    followed = 0 if known is None else max(0, known.next_seq - 1)
    unlogged, late = messages.count_unlogged(tx, record.channel, log_stays.before(tx, record))
    confirmed = stays.is_confirmed(tx, record.channel, record.epoch)
    # The relay tells when an epoch began: a time that is still to come is none.
    age = env.now - record.epoch_at
    is_overdue = not -_DAY < age < agreement.log.report_after
    return ChannelLog(
        channel=record.channel,
        name=record.name,
        epoch=record.epoch,
        confirmed=confirmed,
        overdue=is_overdue and not confirmed,
        followed=followed,
        unlogged=unlogged,
        late=late,
    )


def _alarm(record: alarms.AlarmRecord, ended: tuple[EndedLog, ...]) -> Alarm:
    at = datetime.fromtimestamp(record.at, UTC)
    # That it had shrunk, or was another one, is why it was given up. What a channel was shown
    # twice stays.
    past = bool(ended) and record.number <= ended[-1].alarm and record.code in _OF_THE_LOG
    return Alarm(record.number, record.channel, record.code, record.text, at, record.evidence, past)


def _time(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
