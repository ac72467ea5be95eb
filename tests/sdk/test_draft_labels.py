"""A draft for one agreement, signed in a channel of another, is no less confidential there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from liaison.labels import Label, LabelPolicy
from liaison.labels.builtin import DEMO, NATO, TLP, UNMARKED
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import LabelRules
from liaison.policy.errors import PolicyRefusedError
from liaison_sdk.releasing import label_under
from tests.core.policy.documents import agreement


def under(policy: LabelPolicy) -> Agreement:
    levels = policy.classifications
    return replace(agreement(), labels=LabelRules(policy.policy_id, levels[-1], levels[0]))


def test_a_label_of_the_same_policy_stays() -> None:
    red = Label(TLP.policy_id, "TLP:RED")

    assert label_under(under(TLP), under(TLP), red) == red


def test_a_label_with_an_equivalent_becomes_that() -> None:
    limited = Label(DEMO.policy_id, "LIMITED")

    found = label_under(under(NATO), under(DEMO), limited)

    assert found is not None
    assert (found.policy, found.classification) == (NATO.policy_id, "RESTRICTED")


def test_what_has_no_equivalent_is_not_shown_under_a_lower_label() -> None:
    for place in (TLP, UNMARKED):
        with pytest.raises(PolicyRefusedError) as caught:
            label_under(under(place), under(NATO), Label(NATO.policy_id, "SECRET"))
        assert caught.value.rule == "labels.policy"
        assert "SECRET" in caught.value.message


def test_the_lowest_label_of_all_is_covered_by_any_default() -> None:
    unmarked = Label(UNMARKED.policy_id, "UNMARKED")

    assert label_under(under(TLP), under(UNMARKED), unmarked) is None
