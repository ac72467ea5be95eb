"""The files of a message, which the relay can't see: how many, how large, of what kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto.secret import sealed_size
from liaison.envelope import content as contents
from liaison.envelope.attachment import Attachment
from liaison.envelope.content import Content, Disposition, External, Multi, Part, Semantics, Single
from liaison.model import BlobId
from liaison.policy import contents as judging
from liaison.policy.channel_rules import AttachmentRules
from liaison.policy.requests import Decision
from tests.core.policy.documents import read_again, ruled

RULES = AttachmentRules(max_count=2, max_bytes=1000, media_types=("application/pdf", "image/*"))
TEXT = contents.text("See the map.")


def file(size: int = 10, media_type: str = "application/pdf") -> External:
    made = Attachment(BlobId(bytes(16)), size, bytes(32), bytes(32), "map.pdf", media_type)
    return made.as_part()


def inside(size: int = 10, media_type: str = "application/pdf") -> Single:
    return Single(media_type, bytes(size), Disposition.ATTACHMENT)


def decide(*parts: Part) -> Decision | None:
    body = parts[0] if len(parts) == 1 else Multi(Semantics.PROCESS_ALL, parts)
    under = read_again(ruled(attachments=RULES))
    return judging.judge(Content(bytes(16), body), under, "liaison")


def refused(*parts: Part) -> str:
    decision = decide(*parts)
    assert decision is not None
    assert not decision.allow
    return decision.rule.removeprefix("channels.liaison.attachments.")


def test_files_within_the_limits_are_taken() -> None:
    assert decide(TEXT, file(1000), inside(1000, "image/png")) is None
    assert decide(TEXT) is None


@pytest.mark.parametrize("made", [file, inside])
def test_each_limit_is_named_by_its_rule(made: Callable[..., Part]) -> None:
    assert refused(TEXT, made(1001)) == "max_bytes"
    assert refused(TEXT, made(10, "text/html")) == "media_types"
    assert refused(TEXT, file(), inside(), file()) == "max_count"


def test_files_in_several_places_count_together() -> None:
    nested = Multi(Semantics.PROCESS_ALL, (file(), file()))

    assert decide(TEXT, nested) is None
    assert refused(TEXT, nested, file()) == "max_count"


def test_a_file_of_another_kind_is_as_large_as_its_sender_says() -> None:
    other = External("image/png", "https://elsewhere", 1001, 0, b"", b"", b"", bytes(32))

    assert refused(other) == "max_bytes"


@given(st.integers(0, 10**6), st.text(), st.booleans())
def test_there_is_an_answer_for_every_file(size: int, media_type: str, within: bool) -> None:
    part = inside(size % 2000, media_type) if within else file(size, media_type)

    decision = decide(part)

    assert decision is None or decision.reason.isprintable()


def test_the_size_is_that_of_the_file_and_not_of_its_ciphertext() -> None:
    assert sealed_size(1000) > RULES.max_bytes
    assert decide(file(1000)) is None
