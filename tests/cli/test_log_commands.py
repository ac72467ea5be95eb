"""What officers and auditors are told of the relay's log."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.model import PartyCode
from liaison.policy import agreement_yaml
from liaison.policy.agreement_rules import Witness
from liaison.policy.keys import VerifyKey
from liaison.policy.relay_identity import RelayIdentity
from liaison.tlog.policy import Policy
from liaison_cli import log
from liaison_sdk.log_status import Alarm, ChannelLog, LogStatus, UnloggedDevice
from liaison_sdk.registrar.comparing import KeyEvent
from liaison_sdk.registrar.desk import RelayDesk
from liaison_sdk.registrar.office import RegistrarOffice
from liaison_sdk.registrar.state import WatchAlarm, WatchedLog
from liaison_sdk.registrar.watching import Watched
from liaison_sdk.store.generations import EndedLog
from tests.cli.conftest import Liaison
from tests.cli.fakes import CHANNEL, FakeClient, FakeMessage, FakeRelay, State

AT = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)
SOUND = LogStatus(
    agreement_id="nor-deu-2026",
    origin="relay.example/log/nor-deu-2026",
    size=16,
    newest=16,
    witnesses=("DEU-1", "NOR-1"),
    needed=("NOR-1", "DEU-1"),
    asked_at=AT,
    advanced_at=AT,
    problem="",
    cosigned_at=AT,
    old="",
    read=(0, 16),
    unread="",
    channels=(ChannelLog(CHANNEL, "berlin-watch", 3, True, False, 9, 0, 0),),
    unlogged=(),
    alarms=(),
    ended=(),
)
FORKED = replace(SOUND, alarms=(Alarm(7, None, "log.fork", "two histories", AT, b'{"a":1}'),))
LATE = replace(
    SOUND,
    newest=20,
    channels=(ChannelLog(CHANNEL, "berlin-watch", 4, False, False, 9, 3, 2),),
)
OVERDUE = replace(SOUND, channels=(ChannelLog(CHANNEL, "berlin-watch", 4, False, True, 9, 0, 0),))
UNREAD = replace(SOUND, unread="the relay has no such tile")
OLD = replace(SOUND, old="since yesterday nothing was cosigned")
UNKNOWN = replace(SOUND, unlogged=(UnloggedDevice("deu/x#d1", missing=True, since=AT),))


def test_what_there_is_one_of_is_not_told_as_many() -> None:
    ended = EndedLog(1, 1, b"", 1, 1, 1, 0, int(AT.timestamp()))

    told = list(log.lines(replace(SOUND, size=1, newest=1, read=(0, 1), ended=(ended,))))

    assert told[1] == "  verified  1 entry, cosigned by DEU-1, NOR-1"
    assert told[-1] == (
        "  ended     log 1: 1 entry verified, 1 counts; 1 message logged in what they gave up;"
        " 1 message was in no log"
    )


def test_the_status_of_a_log_is_read_from_the_store_alone(
    liaison: Liaison, client: FakeClient
) -> None:
    client.logs = [SOUND]

    done = liaison("log", "status")

    assert done.code == 0
    assert "16 entries, cosigned by DEU-1, NOR-1" in done.out
    assert "berlin-watch: epoch 3 confirmed" in done.out
    assert client.opened == [{"receive": True, "offline": True}]
    assert client.asked_logs == 0


def test_what_is_missing_is_told(liaison: Liaison, client: FakeClient) -> None:
    client.logs = [LATE]

    done = liaison("log", "status")

    assert "16 entries of 20" in done.out
    assert "berlin-watch: epoch 4 unconfirmed, 3 not logged, 2 of them late" in done.out


def test_an_epoch_that_the_log_should_have_confirmed_is_told(
    liaison: Liaison, client: FakeClient
) -> None:
    client.logs = [OVERDUE]

    done = liaison("log", "status")

    assert "berlin-watch: epoch 4 unconfirmed, long overdue" in done.out


def test_an_old_checkpoint_is_told(liaison: Liaison, client: FakeClient) -> None:
    client.logs = [OLD]

    done = liaison("log", "status")

    assert "OLD       since yesterday nothing was cosigned; it may show others more" in done.out


@pytest.mark.parametrize(
    ("read", "unread", "said"),
    [
        ((0, 0), "", "nothing yet"),
        ((0, 0), "the relay has no such tile", "the relay has no such tile"),
        ((0, 16), "", "entries 0 to 15 one by one"),
        ((256, 300), "gone", "entries 256 to 299 one by one; no more: gone"),
    ],
)
def test_how_far_a_log_was_read_is_told(
    liaison: Liaison, client: FakeClient, read: tuple[int, int], unread: str, said: str
) -> None:
    client.logs = [replace(SOUND, read=read, unread=unread)]

    assert f"read      {said}" in liaison("log", "status").out


def test_a_log_is_read_whole_where_one_asks(liaison: Liaison, client: FakeClient) -> None:
    client.logs = [SOUND]

    assert liaison("log", "verify", "--whole").code == 0
    assert (client.asked_logs, client.read_logs) == (1, 1)


def test_programs_are_told_the_same(liaison: Liaison, client: FakeClient) -> None:
    client.logs = [FORKED]

    done = liaison("log", "status", "--json")

    assert done.record["sound"] is False
    assert done.record["alarms"] == [
        {
            "number": 7,
            "channel": None,
            "code": "log.fork",
            "text": "two histories",
            "at": int(AT.timestamp()),
            "past": False,
        }
    ]
    assert done.record["channels"][0]["confirmed"] is True


def test_a_log_without_witnesses_counts_by_the_relays_word_and_says_so(
    liaison: Liaison, client: FakeClient
) -> None:
    client.logs = [replace(SOUND, witnesses=(), needed=())]

    assert "by the relay's word" in liaison("log", "status").out


def test_where_no_agreement_has_a_log_it_is_said(liaison: Liaison, client: FakeClient) -> None:
    done = liaison("log", "status")

    assert (done.code, done.out) == (0, "")
    assert "no agreement here has a log" in done.err


def test_a_sound_log_is_verified_by_asking_the_relay(liaison: Liaison, client: FakeClient) -> None:
    client.logs = [SOUND]

    assert liaison("log", "verify").code == 0
    assert client.asked_logs == 1


@pytest.mark.parametrize(
    "status", [FORKED, LATE, OVERDUE, UNKNOWN, OLD, UNREAD, replace(SOUND, size=0)]
)
def test_a_log_that_does_not_show_what_it_should_fails_verification(
    liaison: Liaison, client: FakeClient, status: LogStatus
) -> None:
    client.logs = [status]

    done = liaison("log", "verify")

    assert done.code == 3
    assert "nor-deu-2026" in done.err


def test_the_evidence_of_an_alarm_can_be_handed_on(
    liaison: Liaison, client: FakeClient, tmp_path: Path
) -> None:
    client.logs = [FORKED]
    file = tmp_path / "evidence.json"

    assert liaison("log", "evidence", "7", "-o", file).code == 0
    assert liaison("log", "evidence", "8").code == 1

    assert file.read_bytes() == b'{"a":1}\n'


def test_the_proof_of_an_own_message_can_be_handed_on(
    liaison: Liaison, client: FakeClient, tmp_path: Path
) -> None:
    message = FakeMessage("x", client, outgoing=True, logged=True)
    client.stored = [message]
    file, name = tmp_path / "proof.json", str(message.id)

    assert liaison("log", "proof", name, "-o", file).code == 0
    client.stored = [replace(message, logged=False)]
    done = liaison("log", "proof", name)

    assert file.read_bytes() == b'{"proof":1}\n'
    assert done.code == 1
    assert "there is no proof" in done.err


def test_reading_asks_the_log_for_what_it_had_not_shown(
    liaison: Liaison, client: FakeClient
) -> None:
    client.stored = [FakeMessage("x", client, logged=True)]
    liaison("read")
    assert client.asked_logs == 0

    client.stored = [FakeMessage("x", client)]
    liaison("read", "--no-sync")
    assert client.asked_logs == 0
    liaison("read")

    assert client.asked_logs == 1


def test_accepted_and_logged_are_two_states_of_an_own_message(
    liaison: Liaison, client: FakeClient
) -> None:
    message = FakeMessage("x", client, outgoing=True, state=State.ACCEPTED)
    client.stored = [message, replace(message, logged=True), replace(message, late=True)]

    lines = [line for line in liaison("read").out.splitlines() if "berlin-watch" in line]
    records = liaison("read", "--json").records

    assert [line.split("] ")[1] for line in lines] == [
        "accepted",
        "logged",
        "accepted, not in the log",
    ]
    assert [(r["state"], r["logged"], r["log_late"]) for r in records] == [
        ("accepted", False, False),
        ("accepted", True, False),
        ("accepted", False, True),
    ]


def test_a_message_of_another_says_both_that_it_came_and_that_it_is_logged(
    liaison: Liaison, client: FakeClient
) -> None:
    client.stored = [FakeMessage("x", client, logged=True)]

    assert "] received, logged\n" in liaison("read").out


def test_a_channels_epoch_is_listed_as_unconfirmed(liaison: Liaison, client: FakeClient) -> None:
    client.rooms[0].confirmed = False

    assert liaison("channels", "list", "--json").record["confirmed"] is False


def test_the_trust_policy_of_an_agreements_log_is_printed_for_others(
    liaison: Liaison, draft: Path
) -> None:
    keys = [VerifyKey.of(SigningKey.generate(SignatureScheme.ED25519)) for _ in range(3)]
    text = agreement_yaml.parse(draft.read_text())
    text = replace(
        text,
        relay=replace(text.relay, origin="relay.example", log_keys=(keys[0],)),
        witnesses=(
            Witness(PartyCode("NOR"), "nor.example/1", keys[1]),
            Witness(PartyCode("DEU"), "deu.example/1", keys[2]),
        ),
    )
    draft.write_text(agreement_yaml.render(text))

    policy = Policy.parse(liaison("agreement", "log", draft).out.encode())
    vkey = liaison("agreement", "log", draft, "--vkey").out

    assert vkey == f"{policy.logs[0].key}\n"
    assert policy.logs[0].key.name == "relay.example/log/nor-deu-2026"
    assert policy.is_quorum({"nor.example/1", "deu.example/1"})
    assert not policy.is_quorum({"nor.example/1"})


def test_an_agreement_without_a_log_has_no_policy(liaison: Liaison, draft: Path) -> None:
    done = liaison("agreement", "log", draft)

    assert done.code == 1
    assert "names no key for a log" in done.err


# --- the registrar's watch --------------------------------------------------------------

NEWS = Watched(
    "nor-deu-2026", 40, (KeyEvent(12, 1_795_000_000_500, "certificate", "nor/x#d1", "0a", ""),)
)


@pytest.fixture
def watched(
    monkeypatch: pytest.MonkeyPatch,
    liaison: Liaison,
    relay: FakeRelay,
    office: RegistrarOffice,
    identity: RelayIdentity,
) -> list[Watched]:
    """What the desk of a connected registrar finds."""
    del relay
    office.pin(identity.url, identity, None)
    found: list[Watched] = []

    async def watch(_: RelayDesk) -> list[Watched]:
        return found

    monkeypatch.setattr(RelayDesk, "watch", watch)
    return found


def test_what_is_new_about_the_partys_keys_is_listed(
    liaison: Liaison, watched: list[Watched]
) -> None:
    watched.append(NEWS)

    done = liaison("party", "watch")
    record = liaison("party", "watch", "--json").record

    assert done.code == 0
    assert "nor-deu-2026: 40 entries read, 1 new about this party's keys" in done.out
    assert "12  2026-11-18T11:06:40Z  certificate  nor/x#d1" in done.out
    assert record["events"][0]["subject"] == "nor/x#d1"
    assert record["alarms"] == []


def test_what_is_not_the_offices_doing_fails_verification(
    liaison: Liaison, watched: list[Watched]
) -> None:
    alarms = (WatchAlarm(12, "not ours", 1), WatchAlarm(-1, "not whole", 2))
    watched.append(replace(NEWS, alarms=alarms, problem="not whole"))

    done = liaison("party", "watch")

    assert done.code == 3
    assert "ALARM   entry 12: not ours" in done.out
    assert "ALARM   the log: not whole" in done.out
    assert "2 alarms" in done.err


def test_a_log_that_could_not_be_read_on_fails(liaison: Liaison, watched: list[Watched]) -> None:
    watched += [NEWS, replace(NEWS, agreement_id="kept-back", problem="no such agreement")]

    done = liaison("party", "watch")

    assert done.code == 1
    assert "the log of kept-back could not be read on" in done.err
    assert "12  2026-11-18T11:06:40Z  certificate  nor/x#d1" in done.out


def test_alarms_are_accepted_where_that_is_said(
    liaison: Liaison, watched: list[Watched], office: RegistrarOffice
) -> None:
    alarm = WatchAlarm(12, "not ours", 1)
    office.store.change(lambda s: s.with_watched(WatchedLog("nor-deu-2026", alarms=(alarm,))))
    watched.append(NEWS)

    done = liaison("party", "watch", "--accept")

    assert done.code == 0
    assert "1 alarm is taken as looked into" in done.err
    assert office.state.watch("nor-deu-2026").alarms == ()
