"""Versions of an agreement: proposed, signed, activated, and brought into the channels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from liaison.errors import LiaisonError
from liaison.mls import proposing
from liaison.mls.proposals import GroupContextExtensions
from liaison.model import PartyCode
from liaison.policy import dsse, signing, statement
from liaison.policy.channel_rules import GuestRule
from liaison.policy.errors import PolicyRefusedError, SignatureMissingError
from liaison.policy.lifecycle import Event
from liaison.policy.succession import SuccessionError
from liaison.policy.who import Pattern
from liaison.relay.services import Limits
from liaison.relay.services.enforcement import CHANGED, enforce
from liaison.relay.services.errors import (
    AgreementNotActiveError,
    AgreementRefusedError,
    AgreementSupersededError,
    AgreementVersionError,
    AmendmentPendingError,
    CommitInvalidError,
    ForeignPartyError,
    RemovalPendingError,
    TooManyDocumentsError,
    UnknownAgreementError,
    UnknownProposalError,
)
from liaison.relay.services.lives import Life
from liaison.relay.work import Work
from liaison.trust import CHANNEL_BINDING_EXTENSION
from liaison.wire import v1
from tests.relay.services.forum import (
    CODES,
    DAY,
    ID,
    Forum,
    amendment,
    draft,
    go_on,
    take_handshakes,
)
from tests.relay.services.harness import Actor, Relay, news


async def propose_to_add(actor: Actor, other: Actor) -> None:
    """Propose a device to the group."""
    actor.group, message = proposing.propose_add(
        actor.state,
        other.key_package().key_package,
        signer=actor.signer,
        validator=actor.validator,
        now=actor.relay.clock.ms // 1000,
    )
    body = v1.Proposal(proposal=message, state_version=actor.state_version)
    await actor.relay.services.channels.propose(actor.caller, actor.channel, body)


# --- proposing and signing --------------------------------------------------------------


async def test_an_amendment_is_active_as_soon_as_the_last_party_has_signed(forum: Forum) -> None:
    new = forum.next(title="amended")

    first = await forum.propose("NOR", forum.signed(new, "NOR"))
    second = await forum.propose("DEU", forum.signed(new, "DEU"))
    last = await forum.propose("UN-OCHA", forum.signed(new, "UN-OCHA"))

    assert [first.missing, second.missing, last.missing] == [["DEU", "UN-OCHA"], ["UN-OCHA"], []]
    assert [first.active, second.active, last.active] == [False, False, True]
    office = await forum.office("NOR")
    found = await forum.relay.services.agreements.get(office, ID)
    assert signing.verify(found.envelope) == new


async def test_a_party_that_has_left_is_served_the_last_version_that_names_it(
    forum: Forum,
) -> None:
    await forum.say("UN-OCHA", Event.WITHDRAW)
    await forum.amend(forum.next("NOR", "DEU"))
    service, office = forum.relay.services.agreements, await forum.office("UN-OCHA")

    (listed,) = (await service.listing(office)).agreements
    found = await service.get(office, ID)

    assert listed.version == signing.verify(found.envelope).version == 1
    with pytest.raises(UnknownAgreementError):
        await service.get(office, ID, 2)


async def test_a_party_finds_what_waits_for_its_signature(forum: Forum) -> None:
    new = forum.next(title="amended")
    await forum.propose("NOR", forum.signed(new, "NOR"))
    service, office = forum.relay.services.proposals, await forum.office("DEU")

    (listed,) = (await service.listing(office)).proposals
    document = await service.get(office, listed.digest)

    assert (listed.id, listed.version, listed.digest) == (ID, 2, new.digest())
    signed = signing.add_signature(document.envelope, forum.relay.world.party("DEU").authority_key)
    assert (await forum.propose("DEU", signed)).signed == ["DEU", "NOR"]


async def test_strangers_neither_propose_nor_find_anything(forum: Forum) -> None:
    await forum.relay.services.registry.add_party(forum.relay.world.party("SWE").document)
    new = forum.next(title="amended")
    await forum.propose("NOR", forum.signed(new, "NOR"))
    service, office = forum.relay.services.proposals, await forum.office("SWE")

    assert (await service.listing(office)).proposals == []
    with pytest.raises(UnknownProposalError):
        await service.get(office, new.digest())
    with pytest.raises(ForeignPartyError):
        await forum.propose("SWE", forum.signed(new, "NOR"))


async def test_a_forged_signature_refuses_the_upload(forum: Forum) -> None:
    new, other = forum.next(title="amended"), forum.next(title="other")
    good = dsse.Envelope.decode(forum.signed(new, "NOR"))
    wrong = dsse.Envelope.decode(forum.signed(other, "DEU")).signatures
    forged = dsse.Envelope(good.payload_type, good.payload, (*good.signatures, *wrong))
    bare = dsse.Envelope(good.payload_type, good.payload)

    for upload in (forged, bare):
        with pytest.raises(SignatureMissingError):
            await forum.propose("NOR", upload.encode())

    assert (await forum.relay.services.proposals.listing(await forum.office("NOR"))).proposals == []


async def test_the_first_complete_successor_wins(forum: Forum) -> None:
    one, other = forum.next(title="one"), forum.next(title="other")
    await forum.propose("NOR", forum.signed(one, "NOR"))
    await forum.propose("DEU", forum.signed(other))

    with pytest.raises(AgreementVersionError):
        await forum.propose("DEU", forum.signed(one, "DEU", "UN-OCHA"))

    assert (await forum.relay.services.proposals.listing(await forum.office("NOR"))).proposals == []
    again = await forum.propose("NOR", forum.signed(other))
    assert again.active


async def test_a_version_is_made_from_the_newest_one(forum: Forum) -> None:
    new = forum.next(title="amended")

    older = replace(new, version=1, previous=None)
    for wrong in (replace(new, version=3), replace(new, previous=bytes(32)), older):
        with pytest.raises(AgreementVersionError):
            await forum.propose("NOR", forum.signed(wrong, "NOR"))


async def test_no_party_that_takes_part_is_left_out(forum: Forum) -> None:
    without = forum.next("NOR", "UN-OCHA")

    with pytest.raises(SuccessionError):
        await forum.propose("NOR", forum.signed(without))
    with pytest.raises(SuccessionError):
        await forum.relay.services.agreements.admit(forum.signed(without))

    await forum.say("DEU", Event.WITHDRAW)
    assert (await forum.propose("NOR", forum.signed(without))).active


async def test_an_amendment_with_other_keys_of_a_party_is_refused(forum: Forum) -> None:
    theirs = forum.relay.world.party("DEU")
    other = replace(theirs.party, name="another name")
    parties = tuple(
        other if one.code == PartyCode("DEU") else one for one in forum.agreement.parties
    )

    with pytest.raises(AgreementRefusedError):
        await forum.propose("NOR", forum.signed(replace(forum.next(), parties=parties), "NOR"))


async def test_a_party_has_a_bounded_number_of_versions_waiting(forum: Forum) -> None:
    for number in range(8):
        await forum.propose("NOR", forum.signed(forum.next(title=str(number)), "NOR"))

    with pytest.raises(TooManyDocumentsError):
        await forum.propose("NOR", forum.signed(forum.next(title="more"), "NOR"))
    await forum.propose("DEU", forum.signed(forum.next(title="another's"), "DEU"))
    waiting = (await forum.relay.services.proposals.listing(await forum.office("NOR"))).proposals
    assert len(waiting) == 9


async def test_a_party_has_a_bounded_number_of_versions_waiting_in_all_agreements(
    relay: Relay,
) -> None:
    relay.services = relay.build(Limits(open_proposals=2))
    forum = await Forum.open(relay, *CODES)
    await forum.propose("NOR", forum.signed(forum.next(), "NOR"))
    first, second = (draft(relay, "NOR", "DEU", version_of=f"fresh-{n}") for n in range(2))
    await forum.propose("NOR", forum.signed(first, "NOR"))

    with pytest.raises(TooManyDocumentsError):
        await forum.propose("NOR", forum.signed(second, "NOR"))
    await forum.propose("DEU", forum.signed(second, "DEU"))


async def test_a_new_agreement_waits_for_the_operator(forum: Forum) -> None:
    services = forum.relay.services
    fresh = draft(forum.relay, "NOR", "DEU", version_of="fresh-2026")
    with pytest.raises(UnknownProposalError):
        await services.proposals.admit("fresh-2026")
    await forum.propose("NOR", forum.signed(fresh, "NOR"))
    with pytest.raises(UnknownProposalError):
        await services.proposals.admit("fresh-2026")

    status = await forum.propose("DEU", forum.signed(fresh, "DEU"))
    admitted = await services.proposals.admit("fresh-2026")

    assert (status.missing, status.active) == ([], False)
    assert admitted == fresh
    assert (await services.proposals.listing(await forum.office("NOR"))).proposals == []


# --- in the channels --------------------------------------------------------------------


async def test_a_channel_under_an_older_version_takes_no_message_until_it_has_the_new_one(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, deu, _ = members
    new = await forum.amend(forum.next(title="amended"))
    for one in (nor, deu):
        with pytest.raises(AgreementSupersededError):
            await one.send()

    await go_on(nor, new)

    assert (await nor.send()).duplicate is False
    channel = await forum.relay.services.channels.get(nor.caller, nor.channel)
    assert channel.agreement_version == 2


async def test_no_commit_passes_by_the_version_in_force(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, _, _ = members
    await forum.amend(forum.next(title="amended"))

    with pytest.raises(AmendmentPendingError):
        await nor.update()


async def test_a_member_comes_back_into_a_channel_under_an_older_version(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    _, deu, _ = members
    await forum.amend(forum.next(title="amended"))
    state = await forum.relay.services.channels.group_state(deu.caller, deu.channel)

    assert (await deu.commit(deu.resync(state))).epoch == 2


async def test_an_amendment_changes_nothing_else_of_the_group(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, _, _ = members
    new = await forum.amend(forum.next(title="amended"))
    whole = amendment(nor, new)[0]
    assert isinstance(whole, GroupContextExtensions)
    fewer = tuple(one for one in whole.extensions if one.type in (CHANNEL_BINDING_EXTENSION, 5))

    with pytest.raises(CommitInvalidError):
        await nor.commit(nor.stage(GroupContextExtensions(fewer)))


async def test_a_channel_is_bound_to_no_version_but_the_one_in_force(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, _, _ = members
    later = forum.next(title="later", valid_from=forum.now + DAY)
    await forum.amend(later)

    with pytest.raises(AgreementNotActiveError):
        await nor.commit(nor.stage(*amendment(nor, later)))
    await nor.send()


async def test_the_commit_that_brings_a_version_removes_whom_it_excludes(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, _, ocha = members
    policy = forum.agreement.channel("liaison")
    hosts = (Pattern.parse("NOR"), Pattern.parse("UN-OCHA"))
    new = await forum.amend(forum.next(policy=replace(policy, read=hosts)))

    with pytest.raises(RemovalPendingError):
        await nor.commit(nor.stage(*amendment(nor, new)))
    await take_handshakes(ocha)
    await go_on(ocha, new)

    channel = await forum.relay.services.channels.get(ocha.caller, ocha.channel)
    assert [one.device for one in channel.members] == [str(nor.id), str(ocha.id)]
    assert channel.pending_removals == []
    await ocha.send()


async def test_who_is_no_party_any_more_is_proposed_for_removal_by_the_agreement(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, _, _ = members
    await forum.say("DEU", Event.WITHDRAW)
    new = await forum.amend(forum.next("NOR", "UN-OCHA"))
    reasons = await take_handshakes(nor)

    await go_on(nor, new)

    kinds = [statement.read_removal(one).kind for one in reasons]
    assert kinds == [statement.ReasonKind.PARTICIPATION]
    await nor.send()


async def test_a_party_that_an_amendment_brings_in_is_added_after_it(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, _, _ = members
    await forum.relay.services.registry.add_party(forum.relay.world.party("SWE").document)
    swe = await forum.relay.enrol("swe/desk#d1")
    new = await forum.amend(forum.next(*CODES, "SWE"))

    at_once = replace(nor, agreement=new)
    with pytest.raises(CommitInvalidError):
        await at_once.commit(at_once.stage(*amendment(nor, new), *nor.adding(swe)))
    await go_on(nor, new)
    await nor.add(swe)

    channel = await forum.relay.services.channels.get(nor.caller, nor.channel)
    assert str(swe.id) in [one.device for one in channel.members]


async def test_whom_only_the_new_version_allows_is_added_after_the_commit_that_brings_it(
    relay: Relay,
) -> None:
    hosts = (Pattern.parse("NOR"), Pattern.parse("UN-OCHA"))
    forum = await Forum.open(relay, *CODES, read=hosts)
    nor, deu = await relay.enrol("nor/desk#d1"), await relay.enrol("deu/desk#d1")
    await nor.open(forum.agreement)
    policy = replace(forum.agreement.channel("liaison"), read=(Pattern.parse("*"),))
    new = await forum.amend(forum.next(policy=policy))

    with pytest.raises(CommitInvalidError, match="adds nobody"):
        await nor.commit(nor.stage(*amendment(nor, new), *nor.adding(deu)))
    await go_on(nor, new)
    await nor.add(deu)


async def test_nobody_is_proposed_under_a_version_that_is_over(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    _, deu, _ = members
    second = await forum.relay.enrol("nor/desk#d2")
    await forum.amend(forum.next(title="amended"))

    with pytest.raises(AmendmentPendingError):
        await propose_to_add(deu, second)


async def test_those_who_are_proposed_are_counted_together(relay: Relay) -> None:
    forum = await Forum.open(relay, *CODES, max_members=2)
    nor, other = await relay.enrol("nor/desk#d1"), await relay.enrol("nor/desk#d2")
    third = await relay.enrol("nor/desk#d3")
    await nor.open(forum.agreement)
    await propose_to_add(nor, other)

    with pytest.raises(PolicyRefusedError, match="at most 2 devices"):
        await propose_to_add(nor, third)


async def test_a_new_channel_is_bound_to_the_version_in_force(forum: Forum) -> None:
    before = forum.agreement
    new = await forum.amend(forum.next(title="amended"))
    nor = await forum.relay.enrol("nor/desk#d1")

    with pytest.raises(AgreementNotActiveError):
        await nor.open(before)
    await nor.open(new)


# --- what time alone changes ------------------------------------------------------------


async def test_a_version_takes_effect_when_its_day_comes(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, deu, _ = members
    policy = forum.agreement.channel("liaison")
    hosts = (Pattern.parse("NOR"), Pattern.parse("UN-OCHA"))
    later = forum.next(policy=replace(policy, read=hosts), valid_from=forum.now + 3600)
    await forum.amend(later)
    await deu.send()
    assert await forum.relay.services.resume() == later.valid_from
    feed = await nor.feed()
    forum.wait(3600)

    with pytest.raises(AgreementSupersededError):
        await nor.send()
    await forum.relay.services.resume()

    assert await news(feed) >= {CHANGED}
    feed.close()
    (reason,) = await take_handshakes(nor)
    assert statement.read_removal(reason).kind is statement.ReasonKind.AGREEMENT
    await go_on(nor, later)
    await nor.send()


async def test_a_guest_goes_when_its_time_is_over(relay: Relay) -> None:
    hosts = (Pattern.parse("NOR"), Pattern.parse("DEU"))
    guests = GuestRule((Pattern.parse("un-ocha/guest"),), hosts, until=relay.clock.ms // 1000 + 60)
    forum = await Forum.open(relay, *CODES, read=hosts, guests=(guests,))
    nor, guest = await relay.enrol("nor/desk#d1"), await relay.enrol("un-ocha/guest#d1")
    await nor.open(forum.agreement, guest)
    await nor.read_all()
    forum.wait(60)
    await nor.send()
    assert await relay.services.resume() == guests.until + 1
    forum.wait(1)

    for one in (nor, guest):
        with pytest.raises(RemovalPendingError):
            await one.send()
    await relay.services.resume()

    (reason,) = await take_handshakes(nor)
    assert statement.read_removal(reason).kind is statement.ReasonKind.AGREEMENT
    await nor.update()
    await nor.send()
    with pytest.raises(LiaisonError):
        await nor.add(guest)


async def test_what_was_enforced_is_not_enforced_again(
    forum: Forum, members: tuple[Actor, Actor, Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    enforced = []

    async def noted(work: Work, life: Life, agreement: str, now_ms: int) -> list[bytes]:
        enforced.append(now_ms // 1000)
        return await enforce(work, life, agreement, now_ms)

    monkeypatch.setattr("liaison.relay.services.enforcement.enforce", noted)
    await forum.amend(forum.next(title="amended", valid_from=forum.now + 3600))
    enforced.clear()
    forum.wait(3600)
    due = forum.now

    await forum.relay.services.resume()
    forum.wait(DAY)
    await forum.relay.build().resume()

    assert enforced == [due]
