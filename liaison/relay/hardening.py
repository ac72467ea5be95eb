"""Keeping the relay's memory to itself: no core dumps, no debugger of another process.

What it protects are the relay's own keys and session tokens; content and group
secrets are never in this process.
"""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4  # Source: prctl(2)


def forbid_core_dumps() -> None:
    """Let no crash write this process's memory to a file, nor an equal user read it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        # Not Linux: the limit above is all there is.
        return
    if prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
