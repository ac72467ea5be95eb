"""A witness on a socket."""

from __future__ import annotations

import resource
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from liaison_auditor.errors import ConfigurationError
from liaison_auditor.witness.server import KEEPALIVE_SECONDS, Witness
from liaison_auditor.witness.settings import Settings, TLSFiles


def forbid_core_dumps() -> None:
    """Keep the private key out of files that the system writes when a process dies."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@asynccontextmanager
async def listening(witness: Witness, settings: Settings) -> AsyncIterator[str]:
    """Answer requests until the block ends; gives the URL that relays are told.

    Raises:
        ConfigurationError: the address can't be listened on, or TLS is not set up.
    """
    context = None if settings.tls is None else _context(settings.tls)
    runner = web.AppRunner(
        witness.application(),
        access_log=None,
        handle_signals=False,
        keepalive_timeout=KEEPALIVE_SECONDS,
        shutdown_timeout=5,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port, ssl_context=context).start()
        except OSError as e:
            where = f"{settings.host}:{settings.port}"
            raise ConfigurationError(f"can't listen on {where}: {e.strerror}") from e
        host, port = runner.addresses[0][:2]
        shown = f"[{host}]" if ":" in host else host
        yield f"{'http' if context is None else 'https'}://{shown}:{port}"
    finally:
        await runner.cleanup()


def _context(files: TLSFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(files.certificate, files.key)
    except OSError as e:
        raise ConfigurationError(f"TLS can't be set up: {e.strerror or e}") from e
    return context
