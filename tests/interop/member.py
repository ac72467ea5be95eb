"""What every engine in these tests can do, ours and the foreign ones.

A member stands for one client in one group. Everything that passes between
members is bytes: encoded MLSMessages, and a ratchet tree where it travels beside
the Welcome. A member takes its own commits and proposals into effect at once, as
if the relay had accepted them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class UnreachableError(Exception):
    """The foreign package has no function for this."""


@dataclass(frozen=True)
class Committed:
    """What a committer sends.

    Args:
        commit: to the members.
        welcome: to those added, if any.
        ratchet_tree: of the new epoch, for a Welcome that does not carry it.
    """

    commit: bytes
    welcome: bytes | None = None
    ratchet_tree: bytes | None = None


class Member(Protocol):
    """A client with one credential that can be in one group."""

    @property
    def name(self) -> bytes:
        """The identity in its basic credential; unlike any other member's."""
        ...

    def key_package(self) -> bytes:
        """Make a fresh key package."""
        ...

    def create(self, group_id: bytes) -> None:
        """Begin a group of one."""
        ...

    def join(self, welcome: bytes, ratchet_tree: bytes | None = None) -> None:
        """Enter by a Welcome that was made for one of the own key packages."""
        ...

    def add(self, *key_packages: bytes) -> Committed:
        """Commit Adds by value."""
        ...

    def remove(self, name: bytes) -> Committed:
        """Commit a Remove by value."""
        ...

    def commit(self) -> Committed:
        """Commit what was proposed, or nothing, with a path."""
        ...

    def propose_add(self, key_package: bytes) -> bytes:
        """Propose an Add."""
        ...

    def propose_remove(self, name: bytes) -> bytes:
        """Propose a Remove."""
        ...

    def receive(self, message: bytes) -> bytes | None:
        """Process a message; give the plaintext of an application message."""
        ...

    def encrypt(self, plaintext: bytes) -> bytes:
        """Encrypt an application message."""
        ...

    def export(self, label: str, context: bytes, length: int) -> bytes:
        """Derive a secret of the epoch."""
        ...


def deliver(message: bytes, *members: Member) -> None:
    """Give a handshake message to each of the members."""
    for member in members:
        assert member.receive(message) is None


def admit(committer: Member, newcomer: Member, *others: Member) -> None:
    """Let one member add another by value, and all of them follow."""
    made = committer.add(newcomer.key_package())
    assert made.welcome is not None
    deliver(made.commit, *others)
    newcomer.join(made.welcome, made.ratchet_tree)


def found(group_id: bytes, creator: Member, *joiners: Member) -> None:
    """Make a group; each joiner is added by whoever came before it."""
    creator.create(group_id)
    members: list[Member] = [creator]
    for joiner in joiners:
        *others, committer = members
        admit(committer, joiner, *others)
        members.append(joiner)


def converse(*members: Member) -> None:
    """Check that each member's message reaches all the others."""
    for sender in members:
        plaintext = b"said by " + sender.name
        message = sender.encrypt(plaintext)
        for reader in members:
            if reader is not sender:
                assert reader.receive(message) == plaintext


def agree(*members: Member) -> None:
    """Check that all members derive the same secret, or can at least read each other."""
    secrets = set()
    for member in members:
        try:
            secrets.add(member.export("interop", b"the same", 48))
        except UnreachableError:
            converse(*members)
    assert len(secrets) <= 1
