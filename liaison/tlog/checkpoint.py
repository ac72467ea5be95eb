"""Checkpoints: what a log is, in three lines, before anyone signs it.

Source: C2SP tlog-checkpoint.
"""

from __future__ import annotations

from typing import Final

from liaison.tlog.errors import CheckpointError
from liaison.tlog.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE
from liaison.tlog.text import from_base64_hash, from_decimal, to_base64
from liaison.values import dataclass

MAX_EXTENSIONS: Final = 16


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log at one size.

    Args:
        origin: which log.
        size: number of leaves.
        root: 32 bytes.
        extensions: further lines, which nobody here reads; ours has none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that it can be written.

        Raises:
            CheckpointError: a line is empty or is two, the size or the root is out of bounds, or
                the tree is empty and the root is not.
        """
        for line in (self.origin, *self.extensions):
            if not line or any(c < " " or "\ud800" <= c <= "\udfff" for c in line):
                raise CheckpointError("a line of a checkpoint is empty or has control characters")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise CheckpointError("a checkpoint has a size below 2^63 and a root of 32 bytes")
        if len(self.extensions) > MAX_EXTENSIONS:
            raise CheckpointError(f"a checkpoint has at most {MAX_EXTENSIONS} further lines")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise CheckpointError("the empty log has another root")

    @property
    def text(self) -> str:
        """The text that is signed, with its last newline."""
        lines = (self.origin, str(self.size), to_base64(self.root), *self.extensions)
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a note.

        Raises:
            CheckpointError: not a checkpoint.
        """
        origin, *lines = text.split("\n")
        if len(lines) < 3 or lines.pop() or "" in lines:
            raise CheckpointError("a checkpoint has three or more lines, none of them empty")
        try:
            size, root = from_decimal(lines[0]), from_base64_hash(lines[1])
        except ValueError as error:
            raise CheckpointError(f"not a checkpoint: {error}") from error
        return cls(origin, size, root, tuple(lines[2:]))
