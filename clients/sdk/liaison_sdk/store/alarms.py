"""What an honest relay does not do, kept with its evidence.

Both are under the seal, so that nobody can make less of them. When an alarm is raised is for
`liaison_sdk.log_alarms`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from liaison.envelope import cbor
from liaison.model import ChannelId
from liaison.values import dataclass
from liaison_sdk.store.base import Row, Transaction

MAX_ALARMS: Final = 1000
"""Kept; later ones are not, the first tell enough."""
MAX_ALIKE: Final = 32
"""Of one kind about one channel: each has what the relay sent, which may be megabytes."""


@dataclass(frozen=True, slots=True)
class AlarmRecord:
    """Something that an honest relay does not do.

    Args:
        number: its place in this store.
        agreement: whose log.
        channel: None where it concerns the whole log.
        code: stable.
        text: for people.
        at: Unix seconds.
        evidence: what the relay has sent, and what contradicts it.
    """

    number: int
    agreement: str
    channel: ChannelId | None
    code: str
    text: str
    at: int
    evidence: bytes

    def __repr__(self) -> str:
        return f"<AlarmRecord {self.number} {self.code}>"


def add(
    tx: Transaction,
    agreement: str,
    channel: ChannelId | None,
    code: str,
    text: str,
    *,
    at: int,
    evidence: Callable[[], bytes],
    since: int = 0,
) -> bool:
    """Keep an alarm; return False where the same one stands here already, or too many do.

    Of a whole log one of each kind is kept: the first tells where it went wrong.

    Args:
        tx: the transaction.
        agreement, channel, code, text: what is wrong; without a channel, with the whole log.
        at: Unix seconds.
        evidence: gives it, where the alarm is kept.
        since: the last alarm about logs that were given up: what follows stands in another.
    """
    place = None if channel is None else channel.value
    sql = "SELECT count(*) FROM log_alarms WHERE agreement = ? AND channel IS ? AND code = ?"
    alike = tx.one(sql, (agreement, place, code))
    if alike is not None and alike[0] >= MAX_ALIKE:
        return False
    for known in load_all(tx):
        same = (known.agreement, known.channel, known.code) == (agreement, channel, code)
        if same and (known.number > since if channel is None else known.text == text):
            return False
    row = tx.one("SELECT count(*) FROM log_alarms")
    if row is not None and row[0] >= MAX_ALARMS:
        return False
    item: list[Any] = [text, evidence()]
    sealed = tx.seal(f"log alarm {agreement} {code}", cbor.encode(item))
    tx.execute(
        "INSERT INTO log_alarms (agreement, channel, code, at, body) VALUES (?, ?, ?, ?, ?)",
        (agreement, place, code, at, sealed),
    )
    return True


def load_all(tx: Transaction) -> list[AlarmRecord]:
    """Return all alarms, oldest first."""
    rows = tx.all(
        "SELECT number, agreement, channel, code, at, body FROM log_alarms ORDER BY number"
    )
    return [_record(tx, row) for row in rows]


def _record(tx: Transaction, row: Row) -> AlarmRecord:
    number, agreement, channel, code, at, body = row
    item: Any = cbor.decode(tx.unseal(f"log alarm {agreement} {code}", body))
    text, evidence = item
    where = None if channel is None else ChannelId(channel)
    return AlarmRecord(number, agreement, where, code, text, at, evidence)
