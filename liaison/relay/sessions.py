"""Sessions: challenge, proof and token, without a row in the database.

The relay keeps nothing for a session that is being opened or is open: what it
would keep travels with the client, under a MAC by a secret that all nodes of the
relay share. Memory holds only what must not count again before it expires
anyway: challenges that were answered, and sessions that were ended. Both are of
this node; another node learns of neither, for at most `CHALLENGE_LIFETIME` and
`TOKEN_LIFETIME`. Revocation is not among them: it is looked up at every use.

Source: the handshake is `liaison.wire.handshake`'s.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import field
from typing import Any, Final

from liaison.crypto import kdf
from liaison.crypto.errors import SignatureError
from liaison.crypto.signing import Signer
from liaison.policy.keys import VerifyKey
from liaison.relay.errors import NoTokenError, SessionExpiredError
from liaison.values import dataclass
from liaison.wire.handshake import (
    CHALLENGE_LIFETIME,
    NONCE_SIZE,
    TOKEN_LIFETIME,
    HandshakeError,
    Principal,
    Transcript,
    key_fingerprint,
    parse_principal,
)

ID_SIZE: Final = 16
MAX_REMEMBERED: Final = 200_000
_MAX_TOKEN: Final = 2_048


@dataclass(frozen=True, slots=True)
class Session:
    """Who a request comes from, until when.

    Args:
        principal: a device, or an office of a party.
        key: SHA-256 of the public key that opened the session, 32 bytes.
        id: of the session, 16 random bytes.
        expires: Unix seconds.
    """

    principal: Principal
    key: bytes
    id: bytes
    expires: int


@dataclass(frozen=True, slots=True)
class Issued:
    """A challenge as it goes to the client."""

    relay_nonce: bytes
    relay_key: bytes
    signature: bytes
    challenge: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A challenge that came back, not yet proved."""

    transcript: Transcript
    principal: Principal
    id: bytes
    expires: int


class _Seen:
    """Ids that must not count again until they expire, bounded."""

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, int] = OrderedDict()

    def add(self, key: bytes, until: int, now: int) -> None:
        while self._until and next(iter(self._until.values())) < now:
            self._until.popitem(last=False)
        if len(self._until) >= MAX_REMEMBERED:
            self._until.popitem(last=False)
        self._until[key] = until

    def __contains__(self, key: bytes) -> bool:
        return key in self._until


