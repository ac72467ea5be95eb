"""What a log says of an item is what the item says of itself, or it is noticed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope.header import Header, HeaderLabel, Kind, MessageRef
from liaison.model import ChannelId, DeviceId, EndpointId, MessageId, PartyCode, Precedence
from liaison.policy.agreement import Agreement
from liaison.tlog.channels import ChannelView
from liaison.tlog.entries import PolicyRef, pseudonym
from liaison.trust import log as trusted
from liaison.trust import log_items
from liaison.wire.log import FollowedChannel, LogQuery
from liaison_sdk import log_checks, log_comparing, log_places, log_told
from liaison_sdk.log_comparing import FalseEntryError
from liaison_sdk.log_places import Following, Place
from liaison_sdk.store.items import Told
from tests.core.policy.documents import NOW
from tests.core.policy.documents import agreement as plain
from tests.support.ledger import DEVICE, Ledger, digest_of, with_log

NOR = PartyCode("NOR")
CHANNEL = ChannelId(bytes(range(16)))


@cache
def agreement() -> Agreement:
    return with_log(plain())


HEADER = Header(
    message_id=MessageId(bytes(range(16))),
    kind=Kind.TEXT,
    action=Precedence.FLASH,
    info=Precedence.ROUTINE,
    dtg=NOW,
    label=HeaderLabel("liaison", "RESTRICTED", (("Releasable to", "NOR"),)),
    agreement_id="nor-deu-2026",
    agreement_version=1,
    to=(EndpointId.parse("deu/lno-j3"),),
    copy=(EndpointId.parse("nor/watch"),),
    in_reply_to=MessageRef(DeviceId.parse(DEVICE), MessageId(bytes(16))),
)
SENDER = DeviceId.parse("nor/defatt-berlin#d1")
ONE = digest_of("one")
MESSAGE = log_told.of_message(SENDER, HEADER, ONE, epoch=1, size=700, time_ms=NOW * 1000, version=1)
COMMITTED = replace(
    MESSAGE,
    type="commit",
    fields=log_items.commit(SENDER, ONE, added=[DeviceId.parse(DEVICE)], removed=[SENDER]),
)
FALSE = {
    "party": "SWE",
    "sender": "nor/defatt-berlin#d2",
    "message": "00" * 16,
    "kind": "notice",
    "action": "ROUTINE",
    "info": "DEFERRED",
    "dtg": NOW - 1,
    "to": ("deu/lno-j3", "swe/watch"),
    "copy": (),
    "label": "liaison/UNCLASSIFIED",
    "reply": None,
    "added": (),
    "removed": (),
}


def place_of(told: Told, **fields: object) -> Place:
    """Return what the log says where it says this of an item."""
    log = Ledger(agreement(), NOW)
    log.told(CHANNEL, 2, told, **fields)
    begun = Following(ChannelView(pseudonym(trusted.origin(agreement()), CHANNEL), 2, 1))
    query = LogQuery(size=0, channels=[FollowedChannel(channel=str(CHANNEL), after=0)])
    verified = log_checks.verify([agreement()], NOR, None, log.answer(query))
    _, (place,) = log_places.follow(begun, verified.entries)
    return place


def policy() -> PolicyRef:
    return PolicyRef(1, agreement().digest())


@pytest.mark.parametrize("told", [MESSAGE, COMMITTED, replace(MESSAGE, type="receipt")])
def test_an_entry_that_says_what_the_item_says_is_believed(told: Told) -> None:
    log_comparing.compare_told(place_of(told), told, policy())


@pytest.mark.parametrize(
    ("told", "name"),
    [(told, name) for told in (MESSAGE, COMMITTED) for name in FALSE if name in told.fields],
)
def test_an_entry_with_any_field_that_is_not_the_items_is_noticed(told: Told, name: str) -> None:
    place = place_of(told, **{name: FALSE[name]})

    with pytest.raises(FalseEntryError, match=f"another {name} "):
        log_comparing.compare_told(place, told, policy())


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"type": "receipt"}, "type"),
        ({"epoch": 0}, "epoch"),
        ({"size": 5000}, "size"),
        ({"version": 2}, "policy"),
    ],
)
def test_an_entry_of_another_kind_epoch_size_or_version_is_noticed(
    changed: dict[str, Any], name: str
) -> None:
    place = place_of(replace(MESSAGE, **changed))

    with pytest.raises(FalseEntryError, match=f"another {name} "):
        log_comparing.compare_told(place, MESSAGE, policy())


def test_a_field_that_is_kept_back_of_an_entry_that_is_shown_is_noticed() -> None:
    place = place_of(MESSAGE)
    values = {n: v for n, v in (place.values or {}).items() if n != "sender"}

    with pytest.raises(FalseEntryError, match="keeps the sender"):
        log_comparing.compare_told(replace(place, values=values), MESSAGE, policy())


def test_whose_sender_is_not_known_here_is_compared_in_the_rest() -> None:
    told = replace(MESSAGE, unknown=("party", "sender"))

    log_comparing.compare_told(place_of(MESSAGE, sender="swe/watch#d1"), told, policy())
    with pytest.raises(FalseEntryError, match="another label "):
        log_comparing.compare_told(place_of(MESSAGE, label="x/y"), told, policy())


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("seconds", [-4000, 4000])
def test_an_entry_of_another_time_than_the_item_was_accepted_at_is_noticed(
    shown: bool, seconds: int
) -> None:
    told = replace(MESSAGE, time_ms=(NOW + seconds) * 1000)
    place = place_of(MESSAGE)

    with pytest.raises(FalseEntryError, match="another time"):
        log_comparing.compare_told(place if shown else replace(place, values=None), told, policy())


def test_an_entry_from_long_before_the_message_was_drafted_is_noticed() -> None:
    # The relay has told the reader the same time, so that the opening counts as erased.
    later = replace(HEADER, dtg=NOW + 400 * 86_400)
    told = log_told.of_message(SENDER, later, ONE, epoch=1, size=700, time_ms=NOW * 1000, version=1)

    with pytest.raises(FalseEntryError, match="another time"):
        log_comparing.compare_told(replace(place_of(told), values=None), told, policy())
    # What the agreement allows is no forgery, nor is what stands in the entry for all to see.
    closed = replace(place_of(told), values=None)
    log_comparing.compare_told(closed, told, policy(), ahead=400 * 86_400)
    log_comparing.compare_told(place_of(told), told, policy())


@given(
    st.builds(
        Told,
        type=st.sampled_from(["accepted", "receipt", "commit"]),
        epoch=st.integers(0, 2**63),
        size=st.integers(0, 2**31),
        time_ms=st.integers(0, 2**53),
        version=st.none() | st.integers(1, 2**31),
        fields=st.dictionaries(
            st.text(max_size=8),
            st.none() | st.text() | st.integers(0, 2**53) | st.lists(st.text()).map(tuple),
        ),
        unknown=st.lists(st.text()).map(tuple),
    )
)
def test_what_an_item_has_to_say_is_read_as_it_was_stored(told: Told) -> None:
    assert Told.decode(told.encode()) == told
