"""Bodies are strict: one spelling, no unknown members, bounded sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from liaison.wire import v1


@given(data=st.binary(min_size=1, max_size=200))
def test_bytes_travel_unharmed(data: bytes) -> None:
    body = v1.EnrolmentRequest(sealed=data)

    assert v1.EnrolmentRequest.model_validate_json(body.model_dump_json()) == body


@pytest.mark.parametrize("text", ["AA==", "A", "AB", "A A", "+/8", "é"])
def test_a_second_spelling_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        v1.EnrolmentRequest.model_validate({"sealed": text})


def test_an_unknown_member_is_refused() -> None:
    with pytest.raises(ValidationError):
        v1.SealedReply.model_validate({"sealed": "AA", "extra": 1})


def test_a_body_over_its_bound_is_refused() -> None:
    with pytest.raises(ValidationError):
        v1.EnrolmentRequest.model_validate({"sealed": v1.b64encode(bytes((64 << 10) + 1))})


def test_a_suite_has_sixteen_bits() -> None:
    with pytest.raises(ValidationError):
        v1.Claim(agreement="a", endpoint="nor/desk", suite=1 << 16)

    assert v1.Claim(agreement="a", endpoint="nor/desk", suite=0xFFFF).suite == 0xFFFF


@pytest.mark.parametrize("suite", ['"12"', "true", "12.0", "null"])
def test_a_number_is_a_number(suite: str) -> None:
    with pytest.raises(ValidationError):
        v1.KeyPackageCount.model_validate_json(
            f'{{"suite":{suite},"available":1,"last_resort":true}}'
        )


def test_a_reply_with_post_quantum_chains_fits() -> None:
    # Three schemes, each under an intermediate of ML-DSA-87, and two roots.
    reply = v1.EnrolmentReply(certificates=[], sealed=bytes(90_000))

    assert v1.SealedReply(sealed=reply.sealed).sealed == reply.sealed


def test_an_error_does_not_show_what_was_sent() -> None:
    with pytest.raises(ValidationError) as caught:
        v1.Session.model_validate({"token": ["secret"], "expires_ms": 1, "time_ms": 1})

    assert "secret" not in str(caught.value)


def test_a_session_does_not_show_its_token() -> None:
    assert "secret" not in repr(v1.Session(token="secret", expires_ms=1, time_ms=1))


@pytest.mark.parametrize("token", ["", "a b", "a\r\nHost: b", "a\n", "a\0", "\u00e9", "=a"])
def test_a_token_is_what_a_header_can_carry(token: str) -> None:
    with pytest.raises(ValidationError):
        v1.Session(token=token, expires_ms=1, time_ms=1)
