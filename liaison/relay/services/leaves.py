"""The leaves of a public group: which device each is, by its certificate."""

from __future__ import annotations

from liaison.mls.leaf import LeafNode
from liaison.mls.public_group import PublicGroup
from liaison.model import DeviceId, EndpointId
from liaison.trust import certified_leaf
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf, whose it is, and the serial of its certificate."""

    leaf: int
    device: DeviceId
    serial: str

    @classmethod
    def of(cls, leaf: int, node: LeafNode) -> Leaf:
        """Read it from the tree."""
        certificate = certified_leaf(node.credential)
        return cls(leaf, certificate.device, certificate.serial)


def endpoints_of(group: PublicGroup) -> tuple[EndpointId, ...]:
    """Return the endpoint of every leaf."""
    return tuple(Leaf.of(m.leaf, m.leaf_node).device.endpoint for m in group.members())


def device_at(group: PublicGroup, leaf: int) -> DeviceId:
    """Return the device at a leaf."""
    return certified_leaf(group.member(leaf).leaf_node.credential).device
