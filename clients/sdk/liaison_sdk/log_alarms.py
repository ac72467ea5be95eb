"""Alarms about the logs: what an honest relay does not do, kept with what it has sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from liaison.errors import LiaisonError
from liaison.model import ChannelId
from liaison_sdk.environment import Environment
from liaison_sdk.events import Event, EventKind
from liaison_sdk.store import Transaction, alarms, generations

Evidence: TypeAlias = Callable[[], bytes]
"""What the relay has sent, written down only where it is needed."""


def alarm(
    env: Environment,
    tx: Transaction,
    agreement_id: str,
    channel: ChannelId | None,
    error: LiaisonError,
    evidence: Evidence,
    *,
    code: str = "",
) -> bool:
    """Keep an alarm, and tell it once; return whether it is a new one."""
    ended = generations.load(tx, agreement_id).ended
    new = alarms.add(
        tx,
        agreement_id,
        channel,
        code or error.code,
        error.message,
        at=env.now,
        evidence=evidence,
        since=ended[-1].alarm if ended else 0,
    )
    if new:
        env.announce(tx, Event(EventKind.ALARM, channel, f"{agreement_id}: {error.message}"))
    return new
