"""Successor logs in agreements: what such a version says, and which versions may say it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.policy import agreement_yaml, changes, succession
from liaison.policy.agreement import Agreement
from liaison.policy.errors import DocumentError
from liaison.policy.fields import Node
from liaison.policy.keys import VerifyKey
from liaison.policy.log_rules import LogRules, Predecessor, origin
from liaison.policy.standing import EVERYONE
from liaison.policy.succession import SuccessionError
from liaison.trust import log as trusted
from tests.core.policy.documents import agreement as plain

NOW = 1_795_000_000
ROOT = hashlib.sha256(b"some log").digest()


def before(agreement: Agreement, generation: int = 1) -> str:
    return origin(agreement.relay.origin, agreement.agreement_id, generation)


def following(previous: Agreement, size: int = 1000, **changed: Any) -> Agreement:
    """Return the version that gives up the log of the one before."""
    generation = previous.log.generation
    head = Predecessor(before(previous, generation), size, ROOT)
    log = replace(previous.log, generation=generation + 1, predecessor=head)
    return replace(
        previous,
        version=previous.version + 1,
        previous=previous.digest(),
        log=replace(log, **changed),
    )


def test_a_version_that_names_a_successor_comes_back_as_it_was() -> None:
    agreement = following(plain())

    assert Agreement.from_payload(agreement.payload()) == agreement
    assert agreement_yaml.parse(agreement_yaml.render(agreement)) == agreement


def test_the_first_log_is_written_as_it_always_was() -> None:
    assert plain().log.document().keys() == {"report_after", "grace"}
    assert trusted.origin(plain()) == f"{plain().relay.origin}/log/{plain().agreement_id}"


def test_a_successor_has_a_name_of_its_own_and_the_policy_is_for_that_one() -> None:
    agreement = following(plain())

    assert trusted.origin(agreement) == f"{trusted.origin(plain())}/2"
    assert trusted.origin(agreement, 1) == trusted.origin(plain())
    key = VerifyKey.of(SigningKey.generate(SignatureScheme.ED25519))
    signed = replace(agreement, relay=replace(agreement.relay, log_keys=(key,)))
    (listed,) = trusted.policy(signed).logs
    assert listed.key.name == trusted.origin(agreement)


def wrong(**changed: Any) -> dict[str, Any]:
    document = following(plain()).document()
    log: Any = document["log"]
    log |= {name: value for name, value in changed.items() if name in log}
    log["predecessor"] |= {n: v for n, v in changed.items() if n in log["predecessor"]}
    return {**document, "log": {name: v for name, v in log.items() if v is not None}}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"generation": 1}, r"log\.generation must be between 2 and 1000"),
        ({"generation": None}, "log lacks the field generation"),
        ({"generation": 3}, r"log must follow the log .*/2"),
        ({"origin": "elsewhere.example/log/x"}, "log must follow the log"),
        ({"root": "AAAA"}, r"log\.predecessor\.root must be 32 bytes"),
        ({"root": "not base64"}, r"log\.predecessor\.root is wrong: not base64"),
        ({"size": -1}, r"log\.predecessor\.size must be between 0"),
        ({"size": 0}, r"log\.predecessor\.root is the root of an empty log if size is 0"),
    ],
)
def test_a_wrong_successor_is_refused_with_the_field(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        Agreement.from_node(Node.of(wrong(**changed)))


def test_the_first_version_begins_the_first_log() -> None:
    agreement = replace(following(plain()), version=1, previous=None)

    with pytest.raises(DocumentError, match="can't follow another log in version 1"):
        Agreement.from_payload(agreement.payload())


def test_a_version_may_keep_the_log_or_name_the_next_one() -> None:
    second = following(plain())
    third = replace(second, version=3, previous=second.digest(), title="the same log")
    fourth = following(third)

    succession.check(plain(), second, EVERYONE, NOW)
    succession.check(second, third, EVERYONE, NOW)
    succession.check(third, fourth, EVERYONE, NOW)


def test_a_version_skips_no_log_goes_back_to_none_and_keeps_what_was_agreed() -> None:
    second = following(plain())
    back = replace(second, version=3, previous=second.digest(), log=plain().log)
    head = second.log.predecessor
    assert head is not None
    moved = replace(second.log, predecessor=replace(head, size=900))
    other = replace(back, log=moved)
    skipped = following(plain(), generation=3)

    with pytest.raises(SuccessionError, match="generation 1 does not follow 2"):
        succession.check(second, back, EVERYONE, NOW)
    with pytest.raises(SuccessionError, match="changes what the log of generation 2 follows"):
        succession.check(second, other, EVERYONE, NOW)
    with pytest.raises(SuccessionError, match="generation 3 does not follow 1"):
        succession.check(plain(), skipped, EVERYONE, NOW)


def test_who_signs_is_shown_that_a_log_is_given_up() -> None:
    second = following(plain())

    told = {change.path for change in changes.changed_fields(plain(), second)}

    assert {"log.generation", "log.predecessor"} <= told


def test_rules_without_a_predecessor_are_of_the_first_log() -> None:
    assert LogRules(report_after=1, grace=0).generation == 1
