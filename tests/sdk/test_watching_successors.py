"""A registrar whose parties have given up a log: what it had read, and what the next one begins with."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from liaison.model import ChannelId
from liaison.policy.agreement import Agreement
from liaison.policy.log_rules import Predecessor
from liaison.tlog.channels import ROOM
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.entries import PolicyRef
from liaison.tlog.fields import EntryType
from liaison.tlog.note import Note
from liaison.tlog.text import to_base64
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.trust import log as trusted
from liaison.wire.log import LogAnswer, LogQuery
from liaison_cli import agreement_words
from liaison_sdk.registrar import watching, watching_successors
from liaison_sdk.registrar.office import RegistrarOffice
from liaison_sdk.registrar.state import OfficeState, WatchAlarm, WatchedLog
from tests.core.policy.documents import NOW, world
from tests.core.policy.documents import agreement as plain
from tests.support.ledger import Ledger, digest_of, key, with_log

NAME = plain().agreement_id


def root_of(size: int) -> bytes:
    return hashlib.sha256(f"{size} entries".encode()).digest()


def successor(before: Agreement, size: int, root: bytes | None = None) -> Agreement:
    head = Predecessor(trusted.origin(before), size, root or root_of(size))
    log = replace(before.log, generation=before.log.generation + 1, predecessor=head)
    return replace(before, version=before.version + 1, previous=before.digest(), log=log)


def has_read(agreement: Agreement, size: int, *alarms: WatchAlarm) -> WatchedLog:
    """What is in the books after a log was read."""
    origin = trusted.origin(agreement)
    vkey = VerifierKey.of(origin, SignatureType.ED25519, key("log"))
    note = Note(Checkpoint(origin, size, root_of(size)).text).signed_by(vkey, key("log")).encode()
    channels = ((bytes(16), 7, 2),)
    return WatchedLog(NAME, size, (root_of(size),), note, alarms, channels)


def test_what_the_parties_hold_to_and_was_read_gives_no_alarm() -> None:
    before = with_log(plain())
    earlier = WatchAlarm(3, "something else", NOW - 1)

    found = watching_successors.current(successor(before, 10), has_read(before, 10, earlier), NOW)

    # The new log is read from its first entry; what nobody has looked into stays.
    assert found == WatchedLog(NAME, alarms=(earlier,))


def test_a_log_that_goes_on_is_read_on() -> None:
    before = with_log(plain())
    known = has_read(before, 10)
    after = successor(before, 10)
    read = has_read(after, 4)

    assert watching_successors.current(before, known, NOW) is known
    assert watching_successors.current(after, read, NOW) is read
    assert watching_successors.current(after, WatchedLog(NAME), NOW) == WatchedLog(NAME)


@pytest.mark.parametrize(
    ("size", "root", "words"),
    [
        (7, None, "have given up the last 3 entries of .* that were read"),
        (12, None, "hold to 2 more entries of .* than were read here"),
        (10, bytes(32), "hold to another history of .* than was read here"),
    ],
)
def test_what_differs_is_an_alarm(size: int, root: bytes | None, words: str) -> None:
    before = with_log(plain())

    found = watching_successors.current(successor(before, size, root), has_read(before, 10), NOW)

    (alarm,) = found.alarms
    assert (alarm.index, found.size) == (-1, 0)
    assert re.search(words, alarm.text)


def test_a_successor_of_one_that_was_never_read_is_an_alarm() -> None:
    before = with_log(plain())
    third = successor(successor(before, 10), 20)

    (alarm,) = watching_successors.current(third, has_read(before, 10), NOW).alarms

    assert "another log that was not read here" in alarm.text


def told(ledger: Ledger, agreement: Agreement, **changed: Any) -> None:
    """Begin a successor as a relay does, or with something else."""
    head = agreement.log.predecessor
    assert head is not None
    fields = {"origin": head.origin, "size": head.size, "root": to_base64(head.root), **changed}
    version = PolicyRef(agreement.version, agreement.digest())
    ledger.add(EntryType.CHECKPOINT, fields, policy=version)


async def watched(
    agreement: Agreement, ledger: Ledger, known: WatchedLog
) -> tuple[watching.Watched, list[LogQuery]]:
    """Watch a log that is in memory."""
    asked: list[LogQuery] = []
    books = [OfficeState().with_watched(known)]

    async def log(_agreement: str, query: LogQuery) -> LogAnswer:
        asked.append(query)
        return ledger.answer(query)

    async def tile(_agreement: str, path: str) -> bytes:
        return ledger.tile(path.removeprefix("2/"))

    office: Any = SimpleNamespace(
        state=books[0],
        party=world().party("NOR").party,
        store=SimpleNamespace(change=lambda step: books.append(step(books[-1]))),
    )
    api: Any = SimpleNamespace(log=log, log_tile=tile)
    kept: RegistrarOffice = office
    acts: Any = SimpleNamespace()
    found = await watching._Watch(kept, api, acts, agreement, int(time.time())).run()
    return found, asked


async def test_the_successor_is_asked_for_by_its_generation_and_read_from_its_first_entry() -> None:
    before = with_log(plain())
    agreement = successor(before, 10)
    ledger = Ledger(agreement, int(time.time()))
    told(ledger, agreement)
    ledger.item(ChannelId(bytes(16)), ROOM + 1, 2, digest_of("goes on"))
    ledger.item(ChannelId(bytes(15) + b"n"), 1, 0, digest_of("is new"))

    found, asked = await watched(agreement, ledger, has_read(before, 10))

    assert (found.size, found.problem, found.alarms) == (3, "", ())
    assert [(query.size, query.generation) for query in asked] == [(0, 2)]


@pytest.mark.parametrize("seq", [2, 8, ROOM + 2])
async def test_a_successor_that_leaves_out_how_a_channel_goes_on_in_it_is_an_alarm(
    seq: int,
) -> None:
    before = with_log(plain())
    agreement = successor(before, 10)
    ledger = Ledger(agreement, int(time.time()))
    told(ledger, agreement)
    ledger.item(ChannelId(bytes(16)), seq, 2, digest_of("goes on"))

    found, _ = await watched(agreement, ledger, has_read(before, 10))

    (alarm,) = found.alarms
    assert alarm.index == 1
    assert f"item {seq} of the channel" in alarm.text


@pytest.mark.parametrize("changed", [{"size": 9}, {"root": to_base64(bytes(32))}, None])
async def test_a_successor_that_begins_with_anything_else_is_an_alarm(
    changed: dict[str, Any] | None,
) -> None:
    before = with_log(plain())
    agreement = successor(before, 10)
    ledger = Ledger(agreement, int(time.time()))
    if changed is None:
        ledger.certificate(digest_of("a certificate"))
    else:
        told(ledger, agreement, **changed)

    found, _ = await watched(agreement, ledger, has_read(before, 10))

    assert [alarm.index for alarm in found.alarms] == [0]
    assert "does not begin with the head" in found.alarms[0].text


def test_whoever_is_to_sign_is_told_what_would_be_given_up() -> None:
    before = with_log(plain())
    after = successor(before, 7)
    known = has_read(before, 10)

    (told,) = watching_successors.differences(after, known)
    lines = agreement_words.log_lines(before, after, [told])

    assert "have given up the last 3 entries" in told
    assert lines[:2] == [
        "the log ends: its first 7 entries count, and a new one follows",
        f"  but {told}",
    ]
    # Of a log that goes on, or of which nothing was read, there is nothing to tell.
    assert watching_successors.differences(before, known) == []
    assert watching_successors.differences(after, WatchedLog(NAME)) == []
    assert watching_successors.differences(after, has_read(after, 4)) == []
    kept = replace(after, version=3, previous=after.digest())
    assert agreement_words.log_lines(after, kept, []) == []
