"""What proves to anybody that an own message is in its agreement's log."""

from __future__ import annotations

from liaison.model import ChannelId
from liaison_sdk.store.base import Transaction


def save(tx: Transaction, channel: ChannelId, seq: int, proof: bytes) -> None:
    """Keep the proof that an own message is in the log; the first one stays."""
    tx.execute(
        "INSERT OR IGNORE INTO log_proofs (channel, seq, body) VALUES (?, ?, ?)",
        (channel.value, seq, tx.seal(f"log proof {channel} {seq}", proof)),
    )


def load(tx: Transaction, channel: ChannelId, seq: int) -> bytes | None:
    """Return the proof that an own message is in the log; None where it is not, or another is."""
    sql = (
        "SELECT p.body FROM log_proofs p JOIN messages m ON m.channel = p.channel AND m.seq = p.seq "
        "WHERE p.channel = ? AND p.seq = ? AND m.outgoing = 1 AND m.logged IS NOT NULL"
    )
    row = tx.one(sql, (channel.value, seq))
    return None if row is None else tx.unseal(f"log proof {channel} {seq}", row[0])
