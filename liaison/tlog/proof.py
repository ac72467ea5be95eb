"""Proofs that an entry is in a log, as a file that is checked offline.

Index, inclusion proof and cosigned checkpoint in one text; what the entry is, is told elsewhere.

Source: C2SP tlog-proof.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from liaison.tlog import merkle
from liaison.tlog.errors import ProofFormatError
from liaison.tlog.merkle import MAX_PROOF
from liaison.tlog.note import MAX_NOTE_BYTES
from liaison.tlog.policy import Cosigned, Policy
from liaison.tlog.text import from_base64, from_base64_hash, from_decimal, to_base64
from liaison.values import dataclass

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_EXTRA: Final = 64 * 1024
MAX_PROOF_BYTES: Final = MAX_NOTE_BYTES + 2 * MAX_EXTRA + 100 * MAX_PROOF


@dataclass(frozen=True, slots=True)
class TlogProof:
    """An inclusion proof with the checkpoint it leads to.

    Args:
        index: of the entry in the log.
        hashes: from the leaf's sibling upwards, 32 bytes each.
        checkpoint: the signed note, verbatim.
        extra: data beside the proof, at most 64 KiB. Nobody has signed it.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def encode(self) -> bytes:
        """Return the proof's bytes."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {to_base64(self.extra)}")
        lines += [f"index {self.index}", *map(to_base64, self.hashes), "", ""]
        return "\n".join(lines).encode() + self.checkpoint

    @classmethod
    def decode(cls, data: bytes) -> TlogProof:
        """Read a proof. Nothing is verified, the checkpoint is not even parsed.

        Raises:
            ProofFormatError: not a proof, or larger than one may be.
        """
        if len(data) > MAX_PROOF_BYTES:
            raise ProofFormatError(f"a proof has at most {MAX_PROOF_BYTES} bytes")
        head, blank, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
            return cls._read(lines, checkpoint) if blank else cls._read([], b"")
        except ValueError as error:
            raise ProofFormatError(f"not a proof: {error}") from error

    @classmethod
    def _read(cls, lines: list[str], checkpoint: bytes) -> TlogProof:
        if not lines or lines.pop(0) != HEADER:
            raise ValueError(f"the first line is not {HEADER}")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = from_base64(lines.pop(0).removeprefix("extra "))
            if len(extra) > MAX_EXTRA:
                raise ValueError("the extra data is too long")
        if not lines or not lines[0].startswith("index "):
            raise ValueError("there is no index")
        index = from_decimal(lines.pop(0).removeprefix("index "))
        if len(lines) > MAX_PROOF:
            raise ValueError("it has too many hashes")
        return cls(index, tuple(from_base64_hash(line) for line in lines), checkpoint, extra)

    def verify(
        self,
        leaf_hash: bytes,
        policy: Policy,
        *,
        required: Iterable[str] = (),
        not_after: int | None = None,
    ) -> Cosigned:
        """Check that an entry is in a log, and that the policy's witnesses have seen it.

        Args:
            leaf_hash: of the entry, from `merkle.hash_leaf`.
            policy: which logs and witnesses count.
            required: see `Policy.verify`.
            not_after: see `Policy.verify`.

        Raises:
            ProofError: the entry is not there.
            VerificationError, MalformedError, UnknownError: as `Policy.verify` does.
        """
        cosigned = policy.verify(self.checkpoint, required=required, not_after=not_after)
        head = cosigned.checkpoint
        merkle.verify_inclusion(leaf_hash, self.index, head.size, self.hashes, head.root)
        return cosigned
