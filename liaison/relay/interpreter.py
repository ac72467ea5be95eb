"""How the interpreter is set for a process that serves for long."""

from __future__ import annotations

import gc
import sys
from typing import Final

THRESHOLDS: Final = (20_000, 20, 50)
"""How much is made before the collector looks.

What a group of messages makes lives until its commit and goes then; with the usual 700 the collector
looks through it several times before, in vain.
"""
SWITCH: Final = 0.0003
"""Seconds for which one thread keeps the interpreter while another wants it.

The database and the log wait for the disk in threads: with the usual 5 ms, each return from the disk
waits for a busy loop, a dozen times for one checkpoint.
"""


def settle() -> None:
    """Call it once everything is set up, before anything is served."""
    # What is there now stays: it is never looked through for garbage.
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()
    sys.setswitchinterval(SWITCH)
