"""A message that waits while its agreement is amended goes out under the new version."""

from __future__ import annotations

from dataclasses import replace

from liaison.envelope import content as contents
from liaison.envelope.content import Content
from liaison.envelope.release import Release
from liaison.labels import Label
from liaison.labels.builtin import TLP, UNMARKED
from liaison.policy import labelling
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import ClearanceRule, LabelRules
from liaison_sdk import composing
from liaison_sdk.composing import Composed
from tests.core.policy.documents import agreement, header

SALT = bytes(range(16))
PLAIN = Label(UNMARKED.policy_id, "UNMARKED")
GREEN = Label(TLP.policy_id, "TLP:GREEN")
RED = Label(TLP.policy_id, "TLP:RED")


def labelled(version: int, default: str) -> Agreement:
    before = agreement()
    rules = LabelRules(TLP.policy_id, "TLP:RED", default)
    clearances = tuple(ClearanceRule(one.who, "TLP:RED") for one in before.clearances)
    return replace(before, version=version, labels=rules, clearances=clearances)


def message(label: Label) -> Composed:
    content = Content(
        salt=SALT,
        body=contents.text("Hold."),
        extensions={contents.LABEL: labelling.encode_label(label), contents.SUBJECT: "Convoy"},
    )
    made = header(label=labelling.header_label(label, SALT))
    return Composed(made, content.encode())


def test_who_chose_no_label_gets_the_new_default() -> None:
    after = labelled(2, "TLP:GREEN")

    renewed = composing.renew(message(PLAIN), agreement(), after)

    content = Content.decode(renewed.content)
    assert renewed.header.agreement_version == 2
    assert labelling.check_label(renewed.header, content) == GREEN
    assert content.extensions[contents.SUBJECT] == "Convoy"
    assert renewed.header.message_id == message(PLAIN).header.message_id


def test_a_label_that_was_chosen_stays() -> None:
    before, after = labelled(1, "TLP:GREEN"), labelled(2, "TLP:CLEAR")

    renewed = composing.renew(message(RED), before, after)

    assert labelling.check_label(renewed.header, Content.decode(renewed.content)) == RED
    assert renewed.content == message(RED).content


def test_what_several_persons_have_signed_is_not_touched() -> None:
    plain = message(PLAIN)
    drafted = Composed(plain.header.with_release(Release(bytes(32))), plain.content)

    assert composing.renew(drafted, agreement(), labelled(2, "TLP:GREEN")) == drafted
