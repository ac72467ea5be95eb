"""What a log says, opened and checked as a reader with all openings would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from liaison.model import ChannelId
from liaison.storage import logs, logs_reading
from liaison.tlog import merkle
from liaison.tlog.disclosure import Sealed
from liaison.tlog.entries import Entry, pseudonym
from liaison.tlog.fields import EntryType
from liaison.tlog.sequencer import State
from tests.relay.services.harness import Relay


@dataclass(frozen=True)
class Told:
    """One entry, and what it says; None where the opening was erased."""

    index: int
    entry: Entry
    said: dict[str, Any] | None
    audience: frozenset[str] | None

    @property
    def type(self) -> EntryType:
        return self.entry.type

    def __getitem__(self, name: str) -> Any:
        assert self.said is not None
        return self.said[name]


async def read(relay: Relay, agreement: str | None) -> list[Told]:
    """Read a whole log; its state has exactly these entries, and each opening fits."""
    async with relay.database.read() as tx:
        row = await logs.find(tx, agreement)
        if row is None:
            return []
        found = await logs_reading.by_index(tx, row.key, 0, row.size)
    assert [one.at for one in found] == list(range(row.size))
    assert State.decode(row.state).tree.root == merkle.root_of(
        [merkle.hash_leaf(one.data) for one in found]
    )
    return [_told(one) for one in found]


def _told(row: logs_reading.EntryRow) -> Told:
    entry, said = Entry.decode(row.data), None
    assert entry.type == row.type
    if row.openings is not None:
        said = entry.open(Sealed.decode(entry.type, row.openings))
    codes = None if row.audience is None else frozenset(filter(None, row.audience.split(",")))
    return Told(row.at, entry, said, codes)


def of_channel(told: list[Told], origin: str, channel: ChannelId) -> list[Told]:
    """The entries of one channel."""
    name = pseudonym(origin, channel)
    return [one for one in told if one.entry.channel == name]


def of_type(told: list[Told], *types: EntryType) -> list[Told]:
    """The entries of some types."""
    return [one for one in told if one.type in types]
