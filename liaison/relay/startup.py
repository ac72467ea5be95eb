"""What lets the relay's libraries load no more than it uses.

It changes the whole process for a moment, so it is for the program alone, before
there are threads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final, cast

from liaison.wire import tls


@contextmanager
def loading() -> Iterator[None]:
    """Put around the first import of aiohttp and structlog.

    aiohttp reads no certificates for its own contexts, which nothing here uses, and
    structlog does without the console that it has for developers: it would load rich,
    which is here for typer alone, and that takes a twelfth of the relay's start. SQLAlchemy
    loads its ORM, another twelfth, for the sessions that it has for asyncio.
    """
    modules = cast("dict[str, Any]", sys.modules)
    # Whoever imports it meanwhile finds that it is not installed.
    stand_ins: dict[str, Any] = {"rich": None, **{name: _Anything(name) for name in _SESSIONS}}
    hidden = {name: found for name, found in stand_ins.items() if name not in modules}
    modules.update(hidden)
    try:
        with tls.no_default_certificates():
            yield
    finally:
        for name in hidden:
            del modules[name]


_SESSIONS: Final = ("sqlalchemy.ext.asyncio.session", "sqlalchemy.ext.asyncio.scoping")


class _Anything(ModuleType):
    """Stands in for a module whose names are imported by another one and used by nobody."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})
