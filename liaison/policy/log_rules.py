"""An agreement's word on the relay's log: what happens while it lags, and which log counts.

A log that can't go on, because what it held was lost, ends; the parties agree on its successor by
an amendment that names the head of the one before. Each has a generation and a name of its own.
"""

from __future__ import annotations

from typing import Final, Self

from liaison.crypto import kdf
from liaison.policy.canonical import JSON, to_base64
from liaison.policy.fields import Node, format_duration
from liaison.values import dataclass

MAX_GENERATION: Final = 1000
MAX_SIZE: Final = 2**53 - 1
"""Entries of a log; what canonical JSON can hold."""
ROOT_BYTES: Final = 32


def origin(relay: str, agreement_id: str, generation: int = 1) -> str:
    """Return the name of an agreement's log.

    Args:
        relay: the relay's own origin, without a scheme.
        agreement_id: whose log.
        generation: 1 for the first log, which has the plain name; more for its successors.
    """
    name = f"{relay}/log/{agreement_id}"
    return name if generation == 1 else f"{name}/{generation}"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The head of the log that ended, as the parties hold it to be.

    Args:
        origin: its name.
        size: entries under that head; what it may have had beyond them does not count.
        root: of these entries, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read it."""
        fields = node.fields(("origin", "size", "root"))
        size, root = fields["size"].integer(0, MAX_SIZE), fields["root"].octets()
        if len(root) != ROOT_BYTES:
            fields["root"].fail(f"must be {ROOT_BYTES} bytes in base64, as a checkpoint has it")
        if (size == 0) != (root == kdf.sha256(b"")):
            fields["root"].fail("is the root of an empty log if size is 0, and of no other")
        return cls(fields["origin"].text(most=400), size, root)

    def document(self) -> dict[str, JSON]:
        """Return it as it stands in the document."""
        return {"origin": self.origin, "size": self.size, "root": to_base64(self.root)}


@dataclass(frozen=True, slots=True)
class LogRules:
    """What happens while the relay's log lags behind what the relay does, and which log it is.

    Args:
        report_after: seconds after its acceptance from which a message that is not in the log
            is reported; at least one.
        grace: seconds for which members still come in, and new certificates are believed,
            while the log lacks its witnesses.
        generation: 1, or one more for each log that had to be given up.
        predecessor: the one that was given up last; None in generation 1.
    """

    report_after: int
    grace: int
    generation: int = 1
    predecessor: Predecessor | None = None

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read them."""
        fields = node.fields(("report_after", "grace"), ("generation", "predecessor"))
        if not fields["report_after"].duration():
            fields["report_after"].fail("must be a second at least")
        generation, predecessor = 1, None
        if "generation" in fields or "predecessor" in fields:
            # What is left out means the first log, and has no second spelling.
            named = node.fields(("report_after", "grace", "generation", "predecessor"))
            generation = named["generation"].integer(2, MAX_GENERATION)
            predecessor = Predecessor.from_node(named["predecessor"])
        return cls(
            fields["report_after"].duration(), fields["grace"].duration(), generation, predecessor
        )

    def check(self, relay: str, agreement_id: str, node: Node) -> None:
        """Check that the log before is this agreement's own.

        Raises:
            DocumentError: it is not.
        """
        if self.predecessor is None:
            return
        before = origin(relay, agreement_id, self.generation - 1)
        if self.predecessor.origin != before:
            node.fail(
                f"must follow the log {before}", hint="`liaison-relay log successor` tells it"
            )

    def document(self) -> dict[str, JSON]:
        """Return them as they stand in the document."""
        document: dict[str, JSON] = {
            "report_after": format_duration(self.report_after),
            "grace": format_duration(self.grace),
        }
        if self.predecessor is None:
            return document
        return document | {
            "generation": self.generation,
            "predecessor": self.predecessor.document(),
        }
