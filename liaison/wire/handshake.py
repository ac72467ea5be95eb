"""Mutual authentication of a principal and its relay, on top of TLS.

Two messages each way. The client sends who it is and a nonce; the relay answers
with its own nonce and a signature by its identity key, which the client pinned
from an agreement or from its enrolment; the client signs the same transcript
and gets a short-lived token. The labels differ, so neither signature can be
played back as the other, and the origin is inside, so a second server can't
forward the exchange.

Python's ssl offers no TLS exporter: the transcript is bound to the origin, not
to the TLS connection. `docs/threat-model.md` states what that leaves.
"""

from __future__ import annotations

import hashlib
from typing import Final

from liaison.errors import AuthenticationError, MalformedError
from liaison.model import URI_SCHEME, DeviceId, PartyCode
from liaison.values import dataclass

NONCE_SIZE: Final = 32
CHALLENGE_LIFETIME: Final = 60
"""Seconds between the relay's challenge and the client's answer."""
TOKEN_LIFETIME: Final = 600
"""Seconds that a session's token is good for."""

_RELAY_LABEL: Final = b"Liaison 1.0 relay authenticates to client"
_CLIENT_LABEL: Final = b"Liaison 1.0 client authenticates to relay"
_OFFICES: Final = ("registrar", "authority")


class HandshakeError(AuthenticationError):
    """The session could not be authenticated."""

    code = "session.unauthenticated"


@dataclass(frozen=True, slots=True)
class Office:
    """An office of a party that signs with a key of the party file: `liaison://nor#registrar`."""

    party: PartyCode
    name: str

    @property
    def uri(self) -> str:
        """The name as it stands in the handshake."""
        return f"{URI_SCHEME}{self.party.path}#{self.name}"

    def __str__(self) -> str:
        return self.uri.removeprefix(URI_SCHEME)


Principal = DeviceId | Office
"""Whoever can open a session: a device, or an office of a party."""


def parse_principal(uri: str) -> Principal:
    """Read `liaison://nor/defatt-berlin#d1` or `liaison://nor#registrar`.

    Raises:
        MalformedError: neither.
    """
    name = uri.removeprefix(URI_SCHEME)
    party, _, office = name.partition("#")
    principal = (
        DeviceId.parse(name) if "/" in name else Office(PartyCode.parse(party.upper()), office)
    )
    # Both sides sign the URI, so a principal has one spelling.
    if principal.uri != uri or (isinstance(principal, Office) and office not in _OFFICES):
        raise MalformedError(f"{uri[:80]!r} names neither a device nor an office of a party")
    return principal


@dataclass(frozen=True, slots=True)
class Transcript:
    """What both sides sign.

    Args:
        principal: the client's URI.
        key: SHA-256 of the public key (MLS encoding) that the client will sign with.
        client_nonce, relay_nonce: 32 random bytes each.
        relay_key: the relay's Ed25519 identity key, 32 bytes, as pinned by the client.
        origin: scheme, host and port of the relay's URL, `https://relay.example:8443`.
    """

    principal: str
    key: bytes
    client_nonce: bytes
    relay_nonce: bytes
    relay_key: bytes
    origin: str

    def for_relay(self) -> bytes:
        """Return the bytes that the relay signs."""
        return self._encode(_RELAY_LABEL)

    def for_client(self) -> bytes:
        """Return the bytes that the client signs."""
        return self._encode(_CLIENT_LABEL)

    def _encode(self, label: bytes) -> bytes:
        fields = (
            label,
            self.principal.encode(),
            self.key,
            self.client_nonce,
            self.relay_nonce,
            self.relay_key,
            self.origin.encode(),
        )
        # Every field carries its length: no two transcripts share an encoding.
        return b"".join(len(f).to_bytes(4, "big") + f for f in fields)


def key_fingerprint(public_key: bytes) -> bytes:
    """Return the SHA-256 that names a public key (MLS encoding), 32 bytes."""
    return hashlib.sha256(public_key).digest()
