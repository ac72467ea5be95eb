"""What the log has shown and nobody delivered is told of every channel that this device is in."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from liaison_sdk import log_keeping
from liaison_sdk.store import SQLiteStore, Transaction, alarms, channels, pending, stays
from liaison_sdk.store.channels import ChannelRecord, ChannelState, GroupBlobs
from liaison_sdk.store.pending import PendingPlace
from tests.core.policy.documents import NOW
from tests.sdk.support import POLICY
from tests.sdk.test_log_comparing import CHANNEL, MESSAGE, agreement, place_of
from tests.sdk.test_store import keystore, store  # noqa: F401 - fixtures


def wait_for_item(tx: Transaction, state: ChannelState, since: int) -> None:
    """Have a channel of some state in which the log has shown an item that has not come."""
    place = place_of(MESSAGE)
    name = agreement().agreement_id
    record = ChannelRecord(CHANNEL, b"", state, 1, "duty", name, 1, POLICY)
    channels.insert(tx, record, GroupBlobs(b"", b""))
    stays.begin(tx, CHANNEL, 1, 1)
    waiting = PendingPlace(place.seq, place.index, place.entry.encode(), place.values, since)
    pending.add(tx, CHANNEL, waiting)


@pytest.mark.parametrize("state", [ChannelState.ACTIVE, ChannelState.STALE, ChannelState.LEAVING])
async def test_what_was_never_delivered_is_told_of_whatever_channel_this_device_is_in(
    store: SQLiteStore,  # noqa: F811 - the fixture's name
    state: ChannelState,
) -> None:
    env: Any = SimpleNamespace(now=NOW, announce=lambda *_: None)
    since = NOW - agreement().log.report_after

    await store.write(lambda tx: wait_for_item(tx, state, since))
    in_time = await store.write(lambda tx: log_keeping.report_withheld(env, tx, agreement(), ago=0))
    env.now += 1
    late = await store.write(lambda tx: log_keeping.report_withheld(env, tx, agreement(), ago=0))

    assert (in_time, late) == (False, True)
    assert [one.code for one in await store.read(alarms.load_all)] == [log_keeping.WITHHELD]


@pytest.mark.parametrize(("ago", "is_told"), [(0, True), (5, True), (10, False), (math.inf, False)])
async def test_what_was_never_delivered_is_told_by_who_once_had_all_that_was_due(
    store: SQLiteStore,  # noqa: F811 - the fixture's name
    ago: float,
    *,
    is_told: bool,
) -> None:
    env: Any = SimpleNamespace(now=NOW, announce=lambda *_: None)
    since = NOW - agreement().log.report_after - 10
    await store.write(lambda tx: wait_for_item(tx, ChannelState.ACTIVE, since))

    told = await store.write(lambda tx: log_keeping.report_withheld(env, tx, agreement(), ago=ago))

    assert told is is_told


async def test_a_clock_that_was_put_back_does_not_put_off_what_was_never_delivered_for_ever(
    store: SQLiteStore,  # noqa: F811 - the fixture's name
) -> None:
    env: Any = SimpleNamespace(now=NOW, announce=lambda *_: None)
    await store.write(lambda tx: wait_for_item(tx, ChannelState.ACTIVE, NOW + 1_000_000))
    told = []

    for _ in range(2):
        told.append(
            await store.write(lambda tx: log_keeping.report_withheld(env, tx, agreement(), ago=0))
        )
        env.now += agreement().log.report_after + 1

    assert told == [False, True]
