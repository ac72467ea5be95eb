"""How bytes get to the relay: a narrow seam, and aiohttp behind it.

Nothing here knows what the bytes mean. Tests put a simulator in its place.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol, Self

import aiohttp
from yarl import URL

from liaison.wire.frames import MAX_FRAME, SUBPROTOCOL
from liaison_sdk.errors import (
    CertificateFileError,
    ConnectionLostError,
    RelayAddressError,
    RelayBrokenError,
)

MAX_ANSWER: Final = 32 << 20
"""Bytes of an answer that is read as a whole; blobs are streamed."""
_CHUNK: Final = 64 << 10
_CONNECT_TIMEOUT: Final = 15.0
_READ_TIMEOUT: Final = 60.0
_HEARTBEAT: Final = 20.0


class Answer(Protocol):
    """An HTTP answer whose body is still to be read; close it in any case."""

    @property
    def status(self) -> int:
        """The status code."""

    async def read(self) -> bytes:
        """Return the whole body.

        Raises:
            ConnectionLostError: it did not arrive whole.
            RelayBrokenError: it is larger than any answer.
        """

    def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the body in pieces.

        Raises:
            ConnectionLostError: it did not arrive whole.
        """

    def close(self) -> None:
        """Give the connection back, or up, where the body was not read."""


class Socket(Protocol):
    """A WebSocket that carries binary messages."""

    async def send(self, data: bytes) -> None:
        """Send one message.

        Raises:
            ConnectionLostError: the socket is closed.
        """

    async def receive(self) -> bytes:
        """Wait for one message.

        Raises:
            ConnectionLostError: the socket is closed; `close_code` says why.
            RelayBrokenError: a message that is not binary.
        """

    async def close(self) -> None:
        """Close; no error where it is closed already."""


class Transport(Protocol):
    """One relay, reachable."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None = None,
    ) -> Answer:
        """Send a request and return the answer's head.

        Raises:
            ConnectionLostError: no answer came.
            RelayBrokenError: one came that no relay gives.
        """

    async def connect(self, path: str, *, headers: Mapping[str, str]) -> Socket:
        """Open a WebSocket.

        Raises:
            ConnectionLostError: it did not open; `close_code` has the HTTP status, where there
                was one.
        """

    async def close(self) -> None:
        """Close every connection."""


class AiohttpTransport:
    """The real one: TLS 1.3, one connection pool.

    Args:
        url: `https://host:port`; `http://` for a loopback address only.
        ca_file: CA certificates (PEM) that replace the system's.
        ca_pem: the same as text; goes before `ca_file`.

    Raises:
        RelayAddressError: the URL is neither.
    """

    def __init__(self, url: str, *, ca_file: Path | None = None, ca_pem: str | None = None) -> None:
        self._base = parse_address(url)
        self._ca_file = ca_file
        self._ca_pem = ca_pem
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None = None,
    ) -> Answer:
        """See `Transport`."""
        session = await self._pool()
        try:
            answer = await session.request(
                method,
                self._base.join(URL(path)),
                headers=headers,
                data=body,
                # A redirect would carry the token to somewhere else.
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise _lost(e) from e
        if "Content-Encoding" in answer.headers:
            answer.close()
            # Nobody asked for it: of what size it would become, its own says nothing.
            raise RelayBrokenError("the relay's answer is encoded")
        return _Answer(answer)

    async def connect(self, path: str, *, headers: Mapping[str, str]) -> Socket:
        """See `Transport`."""
        session = await self._pool()
        try:
            socket = await session.ws_connect(
                self._base.join(URL(path)),
                headers=headers,
                protocols=(SUBPROTOCOL,),
                max_msg_size=MAX_FRAME,
                heartbeat=_HEARTBEAT,
                # Ciphertext does not shrink.
                compress=0,
            )
        except aiohttp.WSServerHandshakeError as e:
            raise ConnectionLostError(
                f"the relay answered {e.status} to the stream", close_code=e.status
            ) from e
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise _lost(e) from e
        return _Socket(socket)

    async def close(self) -> None:
        """See `Transport`."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _pool(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                # Reads certificate files.
                context = await asyncio.to_thread(self._context)
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=context),
                    timeout=aiohttp.ClientTimeout(
                        total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=_READ_TIMEOUT
                    ),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    headers={"Accept-Encoding": "identity"},
                    auto_decompress=False,
                )
            return self._session

    def _context(self) -> ssl.SSLContext:
        hint = "it has to be PEM, such as the relay's ca.pem"
        pem = self._ca_pem
        if pem is not None:
            pem = pem.encode("ascii", "ignore").decode()
            if not pem.strip():
                # Python would take the system's certificates in the place of none.
                raise CertificateFileError(hint=hint)
        try:
            context = ssl.create_default_context(cafile=self._ca_file, cadata=pem)
        except ssl.SSLError as e:
            raise CertificateFileError(hint=hint) from e
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context


class _Answer:
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        return self._answer.status

    async def read(self) -> bytes:
        pieces, size = [], 0
        async for piece in self.chunks():
            size += len(piece)
            if size > MAX_ANSWER:
                self.close()
                raise RelayBrokenError(f"the relay's answer has more than {MAX_ANSWER} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._answer.content.iter_chunked(_CHUNK):
                yield piece
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise _lost(e) from e

    def close(self) -> None:
        self._answer.close()


class _Socket:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, data: bytes) -> None:
        try:
            await self._socket.send_bytes(data)
        except (aiohttp.ClientError, OSError) as e:
            raise _lost(e) from e

    async def receive(self) -> bytes:
        message = await self._socket.receive()
        match message.type:
            case aiohttp.WSMsgType.BINARY:
                return bytes(message.data)
            case aiohttp.WSMsgType.TEXT:
                raise RelayBrokenError("the relay sent text on the stream")
            case _:
                # What the relay said. The socket's own code is 1006 where our answer to it came too
                # late, as it may behind a proxy.
                said = message.type is aiohttp.WSMsgType.CLOSE
                code = message.data if said else self._socket.close_code
                raise ConnectionLostError(f"the stream was closed ({code})", close_code=code)

    async def close(self) -> None:
        await self._socket.close()


def parse_address(url: str) -> URL:
    """Read a relay's address.

    Raises:
        RelayAddressError: it is neither https nor on this machine.
    """
    try:
        address = URL(url)
    except ValueError:
        address = URL()
    if not address.host or (address.scheme != "https" and not _is_loopback(address)):
        raise RelayAddressError(
            f"{url[:200]!r} is not the address of a relay", hint="give it as https://host:port"
        )
    return address


def _lost(error: Exception) -> ConnectionLostError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return ConnectionLostError(
            "the relay's TLS certificate is from nobody known here, or for another address",
            hint="name the relay's CA with --ca; its operator gives it out",
        )
    return ConnectionLostError(f"the relay can't be reached ({_reason(error)})")


def _reason(error: Exception) -> str:
    # Never the error's own text: some quote headers.
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if not isinstance(error, OSError) or not error.errno:
        return type(error).__name__
    if error.errno > 0:
        return os.strerror(error.errno).lower()
    # Negative: of the resolver, whose texts are its own.
    return (error.strerror or type(error).__name__).lower()


def _is_loopback(url: URL) -> bool:
    if url.scheme != "http" or url.host is None:
        return False
    if url.host == "localhost":
        return True
    try:
        return ip_address(url.host).is_loopback
    except ValueError:
        return False
