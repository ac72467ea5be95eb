"""How many files the process may have open: every connection is one.

Of the two limits that a system sets, the soft one holds, and whoever wants more may raise it up to the
hard one. A shell mostly sets 1024 softly and much more hard, so a relay raises it before it serves.
"""

from __future__ import annotations

import resource
from typing import Final

from liaison.relay import log

BESIDE: Final = 500
"""Files that are not connections: the database's, the logs', listeners, those whom the relay calls itself."""
MOST: Final = 1 << 20
"""What is asked for where a system allows more, or any number: without being told so, Linux gives no process more."""


def needed(max_connections: int) -> int:
    """Return how many files a relay may want to have open."""
    return max_connections + BESIDE


def allowed() -> int:
    """Return how many this process may have open now."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def allowed_at_most() -> int:
    """Return how many it may have open once it has raised its limit."""
    soft, hard = map(_number, resource.getrlimit(resource.RLIMIT_NOFILE))
    return max(soft, min(hard, MOST))


def allow(max_connections: int) -> int:
    """Let this process have as many files open as the system lets it; return how many.

    Where that is not enough for the connections that are set, or can't be had, the log says so: a
    relay for fewer is better than none.
    """
    most = allowed_at_most()
    if most > allowed():
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (OSError, ValueError) as error:
            most = allowed()
            log.logger().warning("open_files_not_raised", count=most, **log.failure(error))
    if most < needed(max_connections):
        log.logger().warning("open_files_few", count=most)
    return most


def _number(limit: int) -> int:
    return MOST if limit == resource.RLIM_INFINITY else limit
