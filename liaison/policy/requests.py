"""What someone may ask of an agreement, and the answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from liaison.envelope.header import Header
from liaison.envelope.release import Part
from liaison.model import EndpointId
from liaison.policy.errors import PolicyRefusedError
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer: whether, by which rule, and why in a sentence."""

    allow: bool
    rule: str
    reason: str

    def require(self) -> None:
        """Raise unless allowed.

        Raises:
            PolicyRefusedError: it is not.
        """
        if not self.allow:
            raise PolicyRefusedError(self.reason, rule=self.rule)


@dataclass(frozen=True, slots=True)
class CreateChannel:
    """`actor` opens a channel under the policy named `channel`."""

    actor: EndpointId
    channel: str


@dataclass(frozen=True, slots=True)
class AddEndpoint:
    """`actor` adds a device of `added`.

    Args:
        present: the endpoint of every device in the group once it is added, one for each device.
    """

    actor: EndpointId
    channel: str
    added: EndpointId
    present: tuple[EndpointId, ...]


@dataclass(frozen=True, slots=True)
class RemoveEndpoint:
    """`actor` removes a device of `removed`.

    Args:
        justified: the caller has verified a reason that every member must act
            on, such as a revocation.
        unseen: the caller has verified that the device has not renewed its keys for
            longer than the policy bears.
    """

    actor: EndpointId
    channel: str
    removed: EndpointId
    justified: bool = False
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Released:
    """That an endpoint has signed a draft; its signature and certificate were verified."""

    part: Part
    endpoint: EndpointId


@dataclass(frozen=True, slots=True)
class SendMessage:
    """`actor` sends a message.

    Args:
        size: of the encrypted message in bytes.
        audience: the endpoints of all devices in the group: whoever can decrypt it.
        released: whose signatures the header carries.
    """

    actor: EndpointId
    channel: str
    header: Header
    size: int
    audience: Collection[EndpointId]
    released: tuple[Released, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """`reader` is shown a message; `now` is the reader's own clock."""

    reader: EndpointId
    channel: str
    header: Header


Request: TypeAlias = CreateChannel | AddEndpoint | RemoveEndpoint | SendMessage | ReadMessage


def allow(rule: str, reason: str) -> Decision:
    """Return a yes."""
    return Decision(allow=True, rule=rule, reason=reason)


def deny(rule: str, reason: str) -> Decision:
    """Return a no."""
    return Decision(allow=False, rule=rule, reason=reason)
