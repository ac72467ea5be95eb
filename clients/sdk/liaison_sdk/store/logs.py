"""How far each agreement's log was verified.

Under the seal, so that nobody can put an older state in its place. What the logs show has tables of
its own: of channels `stays` and `pending`, of members `credentials`, of own messages `proofs`; and
`alarms` has what was wrong.
"""

from __future__ import annotations

from typing import Any

from liaison.envelope import cbor
from liaison.values import dataclass
from liaison_sdk.store.base import Transaction


@dataclass(frozen=True, slots=True)
class LogRecord:
    """How far an agreement's log was verified.

    Args:
        agreement: whose log.
        note: the last verified checkpoint; empty before the first.
        size: its number of entries.
        witnesses: who had cosigned it.
        newest: the size that the relay gave the log then.
        asked_at: when the relay last answered, Unix seconds.
        advanced_at: when the checkpoint last moved on, Unix seconds.
        problem: why nothing could be verified the last time; empty where all was well.
        cosigned_at: when a witness of the own party, or of any where it has none, cosigned last
            what was shown here, Unix seconds; 0 before the first.
    """

    agreement: str
    note: bytes = b""
    size: int = 0
    witnesses: tuple[str, ...] = ()
    newest: int = 0
    asked_at: int = 0
    advanced_at: int = 0
    problem: str = ""
    cosigned_at: int = 0


def load(tx: Transaction, agreement: str) -> LogRecord:
    """Return how far a log was verified; a new record where it never was."""
    row = tx.one("SELECT body FROM logs WHERE agreement = ?", (agreement,))
    if row is None:
        return LogRecord(agreement)
    item: Any = cbor.decode(tx.unseal(f"log {agreement}", row[0]))
    note, size, witnesses, newest, asked_at, advanced_at, problem, *cosigned_at = item
    return LogRecord(
        agreement,
        note,
        size,
        tuple(witnesses),
        newest,
        asked_at,
        advanced_at,
        problem,
        # Where an earlier program wrote it, the checkpoint counts as fresh as it moved.
        cosigned_at[0] if cosigned_at else advanced_at,
    )


def save(tx: Transaction, record: LogRecord) -> None:
    """Keep how far a log was verified."""
    item: list[Any] = [
        record.note,
        record.size,
        list(record.witnesses),
        record.newest,
        record.asked_at,
        record.advanced_at,
        record.problem,
        record.cosigned_at,
    ]
    tx.execute(
        "INSERT OR REPLACE INTO logs (agreement, body) VALUES (?, ?)",
        (record.agreement, tx.seal(f"log {record.agreement}", cbor.encode(item))),
    )
