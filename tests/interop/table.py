"""Where clients of ours and of a foreign engine meet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.interop import ts_mls
from tests.interop.engines import Engine
from tests.interop.member import Member
from tests.interop.ours import Ours


@dataclass
class Table:
    """Where clients of ours and of one foreign engine meet, in one suite."""

    engine: Engine
    folder: Path
    node: ts_mls.Node | None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def suite(self) -> int:
        """Code point."""
        return self.engine.suite

    def name(self, side: str) -> bytes:
        """A name that no other client at this table has."""
        return f"{side}-{next(self._numbers)}".encode()

    def ours(self, *, tree_in_welcome: bool | None = None, restored: bool = False) -> Ours:
        """A new client of ours, in the way that the other engine can follow."""
        inside = self.engine.wants_tree_in_welcome if tree_in_welcome is None else tree_in_welcome
        return Ours(self.suite, self.name("ours"), tree_in_welcome=inside, restored=restored)

    def theirs(self, *, tree_in_welcome: bool = False) -> Member:
        """A new client of the foreign engine."""
        return self.engine.client(
            self.name(self.engine.label), self.folder, self.node, tree_in_welcome=tree_in_welcome
        )

    def theirs_with_tree(self) -> Member:
        """A new client of the foreign engine whose Welcomes carry the tree."""
        return self.theirs(tree_in_welcome=True)

    def ts(
        self, *, extensions: tuple[int, ...] = (), private: bool = False, compressed: bool = False
    ) -> ts_mls.TsMLS:
        """A new client of ts-mls, with what only ts-mls can do."""
        assert self.node is not None
        return ts_mls.TsMLS(
            self.node,
            self.suite,
            self.name(self.engine.label),
            extensions=extensions,
            private=private,
            compressed_key=compressed,
        )
