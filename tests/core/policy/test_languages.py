"""In which languages a channel is written: what a text declares, and what its channel asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope import content as contents
from liaison.envelope.content import Content, External, Multi, Null, Part, Semantics, Single
from liaison.policy import contents as judging
from liaison.policy import languages
from liaison.policy.requests import Decision, allow
from tests.core.policy.documents import ruled

FILE = External("application/pdf", "https://x/1", 1, 1, bytes(16), bytes(12), b"", bytes(32))


def decide(*parts: Part, listed: tuple[str, ...] = ("en", "nb-NO")) -> Decision:
    body = parts[0] if len(parts) == 1 else Multi(Semantics.PROCESS_ALL, parts)
    under = ruled(languages=listed)
    return judging.judge(Content(bytes(16), body), under, "liaison") or allow("none", "allowed")


@pytest.mark.parametrize("tag", ["en", "EN", "en-GB", "nb-NO", "NB-no", "nb-NO-x-oslo"])
def test_a_text_in_a_listed_language_or_a_kind_of_it_is_allowed(tag: str) -> None:
    assert decide(contents.text("Hold.", language=tag)).allow


@pytest.mark.parametrize("tag", ["de", "nb", "e", "eng", "en_GB", "english"])
def test_a_text_in_another_language_is_refused_by_the_rule_and_in_words(tag: str) -> None:
    refused = decide(contents.text("Halt.", language=tag))

    assert (refused.allow, refused.rule) == (False, "channels.liaison.languages")
    assert refused.reason == f"the text is in {tag}, the channel in en, nb-NO"


def test_a_text_that_declares_no_language_is_refused_where_languages_are_listed() -> None:
    refused = decide(contents.text("Hold."))

    assert refused.reason == "the text does not say in which language it is: en, nb-NO"
    assert decide(contents.text("Hold."), listed=()).allow


def test_one_text_among_several_is_enough_to_refuse() -> None:
    good, bad = contents.text("Hold.", language="en"), contents.text("Halt.", language="de")

    assert decide(good, good).allow
    assert not decide(good, bad).allow
    assert not decide(good, Multi(Semantics.CHOOSE_ONE, (good, bad))).allow


def test_files_and_what_has_no_text_are_not_asked() -> None:
    assert decide(FILE).allow
    assert decide(Null()).allow
    assert decide(Single("application/cbor", b"\xa0")).allow


@given(st.text(), st.lists(st.sampled_from(["en", "nb-NO", "de"]), unique=True))
def test_there_is_an_answer_for_every_declaration(tag: str, listed: list[str]) -> None:
    decision = decide(Single(contents.TEXT_PLAIN, b"Hold.", language=tag), listed=tuple(listed))

    assert decision.reason.isprintable()
    assert decision.allow or listed


def test_only_one_language_can_be_taken_for_granted() -> None:
    assert languages.usual(ruled(languages=("nb-NO",)), "liaison") == "nb-NO"
    assert languages.usual(ruled(languages=("nb-NO", "en")), "liaison") == ""
    assert languages.usual(ruled(), "liaison") == ""
    assert languages.usual(ruled(languages=("en",)), "of no such kind") == ""
    none = judging.judge(Content(bytes(16), Null()), ruled(languages=("en",)), "of no such kind")
    assert none is not None
    assert none.rule == "channel.unknown"
