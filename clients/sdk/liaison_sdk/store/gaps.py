"""What the logs leave out of channels, and since when; under the seal, as what was followed is."""

from __future__ import annotations

from typing import Any

from liaison.envelope import cbor
from liaison.model import ChannelId
from liaison.values import dataclass
from liaison_sdk.store.base import Transaction


@dataclass(frozen=True, slots=True)
class GapRecord:
    """Something that the log has left out of a channel.

    Args:
        end: the last place that was shown behind it: what is before has to be shown as well.
        since: when it was noticed, Unix seconds.
    """

    end: int
    since: int


def load(tx: Transaction, channel: ChannelId) -> GapRecord | None:
    """Return what is left out of a channel; None where nothing is."""
    row = tx.one("SELECT body FROM log_gaps WHERE channel = ?", (channel.value,))
    if row is None:
        return None
    item: Any = cbor.decode(tx.unseal(_label(channel), row[0]))
    return GapRecord(*item)


def channels(tx: Transaction) -> list[ChannelId]:
    """Return the channels out of which something is left."""
    return [ChannelId(row[0]) for row in tx.all("SELECT channel FROM log_gaps")]


def save(tx: Transaction, channel: ChannelId, record: GapRecord) -> None:
    """Keep what is left out of a channel, in the place of what was before."""
    item: list[Any] = [record.end, record.since]
    tx.execute(
        "INSERT OR REPLACE INTO log_gaps (channel, body) VALUES (?, ?)",
        (channel.value, tx.seal(_label(channel), cbor.encode(item))),
    )


def drop(tx: Transaction, channel: ChannelId) -> None:
    """Forget what was left out of a channel; nothing is fine."""
    tx.execute("DELETE FROM log_gaps WHERE channel = ?", (channel.value,))


def _label(channel: ChannelId) -> str:
    return f"log gap {channel}"
