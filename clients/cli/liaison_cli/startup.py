"""What makes a command answer and end at once: it starts, does one thing and is done.

All of it changes the whole process, so it is the program's to do and not the
library's.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from typing import Final

_GARBAGE: Final = 200_000
"""Objects made since the last collection before there is another one; Python's own is 700."""


def hasten() -> None:
    """Skip what Python and its libraries do while they load and end; first thing in `main`."""
    # What importing makes stays until the end: looking through it for garbage takes a tenth of a
    # command's time and finds none.
    gc.set_threshold(_GARBAGE)
    # Nor is there a use in taking the heap apart before the process ends, which takes a fifth of a
    # second: what has to be closed or written has been by then.
    atexit.register(gc.freeze)
    # pydantic would look through every installed distribution for plugins, and load them into a
    # process that holds keys.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"


def speak() -> None:
    """Let stdout print what its encoding lacks as an escape, as stderr does, and not fail over it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def load_network() -> None:
    """Import what talks to the relay; call it before the first use."""
    from liaison.wire import tls

    with tls.no_default_certificates():
        import aiohttp  # noqa: F401 - loaded for the SDK
