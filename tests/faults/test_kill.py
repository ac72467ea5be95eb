"""Kill the relay, the sender or the reader at random points; nothing acknowledged may be lost.

`LIAISON_FAULT_ROUNDS` says how often (`make faults` does it 100 times), and `LIAISON_FAULT_SEED`
repeats a run's choices.
"""

from __future__ import annotations

import pytest

from tests.support.camp import Camp
from tests.support.duty import FEW, on_duty
from tests.support.tally import Tally

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]


async def test_kill_9_at_random_points_loses_nothing_and_shows_nothing_twice(
    camp: Camp, tally: Tally
) -> None:
    # The cuts of `test_power` are kills too: the short run has one of these beside them.
    await on_duty(camp, tally, power=False, rounds=FEW)
