from __future__ import annotations

import asyncio

from liaison.fanout.flag import Flag


async def test_who_waits_goes_on_when_it_is_set_and_who_comes_later_at_once() -> None:
    flag = Flag()
    waiting = [asyncio.create_task(flag.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, False, False]

    flag.set()
    flag.clear()
    await asyncio.gather(*waiting[1:])

    later = asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    assert not later.done()
    flag.set()
    await later
    await flag.wait()
