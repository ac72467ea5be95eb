"""What `liaison send` says and asks before a message goes out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from liaison.envelope.header import Kind
from liaison.labels import Label
from liaison.labels.builtin import TLP
from liaison.model import EndpointId
from liaison.policy.requests import Decision, allow, deny
from liaison.policy.simulate import Fate, Outcome, Simulation
from tests.cli.conftest import Answer, Liaison
from tests.cli.fakes import ME, PARTNER, FakeChannel, FakeClient

OTHER = EndpointId.parse("deu/lno-j4")
FINE = allow("channels.liaison.send", "it may be sent")
UNCLEARED = deny("clearances", "deu/lno-j4 is not cleared for TLP:AMBER: no clearance")
SEND = ("send", "berlin-watch", "Bridge open")


def outcome(endpoint: EndpointId, fate: Fate, **more: object) -> Outcome:
    said = {"addressed": "", "reason": f"reason of {fate}", "manned": None} | more
    return Outcome(endpoint, fate, **said)  # type: ignore[arg-type]  # reason: a table of defaults


ME_TOO = outcome(ME.endpoint, Fate.GETS)
REACHED = Simulation(FINE, (outcome(PARTNER.endpoint, Fate.GETS, addressed="to"), ME_TOO))
OUTSIDE = Simulation(
    FINE,
    (
        outcome(PARTNER.endpoint, Fate.GETS, addressed="to"),
        outcome(OTHER, Fate.OUTSIDE, addressed="copy", reason="deu/lno-j4 is not in this channel"),
    ),
)
EMPTY_DESK = Simulation(FINE, (outcome(PARTNER.endpoint, Fate.GETS, addressed="to", manned=False),))
BLOCKED = Simulation(
    UNCLEARED,
    (
        outcome(PARTNER.endpoint, Fate.REFUSED, reason=UNCLEARED.reason),
        outcome(OTHER, Fate.BLOCKS, reason=UNCLEARED.reason),
        outcome(ME.endpoint, Fate.REFUSED),
    ),
)


# --- asking -----------------------------------------------------------------------------


def test_what_reaches_everybody_addressed_goes_out_without_a_word(
    liaison: Liaison, client: FakeClient
) -> None:
    client.simulation = REACHED

    done = liaison(*SEND)

    assert (done.code, done.err, len(client.sent)) == (0, "", 1)
    assert client.simulated[0]["text"] == client.sent[0]["text"] == "Bridge open"


def test_who_has_left_by_the_time_it_was_accepted_is_told_to_have_missed_it(
    liaison: Liaison, client: FakeClient
) -> None:
    client.simulation = REACHED
    client.rooms[0].devices = [ME]

    done = liaison(*SEND)

    assert (done.code, len(client.sent)) == (0, 1)
    assert "note: deu/lno-j3 has left the channel meanwhile, and does not get it\n" in done.err


def test_without_a_terminal_an_addressee_outside_stops_the_message(
    liaison: Liaison, client: FakeClient
) -> None:
    client.simulation = OUTSIDE

    done = liaison(*SEND, "--json")

    assert (done.code, done.out, client.sent) == (1, "", [])
    assert "error: deu/lno-j4 would not get it: deu/lno-j4 is not in this channel\n" in done.err
    assert "--yes, or first: liaison channels add berlin-watch deu/lno-j4\n" in done.err
    assert "nothing was sent" in done.err
    assert '"code": "cli.not_reached"' in done.err


def _lost(name: str, decision: Decision = FINE) -> Simulation:
    """Return what becomes of a message to somebody that is not in the channel."""
    lost = outcome(EndpointId.parse(name), Fate.OUTSIDE, addressed="to", reason="not in it")
    return Simulation(decision, (outcome(PARTNER.endpoint, Fate.GETS), lost, ME_TOO))


FORBIDDEN = deny("channels.liaison.read", "deu/lnoj3 may not be addressed in this channel")


@pytest.mark.parametrize("found", [_lost("deu/lnoj3"), _lost("deu/lnoj3", FORBIDDEN)])
def test_who_mistypes_an_addressee_is_told_whom_the_channel_has(
    liaison: Liaison, client: FakeClient, found: Simulation
) -> None:
    client.simulation = found

    done = liaison(*SEND)

    assert (done.code, client.sent) == (1, [])
    assert "hint: did you mean deu/lno-j3 instead of deu/lnoj3?" in done.err


def test_who_is_asked_about_a_mistyped_addressee_is_told_too(
    liaison: Liaison, client: FakeClient, answer: Answer
) -> None:
    client.simulation = _lost("nor/defat-berlin")
    answer("n")

    done = liaison(*SEND)

    assert (done.code, client.sent) == (1, [])
    assert "did you mean nor/defatt-berlin instead of nor/defat-berlin?" in done.err


@pytest.mark.parametrize("found", [_lost("deu/harbour"), OUTSIDE])
def test_nobody_is_guessed_who_has_another_name_or_is_addressed_as_well(
    liaison: Liaison, client: FakeClient, found: Simulation
) -> None:
    client.simulation = found

    assert "did you mean" not in liaison(*SEND).err


DRAFT = ("draft", "berlin-watch", "Bridge open", "--via", "nor-desk")
UNSIGNED = deny("channels.liaison.release", "not signed yet: a releaser other than the drafter")


@pytest.mark.parametrize("found", [_lost("deu/lnoj3", UNSIGNED), _lost("deu/lnoj3", FORBIDDEN)])
def test_who_mistypes_an_addressee_of_a_draft_is_told_whom_the_channel_has(
    liaison: Liaison, client: FakeClient, found: Simulation
) -> None:
    client.rooms.append(FakeChannel(client, "nor-desk"))
    client.simulation = found

    done = liaison(*DRAFT, "--to", "deu/lnoj3")

    assert (done.code, client.drafted) == (1, [])
    assert "hint: did you mean deu/lno-j3 instead of deu/lnoj3?" in done.err
    assert [one["to"] for one in client.simulated] == [[EndpointId.parse("deu/lnoj3")]] * (
        2 if found.decision is FORBIDDEN else 1
    )


def test_a_draft_to_somebody_who_is_not_there_yet_is_made_with_yes(
    liaison: Liaison, client: FakeClient
) -> None:
    client.rooms.append(FakeChannel(client, "nor-desk"))
    client.simulation = _lost("deu/harbour", UNSIGNED)

    refused, done = liaison(*DRAFT), liaison(*DRAFT, "--yes")

    assert (refused.code, done.code, len(client.drafted)) == (1, 0, 1)
    assert "draft it all the same with --yes" in refused.err
    assert "nothing was drafted" in refused.err
    assert "note: deu/harbour would not get it: not in it\n" in done.err


def test_a_draft_is_not_asked_about_that_only_lacks_signatures_or_a_manned_desk(
    liaison: Liaison, client: FakeClient
) -> None:
    client.rooms.append(FakeChannel(client, "nor-desk"))
    there = outcome(PARTNER.endpoint, Fate.REFUSED, addressed="to", manned=False)
    client.simulation = Simulation(UNSIGNED, (there, ME_TOO))

    done = liaison(*DRAFT)

    assert (done.code, len(client.drafted)) == (0, 1)
    assert "would" not in done.err


def test_a_channels_name_can_not_become_an_option_of_the_command_that_is_offered(
    liaison: Liaison, client: FakeClient
) -> None:
    client.simulation = OUTSIDE
    client.rooms[0].name = "--yes; x"

    done = liaison("send", "--", "--yes; x", "text")

    assert f"liaison channels add {str(client.rooms[0].id)[:8]} deu/lno-j4\n" in done.err


def test_without_a_terminal_an_empty_desk_stops_the_message(
    liaison: Liaison, client: FakeClient
) -> None:
    client.simulation = EMPTY_DESK

    done = liaison(*SEND)

    assert (done.code, client.sent) == (1, [])
    assert "deu/lno-j3 would get it at a desk that is not manned now" in done.err


@pytest.mark.parametrize("found", [OUTSIDE, EMPTY_DESK])
def test_yes_sends_it_and_still_says_who_is_missing(
    liaison: Liaison, client: FakeClient, found: Simulation
) -> None:
    client.simulation = found

    done = liaison(*SEND, "--yes")

    assert (done.code, len(client.sent)) == (0, 1)
    assert "would not get it" in done.err or "is not manned now" in done.err


@pytest.mark.parametrize(("line", "code", "sent"), [("y", 0, 1), ("yes", 0, 1), ("", 1, 0)])
def test_a_person_is_asked_and_only_yes_is_yes(
    liaison: Liaison, client: FakeClient, answer: Answer, line: str, code: int, sent: int
) -> None:
    client.simulation = OUTSIDE
    answer(line)

    done = liaison(*SEND)

    assert (done.code, len(client.sent)) == (code, sent)
    assert "note: deu/lno-j4 would not get it: deu/lno-j4 is not in this channel\n" in done.err
    assert "send it all the same? [y/N] " in done.err


def test_an_end_of_input_is_no(liaison: Liaison, client: FakeClient, answer: Answer) -> None:
    client.simulation = OUTSIDE
    answer("\x04")

    assert liaison(*SEND).code == 1
    assert client.sent == []


# --- refused ----------------------------------------------------------------------------


def test_a_refusal_names_rule_and_reason_and_the_narrower_channel(
    liaison: Liaison, client: FakeClient
) -> None:
    client.simulation = BLOCKED

    done = liaison(*SEND, "--yes")

    assert (done.code, client.sent) == (1, [])
    assert f"liaison: error: {UNCLEARED.reason} (rule clearances)\n" in done.err
    assert (
        "liaison: hint: a channel of those who are cleared: liaison channels create"
        " berlin-watch-cleared --agreement nor-deu-2026 --policy liaison --add deu/lno-j3\n"
        in done.err
    )


def test_before_it_is_refused_the_relay_is_asked_what_the_parties_say_now(
    liaison: Liaison, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.simulation = Simulation(deny("party.suspended", "NOR has suspended"), ())

    async def standing(agreement_id: str) -> None:
        assert agreement_id == "nor-deu-2026"
        client.simulation = REACHED

    monkeypatch.setattr(client, "standing", standing)

    assert liaison(*SEND).code == 0
    assert len(client.sent) == 1


def test_no_narrower_channel_is_offered_to_a_sender_who_is_not_cleared(
    liaison: Liaison, client: FakeClient
) -> None:
    client.simulation = Simulation(UNCLEARED, (outcome(ME.endpoint, Fate.BLOCKS),))

    assert "channels create" not in liaison(*SEND).err


def test_a_message_that_needs_release_is_to_be_drafted(
    liaison: Liaison, client: FakeClient
) -> None:
    refused = deny("channels.liaison.release", "not signed yet: a releaser")
    client.simulation = Simulation(refused, ())

    done = liaison(*SEND)

    assert done.code == 1
    assert "liaison draft CHANNEL TEXT --via" in done.err


# --- the dry run ------------------------------------------------------------------------


def test_a_dry_run_shows_everybodys_fate_and_sends_nothing(
    liaison: Liaison, client: FakeClient
) -> None:
    client.simulation = OUTSIDE

    done = liaison(*SEND, "--dry-run")

    assert (done.code, client.sent) == (1, [])
    assert done.out.splitlines() == [
        "ENDPOINT    ADDRESSED  FATE     MANNED  REASON",
        "deu/lno-j3  to         gets     -       reason of gets",
        "deu/lno-j4  info       outside  -       deu/lno-j4 is not in this channel",
    ]


@pytest.mark.parametrize(
    ("found", "code"), [(REACHED, 0), (EMPTY_DESK, 0), (OUTSIDE, 1), (BLOCKED, 1)]
)
def test_a_dry_run_ends_with_0_where_all_addressed_would_get_it(
    liaison: Liaison, client: FakeClient, found: Simulation, code: int
) -> None:
    client.simulation = found

    done = liaison(*SEND, "--dry-run", "--json")

    assert (done.code, client.sent) == (code, [])
    assert [record["fate"] for record in done.records] == [one.fate for one in found.outcomes]


# --- what a message can have ------------------------------------------------------------


def test_a_label_is_one_of_the_agreements_policy(liaison: Liaison, client: FakeClient) -> None:
    liaison(*SEND, "--label", "TLP:AMBER", "--category", "Releasable To=NOR")

    wanted = Label.of(TLP.policy_id, "TLP:AMBER", [("Releasable To", "NOR")])
    assert client.sent[0]["label"] == client.simulated[0]["label"] == wanted


def test_without_one_the_agreement_chooses(liaison: Liaison, client: FakeClient) -> None:
    liaison(*SEND)

    assert client.sent[0]["label"] is None


def test_a_category_needs_tag_and_value(liaison: Liaison, client: FakeClient) -> None:
    assert liaison(*SEND, "--category", "NOR").code == 2
    assert client.opened == []


def test_kind_language_and_expiry_go_along(
    liaison: Liaison, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liaison_cli.offices.now", lambda: 1_795_000_000)

    liaison(*SEND, "--kind", "notice", "--language", "de", "--expires", "2h")

    (sent,) = client.sent
    assert (sent["kind"], sent["language"]) == (Kind.NOTICE, "de")
    assert sent["expires"] == datetime.fromtimestamp(1_795_007_200, UTC)
