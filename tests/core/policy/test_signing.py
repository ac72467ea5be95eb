"""Signing agreements: every authority, or it does not count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.model import PartyCode
from liaison.policy import dsse, signing
from liaison.policy.dsse import Envelope, Signature
from liaison.policy.errors import DocumentError, SignatureMissingError
from liaison.policy.keys import VerifyKey
from liaison.policy.signing import NotAnAuthorityError
from tests.core.policy.documents import agreement, world

NOR, DEU = PartyCode("NOR"), PartyCode("DEU")


def half_signed() -> bytes:
    return signing.sign(agreement(), world().party("NOR").authority_key)


def signed() -> bytes:
    return signing.add_signature(half_signed(), world().party("DEU").authority_key)


def test_an_agreement_that_all_authorities_signed_counts() -> None:
    assert signing.verify(signed()) == agreement()
    assert signing.signers(signed()) == {NOR, DEU}


def test_one_missing_authority_is_named() -> None:
    assert signing.signers(half_signed()) == {NOR}

    with pytest.raises(SignatureMissingError, match="DEU has not signed nor-deu-2026 version 1"):
        signing.verify(half_signed())


def test_a_registrar_can_not_sign_for_its_authority() -> None:
    with pytest.raises(NotAnAuthorityError):
        signing.sign(agreement(), world().party("NOR").registrar_key)


def test_a_stranger_can_not_sign() -> None:
    with pytest.raises(NotAnAuthorityError):
        signing.add_signature(half_signed(), SigningKey.generate(SignatureScheme.ED25519))


def test_a_changed_agreement_is_signed_by_nobody() -> None:
    envelope, _ = signing.read(signed())
    other = replace(agreement(), title="Changed")
    forged = replace(envelope, payload=other.payload()).encode()

    assert signing.signers(forged) == frozenset()
    with pytest.raises(SignatureMissingError):
        signing.verify(forged)


def test_one_signature_can_not_stand_for_two_parties() -> None:
    envelope, _ = signing.read(half_signed())
    german = world().party("DEU").party.authority_keys[0]
    doubled = Signature(german.key_id, envelope.signatures[0].signature)
    forged = replace(envelope, signatures=(*envelope.signatures, doubled)).encode()

    with pytest.raises(SignatureMissingError, match="DEU"):
        signing.verify(forged)


def test_nobody_signs_beside_a_forged_signature() -> None:
    envelope, _ = signing.read(half_signed())
    broken = Signature(envelope.signatures[0].key_id, bytes(64))
    forged = replace(envelope, signatures=(broken,)).encode()

    with pytest.raises(SignatureMissingError):
        signing.add_signature(forged, world().party("DEU").authority_key)


def test_another_document_is_no_agreement() -> None:
    key = world().party("NOR").authority_key
    data = dsse.sign("application/json", agreement().payload(), [key]).encode()

    with pytest.raises(DocumentError, match="not an agreement"):
        signing.verify(data)


def test_any_one_of_a_partys_authority_keys_is_enough() -> None:
    fresh = SigningKey.generate(SignatureScheme.P384)
    nor, deu = agreement().parties
    nor = replace(nor, authority_keys=(*nor.authority_keys, VerifyKey.of(fresh)))
    draft = replace(agreement(), parties=(nor, deu))

    data = signing.add_signature(signing.sign(draft, fresh), world().party("DEU").authority_key)

    assert signing.verify(data) == draft


def test_an_unsigned_envelope_verifies_for_nobody() -> None:
    data = Envelope(signing.PAYLOAD_TYPE, agreement().payload()).encode()

    assert signing.signers(data) == frozenset()
    with pytest.raises(SignatureMissingError):
        signing.verify(data)
