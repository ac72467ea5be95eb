"""A log that the parties have given up: clients go over to its successor, and tell what it cost."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from liaison.model import ChannelId, Seq
from liaison.policy import signing
from liaison.policy.agreement import Agreement
from liaison.policy.log_rules import Predecessor
from liaison.relay import admin
from liaison.storage import logs as relay_logs
from liaison.tlog.channels import ROOM
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.note import Note
from liaison.tlog.text import from_base64
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.trust import log as trusted
from liaison_sdk import Client, EventKind, log_credentials, log_successors
from liaison_sdk.environment import Logged
from liaison_sdk.events import Event
from liaison_sdk.store import (
    SQLiteStore,
    Transaction,
    alarms,
    channels,
    credentials,
    gaps,
    generations,
    items,
    logs,
    stays,
)
from liaison_sdk.store.channels import ChannelRecord, ChannelState, GroupBlobs
from liaison_sdk.store.credentials import CredentialRecord, CredentialState
from liaison_sdk.store.gaps import GapRecord
from liaison_sdk.store.logs import LogRecord
from tests.core.policy.documents import NOW
from tests.core.policy.documents import agreement as plain
from tests.sdk.support import AGREEMENT, POLICY, Stage, endpoint, next_message, until
from tests.sdk.test_store import keystore, store  # noqa: F401 - fixtures
from tests.support import relay as relays
from tests.support.ledger import key, with_log
from tests.support.relay import RunningRelay, free_port
from tests.support.world import World

ATTACHE, OFFICER = "nor/defatt-berlin#d1", "deu/lno-j3#d1"


async def logged(client: Client) -> bool:
    """Whether every message that a client has is in a log, and every epoch confirmed."""
    (known,) = await client.log_status()
    history = await client.history()
    return all(m.logged or m.given_up for m in history) and all(
        one.confirmed for one in known.channels
    )


async def exchange(attache: Client, officer: Client, *texts: str) -> None:
    """Say something in the channel that both are in, until it is logged for both."""
    for text in texts:
        await (await attache.channel("duty")).send(text)
        assert (await next_message(officer)).text == text
    for client in (attache, officer):
        assert await until(client, lambda c=client: logged(c))  # type: ignore[misc]  # a default argument binds the loop's value


async def sign_successor(relay: RunningRelay, world: World, agreement: Agreement) -> Agreement:
    """Do what operator and authorities do about a refused log."""
    await admin.perform_on(relay.app, {"do": "log.begin_root"})
    found = await admin.perform_on(relay.app, {"do": "log.successor", "agreement": AGREEMENT})
    told = found["predecessor"]
    head = Predecessor(told["origin"], told["size"], from_base64(told["root"]))
    log = replace(agreement.log, generation=found["generation"], predecessor=head)
    new = replace(agreement, version=2, previous=agreement.digest(), log=log)
    signed = signing.sign(new, world.party("NOR").authority_key)
    await relay.admit_agreement(signing.add_signature(signed, world.party("DEU").authority_key))
    return new


async def test_after_an_old_backup_messages_flow_into_the_successor_and_both_logs_verify(
    tmp_path: Path,
) -> None:
    port, data, backup = free_port(), tmp_path / "relay", tmp_path / "relay.db"
    async with relays.running(data, port=port) as relay, AsyncExitStack() as stack:
        stage = Stage(relay, World(), tmp_path / "devices")
        agreement = await stage.open()
        for name in (ATTACHE, OFFICER):
            await stage.enrol(name)
        attache, officer = [
            await stack.enter_async_context(stage.client(name)) for name in (ATTACHE, OFFICER)
        ]
        await attache.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        await exchange(attache, officer, "before")
    await asyncio.to_thread(shutil.copy, data / "relay.db", backup)
    async with relays.running(data, port=port) as relay, AsyncExitStack() as stack:
        # What is lost with the backup, but not by those who were there.
        stage.relay = relay
        await relay.app.services.registry.add_party(stage.world.party("SWE").document)
        attache, officer = [
            await stack.enter_async_context(stage.client(name)) for name in (ATTACHE, OFFICER)
        ]
        await exchange(attache, officer, "lost")
        (before,) = await attache.log_status()
    await asyncio.to_thread(shutil.copy, backup, data / "relay.db")

    async with relays.running(data, port=port) as relay, AsyncExitStack() as stack:
        stage.relay = relay
        new = await sign_successor(relay, stage.world, agreement)
        attache, officer = [
            await stack.enter_async_context(stage.client(name)) for name in (ATTACHE, OFFICER)
        ]
        await exchange(attache, officer, "after", "and on")
        texts = ["before", "lost", "after", "and on"]
        assert [message.text for message in await officer.history()] == texts

        for client in (attache, officer):
            (known,) = await client.log_status()
            assert known.origin == trusted.origin(new) == f"{before.origin}/2"
            assert known.is_sound
            (ended,) = known.ended
            assert (ended.generation, ended.dropped, ended.unlogged) == (1, 0, 0)
        async with relay.app.database.read() as tx:
            row = await relay_logs.of_generation(tx, AGREEMENT, 1)
        assert row is not None
        assert ended.kept >= before.size > row.size
        # Proofs from the old log hold as they did.
        own = [message for message in await attache.history() if message.outgoing]
        proofs = [(await attache.log_proof(message) or b"").decode() for message in own]
        assert [f"{before.origin}/2" in proof for proof in proofs] == [False, False, True, True]


def root_of(size: int) -> bytes:
    """The root of so many entries of the log."""
    return hashlib.sha256(f"{size} entries".encode()).digest()


# --- what was seen of the old log, and what the parties hold to ---------------------------


def note_messages(tx: Transaction, channel: ChannelId, agreement: str) -> None:
    """Keep three messages of a channel: two in the log, the later one beyond its seventh entry."""
    body = "INSERT INTO messages (channel, sender, message_id, outgoing, state, precedence, shown,"
    for seq, logged_at in ((1, 6), (2, 7), (3, None)):
        tx.execute(
            f"{body} seq, time_ms, body, logged) VALUES (?, 'me', ?, 1, 'accepted', 0, 1, ?, 1, x'', ?)",
            (channel.value, bytes([seq]) * 16, seq, logged_at),
        )
        items.take(tx, channel, Seq(seq), bytes(32))
    record = ChannelRecord(channel, b"", ChannelState.ACTIVE, 0, "duty", agreement, 1, POLICY)
    channels.insert(tx, record, GroupBlobs(b"", b""))
    stays.begin_own(tx, channel, 0)


class Device:
    """What one device knows of an agreement's logs."""

    def __init__(self, kept: SQLiteStore) -> None:
        self.kept = kept
        self.versions = [with_log(plain())]
        self.told: list[Event] = []
        self.env: Any = SimpleNamespace(
            now=NOW,
            logged=Logged(),
            trust=SimpleNamespace(
                current=lambda *_: self.versions[0], versions=lambda *_: self.versions
            ),
            announce=lambda _, event: self.told.append(event),
        )

    async def has_verified(self, size: int) -> None:
        """Have the device verify the log up to a size."""
        origin = trusted.origin(self.versions[0])
        vkey = VerifierKey.of(origin, SignatureType.ED25519, key("log"))
        note = Note(Checkpoint(origin, size, root_of(size)).text).signed_by(vkey, key("log"))
        record = LogRecord(self.name, note=note.encode(), size=size)
        await self.kept.write(lambda tx: logs.save(tx, record))

    @property
    def name(self) -> str:
        return self.versions[-1].agreement_id

    async def goes_over(self, size: int, root: bytes | None = None) -> None:
        """Let the parties sign a version that gives up the log beyond a head."""
        before = self.versions[0]
        head = Predecessor(trusted.origin(before), size, root or root_of(size))
        log = replace(before.log, generation=before.log.generation + 1, predecessor=head)
        new = replace(before, version=before.version + 1, previous=before.digest(), log=log)
        self.versions.insert(0, new)
        await self.kept.write(lambda tx: log_successors.adopt(self.env, tx, self.name))


