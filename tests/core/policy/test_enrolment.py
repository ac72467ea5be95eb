"""Enrolment through a relay that would like to interfere."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto import kdf
from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.crypto.x509 import CertificateError
from liaison.model import DeviceId
from liaison.policy import canonical, enrolment
from liaison.policy.enrolment import Code, EnrolmentReply, SealedRequest
from liaison.policy.errors import EnrolmentCodeError, EnrolmentError
from tests.core.policy.documents import NOW, relay, world
from tests.support.world import Device

DEVICE = "nor/defatt-berlin#d1"
SCHEMES = (SignatureScheme.ED25519, SignatureScheme.P384)


def device() -> Device:
    return world().device(DEVICE, SCHEMES)


def request_of(code: Code, owner: Device) -> SealedRequest:
    return enrolment.seal_request(code, list(owner.keys.values()), random_bytes)


def reply_to(owner: Device, **changes: object) -> EnrolmentReply:
    plain = EnrolmentReply(
        owner.device, tuple(owner.chains.values()), world().party("NOR").party, relay()
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # fields by name


def sealed(code: Code, request: SealedRequest, reply: EnrolmentReply) -> bytes:
    digest = enrolment.open_request(code, request.data).digest
    return enrolment.seal_reply(code, digest, reply, random_bytes)


def test_device_and_registrar_find_each_other() -> None:
    code, owner = Code.generate(random_bytes), device()
    request = request_of(code, owner)

    opened = enrolment.open_request(code, request.data)
    answer = enrolment.seal_reply(code, opened.digest, reply_to(owner), random_bytes)
    reply = enrolment.open_reply(code, request, answer, NOW)

    assert opened.keys == request.keys
    assert opened.digest == request.digest
    assert reply == reply_to(owner)


@given(lookup=st.binary(min_size=16, max_size=16), secret=st.binary(min_size=16, max_size=16))
def test_every_code_comes_back_from_its_text(lookup: bytes, secret: bytes) -> None:
    code = Code(lookup, secret)

    assert Code.parse(str(code)) == code
    assert Code.parse(str(code).lower().replace("-", " ")) == code
    assert Code.parse(str(code).replace("0", "O").replace("1", "l")) == code


def test_a_code_is_fourteen_groups_of_four() -> None:
    groups = str(Code(bytes(16), bytes(16))).split("-")

    assert [len(group) for group in groups] == [4] * 14


@given(position=st.integers(0, 55), other=st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
def test_every_mistyped_letter_is_noticed(position: int, other: str) -> None:
    symbols = str(Code(b"\x11" * 16, b"\x22" * 16)).replace("-", "")
    mistyped = symbols[:position] + other + symbols[position + 1 :]
    if mistyped == symbols:
        return

    with pytest.raises(EnrolmentCodeError):
        Code.parse(mistyped)


@pytest.mark.parametrize("text", ["", "ABCD", "U" * 56, "é" * 56, "0" * 57, "-" * 600])
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(EnrolmentCodeError):
        Code.parse(text)


def test_a_code_hides_its_secret_from_logs() -> None:
    code = Code(bytes(16), b"\xab" * 16)

    assert "ab" * 4 not in repr(code)
    assert str(code) not in repr(code)
    assert repr(code.secret) not in repr(code)


def test_the_relay_sees_the_lookup_id_only() -> None:
    code, owner = Code.generate(random_bytes), device()
    request = request_of(code, owner)

    assert code.secret not in request.data
    for key in owner.keys.values():
        assert key.public_bytes not in request.data


def test_a_swapped_request_does_not_open() -> None:
    code, relays_guess = Code.generate(random_bytes), Code.generate(random_bytes)
    swapped = request_of(Code(code.lookup_id, relays_guess.secret), device())

    with pytest.raises(EnrolmentError):
        enrolment.open_request(code, swapped.data)


def test_a_request_does_not_open_under_another_lookup_id() -> None:
    code = Code.generate(random_bytes)
    request = request_of(code, device())

    with pytest.raises(EnrolmentError):
        enrolment.open_request(Code(bytes(16), code.secret), request.data)


@given(position=st.integers(0, 5000), bit=st.integers(0, 7))
def test_every_altered_bit_of_a_request_is_noticed(position: int, bit: int) -> None:
    altered = bytearray(REQUEST.data)
    altered[position % len(altered)] ^= 1 << bit

    with pytest.raises(EnrolmentError):
        enrolment.open_request(CODE, bytes(altered))


@given(position=st.integers(0, 5000), bit=st.integers(0, 7))
def test_every_altered_bit_of_a_reply_is_noticed(position: int, bit: int) -> None:
    altered = bytearray(REPLY)
    altered[position % len(altered)] ^= 1 << bit

    with pytest.raises(EnrolmentError):
        enrolment.open_reply(CODE, REQUEST, bytes(altered), NOW)


def test_a_reply_to_an_earlier_request_is_noticed() -> None:
    code, owner = Code.generate(random_bytes), device()
    early, late = request_of(code, owner), request_of(code, owner)
    answer = sealed(code, early, reply_to(owner))

    with pytest.raises(EnrolmentError):
        enrolment.open_reply(code, late, answer, NOW)


def test_a_reply_for_another_code_is_noticed() -> None:
    first, second = Code.generate(random_bytes), Code.generate(random_bytes)
    owner = device()
    answer = sealed(second, request_of(second, owner), reply_to(owner))

    with pytest.raises(EnrolmentError):
        enrolment.open_reply(first, request_of(first, owner), answer, NOW)


def test_a_request_is_not_taken_for_a_reply() -> None:
    with pytest.raises(EnrolmentError):
        enrolment.open_reply(CODE, REQUEST, REQUEST.data, NOW)
    with pytest.raises(EnrolmentError):
        enrolment.open_request(CODE, REPLY)


def test_certificates_for_other_keys_are_refused() -> None:
    code, owner, other = Code.generate(random_bytes), device(), device()
    request = request_of(code, owner)

    with pytest.raises(EnrolmentError, match="not for the keys"):
        enrolment.open_reply(code, request, sealed(code, request, reply_to(other)), NOW)


def test_a_missing_certificate_is_refused() -> None:
    code, owner = Code.generate(random_bytes), device()
    request = request_of(code, owner)
    reply = reply_to(owner, chains=tuple(owner.chains.values())[:1])

    with pytest.raises(EnrolmentError, match="not for the keys"):
        enrolment.open_reply(code, request, sealed(code, request, reply), NOW)


def test_certificates_for_another_device_are_refused() -> None:
    code, owner = Code.generate(random_bytes), device()
    request = request_of(code, owner)
    reply = reply_to(owner, device=DeviceId.parse("nor/defatt-berlin#d2"))

    with pytest.raises(EnrolmentError, match="not for nor/defatt-berlin#d2"):
        enrolment.open_reply(code, request, sealed(code, request, reply), NOW)


def test_anchors_that_do_not_carry_the_certificates_are_refused() -> None:
    code, owner = Code.generate(random_bytes), device()
    request = request_of(code, owner)
    reply = reply_to(owner, party=replace(world().party("NOR").party, roots=OTHER_ROOTS))

    with pytest.raises(CertificateError):
        enrolment.open_reply(code, request, sealed(code, request, reply), NOW)


def test_a_device_of_another_party_than_its_anchors_is_refused() -> None:
    code, owner = Code.generate(random_bytes), device()
    request = request_of(code, owner)
    reply = reply_to(owner, party=world().party("DEU").party)

    with pytest.raises(EnrolmentError, match="not a device of DEU"):
        enrolment.open_reply(code, request, sealed(code, request, reply), NOW)


def test_a_key_without_proof_of_possession_is_refused() -> None:
    code, owner, thief = Code.generate(random_bytes), device(), device()
    payload = json.loads(_payload(code, request_of(code, thief)))
    payload["keys"][0]["key"] = json.loads(_payload(code, request_of(code, owner)))["keys"][0][
        "key"
    ]
    forged = enrolment._seal(code, enrolment._REQUEST, b"", canonical.encode(payload), random_bytes)

    with pytest.raises(EnrolmentError, match="did not prove"):
        enrolment.open_request(code, forged)


def test_a_proof_does_not_serve_for_another_code() -> None:
    first, second = Code.generate(random_bytes), Code.generate(random_bytes)
    payload = _payload(first, request_of(first, device()))
    moved = enrolment._seal(second, enrolment._REQUEST, b"", payload, random_bytes)

    with pytest.raises(EnrolmentError, match="did not prove"):
        enrolment.open_request(second, moved)


@pytest.mark.parametrize("count", [0, 2])
def test_a_request_has_one_key_per_scheme(count: int) -> None:
    keys = [SigningKey.generate(SignatureScheme.ED25519) for _ in range(count)]

    with pytest.raises(EnrolmentError):
        enrolment.seal_request(CODE, keys, random_bytes)


@pytest.mark.parametrize("data", [b"", bytes(12), bytes(2 * 1024 * 1024)])
def test_a_message_of_an_impossible_length_is_refused(data: bytes) -> None:
    with pytest.raises(EnrolmentError, match="length"):
        enrolment.open_request(CODE, data)


def test_two_requests_never_share_a_nonce() -> None:
    code, owner = Code.generate(random_bytes), device()

    assert request_of(code, owner).data[:12] != request_of(code, owner).data[:12]


def test_the_digest_is_that_of_the_sealed_bytes() -> None:
    assert REQUEST.digest == kdf.sha256(REQUEST.data)


def _payload(code: Code, request: SealedRequest) -> bytes:
    return enrolment._open(code, enrolment._REQUEST, b"", request.data)


CODE, OWNER = Code.generate(random_bytes), device()
REQUEST = request_of(CODE, OWNER)
REPLY = sealed(CODE, REQUEST, reply_to(OWNER))
OTHER_ROOTS = type(world())(now=NOW).party("NOR").party.roots
