from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from liaison.relay.services.tail import Tail, _cost
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


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    tail = Tail(3_000)
    tail.append([item(1, 1, bytes(600))])
    tail.append([item(2, 1, bytes(600))])
    tail.append([item(2, 2, bytes(600))])

    assert tail.payload(1, 1) is None
    assert tail.payload(2, 2) is not None
    assert tail._bytes <= 3_000


def test_channels_that_are_written_alike_have_as_much_in_memory() -> None:
    tail = Tail(100 * 1_000)
    for seq in range(1, 101):
        # In groups as the writer makes them: in each of these, one channel's come first.
        tail.append([item(channel, seq) for channel in range(10)])

    kept = [
        sum(tail.payload(channel, seq) is not None for seq in range(1, 101))
        for channel in range(10)
    ]

    assert min(kept) >= 10
    assert max(kept) - min(kept) <= 1


@given(
    groups=st.lists(
        st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2), st.integers(0, 900)), min_size=1)
    )
)
def test_of_everything_the_newest_is_there_and_of_each_channel_without_holes(
    groups: list[list[tuple[int, int, int]]],
) -> None:
    tail, heads, everything = Tail(5_000), dict.fromkeys(range(1, 5), 0), list[Item]()
    for group in groups:
        new = []
        for channel, step, size in group:
            heads[channel] += step
            new.append(item(channel, heads[channel], bytes(size)))
        tail.append(new)
        everything += new

    newest: list[Item] = []
    for one in reversed(everything):
        newest.append(one)
        if sum(_cost(each) for each in newest) > 5_000:
            newest.pop()
            break
    for channel, head in heads.items():
        whole = [one.seq for one in newest if one.channel == channel]
        unbroken = [seq for at, seq in enumerate(whole) if seq == head - at]
        there = [seq for seq in range(head + 1) if tail.payload(channel, seq) is not None]
        assert there == unbroken[::-1]
        assert tail.newest(channel) == (head if unbroken else None)


def test_erased_items_leave_memory_too() -> None:
    tail = Tail(10_000)
    tail.append([item(1, 1)])
    assert tail.since(1, 0) is not None
    tail.forget()

    assert tail.payload(1, 1) is None
    assert tail.since(1, 0) is None
    assert tail._bytes == 0
