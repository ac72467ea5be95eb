"""Wake-ups between those who write and those who read; never the data itself.

A lost wake-up costs latency and nothing else: whoever is woken reads the
database, and whoever sleeps long looks by itself. `nats` is for relays of several
nodes, and loaded by them alone.
"""

from __future__ import annotations

from liaison.fanout.bus import Bus, Subscription
from liaison.fanout.local import LocalBus

__all__ = ["Bus", "LocalBus", "Subscription"]
