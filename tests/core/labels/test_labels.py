"""Labels, the built-in policies, and the tie between header and content."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope import content
from liaison.envelope.content import LABEL, Content
from liaison.envelope.header import HeaderLabel
from liaison.labels import Label, LabelError, label_digest
from liaison.labels.builtin import BUILT_IN, DEMO, NATO, TLP, UNMARKED
from liaison.policy import labelling
from liaison.policy.labelling import LabelMismatchError
from tests.core.policy.documents import header

SALT = bytes(range(16))
words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)
pairs = st.sets(st.tuples(words, words), max_size=4)


def labelled(label: Label, salt: bytes = SALT) -> tuple[HeaderLabel, Content]:
    message = Content(salt, content.text("x"), extensions={LABEL: labelling.encode_label(label)})
    return labelling.header_label(label, salt), message


@given(policy=words, classification=words, categories=pairs)
def test_every_label_reads_the_same_outside_and_inside(
    policy: str, classification: str, categories: set[tuple[str, str]]
) -> None:
    label = Label.of(policy, classification, categories)
    outside, message = labelled(label)

    assert labelling.check_label(header(label=outside), message) == label


def test_another_label_inside_is_noticed() -> None:
    outside, _ = labelled(Label("tlp-2.0", "TLP:CLEAR"))
    _, message = labelled(Label("tlp-2.0", "TLP:RED"))

    with pytest.raises(LabelMismatchError):
        labelling.check_label(header(label=outside), message)


def test_a_label_outside_that_lies_about_the_one_it_is_tied_to_is_noticed() -> None:
    outside, message = labelled(Label("tlp-2.0", "TLP:RED"))

    with pytest.raises(LabelMismatchError):
        labelling.check_label(header(label=replace(outside, classification="TLP:CLEAR")), message)


def test_a_message_without_label_inside_is_noticed() -> None:
    outside, message = labelled(Label("tlp-2.0", "TLP:RED"))

    with pytest.raises(LabelMismatchError):
        labelling.check_label(header(label=outside), replace(message, extensions={}))


def test_the_digest_depends_on_the_salt() -> None:
    assert label_digest(b"x", SALT) != label_digest(b"x", bytes(16))
    with pytest.raises(ValueError, match="16 bytes"):
        label_digest(b"x", b"")


def test_a_marking_is_what_people_read() -> None:
    assert Label("tlp-2.0", "TLP:AMBER").marking() == "TLP:AMBER"
    releasable = Label.of("nato", "NS", [("releasable", "NOR"), ("releasable", "DEU")])
    assert releasable.marking() == "NS // DEU, NOR"


def test_tlp_levels_are_ordered_from_clear_to_red() -> None:
    ranks = [TLP.rank(f"TLP:{c}") for c in ("CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED")]

    assert ranks == sorted(ranks)
    assert TLP.is_within(Label("tlp-2.0", "TLP:AMBER"), "TLP:AMBER")
    assert not TLP.is_within(Label("tlp-2.0", "TLP:RED"), "TLP:AMBER")


@pytest.mark.parametrize(
    "label",
    [
        Label("tlp-2.0", "TLP:WHITE"),
        Label("tlp-2.0", "tlp:red"),
        Label("liaison.unmarked", "TLP:RED"),
        Label("tlp-2.0", "TLP:RED", (("a", "b"),)),
    ],
)
def test_a_label_of_no_meaning_is_refused(label: Label) -> None:
    with pytest.raises(LabelError):
        TLP.check(label)


def test_built_in_policies_are_found_by_their_ids() -> None:
    found = [BUILT_IN.find(policy_id) for policy_id in BUILT_IN.ids]

    assert found == [UNMARKED, TLP, NATO, DEMO]
    assert BUILT_IN.find("1.3.26.1.3.1") is NATO
    assert BUILT_IN.find(TLP.oid) is TLP
    assert BUILT_IN.find("nato") is None
