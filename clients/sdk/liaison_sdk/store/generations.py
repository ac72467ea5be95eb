"""Which log of an agreement is followed, and what was verified of those that the parties have given up.

Under the seal, as all that was verified of logs.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from liaison.envelope import cbor
from liaison.model import ChannelId
from liaison.values import dataclass
from liaison_sdk.store.base import Transaction


@dataclass(frozen=True, slots=True)
class EndedLog:
    """A log that the parties have given up for its successor.

    Args:
        generation: of the log.
        size: entries that were verified here.
        note: the last verified checkpoint; proofs that lead to it hold for good.
        kept: entries that the parties hold to.
        dropped: messages here that are logged beyond them.
        unlogged: messages here that were in no log then.
        alarm: number of the last alarm until then; 0 for none.
        at: when this device went over, Unix seconds.
    """

    generation: int
    size: int
    note: bytes
    kept: int
    dropped: int
    unlogged: int
    alarm: int
    at: int


@dataclass(frozen=True, slots=True)
class Generations:
    """The logs of one agreement.

    Args:
        agreement: whose.
        current: the generation that is followed.
        ended: those before it of which something was verified, oldest first.
    """

    agreement: str
    current: int = 1
    ended: tuple[EndedLog, ...] = ()


def load(tx: Transaction, agreement: str) -> Generations:
    """Return what is known; the first log where nothing was noted."""
    row = tx.one("SELECT body FROM log_generations WHERE agreement = ?", (agreement,))
    if row is None:
        return Generations(agreement)
    item: Any = cbor.decode(tx.unseal(f"log generations {agreement}", row[0]))
    current, ended = item
    return Generations(agreement, current, tuple(EndedLog(*one) for one in ended))


def save(tx: Transaction, record: Generations) -> None:
    """Keep it."""
    item: list[Any] = [record.current, [list(astuple(one)) for one in record.ended]]
    tx.execute(
        "INSERT OR REPLACE INTO log_generations (agreement, body) VALUES (?, ?)",
        (record.agreement, tx.seal(f"log generations {record.agreement}", cbor.encode(item))),
    )


def forget_old(tx: Transaction, agreement: str) -> None:
    """Forget how far the old log had been verified, and what it has shown of credentials."""
    for table in ("logs", "log_credentials"):
        tx.execute(f"DELETE FROM {table} WHERE agreement = ?", (agreement,))  # noqa: S608 - names of ours


def drop_pending(tx: Transaction, channel: ChannelId) -> None:
    """Forget what the old log has said of items that have not come."""
    tx.execute("DELETE FROM log_pending WHERE channel = ?", (channel.value,))


def drop_logged(tx: Transaction, channel: ChannelId, *, after: int, kept: int) -> int:
    """Note of messages that the part of the log in which they stand counts no more; return how many.

    Args:
        tx: the transaction.
        channel: which channel.
        after: only what stands behind this place of the channel.
        kept: entries of the log that count.
    """
    sql = "UPDATE messages SET logged = -1 - logged WHERE channel = ? AND seq > ? AND logged >= ?"
    return tx.execute(sql, (channel.value, after, kept))


def last_alarm(tx: Transaction) -> int:
    """Return the number of the last alarm; 0 for none."""
    row = tx.one("SELECT max(number) FROM log_alarms")
    return 0 if row is None or row[0] is None else int(row[0])
