from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, SigningKey, verify
from liaison.policy.keys import VerifyKey
from liaison.relay.errors import NoTokenError, SessionExpiredError
from liaison.relay.sessions import Sessions
from liaison.wire.handshake import (
    CHALLENGE_LIFETIME,
    TOKEN_LIFETIME,
    HandshakeError,
    Transcript,
    key_fingerprint,
)

ORIGIN = "https://relay.example:8443"
DEVICE = "liaison://nor/defatt-berlin#d1"
ED25519 = SignatureScheme.ED25519
CLIENT = SigningKey.generate(ED25519)
RELAY = SigningKey.generate(ED25519)
SECRET = random_bytes(32)


class Desk:
    """A relay's sessions, and a client that talks to them."""

    def __init__(self, secret: bytes = SECRET) -> None:
        self.now = 1_800_000_000.0
        self.sessions = Sessions(RELAY, secret, ORIGIN, lambda: self.now, random_bytes)

    def transcript(self) -> tuple[Transcript, bytes]:
        nonce = random_bytes(32)
        key = key_fingerprint(CLIENT.public_bytes)
        issued = self.sessions.challenge(DEVICE, key, nonce, ORIGIN)
        transcript = Transcript(DEVICE, key, nonce, issued.relay_nonce, RELAY.public_bytes, ORIGIN)
        verify(ED25519, RELAY.public_bytes, issued.signature, transcript.for_relay())
        return transcript, issued.challenge

    def open(self) -> str:
        transcript, challenge = self.transcript()
        return self.prove(challenge, CLIENT.sign(transcript.for_client()))

    def prove(self, challenge: bytes, signature: bytes, key: SigningKey = CLIENT) -> str:
        opened = self.sessions.opened(challenge)
        return self.sessions.prove(opened, VerifyKey.of(key), signature)[0]


def test_a_client_that_proves_its_key_gets_a_token_that_names_it() -> None:
    desk = Desk()

    session = desk.sessions.check(desk.open())

    assert session.principal.uri == DEVICE
    assert session.key == key_fingerprint(CLIENT.public_bytes)
    assert session.expires == desk.now + TOKEN_LIFETIME


def test_the_relays_own_signature_does_not_pass_for_the_clients() -> None:
    desk = Desk()
    transcript, challenge = desk.transcript()

    with pytest.raises(HandshakeError):
        desk.prove(challenge, CLIENT.sign(transcript.for_relay()))


def test_a_transcript_for_another_origin_does_not_pass() -> None:
    desk = Desk()
    transcript, challenge = desk.transcript()
    other = Transcript(
        transcript.principal,
        transcript.key,
        transcript.client_nonce,
        transcript.relay_nonce,
        transcript.relay_key,
        "https://evil.example",
    )

    with pytest.raises(HandshakeError):
        desk.prove(challenge, CLIENT.sign(other.for_client()))


def test_a_client_that_means_another_relay_is_told_so() -> None:
    with pytest.raises(HandshakeError) as caught:
        Desk().sessions.challenge(DEVICE, bytes(32), bytes(32), "https://other.example")

    assert ORIGIN in caught.value.hint


def test_a_proof_counts_once() -> None:
    desk = Desk()
    transcript, challenge = desk.transcript()
    signature = CLIENT.sign(transcript.for_client())
    desk.prove(challenge, signature)

    with pytest.raises(HandshakeError):
        desk.prove(challenge, signature)


def test_a_wrong_proof_does_not_use_the_challenge_up() -> None:
    desk = Desk()
    transcript, challenge = desk.transcript()
    with pytest.raises(HandshakeError):
        desk.prove(challenge, bytes(64))

    desk.prove(challenge, CLIENT.sign(transcript.for_client()))


def test_a_challenge_expires() -> None:
    desk = Desk()
    transcript, challenge = desk.transcript()
    desk.now += CHALLENGE_LIFETIME + 1

    with pytest.raises(HandshakeError):
        desk.prove(challenge, CLIENT.sign(transcript.for_client()))


def test_another_key_than_the_one_that_was_named_does_not_pass() -> None:
    desk, other = Desk(), SigningKey.generate(ED25519)
    transcript, challenge = desk.transcript()

    with pytest.raises(HandshakeError):
        desk.prove(challenge, other.sign(transcript.for_client()), other)


def with_a_bit_changed(data: bytes, position: int) -> bytes:
    raw = bytearray(data)
    raw[position // 8 % len(raw)] ^= 1 << position % 8
    return bytes(raw)


@given(position=st.integers(0, 1 << 12))
def test_no_token_with_one_bit_changed_passes(position: int) -> None:
    desk = Desk()
    raw = with_a_bit_changed(base64.urlsafe_b64decode(desk.open()), position)

    with pytest.raises(HandshakeError):
        desk.sessions.check(base64.urlsafe_b64encode(raw).decode())


@given(position=st.integers(0, 1 << 12))
def test_no_challenge_with_one_bit_changed_passes(position: int) -> None:
    desk = Desk()
    raw = with_a_bit_changed(desk.transcript()[1], position)

    with pytest.raises(HandshakeError):
        desk.sessions.opened(raw)


def test_a_challenge_does_not_pass_for_a_token() -> None:
    desk = Desk()
    _, challenge = desk.transcript()

    with pytest.raises(NoTokenError):
        desk.sessions.check(base64.urlsafe_b64encode(challenge).decode())


@pytest.mark.parametrize("token", ["", "x", "ÿ", "=" * 8, "A" * 5000, "\n"])
def test_text_that_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(NoTokenError):
        Desk().sessions.check(token)


def test_a_token_of_another_relay_is_refused() -> None:
    token = Desk(random_bytes(32)).open()

    with pytest.raises(NoTokenError):
        Desk().sessions.check(token)


def test_a_second_node_with_the_same_secret_takes_the_token() -> None:
    token = Desk().open()

    assert Desk().sessions.check(token).principal.uri == DEVICE


def test_a_token_expires() -> None:
    desk = Desk()
    token = desk.open()
    desk.now += TOKEN_LIFETIME

    with pytest.raises(SessionExpiredError):
        desk.sessions.check(token)


def test_an_ended_session_does_not_count_and_others_of_the_device_do() -> None:
    desk = Desk()
    ended, other = desk.open(), desk.open()
    desk.sessions.end(desk.sessions.check(ended))

    with pytest.raises(SessionExpiredError):
        desk.sessions.check(ended)
    desk.sessions.check(other)


def test_what_is_remembered_is_forgotten_when_it_has_expired() -> None:
    desk = Desk()
    desk.open()
    desk.now += CHALLENGE_LIFETIME + 1

    desk.open()

    assert len(desk.sessions._answered._until) == 1


def test_no_secret_shows_in_the_repr() -> None:
    shown = repr(Desk().sessions)

    assert SECRET.hex() not in shown
    assert repr(SECRET) not in shown
