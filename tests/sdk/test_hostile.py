"""A relay that lies about numbers and versions, and a member who takes another's message id."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest

from liaison.crypto.secret import random_bytes
from liaison.envelope import cbor
from liaison.envelope.receipt import Status
from liaison.model import MessageId
from liaison.wire.frames import Deliver, ItemKind
from liaison_sdk import MessageState, log_credentials, merging
from liaison_sdk.errors import MessageAmbiguousError, RelayBrokenError
from liaison_sdk.inbound import Inbound
from liaison_sdk.joining import Joiner
from liaison_sdk.keystore import Keystore
from liaison_sdk.log_following import LogFollower
from liaison_sdk.store import (
    SQLiteStore,
    Transaction,
    channels,
    documents,
    messages,
    meta,
    receipts,
    stays,
)
from liaison_sdk.store.channels import ChannelState
from tests.sdk.support import AGREEMENT, CALM, POLICY, QUICK, Stage, endpoint, next_message, until
from tests.sdk.test_logs import delivering
from tests.sdk.test_store import CHANNEL, SENDER, keystore, message, store  # noqa: F401 - fixtures

ATTACHE = "nor/defatt-berlin#d1"
OFFICER = "deu/lno-j3#d1"
MALLORY = "deu/duty-desk#d1"


def taking(number: MessageId) -> Callable[[int], bytes]:
    """Return a source of chance that makes every 16 bytes this id."""
    return lambda size: number.value if size == len(number.value) else random_bytes(size)


async def test_an_answer_counts_for_the_message_it_is_about_and_for_no_other_of_the_same_id(
    stage: Stage,
) -> None:
    for name in (ATTACHE, OFFICER, MALLORY):
        await stage.enrol(name)
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        wanted = [endpoint("deu/lno-j3"), endpoint("deu/duty-desk")]
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", wanted)
        order = await channel.send("Hold all movement.")
        genuine = await next_message(deu)
        await genuine.acknowledge("cannot-comply")
        async with stage.client(MALLORY, replace(QUICK, rng=taking(order.message_id))) as mallory:
            await mallory.sync(10)
            await (await mallory.channel("duty")).send("Coffee?")
            taken = await next_message(deu)
            await taken.acknowledge("will-comply")

        async def answered() -> bool:
            return any(m.receipts for m in await nor.history() if not m.outgoing)

        await until(nor, answered)
        shown = {m.text: [str(r.answer) for r in m.receipts] for m in await nor.history()}

        assert taken.id == genuine.id
        assert shown == {"Hold all movement.": ["cannot-comply"], "Coffee?": ["will-comply"]}
        with pytest.raises(MessageAmbiguousError) as caught:
            await deu.message(str(genuine.id))
        assert f"{genuine.id}@{ATTACHE}" in caught.value.hint
        found = await deu.message(f"{genuine.id}@{ATTACHE}")
        assert found.text == "Hold all movement."


async def test_a_failed_message_keeps_no_true_one_of_the_same_id_away(
    store: SQLiteStore,  # noqa: F811 - the fixture's name
) -> None:
    failed = replace(message(1), state=MessageState.FAILED, header=b"", content=b"")

    await store.write(lambda tx: messages.insert(tx, failed))
    assert await store.write(lambda tx: messages.insert(tx, message(1))) is not None
    assert await store.write(lambda tx: messages.insert(tx, failed)) is None

    kept = await store.read(lambda tx: messages.history(tx, CHANNEL, None, unread=True))
    assert [m.state for m in kept] == [MessageState.RECEIVED]


async def test_in_another_group_of_the_same_epoch_the_members_are_looked_at_anew(
    stage: Stage,
) -> None:
    """Whoever has a party's root key and the relay's help can invite into a group of their own."""
    for name in (ATTACHE, OFFICER, MALLORY):
        await stage.enrol(name)
    async with stage.client(ATTACHE) as nor:
        both = [endpoint("deu/lno-j3"), endpoint("deu/duty-desk")]
        duty = await nor.create_channel(AGREEMENT, POLICY, "duty", both[:1])
        other = await nor.create_channel(AGREEMENT, POLICY, "other", both)
        await duty.send("Hold all movement.")
        env, agreement = nor._env, await nor.agreement(AGREEMENT)

        def seen_after_swap(tx: Transaction) -> tuple[bool, set[str]]:
            found = [channels.load(tx, one.id) for one in (duty, other)]
            first, second = (one for one in found if one is not None)
            env.groups.audience(tx, first)
            assert log_credentials.check_group(env, tx, first, agreement) == {}
            assert first.epoch == second.epoch
            swapped = env.groups.save_epoch(tx, first, env.groups.load(tx, second))
            # In the same transaction: what follows the log would learn them again.
            env.logged.credentials.clear()
            tx.execute("DELETE FROM log_credentials")
            same = env.groups.audience(tx, swapped) == env.groups.audience(tx, second)
            return same, set(log_credentials.check_group(env, tx, swapped, agreement).values())

        assert await env.write(seen_after_swap) == (True, {ATTACHE, OFFICER, MALLORY})


@pytest.mark.parametrize("claimed", [(1 << 63) - 1, 1 << 40])
async def test_a_relay_that_claims_an_impossible_state_is_not_believed(
    stage: Stage, claimed: int
) -> None:
    await stage.enrol(ATTACHE)
    async with stage.client(ATTACHE) as nor:
        env = nor._env
        before = await env.read(lambda tx: meta.number(tx, meta.STATE_VERSION))

        with pytest.raises(RelayBrokenError):
            await env.write(lambda tx: merging.mark_all_stale(env, tx, claimed))

        assert await env.read(lambda tx: meta.number(tx, meta.STATE_VERSION)) == before


async def test_a_stay_that_no_commit_began_by_the_relays_word_is_not_confirmed(
    store: SQLiteStore,  # noqa: F811 - the fixture's name
) -> None:
    await store.write(lambda tx: stays.begin(tx, CHANNEL, 0, 3, welcomed=True))

    assert not await store.read(lambda tx: stays.is_confirmed(tx, CHANNEL, 3))


async def test_an_older_agreement_is_not_taken_for_the_latest(stage: Stage) -> None:
    await stage.enrol(ATTACHE)
    async with stage.client(ATTACHE) as nor:
        await nor.wait_connected()
        await nor.agreement(AGREEMENT)
        await nor._env.write(
            lambda tx: documents.save(tx, documents.AGREEMENT, AGREEMENT, 2, b"came later")
        )

        with pytest.raises(RelayBrokenError, match=r"served version 1 .* version 2 is here"):
            await nor.agreement(AGREEMENT)


async def test_receipts_of_the_first_version_of_the_store_are_still_there(
    keystore: Keystore,  # noqa: F811 - the fixture's name
) -> None:
    number = MessageId(bytes(15) + b"\x01")
    label = f"receipt {CHANNEL} {number} {SENDER} {Status.ACKNOWLEDGED.value}"
    sealed = keystore.seal(label, b"as it was")
    with sqlite3.connect(keystore.folder / "liaison.db") as old:
        old.execute(
            "CREATE TABLE receipts (channel BLOB NOT NULL, message_id BLOB NOT NULL, "
            "sender TEXT NOT NULL, status TEXT NOT NULL, body BLOB NOT NULL, "
            "PRIMARY KEY (channel, message_id, sender, status)) WITHOUT ROWID, STRICT"
        )
        old.execute(
            "INSERT INTO receipts VALUES (?, ?, ?, ?, ?)",
            (CHANNEL.value, number.value, str(SENDER), Status.ACKNOWLEDGED.value, sealed),
        )
        _make_messages(old)
        old.execute("PRAGMA user_version = 1")
    old.close()

    opened = await SQLiteStore.open(keystore.folder, keystore)
    found = await opened.read(lambda tx: receipts.load(tx, CHANNEL, number, SENDER))
    await opened.close()

    assert found == [(SENDER, b"as it was")]


async def test_messages_of_a_store_that_followed_no_log_are_there_and_not_logged(
    keystore: Keystore,  # noqa: F811 - the fixture's name
) -> None:
    number = MessageId(bytes(15) + b"\x02")
    label = f"message {CHANNEL} {number} {SENDER}"
    body = keystore.seal(label, cbor.encode([b"", b"as it was", "", ""]))
    with sqlite3.connect(keystore.folder / "liaison.db") as old:
        _make_messages(old)
        old.execute(
            "INSERT INTO messages VALUES (1, ?, ?, ?, 0, 'received', 1, 0, 7, 8, ?)",
            (CHANNEL.value, str(SENDER), number.value, body),
        )
        old.execute("PRAGMA user_version = 2")
    old.close()

    opened = await SQLiteStore.open(keystore.folder, keystore)
    (found,) = await opened.read(lambda tx: messages.find(tx, str(number)))
    marked = await opened.write(lambda tx: messages.mark_logged(tx, CHANNEL, 7, 40))
    (after,) = await opened.read(lambda tx: messages.find(tx, str(number)))
    await opened.close()

    assert (found.content, found.logged, found.late) == (b"as it was", None, False)
    assert (marked, after.logged) == (True, 40)


@pytest.mark.parametrize("kind", [ItemKind.COMMIT, ItemKind.PROPOSAL, ItemKind.WELCOME])
@pytest.mark.parametrize("state", [ChannelState.ACTIVE, ChannelState.STALE])
async def test_a_message_is_shown_whatever_the_relay_calls_it(
    enrolled: Stage, kind: ItemKind, state: ChannelState
) -> None:
    held: list[Deliver] = []
    async with enrolled.client(ATTACHE) as nor, enrolled.client(OFFICER, CALM) as deu:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        await deu.sync(10)
        delivering(deu, lambda item: held.append(item) if item.kind is ItemKind.MESSAGE else item)
        await channel.send("Hold all movement.")

        async def is_held() -> bool:
            return bool(held)

        await until(deu, is_held)
        env = deu._env

        def leave_in(tx: Transaction) -> None:
            record = channels.load(tx, channel.id)
            assert record is not None
            channels.save(tx, replace(record, state=state))

        await env.write(leave_in)
        await Inbound(env, Joiner(env), LogFollower(env)).take([replace(held[0], kind=kind)])

        assert [message.text for message in await deu.history()] == ["Hold all movement."]
        assert (await deu.channel("duty")).state is state


def _make_messages(old: sqlite3.Connection) -> None:
    """Make the tables of messages, items and records as the first versions had them."""
    old.execute(
        "CREATE TABLE records (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID, STRICT"
    )
    old.execute(
        "CREATE TABLE items (channel BLOB NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL, "
        "PRIMARY KEY (channel, seq)) WITHOUT ROWID, STRICT"
    )
    old.execute(
        "CREATE TABLE messages (number INTEGER PRIMARY KEY AUTOINCREMENT, channel BLOB NOT NULL, "
        "sender TEXT NOT NULL, message_id BLOB NOT NULL, outgoing INTEGER NOT NULL, "
        "state TEXT NOT NULL, precedence INTEGER NOT NULL, shown INTEGER NOT NULL, seq INTEGER, "
        "time_ms INTEGER, body BLOB NOT NULL, UNIQUE (channel, message_id, sender)) STRICT"
    )
