"""A thread that does one thing after the other."""

from __future__ import annotations

import asyncio
import threading

import pytest

from liaison.storage.side_thread import SideThread

SECONDS = 10
"""That a thread may take to end."""


async def test_what_is_done_comes_back_from_one_and_the_same_thread() -> None:
    side = SideThread("side")

    threads = [await side.do(threading.current_thread) for _ in range(2)]

    assert threads[0] is threads[1]
    assert threads[0] is not threading.current_thread()
    side.end()


async def test_an_error_is_raised_where_it_is_waited_for_and_the_thread_goes_on() -> None:
    side = SideThread("side")

    with pytest.raises(ZeroDivisionError):
        await side.do(lambda: 1 // 0)

    assert await side.do(lambda: 1) == 1
    side.end()


async def test_whoever_is_cancelled_still_waits_until_the_thread_is_done() -> None:
    side, begun, go_on, done = SideThread("side"), threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        go_on.wait()
        done.append(True)

    waiting = asyncio.create_task(side.do(work))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done == [True]
    side.end()


async def test_things_are_done_in_the_order_in_which_they_were_handed_over() -> None:
    side, done = SideThread("side"), []

    await asyncio.gather(*(side.do(lambda n=n: done.append(n)) for n in range(20)))  # type: ignore[misc]

    assert done == list(range(20))
    side.end()


async def test_a_thread_that_is_ended_or_forgotten_ends() -> None:
    ended, forgotten = SideThread("ended"), SideThread("forgotten")
    threads = [await each.do(threading.current_thread) for each in (ended, forgotten)]

    ended.end()
    del forgotten

    for thread in threads:
        await asyncio.to_thread(thread.join, SECONDS)
        assert not thread.is_alive()
