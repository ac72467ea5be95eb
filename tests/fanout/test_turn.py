"""What is asked for in one turn of the loop is done once that turn is over."""

from __future__ import annotations

import asyncio

from liaison.fanout import turn
from liaison.fanout.turn import Turn


async def turns(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_was_given_is_called_after_what_goes_on_now_and_in_order() -> None:
    found: list[int] = []
    one = Turn()

    one.add(lambda: found.append(1))
    one.add(lambda: found.append(2))
    before = list(found)
    await turns(2)

    assert before == []
    assert found == [1, 2]


async def test_what_is_given_meanwhile_is_called_too() -> None:
    found: list[str] = []
    one = Turn()

    one.add(lambda: one.add(lambda: found.append("later")))
    await turns(3)

    assert found == ["later"]


async def test_what_fails_keeps_nobody_else_waiting() -> None:
    found: list[str] = []
    told: list[object] = []
    one = Turn()
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(type(context["exception"]))
    )

    one.add(lambda: found.append("first"))
    one.add(lambda: found.index("nothing"))
    one.add(lambda: found.append("last"))
    await turns(3)
    one.add(lambda: found.append("later"))
    await turns(2)

    assert found == ["first", "last", "later"]
    assert told == [ValueError]


async def test_sockets_are_looked_at_between_many() -> None:
    found: list[int] = []
    one = Turn()
    for n in range(2 * turn.AT_ONCE):
        one.add(lambda n=n: found.append(n))  # type: ignore[misc]  # a default argument binds the loop's value
    seen: list[int] = []

    asyncio.get_running_loop().call_soon(lambda: seen.append(len(found)))
    await turns(4)

    assert seen == [turn.AT_ONCE]
    assert found == list(range(2 * turn.AT_ONCE))
