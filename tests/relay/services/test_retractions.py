"""Versions and exclusions that wait are taken back by the party that has brought them."""

from __future__ import annotations

import hashlib

import pytest

from liaison.policy.dsse import Envelope
from liaison.relay.services.errors import (
    ForeignPartyError,
    TooManyDocumentsError,
    UnknownAgreementError,
    UnknownProposalError,
)
from liaison.wire import v1
from tests.relay.services.forum import ID, Forum


async def waiting(forum: Forum, code: str = "NOR") -> list[v1.ProposalStatus]:
    return (await forum.relay.services.proposals.listing(await forum.office(code))).proposals


def digest(envelope: bytes) -> bytes:
    return hashlib.sha256(Envelope.decode(envelope).payload).digest()


async def test_a_version_that_waits_is_gone_once_its_party_has_taken_it_back(forum: Forum) -> None:
    service, text = forum.relay.services.proposals, forum.next(title="Too early")
    await forum.propose("NOR", forum.signed(text, "NOR"))
    await forum.propose("DEU", forum.signed(text, "DEU"))

    await service.retract(await forum.office("NOR"), text.digest())

    assert await waiting(forum) == []
    with pytest.raises(UnknownProposalError):
        await service.get(await forum.office("DEU"), text.digest())
    with pytest.raises(UnknownProposalError):
        await service.retract(await forum.office("NOR"), text.digest())
    # Brought again it waits for everybody's signature again.
    status = await forum.propose("UN-OCHA", forum.signed(text, "UN-OCHA"))
    assert (status.signed, status.active) == (["UN-OCHA"], False)


async def test_nobody_takes_back_what_another_party_has_brought(forum: Forum) -> None:
    service, text = forum.relay.services.proposals, forum.next(title="Agreed")
    await forum.propose("NOR", forum.signed(text, "NOR"))
    await forum.propose("DEU", forum.signed(text, "DEU"))

    with pytest.raises(ForeignPartyError):
        await service.retract(await forum.office("DEU"), text.digest())

    assert [one.signed for one in await waiting(forum)] == [["DEU", "NOR"]]


async def test_what_is_in_force_is_not_taken_back(forum: Forum) -> None:
    text = await forum.amend(forum.next(title="In force"))

    with pytest.raises(UnknownProposalError):
        await forum.relay.services.proposals.retract(await forum.office("NOR"), text.digest())


async def test_taking_back_makes_room_for_another(forum: Forum) -> None:
    texts = [forum.next(title=str(number)) for number in range(9)]
    for text in texts[:8]:
        await forum.propose("NOR", forum.signed(text, "NOR"))
    with pytest.raises(TooManyDocumentsError):
        await forum.propose("NOR", forum.signed(texts[8], "NOR"))

    await forum.relay.services.proposals.retract(await forum.office("NOR"), texts[0].digest())
    await forum.propose("NOR", forum.signed(texts[8], "NOR"))

    assert len(await waiting(forum)) == 8


async def test_an_exclusion_that_waits_is_taken_back_by_who_has_begun_it(forum: Forum) -> None:
    service = forum.relay.services.participation
    word = forum.exclusion("DEU", "NOR")
    await forum.exclude("NOR", word)
    for code, refusal in (("UN-OCHA", ForeignPartyError), ("DEU", ForeignPartyError)):
        with pytest.raises(refusal):
            await service.retract(await forum.office(code), ID, digest(word))

    await service.retract(await forum.office("NOR"), ID, digest(word))

    left = await service.exclusions(await forum.office("UN-OCHA"), ID)
    assert left.documents == []
    with pytest.raises(UnknownProposalError):
        await service.retract(await forum.office("NOR"), ID, digest(word))
    # One of the others alone is not enough then.
    status = await forum.exclude("UN-OCHA", forum.exclusion("DEU", "UN-OCHA"))
    assert not status.in_force


async def test_who_has_no_such_agreement_takes_nothing_back(forum: Forum) -> None:
    world = forum.relay.world
    await forum.relay.services.registry.add_party(world.party("SWE").document)
    word = forum.exclusion("DEU", "NOR")
    await forum.exclude("NOR", word)
    swe = await forum.office("SWE")

    with pytest.raises(UnknownAgreementError):
        await forum.relay.services.participation.retract(swe, ID, digest(word))
