"""The officer's commands, with a client in memory."""

from __future__ import annotations

import asyncio
import io
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from liaison.crypto.signing import SignatureScheme
from liaison.model import DeviceId, EndpointId, MessageId, PartyCode, Precedence
from liaison.policy.enrolment import Code
from liaison_cli import clients
from liaison_sdk import ChannelState
from liaison_sdk.enrol import EnrolmentOptions
from liaison_sdk.errors import AlreadyEnrolledError, EnrolmentWaitingError, RelayUntrustedError
from tests.cli.conftest import Liaison
from tests.cli.fakes import (
    ME,
    MESSAGE,
    PARTNER,
    FakeAttachment,
    FakeChannel,
    FakeClient,
    FakeEvent,
    FakeMessage,
    FakeReceipt,
    FakeSent,
    State,
)

DIGITS = str(MESSAGE)[:8]


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Whatever is written here before the command runs is its stdin."""
    data = io.BytesIO()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data, encoding="utf-8"))
    return data


# --- send -------------------------------------------------------------------------------


def test_a_text_goes_out_as_it_was_given(liaison: Liaison, client: FakeClient) -> None:
    done = liaison(
        *("send", "berlin-watch", "Bridge open", "--to", "deu/lno-j3", "--info", "nor/desk"),
        *("--precedence", "flash", "--info-precedence", "ROUTINE", "--subject", "Bridge"),
    )

    assert done.code == 0, done.err
    (sent,) = client.sent
    assert (sent["text"], sent["subject"]) == ("Bridge open", "Bridge")
    assert (sent["precedence"], sent["info"]) == (Precedence.FLASH, Precedence.ROUTINE)
    assert sent["to"] == [EndpointId.parse("deu/lno-j3")]
    assert sent["copy"] == [EndpointId.parse("nor/desk")]


def test_json_names_what_the_relay_took(liaison: Liaison, client: FakeClient) -> None:
    done = liaison("send", "berlin-watch", "x", "--json")

    assert done.record == {
        "id": str(MessageId(bytes(16))),
        "channel": str(client.rooms[0].id),
        "channel_name": "berlin-watch",
        "dtg": "211530Z NOV 26",
        "precedence": "ROUTINE",
        "state": "accepted",
        "seq": 7,
    }


@pytest.mark.parametrize("words", [["-"], []])
def test_a_pipe_is_read_to_its_end(
    liaison: Liaison, client: FakeClient, stdin: io.BytesIO, words: list[str]
) -> None:
    stdin.write("two\nlines: æøå\n".encode())
    stdin.seek(0)

    liaison("send", "berlin-watch", *words)

    assert client.sent[0]["text"] == "two\nlines: æøå"


def test_an_empty_pipe_sends_nothing(
    liaison: Liaison, client: FakeClient, stdin: io.BytesIO
) -> None:
    assert liaison("send", "berlin-watch").code == 2
    assert stdin.read() == b""
    assert client.sent == []


def test_a_file_can_go_without_a_text(liaison: Liaison, client: FakeClient, tmp_path: Path) -> None:
    file = tmp_path / "map.tif"
    file.write_bytes(b"pixels")

    assert liaison("send", "berlin-watch", "--attach", file).code == 0

    assert client.sent[0]["attach"] == [file]


def test_a_missing_file_is_noticed_before_anything_is_sent(
    liaison: Liaison, client: FakeClient, tmp_path: Path
) -> None:
    done = liaison("send", "berlin-watch", "x", "--attach", tmp_path / "missing")

    assert done.code == 1
    assert "nothing was sent" in done.err
    assert client.opened == []


def test_an_unknown_precedence_names_the_known_ones(liaison: Liaison, client: FakeClient) -> None:
    done = liaison("send", "berlin-watch", "x", "-p", "URGENT")

    assert done.code == 1
    assert "DEFERRED, ROUTINE, PRIORITY, IMMEDIATE, FLASH, OVERRIDE" in done.err
    assert client.sent == []


def test_without_the_relay_the_message_stays_queued_and_the_exit_code_says_so(
    liaison: Liaison, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "CONNECT_SECONDS", 0.01)
    client.cut_off = True

    done = liaison("send", "berlin-watch", "x")

    assert (done.code, done.out) == (1, "")
    (waiting,) = client.queue
    number = str(waiting.id)[:8]
    assert f"the relay can't be reached: [{number}] waits on this device\n" in done.err
    assert "liaison: hint: it is stored, and goes out with liaison channels sync" in done.err
    assert waiting.text == "x"


def test_where_nobody_listens_sending_gives_up_as_soon_as_the_message_is_stored(
    liaison: Liaison, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "CONNECT_SECONDS", 3600)
    client.cut_off = True

    done = liaison("send", "berlin-watch", "x", "--timeout", "20")

    assert "liaison: error: the relay can't be reached" in done.err
    assert [m.text for m in client.queue] == ["x"]


def test_an_answer_names_what_it_answers(liaison: Liaison, client: FakeClient) -> None:
    client.stored.append(FakeMessage("a question", client))

    liaison("send", "berlin-watch", "an answer", "--reply-to", DIGITS)

    assert client.sent[0]["reply_to"] == client.stored[0]


# --- read -------------------------------------------------------------------------------


def test_a_message_is_shown_with_everything_an_officer_needs(
    liaison: Liaison, client: FakeClient
) -> None:
    client.stored.append(
        FakeMessage(
            "Bridge open\nfrom 1400Z",
            client,
            precedence=Precedence.FLASH,
            to=(ME.endpoint,),
            subject="Bridge",
            attachments=(FakeAttachment(0, "map.tif"),),
            receipts=(FakeReceipt(ME, "acknowledged", "will-comply", "on our way"),),
        )
    )

    assert liaison("read").out.splitlines() == [
        f"211530Z NOV 26  FLASH  UNMARKED  berlin-watch  [{DIGITS}] received",
        "FROM     deu/lno-j3#d1",
        "TO       nor/defatt-berlin",
        "SUBJECT  Bridge",
        "  Bridge open",
        "  from 1400Z",
        "ATTACHED 0: map.tif (image/tiff, 5.0 MiB)",
        "RECEIPT  nor/defatt-berlin#d1 acknowledged will-comply: on our way",
        "",
    ]


def test_json_has_the_message_as_one_line(liaison: Liaison, client: FakeClient) -> None:
    client.stored.append(FakeMessage("line\nline", client))

    record = liaison("read", "berlin-watch", "--json").record

    assert record["id"] == str(MESSAGE)
    assert (record["from"], record["from_endpoint"]) == ("deu/lno-j3#d1", "deu/lno-j3")
    assert (record["text"], record["dtg"]) == ("line\nline", "211530Z NOV 26")
    assert (record["state"], record["own"], record["precedence"]) == (
        "received",
        False,
        "ROUTINE",
    )


def test_a_withheld_message_gives_the_reason(liaison: Liaison, client: FakeClient) -> None:
    client.stored.append(
        FakeMessage("", client, state=State.WITHHELD, reason="not cleared for this label")
    )

    assert "REASON   not cleared for this label" in liaison("read").out


ATTACK = "\x1b[2J\x1b]0;owned\x07\rnew\nFROM     nor/defatt-berlin#d1\x9b31m"


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("place", ["text", "subject", "channel_name", "reason", "file", "note"])
def test_no_escape_sequence_of_a_stranger_reaches_the_terminal(
    liaison: Liaison, client: FakeClient, place: str, form: list[str]
) -> None:
    message = FakeMessage("text", client)
    if place == "file":
        message = replace(message, attachments=(FakeAttachment(0, ATTACK),))
    elif place == "note":
        message = replace(message, receipts=(FakeReceipt(PARTNER, "acknowledged", note=ATTACK),))
    else:
        changed: dict[str, Any] = {place: ATTACK}
        message = replace(message, **changed)
    client.stored.append(message)

    out = liaison("read", *form).out

    assert not set(out) & set("\x1b\x9b\x07\r")
    assert "\nFROM     nor/defatt-berlin#d1" not in out


def test_what_was_read_is_not_watched_again(liaison: Liaison, client: FakeClient) -> None:
    client.stored.append(FakeMessage("once", client))

    first = liaison("read", "--unread")
    again = liaison("read", "--unread")
    everything = liaison("read")

    assert "once" in first.out
    assert (again.code, again.out) == (0, "")
    assert "once" in everything.out
    assert client.shown == {MESSAGE}


def test_without_the_relay_the_store_is_shown_with_a_note(
    liaison: Liaison, client: FakeClient
) -> None:
    client.stored.append(FakeMessage("from the store", client))
    client.cut_off = True

    done = liaison("read")

    assert done.code == 0
    assert "from the store" in done.out
    assert "this is what came before" in done.err


def test_where_the_network_swallows_everything_it_is_said_what_is_waited_for(
    liaison: Liaison, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "SILENT_SECONDS", 0.01)
    monkeypatch.setattr(clients, "CONNECT_SECONDS", 0.02)
    client.stored.append(FakeMessage("from the store", client))
    client.swallowed = True

    done = liaison("read")

    assert done.code == 0
    assert "from the store" in done.out
    said = done.err.splitlines()
    assert said[0].startswith("liaison: note: waiting for the relay")
    assert said[1] == "liaison: note: the relay does not answer; this is what came before"


def test_no_sync_opens_the_store_alone(liaison: Liaison, client: FakeClient) -> None:
    liaison("read", "--no-sync")

    assert client.opened == [{"receive": True, "offline": True}]


def test_waiting_ends_when_there_is_something(liaison: Liaison, client: FakeClient) -> None:
    client.stored.append(FakeMessage("here", client))

    assert "here" in liaison("read", "--unread", "--wait", "3600").out


def test_an_unknown_channel_is_named(liaison: Liaison, client: FakeClient) -> None:
    done = liaison("read", "nowhere")

    assert (done.code, done.err) == (1, "liaison: error: no channel nowhere\n")
    assert client.shown == set()


def test_a_channel_that_a_slow_line_has_not_brought_yet_is_waited_for(
    liaison: Liaison, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetches = iter((False, True))

    async def sync(timeout: float | None = None) -> None:  # noqa: ASYNC109  as theirs
        if not next(fetches):
            raise TimeoutError
        client.rooms.append(FakeChannel(client, "joined"))

    monkeypatch.setattr(client, "sync", sync)

    done = liaison("send", "joined", "on my way")

    assert (done.code, done.err) == (0, "")
    assert [sent["text"] for sent in client.sent] == ["on my way"]


def test_who_names_an_unknown_channel_without_the_relay_learns_that_it_is_away(
    liaison: Liaison, client: FakeClient
) -> None:
    client.cut_off = True

    done = liaison("send", "joined", "on my way")

    assert done.code == 1
    assert done.err.splitlines() == [
        "liaison: note: the relay does not answer; this is what came before",
        "liaison: error: no channel joined",
    ]
    assert client.sent == []


@pytest.mark.usefixtures("stdin")
def test_a_text_without_a_channel_is_told_what_comes_first(
    liaison: Liaison, client: FakeClient
) -> None:
    done = liaison("send", "Shots reported", "--precedence", "FLASH")

    assert done.code == 2
    assert "hint: the channel comes first, then the text" in done.err
    assert client.sent == []


# --- watch ------------------------------------------------------------------------------


def test_watch_marks_before_it_prints_and_ends_after_count(
    liaison: Liaison, client: FakeClient
) -> None:
    client.stored += [FakeMessage(str(n), client, MessageId(bytes([n] * 16))) for n in range(3)]

    done = liaison("watch", "--count", "2", "--json")

    assert (done.code, [r["text"] for r in done.records]) == (0, ["0", "1"])
    assert [r["text"] for r in liaison("watch", "--for", "0.05", "--json").records] == ["2"]
    assert len(client.shown) == 3


def test_a_watch_that_ends_while_it_looks_up_the_agreement_still_prints_what_it_took(
    liaison: Liaison, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(agreement_id: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(client, "agreement", never)
    client.stored.append(FakeMessage("taken", client))

    done = liaison("watch", "--for", "0.05", "--json")

    assert (done.code, done.record["text"], done.record["marking"]) == (0, "taken", "UNMARKED")
    assert client.shown == {MESSAGE}


def test_watch_tells_when_it_is_complete_and_when_the_relay_goes(
    liaison: Liaison, client: FakeClient
) -> None:
    client.happened = [FakeEvent("disconnected", "the relay is gone"), FakeEvent("member", "x")]

    done = liaison("watch", "--for", "0.05")

    assert done.code == 0
    assert done.err.splitlines() == [
        "liaison: note: watching",
        "liaison: note: the relay is gone",
    ]


def test_watch_says_that_the_relay_is_an_impostor_and_what_goes_wrong_later(
    liaison: Liaison, client: FakeClient
) -> None:
    client.failures = [RelayUntrustedError("the server does not hold the key of the relay")]
    client.happened = [FakeEvent("problem", "a revocation list is\x1b overdue")]

    done = liaison("watch", "--for", "0.05")

    assert done.err.splitlines() == [
        "liaison: note: the server does not hold the key of the relay; it is tried again until it can",
        "liaison: note: watching",
        "liaison: note: a revocation list is\N{REPLACEMENT CHARACTER} overdue",
    ]


# --- ack, save --------------------------------------------------------------------------


def test_an_answer_goes_back(liaison: Liaison, client: FakeClient) -> None:
    client.stored.append(FakeMessage("do it", client))

    done = liaison("ack", DIGITS, "will-comply", "--note", "by 1400Z", "--json")

    assert client.acknowledged == [(MESSAGE, "will-comply", "by 1400Z")]
    assert done.record == {"message": str(MESSAGE), "answer": "will-comply", "state": "accepted"}


def test_the_plain_answer_is_roger(liaison: Liaison, client: FakeClient) -> None:
    client.stored.append(FakeMessage("read this", client))

    liaison("ack", DIGITS)

    assert client.acknowledged[0][1] == "roger"


@pytest.mark.parametrize("patience", [0.01, 3600])
def test_without_the_relay_the_answer_stays_queued_and_the_exit_code_says_so(
    liaison: Liaison, client: FakeClient, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(clients, "CONNECT_SECONDS", patience)
    client.stored.append(FakeMessage("do it", client))
    client.cut_off = True

    done = liaison("ack", DIGITS, "will-comply")

    assert (done.code, done.out) == (1, "")
    what = f"the answer to [{str(MESSAGE)[:8]}]"
    assert done.err.splitlines() == [
        f"liaison: error: the relay can't be reached: {what} waits on this device",
        "liaison: hint: it is stored, and goes out with liaison channels sync; don't give it again",
    ]
    assert client.acknowledged == [(MESSAGE, "will-comply", "")]


@pytest.mark.parametrize(
    ("receipt", "line"),
    [
        (
            FakeReceipt(ME, "acknowledged", "roger", state="queued"),
            "acknowledged roger (waits on this device)",
        ),
        (
            FakeReceipt(
                ME,
                "acknowledged",
                "roger",
                "seen",
                state="refused",
                reason="closed\x1b[2J",
                reason_code="channel.closed",
            ),
            "acknowledged roger: seen (refused: closed\N{REPLACEMENT CHARACTER}[2J, channel.closed)",
        ),
    ],
)
def test_an_answer_that_nobody_has_seen_is_told_with_its_message(
    liaison: Liaison, client: FakeClient, receipt: FakeReceipt, line: str
) -> None:
    client.stored.append(FakeMessage("do it", client, receipts=(receipt,)))

    text, record = liaison("read").out, liaison("read", "--json").record

    assert f"RECEIPT  {ME} {line}" in text.splitlines()
    assert record["receipts"][0]["state"] == receipt.state
    assert record["receipts"][0]["reason_code"] == (receipt.reason_code or None)


def test_what_waited_and_was_refused_is_told_when_it_is_sent(
    liaison: Liaison, client: FakeClient
) -> None:
    message = FakeSent(MESSAGE, number=1)
    client.waiting = [message, replace(message, number=2, answer="roger")]
    client.forbids = {1: "nobody may send here", 2: "the channel is left"}

    done = liaison("channels", "sync")

    number = str(MESSAGE)[:8]
    assert (done.code, done.out) == (1, "0 received, 0 sent, 2 refused\n")
    assert done.err.splitlines() == [
        f"liaison: note: [{number}] was refused: nobody may send here",
        f"liaison: note: roger to [{number}] was refused: the channel is left",
        "liaison: error: not everything could be sent",
        "liaison: hint: liaison read shows it, and why",
    ]


def test_an_attachment_stays_in_the_folder_that_was_named(
    liaison: Liaison, client: FakeClient, tmp_path: Path
) -> None:
    client.stored.append(
        FakeMessage("", client, attachments=(FakeAttachment(0, "../../etc/map\x1b.tif"),))
    )

    done = liaison("save", DIGITS, "--to", tmp_path, "--json")

    assert Path(done.record["file"]).parent == tmp_path
    assert client.saved == [("../../etc/map\x1b.tif", False)]


def test_one_of_several_attachments_is_chosen(
    liaison: Liaison, client: FakeClient, tmp_path: Path
) -> None:
    both = (FakeAttachment(0, "a.txt"), FakeAttachment(1, "b.txt"))
    client.stored.append(FakeMessage("", client, attachments=both))

    done = liaison("save", DIGITS, "--to", tmp_path, "--index", "1", "--force")

    assert done.code == 0
    assert client.saved == [("b.txt", True)]


def test_a_message_without_attachments_says_so(
    liaison: Liaison, client: FakeClient, tmp_path: Path
) -> None:
    client.stored.append(FakeMessage("", client))

    done = liaison("save", DIGITS, "--to", tmp_path)

    assert done.code == 1
    assert f"message {DIGITS} has no attachment" in done.err


def test_files_of_one_name_in_one_message_are_numbered(
    liaison: Liaison, client: FakeClient, tmp_path: Path
) -> None:
    three = tuple(FakeAttachment(n, name) for n, name in enumerate(("a.txt", "A.txt", "x/a.txt")))
    client.stored.append(FakeMessage("", client, attachments=three))

    all_of_them = liaison("save", DIGITS, "--to", tmp_path, "--json")
    again = liaison("save", DIGITS, "--to", tmp_path, "--index", "2", "--force", "--json")

    files = [Path(r["file"]).name for r in all_of_them.records]
    assert files == ["a.txt", "A-2.txt", "a-3.txt"]
    assert Path(again.record["file"]).name == "a-3.txt"


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_folder_of_an_attachments_name_does_not_take_it_in(
    liaison: Liaison, client: FakeClient, tmp_path: Path, force: tuple[str, ...]
) -> None:
    (tmp_path / "bin").mkdir()
    client.stored.append(FakeMessage("", client, attachments=(FakeAttachment(0, "bin"),)))

    done = liaison("save", DIGITS, "--to", tmp_path, *force)

    assert done.code == 1
    assert f"{tmp_path / 'bin'} is there already" in done.err
    assert client.saved == []


# --- channels ---------------------------------------------------------------------------


def test_channels_are_listed_with_what_is_unread(liaison: Liaison, client: FakeClient) -> None:
    client.stored.append(FakeMessage("new", client))

    record = liaison("channels", "list", "--json").record

    assert (record["name"], record["members"], record["unread"], record["state"]) == (
        "berlin-watch",
        2,
        1,
        "active",
    )


def test_a_channel_is_opened_with_the_only_agreement_and_policy_there_are(
    liaison: Liaison, client: FakeClient
) -> None:
    done = liaison("channels", "create", "oslo-watch", "--add", "deu/lno-j3", "--json")

    assert done.code == 0, done.err
    assert (done.record["agreement"], done.record["policy"]) == ("nor-deu-2026", "liaison")
    assert client.rooms[-1].devices == [ME, PARTNER]


def test_a_name_that_an_open_channel_has_opens_no_second_one(
    liaison: Liaison, client: FakeClient
) -> None:
    done = liaison("channels", "create", "berlin-watch", "--add", "deu/lno-j3")

    assert done.code == 1
    assert "there is an open channel berlin-watch already" in done.err
    assert len(client.rooms) == 1


def test_adding_the_own_post_adds_its_other_devices(liaison: Liaison, client: FakeClient) -> None:
    liaison("channels", "create", "oslo-watch", "--add", "nor/defatt-berlin", "--add", "deu/lno-j3")

    assert client.rooms[-1].devices[:2] == [ME, PARTNER]
    assert [d.endpoint for d in client.rooms[-1].devices[2:]] == [ME.endpoint]


def test_several_agreements_must_be_told_apart(liaison: Liaison, client: FakeClient) -> None:
    client.known_agreements.append("nor-fra-2026")

    done = liaison("channels", "create", "oslo-watch")

    assert done.code == 1
    assert "liaison: hint: name one of: nor-deu-2026, nor-fra-2026" in done.err
    assert len(client.rooms) == 1


@pytest.mark.usefixtures("client")
def test_members_are_listed(liaison: Liaison) -> None:
    rows = liaison("channels", "members", "berlin-watch", "--json").records

    assert [(r["device"], r["own"]) for r in rows] == [(str(ME), True), (str(PARTNER), False)]


@pytest.mark.usefixtures("client")
def test_members_are_added_and_removed(liaison: Liaison) -> None:
    added = liaison("channels", "add", "berlin-watch", "nor/milrep-brussels", "--json").record
    removed = liaison("channels", "remove", "berlin-watch", "deu/lno-j3#d1", "--json").record

    assert (added["added"], added["epoch"]) == (["nor/milrep-brussels#d1"], 4)
    assert (removed["removed"], removed["epoch"]) == (["deu/lno-j3#d1"], 5)


def test_members_are_not_changed_without_the_relay(liaison: Liaison, client: FakeClient) -> None:
    client.cut_off = True

    done = liaison("channels", "remove", "berlin-watch", "deu/lno-j3")

    assert done.code == 1
    assert "nothing was changed" in done.err
    assert PARTNER in client.rooms[0].devices


def test_leaving_says_that_others_complete_it(liaison: Liaison, client: FakeClient) -> None:
    done = liaison("channels", "leave", "berlin-watch", "--json")

    assert done.record["state"] == "leaving"
    assert client.rooms[0].state is ChannelState.LEFT


def test_a_closed_pipe_ends_quietly(liaison: Liaison, client: FakeClient) -> None:
    client.stored.append(FakeMessage("x", client))

    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

        def fileno(self) -> int:
            return spare.fileno()

    with open("/dev/null", "w") as spare:  # noqa: PTH123  a descriptor to lose
        out, sys.stdout = sys.stdout, Closed()
        try:
            done = liaison("read")
        finally:
            sys.stdout = out

    assert (done.code, done.err) == (1, "")


# --- enrol ------------------------------------------------------------------------------

CODE = str(Code.generate(lambda n: bytes(range(n))))


@pytest.fixture
def enrolments(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was asked of the SDK; the registrar has not answered yet."""
    asked: list[dict[str, Any]] = []

    async def enrol(home: Path, url: str | None, code: str | None, **options: Any) -> None:
        asked.append({"home": home, "url": url, "code": code, **options})
        raise EnrolmentWaitingError("no answer yet")

    monkeypatch.setattr("liaison_sdk.enrol.enrol", enrol)
    return asked


