"""Many who ask at once are answered by one look, and by none that began before they asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from liaison.relay.services.gathering import Gathered


class Source:
    """Looks when the test lets it."""

    def __init__(self) -> None:
        self.looks: list[list[int]] = []
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.error: Exception | None = None

    async def look(self, keys: Sequence[int]) -> dict[int, int]:
        self.looks.append(list(keys))
        self.begun.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {key: key * 10 for key in keys if key >= 0}


async def test_whoever_asks_during_a_look_is_answered_by_the_next_one() -> None:
    source = Source()
    gathered = Gathered(source.look)

    first = asyncio.create_task(gathered.ask(1))
    await source.begun.wait()
    others = [asyncio.create_task(gathered.ask(key)) for key in (1, 2, 2, -3)]
    await asyncio.sleep(0)
    source.gate.set()

    assert await asyncio.gather(first, *others) == [10, 10, 20, 20, None]
    assert source.looks == [[1], [1, 2, -3]]


async def test_whoever_goes_away_takes_the_answer_from_nobody() -> None:
    source = Source()
    gathered = Gathered(source.look)

    gone, left = asyncio.create_task(gathered.ask(1)), asyncio.create_task(gathered.ask(1))
    await source.begun.wait()
    gone.cancel()
    source.gate.set()

    assert await left == 10
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_look_that_fails_fails_for_those_who_asked_and_not_for_the_next() -> None:
    source = Source()
    gathered = Gathered(source.look)
    source.gate.set()

    source.error = LookupError("out of reach")
    failed = await asyncio.gather(gathered.ask(1), gathered.ask(2), return_exceptions=True)
    source.error = None

    assert [type(one) for one in failed] == [LookupError, LookupError]
    assert await gathered.ask(1) == 10


async def test_a_look_has_a_bound() -> None:
    source = Source()
    source.gate.set()
    gathered = Gathered(source.look, at_once=3)

    assert await asyncio.gather(*(gathered.ask(key) for key in range(7))) == [*range(0, 70, 10)]
    assert [len(look) for look in source.looks] == [3, 3, 1]
