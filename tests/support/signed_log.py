"""A log in memory that signs what it is told to: honest by default, with any history on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.tlog import merkle
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.note import Note
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.tlog.witness import AddCheckpoint


@dataclass
class SignedLog:
    """A log of texts.

    Args:
        origin: its name.
        entries: what it holds; a test may replace them, as a dishonest log would.
    """

    origin: str
    entries: list[bytes] = field(default_factory=list)
    signer: SigningKey = field(default_factory=lambda: SigningKey.generate(SignatureScheme.ED25519))

    @property
    def key(self) -> VerifierKey:
        """What witnesses know of it."""
        return VerifierKey.of(self.origin, SignatureType.ED25519, self.signer)

    def forked(self, entries: Sequence[bytes]) -> SignedLog:
        """Return a log of the same name and key with another history."""
        return SignedLog(self.origin, list(entries), self.signer)

    def grow(self, count: int, what: str = "entry") -> None:
        """Append so many entries."""
        start = len(self.entries)
        self.entries += [f"{what} {number}".encode() for number in range(start, start + count)]

    def note(self, size: int | None = None) -> Note:
        """Return the signed checkpoint of its first `size` entries; of all by default."""
        hashes = merkle.hash_leaves(self.entries[:size])
        checkpoint = Checkpoint(self.origin, len(hashes), merkle.root_of(hashes))
        return Note(checkpoint.text).signed_by(self.key, self.signer)

    def request(self, old: int, size: int | None = None) -> AddCheckpoint:
        """Return what it would ask a witness that has cosigned `old` entries."""
        new = len(self.entries) if size is None else size
        proof: Sequence[bytes] = ()
        if 0 < old < new:
            leaves = merkle.hash_leaves(self.entries[:new])

            def read(node: merkle.Node) -> bytes:
                first = node.index << node.level
                return merkle.root_of(leaves[first : first + (1 << node.level)])

            proof = merkle.prove_consistency(old, new, read)
        return AddCheckpoint(old, tuple(proof), self.note(new))