def test_no_wait_is_done_when_the_request_is_out(
    liaison: Liaison, enrolments: list[dict[str, Any]], home: Path
) -> None:
    done = liaison(
        *("enrol", "https://r", "--code", CODE, "--no-wait", "--scheme", "p256", "--json")
    )

    assert (done.code, done.record["state"]) == (0, "waiting")
    (asked,) = enrolments
    assert (asked["home"], asked["url"], asked["code"], asked["wait"]) == (
        home,
        "https://r",
        CODE,
        0,
    )
    assert asked["schemes"] == [SignatureScheme.P256]


def test_the_code_can_come_from_a_file_and_waiting_can_end(
    liaison: Liaison, enrolments: list[dict[str, Any]], tmp_path: Path
) -> None:
    file = tmp_path / "code"
    file.write_text(CODE + "\n")

    done = liaison("enrol", "https://r", "--code-file", file, "--timeout", "1")

    assert (done.code, done.out) == (1, "")
    assert (enrolments[0]["code"], enrolments[0]["wait"]) == (CODE, 1.0)


def test_a_mistyped_code_is_noticed_before_anything_is_made(
    liaison: Liaison, enrolments: list[dict[str, Any]], home: Path
) -> None:
    mistyped = CODE[:-1] + ("0" if CODE[-1] != "0" else "1")

    done = liaison("enrol", "https://r", "--code", mistyped)

    assert done.code == 1
    assert enrolments == []
    assert not home.exists()


