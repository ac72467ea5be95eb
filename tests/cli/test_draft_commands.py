"""`liaison draft | review | release`, and how drafts, markings and answer times are shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from liaison.labels import Label
from liaison.labels.builtin import NATO
from liaison.model import EndpointId, Precedence
from liaison.policy.channel_rules import AnswerTimes
from liaison_sdk.markings import Marker
from tests.cli.conftest import Liaison
from tests.cli.fakes import (
    CHANNEL,
    ME,
    MESSAGE,
    FakeAgreement,
    FakeAttachment,
    FakeChannel,
    FakeClient,
    FakeMessage,
    FakePolicy,
    FakeReceipt,
    State,
    a_draft,
)

DIGITS = str(MESSAGE)[:8]


@pytest.fixture
def drafted(client: FakeClient) -> FakeMessage:
    """A draft for berlin-watch that somebody put into the nation's own channel."""
    client.rooms.append(FakeChannel(client, "nor-desk"))
    message = FakeMessage("", client, channel_name="nor-desk", draft=a_draft())
    client.stored.append(message)
    return message


# --- the verbs --------------------------------------------------------------------------


def test_a_draft_goes_into_the_national_channel_with_everything_it_has(
    liaison: Liaison, client: FakeClient
) -> None:
    client.rooms.append(FakeChannel(client, "nor-desk"))

    done = liaison(
        *("draft", "berlin-watch", "Bridge open", "--via", "nor-desk", "-p", "FLASH", "--json"),
        *("--to", "deu/lno-j3", "--label", "TLP:AMBER"),
    )

    assert done.code == 0, done.err
    (made,) = client.drafted
    assert (made["for"], made["via"], made["text"]) == ("berlin-watch", "nor-desk", "Bridge open")
    assert (made["precedence"], made["label"].classification) == (Precedence.FLASH, "TLP:AMBER")
    assert client.sent == []
    assert (done.record["done"], done.record["channel_name"]) == ("drafted", "nor-desk")
    assert "not signed yet: a reviewer other than the drafter, a releaser" in done.err


@pytest.mark.usefixtures("client")
def test_a_draft_has_to_be_put_before_somebody(liaison: Liaison) -> None:
    assert liaison("draft", "berlin-watch", "x").code == 2


def test_a_review_adds_a_signature(liaison: Liaison, drafted: FakeMessage) -> None:
    done = liaison("review", str(drafted.id)[:8], "--json")

    assert done.code == 0, done.err
    signatures = done.record["draft"]["signatures"]
    assert {"part": "review", "endpoint": "nor/defatt-berlin"} in signatures
    assert done.record["draft"]["missing"] == ["a releaser other than the drafter"]
    assert done.record["message"] != str(drafted.id)


def test_the_last_signature_sends_the_message(
    liaison: Liaison, client: FakeClient, drafted: FakeMessage
) -> None:
    client.stored = [replace(drafted, draft=replace(a_draft(), missing=("a releaser",)))]

    done = liaison("release", DIGITS, "--json")

    assert done.code == 0, done.err
    signed, sent = done.records
    assert (signed["done"], sent["done"], sent["seq"]) == ("released", "sent", 9)
    assert [draft.id for draft in client.released] == [a_draft().id]


def test_a_release_that_is_not_the_last_signature_sends_nothing(
    liaison: Liaison, client: FakeClient, drafted: FakeMessage
) -> None:
    done = liaison("release", str(drafted.id)[:8])

    assert (done.code, client.released) == (0, [])
    assert "not signed yet" in done.err


def test_a_message_that_all_have_signed_is_only_sent(
    liaison: Liaison, client: FakeClient, drafted: FakeMessage
) -> None:
    client.stored = [replace(drafted, draft=replace(a_draft(), missing=()))]

    done = liaison("release", DIGITS, "--json")

    assert [record["done"] for record in done.records] == ["sent"]
    assert len(client.released) == 1


def test_without_sending_only_the_signature_is_added(
    liaison: Liaison, client: FakeClient, drafted: FakeMessage
) -> None:
    client.stored = [replace(drafted, draft=replace(a_draft(), missing=("a releaser",)))]

    assert liaison("release", DIGITS, "--no-send").code == 0
    assert client.released == []


def test_a_releaser_outside_the_channel_is_told_who_sends(
    liaison: Liaison, client: FakeClient, drafted: FakeMessage
) -> None:
    ready = replace(a_draft(), missing=("a releaser",), channel_name="")
    client.stored = [replace(drafted, draft=ready)]

    done = liaison("release", DIGITS)

    assert (done.code, client.released) == (0, [])
    assert "this device is not in its channel" in done.err


@pytest.mark.parametrize("verb", ["review", "release"])
def test_a_message_without_a_draft_can_not_be_signed(
    liaison: Liaison, client: FakeClient, verb: str
) -> None:
    client.stored.append(FakeMessage("hello", client))

    done = liaison(verb, DIGITS, "--json")

    assert done.code == 1
    assert '"code": "message.not_a_draft"' in done.err


def test_whoever_signs_can_save_the_files_of_the_draft(
    liaison: Liaison, client: FakeClient, drafted: FakeMessage, tmp_path: Path
) -> None:
    files: Any = (FakeAttachment(0, "map.tif"),)
    client.stored = [replace(drafted, draft=replace(a_draft(), attachments=files))]

    assert liaison("save", DIGITS, "--to", tmp_path).code == 0
    assert client.saved == [("map.tif", False)]


# --- reading ----------------------------------------------------------------------------


