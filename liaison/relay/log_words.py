"""The state of the logs for people: how far each is, who has cosigned, what is wrong.

Apart from `log_status`, because the command that a running relay answers needs nothing of its code.
"""

from __future__ import annotations

from typing import Any

JSON = dict[str, Any]


def lines(found: list[JSON]) -> list[str]:
    """Write a status for people."""
    written = []
    for one in found:
        state = "refused" if one["refused"] else "waiting" if one["waiting_seconds"] else "ok"
        written.append(
            f"{state:9}{one['log']}  entries {one['entries']}  signed {one['signed']}"
            f"  cosigned {one['cosigned']}"
        )
        if one["waiting_seconds"]:
            written.append(
                f"         the oldest that is not cosigned is {one['waiting_seconds']} s old"
            )
        written.append(f"         key {one['vkey']}")
        for each in one["witnesses"]:
            size = "not yet" if each["cosigned"] is None else f"cosigned {each['cosigned']}"
            problem = f"  {each['problem']}" if each["problem"] else ""
            written.append(f"         witness {each['name']}  {size}{problem}")
        if one["refused"]:
            written += [f"         {one['refused'][part]}" for part in ("message", "hint")]
    return written