@pytest.fixture
def device(store: SQLiteStore) -> Device:  # noqa: F811 - the fixture's name
    return Device(store)


async def test_a_device_that_has_seen_no_more_than_the_parties_hold_to_goes_over_silently(
    device: Device,
) -> None:
    await device.has_verified(10)

    await device.goes_over(12)

    found = await device.kept.read(lambda tx: generations.load(tx, device.name))
    (ended,) = found.ended
    assert (found.current, ended.size, ended.kept) == (2, 10, 12)
    assert await device.kept.read(lambda tx: logs.load(tx, device.name)) == LogRecord(device.name)
    assert device.told == []
    assert await device.kept.read(alarms.load_all) == []


async def test_entries_that_the_parties_have_given_up_are_told_and_nothing_is_refused(
    device: Device,
) -> None:
    await device.has_verified(10)

    await device.goes_over(7)

    (event,) = device.told
    assert event.kind is EventKind.UNLOGGED
    assert "last 3 entries that this device has verified" in event.text
    assert await device.kept.read(alarms.load_all) == []


async def test_messages_in_what_was_given_up_are_known_from_then_on(device: Device) -> None:
    channel = ChannelId(bytes(16))
    await device.has_verified(10)
    await device.kept.write(lambda tx: note_messages(tx, channel, device.name))

    await device.goes_over(7)

    rows = await device.kept.read(
        lambda tx: tx.all("SELECT seq, logged, late FROM messages ORDER BY seq")
    )
    assert [tuple(row) for row in rows] == [(1, 6, 0), (2, -8, 0), (3, None, 1)]
    (ended,) = (await device.kept.read(lambda tx: generations.load(tx, device.name))).ended
    assert (ended.dropped, ended.unlogged) == (1, 1)
    following = await device.kept.read(lambda tx: stays.load(tx, channel))
    assert following is not None
    assert (following.next_seq, following.start) == (0, 3)


