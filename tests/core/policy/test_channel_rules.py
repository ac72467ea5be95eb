"""The parts of a channel policy: read from the document in one spelling, or refused by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.model import Precedence
from liaison.policy import agreement_yaml, simulate
from liaison.policy.agreement import Agreement
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.channel_rules import AnswerTimes, WatchHours
from liaison.policy.errors import DocumentError
from liaison.policy.fields import Node
from tests.core.policy.documents import ATTACHE, DAY, NOW, OFFICER, agreement, document

EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
RULES: dict[str, Any] = {
    "guests": [{"who": ["deu/x"], "invited_by": ["NOR"], "until": "2027-01-01T00:00:00Z"}],
    "release": {
        "kinds": ["text", "notice"],
        "lowest": "ROUTINE",
        "review": ["nor/legal"],
        "release": ["nor/chief"],
        "persons": 3,
    },
    "answers": {"FLASH": {"acknowledge": "5m", "reply": "0s"}},
    "languages": ["en", "nb-NO"],
    "watch": [{"who": ["NOR"], "days": ["mon", "fri"], "begins": "08:00", "ends": "24:00"}],
    "quotas": {"devices": 20, "administrators": 3},
}


def read(**changes: Any) -> ChannelPolicy:
    """The template's channel policy with these fields, as it is read from an agreement."""
    channel = {**document()["channels"][0], **changes}
    return Agreement.from_node(Node.of(document(channels=[channel]))).channels[0]


def test_a_policy_with_every_rule_comes_back_from_json_and_yaml() -> None:
    channel = {**document()["channels"][0], **RULES}
    made = Agreement.from_node(Node.of(document(channels=[channel])))

    assert made.channels[0].document() == channel
    assert Agreement.from_payload(made.payload()) == made
    assert agreement_yaml.parse(agreement_yaml.render(made)) == made


@pytest.mark.parametrize("name", RULES)
def test_each_rule_may_be_left_out_and_then_says_nothing(name: str) -> None:
    others = {key: value for key, value in RULES.items() if key != name}

    policy = read(**others)

    assert name not in policy.document()
    assert not getattr(policy, name)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("empty", [None, [], {}, "", 0, False])
def test_a_rule_that_says_nothing_is_left_out_and_not_written_empty(name: str, empty: Any) -> None:
    with pytest.raises(DocumentError, match=rf"channels\[0\]\.{name} is empty") as caught:
        read(**{name: empty})
    assert caught.value.hint == "leave it out"


def changed(name: str, **changes: Any) -> dict[str, Any]:
    rule = RULES[name]
    if isinstance(rule, list):
        return {name: [{**rule[0], **changes}]}
    return {name: {**rule, **changes}}


