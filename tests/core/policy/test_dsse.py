"""Signed envelopes: who signed what, of which kind."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.policy import dsse
from liaison.policy.dsse import Envelope, Signature
from liaison.policy.errors import DocumentError, SignatureMissingError
from liaison.policy.keys import VerifyKey

KIND = "application/vnd.liaison.test+json"
ANNA, BERIT = (SigningKey.generate(SignatureScheme.ED25519) for _ in range(2))
KEY_A, KEY_B = VerifyKey.of(ANNA), VerifyKey.of(BERIT)


def test_the_signed_bytes_are_those_of_the_specification() -> None:
    # The example of the DSSE protocol page.
    assert (
        dsse.pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(payload=st.binary(max_size=200))
def test_every_envelope_survives_its_encoding(payload: bytes) -> None:
    envelope = dsse.sign(KIND, payload, [ANNA, BERIT])

    assert Envelope.decode(envelope.encode()) == envelope


def test_one_good_signature_by_a_wanted_key_is_enough() -> None:
    envelope = dsse.sign(KIND, b"x", [ANNA])

    assert dsse.verify(envelope, KIND, [KEY_B, KEY_A]) == KEY_A


def test_a_signature_by_someone_else_is_none() -> None:
    with pytest.raises(SignatureMissingError):
        dsse.verify(dsse.sign(KIND, b"x", [ANNA]), KIND, [KEY_B])


def test_without_keys_nothing_is_signed() -> None:
    with pytest.raises(SignatureMissingError):
        dsse.verify(dsse.sign(KIND, b"x", [ANNA]), KIND, [])


def test_a_signature_under_another_key_id_is_none() -> None:
    borrowed = dsse.sign(KIND, b"x", [ANNA]).signatures[0].signature
    envelope = Envelope(KIND, b"x", (Signature(KEY_B.key_id, borrowed),))

    with pytest.raises(SignatureMissingError, match="does not hold"):
        dsse.verify(envelope, KIND, [KEY_B])


def test_another_payload_is_not_signed() -> None:
    signed = dsse.sign(KIND, b"x", [ANNA])

    with pytest.raises(SignatureMissingError):
        dsse.verify(Envelope(KIND, b"y", signed.signatures), KIND, [KEY_A])


def test_a_document_of_another_kind_is_refused() -> None:
    with pytest.raises(DocumentError, match="not a"):
        dsse.verify(dsse.sign("other", b"x", [ANNA]), KIND, [KEY_A])


def test_a_signature_does_not_move_to_another_kind() -> None:
    signed = dsse.sign("other", b"x", [ANNA])

    with pytest.raises(SignatureMissingError):
        dsse.verify(Envelope(KIND, b"x", signed.signatures), KIND, [KEY_A])


def test_signing_twice_leaves_one_signature() -> None:
    envelope = dsse.sign(KIND, b"x", [ANNA, ANNA])

    assert len(envelope.signatures) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "QR=="},
        {"payloadType": 3},
        {"signatures": "x"},
        {"signatures": [{"keyid": "a"}]},
        {"signatures": [{"keyid": "a", "sig": "QQ==", "more": 1}]},
        {"signatures": [{"keyid": "a", "sig": "QQ=="}] * 257},
        {"extra": 1},
    ],
)
def test_a_malformed_envelope_is_refused(change: dict[str, object]) -> None:
    document = json.loads(dsse.sign(KIND, b"x", [ANNA]).encode())

    with pytest.raises(DocumentError):
        Envelope.decode(json.dumps({**document, **change}))


@pytest.mark.parametrize("scheme", [SignatureScheme.P256, SignatureScheme.P384])
def test_every_scheme_can_sign(scheme: SignatureScheme) -> None:
    key = SigningKey.generate(scheme)

    assert dsse.verify(dsse.sign(KIND, b"x", [key]), KIND, [VerifyKey.of(key)]).scheme is scheme


def test_one_key_signs_once() -> None:
    once = dsse.sign(KIND, b"x", [ANNA])
    twice = Envelope(KIND, b"x", once.signatures * 2)

    with pytest.raises(DocumentError, match="one key twice"):
        Envelope.decode(twice.encode())
