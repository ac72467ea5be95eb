from __future__ import annotations

from liaison.relay.services.tail import Tail
from liaison.storage.items import Item


def item(
    channel: int,
    seq: int,
    payload: bytes = b"x",
    *,
    lane: int = 1,
    epoch: int = 0,
    sender: int | None = None,
) -> Item:
    return Item(
        channel, seq, 0, lane, 1, epoch, sender, bytes(16), 0, None, len(payload), b"", payload
    )


def seqs(tail: Tail, channel: int, after: int, *, device: int = 9, epoch: int = 0) -> list[int]:
    found = tail.since(channel, after)
    return [one.item.seq for one in found.for_reader(device, epoch)] if found else []


def test_what_came_since_is_given_whole_or_not_at_all() -> None:
    tail = Tail(10_000)
    tail.append([item(1, 5), item(1, 6), item(1, 7)])

    assert seqs(tail, 1, 5) == [6, 7]
    assert seqs(tail, 1, 4) == [5, 6, 7]
    assert tail.since(1, 3) is None
    assert tail.since(1, 7) is None
    assert tail.since(2, 0) is None


def test_all_readers_ask_for_the_same_until_something_comes() -> None:
    tail = Tail(10_000)
    tail.append([item(1, 1), item(2, 1)])
    first = tail.since(1, 0)

    assert tail.since(1, 0) is first
    assert seqs(tail, 2, 0) == [1]
    tail.append([item(1, 2)])
    assert seqs(tail, 1, 0) == [1, 2]
    assert seqs(tail, 1, 1) == [2]


def test_a_reader_gets_what_is_meant_for_it_the_most_urgent_first() -> None:
    tail = Tail(10_000)
    tail.append([item(1, 1, sender=7), item(1, 2, lane=4, epoch=1), item(1, 3, epoch=1)])

    assert seqs(tail, 1, 0) == [2, 1, 3]
    assert seqs(tail, 1, 0, device=7) == [2, 3]
    assert seqs(tail, 1, 0, epoch=1) == [2, 3]
    found = tail.since(1, 0)
    assert found is not None
    assert (found.last, found.topmost, found.size) == (3, 4, 3)


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
    assert tail.since(1, 0) is not None
    tail.forget()

    assert tail.payload(1, 1) is None
    assert tail.since(1, 0) is None
    assert tail._bytes == 0
