"""The state of the logs for people: how far each is, who has cosigned, what is wrong.

Apart from `log_status`, because the command that a running relay answers needs nothing of its code.
"""

from __future__ import annotations

from typing import Any, Final

JSON = dict[str, Any]
_INDENT: Final = " " * 13
_UNPROVEN: Final = "log.witness_unproven"
_NOT_SHOWN: Final = (
    "says that it has seen more, or other, and shows no proof: compare its record with this"
)


def lines(found: list[JSON]) -> list[str]:
    """Write a status for people."""
    written = []
    for one in found:
        written.append(
            f"{state(one):13}{one['log']}  entries {one['entries']}  signed {one['signed']}"
            f"  cosigned {one['cosigned']}"
        )
        written += [f"{_INDENT}{line}" for line in _below(one)]
    return written


def successor(found: JSON) -> list[str]:
    """Write what an amendment says of the log that is to follow, as YAML."""
    return [
        "# for the amendment, below what its section log has:",
        "log:",
        f"  generation: {found['generation']}",
        "  predecessor:",
        f"    origin: {found['predecessor']['origin']}",
        f"    size: {found['predecessor']['size']}",
        f"    root: {found['predecessor']['root']}",
        f"# {found['log']} has this key, for its witnesses:",
        f"# {found['vkey']}",
    ]


def state(one: JSON) -> str:
    """Return the word for one log's state: `ok`, `waiting`, `unconfirmed`, `refused` or `ended`."""
    if one["ended"]:
        return "ended"
    if one["refused"]:
        return "refused"
    if one["confirmed"] is False:
        return "unconfirmed"
    return "waiting" if one["waiting_seconds"] else "ok"


def _below(one: JSON) -> list[str]:
    written = []
    if one["ended"]:
        return ["another log follows; what it has stays readable"]
    if one["waiting_seconds"]:
        written.append(f"the oldest that is not cosigned is {one['waiting_seconds']} s old")
    written.append(f"key {one['vkey']}")
    for each in one["witnesses"]:
        size = "not yet" if each["cosigned"] is None else f"cosigned {each['cosigned']}"
        problem = f"  {each['problem']}" if each["problem"] else ""
        written.append(f"witness {each['name']}  {size}{problem}")
    if one["refused"]:
        return written + [one["refused"][part] for part in ("message", "hint")]
    if one["confirmed"] is False:
        written.append("nothing is signed until a quorum says that it has seen no more than this")
    silent = [each["name"] for each in one["witnesses"] if each["problem"] == _UNPROVEN]
    return written + [f"{name} {_NOT_SHOWN}" for name in silent]
