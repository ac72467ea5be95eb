"""What the operator is told of the logs; `log_words` has it for people."""

from __future__ import annotations

from typing import Any

from liaison.relay.publishing import Publisher
from liaison.storage import logs, logs_reading
from liaison.storage.logs import LogRow

JSON = dict[str, Any]


async def status(publisher: Publisher) -> list[JSON]:
    """Return the state of all logs, the relay's own first.

    `witnesses` has what this process has heard of them since it started; a command that reads
    for a stopped relay knows of none.
    """
    async with publisher.database.read() as tx:
        rows = await logs.listing(tx)
        waiting = {
            row.key: await logs_reading.time_of(tx, row.key, row.cosigned_size) for row in rows
        }
    return [_one(publisher, row, waiting[row.key]) for row in rows]


def _one(publisher: Publisher, row: LogRow, oldest_ms: int | None) -> JSON:
    refused = publisher.recorder.refused.get(row.agreement)
    waits = None if oldest_ms is None else max(0, publisher.clock() - oldest_ms) // 1000
    return {
        "log": row.origin,
        "agreement": row.agreement,
        "vkey": str(publisher.vkey(row.origin)),
        "entries": row.size,
        "signed": row.published_size,
        "cosigned": row.cosigned_size,
        "waiting_seconds": waits,
        "refused": None
        if refused is None
        else {"code": refused.code, "message": refused.message, "hint": refused.hint},
        "witnesses": _witnesses(publisher, row),
    }


def _witnesses(publisher: Publisher, row: LogRow) -> list[JSON]:
    held = publisher.held(row.agreement)
    if held is None or held.key != row.key or held.cosigning is None:
        return []
    return [
        {
            "name": name,
            "url": publisher.urls.get(name),
            "cosigned": asked.size if asked.answered else None,
            "problem": asked.problem or None,
        }
        for name, asked in sorted(held.cosigning.witnesses.items())
    ]
