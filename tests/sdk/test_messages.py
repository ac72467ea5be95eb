"""What is shown, what is withheld, what fails: never silently, never on the relay's word."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from liaison.envelope.header import Kind
from liaison.envelope.receipt import Status
from liaison.labels import Label
from liaison.model import Precedence
from liaison.policy.errors import PolicyRefusedError
from liaison.wire.frames import Deliver, ItemKind
from liaison.wire.problems import Problem, RemoteError
from liaison_sdk import Client, EventKind, Message, MessageState, composing
from liaison_sdk.attachments import _Writer
from liaison_sdk.environment import Environment
from liaison_sdk.errors import (
    AttachmentExistsError,
    AttachmentMalformedError,
    AttachmentTamperedError,
    ChannelAmbiguousError,
    ChannelUnknownError,
    MessageAmbiguousError,
    MessageRefusedError,
    MessageUnknownError,
    NotEnrolledError,
    RelayAddressError,
    WrongPassphraseError,
)
from liaison_sdk.events import Event
from liaison_sdk.inbound import Inbound
from liaison_sdk.joining import Joiner
from liaison_sdk.log_following import LogFollower
from liaison_sdk.offline import NoTransport
from liaison_sdk.store import Transaction, outbox
from liaison_sdk.transport import AiohttpTransport
from tests.sdk.support import (
    AGREEMENT,
    PASSPHRASE,
    POLICY,
    QUICK,
    Stage,
    endpoint,
    next_message,
    until,
)
from tests.support.relay import allow_everything, running
from tests.support.world import World

ATTACHE = "nor/defatt-berlin#d1"
OFFICER = "deu/lno-j3#d1"


async def test_a_message_carries_what_its_sender_said_about_it(pair: Stage) -> None:
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        channel = await nor.channel("duty")
        await channel.send(
            "Bro sperret.",
            precedence=Precedence.IMMEDIATE,
            info=Precedence.ROUTINE,
            to=[endpoint("nor/defatt-berlin")],
            copy=[endpoint("deu/lno-j3")],
            subject="Bridge",
            language="nb",
            expires=later,
        )
        first = await next_message(deu)
        await (await deu.channel("duty")).send("Seen.", reply_to=first)
        reply = await next_message(nor)

        assert (first.text, first.subject, first.language) == ("Bro sperret.", "Bridge", "nb")
        assert (first.action, first.info) == (Precedence.IMMEDIATE, Precedence.ROUTINE)
        assert first.precedence is Precedence.ROUTINE
        assert first.to == (endpoint("nor/defatt-berlin"),)
        assert first.expires == later
        assert first.marking == "UNMARKED"
        assert first.dtg_text.endswith(f"{datetime.now(UTC):%y}")
        assert reply.in_reply_to == first.ref


async def test_an_expired_message_is_not_shown(pair: Stage) -> None:
    now = datetime.now(UTC)
    async with pair.client(ATTACHE) as nor:
        channel = await nor.channel("duty")
        await channel.send("for a minute", expires=now + timedelta(minutes=1))
    late = replace(QUICK, clock=lambda: now.timestamp() + 120)
    async with pair.client(OFFICER, late) as deu:
        message = await next_message(deu)

        assert message.state is MessageState.WITHHELD
        assert message.reason_code == "message.expired"
        assert message.text == ""


async def test_what_the_agreement_forbids_is_withheld_even_if_the_relay_let_it_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = composing.compose

    def above(*arguments: object, **others: object) -> composing.Composed:
        composed = real(*arguments, **others)  # type: ignore[arg-type]  # passed through
        return replace(composed, header=replace(composed.header, action=Precedence.OVERRIDE))

    async with running(tmp_path / "lax", judge=allow_everything) as lax:
        stage = Stage(lax, World(), tmp_path)
        await stage.open()
        for name in (ATTACHE, OFFICER):
            await stage.enrol(name)
        async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
            channel = await nor.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
            monkeypatch.setattr(composing, "compose", above)
            monkeypatch.setattr(composing, "judge", lambda *_: _Allow())
            await channel.send("obey")
            message = await next_message(deu)

            assert message.state is MessageState.WITHHELD
            assert message.reason_code == f"channels.{POLICY}.send.precedence"
            assert message.text == ""
            assert message.attachments == ()


class _Allow:
    allow = True

    def require(self) -> None:
        """Let it pass."""


async def test_a_message_that_does_not_open_is_stored_and_its_sender_told(
    pair: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def swallow(_: object) -> None:
        await asyncio.Event().wait()

    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        await deu.sync(10)
        await nor.sync(10)
        # What is sent does not arrive; only what the test delivers does.
        monkeypatch.setattr(nor._parts.connection, "send", swallow)
        channel = await nor.channel("duty")
        sent = await channel.send("garbled on the way", wait=False)
        row = await _encrypted(nor)
        garbled = row.ciphertext[:-1] + bytes([row.ciphertext[-1] ^ 1])
        await _deliver(deu, channel.id.value, 1_000_000, garbled)
        message = await next_message(deu)

        async def told() -> bool:
            mine = await nor.message(str(sent.message_id))
            return any(r.status is Status.FAILED for r in mine.receipts)

        await until(nor, told)
        assert message.state is MessageState.FAILED
        assert message.reason_code.startswith("mls.")
        assert message.id == sent.message_id
        assert message.text == ""


async def _encrypted(client: Client) -> outbox.OutboxRecord:
    """Return the ciphertext of a queued message, as it will be sent."""
    seen: list[outbox.OutboxRecord] = []

    def look(tx: Transaction) -> outbox.OutboxRecord | None:
        rows = [row for row in outbox.waiting(tx) if row.ciphertext]
        return rows[0] if rows else None

    async with asyncio.timeout(10):
        seen.append(await client._env.until(look))
    return seen[0]


async def _deliver(client: Client, channel: bytes, seq: int, payload: bytes) -> None:
    """Let a client take an item, as if the relay had delivered it."""
    from liaison.model import ChannelId, Epoch, Seq  # noqa: PLC0415 - only here

    env = client._env
    item = Deliver(
        number=1,
        kind=ItemKind.MESSAGE,
        precedence=Precedence.ROUTINE,
        channel=ChannelId(channel),
        seq=Seq(seq),
        epoch=Epoch(1),
        time_ms=env.now * 1000,
        payload=payload,
    )
    await Inbound(env, Joiner(env), LogFollower(env)).take([item])


async def test_bytes_that_come_twice_are_shown_once(pair: Stage) -> None:
    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        await deu.sync(10)
        channel = await nor.channel("duty")
        await channel.send("once", wait=False)
        row = await _encrypted(nor)
        await next_message(deu)
        await _deliver(deu, channel.id.value, 1_000_000, row.ciphertext)

        assert [m.text for m in await deu.history()] == ["once"]
        assert await deu.unread() == []


async def test_a_message_for_an_unknown_channel_is_kept_with_the_reason(pair: Stage) -> None:
    async with pair.client(OFFICER) as deu:
        await _deliver(deu, bytes(16), 1, b"\x00\x01")
        message = await next_message(deu)

        assert message.state is MessageState.FAILED
        assert message.sender is None
        assert message.reason_code == "channel.closed"


async def test_a_file_above_the_limits_or_missing_is_refused_before_anything_is_sent(
    pair: Stage, tmp_path: Path
) -> None:
    async with pair.client(ATTACHE) as nor:
        channel = await nor.channel("duty")
        many = [tmp_path / f"{number}" for number in range(17)]

        with pytest.raises(PolicyRefusedError, match="at most 16"):
            await channel.send(attach=many)
        with pytest.raises(FileNotFoundError):
            await channel.send(attach=[tmp_path / "missing"])
        assert await nor.history() == []


async def test_an_attachment_is_never_written_over_another_file(
    pair: Stage, tmp_path: Path
) -> None:
    message = await _with_attachment(pair, tmp_path, b"content")
    async with pair.client(OFFICER) as deu:
        message = replace(message, client=deu)
        target = tmp_path / "there"
        await asyncio.to_thread(target.write_bytes, b"mine")

        with pytest.raises(AttachmentExistsError):
            await message.save(0, target)
        with pytest.raises(AttachmentMalformedError):
            await message.save(1, target)
        assert await asyncio.to_thread(target.read_bytes) == b"mine"
        await message.save(0, target, overwrite=True)
        assert await asyncio.to_thread(target.read_bytes) == b"content"


async def test_an_attachment_goes_to_a_disk_that_knows_no_links(
    pair: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    message = await _with_attachment(pair, tmp_path, b"content")
    monkeypatch.setattr(os, "link", refuse)
    async with pair.client(OFFICER) as deu:
        message = replace(message, client=deu)

        saved = await message.save(0, tmp_path / "stick")

        assert await asyncio.to_thread(saved.read_bytes) == b"content"
        writer = await asyncio.to_thread(_Writer, saved, message.attachments[0].descriptor)
        with pytest.raises(FileExistsError):
            await asyncio.to_thread(writer._take_free_name)
        await asyncio.to_thread(writer.abandon)
        assert await asyncio.to_thread(saved.read_bytes) == b"content"


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 3 * 65536])
async def test_attachments_of_every_size_arrive(pair: Stage, tmp_path: Path, size: int) -> None:
    message = await _with_attachment(pair, tmp_path, bytes(size))
    async with pair.client(OFFICER) as deu:
        saved = await replace(message, client=deu).save(0, tmp_path / "saved")

        assert await asyncio.to_thread(saved.read_bytes) == bytes(size)
        assert message.attachments[0].size == size


async def test_an_attachment_that_the_relay_altered_leaves_nothing(
    pair: Stage, tmp_path: Path
) -> None:
    message = await _with_attachment(pair, tmp_path, bytes(100_000))
    async with pair.client(OFFICER) as deu:
        whole = [piece async for piece in deu._env.api.get_blob(
            message.channel_id, message.attachments[0].descriptor.blob_id
        )]  # fmt: skip
        data = bytearray(b"".join(whole))
        data[70_000] ^= 1

        async def altered(*_: object) -> object:
            yield bytes(data)

        deu._env.api.get_blob = altered  # type: ignore[method-assign, assignment]  # a relay that lies
        folder = tmp_path / "in"
        await asyncio.to_thread(folder.mkdir)

        with pytest.raises(AttachmentTamperedError):
            await replace(message, client=deu).save(0, folder)
        assert await asyncio.to_thread(lambda: list(folder.iterdir())) == []


async def _with_attachment(stage: Stage, tmp_path: Path, content: bytes) -> Message:
    source = tmp_path / "source.bin"
    await asyncio.to_thread(source.write_bytes, content)
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        await (await nor.channel("duty")).send(attach=[source])
        message = await next_message(deu)
    assert message.kind is Kind.FILE
    return message


async def test_no_spool_file_is_left_and_none_has_a_name_meanwhile(
    pair: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pair.homes[ATTACHE] / "spool"
    source = tmp_path / "source"
    await asyncio.to_thread(source.write_bytes, b"content")
    looks: list[list[str]] = []
    async with pair.client(ATTACHE) as nor:
        put = nor._env.api.put_blob

        async def look_and_put(*arguments: Any) -> object:
            looks.append(await asyncio.to_thread(os.listdir, folder))
            return await put(*arguments)

        monkeypatch.setattr(nor._env.api, "put_blob", look_and_put)
        await (await nor.channel("duty")).send(attach=[source])
    looks.append(await asyncio.to_thread(os.listdir, folder))

    assert looks == [[], []]


async def test_a_label_that_the_agreement_does_not_know_is_refused(pair: Stage) -> None:
    async with pair.client(ATTACHE) as nor:
        channel = await nor.channel("duty")

        with pytest.raises(PolicyRefusedError):
            await channel.send("secret", label=Label("nato", "NATO SECRET"))


async def test_channels_and_messages_are_found_by_name_and_prefix(pair: Stage) -> None:
    async with pair.client(ATTACHE) as nor:
        channel = await nor.channel("duty")
        sent = await channel.send("one")
        await nor.create_channel(AGREEMENT, POLICY, "duty")

        assert (await nor.channel(str(channel.id)[:8])).id == channel.id
        assert (await nor.message(str(sent.message_id)[:8])).text == "one"
        with pytest.raises(ChannelAmbiguousError, match="2 channels") as caught:
            await nor.channel("duty")
        assert str(channel.id)[:8] in caught.value.hint
        with pytest.raises(ChannelUnknownError):
            await nor.channel("nothing")
        with pytest.raises(MessageUnknownError):
            await nor.message("ffff")
        with pytest.raises(MessageUnknownError, match="beginning of a message id"):
            await nor.message("%")
        assert MessageAmbiguousError.code == "message.ambiguous"


async def test_offline_there_is_the_store_and_nothing_else(pair: Stage) -> None:
    async with pair.client(ATTACHE) as nor:
        await (await nor.channel("duty")).send("one")
    home = pair.homes[ATTACHE]
    async with Client.open(home, passphrase=PASSPHRASE, offline=True) as nor:
        assert [m.text for m in await nor.history()] == ["one"]
        assert [a.agreement_id for a in await nor.agreements()] == [AGREEMENT]
        assert not nor.connected


async def test_the_directory_names_the_devices_of_the_agreement(pair: Stage) -> None:
    async with pair.client(ATTACHE) as nor:
        await nor.wait_connected()
        found = await nor.devices(AGREEMENT)

        assert [(str(e.device), e.revoked) for e in found] == [(OFFICER, False), (ATTACHE, False)]


async def test_a_wrong_passphrase_and_an_empty_folder_are_named(
    pair: Stage, tmp_path: Path
) -> None:
    with pytest.raises(WrongPassphraseError):
        async with Client.open(pair.homes[ATTACHE], passphrase="wrong"):
            pass
    with pytest.raises(NotEnrolledError):
        async with Client.open(tmp_path / "empty", passphrase="wrong"):
            pass


async def test_no_secret_shows_in_the_words_of_the_public_nouns(pair: Stage) -> None:
    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        await (await nor.channel("duty")).send("a canary", subject="a canary")
        message = await next_message(deu)
        key = next(iter(deu.account.keys.values())).private_bytes()
        words = " ".join(
            map(repr, (deu, deu.account, message, await deu.channels(), deu._env.api, deu._env))
        )

        assert "a canary" not in words
        assert PASSPHRASE not in words
        assert key.hex() not in words
        assert repr(key) not in words


async def test_a_relay_with_another_key_is_not_talked_to(pair: Stage) -> None:
    other = pair.world.party("SWE").party.authority_keys
    way = AiohttpTransport(pair.relay.url, ca_file=pair.relay.ca)
    async with Client.open(
        pair.homes[ATTACHE], passphrase=PASSPHRASE, offline=True, options=QUICK, transport=way
    ) as nor:
        api = nor._env.api
        api._sessions.relay = replace(nor.account.relay, identity_keys=other)

        with pytest.raises(Exception, match="not one of the relay"):
            await api.session()


def test_only_loopback_may_go_without_tls() -> None:
    for url in ("http://relay.example.org", "127.0.0.1:8443", "relay.example.org", "https://", "["):
        with pytest.raises(RelayAddressError):
            AiohttpTransport(url)
    AiohttpTransport("http://127.0.0.1:8443")
    AiohttpTransport("https://relay.example.org:8443")


async def test_news_reaches_an_iterator(pair: Stage) -> None:
    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        await deu.sync(10)
        seen: list[Event] = []
        deu._env.listeners.add(seen.append)
        await (await nor.channel("duty")).send("one")
        await next_message(deu)

        assert EventKind.MESSAGE in {event.kind for event in seen}


async def test_a_reader_that_is_interrupted_loses_no_message(
    pair: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        await (await nor.channel("duty")).send("read me")
        await deu.sync(10)
    begun, gate, write = asyncio.Event(), asyncio.Event(), Environment.write

    async def held_up(env: Environment, work: Callable[[Transaction], object]) -> object:
        begun.set()
        await gate.wait()
        return await write(env, work)

    monkeypatch.setattr(Environment, "write", held_up)
    home = pair.homes[OFFICER]
    async with Client.open(home, passphrase=PASSPHRASE, offline=True, options=QUICK) as deu:
        reading = asyncio.ensure_future(anext(deu.messages()))
        await begun.wait()
        reading.cancel()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await reading

        assert [m.text for m in await deu.unread()] == ["read me"]


async def test_files_of_one_name_are_all_saved_into_one_folder(pair: Stage, tmp_path: Path) -> None:
    sources = [tmp_path / folder / "map.tif" for folder in ("east", "west")]
    for source in sources:
        await asyncio.to_thread(source.parent.mkdir)
        await asyncio.to_thread(source.write_text, source.parent.name)
    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        await (await nor.channel("duty")).send("Maps", attach=sources)
        message = await next_message(deu)
        saved = [await message.save(a, tmp_path) for a in message.attachments]

        assert [file.name for file in saved] == ["map.tif", "map-2.tif"]
        texts = [await asyncio.to_thread(file.read_text) for file in saved]
        assert texts == ["east", "west"]


async def test_an_answer_that_another_process_had_refused_is_not_called_accepted(
    pair: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: object) -> None:
        raise RemoteError(Problem("policy.refused", 403, "no receipts here"))

    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as sender:
        await (await nor.channel("duty")).send("Acknowledge.")
        await sender.sync(10)
        monkeypatch.setattr(sender._parts.connection, "send", refuse)
        home = pair.homes[OFFICER]
        beside = Client.open(home, passphrase=PASSPHRASE, options=QUICK, transport=NoTransport())
        async with beside as waiter:
            message = await next_message(waiter)
            with pytest.raises(MessageRefusedError) as caught:
                await asyncio.wait_for(message.acknowledge(), 10)

        assert caught.value.remote_code == "policy.refused"
