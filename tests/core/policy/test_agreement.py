"""Agreements: read, written, and refused with line and field."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.labels.builtin import TLP
from liaison.model import PartyCode
from liaison.policy import agreement_yaml, canonical, templates
from liaison.policy.agreement import (
    Agreement,
    AgreementKind,
    UnknownChannelPolicyError,
    UnknownPartyError,
)
from liaison.policy.agreement_rules import Witness
from liaison.policy.errors import DocumentError, DocumentTooLargeError
from liaison.policy.fields import Node
from liaison.policy.keys import VerifyKey
from liaison.policy.log_rules import LogRules
from tests.core.policy.documents import (
    ATTACHE,
    DAY,
    NOW,
    OUTSIDER,
    agreement,
    document,
    relay,
    world,
)


def channel(**changes: Any) -> list[Any]:
    return [{**document()["channels"][0], **changes}]


def rule(**changes: Any) -> list[Any]:
    return channel(send=[{**document()["channels"][0]["send"][0], **changes}])


@cache
def key_of(scheme: SignatureScheme) -> VerifyKey:
    return VerifyKey.of(SigningKey.generate(scheme))


def witnesses(
    name: str = "w.example", scheme: SignatureScheme = SignatureScheme.ED25519
) -> list[Any]:
    return [Witness(PartyCode("NOR"), name, key_of(scheme)).document()]


@pytest.mark.parametrize("kind", AgreementKind)
def test_every_template_is_an_agreement_that_survives_json_and_yaml(kind: AgreementKind) -> None:
    draft = agreement(kind)

    assert Agreement.from_payload(draft.payload()) == draft
    assert agreement_yaml.parse(agreement_yaml.render(draft)) == draft


def test_json_is_read_where_yaml_is() -> None:
    assert agreement_yaml.parse(agreement().payload().decode()) == agreement()


@pytest.mark.parametrize("scheme", [SignatureScheme.ED25519, SignatureScheme.MLDSA44])
def test_a_witness_has_a_key_of_either_scheme_that_cosigns(scheme: SignatureScheme) -> None:
    witnessed = Agreement.from_node(Node.of(document(witnesses=witnesses(scheme=scheme))))

    assert agreement_yaml.parse(agreement_yaml.render(witnessed)) == witnessed
    assert [witness.key.scheme for witness in witnessed.witnesses] == [scheme]


def test_the_digest_names_exactly_this_version() -> None:
    other = replace(agreement(), title="Another title")

    assert other.digest() != agreement().digest()
    assert len(agreement().digest()) == 32


def test_the_next_version_names_the_one_before() -> None:
    second = replace(agreement(), version=2, previous=agreement().digest())

    assert Agreement.from_payload(second.payload()) == second


def test_an_agreement_is_in_force_in_its_period() -> None:
    draft = agreement()

    assert draft.is_in_force(draft.valid_from)
    assert draft.is_in_force(draft.valid_until)
    assert not draft.is_in_force(draft.valid_from - 1)
    assert not draft.is_in_force(draft.valid_until + 1)


def test_people_of_other_parties_are_never_included() -> None:
    everyone = agreement_yaml.parse(
        agreement_yaml.render(agreement()).replace("- NOR\n  - DEU", "- '*'")
    ).channels[0]

    assert agreement().includes(everyone.read, ATTACHE)
    assert not agreement().includes(everyone.read, OUTSIDER)


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownChannelPolicyError) as caught:
        agreement().channel("hotline")
    with pytest.raises(UnknownPartyError):
        agreement().party(PartyCode("SWE"))

    assert "liaison" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "x"}, "format must be"),
        ({"id": "NOR DEU"}, "id must be"),
        ({"version": 0}, "version must be between"),
        ({"version": 2}, "previous must name the version before"),
        ({"previous": "sha256:" + "0" * 64}, "previous must name the version before"),
        ({"previous": "0" * 64, "version": 2}, "previous must be null or sha256:"),
        ({"kind": "alliance"}, "kind must be one of bilateral"),
        ({"valid_until": "2020-01-01T00:00:00Z"}, "valid_until must be after valid_from"),
        ({"valid_from": "tomorrow"}, "valid_from is wrong"),
        ({"cipher_suite": "0xFFFF"}, "cipher_suite can't be used"),
        ({"cipher_suite": "61442"}, "cipher_suite must be"),
        ({"parties": []}, "parties must have 2"),
        ({"labels": {"policy": "x", "ceiling": "a", "default": "a"}}, "is not a label policy"),
        ({"labels": {"policy": TLP.policy_id, "ceiling": "RED", "default": "TLP:RED"}}, "labels"),
        (
            {"labels": {"policy": TLP.policy_id, "ceiling": "TLP:GREEN", "default": "TLP:RED"}},
            "default is above the ceiling",
        ),
        ({"roles": {"Officers": []}}, "not a role's name"),
        ({"roles": {"officers": ["role:officers"]}}, "a role inside a role"),
        ({"roles": {"officers": ["SWE"]}}, "SWE is not a party here"),
        ({"roles": {"officers": ["NOR", "NOR"]}}, "names someone twice"),
        ({"channels": channel() + channel()}, "two policies of one name"),
        ({"channels": channel(read=["swe/desk"])}, r"channels\[0\] names swe/desk"),
        ({"channels": channel(add=["role:x"])}, "role x, which is not defined"),
        ({"channels": channel(add=["nor"])}, r"channels\[0\]\.add\[0\] is wrong"),
        ({"channels": channel(name="A b")}, r"channels\[0\]\.name must be"),
        ({"channels": channel(retention_days=0)}, r"channels\[0\]\.retention_days must be"),
        ({"channels": channel(unknown=1)}, r"channels\[0\]\.unknown is not a field"),
        ({"channels": rule(highest="DEFERRED", lowest="FLASH")}, r"send\[0\]\.highest is below"),
        ({"channels": rule(highest="flash")}, "write FLASH"),
        ({"channels": rule(highest="URGENT")}, "is not a precedence"),
        ({"channels": rule(kinds=["poem"])}, "is not a kind of message"),
        (
            {"witnesses": [{"party": "SWE", "name": "w", "key": {}}]},
            r"witnesses\[0\]\.key lacks the field",
        ),
        ({"witnesses": witnesses(name="a witness")}, r"witnesses\[0\]\.name is not a witness's"),
        ({"witnesses": witnesses(name="quorum")}, r"witnesses\[0\]\.name is not a witness's"),
        ({"witnesses": witnesses(name="DEU")}, r"witnesses\[0\] has the name DEU, which is taken"),
        ({"witnesses": witnesses() * 2}, r"witnesses\[1\] has the name w\.example, which is taken"),
        (
            {"witnesses": [*witnesses(), *witnesses(name="other.example")]},
            r"witnesses\[1\] has the key of another one",
        ),
        ({"witnesses": witnesses(scheme=SignatureScheme.P256)}, "that witnesses do not use"),
        ({"log": {"report_after": "0s", "grace": "1d"}}, r"log\.report_after must be a second"),
        ({"log": {"report_after": "10m"}}, "log lacks the field grace"),
    ],
)
def test_a_wrong_agreement_is_refused_with_the_field(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        Agreement.from_node(Node.of(document(**changes)))


def test_a_bilateral_agreement_has_two_parties() -> None:
    parties = [world().party(code).party.document() for code in ("NOR", "DEU", "SWE")]

    with pytest.raises(DocumentError, match="must be two"):
        Agreement.from_node(Node.of(document(parties=parties)))


def test_a_party_stands_once() -> None:
    party = world().party("NOR").party.document()

    with pytest.raises(DocumentError, match="names a party twice"):
        Agreement.from_node(Node.of(document(parties=[party, party])))


def test_two_parties_share_no_key() -> None:
    nor, deu = world().party("NOR").party, world().party("DEU").party
    borrowed = replace(deu, authority_keys=nor.registrar_keys)

    with pytest.raises(DocumentError, match="shares a key"):
        Agreement.from_node(Node.of(document(parties=[nor.document(), borrowed.document()])))


def test_a_log_may_be_without_its_witnesses_for_no_time_at_all() -> None:
    strict = {"report_after": "1s", "grace": "0s"}

    agreement = Agreement.from_node(Node.of(document(log=strict)))

    assert agreement.log == LogRules(report_after=1, grace=0)
    assert agreement.log.document() == strict


def test_a_witness_belongs_to_a_party() -> None:
    key = world().party("NOR").party.authority_keys[0].document()
    witness = {"party": "SWE", "name": "w.example", "key": key}

    with pytest.raises(DocumentError, match="not a party here"):
        Agreement.from_node(Node.of(document(witnesses=[witness])))


def test_a_suite_that_the_relay_has_no_key_for_is_refused() -> None:
    bare = relay().document()
    bare["sender_keys"] = [relay().sender_key(SignatureScheme.P256).document()]

    with pytest.raises(DocumentError, match="no ed25519 key"):
        Agreement.from_node(Node.of(document(relay=bare)))


def test_an_error_in_yaml_names_the_line() -> None:
    text = agreement_yaml.render(agreement()).replace("max_members: 200", "max_members: many")
    line = 1 + text.splitlines().index("  max_members: many")

    with pytest.raises(DocumentError, match=rf"line {line}: channels\[0\]\.max_members must be"):
        agreement_yaml.parse(text)


def test_text_that_yaml_would_turn_into_something_else_stays_text() -> None:
    node = agreement_yaml.load("a: NO\nb: 2026-11-21\nc: 1.5\nd: 'true'\ne: 0xF002\nf: on")

    assert {k: v.value for k, v in node.fields("abcdef").items()} == {
        "a": "NO",
        "b": "2026-11-21",
        "c": "1.5",
        "d": "true",
        "e": "0xF002",
        "f": "on",
    }


def test_plain_words_for_truth_nothing_and_numbers_are_read_as_such() -> None:
    node = agreement_yaml.load("a: true\nb: null\nc: -3\nd:\ne: false")

    assert [v.value for v in node.fields("abcde").values()] == [True, None, -3, None, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x 1\nb: *x", "line 1: aliases"),
        ("a: 1\nb: *x", "line 2"),
        ("a: !!python/object:os.system x", "line 1: tags"),
        ("a: !local x", "line 1: tags"),
        ("a: 1\na: 2", "line 2: the field a stands twice"),
        ("a: [1", "not YAML"),
        ("? [x]\n: 1", "field's name is not text"),
        ("a: 1\n---\nb: 2", "not YAML"),
        ("", "empty"),
        ("a: \x00", "not YAML"),
        ("[" * 100, "nested too deeply"),
        ('a: "\\U00110000"', "not YAML"),
        ('a: "\\UFFFFFFFF"', "not YAML"),
        ("%YAML " + "9" * 5000 + ".1\n--- a", "not YAML"),
        ('"\\e": 1\n"\\e": 2', r"the field \\x1b stands twice"),
    ],
)
def test_dangerous_parts_of_yaml_are_refused(text: str, words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        agreement_yaml.load(text)


def test_a_huge_document_is_not_even_parsed() -> None:
    with pytest.raises(DocumentTooLargeError):
        agreement_yaml.load(" " * 3_000_000)


def test_a_payload_has_one_spelling() -> None:
    respelled = document()
    respelled["times"]["dtg_behind"] = "24h"

    with pytest.raises(DocumentError, match="not spelled"):
        Agreement.from_payload(canonical.encode(respelled))


def test_a_payload_in_another_layout_is_refused() -> None:
    with pytest.raises(DocumentError, match="canonical"):
        Agreement.from_payload(json.dumps(document()).encode())


def test_a_template_refuses_what_does_not_make_an_agreement() -> None:
    with pytest.raises(DocumentError, match="must be two"):
        templates.new(
            AgreementKind.BILATERAL,
            agreement_id="x",
            parties=[world().party(code).party for code in ("NOR", "DEU", "SWE")],
            relay=relay(),
            valid_from=NOW,
            valid_until=NOW + DAY,
        )
