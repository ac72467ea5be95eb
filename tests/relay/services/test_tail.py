from __future__ import annotations

from liaison.relay.services.tail import Tail
from liaison.storage.items import Item


def item(channel: int, seq: int, payload: bytes = b"x") -> Item:
    return Item(channel, seq, 0, 1, 1, 0, None, bytes(16), 0, None, len(payload), b"", payload)


def test_what_came_since_is_given_whole_or_not_at_all() -> None:
    tail = Tail(10_000)
    tail.append([item(1, 5), item(1, 6), item(1, 7)])

    assert [i.item.seq for i in tail.since(1, 5) or []] == [6, 7]
    assert [i.item.seq for i in tail.since(1, 4) or []] == [5, 6, 7]
    assert tail.since(1, 3) is None
    assert tail.since(1, 7) is None
    assert tail.since(2, 0) is None


def test_a_hole_makes_what_was_before_it_useless() -> None:
    tail = Tail(10_000)
    tail.append([item(1, 1), item(1, 3)])

    assert tail.since(1, 1) is None
    assert tail.payload(1, 1) is None
    assert tail.payload(1, 3) == item(1, 3)


def test_memory_is_bounded_and_the_idle_channel_goes_first() -> None:
    tail = Tail(2_000)
    tail.append([item(1, 1, bytes(600))])
    tail.append([item(2, 1, bytes(600))])
    tail.append([item(2, 2, bytes(600))])

    assert tail.payload(1, 1) is None
    assert tail.payload(2, 2) is not None
    assert tail._bytes <= 2_000


def test_erased_items_leave_memory_too() -> None:
    tail = Tail(10_000)
    tail.append([item(1, 1)])
    tail.forget()

    assert tail.payload(1, 1) is None
    assert tail._bytes == 0
