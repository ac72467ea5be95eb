"""Which release this is, from the installed distribution."""

from __future__ import annotations

from importlib import metadata
from typing import Final

# Read at import, before there is an event loop that the file system could block.
VERSION: Final = metadata.version("liaison-messaging")
