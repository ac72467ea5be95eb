"""Cut the power of the relay's, the sender's or the reader's machine at random points.

What was not synced is forgotten, block by block and name by name, as chance will have it; see
`tests.support.forgetful`. Rounds and seed as in `test_kill`.
"""

from __future__ import annotations

import pytest

from tests.support import forgetful
from tests.support.camp import Camp
from tests.support.duty import on_duty
from tests.support.tally import Tally

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]


@pytest.mark.skipif(not forgetful.is_possible(), reason="SQLite is part of this Python")
async def test_power_cuts_at_random_points_lose_nothing_and_show_nothing_twice(
    camp: Camp, tally: Tally
) -> None:
    await on_duty(camp, tally, power=True)
