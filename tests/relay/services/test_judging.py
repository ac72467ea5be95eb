"""A remembered decision is one that would be made again."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, cast

import pytest

from liaison.envelope.header import Header, HeaderLabel, Kind, MessageRef
from liaison.model import DeviceId, EndpointId, MessageId, Precedence
from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import ReadMessage, Request, SendMessage
from liaison.policy.requests import Decision, allow
from liaison.policy.standing import Standing
from liaison.relay.services.judging import Remembering

NOW = 1_790_000_000
OFFICER = EndpointId.parse("deu/lno-j3")
ATTACHE = EndpointId.parse("nor/defatt-berlin")
DESK = EndpointId.parse("nor/duty-desk")

HEADER = Header(
    message_id=MessageId(bytes(16)),
    kind=Kind.TEXT,
    action=Precedence.PRIORITY,
    info=Precedence.ROUTINE,
    dtg=NOW,
    label=HeaderLabel("policy", "low", (("tag", "value"),)),
    agreement_id="nor-deu-2026",
    agreement_version=3,
    to=(OFFICER,),
    copy=(ATTACHE,),
    expires=NOW + 60,
    in_reply_to=MessageRef(DeviceId.parse("nor/defatt-berlin#d1"), MessageId(bytes(16))),
)
REQUEST = SendMessage(ATTACHE, "liaison", HEADER, 1024, frozenset({OFFICER, ATTACHE}))
# A judge that is asked about identity only needs no real ones.
AGREEMENT = cast("Agreement", object())
STANDING = Standing()

OTHER: dict[str, Any] = {
    "kind": Kind.NOTICE,
    "action": Precedence.FLASH,
    "info": Precedence.DEFERRED,
    "dtg": NOW - 1,
    "agreement_id": "nor-deu-2027",
    "agreement_version": 4,
    "to": (DESK,),
    "copy": (),
    "expires": None,
    "in_reply_to": None,
}
OTHER_LABEL: dict[str, Any] = {
    "policy": "another",
    "classification": "high",
    "categories": (),
}
OTHER_REQUEST: dict[str, Any] = {
    "actor": DESK,
    "channel": "hotline",
    "size": 1025,
    "audience": frozenset({OFFICER}),
}


class Asked:
    """A judge that counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(
        self, request: Request, agreement: Agreement, now: int, *, standing: Standing
    ) -> Decision:
        del request, agreement, now, standing
        self.times += 1
        return allow("rule", f"answer {self.times}")


@pytest.fixture
def judge() -> Asked:
    return Asked()


@pytest.fixture
def remembering(judge: Asked) -> Remembering:
    found = Remembering(judge)
    assert found(REQUEST, AGREEMENT, NOW, standing=STANDING).reason == "answer 1"
    return found


def test_a_message_that_differs_in_its_id_and_salt_alone_is_judged_once(
    judge: Asked, remembering: Remembering
) -> None:
    label = replace(HEADER.label, digest=b"d" * 32)
    again = replace(HEADER, message_id=MessageId(b"m" * 16), label=label)
    decision = remembering(replace(REQUEST, header=again), AGREEMENT, NOW, standing=STANDING)
    assert (decision.reason, judge.times) == ("answer 1", 1)


def test_headers_that_were_read_as_alike_are_judged_once_for_each_time(judge: Asked) -> None:
    remembering = Remembering(judge)
    plain = replace(HEADER, expires=None)
    times = [NOW, NOW, NOW - 1]
    made = [
        replace(plain, message_id=MessageId(bytes([n]) * 16), dtg=dtg)
        for n, dtg in enumerate(times)
    ]
    read = [Header.decode(one.encode()) for one in made]
    assert read == made
    assert read[0].alike is not None
    assert len({one.alike for one in read}) == 1
    for header in read:
        remembering(replace(REQUEST, header=header), AGREEMENT, NOW, standing=STANDING)
    assert judge.times == 2


def test_a_header_that_was_changed_is_like_no_other() -> None:
    read = Header.decode(replace(HEADER, expires=None).encode())
    assert replace(read, action=Precedence.FLASH).alike is None


def test_every_part_of_a_request_is_looked_at(judge: Asked, remembering: Remembering) -> None:
    headers = [replace(HEADER, **{name: value}) for name, value in OTHER.items()]
    headers += [
        replace(HEADER, label=replace(HEADER.label, **{name: value}))
        for name, value in OTHER_LABEL.items()
    ]
    requests = [replace(REQUEST, header=header) for header in headers]
    requests += [replace(REQUEST, **{name: value}) for name, value in OTHER_REQUEST.items()]
    for count, request in enumerate(requests, 2):
        remembering(request, AGREEMENT, NOW, standing=STANDING)
        assert judge.times == count


def test_no_part_was_forgotten_here() -> None:
    # `alike` stands for all the others.
    assert {f.name for f in fields(Header)} == {*OTHER, "message_id", "label", "release", "alike"}
    assert {f.name for f in fields(HeaderLabel)} == {*OTHER_LABEL, "digest"}
    assert {f.name for f in fields(SendMessage)} == {*OTHER_REQUEST, "header", "released"}


def test_another_second_version_or_standing_is_another_question(
    judge: Asked, remembering: Remembering
) -> None:
    remembering(REQUEST, cast("Agreement", object()), NOW, standing=STANDING)
    remembering(REQUEST, AGREEMENT, NOW, standing=Standing())
    assert judge.times == 3
    remembering(REQUEST, AGREEMENT, NOW + 1, standing=STANDING)
    # And the clock going back is one too.
    remembering(REQUEST, AGREEMENT, NOW, standing=STANDING)
    assert judge.times == 5


def test_other_questions_are_always_asked(judge: Asked, remembering: Remembering) -> None:
    read = ReadMessage(OFFICER, "liaison", HEADER)
    for _ in range(2):
        remembering(read, AGREEMENT, NOW, standing=STANDING)
    assert judge.times == 3
