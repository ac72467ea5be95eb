"""Credit and acknowledgements: what one connection promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.model import ChannelId, Seq
from liaison.wire import frames
from liaison.wire.stream import ClientStream, Delivered, FlowError, RelayStream

CHANNEL = ChannelId(bytes(16))


def item(seq: int) -> Delivered:
    return Delivered(CHANNEL, Seq(seq), frames.ItemKind.MESSAGE)


@given(steps=st.lists(st.integers(1, 40), max_size=30), window=st.integers(1, 64))
def test_a_reader_that_stores_keeps_the_relay_supplied_and_bounded(
    steps: list[int], window: int
) -> None:
    client = ClientStream(window=window)
    relay = RelayStream(client.hello(0, deliver=True).limit)
    delivered: list[Delivered] = []
    acknowledged: list[Delivered] = []

    for wanted in steps:
        for _ in range(min(wanted, relay.credit)):
            sent = item(len(delivered) + 1)
            client.receive(relay.number(sent))
            delivered.append(sent)
        assert relay.outstanding <= window
        for answer in client.stored(client.received):
            if isinstance(answer, frames.Ack):
                acknowledged += relay.acknowledge(answer.number)
            else:
                relay.grant(answer.limit)
        assert relay.credit > 0

    assert acknowledged == delivered


def test_a_flash_read_early_acknowledges_nothing_else() -> None:
    relay = RelayStream(limit=10)
    relay.number(item(500))
    relay.number(item(1))

    assert relay.acknowledge(1) == [item(500)]
    assert relay.outstanding == 1


def test_the_relay_sends_nothing_that_was_not_granted() -> None:
    relay = RelayStream(limit=1)
    relay.number(item(1))

    with pytest.raises(FlowError):
        relay.number(item(2))


@pytest.mark.parametrize("number", [0, 3])
def test_an_acknowledgement_that_goes_back_or_ahead_is_a_fault(number: int) -> None:
    relay = RelayStream(limit=10)
    relay.number(item(1))
    relay.number(item(2))
    relay.acknowledge(1)

    with pytest.raises(FlowError):
        relay.acknowledge(number)


def test_a_limit_never_shrinks() -> None:
    with pytest.raises(FlowError):
        RelayStream(limit=10).grant(9)


@pytest.mark.parametrize("number", [1, 3])
def test_a_delivery_number_that_repeats_or_skips_is_noticed(number: int) -> None:
    client = ClientStream()
    client.hello(0, deliver=True)
    client.receive(1)

    with pytest.raises(FlowError):
        client.receive(number)


def test_a_connection_that_wants_no_deliveries_grants_none() -> None:
    assert ClientStream().hello(7, deliver=False) == frames.Hello(
        deliver=False, limit=0, state_version=7
    )
