"""What one can be woken about. Keys are the database's, the same on every node."""

from __future__ import annotations

from typing import Final

REVOCATIONS: Final = "revocations"
"""Something was revoked: check whether your session still holds."""


def channel(key: int) -> str:
    """Return the topic for new items in a channel."""
    return f"channel.{key}"


def device(key: int) -> str:
    """Return the topic for what concerns a device alone, such as being added to a channel."""
    return f"device.{key}"


def party(key: int) -> str:
    """Return the topic for what concerns all devices of a party, such as a changed agreement."""
    return f"party.{key}"


def key_of(topic: str) -> int:
    """Return the key that a channel's or device's topic names."""
    return int(topic.rpartition(".")[2])