WRONG = [
    (changed("guests", until="tomorrow"), r"guests\[0\]\.until is wrong"),
    (changed("guests", who=["swe/x"]), "SWE is not a party"),
    (changed("guests", invited_by=["role:x"]), "role x, which is not defined"),
    (changed("guests", surplus=1), "surplus is not a field"),
    (changed("release", kinds=[]), "must have 1 to"),
    (changed("release", kinds=["text", "text"]), "names a kind twice"),
    (changed("release", kinds=["receipt"]), "names receipt, which needs no rule"),
    (changed("release", kinds=["control", "receipt"]), "names control and receipt"),
    (changed("release", lowest="routine"), "write ROUTINE"),
    (changed("release", persons=1), "between 2 and 3"),
    (changed("release", persons=4), "between 2 and 3"),
    (changed("release", review=[]), "a third person can't sign"),
    (changed("release", release=["swe/x"]), "SWE is not a party"),
    (changed("answers", flash={"acknowledge": "5m", "reply": "0s"}), "write FLASH"),
    (changed("answers", SOON={"acknowledge": "5m", "reply": "0s"}), "not a precedence"),
    (changed("answers", FLASH={"acknowledge": "5m"}), "lacks the field reply"),
    (changed("answers", FLASH={"acknowledge": "0s", "reply": "0s"}), "demands nothing"),
    ({"languages": ["english!"]}, "not a language tag"),
    ({"languages": ["en", "EN"]}, "names a language twice"),
    ({"languages": ["x" * 41]}, "1 to 40 characters"),
    (changed("watch", days=[]), "must have 1 to 7"),
    (changed("watch", days=["fri", "mon"]), "in the order of the week"),
    (changed("watch", days=["mon", "mon"]), "in the order of the week"),
    (changed("watch", days=["monday"]), "not a day"),
    (changed("watch", begins="8:00"), "not a time of day"),
    (changed("watch", begins="24:00"), "must be after begins"),
    (changed("watch", ends="08:00"), "must be after begins"),
    (changed("watch", ends="24:01"), "not a time of day"),
    (changed("watch", who=["swe/x"]), "SWE is not a party"),
    (changed("quotas", devices=0), "between 1 and"),
    (changed("quotas", administrators=-1), "between 0 and"),
    ({"quotas": {"devices": 1}}, "lacks the field administrators"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_a_wrong_rule_is_refused_with_its_place(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DocumentError, match=words) as caught:
        read(**changes)
    assert caught.value.message.startswith("channels[0]")


def test_no_rule_of_sending_names_kinds_that_it_does_not_decide() -> None:
    send = document()["channels"][0]["send"][0]

    for kinds in (["receipt"], ["text", "control"], ["text", "text"]):
        with pytest.raises(DocumentError, match=r"send\[0\]\.kinds names"):
            read(send=[{**send, "kinds": kinds}])


# --- hours of watch ---------------------------------------------------------------------


def watch(*days: str, begins: str = "08:00", ends: str = "16:00") -> WatchHours:
    node = {"who": ["NOR"], "days": list(days), "begins": begins, "ends": ends}
    return read(watch=[node]).watch[0]


def moment(day: int, clock: str) -> int:
    """November 2026 began on a Sunday, so the 2nd is a Monday."""
    return int(datetime.fromisoformat(f"2026-11-{day:02}T{clock}+00:00").timestamp())


@pytest.mark.parametrize(
    ("at", "manned"),
    [
        (moment(2, "07:59:59"), False),
        (moment(2, "08:00:00"), True),
        (moment(2, "15:59:59"), True),
        (moment(2, "16:00:00"), False),
        (moment(3, "12:00:00"), False),
        (moment(9, "12:00:00"), True),
    ],
)
def test_a_desk_is_manned_on_its_days_from_the_first_second_to_before_the_last(
    at: int, manned: bool
) -> None:
    assert watch("mon").is_manned(at) is manned


@given(at=st.integers(0, 2**33))
def test_a_watch_of_all_days_and_hours_never_ends(at: int) -> None:
    assert watch(*EVERY_DAY, begins="00:00", ends="24:00").is_manned(at)


@given(at=st.integers(0, 2**33))
def test_a_day_and_the_other_days_make_a_week(at: int) -> None:
    monday = watch("mon", begins="00:00", ends="24:00").is_manned(at)
    others = watch(*EVERY_DAY[1:], begins="00:00", ends="24:00").is_manned(at)

    assert monday is not others
    assert monday is (datetime.fromtimestamp(at, UTC).strftime("%a") == "Mon")


def test_an_empty_desk_is_told_from_one_without_hours() -> None:
    policy = read(watch=[{**RULES["watch"][0], "days": ["mon"]}])
    sunday, monday = moment(8, "12:00:00"), moment(9, "12:00:00")

    assert simulate.manned(agreement(), policy, ATTACHE, monday) is True
    assert simulate.manned(agreement(), policy, ATTACHE, sunday) is False
    assert simulate.manned(agreement(), policy, OFFICER, sunday) is None
    assert simulate.unmanned(agreement(), policy, [ATTACHE, OFFICER], sunday) == (ATTACHE,)
    assert simulate.unmanned(agreement(), policy, [ATTACHE, OFFICER], monday) == ()


def test_one_of_several_watches_is_enough() -> None:
    early = {**RULES["watch"][0], "days": EVERY_DAY, "begins": "00:00", "ends": "12:00"}
    late = {**RULES["watch"][0], "days": EVERY_DAY, "begins": "12:00", "ends": "24:00"}
    policy = read(watch=[early, late])

    for at in range(NOW, NOW + DAY, 3600):
        assert simulate.manned(agreement(), policy, ATTACHE, at) is True


# --- answers ----------------------------------------------------------------------------


def test_answers_are_asked_for_by_precedence_and_the_rest_asks_for_none() -> None:
    policy = read(
        answers={
            "FLASH": {"acknowledge": "5m", "reply": "30m"},
            "ROUTINE": {"acknowledge": "0s", "reply": "1d"},
        }
    )

    assert dict(policy.answers) == {
        Precedence.FLASH: AnswerTimes(300, 1800),
        Precedence.ROUTINE: AnswerTimes(0, DAY),
    }


def test_every_list_of_people_of_a_policy_is_known_to_whoever_checks_names() -> None:
    policy = read(**{**RULES, "guests": changed("guests", who=["deu/only-guest"])["guests"]})

    listed = {str(pattern) for who in policy.every_who() for pattern in who}

    assert listed == {"NOR", "DEU", "deu/only-guest", "nor/legal", "nor/chief"}
