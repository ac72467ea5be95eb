"""rine-mls in its classical suite as a member.

Reached: key packages, create, join, commits with paths, adds and removes by
value, others' proposals by reference, application messages, external commits and
resync. Not reached: exporters and epoch authenticators, proposals of its own by
reference, commits without an Add or Remove of its own, authenticated data, PSKs.
It names a client by its signature key, and carries the tree in the Welcome and
the GroupInfo. Its post-quantum suite has a code point of its own.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import rine_mls

from tests.interop.member import Committed, UnreachableError

SUITE = rine_mls.CIPHER_SUITE_CLASSICAL
TAG = bytes([rine_mls.APP_MESSAGE_TAG])
"""Stands before its application messages, in front of the MLSMessage."""


class Rine:
    """A client of rine-mls; it keeps its key packages in a folder."""

    def __init__(self, folder: Path) -> None:
        self._client = rine_mls.MlsClient(str(folder), os.urandom(32), SUITE)
        self.name = self._client.public_key()
        self._group: rine_mls.MlsGroup | None = None

    @property
    def group(self) -> rine_mls.MlsGroup:
        """The package's group."""
        assert self._group is not None
        return self._group

    def key_package(self) -> bytes:
        return self._client.generate_key_package()

    def create(self, group_id: bytes) -> None:
        self._group = self._client.create_group(group_id)

    def join(self, welcome: bytes, ratchet_tree: bytes | None = None) -> None:
        if ratchet_tree is not None:
            raise UnreachableError("rine-mls takes the tree from the Welcome only")
        self._group = self._client.join_from_welcome(welcome)

    @staticmethod
    def _sent(made: rine_mls.CommitBundle) -> Committed:
        return Committed(made.commit, made.welcomes[0] if made.welcomes else None)

    def add(self, *key_packages: bytes) -> Committed:
        return self._sent(self.group.add_members(list(key_packages)))

    def remove(self, name: bytes) -> Committed:
        return self._sent(self.group.remove_member(self.group.member_index(name)))

    def commit(self) -> Committed:
        raise UnreachableError("rine-mls commits only adds and removes of its own")

    def propose_add(self, key_package: bytes) -> bytes:
        raise UnreachableError("rine-mls has no proposals")

    def propose_remove(self, name: bytes) -> bytes:
        raise UnreachableError("rine-mls has no proposals")

    def receive(self, message: bytes) -> bytes | None:
        if message[2:4] == b"\x00\x02":  # wire format: PrivateMessage
            return self.group.decrypt_application_message(TAG + message).envelope
        # It keeps a proposal, and then complains that it was no commit.
        with contextlib.suppress(rine_mls.UnexpectedMessageError):
            self.group.apply_commit(message)
        return None

    def encrypt(self, plaintext: bytes) -> bytes:
        return self.group.encrypt_application_message(plaintext).removeprefix(TAG)

    def export(self, label: str, context: bytes, length: int) -> bytes:
        raise UnreachableError("rine-mls exports nothing")

    def group_info(self) -> bytes:
        """Make a GroupInfo, tree included, for joining from outside."""
        return self.group.group_info()

    def join_externally(self, group_info: bytes) -> bytes:
        """Enter by an external commit; give it."""
        self._group = self._client.join_by_external_commit(group_info)
        return self._last_commit()

    def resync(self, group_info: bytes, stale_leaf: int) -> bytes:
        """Enter by an external commit that removes the own old leaf; give it."""
        self._group = self._client.resync_by_external_commit(group_info, stale_leaf)
        return self._last_commit()

    def _last_commit(self) -> bytes:
        made = self.group.last_commit()
        assert made is not None
        return made.commit
