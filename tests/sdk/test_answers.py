"""What the relay's answer to a message means to its sender, and what the sender does then."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from liaison.model import ChannelId, MessageId
from liaison.wire import frames
from liaison.wire.problems import Problem, RemoteError
from liaison_sdk import Client, EventKind, MessageState, outbound
from liaison_sdk.channel import Channel
from liaison_sdk.errors import ConnectionLostError
from liaison_sdk.transport import AiohttpTransport, Answer, Socket
from tests.sdk.support import AGREEMENT, PASSPHRASE, POLICY, QUICK, Stage

ATTACHE = "nor/defatt-berlin#d1"
STATUS = 503
NOWHERE = ChannelId(bytes(16))


@dataclass
class Objector:
    """A way to the relay on which some messages are answered with a refusal.

    Args:
        plain: the way.
        refuses: with which code the next message is answered; None where the relay decides.
        arrives: whether the relay gets and stores what is refused.
        breaks: whether each connection breaks behind the first message that is accepted.
        sent: the bytes of each message, as often as they were sent.
    """

    plain: AiohttpTransport
    refuses: str | None = None
    arrives: bool = False
    breaks: bool = False
    sent: dict[MessageId, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str], body: Any = None
    ) -> Answer:
        """See `Transport`."""
        return await self.plain.request(method, path, headers=headers, body=body)

    async def connect(self, path: str, *, headers: Mapping[str, str]) -> Socket:
        """See `Transport`."""
        return _Answered(await self.plain.connect(path, headers=headers), self)

    async def close(self) -> None:
        """See `Transport`."""
        await self.plain.close()


@dataclass
class _Answered:
    plain: Socket
    objector: Objector
    refused: dict[int, str] = field(default_factory=dict)
    is_broken: bool = False

    async def send(self, data: bytes) -> None:
        frame = frames.decode_client(data)
        if isinstance(frame, frames.Send):
            self.objector.sent[frame.message_id].append(frame.payload)
            code, self.objector.refuses = self.objector.refuses, None
            if code is not None:
                self.refused[frame.request] = code
                if not self.objector.arrives:
                    data = frames.encode(replace(frame, channel=NOWHERE))
        await self.plain.send(data)

    async def receive(self) -> bytes:
        if self.is_broken:
            raise ConnectionLostError
        data = await self.plain.receive()
        frame = frames.decode_relay(data)
        self.is_broken = self.objector.breaks and isinstance(frame, frames.Accepted)
        if isinstance(frame, (frames.Accepted, frames.Refused)):
            code = self.refused.pop(frame.request, None)
            if code is not None:
                problem = Problem(code=code, status=STATUS, detail="not now")
                return frames.encode(frames.Refused(frame.request, problem))
        return data

    async def close(self) -> None:
        await self.plain.close()


@contextlib.asynccontextmanager
async def sender(stage: Stage) -> AsyncIterator[tuple[Objector, Channel]]:
    """Give a channel of one device's, and the way that it takes to the relay."""
    await stage.enrol(ATTACHE)
    way = Objector(AiohttpTransport(stage.relay.url, ca_file=stage.relay.ca))
    async with Client.open(
        stage.homes[ATTACHE], passphrase=PASSPHRASE, options=QUICK, transport=way
    ) as client:
        yield way, await client.create_channel(AGREEMENT, POLICY, "duty", [])


async def test_busy_decides_nothing_and_the_same_bytes_are_taken_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "_BLOCKED_PAUSE", 0.01)
    monkeypatch.setattr(outbound, "_RETRY_PAUSE", 0.01)
    async with sender(stage) as (way, channel):
        for code in ("unavailable", "rate.exceeded", "internal", "queue.full"):
            for arrives in (False, True):
                way.refuses, way.arrives = code, arrives
                sent = await channel.send(f"{code} {arrives}")

                assert sent.state is MessageState.ACCEPTED
                first, second = way.sent[sent.message_id]
                assert first == second


@pytest.mark.parametrize("code", ["channel.epoch_stale", "message.id_conflict"])
async def test_what_the_relay_has_already_is_not_encrypted_again(stage: Stage, code: str) -> None:
    async with sender(stage) as (way, channel):
        way.refuses, way.arrives = code, True
        sent = await channel.send("under an epoch that has ended meanwhile")

        assert sent.state is MessageState.ACCEPTED
        assert len(way.sent[sent.message_id]) == 1


@pytest.mark.parametrize("status", [429, 403, 503])
async def test_an_outcome_that_the_relay_can_not_tell_now_ends_no_connection(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(outbound, "_BLOCKED_PAUSE", 0.01)
    async with sender(stage) as (way, channel):
        env, told = channel.client._env, list[EventKind]()
        asked, answers = env.api.outcome, [status, status]
        env.listeners.add(lambda event: told.append(event.kind))

        async def outcome(where: ChannelId, message: MessageId) -> Any:
            if answers:
                raise RemoteError(Problem("not.now", answers.pop(), "not now"))
            return await asked(where, message)

        monkeypatch.setattr(env.api, "outcome", outcome)
        way.refuses, way.arrives = "channel.epoch_stale", True
        sent = await channel.send("one")

        assert sent.state is MessageState.ACCEPTED
        assert EventKind.PROBLEM in told
        assert EventKind.DISCONNECTED not in told


async def test_of_a_batch_what_was_answered_before_the_connection_broke_is_done_with(
    stage: Stage,
) -> None:
    async with sender(stage) as (way, channel):
        way.breaks = True
        for number in range(5):
            await channel.send(f"serial {number}", wait=False)
        await channel.client.sync(10)

        states = [m.state for m in await channel.client.history()]
        assert states == [MessageState.ACCEPTED] * 5
