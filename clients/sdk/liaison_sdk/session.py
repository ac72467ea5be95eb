"""The session with the relay: both sides prove their keys, and a token stands for it.

It opens on first use, is renewed before it ends, and anew when the relay says
that it has ended.

What is signed stands in `liaison.wire.handshake`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from liaison.crypto.errors import SignatureError
from liaison.crypto.signing import Signer
from liaison.policy.relay_identity import RelayIdentity
from liaison.values import dataclass
from liaison.wire import handshake, v1
from liaison_sdk import exchange
from liaison_sdk.errors import RelayUntrustedError

if TYPE_CHECKING:
    from liaison_sdk.transport import Transport

_RENEW_BEFORE: Final = 60
"""Seconds before a token's end at which it is renewed."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who opens the session, and the key that proves it."""

    principal: handshake.Principal
    signer: Signer


@dataclass(frozen=True, slots=True)
class _Token:
    session: v1.Session
    renew_at: float

    def __repr__(self) -> str:
        return "<token>"


class Sessions:
    """Opens and remembers the session.

    Args:
        transport: reaches the relay.
        relay: the pinned identity; None where no session is opened (enrolment).
        login: who opens sessions; None as above.
        clock: Unix time in seconds, to know when a token ends.
        rng: source of nonces.
    """

    def __init__(
        self,
        transport: Transport,
        relay: RelayIdentity | None,
        login: Login | None,
        clock: Callable[[], float],
        rng: Callable[[int], bytes],
    ) -> None:
        self.relay = relay
        self._transport: Final = transport
        self._login: Final = login
        self._clock: Final = clock
        self._rng: Final = rng
        self._token: _Token | None = None
        self._opening: Final = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether a session was opened and not forgotten."""
        return self._token is not None

    async def current(self) -> v1.Session:
        """Return a session that lasts a while yet, opening one where needed.

        Raises:
            RelayUntrustedError: the relay did not prove the pinned identity.
            RemoteError: the relay refused.
            ConnectionLostError: it can't be reached.
        """
        async with self._opening:
            if self._token is None or self._clock() >= self._token.renew_at:
                session = await self._authenticate()
                # The token's end is on the relay's clock; what counts is how long it lasts.
                left = (session.expires_ms - session.time_ms) / 1000
                margin = min(_RENEW_BEFORE, left / 2)
                self._token = _Token(session, self._clock() + left - margin)
            return self._token.session

    def forget(self) -> None:
        """Open a new session at the next use."""
        self._token = None

    async def _authenticate(self) -> v1.Session:
        relay, login = self.relay, self._login
        if relay is None or login is None:
            raise RelayUntrustedError("no relay is pinned, so no session can be opened")
        key = handshake.key_fingerprint(login.signer.public_bytes)
        nonce = self._rng(handshake.NONCE_SIZE)
        asked = v1.ChallengeRequest(
            principal=login.principal.uri, key=key, client_nonce=nonce, origin=relay.url
        )
        challenge = await exchange.call(
            self._transport, v1.Challenge, "POST", "/v1/session/challenges", asked
        )
        transcript = handshake.Transcript(
            principal=login.principal.uri,
            key=key,
            client_nonce=nonce,
            relay_nonce=challenge.relay_nonce,
            relay_key=challenge.relay_key,
            origin=relay.url,
        )
        # The relay first: a stranger gets no signature of ours.
        _verify_relay(relay, challenge, transcript)
        answer = v1.SessionRequest(
            challenge=challenge.challenge, signature=login.signer.sign(transcript.for_client())
        )
        return await exchange.call(self._transport, v1.Session, "POST", "/v1/session", answer)


def _verify_relay(
    relay: RelayIdentity, challenge: v1.Challenge, transcript: handshake.Transcript
) -> None:
    for key in relay.identity_keys:
        if key.public == challenge.relay_key:
            try:
                key.verify(challenge.signature, transcript.for_relay())
            except SignatureError as e:
                raise RelayUntrustedError(
                    f"the server does not hold the key of the relay {relay.origin}"
                ) from e
            return
    raise RelayUntrustedError(
        f"the server names a key that is not one of the relay {relay.origin}",
        hint="an impostor, or a relay whose new key is in an agreement that is not here yet",
    )