async def test_a_message_that_is_accepted_for_the_new_log_before_the_device_goes_over_is_not_late(
    device: Device,
) -> None:
    channel = ChannelId(bytes(16))
    await device.has_verified(10)
    await device.kept.write(lambda tx: note_messages(tx, channel, device.name))
    await device.kept.write(
        lambda tx: tx.execute("UPDATE messages SET seq = ? WHERE seq = 3", (ROOM + 1,))
    )

    await device.goes_over(10)

    rows = await device.kept.read(lambda tx: tx.all("SELECT late FROM messages"))
    (ended,) = (await device.kept.read(lambda tx: generations.load(tx, device.name))).ended
    assert ([row[0] for row in rows], ended.unlogged) == ([0, 0, 0], 0)


async def test_what_the_old_log_has_left_out_of_a_channel_is_nothing_that_the_new_one_lacks(
    device: Device,
) -> None:
    channel = ChannelId(bytes(16))
    await device.has_verified(10)
    await device.kept.write(lambda tx: note_messages(tx, channel, device.name))
    await device.kept.write(lambda tx: gaps.save(tx, channel, GapRecord(9, NOW)))

    await device.goes_over(10)

    assert await device.kept.read(gaps.channels) == []


async def test_another_history_than_was_verified_is_an_alarm_with_the_evidence(
    device: Device,
) -> None:
    await device.has_verified(10)

    await device.goes_over(10, root=bytes(32))

    (alarm,) = await device.kept.read(alarms.load_all)
    assert alarm.code == "log.head_contradicted"
    assert alarm.evidence.startswith(trusted.origin(device.versions[-1]).encode())
    # The parties have decided all the same.
    found = await device.kept.read(lambda tx: generations.load(tx, device.name))
    assert found.current == 2


async def test_a_device_that_was_away_for_two_successors_compares_with_the_one_it_knew(
    device: Device,
) -> None:
    await device.has_verified(10)
    adopt, device.env.trust.current = device.env.trust.current, lambda *_: device.versions[-1]
    await device.goes_over(8)
    device.env.trust.current = adopt

    await device.goes_over(40)

    found = await device.kept.read(lambda tx: generations.load(tx, device.name))
    (ended,) = found.ended
    assert (found.current, ended.generation, ended.size, ended.kept) == (3, 1, 10, 8)
    assert ["last 2 entries" in event.text for event in device.told] == [True]


async def test_what_the_old_log_has_shown_of_certificates_has_to_show_again(
    device: Device,
) -> None:
    await device.has_verified(10)
    record = CredentialRecord(bytes(32), CredentialState.LOGGED, NOW, 10, OFFICER)
    await device.kept.write(lambda tx: credentials.save(tx, device.name, record))
    agreement = with_log(plain(), "NOR-1", "DEU-1")
    asked = {bytes(32): OFFICER}

    async def lacks(env: Any) -> dict[bytes, str]:
        """Return what a process of the device has to ask the log about."""
        return await device.kept.read(lambda tx: log_credentials.check(env, tx, agreement, asked))

    # Two processes: only one of them sees to the logs.
    beside: Any = SimpleNamespace(now=NOW, logged=Logged())
    assert await lacks(device.env) == await lacks(beside) == {}

    await device.goes_over(10)

    left = await device.kept.read(lambda tx: credentials.load(tx, device.name, [bytes(32)]))
    assert left == {}
    assert await lacks(device.env) == await lacks(beside) == asked
