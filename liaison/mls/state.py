"""The state of one member in one group, as a value.

Members only. The verbs are in `liaison.mls.group`; the bytes for storage in
`liaison.mls.snapshot`. Signature keys are never part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from liaison.crypto.signing import Signer
from liaison.crypto.suites import CipherSuite
from liaison.mls.effects import Member, QueuedProposal
from liaison.mls.errors import (
    CommitRequiredError,
    ForbiddenOperationError,
    InactiveGroupError,
)
from liaison.mls.key_schedule import EpochSecrets, PskStore
from liaison.mls.leaf import LeafNode
from liaison.mls.messages import GroupContext
from liaison.mls.proposals import PreSharedKeyID, PskType, ReInit
from liaison.mls.protection import MessageKeys
from liaison.mls.public_group import PublicGroup
from liaison.mls.secret_tree import Limits, RatchetKind, SecretTree
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """One member's state of a group in one epoch.

    Args:
        public: what everyone may see of it.
        own_leaf: this member's leaf index.
        private: HPKE private keys of the own leaf and of known nodes above it, by node.
        secrets: of the epoch.
        keys: for the epoch's messages.
        past: for messages of earlier epochs, newest first.
        resumption: resumption PSKs of the same earlier epochs, by epoch.
        own_updates: leaf private keys of own Update proposals, by reference.
        limits: how much is kept.
        reinit: set when the group has ended in favour of another.
    """

    public: PublicGroup
    own_leaf: int
    private: Mapping[int, bytes] = field(repr=False)
    secrets: EpochSecrets = field(repr=False)
    keys: MessageKeys = field(repr=False)
    past: tuple[MessageKeys, ...] = field(default=(), repr=False)
    resumption: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    own_updates: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    limits: Limits = field(default_factory=Limits)
    reinit: ReInit | None = None

    @property
    def suite(self) -> CipherSuite:
        """The cipher suite."""
        return self.public.suite

    @property
    def context(self) -> GroupContext:
        """The group context of the epoch."""
        return self.public.context

    @property
    def group_id(self) -> bytes:
        """The group's id."""
        return self.public.group_id

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self.public.epoch

    @property
    def pending(self) -> tuple[QueuedProposal, ...]:
        """The proposals that wait for a commit, in order of arrival."""
        return self.public.pending

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs whose messages can be read, newest first."""
        return (self.epoch, *(keys.epoch for keys in self.past))

    @property
    def epoch_authenticator(self) -> bytes:
        """Equal for all members of the epoch, and for nobody else; Nh bytes.

        Source: RFC 9420 §8.7.
        """
        return self.secrets.epoch_authenticator

    @property
    def resumption_psk(self) -> bytes:
        """Shows membership of this epoch in a later group; Nh bytes, secret.

        Source: RFC 9420 §8.6.
        """
        return self.secrets.resumption_psk

    @property
    def sent_generation(self) -> int:
        """How many application messages this member has encrypted in this epoch."""
        ratchets = self.keys.tree.ratchets.get(self.own_leaf)
        return ratchets[RatchetKind.APPLICATION].generation if ratchets else 0

    def extension(self, extension_type: int) -> bytes | None:
        """Give the bytes of a group context extension, or None."""
        return self.public.extension(extension_type)

    def members(self) -> tuple[Member, ...]:
        """List the members, from left to right."""
        return self.public.members()

    def member(self, leaf: int) -> Member:
        """Give the member at a leaf.

        Raises:
            NotAMemberError: there is none.
        """
        return self.public.member(leaf)

    def leaf_of(self, identity: bytes) -> int | None:
        """Give the leaf of a client by its identity, or None."""
        return self.public.leaf_of(identity)

    @property
    def own_leaf_node(self) -> LeafNode:
        """This member's leaf."""
        return self.public.tree.member(self.own_leaf)

    def ratchet_tree(self) -> bytes:
        """Encode the tree, as joiners need it."""
        return self.public.ratchet_tree()

    def with_keys(self, keys: MessageKeys, past: tuple[MessageKeys, ...]) -> Group:
        """Give the same with other message keys; `replace` is too slow for every message."""
        return Group(
            self.public,
            self.own_leaf,
            self.private,
            self.secrets,
            keys,
            past,
            self.resumption,
            self.own_updates,
            self.limits,
            self.reinit,
        )

    # --- for the verbs ------------------------------------------------------------------------

    def check_active(self) -> None:
        """Check that the group has not ended.

        Raises:
            InactiveGroupError: a ReInit was committed.
        """
        if self.reinit is not None:
            raise InactiveGroupError

    def check_nothing_waits(self) -> None:
        """Check that no proposal waits for a commit.

        Raises:
            CommitRequiredError: one does.

        Source: RFC 9420 §12.4.
        """
        if self.public.proposals:
            raise CommitRequiredError

    def check_signer(self, signer: Signer) -> None:
        """Check that a signer is the one of the own leaf.

        Raises:
            ForbiddenOperationError: another key stands in the own leaf.
        """
        if signer.public_bytes != self.own_leaf_node.signature_key:
            raise ForbiddenOperationError("the signature key is not that of the own leaf")

    def psk(self, psk: PreSharedKeyID, store: PskStore) -> bytes:
        """Find a pre-shared key: of this group's own epochs, else in the application's store.

        Raises:
            MissingPskError: it is nowhere.
        """
        if psk.type is PskType.RESUMPTION and psk.group_id == self.group_id:
            if psk.epoch == self.epoch:
                return self.secrets.resumption_psk
            if psk.epoch in self.resumption:
                return self.resumption[psk.epoch]
        return store.find(psk)


def begin(
    public: PublicGroup,
    own_leaf: int,
    private: Mapping[int, bytes],
    secrets: EpochSecrets,
    limits: Limits,
    *,
    reinit: ReInit | None = None,
) -> Group:
    """Make the state of an epoch; the encryption secret lives on only in the secret tree."""
    keys = MessageKeys(
        suite=public.suite,
        group_id=public.group_id,
        epoch=public.epoch,
        context=public.context.encode(),
        members=dict(public.tree.leaves()),
        sender_data_secret=secrets.sender_data,
        tree=SecretTree.begin(secrets.encryption, public.tree.size),
    )
    return Group(
        public=public,
        own_leaf=own_leaf,
        private=private,
        secrets=replace(secrets, encryption=b""),
        keys=keys,
        limits=limits,
        reinit=reinit,
    )


def succeed(old: Group, new: Group, now: int) -> Group:
    """Give a new epoch what it keeps of the ones before.

    Args:
        now: when it begins, in Unix seconds.
    """
    resumption = {**old.resumption, old.epoch: old.secrets.resumption_psk}
    past = (replace(old.keys, ended=now), *old.past)[: old.limits.past_epochs]
    return expire(keep(replace(new, resumption=resumption), past), now)


def expire(group: Group, now: int) -> Group:
    """Drop all keys of epochs that ended too long ago.

    Args:
        now: Unix seconds; the time of acceptance where old messages are worked off.
    """
    oldest = now - group.limits.past_seconds
    # Nearly always nothing is to be done. The clock may have been set back in between, so
    # the oldest need not stand last.
    if all(keys.ended >= oldest for keys in group.past):
        return group
    return keep(group, tuple(keys for keys in group.past if keys.ended >= oldest))


def keep(group: Group, past: tuple[MessageKeys, ...]) -> Group:
    """Keep these past epochs: message keys and resumption PSKs live equally long."""
    kept = {keys.epoch for keys in past}
    resumption = {epoch: psk for epoch, psk in group.resumption.items() if epoch in kept}
    return replace(group, past=past, resumption=resumption)
