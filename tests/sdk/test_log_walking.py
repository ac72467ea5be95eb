"""A device reads its logs entry by entry: a channel that stands there twice is noticed."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from liaison.model import ChannelId
from liaison.policy.agreement import Agreement
from liaison.relay import identity
from liaison.relay.files import DataDir
from liaison.tlog.channels import ROOM
from liaison.tlog.entries import Entry, pseudonym
from liaison.tlog.tiles import encode_entries
from liaison.trust import log as trusted
from liaison.wire.log import LogAnswer, LogQuery
from liaison.wire.problems import Problem, RemoteError
from liaison_sdk import Client, LogStatus, log_walking
from liaison_sdk.log_channels import ChannelRuns
from liaison_sdk.store import alarms
from tests.core.policy.documents import NOW
from tests.core.policy.documents import agreement as plain
from tests.sdk.support import AGREEMENT, CALM, POLICY, Stage, tiles_of, until
from tests.support.ledger import Ledger, digest_of, with_log

ATTACHE = "nor/defatt-berlin#d1"
OTHERS = ChannelId(bytes(range(16)))
BUNDLE = 256


@pytest.fixture
async def alone(stage: Stage) -> Stage:
    await stage.enrol(ATTACHE)
    return stage


async def status(client: Client) -> LogStatus:
    (found,) = await client.log_status()
    return found


async def second_log(stage: Stage, agreement: Agreement) -> Ledger:
    keys = await asyncio.to_thread(identity.load, DataDir(stage.relay.data))
    return Ledger(agreement, int(time.time()), signer=keys.log)


async def shown(client: Client, stage: Stage) -> Ledger:
    """Return an empty log that the relay signs, and shows a client from now on."""
    made, api = await second_log(stage, await client.agreement(AGREEMENT)), _api(client)

    async def log(_agreement: str, query: LogQuery) -> LogAnswer:
        return made.answer(query)

    api.log, api.log_tile = log, tiles_of(made)
    return made


def _api(client: Client) -> Any:
    return client._env.api


def fill(made: Ledger, count: int) -> None:
    for number in range(count):
        made.certificate(digest_of(f"made up {number}"))


async def test_an_honest_log_is_read_in_the_background_and_to_its_end_where_one_asks(
    alone: Stage,
) -> None:
    async with alone.client(ATTACHE) as client:
        channel = await client.create_channel(AGREEMENT, POLICY, "alone")
        await channel.send("is anybody there?")

        async def read() -> bool:
            return (await status(client)).read > (0, 0)

        assert await until(client, read)
    async with alone.client(ATTACHE, CALM) as client:
        (known,) = await client.follow_logs()

        assert known.read == (0, known.size)


async def test_two_runs_of_ones_channel_in_one_tree_are_noticed(alone: Stage) -> None:
    async with alone.client(ATTACHE, CALM, alarms=True) as client:
        room = (await client.create_channel(AGREEMENT, POLICY, "alone")).id
        made = await shown(client, alone)
        made.item(room, 1, 0, digest_of("to Norway"))
        made.commit(room, 2, 0, digest_of("the commit for Norway"))
        assert (await client.follow_logs())[0].alarms == ()

        made.commit(room, 2, 0, digest_of("the commit for Germany"))
        made.item(room, 3, 1, digest_of("to Germany"))
        made.item(room, 3, 1, digest_of("to Norway"))
        for _ in range(2):
            (found,) = await client.follow_logs()

        (alarm,) = found.alarms
        assert (alarm.channel, alarm.code, found.is_sound) == (room, "log.channel_gap", False)
        evidence = json.loads(alarm.evidence)
        assert evidence["twice"]["index"] == 2
        name = pseudonym(trusted.origin(made.agreement), room)
        assert Entry.decode(evidence["twice"]["entry"].encode()).channel == name


async def test_a_long_log_is_read_from_near_its_end_part_by_part(
    alone: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_walking, "BACK", 2 * BUNDLE)
    slow = replace(CALM, log_walk=BUNDLE)
    async with alone.client(ATTACHE, slow, alarms=True) as client:
        made = await shown(client, alone)
        made.item(OTHERS, 1, 0, digest_of("one"))
        made.item(OTHERS, 1, 0, digest_of("one, for somebody else"))
        fill(made, 3 * BUNDLE)
        reads = [(await client.follow_logs())[0].read for _ in range(4)]

        assert reads == [(BUNDLE, 2 * BUNDLE), (BUNDLE, 3 * BUNDLE)] + 2 * [
            (BUNDLE, len(made.rows))
        ]
        assert (await status(client)).alarms == ()

        (found,) = await client.follow_logs(whole=True)

        (alarm,) = found.alarms
        assert found.read == (0, len(made.rows))
        assert (alarm.channel, json.loads(alarm.evidence)["twice"]["index"]) == (None, 1)


async def test_what_does_not_fill_a_bundle_is_not_fetched_each_time(
    alone: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_walking, "TAIL_EVERY", 10**6)
    async with alone.client(ATTACHE, CALM) as client:
        made = await shown(client, alone)
        fill(made, 10)
        follower = client._parts.follower

        async def look() -> tuple[int, int]:
            follower._tried.clear()
            await follower._look()
            return (await status(client)).read

        first = await look()
        fill(made, 5)
        second = await look()
        fill(made, BUNDLE)
        third = await look()

        assert (first, second, third) == ((0, 10), (0, 10), (0, BUNDLE))


async def test_entries_that_are_not_those_of_the_log_are_an_alarm(alone: Stage) -> None:
    async with alone.client(ATTACHE, CALM, alarms=True) as client:
        made = await shown(client, alone)
        fill(made, 3)
        other = replace(made, rows=[])
        fill(other, 3)

        async def tile(_agreement: str, _path: str) -> bytes:
            return encode_entries(entry.encode() for entry, _ in other.rows)

        _api(client).log_tile = tile
        (found,) = await client.follow_logs()

        (alarm,) = found.alarms
        assert (alarm.code, found.read) == ("log.fork", (0, 0))


async def test_a_log_that_gives_no_entries_is_told_and_no_alarm(alone: Stage) -> None:
    async with alone.client(ATTACHE, CALM) as client:
        made = await shown(client, alone)
        fill(made, 3)

        async def tile(_agreement: str, path: str) -> bytes:
            raise RemoteError(Problem(code="log.tile_unknown", detail=path, status=404))

        _api(client).log_tile = tile
        (found,) = await client.follow_logs()

        assert found.unread
        assert await client._env.read(alarms.load_all) == []


async def test_where_nothing_may_be_read_nothing_is(alone: Stage) -> None:
    async with alone.client(ATTACHE, replace(CALM, log_walk=0)) as client:
        made = await shown(client, alone)
        fill(made, 3)

        assert (await client.follow_logs())[0].read == (0, 0)


# --- channels ---------------------------------------------------------------------------


def entries(*places: tuple[int, int, bool]) -> list[Entry]:
    """Make entries of one channel: number, epoch, and whether it is a commit."""
    made = Ledger(with_log(plain()), NOW)
    for seq, epoch, is_commit in places:
        add = made.commit if is_commit else made.item
        add(OTHERS, seq, epoch, digest_of(str(seq)))
    return [entry for entry, _ in made.rows]


RUN = [(1, 0, False), (2, 0, True), (3, 1, False), (4, 1, True)]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("cut", range(5))
def test_one_run_of_a_channel_is_followed_from_one_reading_to_the_next(
    cut: int, whole: bool
) -> None:
    run = entries(*RUN)
    first = ChannelRuns((), generation=1 if whole else None, goes_on=False)
    found = [first.take(entry) for entry in run[:cut]]
    second = ChannelRuns(first.followed, generation=1 if whole else None, goes_on=False)
    found += [second.take(entry) for entry in run[cut:]]

    assert found == [None] * 4
    assert [one[1:] for one in second.followed] == [(5, 2)]


def test_a_channel_that_begins_in_its_middle_is_wrong_where_the_log_is_whole() -> None:
    (late,) = entries((5, 2, False))

    assert ChannelRuns((), generation=1, goes_on=False).take(late) is not None
    assert ChannelRuns((), generation=None, goes_on=False).take(late) is None


@pytest.mark.parametrize(
    ("seq", "is_right"), [(1, True), (ROOM + 1, True), (2, False), (ROOM, False), (ROOM + 2, False)]
)
def test_in_a_successor_a_channel_begins_anew_or_with_the_first_number_of_its_own(
    seq: int, is_right: bool
) -> None:
    (entry,) = entries((seq, 2, False))

    error = ChannelRuns((), generation=2, goes_on=False).take(entry)

    assert (error is None) == is_right


@pytest.mark.parametrize("again", [(1, 0, False), (2, 0, True), (4, 1, True), (6, 2, False)])
def test_what_stands_twice_or_is_left_out_is_told_once(again: tuple[int, int, bool]) -> None:
    runs = ChannelRuns((), generation=1, goes_on=False)

    found = [runs.take(entry) for entry in entries(*RUN, again, again, (5, 2, False))]

    assert [error is not None for error in found] == [False] * 4 + [True, False, False]
    later = ChannelRuns(runs.followed, generation=1, goes_on=False)
    assert later.take(entries((5, 2, False))[0]) is None
