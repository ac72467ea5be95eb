"""Whose signatures make a checkpoint of an agreement's log count."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations

import pytest

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.model import PartyCode
from liaison.policy import templates
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import Witness
from liaison.policy.keys import VerifyKey
from liaison.policy.templates import Template
from liaison.tlog import quorum
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import NoteUnsignedError, OriginError, QuorumError
from liaison.tlog.note import Note
from liaison.tlog.policy import Policy
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.trust import log
from tests.core.policy.documents import DAY, NOW, relay, world

CODES = ("NOR", "DEU", "SWE", "FIN", "DNK")
TYPES = {
    SignatureScheme.ED25519: SignatureType.COSIGNATURE_ED25519,
    SignatureScheme.MLDSA44: SignatureType.COSIGNATURE_MLDSA44,
}


@cache
def signer(name: str, scheme: SignatureScheme = SignatureScheme.ED25519) -> SigningKey:
    return SigningKey.generate(scheme)


def witnessed(*names: str, parties: int = 2) -> Agreement:
    """An agreement with witnesses such as `NOR-1`."""
    identity = replace(relay(), log_keys=(VerifyKey.of(signer("log")),))
    made = templates.new(
        Template.MULTILATERAL,
        agreement_id="partners",
        parties=[world().party(code).party for code in CODES[: max(parties, 2)]],
        relay=identity,
        valid_from=NOW,
        valid_until=NOW + DAY,
    )
    found = (Witness(PartyCode(name[:3]), name, VerifyKey.of(signer(name))) for name in names)
    return replace(made, witnesses=tuple(found))


def note(agreement: Agreement, *names: str, origin: str | None = None) -> bytes:
    """A checkpoint, signed by the log and cosigned by witnesses."""
    text = Checkpoint(origin or log.origin(agreement), 7, bytes(32)).text
    name = origin or log.origin(agreement)
    key = VerifierKey.of(name, SignatureType.ED25519, signer("log"))
    made = Note(text, ()).signed_by(key, signer("log"))
    for each in names:
        cosigner = VerifierKey.of(each, SignatureType.COSIGNATURE_ED25519, signer(each))
        made = made.signed_by(cosigner, signer(each), NOW)
    return made.encode()


def test_the_log_is_named_by_relay_and_agreement_and_its_successors_by_number() -> None:
    agreement = witnessed()

    assert log.origin(agreement) == "relay.example/log/partners"
    assert log.origin(agreement, 2) == "relay.example/log/partners/2"


def test_without_witnesses_the_relays_signature_counts() -> None:
    agreement = witnessed()

    cosigned = log.verify(agreement, note(agreement), party=PartyCode("NOR"))

    assert (cosigned.checkpoint.size, dict(cosigned.witnesses)) == (7, {})


def test_an_agreement_whose_relay_names_no_log_key_has_no_log() -> None:
    agreement = replace(witnessed(), relay=relay())

    assert log.has_log(witnessed())
    assert not log.has_log(agreement)
    with pytest.raises(OriginError):
        log.verify(agreement, note(agreement))


def test_two_parties_must_both_have_cosigned() -> None:
    agreement = witnessed("NOR-1", "DEU-1")

    assert log.verify(agreement, note(agreement, "NOR-1", "DEU-1")).witnesses.keys() == {
        "NOR-1",
        "DEU-1",
    }
    for present in ((), ("NOR-1",), ("DEU-1",)):
        with pytest.raises(QuorumError):
            log.verify(agreement, note(agreement, *present))


def test_a_reader_requires_the_witnesses_of_its_own_party_beyond_the_quorum() -> None:
    names = [f"{code}-1" for code in CODES]
    agreement = witnessed(*names, parties=5)
    without_norway = note(agreement, *names[1:])

    assert len(log.verify(agreement, without_norway, party=PartyCode("DEU")).witnesses) == 4
    with pytest.raises(QuorumError, match="NOR's witnesses"):
        log.verify(agreement, without_norway, party=PartyCode("NOR"))


def test_of_a_partys_several_witnesses_more_than_half_must_have_cosigned() -> None:
    agreement = witnessed("NOR-1", "NOR-2", "NOR-3", "DEU-1")

    assert len(log.verify(agreement, note(agreement, "NOR-1", "NOR-3", "DEU-1")).witnesses) == 3
    with pytest.raises(QuorumError):
        log.verify(agreement, note(agreement, "NOR-1", "DEU-1"))
    assert log.own_witnesses(agreement, PartyCode("NOR")) == ("NOR-1", "NOR-2", "NOR-3")


@pytest.mark.parametrize("parties", [2, 3, 4, 5])
@pytest.mark.parametrize("each", [1, 2, 3])
def test_no_party_alone_can_help_the_log_to_two_histories(parties: int, each: int) -> None:
    codes = CODES[:parties]
    names = [f"{code}-{number}" for code in codes for number in range(each)]
    agreement = witnessed(*names, parties=parties)
    suspects = [log.own_witnesses(agreement, PartyCode(code)) for code in codes]

    quorum.verify_intersecting(log.policy(agreement), suspects)


@pytest.mark.parametrize("parties", [3, 4, 5])
def test_of_many_parties_a_quorum_does_without_some_only_where_it_stays_safe(parties: int) -> None:
    names = [f"{code}-1" for code in CODES[:parties]]
    policy = log.policy(witnessed(*names, parties=parties))

    sizes = {k for k in range(parties + 1) for c in combinations(names, k) if policy.is_quorum(c)}

    assert min(sizes) == {3: 3, 4: 3, 5: 4}[parties]


def test_the_policy_is_one_that_tools_of_others_can_read() -> None:
    names = [f"{code}-{number}" for code in CODES for number in range(11)]
    agreement = witnessed(*names, parties=5)

    assert Policy.parse(log.policy(agreement).encode()) == log.policy(agreement)


def test_the_signature_of_another_log_of_the_relay_does_not_count() -> None:
    agreement = witnessed()

    with pytest.raises(OriginError):
        log.verify(agreement, note(agreement, origin="relay.example/log/others"))


def test_a_checkpoint_that_the_relay_has_not_signed_does_not_count() -> None:
    agreement = witnessed("NOR-1", "DEU-1")
    other = replace(
        agreement, relay=replace(agreement.relay, log_keys=(VerifyKey.of(signer("other")),))
    )

    with pytest.raises(NoteUnsignedError):
        log.verify(other, note(agreement, "NOR-1", "DEU-1"))


def test_a_witness_may_have_a_post_quantum_key() -> None:
    key = signer("pq", SignatureScheme.MLDSA44)
    agreement = replace(
        witnessed(), witnesses=(Witness(PartyCode("NOR"), "NOR-pq", VerifyKey.of(key)),)
    )
    vkey = VerifierKey.of("NOR-pq", SignatureType.COSIGNATURE_MLDSA44, key)
    signed = Note.decode(note(agreement)).signed_by(vkey, key, NOW).encode()

    assert log.verify(agreement, signed, party=PartyCode("NOR")).witnesses == {"NOR-pq": NOW}
