"""Clocks that leap forth and back while messages are under way: the relay's, the sender's, the reader's."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace

import pytest

from liaison.relay.app import Clocks
from liaison_sdk import MessageState
from tests.support.camp import Camp
from tests.support.duty import ROUNDS, SEED
from tests.support.tally import Tally
from tests.support.traffic import PATIENT, traffic

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]

HOUR = 3600


@dataclass
class Clock:
    """A clock that is wrong by some seconds, and by others a moment later."""

    wrong: float = 0

    def __call__(self) -> float:
        return time.time() + self.wrong

    def ms(self) -> int:
        return int(self() * 1000)


@pytest.mark.parametrize("whose", ["relay", "sender", "reader"])
async def test_a_clock_that_leaps_by_hours_loses_nothing_and_shows_nothing_twice(
    camp: Camp, tally: Tally, whose: str
) -> None:
    rng = random.Random(SEED)
    clocks = {name: Clock() for name in ("relay", "sender", "reader")}
    relay = Clocks(now_ms=clocks["relay"].ms)
    nor = replace(PATIENT, clock=clocks["sender"])
    deu = replace(PATIENT, clock=clocks["reader"])
    async with camp.stage(clocks=relay), traffic(camp, nor, reader_options=deu) as both:
        wrong = [leap(rng, number) for number in range(ROUNDS)]
        for seconds in wrong:
            clocks[whose].wrong = seconds
            await both.send(5)
            await both.all_shown()
        clocks[whose].wrong = 0
        await both.send(5)

        await both.count(tally)
        # A sender that is far ahead of the relay is turned away, and told so; nobody else is.
        ahead = {"sender": max(wrong), "relay": -min(wrong), "reader": 0}[whose]
        assert bool(await both.own(MessageState.REFUSED)) is (ahead > 0)


def leap(rng: random.Random, number: int) -> int:
    """Return by how many seconds a clock is wrong next: forth and back in turn, then by chance.

    The agreement and all certificates hold at all these times.
    """
    is_ahead = number % 2 == 0 if number < 2 else rng.random() < 0.6
    return rng.randrange(3 * HOUR, 20 * HOUR) if is_ahead else -rng.randrange(HOUR // 5, HOUR - 300)
