"""What a program may want to know while a client is open; no content, no keys."""

from __future__ import annotations

from enum import StrEnum

from liaison.model import ChannelId
from liaison.values import dataclass


class EventKind(StrEnum):
    """What happened."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    CAUGHT_UP = "caught-up"
    CHANNEL = "channel"
    MEMBER = "member"
    PROPOSAL = "proposal"
    MESSAGE = "message"
    RECEIPT = "receipt"
    REFUSED = "refused"
    RESYNC = "resync"
    PROBLEM = "problem"
    UNLOGGED = "unlogged"
    """A message is not in the log, and should be by now."""
    ALARM = "alarm"
    """The log shows what an honest relay does not do; the evidence is kept."""


@dataclass(frozen=True, slots=True)
class Event:
    """One piece of news; `text` is for people."""

    kind: EventKind
    channel: ChannelId | None = None
    text: str = ""
