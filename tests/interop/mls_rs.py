"""mls-rs, through the bindings `agentvault-mls-rs-uniffi`, as a member.

Reached: key packages, create, join, commits with paths, adds and removes by value
and by reference, application messages, the exporter, the tree inside or beside
the Welcome. Not reached: proposing an update, external commits, authenticated
data, the epoch authenticator, extensions, PSKs, any suite but 1, and names: a
member to be removed is the one that was heard last.
"""

from __future__ import annotations

import mls_rs_uniffi as mls

from tests.interop.member import Committed

SUITE = 0x0001


def _tree(encoded: bytes | None) -> mls.RatchetTree | None:
    return None if encoded is None else mls.RatchetTree(bytes=encoded)


class MLSRs:
    """A client of mls-rs, in suite 1."""

    def __init__(self, name: bytes, *, tree_in_welcome: bool = False) -> None:
        self.name = name
        config = mls.client_config_default()
        config.use_ratchet_tree_extension = tree_in_welcome
        keys = mls.generate_signature_keypair(mls.CipherSuite.CURVE25519_AES128)
        self._client = mls.Client(name, keys, config)
        self._group: mls.Group | None = None
        self._heard: mls.SigningIdentity | None = None

    @property
    def group(self) -> mls.Group:
        """The bindings' group."""
        assert self._group is not None
        return self._group

    def key_package(self) -> bytes:
        return bytes(self._client.generate_key_package_message().to_bytes())

    def create(self, group_id: bytes) -> None:
        self._group = self._client.create_group(group_id)

    def join(self, welcome: bytes, ratchet_tree: bytes | None = None) -> None:
        message = mls.Message.from_bytes(welcome)
        self._group = self._client.join_group(_tree(ratchet_tree), message).group

    def _applied(self, made: mls.CommitOutput) -> Committed:
        # A commit made here is pending until it comes back.
        self.group.process_incoming_message(made.commit_message)
        return Committed(
            made.commit_message.to_bytes(),
            made.welcome_message and made.welcome_message.to_bytes(),
            made.ratchet_tree and made.ratchet_tree.bytes,
        )

    def add(self, *key_packages: bytes) -> Committed:
        return self._applied(self.group.add_members([*map(mls.Message.from_bytes, key_packages)]))

    def remove(self, name: bytes) -> Committed:
        """Remove whom it heard last; the caller has seen to it that this is `name`."""
        return self._applied(self.group.remove_members([self._heard]))

    def commit(self) -> Committed:
        return self._applied(self.group.commit())

    def propose_add(self, key_package: bytes) -> bytes:
        packages = [mls.Message.from_bytes(key_package)]
        (message,) = self.group.propose_add_members(packages)
        return bytes(message.to_bytes())

    def propose_remove(self, name: bytes) -> bytes:
        """Propose to remove whom it heard last, see `remove`."""
        (message,) = self.group.propose_remove_members([self._heard])
        return bytes(message.to_bytes())

    def receive(self, message: bytes) -> bytes | None:
        done = self.group.process_incoming_message(mls.Message.from_bytes(message))
        if not done.is_application_message():
            return None
        self._heard = done.sender
        return bytes(done.data)

    def encrypt(self, plaintext: bytes) -> bytes:
        return bytes(self.group.encrypt_application_message(plaintext).to_bytes())

    def export(self, label: str, context: bytes, length: int) -> bytes:
        return bytes(self.group.export_secret(label.encode(), context, length))
