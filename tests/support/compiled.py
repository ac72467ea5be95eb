"""What SQLAlchemy makes of our statements, made once for a whole run of the tests.

An engine compiles each statement when it first runs it, some thousandths of a second each, and
keeps the result for itself. A relay has two engines for as long as it runs; the tests open some
thousand, and compiling was a third of what many of them did. The result depends on the statement
and the kind of database alone, so all engines of one kind may share it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from sqlalchemy.engine import Dialect, Engine


class _Compiled(dict[Any, Any]):
    """Compiled statements by what SQLAlchemy knows them by, but for the engine's own dialect."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(key[1:], compiled)


def share(patch: pytest.MonkeyPatch) -> None:
    """Let all engines that are made from now on share what they compile."""
    shared: defaultdict[type[Dialect], _Compiled] = defaultdict(_Compiled)

    def found(engine: Engine) -> _Compiled:
        return shared[type(engine.dialect)]

    def own(_engine: Engine, _cache: object) -> None:
        """Forget the one that an engine makes for itself."""

    patch.setattr(Engine, "_compiled_cache", property(found, own), raising=False)
