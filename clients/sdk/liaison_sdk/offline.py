"""The transport of a client that never connects."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import NoReturn

from liaison_sdk.errors import ConnectionLostError


class NoTransport:
    """Refuses everything; a `liaison_sdk.transport.Transport` in which aiohttp is not loaded."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None = None,
    ) -> NoReturn:
        """See `Transport`."""
        del method, path, headers, body
        raise ConnectionLostError("this client was opened to work without the relay")

    async def connect(self, path: str, *, headers: Mapping[str, str]) -> NoReturn:
        """See `Transport`."""
        del path, headers
        raise ConnectionLostError("this client was opened to work without the relay")

    async def close(self) -> None:
        """See `Transport`; nothing is open."""
