"""What a proposal or a commit does to a group, told to whoever decides about it.

An effect is computed from the public state alone, so a relay and the members
come to equal ones; `removed_self` is the members' own addition.
"""

from __future__ import annotations

from liaison.mls.extensions import Extension
from liaison.mls.framing import Sender
from liaison.mls.leaf import LeafNode
from liaison.mls.proposals import PreSharedKeyID, Proposal, ReInit
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class QueuedProposal:
    """A proposal and where it came from.

    Args:
        ref: what commits name it by; empty for one inside the commit itself.
        authenticated_data: of the message that brought it (for one inside a commit: the
            commit's); a relay's reasons for a removal are in here.
    """

    proposal: Proposal
    sender: Sender
    ref: bytes = b""
    authenticated_data: bytes = b""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an epoch."""

    leaf: int
    leaf_node: LeafNode


@dataclass(frozen=True, slots=True)
class Added:
    """A member that a commit adds."""

    leaf: int
    leaf_node: LeafNode
    key_package_ref: bytes
    by: Sender


@dataclass(frozen=True, slots=True)
class Removed:
    """A member that a commit removes, and who proposed it."""

    leaf: int
    leaf_node: LeafNode
    by: Sender
    authenticated_data: bytes


@dataclass(frozen=True, slots=True)
class Updated:
    """A member whose leaf a commit replaces."""

    leaf: int
    before: LeafNode
    after: LeafNode


@dataclass(frozen=True, slots=True)
class CommitEffect:
    """What changes from one epoch to the next.

    Args:
        epoch: the new epoch.
        committer: the leaf of whoever made the commit, in the new epoch.
        external: whether the committer joins by this commit.
        updated: also the committer's own leaf where the commit has a path.
        joined: leaf of an external joiner.
        extensions_before: of the group context.
        extensions_after: likewise; equal to the former if nothing changed.
        reinit: set if this commit ends the group.
        removed_self: whether the state that processed it is no longer a member.
    """

    epoch: int
    committer: int
    external: bool
    added: tuple[Added, ...]
    removed: tuple[Removed, ...]
    updated: tuple[Updated, ...]
    joined: int | None
    extensions_before: tuple[Extension, ...]
    extensions_after: tuple[Extension, ...]
    psks: tuple[PreSharedKeyID, ...]
    reinit: ReInit | None
    proposals: tuple[QueuedProposal, ...]
    removed_self: bool = False
