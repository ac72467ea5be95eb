"""Which bus a relay uses: its own process's, or NATS where it is one of several nodes."""

from __future__ import annotations

from ssl import SSLContext

from liaison.fanout import Bus, LocalBus
from liaison.relay import log


def of(servers: tuple[str, ...], origin: str, context: SSLContext | None) -> Bus:
    """Return the bus of a node; it connects when it is started.

    Args:
        servers: NATS servers; none where this process is the whole relay.
        origin: of the relay.
        context: whom to trust as a server; None for the system's authorities.
    """
    if not servers:
        return LocalBus()
    from liaison.fanout.nats import NatsBus, subject_of  # noqa: PLC0415 - for several nodes alone

    def report(event: str, why: str) -> None:
        # A line's name is constant: it is what lines are searched and counted by.
        if event == "bus_connected":
            log.logger().info("bus_connected")
        elif event == "bus_lost":
            log.logger().warning("bus_lost", error=why)
        else:
            log.logger().warning("bus_unreadable")

    return NatsBus(servers, subject_of(origin), context, report)
