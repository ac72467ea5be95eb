"""How far the agreements' logs were read entry by entry; under the seal, as checkpoints are."""

from __future__ import annotations

from typing import Any

from liaison.envelope import cbor
from liaison.values import dataclass
from liaison_sdk.store.base import Transaction


@dataclass(frozen=True, slots=True)
class WalkRecord:
    """How far a log was read.

    Args:
        agreement: whose log.
        origin: the log's name.
        start: the first entry that is read.
        size: one past the last that was; 0 before the first.
        hashes: the compact range over the log up to there.
        channels: how far each channel was followed, by its pseudonym: the number that comes next,
            and the epoch; -1 as the number of one that stands in the log twice.
        at: when all that was to be read had been, Unix seconds.
        problem: why no more could be read the last time; empty where it could.
    """

    agreement: str
    origin: str
    start: int = 0
    size: int = 0
    hashes: tuple[bytes, ...] = ()
    channels: tuple[tuple[bytes, int, int], ...] = ()
    at: int = 0
    problem: str = ""


def load(tx: Transaction, agreement: str) -> WalkRecord | None:
    """Return how far a log was read; None where it never was."""
    row = tx.one("SELECT body FROM log_walks WHERE agreement = ?", (agreement,))
    if row is None:
        return None
    item: Any = cbor.decode(tx.unseal(_label(agreement), row[0]))
    origin, start, size, hashes, channels, at, problem = item
    followed = tuple((name, seq, epoch) for name, seq, epoch in channels)
    return WalkRecord(agreement, origin, start, size, tuple(hashes), followed, at, problem)


def save(tx: Transaction, record: WalkRecord) -> None:
    """Keep how far a log was read."""
    item: list[Any] = [
        record.origin,
        record.start,
        record.size,
        list(record.hashes),
        [list(one) for one in record.channels],
        record.at,
        record.problem,
    ]
    tx.execute(
        "INSERT OR REPLACE INTO log_walks (agreement, body) VALUES (?, ?)",
        (record.agreement, tx.seal(_label(record.agreement), cbor.encode(item))),
    )


def _label(agreement: str) -> str:
    return f"log walk {agreement}"