@pytest.mark.parametrize(
    "words", [["https://r"], ["--code", CODE], ["https://r", "--code", CODE, "--code-file", "x"]]
)
def test_an_enrolment_has_a_relay_and_one_code_or_neither(
    liaison: Liaison, enrolments: list[dict[str, Any]], words: list[str]
) -> None:
    assert liaison("enrol", *words).code == 2
    assert enrolments == []


@dataclass(frozen=True)
class FakeParty:
    code: PartyCode


@dataclass(frozen=True)
class FakeRelayName:
    origin: str


@dataclass(frozen=True)
class FakeAccount:
    device: DeviceId = ME
    party: FakeParty = FakeParty(PartyCode("NOR"))
    relay: FakeRelayName = FakeRelayName("relay.example")


def _enrolled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def enrol(*_: object, **__: object) -> None:
        account: Any = FakeAccount()
        raise AlreadyEnrolledError(account)

    monkeypatch.setattr("liaison_sdk.enrol.enrol", enrol)


def test_going_on_with_an_enrolment_that_is_done_says_so_and_what_comes_next(
    liaison: Liaison, monkeypatch: pytest.MonkeyPatch
) -> None:
    _enrolled(monkeypatch)

    done = liaison("enrol")

    assert (done.code, done.out) == (0, "this device is nor/defatt-berlin#d1\n")
    assert "hint: it is enrolled; next: liaison channels list" in done.err
    assert "has to approve" not in done.err
    assert liaison("enrol", "--json").record["state"] == "enrolled"


