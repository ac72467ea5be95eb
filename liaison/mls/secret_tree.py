"""The secret tree and its ratchets: one key per message, gone once it was used.

Members only. Everything is a value: taking a key gives a new tree without that
key. Whoever stores the new one has deleted it; whoever drops the new one (a
message failed to authenticate) still has it.

Source: RFC 9420 §9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from enum import IntEnum
from typing import Self

from liaison.crypto.suites import CipherSuite
from liaison.mls import tree_math
from liaison.mls.errors import EpochForgottenError, KeyUsedError, TooFarAheadError
from liaison.values import dataclass


class RatchetKind(IntEnum):
    """Which of a member's two ratchets."""

    HANDSHAKE = 0
    APPLICATION = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept for late and lost messages.

    Args:
        past_epochs: epochs before the current one whose messages can still be read.
        past_seconds: for how long after their end; both bounds hold.
        forward: by how many generations a ratchet may jump for one message; at least
            the relay's queue bound, or a long queue can't be read.
        skipped: keys of skipped generations that are kept per ratchet, oldest dropped.
    """

    past_epochs: int = 8
    forward: int = 4096
    skipped: int = 4096
    past_seconds: int = 30 * 86_400


MessageKey = tuple[bytes, bytes]
"""AEAD key and nonce."""


@dataclass(frozen=True, slots=True)
class Ratchet:
    """One sender's chain of keys.

    Args:
        secret: of generation `generation`, Nh bytes.
        generation: the next one that was not derived yet.
        skipped: keys of earlier generations that have not been used.
    """

    secret: bytes = field(repr=False)
    generation: int = 0
    skipped: Mapping[int, MessageKey] = field(default_factory=dict, repr=False)

    def take(
        self, suite: CipherSuite, generation: int, limits: Limits
    ) -> tuple[Ratchet, MessageKey]:
        """Take the key of a generation out of the ratchet.

        Raises:
            KeyUsedError: it was taken before, or dropped (VAL-0112).
            TooFarAheadError: more generations would be skipped than allowed (VAL-0113).
        """
        if generation < self.generation:
            key = self.skipped.get(generation)
            if key is None:
                raise KeyUsedError(check="VAL-0112")
            rest = {number: kept for number, kept in self.skipped.items() if number != generation}
            return replace(self, skipped=rest), key
        if generation - self.generation > limits.forward:
            raise TooFarAheadError(check="VAL-0113")
        if generation == self.generation:
            key, secret = _step(suite, self.secret, generation)
            return Ratchet(secret, generation + 1, self.skipped), key
        return self._jump(suite, generation, limits)

    def _jump(
        self, suite: CipherSuite, generation: int, limits: Limits
    ) -> tuple[Ratchet, MessageKey]:
        skipped = dict(self.skipped)
        secret = self.secret
        for number in range(self.generation, generation):
            skipped[number], secret = _step(suite, secret, number)
        key, secret = _step(suite, secret, generation)
        for number in sorted(skipped)[: max(0, len(skipped) - limits.skipped)]:
            del skipped[number]
        return Ratchet(secret, generation + 1, skipped), key

    def next(self, suite: CipherSuite) -> tuple[Ratchet, int, MessageKey]:
        """Take the next key, to send with; give its generation too."""
        key, secret = _step(suite, self.secret, self.generation)
        return Ratchet(secret, self.generation + 1, self.skipped), self.generation, key


def _step(suite: CipherSuite, secret: bytes, generation: int) -> tuple[MessageKey, bytes]:
    derive = suite.derive_tree_secret
    key = derive(secret, b"key", generation, suite.nk)
    nonce = derive(secret, b"nonce", generation, suite.nn)
    return (key, nonce), derive(secret, b"secret", generation, suite.nh)


Ratchets = tuple[Ratchet, Ratchet]
"""Handshake and application ratchet of one member, in `RatchetKind`'s order."""


@dataclass(frozen=True, slots=True)
class SecretTree:
    """The unused secrets of one epoch.

    Args:
        size: leaves, a power of two.
        nodes: secrets of subtrees from which nothing was taken yet, by node.
        ratchets: of the members from whom something was taken, by leaf.
    """

    size: int
    nodes: Mapping[int, bytes] = field(repr=False)
    ratchets: Mapping[int, Ratchets] = field(default_factory=dict, repr=False)

    @classmethod
    def begin(cls, encryption_secret: bytes, size: int) -> Self:
        """Start from an epoch's encryption secret.

        Args:
            encryption_secret: Nh bytes.
            size: leaves of the ratchet tree, a power of two.
        """
        return cls(size, {tree_math.root(size): encryption_secret})

    def take(
        self, suite: CipherSuite, leaf: int, kind: RatchetKind, generation: int, limits: Limits
    ) -> tuple[SecretTree, MessageKey]:
        """Take the key of one message out of the tree.

        Raises:
            KeyUsedError, TooFarAheadError: as `Ratchet.take`.
        """
        tree = self._with_ratchets(suite, leaf)
        ratchet, key = tree.ratchets[leaf][kind].take(suite, generation, limits)
        return _replaced(tree, leaf, kind, ratchet), key

    def next(
        self, suite: CipherSuite, leaf: int, kind: RatchetKind
    ) -> tuple[SecretTree, int, MessageKey]:
        """Take the next key of the own leaf, to send with."""
        tree = self._with_ratchets(suite, leaf)
        ratchet, generation, key = tree.ratchets[leaf][kind].next(suite)
        return _replaced(tree, leaf, kind, ratchet), generation, key

    def _with_ratchets(self, suite: CipherSuite, leaf: int) -> SecretTree:
        """Derive down to a leaf; what lies above it is consumed, what lies beside it kept."""
        if leaf in self.ratchets:
            return self
        target = 2 * leaf
        nodes = dict(self.nodes)
        above = [target, *tree_math.direct_path(target, self.size)]
        start = next((node for node in above if node in nodes), None)
        if start is None:
            raise EpochForgottenError("the secrets of this sender are no longer kept")
        secret = nodes.pop(start)
        node = start
        while node != target:
            left, right = tree_math.left(node), tree_math.right(node)
            below, beside = (left, right) if tree_math.is_under(target, left) else (right, left)
            nodes[beside] = _child(suite, secret, b"left" if beside < node else b"right")
            secret = _child(suite, secret, b"left" if below < node else b"right")
            node = below
        pair = (
            Ratchet(suite.expand_with_label(secret, b"handshake", b"", suite.nh)),
            Ratchet(suite.expand_with_label(secret, b"application", b"", suite.nh)),
        )
        return SecretTree(self.size, nodes, {**self.ratchets, leaf: pair})


def _replaced(tree: SecretTree, leaf: int, kind: RatchetKind, ratchet: Ratchet) -> SecretTree:
    handshake, application = tree.ratchets[leaf]
    pair = (ratchet, application) if kind is RatchetKind.HANDSHAKE else (handshake, ratchet)
    return SecretTree(tree.size, tree.nodes, {**tree.ratchets, leaf: pair})


def _child(suite: CipherSuite, secret: bytes, side: bytes) -> bytes:
    return suite.expand_with_label(secret, b"tree", side, suite.nh)
