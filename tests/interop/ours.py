"""Our engine as a member."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from liaison.crypto import suites
from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SigningKey
from liaison.mls import commit, external, framing, group, proposals, snapshot, welcome
from liaison.mls.credentials import BasicValidator, Credential
from liaison.mls.extensions import EXTERNAL_PUB, RATCHET_TREE, Extension
from liaison.mls.group import Group, Processed
from liaison.mls.key_package import KeyPackage
from liaison.mls.key_packages import KeyPackageBundle, new_key_package
from liaison.mls.key_schedule import PskStore
from liaison.mls.leaf import Capabilities, Lifetime
from liaison.mls.proposals import Proposal
from tests.interop.member import Committed

MONTH = 30 * 86_400
YEAR = 366 * 86_400


class Ours:
    """A client of ours; foreign engines read the machine's clock, so it does too.

    Args:
        suite: code point.
        name: for the basic credential.
        extensions: private extension types that it claims to support.
        tree_in_welcome: whether its Welcomes carry the tree.
        restored: whether it goes through its snapshot after every step.
    """

    def __init__(
        self,
        suite: int,
        name: bytes,
        *,
        extensions: Iterable[int] = (),
        tree_in_welcome: bool = False,
        restored: bool = False,
    ) -> None:
        self.name = name
        self.suite = suites.suite(suite)
        self.signer = SigningKey.generate(self.suite.signature)
        self.credential = Credential.basic(name)
        self.capabilities = Capabilities.default(extensions=tuple(extensions))
        self.allow_a_year(allowed=True)
        self.psks = PskStore()
        self.bundles: list[KeyPackageBundle] = []
        self._tree_in_welcome = tree_in_welcome
        self._restored = restored
        self._group: group.Group | None = None

    def allow_a_year(self, *, allowed: bool) -> None:
        """Take key packages that live for a year, as mls-rs makes them, or not."""
        self.validator = BasicValidator(max_lifetime=YEAR) if allowed else BasicValidator()

    @property
    def group(self) -> group.Group:
        """The present state."""
        assert self._group is not None
        return self._group

    @group.setter
    def group(self, state: group.Group) -> None:
        if self._restored:
            parts = snapshot.snapshot_epoch(state), snapshot.snapshot_ratchets(state)
            state = snapshot.restore(*parts)
        self._group = state

    @property
    def authenticator(self) -> bytes:
        """The epoch authenticator."""
        return self.group.epoch_authenticator

    @property
    def now(self) -> int:
        """The machine's clock, in Unix seconds."""
        return int(time.time())

    @property
    def lifetime(self) -> Lifetime:
        """From an hour ago for a month."""
        return Lifetime(self.now - 3_600, self.now + MONTH)

    def leaf_of(self, name: bytes) -> int:
        """The leaf index of a member."""
        members = self.group.members()
        (found,) = [m.leaf for m in members if m.leaf_node.credential.identity == name]
        return found

    def key_package(self, *, last_resort: bool = False) -> bytes:
        bundle = new_key_package(
            self.suite.code,
            self.signer,
            self.credential,
            self.lifetime,
            rng=random_bytes,
            capabilities=self.capabilities,
            last_resort=last_resort,
        )
        self.bundles.append(bundle)
        return bundle.key_package

    def create(self, group_id: bytes, extensions: Iterable[Extension] = ()) -> None:
        self.group = group.create(
            self.suite.code,
            group_id,
            self.signer,
            self.credential,
            lifetime=self.lifetime,
            rng=random_bytes,
            now=self.now,
            validator=self.validator,
            extensions=extensions,
            capabilities=self.capabilities,
        )

    def join(
        self,
        message: bytes,
        ratchet_tree: bytes | None = None,
        *,
        continues: Group | None = None,
    ) -> None:
        self.group = welcome.join(
            message,
            self.bundles,
            ratchet_tree=ratchet_tree,
            now=self.now,
            validator=self.validator,
            psks=self.psks,
            continues=continues,
        )

    def commit(
        self,
        *by_value: Proposal,
        path: bool = True,
        include_pending: bool | Sequence[bytes] = True,
        authenticated_data: bytes = b"",
        group_info_extensions: Iterable[Extension] = (),
    ) -> Committed:
        staged = group.stage_commit(
            self.group,
            signer=self.signer,
            rng=random_bytes,
            now=self.now,
            validator=self.validator,
            by_value=by_value,
            path=path,
            include_pending=include_pending,
            authenticated_data=authenticated_data,
            group_info_extensions=group_info_extensions,
            tree_in_welcome=self._tree_in_welcome,
            psks=self.psks,
        )
        self.group = staged.group
        tree = None if self._tree_in_welcome else staged.ratchet_tree
        return Committed(staged.commit, staged.welcome, tree)

    def add(self, *key_packages: bytes) -> Committed:
        return self.commit(*(proposals.Add(KeyPackage.parse(kp)) for kp in key_packages))

    def remove(self, name: bytes) -> Committed:
        return self.commit(proposals.Remove(self.leaf_of(name)))

    def propose_add(self, key_package: bytes) -> bytes:
        self.group, message = group.propose_add(
            self.group,
            key_package,
            signer=self.signer,
            validator=self.validator,
            now=self.now,
        )
        return message

    def propose_remove(self, name: bytes) -> bytes:
        self.group, message = group.propose_remove(
            self.group, self.leaf_of(name), signer=self.signer
        )
        return message

    def propose_update(self) -> bytes:
        """Propose fresh keys for the own leaf."""
        self.group, message = group.propose_update(
            self.group,
            signer=self.signer,
            rng=random_bytes,
            validator=self.validator,
            now=self.now,
        )
        return message

    def process(self, message: bytes) -> Processed:
        """Process a message and keep the state that comes of it."""
        done = group.process(
            self.group, message, now=self.now, validator=self.validator, psks=self.psks
        )
        if done.group is not None:
            self.group = done.group
        return done

    def receive(self, message: bytes) -> bytes | None:
        done = self.process(message)
        return done.plaintext if isinstance(done, group.ApplicationReceived) else None

    def encrypt(self, plaintext: bytes, authenticated_data: bytes = b"") -> bytes:
        self.group, message = group.encrypt(
            self.group,
            plaintext,
            signer=self.signer,
            rng=random_bytes,
            authenticated_data=authenticated_data,
        )
        return message

    def export(self, label: str, context: bytes, length: int) -> bytes:
        return group.export(self.group, label.encode(), context, length)

    def group_info(self, *, with_tree: bool = False) -> bytes:
        """Make a GroupInfo for joining from outside."""
        tree = Extension(RATCHET_TREE, self.group.ratchet_tree())
        return group.group_info(
            self.group, signer=self.signer, extensions=[tree] if with_tree else []
        )

    def bare_group_info(self) -> bytes:
        """Make a GroupInfo as ts-mls reads it: the external key without its length before it."""
        key = self.group.secrets.external_key_pair(self.suite).public
        extensions = (Extension(EXTERNAL_PUB, key),)
        return framing.encode_message(commit.group_info(self.group, self.signer, extensions))

    def join_externally(
        self, group_info: bytes, ratchet_tree: bytes | None = None, *, resync: bool = False
    ) -> bytes:
        """Enter by an external commit, in place of the own old leaf if `resync`; give it."""
        replaced = None
        if resync:
            replaced = external.own_leaf(
                group_info, ratchet_tree, self.name, validator=self.validator, now=self.now
            )
            assert replaced is not None
        staged = external.join(
            group_info,
            ratchet_tree=ratchet_tree,
            signer=self.signer,
            credential=self.credential,
            rng=random_bytes,
            now=self.now,
            validator=self.validator,
            capabilities=self.capabilities,
            replace_leaf=replaced,
        )
        self.group = staged.group
        return staged.commit

    @staticmethod
    def parse(key_package: bytes) -> KeyPackage:
        """Read a key package, for a proposal by value."""
        return KeyPackage.parse(key_package)