def test_a_second_code_in_an_enrolled_folder_is_refused_with_the_way_out(
    liaison: Liaison, monkeypatch: pytest.MonkeyPatch
) -> None:
    _enrolled(monkeypatch)

    done = liaison("enrol", "https://r", "--code", CODE)

    assert (done.code, done.out) == (1, "")
    assert "error: this folder's device is enrolled already: nor/defatt-berlin#d1\n" in done.err
    assert "another device needs another folder: --home FOLDER" in done.err


def test_who_has_to_wait_for_the_registrar_is_told_once(
    liaison: Liaison, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def enrol(*_: object, options: EnrolmentOptions, **__: object) -> FakeAccount:
        for seconds in (0, 0):
            await options.sleep(seconds)
        return FakeAccount()

    monkeypatch.setattr("liaison_sdk.enrol.enrol", enrol)

    done = liaison("enrol", "https://r", "--code", CODE)

    assert done.code == 0
    assert done.err.count("note: the registrar has to approve") == 1


def test_an_enrolment_goes_on_without_either(
    liaison: Liaison, enrolments: list[dict[str, Any]]
) -> None:
    liaison("enrol", "--no-wait")

    assert (enrolments[0]["url"], enrolments[0]["code"]) == (None, None)


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "nb_NO.UTF-8"}, "nb-NO"),
        ({"LANG": "nb_NO.UTF-8", "LC_MESSAGES": "fr_CA@euro"}, "fr-CA"),
        ({"LC_ALL": "POSIX", "LANG": "de"}, "en"),
    ],
)
def test_the_readers_language_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], language: str
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert clients.language() == language
