"""Whose devices an auditor is told by name: its own party's, and those that shared a channel with them.

Every party of an agreement may open the certificates of every other, because members check the
credentials that they meet. An export for auditors is read by people who meet nobody: of a device
that was never in one of their party's channels it says whose it is and what happened, and not its
name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from liaison.storage import logs_reading
from liaison.storage.engine import Database
from liaison.storage.logs_reading import EntryRow
from liaison.tlog.disclosure import Disclosure, Sealed
from liaison.tlog.fields import EntryType

_CERTIFIED: Final = frozenset({"known", "certificate", "revoked"})
"""Acts whose subject is a device, told to every party."""
_SHOWN: Final = ("party", "act", "digest")
_AT_ONCE: Final = 1024


async def met(database: Database, logs: Sequence[int], party: str) -> frozenset[str]:
    """Return the names of all devices that ever came into a channel of a party.

    Args:
        database: read only.
        logs: keys of the agreement's logs: channels go on in a log's successor.
        party: code of the party.
    """
    found = set()
    for log in logs:
        first = 0
        while True:
            async with database.read() as tx:
                rows = await logs_reading.by_type(
                    tx,
                    log,
                    [EntryType.MEMBER.value],
                    first=first,
                    below=2**63 - 1,
                    party=party,
                    limit=_AT_ONCE,
                )
            found |= {_values(row).get("device") for row in rows if row.openings is not None}
            if len(rows) < _AT_ONCE:
                break
            first = rows[-1].at + 1
    return frozenset(name for name in found if isinstance(name, str))


def shown(row: EntryRow, party: str, known: Collection[str]) -> bytes | Disclosure | None:
    """Return what is shown of an entry that a party may open.

    Args:
        row: of the entry.
        party: code of the party.
        known: names of the devices that it has met.
    """
    if row.type != EntryType.KEY.value or row.audience is not None or row.openings is None:
        return row.openings
    values = _values(row)
    foreign = values.get("act") in _CERTIFIED and values.get("party") != party
    if not foreign or values.get("subject") in known:
        return row.openings
    return Sealed.decode(EntryType.KEY, row.openings).disclose(EntryType.KEY, _SHOWN)


def _values(row: EntryRow) -> dict[str, object]:
    return dict(Sealed.decode(EntryType(row.type), row.openings or b"").values)
