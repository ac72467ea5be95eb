"""How the logs are: all of it for the operator, and for anybody whether the relay can serve.

`log_words` has the operator's part for people.
"""

from __future__ import annotations

from typing import Any, Final

from liaison.relay.errors import LogRefusedError
from liaison.relay.publishing import Publisher
from liaison.storage import logs, logs_reading
from liaison.storage.logs import LogRow

JSON = dict[str, Any]
UNCONFIRMED: Final = "log.unconfirmed"
"""No quorum has said yet that it has seen no more of a log than is here: nothing of it is signed."""
_HINT: Final = "`liaison-relay log status` says what was found; see docs/operating/log.md"


def check(publisher: Publisher) -> None:
    """Check that some log takes entries, so that the relay is of use to somebody.

    The words name no partnership: whoever reaches the relay may read them.

    Raises:
        LogRefusedError: the relay's own is refused, so that the database is an old copy or
            another's; or all others are.
    """
    refused = publisher.recorder.refused
    if None in refused:
        raise LogRefusedError("the relay's own log is refused", hint=_HINT)
    if publisher.agreements and publisher.agreements <= refused.keys():
        raise LogRefusedError("the logs of all partnerships are refused", hint=_HINT)


def problems(publisher: Publisher) -> list[str]:
    """Return codes of what is wrong with some partnership's log, without naming it."""
    found, refused = set(), publisher.recorder.refused
    # All at once: anybody may ask, and to look for each would take the square of their number.
    for agreement, held in publisher.newest().items():
        if agreement is None:
            continue
        if agreement in refused:
            found.add(LogRefusedError.code)
        elif held.is_unconfirmed:
            found.add(UNCONFIRMED)
    return sorted(found)


async def status(publisher: Publisher) -> list[JSON]:
    """Return the state of all logs, the relay's own first.

    `confirmed` and `witnesses` have what this process has heard of them since it started; a command
    that reads for a stopped relay knows of none.
    """
    async with publisher.database.read() as tx:
        rows = await logs.listing(tx)
        newest = {row.agreement: row.key for row in rows}
        waiting = {
            key: await logs_reading.time_of(tx, key, row.cosigned_size)
            for row in rows
            if (key := row.key) == newest[row.agreement]
        }
    return [_one(publisher, row, row.key in waiting, waiting.get(row.key)) for row in rows]


def _one(publisher: Publisher, row: LogRow, goes_on: bool, oldest_ms: int | None) -> JSON:  # noqa: FBT001 - a fact of the row
    refused = publisher.recorder.refused.get(row.agreement) if goes_on else None
    waits = None if oldest_ms is None else max(0, publisher.clock() - oldest_ms) // 1000
    return {
        "log": row.origin,
        "agreement": row.agreement,
        "generation": row.generation,
        "ended": not goes_on,
        "vkey": str(publisher.vkey(row.origin)),
        "entries": row.size,
        "signed": row.published_size,
        "cosigned": row.cosigned_size,
        "waiting_seconds": waits,
        "confirmed": _confirmed(publisher, row),
        "refused": None
        if refused is None
        else {"code": refused.code, "message": refused.message, "hint": refused.hint},
        "witnesses": _witnesses(publisher, row),
    }


def _confirmed(publisher: Publisher, row: LogRow) -> bool | None:
    """Whether what was signed last is the last that a quorum saw; None where nobody was asked."""
    held = publisher.held(row.agreement)
    if held is None or held.key != row.key or held.cosigning is None:
        return None
    return held.may_sign


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
