"""What lets the relay's libraries load no more than it uses.

It changes the whole process for a moment, so it is for the program alone, before
there are threads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from liaison.wire import tls


@contextmanager
def loading() -> Iterator[None]:
    """Put around the first import of aiohttp and structlog.

    aiohttp reads no certificates for its own contexts, which nothing here uses, and
    structlog does without the console that it has for developers: it would load rich,
    which is here for typer alone, and that takes a twelfth of the relay's start.
    """
    hidden = "rich" not in sys.modules
    if hidden:
        # Whoever imports it meanwhile finds that it is not installed.
        cast("dict[str, Any]", sys.modules)["rich"] = None
    try:
        with tls.no_default_certificates():
            yield
    finally:
        if hidden:
            del sys.modules["rich"]
