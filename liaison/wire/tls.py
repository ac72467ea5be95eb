"""TLS as both ends of the wire know it.

Contexts are made where they are used, by `liaison_sdk.transport` and
`liaison.relay.tls`; here is only what their programs have in common.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_default_certificates() -> Iterator[None]:
    """Let TLS contexts that are made inside the block know no certificates.

    For a program's first import of aiohttp, which makes two contexts for callers
    that bring none and reads the system's certificates into both: that takes
    longer than anything a short command does. Ours bring their own; whoever used
    aiohttp's would trust nobody.

    Only for a process that is ours alone, and while none of its threads makes
    contexts: it holds for all of them.
    """
    # It is inherited, so the class itself has none to put back.
    ssl.SSLContext.set_default_verify_paths = _read_nothing  # type: ignore[assignment,method-assign]  # for the block only
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths


def _read_nothing(_context: ssl.SSLContext) -> None:
    """Stand in for `SSLContext.set_default_verify_paths`."""
