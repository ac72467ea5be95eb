"""What the agreements say about the messages that are shown: by when to answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from liaison.errors import LiaisonError
from liaison.values import dataclass

if TYPE_CHECKING:
    from liaison.model import ChannelId
    from liaison.policy.agreement import Agreement
    from liaison.policy.channel_policy import ChannelPolicy
    from liaison_sdk import Client, Message

_SECONDS: Final = 2.0
"""How long a message waits for what is only said beside it."""
_ANSWERED: Final = frozenset({"received", "accepted"})
_SAID: Final = frozenset({"received", "accepted"})
"""States of a receipt that others can see."""


@dataclass(frozen=True, slots=True)
class Remarks:
    """What stands beside a message.

    Args:
        acknowledge_by: when readers should have acknowledged it; None without such a rule.
        acknowledged: whether this device's endpoint has acknowledged it, and the relay has that.
        reply_by: when readers should have replied.
    """

    acknowledge_by: datetime | None = None
    acknowledged: bool = False
    reply_by: datetime | None = None


class Rulebook:
    """The agreements behind a client's channels, each looked up once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._agreements: dict[str, Agreement | None] = {}
        self._channels: dict[ChannelId, ChannelPolicy | None] = {}

    async def remarks(self, message: Message) -> Remarks:
        """Return what the agreement in force says about a message, where that is at hand."""
        policy = await self._policy(message.channel_id)
        times = None if policy is None else policy.answers.get(message.action)
        # Nobody can answer what was not shown to them.
        accepted = message.accepted_at if str(message.state) in _ANSWERED else None
        own = self._client.device.endpoint

        def by(seconds: int) -> datetime | None:
            return accepted + timedelta(seconds=seconds) if accepted and seconds else None

        return Remarks(
            acknowledge_by=None if times is None else by(times.acknowledge),
            acknowledged=any(
                r.sender.endpoint == own
                and str(r.status) == "acknowledged"
                and str(r.state) in _SAID
                for r in message.receipts
            ),
            reply_by=None if times is None else by(times.reply),
        )

    async def _policy(self, channel: ChannelId) -> ChannelPolicy | None:
        if channel not in self._channels:
            found = None
            try:
                place = await self._client.channel(channel)
                agreement = await self._agreement(place.agreement_id)
                if agreement is not None:
                    found = agreement.channel(place.policy)
            except LiaisonError:
                # A channel or a policy that is gone; its messages can be read all the same.
                found = None
            self._channels[channel] = found
        return self._channels[channel]

    async def _agreement(self, agreement_id: str) -> Agreement | None:
        import asyncio

        if agreement_id not in self._agreements:
            try:
                async with asyncio.timeout(_SECONDS):
                    self._agreements[agreement_id] = await self._client.agreement(agreement_id)
            except (LiaisonError, TimeoutError):
                # The relay has gone while it was asked: reading does not depend on it.
                self._agreements[agreement_id] = None
        return self._agreements[agreement_id]
