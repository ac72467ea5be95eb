"""The store: exclusive, durable, sealed, and not for older programs."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from liaison.model import ChannelId, DeviceId, MessageId, Precedence
from liaison_sdk.errors import NewerStoreError, SealBrokenError, StoreError
from liaison_sdk.keystore import Keystore
from liaison_sdk.store import (
    SQLiteStore,
    Transaction,
    alarms,
    channels,
    messages,
    meta,
    outbox,
    schema,
)
from liaison_sdk.store.channels import ChannelRecord, ChannelState, GroupBlobs
from liaison_sdk.store.messages import MessageRecord, MessageState
from liaison_sdk.store.outbox import OutboxRecord, OutboxState
from tests.sdk.support import CHEAP

CHANNEL = ChannelId(bytes(16))
SENDER = DeviceId.parse("deu/lno-j3#d1")
CANARY = b"canary: the convoy leaves at dawn"


@pytest.fixture
async def keystore(tmp_path: Path) -> Keystore:
    return await asyncio.to_thread(Keystore.create, tmp_path / "home", "p", parameters=CHEAP)


@pytest.fixture
async def store(keystore: Keystore) -> AsyncIterator[SQLiteStore]:
    opened = await SQLiteStore.open(keystore.folder, keystore)
    yield opened
    await opened.close()


def message(number: int, precedence: Precedence = Precedence.ROUTINE) -> MessageRecord:
    return MessageRecord(
        channel=CHANNEL,
        sender=SENDER,
        message_id=MessageId(number.to_bytes(16)),
        outgoing=False,
        state=MessageState.RECEIVED,
        precedence=precedence,
        header=CANARY,
        content=CANARY,
    )


def _queued(number: int, precedence: Precedence = Precedence.ROUTINE) -> OutboxRecord:
    return OutboxRecord(
        channel=CHANNEL,
        message_id=MessageId(number.to_bytes(16)),
        precedence=precedence,
        state=OutboxState.QUEUED,
        header=CANARY,
        content=CANARY,
    )


def _channel(name: str) -> ChannelRecord:
    return ChannelRecord(CHANNEL, b"", ChannelState.ACTIVE, 1, name, "nor-deu", 1, "liaison")


async def test_what_fails_half_way_changes_nothing(store: SQLiteStore) -> None:
    def half(tx: Transaction) -> None:
        meta.next_state_version(tx)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        await store.write(half)

    assert await store.read(lambda tx: meta.number(tx, meta.STATE_VERSION)) == 0


async def test_what_waits_for_a_commit_does_not_happen_without_one(store: SQLiteStore) -> None:
    told: list[str] = []

    def work(tx: Transaction, *, fails: bool) -> None:
        tx.after_commit(lambda: told.append("failed" if fails else "done"))
        if fails:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await store.write(lambda tx: work(tx, fails=True))
    await store.write(lambda tx: work(tx, fails=False))

    assert told == ["done"]


async def test_two_connections_count_without_a_gap_or_a_repetition(
    store: SQLiteStore, keystore: Keystore
) -> None:
    other = await SQLiteStore.open(keystore.folder, keystore)
    numbers = await asyncio.gather(
        *(s.write(meta.next_state_version) for s in (store, other) for _ in range(25))
    )
    await other.close()

    assert sorted(numbers) == list(range(1, 51))


async def test_another_connections_commit_shows_in_the_data_version(
    store: SQLiteStore, keystore: Keystore
) -> None:
    other = await SQLiteStore.open(keystore.folder, keystore)
    before = await store.data_version()
    await store.write(meta.next_state_version)
    own = await store.data_version()
    await other.write(meta.next_state_version)
    theirs = await store.data_version()
    await other.close()

    assert own == before
    assert theirs != own


async def test_nothing_that_was_said_or_is_secret_lies_open_in_the_files(
    store: SQLiteStore, keystore: Keystore
) -> None:
    def fill(tx: Transaction) -> None:
        messages.insert(tx, message(1))
        outbox.insert(tx, _queued(2))
        channels.insert(tx, _channel(CANARY.decode()), GroupBlobs(CANARY, CANARY))
        meta.save_record(tx, "account", CANARY)

    await store.write(fill)

    assert await asyncio.to_thread(_grep, keystore.folder, b"canary") == []
    assert "canary" not in repr(message(1)) + repr(_queued(1)) + repr(GroupBlobs(CANARY, CANARY))


async def test_deleted_keys_are_gone_from_the_files_once_closed(keystore: Keystore) -> None:
    store = await SQLiteStore.open(keystore.folder, keystore)
    sealed: list[bytes] = []

    def keep(tx: Transaction) -> None:
        channels.insert(tx, _channel("duty"), GroupBlobs(bytes(40), bytes(40)))
        row = tx.one("SELECT epoch_blob, ratchets FROM channels")
        assert row is not None
        sealed.extend(row)

    def forget(tx: Transaction) -> None:
        found = channels.load(tx, CHANNEL)
        assert found is not None
        channels.forget_group(tx, found)

    await store.write(keep)
    await store.write(forget)
    await store.close()

    for blob in sealed:
        assert await asyncio.to_thread(_grep, keystore.folder, blob) == []


async def test_the_files_are_the_owners_alone(store: SQLiteStore, keystore: Keystore) -> None:
    await store.write(meta.next_state_version)

    modes = await asyncio.to_thread(
        lambda: {stat.S_IMODE(p.stat().st_mode) for p in keystore.folder.iterdir()}
    )
    assert modes == {0o600}


async def test_a_row_moved_to_another_place_does_not_open(store: SQLiteStore) -> None:
    def swap(tx: Transaction) -> None:
        messages.insert(tx, message(1))
        messages.insert(tx, message(2))
        tx.execute(
            "UPDATE messages SET body = (SELECT body FROM messages WHERE number = 1) "
            "WHERE number = 2"
        )

    await store.write(swap)

    with pytest.raises(SealBrokenError):
        await store.read(lambda tx: messages.load(tx, 2))


async def test_a_store_of_a_newer_program_is_left_alone(keystore: Keystore) -> None:
    await (await SQLiteStore.open(keystore.folder, keystore)).close()
    await asyncio.to_thread(_set_version, keystore.folder / "liaison.db", 99)

    with pytest.raises(NewerStoreError):
        await SQLiteStore.open(keystore.folder, keystore)


async def test_a_file_that_is_no_store_is_named(keystore: Keystore) -> None:
    await asyncio.to_thread((keystore.folder / "liaison.db").write_bytes, b"not a database" * 99)

    with pytest.raises(StoreError):
        await SQLiteStore.open(keystore.folder, keystore)


async def test_the_same_message_is_kept_once(store: SQLiteStore) -> None:
    first = await store.write(lambda tx: messages.insert(tx, message(1)))
    second = await store.write(lambda tx: messages.insert(tx, message(1)))

    assert (first, second) == (1, None)


async def test_what_waits_to_be_shown_comes_by_precedence_and_then_by_age(
    store: SQLiteStore,
) -> None:
    for number, precedence in enumerate(
        (Precedence.ROUTINE, Precedence.FLASH, Precedence.ROUTINE, Precedence.IMMEDIATE)
    ):
        await store.write(
            lambda tx, n=number, p=precedence: messages.insert(tx, message(n, p))  # type: ignore[misc]  # default arguments bind the loop's values
        )

    waiting = await store.read(lambda tx: messages.next_unread(tx, None))

    assert [message.message_id.value[-1] for message in waiting] == [1, 3, 0, 2]


async def test_a_message_is_marked_as_shown_by_one_only(
    store: SQLiteStore, keystore: Keystore
) -> None:
    other = await SQLiteStore.open(keystore.folder, keystore)
    await store.write(lambda tx: messages.insert(tx, message(1)))
    marked = await asyncio.gather(
        *(s.write(lambda tx: messages.mark_shown(tx, [1])) for s in (store, other, store, other))
    )
    await other.close()

    assert sorted(marked) == [[], [], [], [1]]


async def test_a_ciphertext_that_someone_else_replaced_is_not_queued_again(
    store: SQLiteStore,
) -> None:
    def work(tx: Transaction) -> tuple[bool, bool]:
        number = outbox.insert(tx, _queued(1))
        row = outbox.load(tx, number)
        assert row is not None
        sent = outbox.save_encrypted(tx, row, b"ciphertext", 3, 7)
        return outbox.requeue(tx, sent), outbox.requeue(tx, sent)

    assert await store.write(work) == (True, False)


async def test_a_closed_store_says_so(keystore: Keystore) -> None:
    store = await SQLiteStore.open(keystore.folder, keystore)
    await store.close()

    with pytest.raises((StoreError, RuntimeError)):
        await store.read(lambda _: None)


def _grep(folder: Path, needle: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if needle in path.read_bytes()]


def _set_version(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


async def test_a_disk_that_is_full_at_the_end_hinders_nobody_from_closing(
    store: SQLiteStore,
) -> None:
    class Full:
        closed = False

        def execute(self, _: str) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        def close(self) -> None:
            self.closed = True

    real, full = store._connection, Full()
    store._connection = full  # type: ignore[assignment]  # all that closing uses
    await store._run(store._disconnect)
    store._connection = real

    assert full.closed


def test_a_store_of_an_earlier_version_is_brought_up_to_date() -> None:
    old, new = (sqlite3.connect(":memory:") for _ in range(2))
    for statement in schema._STATEMENTS[: -len(schema._TOLD + schema._ANSWERS + schema._GAPS)]:
        old.execute(statement)
    old.execute("PRAGMA user_version = 3")
    for channel in (b"follows on", b"waits"):
        old.execute("INSERT INTO log_channels (channel, body) VALUES (?, x'00')", (channel,))
    old.execute(
        "INSERT INTO log_pending (channel, seq, place, is_commit, epoch, digest, since) "
        "VALUES (?, 5, 9, 0, 1, NULL, 7)",
        (b"waits",),
    )
    old.execute("INSERT INTO items (channel, seq, digest) VALUES (x'01', 1, x'02')")
    for name in ("account", "refusal 7"):
        old.execute("INSERT INTO records (name, body) VALUES (?, x'00')", (name,))

    for connection in (old, new):
        schema.prepare(connection)

    assert old.execute("SELECT channel FROM log_channels").fetchall() == [(b"follows on",)]
    assert old.execute("SELECT told FROM items").fetchall() == [(None,)]
    assert old.execute("SELECT name FROM records").fetchall() == [("account",)]
    columns = (
        "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c ORDER BY 1, 2"
    )
    assert old.execute(columns).fetchall() == new.execute(columns).fetchall()
    for connection in (old, new):
        connection.close()


async def test_a_message_that_was_accepted_in_the_future_is_late_at_once(
    store: SQLiteStore,
) -> None:
    def work(tx: Transaction) -> list[int]:
        for number, time_ms in enumerate((5_000, 20_000, 90_000), 1):
            messages.insert(tx, replace(message(number), seq=number, time_ms=time_ms))
        return messages.mark_late(tx, CHANNEL, start=0, before_ms=10_000, after_ms=50_000)

    assert await store.write(work) == [1, 3]


async def test_what_is_wrong_with_a_logs_successor_is_an_alarm_of_its_own(
    store: SQLiteStore,
) -> None:
    def raised(tx: Transaction, since: int) -> bool:
        return alarms.add(tx, "a", None, "log.fork", "two", at=1, evidence=bytes, since=since)

    def work(tx: Transaction) -> list[bool]:
        return [raised(tx, since) for since in (0, 0, 1, 1)]

    assert await store.write(work) == [True, False, True, False]


async def test_a_relay_can_not_fill_the_store_with_what_is_wrong_in_one_channel(
    store: SQLiteStore,
) -> None:
    def raised(tx: Transaction, number: int, channel: ChannelId = CHANNEL) -> bool:
        text = f"item {number}"
        return alarms.add(tx, "a", channel, "log.channel_gap", text, at=1, evidence=bytes)

    def work(tx: Transaction) -> list[bool]:
        return [raised(tx, number) for number in range(alarms.MAX_ALIKE + 2)]

    assert await store.write(work) == [True] * alarms.MAX_ALIKE + [False] * 2
    assert await store.write(lambda tx: raised(tx, 0, ChannelId(bytes(15) + b"x")))
