"""A transfer waits where the relay says so, and goes on where it was cut off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from liaison.model import BlobId, ChannelId
from liaison.wire.problems import Problem, RemoteError
from liaison_sdk import transfers
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ConnectionLostError
from liaison_sdk.http import RelayAPI

CHANNEL, BLOB = ChannelId(bytes(16)), BlobId(bytes(16))
CUT = ConnectionLostError()


def refusal(code: str, retry_after: int | None = None) -> RemoteError:
    return RemoteError(Problem(code, 429, "wait", retry_after=retry_after))


class Relay:
    """Sends what is planned, from where it is asked; an error ends the request."""

    def __init__(self, *plans: Sequence[bytes | Exception]) -> None:
        self.plans = list(plans)
        self.begins: list[int] = []
        self.pauses: list[float] = []

    async def get_blob(self, _: ChannelId, __: BlobId, begin: int) -> AsyncIterator[bytes]:
        self.begins.append(begin)
        for one in self.plans.pop(0):
            if isinstance(one, Exception):
                raise one
            yield one

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def received(self) -> bytes:
        options = SimpleNamespace(sleep=self.sleep, backoff_first=1.0)
        env = cast("Environment", SimpleNamespace(api=self, options=options))
        return b"".join([piece async for piece in transfers.received(env, CHANNEL, BLOB)])


async def test_a_download_goes_on_where_the_connection_broke() -> None:
    relay = Relay([b"ab", CUT], [CUT], [b"c", CUT], [b"d"])

    assert await relay.received() == b"abcd"
    assert relay.begins == [0, 2, 2, 3]
    assert relay.pauses == [1.0, 2.0, 1.0]


async def test_a_download_waits_for_its_turn() -> None:
    relay = Relay([refusal("rate.attachments", 7)], [refusal("rate.attachments", 4000)], [b"ab"])

    assert await relay.received() == b"ab"
    assert relay.pauses == [7.0, 300.0]


async def test_a_download_that_never_begins_is_given_up() -> None:
    broken = Relay(*([CUT] for _ in range(4)))
    waiting = Relay(*([refusal("rate.attachments", 1)] for _ in range(61)))
    other = Relay([refusal("blob.unknown")])

    with pytest.raises(ConnectionLostError):
        await broken.received()
    for relay in (waiting, other):
        with pytest.raises(RemoteError):
            await relay.received()
    assert (len(broken.pauses), len(waiting.pauses), other.pauses) == (3, 60, [])


@pytest.mark.parametrize(("status", "sent"), [(206, [b"cd", b"e"]), (200, [b"a", b"bcd", b"e"])])
async def test_a_relay_without_ranges_is_read_from_its_beginning(
    status: int, sent: list[bytes]
) -> None:
    class Ranges(RelayAPI):
        async def _request(self, *_: Any) -> Any:
            async def chunks() -> AsyncIterator[bytes]:
                for one in sent:
                    yield one

            return SimpleNamespace(status=status, chunks=chunks, close=lambda: None)

    api = Ranges(cast("Any", None))

    assert b"".join([piece async for piece in api.get_blob(CHANNEL, BLOB, 2)]) == b"cde"
