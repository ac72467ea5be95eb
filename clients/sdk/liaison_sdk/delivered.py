"""An item as those see it who judge it, and what they may find amiss.

The relay's word is taken for nothing but the order of items and the time of acceptance.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from liaison.policy.agreement import Agreement
from liaison.values import dataclass
from liaison.wire.frames import Deliver
from liaison_sdk.errors import ChannelRejectedError

_NONE: Final[Mapping[bytes, str]] = MappingProxyType({})
_CLOCK_BEHIND: Final = 86_400
"""Seconds by which this device's clock may be behind the relay's."""


class WrongItemError(ChannelRejectedError):
    """The relay delivered something under a name that is not its own."""

    code = "item.wrong_kind"


class NotYetError(Exception):
    """Something that the relay may have is needed to judge an item; nothing was written.

    Args:
        agreement: whose log has to be asked for certificates; None for documents.
        credentials: these, with their devices' names.
    """

    def __init__(
        self, agreement: Agreement | None = None, credentials: Mapping[bytes, str] = _NONE
    ) -> None:
        super().__init__()
        self.agreement = agreement
        self.credentials = credentials


@dataclass(frozen=True, slots=True)
class Delivered:
    """An item that is being worked off.

    Args:
        item: as it was delivered.
        digest: SHA-256 of its payload.
        at: the relay's time of acceptance, Unix seconds, which can't lie far in the future.
        is_looked_up: whether the parties' documents were fetched for this item.
    """

    item: Deliver
    digest: bytes
    at: int
    is_looked_up: bool

    @classmethod
    def of(cls, item: Deliver, digest: bytes, now: int, *, is_looked_up: bool) -> Delivered:
        """Return an item with a time that may be judged by.

        The own clock, `now`, may be behind, and what was in order then must not be taken for a
        breach: the message would be withheld, the channel given up.
        """
        return cls(item, digest, min(item.time_ms // 1000, now + _CLOCK_BEHIND), is_looked_up)

    def require_news(self) -> None:
        """Ask for the parties' documents, once, before something is held against anybody.

        Raises:
            NotYetError: they were not fetched for this item yet; nothing was written.
        """
        if not self.is_looked_up:
            raise NotYetError
