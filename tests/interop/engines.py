"""The foreign engines by name and suite, and which of them can do what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.interop import ts_mls
from tests.interop.member import Member


@dataclass(frozen=True)
class Engine:
    """A foreign engine in one of its suites.

    Args:
        label: the package's name.
        suite: code point.
        package: what Python imports, if it comes from there.
    """

    label: str
    suite: int
    package: str | None = None

    def __str__(self) -> str:
        return f"{self.label}-suite{self.suite}"

    @property
    def needs_node(self) -> bool:
        """Whether Node runs it."""
        return self.label == "ts-mls"

    @property
    def wants_tree_in_welcome(self) -> bool:
        """Whether it can take the tree from nowhere else."""
        return self.label == "rine-mls"

    def client(
        self, name: bytes, folder: Path, node: ts_mls.Node | None, *, tree_in_welcome: bool
    ) -> Member:
        """Make a client; a package is imported only now, so that it may be absent.

        Args:
            folder: where a client may keep what it wants to keep.
            node: the running program, for the engine that needs it.
        """
        if self.label == "mls-rs":
            from tests.interop.mls_rs import MLSRs  # noqa: PLC0415 - may not be installed

            return MLSRs(name, tree_in_welcome=tree_in_welcome)
        if self.label == "rine-mls":
            from tests.interop.rine import Rine  # noqa: PLC0415 - may not be installed

            return Rine(folder / name.decode())
        assert node is not None
        return ts_mls.TsMLS(node, self.suite, name, tree_in_welcome=tree_in_welcome)


MLS_RS = Engine("mls-rs", 1, "mls_rs_uniffi")
RINE = Engine("rine-mls", 1, "rine_mls")
TS_MLS = [Engine("ts-mls", suite) for suite in (1, 2, 7)]
REST_OF_TS_MLS = [Engine("ts-mls", suite) for suite in (3, 4, 5, 6)]
"""The other suites of the RFC, for the tests that say most."""

EVERY_ENGINE = [MLS_RS, RINE, *TS_MLS]
EVERY_SUITE = [*EVERY_ENGINE, *REST_OF_TS_MLS]

PROPOSING = [MLS_RS, *TS_MLS]
"""Those that make proposals by reference, and commit others' alone."""

EXPORTING = [MLS_RS, *TS_MLS]
"""Those that give exporters."""

TAKING_TREES = [MLS_RS, *TS_MLS]
"""Those that take the tree beside a Welcome as well as inside."""
