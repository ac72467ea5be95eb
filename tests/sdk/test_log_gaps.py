"""What the log leaves out of a channel is an alarm once no new stay can explain it, and then always."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from liaison.model import ChannelId
from liaison.tlog.channels import ChannelView
from liaison.tlog.entries import pseudonym
from liaison_sdk import log_following, log_gaps, transport
from liaison_sdk.environment import DEFAULT_OPTIONS
from liaison_sdk.keystore import Keystore
from liaison_sdk.log_gaps import Patience
from liaison_sdk.log_places import Following
from liaison_sdk.store import SQLiteStore, Transaction, channels, gaps, stays
from liaison_sdk.store.channels import ChannelRecord, ChannelState, GroupBlobs
from liaison_sdk.store.gaps import GapRecord
from liaison_sdk.store.stays import FollowRecord
from tests.sdk.support import CHEAP

ROOM = ChannelId(bytes(16))
WAIT = 10
BEGUN = 1_000
SHOWN = 8


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    keystore = await asyncio.to_thread(Keystore.create, tmp_path / "home", "p", parameters=CHEAP)
    opened = await SQLiteStore.open(keystore.folder, keystore)
    await opened.write(lambda tx: stays.begin(tx, ROOM, 1, 1))
    yield opened
    await opened.close()


def followed(after: int) -> Following:
    """Return a stay that began with place 1, followed up to a place."""
    return Following(ChannelView(pseudonym("log.example", ROOM), after + 1, 1), last=after)


def stay(after: int) -> FollowRecord:
    """Return what the store has of it."""
    return FollowRecord(ROOM, after + 1, 1, after, 1, 1, welcomed=False)


class Process:
    """A process of the device that asks the log, and is shown a place behind what is left out."""

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store
        self._patience = Patience(WAIT, had_all=0, at=0)

    async def asks(
        self,
        now: int,
        *,
        at: float = 0,
        had_all: float | None = None,
        set_at: float = -math.inf,
        after: int = 0,
        end: int = SHOWN,
    ) -> bool:
        """Return whether what it is shown at a time is an alarm.

        `at` is on its own clock, as is when it last had all that waits (None for now), and when the
        other clock was set.
        """
        had_all = at if had_all is None else had_all
        known = followed(after)
        patience = replace(self._patience, at=at, had_all=had_all, set_at=set_at)

        def work(tx: Transaction) -> bool:
            stays.save(tx, stay(after))
            return log_gaps.is_proven(tx, ROOM, known, end, now, patience)

        return await self._store.write(work)

    async def is_shown(self, upto: int, *, after: int = 0) -> None:
        """Be shown all places between two, without a gap."""
        known, now = followed(after), followed(upto)
        await self._store.write(lambda tx: log_gaps.note_shown(tx, ROOM, known, now))


async def noted(store: SQLiteStore) -> GapRecord | None:
    """Return what is noted of the channel."""
    return await store.read(lambda tx: gaps.load(tx, ROOM))


async def test_what_was_left_out_before_a_process_ended_is_an_alarm_of_the_next_one(
    store: SQLiteStore,
) -> None:
    assert not await Process(store).asks(BEGUN)
    assert not await Process(store).asks(BEGUN + WAIT)
    assert await Process(store).asks(BEGUN + WAIT + 1)
    # It stays one for as long as it is shown.
    assert await Process(store).asks(BEGUN + 2 * WAIT)


async def test_time_in_which_nothing_was_asked_is_no_alarm_by_itself(store: SQLiteStore) -> None:
    assert not await Process(store).asks(BEGUN)
    await store.write(lambda tx: stays.begin(tx, ROOM, SHOWN, 3, welcomed=True))

    assert await noted(store) is None
    assert not await Process(store).asks(BEGUN + 100 * WAIT, after=SHOWN, end=SHOWN + 2)


async def test_only_who_has_all_that_waits_raises_the_alarm_and_who_has_not_does_not_put_it_off(
    store: SQLiteStore,
) -> None:
    assert not await Process(store).asks(BEGUN, had_all=-math.inf)
    assert not await Process(store).asks(BEGUN + 5 * WAIT, had_all=-math.inf)
    assert await Process(store).asks(BEGUN + 5 * WAIT)


async def test_what_is_on_its_way_when_the_log_is_asked_does_not_put_the_alarm_off(
    store: SQLiteStore,
) -> None:
    process = Process(store)
    assert not await process.asks(BEGUN, at=50)

    later = {"now": BEGUN + 3 * WAIT, "at": 50 + 3 * WAIT}
    # What had come before the gap was noticed, or soon after, need not be an invitation behind it.
    assert not await process.asks(**later, had_all=50)
    assert not await process.asks(**later, had_all=50 + WAIT - 1)
    assert await process.asks(**later, had_all=50 + WAIT + 1)


async def test_who_had_all_long_after_another_process_noticed_it_raises_the_alarm(
    store: SQLiteStore,
) -> None:
    assert not await Process(store).asks(BEGUN)

    assert not await Process(store).asks(BEGUN + 3 * WAIT, at=500, had_all=500 - 2 * WAIT)
    assert await Process(store).asks(BEGUN + 3 * WAIT, at=500, had_all=500 - 2 * WAIT + 1)


def test_a_gap_waits_for_longer_than_a_dead_connection_goes_unnoticed() -> None:
    # A ping after so long without a word, and half as long for its answer.
    unnoticed = 1.5 * transport._HEARTBEAT

    assert log_following._GAP_PAUSES * DEFAULT_OPTIONS.log_pause > unnoticed


async def test_a_clock_that_is_put_on_does_not_shorten_the_wait_of_a_process(
    store: SQLiteStore,
) -> None:
    process = Process(store)
    assert not await process.asks(BEGUN, at=50)

    assert not await process.asks(BEGUN + 100 * WAIT, at=50 + WAIT - 1)
    assert await process.asks(BEGUN + 100 * WAIT, at=50 + WAIT)


async def test_a_clock_that_is_put_on_does_not_shorten_the_wait_for_what_another_process_noticed(
    store: SQLiteStore,
) -> None:
    assert not await Process(store).asks(BEGUN)

    process, later = Process(store), BEGUN + 100 * WAIT
    assert not await process.asks(later, at=500, set_at=499)
    assert await process.asks(later + WAIT, at=499 + WAIT, set_at=499)


async def test_what_a_process_noticed_long_ago_says_nothing_of_what_another_one_noticed_since(
    store: SQLiteStore,
) -> None:
    process = Process(store)
    assert not await process.asks(BEGUN, at=50)
    await process.is_shown(SHOWN)
    assert not await Process(store).asks(BEGUN + 300, after=SHOWN, end=SHOWN + 2)

    # Then the clock was put on.
    later = {"after": SHOWN, "end": SHOWN + 2, "set_at": 351}
    assert not await process.asks(BEGUN + 9_000, at=352, **later)
    assert await process.asks(BEGUN + 9_000 + WAIT, at=351 + WAIT, **later)


async def test_a_clock_that_was_put_back_does_not_put_the_alarm_off_for_ever(
    store: SQLiteStore,
) -> None:
    assert not await Process(store).asks(BEGUN + 1_000_000)
    assert not await Process(store).asks(BEGUN)

    assert await Process(store).asks(BEGUN + WAIT + 1)


async def test_a_relay_that_shows_one_more_place_each_time_does_not_put_the_alarm_off(
    store: SQLiteStore,
) -> None:
    assert not await Process(store).asks(BEGUN)
    for upto in range(1, SHOWN - 1):
        await Process(store).is_shown(upto, after=upto - 1)
        await store.write(lambda tx, u=upto: stays.save(tx, stay(u)))  # type: ignore[misc]  # a default argument binds the loop's value

    assert await Process(store).asks(BEGUN + WAIT + 1, after=SHOWN - 2)


async def test_what_is_shown_after_all_is_no_alarm_and_what_is_left_out_later_waits_anew(
    store: SQLiteStore,
) -> None:
    assert not await Process(store).asks(BEGUN)
    await Process(store).is_shown(SHOWN)
    assert await noted(store) is None

    later = BEGUN + 5 * WAIT
    assert not await Process(store).asks(later, after=SHOWN, end=SHOWN + 2)
    assert not await Process(store).asks(later + WAIT, after=SHOWN, end=SHOWN + 2)
    assert await Process(store).asks(later + WAIT + 1, after=SHOWN, end=SHOWN + 2)


async def test_a_place_that_is_shown_twice_waits_as_well_and_no_longer(store: SQLiteStore) -> None:
    assert not await Process(store).asks(BEGUN, after=5, end=3)

    assert await Process(store).asks(BEGUN + WAIT + 1, after=5, end=3)


async def test_what_was_asked_before_a_new_stay_began_is_not_noted_after_it(
    store: SQLiteStore,
) -> None:
    known = followed(3)
    await store.write(lambda tx: stays.begin(tx, ROOM, SHOWN, 3, welcomed=True))
    patience = Patience(WAIT, had_all=0, at=0)

    proven = await store.write(
        lambda tx: log_gaps.is_proven(tx, ROOM, known, SHOWN, BEGUN, patience)
    )

    assert not proven
    assert await noted(store) is None


async def test_what_an_earlier_stay_was_shown_says_nothing_about_what_is_left_out_of_this_one(
    store: SQLiteStore,
) -> None:
    await store.write(lambda tx: stays.begin(tx, ROOM, 3, 3, welcomed=True))
    await store.write(lambda tx: stays.save(tx, stay(3)))
    assert not await Process(store).asks(BEGUN, after=3)

    await Process(store).is_shown(SHOWN + 1, after=2)

    assert await Process(store).asks(BEGUN + WAIT + 1, after=3)


async def test_what_is_left_out_of_a_channel_that_was_left_is_forgotten(
    store: SQLiteStore,
) -> None:
    def room(number: int, state: ChannelState, agreement: str) -> ChannelRecord:
        return ChannelRecord(
            ChannelId(number.to_bytes(16)), b"", state, 1, "duty", agreement, 1, "liaison"
        )

    left = room(1, ChannelState.LEFT, "nor-deu")
    staying = [
        room(2, ChannelState.ACTIVE, "nor-deu"),
        room(3, ChannelState.STALE, "nor-deu"),
        room(4, ChannelState.LEFT, "another"),
    ]

    def work(tx: Transaction) -> list[ChannelId]:
        for record in (left, *staying):
            channels.insert(tx, record, GroupBlobs(b"", b""))
            gaps.save(tx, record.channel, GapRecord(SHOWN, BEGUN))
        log_gaps.forget_left(tx, "nor-deu")
        return gaps.channels(tx)

    assert await store.write(work) == [record.channel for record in staying]


async def test_who_opens_a_channel_anew_has_no_gap_in_it(store: SQLiteStore) -> None:
    assert not await Process(store).asks(BEGUN)

    await store.write(lambda tx: stays.begin_own(tx, ROOM, 0))

    assert await noted(store) is None