@pytest.mark.usefixtures("drafted")
def test_a_draft_is_shown_with_who_has_signed_and_what_is_missing(liaison: Liaison) -> None:
    lines = liaison("read").out.splitlines()

    assert lines[2:] == [
        (
            "DRAFT    211520Z NOV 26  FLASH  UNMARKED  for berlin-watch, a notice"
            " (liaison of nor-deu-2026 version 2)"
        ),
        "TO       deu/lno-j3",
        "SUBJECT  Bridge",
        "  Bridge open",
        "SIGNED   draft by nor/drafter",
        "MISSING  a reviewer other than the drafter",
        "MISSING  a releaser other than the drafter",
        "",
    ]


def test_a_draft_that_all_have_signed_says_how_it_goes_out(
    liaison: Liaison, client: FakeClient, drafted: FakeMessage
) -> None:
    client.stored = [replace(drafted, draft=replace(a_draft(), missing=()))]

    assert f"READY    liaison release {DIGITS} sends it" in liaison("read").out


def test_a_draft_that_was_sent_says_so_and_not_how_to_send_it(
    liaison: Liaison, client: FakeClient, drafted: FakeMessage
) -> None:
    client.stored = [replace(drafted, draft=replace(a_draft(), missing=(), sent=True))]

    out = liaison("read").out
    record = liaison("read", "--json").record["draft"]

    assert "SENT     it is in berlin-watch" in out
    assert "READY" not in out
    assert (record["released"], record["sent"]) == (True, True)


def test_a_draft_whose_signatures_do_not_hold_is_not_ready(
    liaison: Liaison, client: FakeClient, drafted: FakeMessage
) -> None:
    broken = replace(a_draft(), missing=(), problem="a signature under the draft does not hold")
    client.stored = [replace(drafted, draft=broken)]

    out = liaison("read").out

    assert "PROBLEM  a signature under the draft does not hold" in out
    assert "READY" not in out


@pytest.mark.parametrize("place", ["text", "subject", "channel_name", "problem"])
def test_a_draft_can_not_imitate_its_signatures(
    liaison: Liaison, client: FakeClient, drafted: FakeMessage, place: str
) -> None:
    attack: dict[str, Any] = {place: "x\nSIGNED   release by nor/cos\x1b[2J"}
    client.stored = [replace(drafted, draft=replace(a_draft(), **attack))]

    out = liaison("read").out

    assert "\nSIGNED   release" not in out
    assert "\x1b" not in out


def test_a_label_is_marked_as_its_policy_marks_a_page(liaison: Liaison, client: FakeClient) -> None:
    label = Label.of(NATO.policy_id, "TOP SECRET")
    marking = Marker(NATO).mark(label)
    client.stored.append(FakeMessage("x", client, label=label, marking=marking))

    done = liaison("read")
    record = liaison("read", "--json").record

    assert done.out.splitlines()[0].split("  ")[2] == "COSMIC TOP SECRET"
    assert (record["label"], record["marking"]) == ("TOP SECRET", "COSMIC TOP SECRET")


FLASH = AnswerTimes(acknowledge=600, reply=3600)


def demand(client: FakeClient) -> None:
    """Let the agreement ask for an answer to each FLASH."""
    policy = FakePolicy("liaison", {Precedence.FLASH: FLASH})
    agreement: Any = FakeAgreement("nor-deu-2026", (policy,))
    client.verified["nor-deu-2026"] = agreement


def test_by_when_to_answer_stands_under_the_message(liaison: Liaison, client: FakeClient) -> None:
    demand(client)
    client.stored.append(FakeMessage("x", client, action=Precedence.FLASH))

    done = liaison("read")
    record = liaison("read", "--json").record

    assert "ANSWER   acknowledge by 211540Z NOV 26, reply by 211630Z NOV 26" in done.out
    assert record["reply_by"] - record["acknowledge_by"] == 3000


def test_an_acknowledgement_of_ones_own_post_is_not_asked_for_again(
    liaison: Liaison, client: FakeClient
) -> None:
    demand(client)
    receipts = (FakeReceipt(ME, "acknowledged", "roger"),)
    client.stored.append(FakeMessage("x", client, action=Precedence.FLASH, receipts=receipts))

    assert "ANSWER   reply by 211630Z NOV 26\n" in liaison("read").out


def test_a_message_without_such_a_rule_or_withheld_asks_for_nothing(
    liaison: Liaison, client: FakeClient
) -> None:
    demand(client)
    client.stored.append(FakeMessage("x", client))
    withheld = FakeMessage(
        "", client, action=Precedence.FLASH, state=State.WITHHELD,
        reason="nor/x may not send a text at FLASH", reason_code="channels.liaison.send",
    )  # fmt: skip
    client.stored.append(withheld)

    out = liaison("read").out

    assert "ANSWER" not in out
    assert "REASON   nor/x may not send a text at FLASH (channels.liaison.send)\n" in out


def test_reading_does_not_need_the_agreement(
    liaison: Liaison, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(agreement_id: str) -> None:
        raise TimeoutError(agreement_id)

    monkeypatch.setattr(client, "agreement", gone)
    client.stored.append(FakeMessage("still here", client, channel_id=CHANNEL))

    done = liaison("read")

    assert done.code == 0
    assert "still here" in done.out
    assert "UNMARKED" in done.out


def test_the_endpoints_of_a_draft_are_names_and_not_devices(
    liaison: Liaison, drafted: FakeMessage
) -> None:
    assert drafted.draft is not None

    record = liaison("read", "--json").record["draft"]

    assert record["to"] == [str(EndpointId.parse("deu/lno-j3"))]
    assert (record["released"], record["problem"]) == (False, None)
