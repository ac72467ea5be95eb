"""Looking at a TLS handshake from outside: which certificate is shown, and how keys are exchanged.

Python's ssl tells neither the group nor what a server that is not trusted shows, so the handshake is
made by hand, and the group is read from the ServerHello, which is not encrypted.

Source: RFC 8446 §4.1.3, §4.2.8; IANA "TLS Supported Groups".
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

from liaison.values import dataclass

GROUPS: Final = {
    0x0017: "secp256r1",
    0x0018: "secp384r1",
    0x0019: "secp521r1",
    0x001D: "x25519",
    0x001E: "x448",
    0x11EB: "SecP256r1MLKEM768",
    0x11EC: "X25519MLKEM768",
    0x11ED: "SecP384r1MLKEM1024",
}
POST_QUANTUM: Final = frozenset(name for name in GROUPS.values() if "MLKEM" in name)
PATIENCE: Final = 5.0
"""Seconds for a handshake with a relay that runs."""

_HANDSHAKE: Final = 22
_SERVER_HELLO: Final = 2
_KEY_SHARE: Final = 51
_CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Seen:
    """What a handshake showed.

    Args:
        group: name of the key exchange's group; empty where it was not told.
        certificate: of the server, DER.
    """

    group: str
    certificate: bytes


def with_context(server: ssl.SSLContext) -> Seen:
    """Make a handshake with a server's context, in memory, as a client with this OpenSSL."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    other = server.wrap_bio(to_server, to_client, server_side=True)

    def exchange(sent: bytes) -> bytes:
        to_server.write(sent)
        with contextlib.suppress(ssl.SSLWantReadError):
            other.do_handshake()
        return to_client.read()

    return _shake(exchange)


def with_relay(host: str, port: int) -> Seen:
    """Make a handshake with a relay that listens.

    Raises:
        OSError: it does not answer, or not in TLS 1.3.
    """
    with socket.create_connection((host, port), timeout=PATIENCE) as connection:

        def exchange(sent: bytes) -> bytes:
            connection.sendall(sent)
            return connection.recv(_CHUNK)

        return _shake(exchange)


def _shake(exchange: Callable[[bytes], bytes]) -> Seen:
    incoming, outgoing, received = ssl.MemoryBIO(), ssl.MemoryBIO(), b""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Whom to trust is for clients; here only what is shown counts.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    client = context.wrap_bio(incoming, outgoing)
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            data = exchange(outgoing.read())
            if not data:
                raise ConnectionResetError("the relay ended the handshake") from None
            received += data
            incoming.write(data)
    return Seen(group_of(received), client.getpeercert(binary_form=True) or b"")


def group_of(received: bytes) -> str:
    """Return the group in the last ServerHello of what a server sent; empty where there is none.

    A server that asks for another key share sends two, the first of them a request.
    """
    found = ""
    at = 0
    while at + 5 <= len(received):
        size = int.from_bytes(received[at + 3 : at + 5], "big")
        record = received[at + 5 : at + 5 + size]
        if received[at] == _HANDSHAKE and record[:1] == bytes((_SERVER_HELLO,)):
            found = _group(record) or found
        at += 5 + size
    return found


def _group(hello: bytes) -> str:
    # Type and length, version, random, session id, cipher suite, compression.
    at = 4 + 2 + 32
    at += 1 + hello[at] + 2 + 1
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    while at + 4 <= min(end, len(hello)):
        kind = int.from_bytes(hello[at : at + 2], "big")
        size = int.from_bytes(hello[at + 2 : at + 4], "big")
        if kind == _KEY_SHARE:
            number = int.from_bytes(hello[at + 4 : at + 6], "big")
            return GROUPS.get(number, f"0x{number:04x}")
        at += 4 + size
    return ""