@dataclass(slots=True)
class Sessions:
    """Opens and checks sessions.

    Args:
        signer: the relay's identity key.
        secret: 32 bytes, the same on all nodes of the relay.
        origin: the relay's URL, which clients sign.
        clock: Unix seconds.
        rng: gives random bytes.
    """

    signer: Signer
    secret: bytes = field(repr=False)
    origin: str
    clock: Callable[[], float]
    rng: Callable[[int], bytes]
    _answered: _Seen = field(default_factory=_Seen)
    _ended: _Seen = field(default_factory=_Seen)
    _keys: dict[bytes, bytes] = field(default_factory=dict, repr=False)

    def challenge(self, principal: str, key: bytes, client_nonce: bytes, origin: str) -> Issued:
        """Answer a client's nonce with ours, signed.

        Nothing is looked up: an unknown principal gets a challenge like any
        other, so this tells nobody who is registered.

        Raises:
            MalformedError: `principal` names neither a device nor an office.
            HandshakeError: the client means another origin than ours.
        """
        parse_principal(principal)
        if origin != self.origin:
            raise HandshakeError(
                "this relay is not the one that was meant", hint=f"its origin is {self.origin}"
            )
        nonce = self.rng(NONCE_SIZE)
        transcript = Transcript(
            principal, key, client_nonce, nonce, self.signer.public_bytes, self.origin
        )
        sealed = self._seal(
            b"challenge",
            {
                "p": principal,
                "k": key.hex(),
                "c": client_nonce.hex(),
                "r": nonce.hex(),
                "i": self.rng(ID_SIZE).hex(),
                "e": int(self.clock()) + CHALLENGE_LIFETIME,
            },
        )
        signature = self.signer.sign(transcript.for_relay())
        return Issued(nonce, self.signer.public_bytes, signature, sealed)

    def opened(self, challenge: bytes) -> Opened:
        """Read a challenge that came back.

        Raises:
            HandshakeError: it is not ours, has expired, or was answered before.
        """
        members = self._open(b"challenge", challenge)
        if members is None:
            raise HandshakeError("the challenge is not one of this relay's")
        transcript = Transcript(
            members["p"],
            bytes.fromhex(members["k"]),
            bytes.fromhex(members["c"]),
            bytes.fromhex(members["r"]),
            self.signer.public_bytes,
            self.origin,
        )
        opened = Opened(
            transcript, parse_principal(members["p"]), bytes.fromhex(members["i"]), members["e"]
        )
        if opened.expires < self.clock() or opened.id in self._answered:
            raise HandshakeError("the challenge has expired", hint="ask for a new one")
        return opened

    def prove(self, opened: Opened, key: VerifyKey, signature: bytes) -> tuple[str, Session]:
        """Check the client's signature and return a token and its session.

        Args:
            opened: from `opened`.
            key: a valid, unrevoked key of the principal, which the caller looked up.
            signature: the client's.

        Raises:
            HandshakeError: another key was named, or the signature does not hold.
        """
        if key_fingerprint(key.public) != opened.transcript.key:
            raise HandshakeError
        try:
            key.verify(signature, opened.transcript.for_client())
        except SignatureError:
            raise HandshakeError from None
        now = int(self.clock())
        # Only an answer that holds uses the challenge up: a wrong one costs its
        # sender a request and the honest client nothing.
        self._answered.add(opened.id, opened.expires, now)
        session = Session(
            opened.principal, opened.transcript.key, self.rng(ID_SIZE), now + TOKEN_LIFETIME
        )
        return self._token(session), session

    def check(self, token: str) -> Session:
        """Return the session of a token.

        The caller still has to ask whether its key was revoked since.

        Raises:
            NoTokenError: the token is not ours.
            SessionExpiredError: it has ended.
        """
        members = None
        if len(token) <= _MAX_TOKEN:
            try:
                raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
            except (binascii.Error, UnicodeEncodeError):
                raw = b""
            members = self._open(b"token", raw)
        if members is None:
            raise NoTokenError("the session token is not one of this relay's")
        session = Session(
            parse_principal(members["p"]),
            bytes.fromhex(members["k"]),
            bytes.fromhex(members["i"]),
            members["e"],
        )
        if session.expires <= self.clock() or session.id in self._ended:
            raise SessionExpiredError
        return session

    def end(self, session: Session) -> None:
        """End a session before its time, on this node."""
        self._ended.add(session.id, session.expires, int(self.clock()))

    def _token(self, session: Session) -> str:
        principal = session.principal
        sealed = self._seal(
            b"token",
            {
                "p": principal.uri,
                "k": session.key.hex(),
                "i": session.id.hex(),
                "e": session.expires,
            },
        )
        return base64.urlsafe_b64encode(sealed).decode()

    def _seal(self, label: bytes, members: dict[str, str | int]) -> bytes:
        body = json.dumps(members, separators=(",", ":")).encode()
        return kdf.hmac_sha256(self._key(label), body) + body

    def _open(self, label: bytes, data: bytes) -> dict[str, Any] | None:
        tag, body = data[:32], data[32:]
        if not hmac.compare_digest(tag, kdf.hmac_sha256(self._key(label), body)):
            return None
        # Under our own MAC: the members are those that `_seal` was given.
        members: dict[str, Any] = json.loads(body)
        return members

    def _key(self, label: bytes) -> bytes:
        # One key for each use: a challenge must never pass for a token.
        key = self._keys.get(label)
        if key is None:
            key = self._keys[label] = kdf.hmac_sha256(self.secret, b"liaison relay " + label)
        return key
