"""Lists that grow come in pages: whole, in order, and none larger than it may be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from liaison.relay.services import channels, enrolment, registry
from liaison.relay.services.errors import UnknownChannelError, UnknownEnrolmentError
from liaison.relay.services.pages import FIRST, Page
from liaison.wire import v1
from tests.relay.services.harness import Actor, Relay, fresh_id

NAMES = [f"nor/desk-{n}#d1" for n in range(3)]

P = TypeVar("P", bound=v1.Page)


async def pages_of(ask: Callable[[Page], Awaitable[P]], limit: int = 200) -> list[P]:
    found = [await ask(Page(None, limit))]
    while found[-1].next is not None:
        found.append(await ask(Page(found[-1].next, limit)))
    return found


@pytest.fixture
async def nor(relay: Relay) -> Actor:
    agreement = await relay.admit("NOR", "DEU")
    for name in NAMES[1:]:
        await relay.enrol(name)
    nor = await relay.enrol(NAMES[0])
    nor.agreement = agreement
    return nor


async def open_some(nor: Actor, count: int) -> list[str]:
    assert nor.agreement is not None
    opened = []
    for _ in range(count):
        nor.channel = type(nor.channel)(fresh_id())
        await nor.relay.services.channels.create(nor.caller, nor.new_channel(nor.agreement))
        opened.append(str(nor.channel))
    return opened


async def test_a_devices_channels_come_in_pages_that_are_the_whole_list(nor: Actor) -> None:
    opened = await open_some(nor, 3)
    service = nor.relay.services.channels

    found = await pages_of(lambda page: service.listing(nor.caller, page), 2)
    whole = await service.listing(nor.caller)

    assert [[one.channel for one in page.channels] for page in found] == [opened[:2], opened[2:]]
    assert [one for page in found for one in page.channels] == whole.channels
    assert (whole.next, "next" in whole.model_dump()) == (None, False)


async def test_a_page_ends_early_where_channels_have_many_members(
    nor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await open_some(nor, 3)
    monkeypatch.setattr(channels, "MOST_MEMBERS", 2)
    service = nor.relay.services.channels

    found = await pages_of(lambda page: service.listing(nor.caller, page))

    assert [[one.channel for one in page.channels] for page in found] == [opened[:2], opened[2:]]


async def test_a_page_begins_only_after_what_is_the_callers_own(relay: Relay, nor: Actor) -> None:
    (channel,) = await open_some(nor, 1)
    deu = await relay.enrol("deu/lno-j3#d1")
    office = await relay.registrar("DEU")
    theirs = (await relay.services.enrolment.listing(await relay.registrar("NOR"))).enrolments[0]

    for after in (channel, fresh_id().hex()):
        with pytest.raises(UnknownChannelError):
            await relay.services.channels.listing(deu.caller, Page(after))
    for after in (theirs.lookup, fresh_id().hex()):
        with pytest.raises(UnknownEnrolmentError):
            await relay.services.enrolment.listing(office, Page(after))


async def test_devices_come_in_pages_of_bounded_number_and_size(
    relay: Relay, nor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    office, found = await relay.registrar("NOR"), relay.services.registry
    assert nor.agreement is not None
    id_ = nor.agreement.agreement_id

    by_two = await pages_of(lambda page: found.own_devices(office, page), 2)
    monkeypatch.setattr(registry, "MOST_BYTES", 1)
    by_size = await pages_of(lambda page: found.devices(nor.caller, id_, page))

    assert [[one.device for one in page.devices] for page in by_two] == [NAMES[:2], NAMES[2:]]
    assert [[one.device for one in page.devices] for page in by_size] == [[n] for n in NAMES]


async def test_enrolments_come_in_pages_of_bounded_number_and_size(
    relay: Relay, nor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    del nor
    office, service = await relay.registrar("NOR"), relay.services.enrolment

    whole = (await service.listing(office)).enrolments
    by_two = await pages_of(lambda page: service.listing(office, page), 2)
    monkeypatch.setattr(enrolment, "MOST_BYTES", 1)
    by_size = await pages_of(lambda page: service.listing(office, page))

    assert [one.device for one in whole] == [*NAMES[1:], NAMES[0]]
    assert [page.enrolments for page in by_two] == [whole[:2], whole[2:]]
    assert [page.enrolments for page in by_size] == [[one] for one in whole]


async def test_agreements_come_in_pages_with_their_newest_versions(
    relay: Relay, nor: Actor
) -> None:
    world, service = relay.world, relay.services.agreements
    for id_ in ("b-second", "a-first"):
        envelope = world.agreement("NOR", "DEU", agreement_id=id_, relay=relay.identity)
        await service.admit(envelope)

    found = await pages_of(lambda page: service.listing(nor.caller, page), 1)
    whole = await service.listing(nor.caller, FIRST)

    listed = [one for page in found for one in page.agreements]
    assert [one.id for one in listed] == ["a-first", "b-second", "nor-deu-2026"]
    assert listed == whole.agreements
