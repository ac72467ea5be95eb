"""Which credentials count in a group."""

from __future__ import annotations

import pytest

from liaison.crypto.signing import SignatureScheme
from liaison.mls.credentials import Credential
from liaison.mls.errors import CredentialInvalidError
from liaison.model import DeviceId, PartyCode
from liaison.trust import AgreementValidator, PartyValidator, certified_leaf
from liaison.trust.credentials import relay_sender
from tests.core.policy.documents import NOW, agreement, relay, relay_keys, world
from tests.support.world import Device

NOR = PartyCode("NOR")
ATTACHE = world().device("nor/defatt-berlin#d1")
OUTSIDER = world().device("swe/desk#d1")
RELAY_KEY = relay().sender_key(SignatureScheme.ED25519)
RELAY_CREDENTIAL = Credential.basic(b"relay.example")


def credential(device: Device) -> Credential:
    return Credential.x509(next(iter(device.chains.values())))


def validator(revoked: frozenset[tuple[PartyCode, str]] = frozenset()) -> AgreementValidator:
    return AgreementValidator(agreement(), revoked)


def test_a_device_of_a_party_counts_under_its_own_key() -> None:
    identity = validator().validate(credential(ATTACHE), ATTACHE.key.public_bytes, NOW)

    assert identity == b"liaison://nor/defatt-berlin#d1"
    certified = validator().certify(credential(ATTACHE), ATTACHE.key.public_bytes, NOW)
    assert certified.device == DeviceId.parse("nor/defatt-berlin#d1")


def test_a_certificate_for_another_key_does_not_count() -> None:
    with pytest.raises(CredentialInvalidError, match="another key"):
        validator().validate(credential(ATTACHE), OUTSIDER.key.public_bytes, NOW)


def test_a_device_of_a_party_outside_does_not_count() -> None:
    with pytest.raises(CredentialInvalidError):
        validator().validate(credential(OUTSIDER), OUTSIDER.key.public_bytes, NOW)


def test_a_revoked_device_does_not_count() -> None:
    revoked = frozenset({(NOR, ATTACHE.certified[0].serial)})

    with pytest.raises(CredentialInvalidError, match="revoked"):
        validator(revoked).validate(credential(ATTACHE), ATTACHE.key.public_bytes, NOW)


def test_what_is_revoked_later_counts_no_more() -> None:
    known: set[tuple[PartyCode, str]] = set()
    judge = AgreementValidator(agreement(), known)
    judge.validate(credential(ATTACHE), ATTACHE.key.public_bytes, NOW)

    known.add((NOR, ATTACHE.certified[0].serial))

    with pytest.raises(CredentialInvalidError):
        judge.validate(credential(ATTACHE), ATTACHE.key.public_bytes, NOW)


def test_an_expired_certificate_does_not_count() -> None:
    later = NOW + 400 * 86_400

    with pytest.raises(CredentialInvalidError):
        validator().validate(credential(ATTACHE), ATTACHE.key.public_bytes, later)


@pytest.mark.parametrize(
    "claim", [Credential.basic(b"liaison://nor/defatt-berlin#d1"), RELAY_CREDENTIAL]
)
def test_a_bare_claim_is_no_members_credential(claim: Credential) -> None:
    with pytest.raises(CredentialInvalidError, match="certificate chain"):
        validator().validate(claim, RELAY_KEY.public, NOW)


@pytest.mark.parametrize("chain", [(), (b"",), (b"x", b"y")])
def test_a_chain_that_is_none_does_not_count(chain: tuple[bytes, ...]) -> None:
    with pytest.raises(CredentialInvalidError):
        validator().validate(Credential.x509(chain), ATTACHE.key.public_bytes, NOW)


@pytest.mark.parametrize("scheme", relay_keys())
def test_the_agreements_relay_may_propose_from_outside(scheme: SignatureScheme) -> None:
    sender = relay_sender(relay(), relay().sender_key(scheme))

    identity = validator().validate_external_sender(sender.credential, sender.signature_key, NOW)

    assert identity == b"relay.example"


@pytest.mark.parametrize(
    ("claim", "key"),
    [
        (RELAY_CREDENTIAL, ATTACHE.key.public_bytes),
        (Credential.basic(b"other.example"), RELAY_KEY.public),
        (credential(ATTACHE), ATTACHE.key.public_bytes),
    ],
    ids=["other-key", "other-name", "a-member"],
)
def test_nobody_else_may_propose_from_outside(claim: Credential, key: bytes) -> None:
    with pytest.raises(CredentialInvalidError):
        validator().validate_external_sender(claim, key, NOW)


def test_without_an_agreement_there_is_no_relay() -> None:
    judge = PartyValidator([world().party("NOR").party])

    judge.validate(credential(ATTACHE), ATTACHE.key.public_bytes, NOW)
    with pytest.raises(CredentialInvalidError):
        judge.validate_external_sender(RELAY_CREDENTIAL, RELAY_KEY.public, NOW)


def test_a_validated_leaf_says_whose_it_is() -> None:
    assert certified_leaf(credential(ATTACHE)) == ATTACHE.certified[0]
    with pytest.raises(CredentialInvalidError):
        certified_leaf(RELAY_CREDENTIAL)
    with pytest.raises(CredentialInvalidError):
        certified_leaf(Credential.x509((b"x",)))
