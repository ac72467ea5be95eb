"""Who takes part: a party's own word and the others', in force in every channel at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from liaison.errors import LiaisonError, UnavailableError
from liaison.model import BlobId, PartyCode
from liaison.policy import dsse, exclusion, participation, statement
from liaison.policy.agreement_rules import ExclusionRule
from liaison.policy.errors import (
    PolicyRefusedError,
    SignatureMissingError,
    StatementOrderError,
)
from liaison.policy.lifecycle import Event
from liaison.policy.standing import EVERYONE
from liaison.relay.services.enforcement import CHANGED
from liaison.relay.services.errors import (
    AlreadyExcludedError,
    ForeignPartyError,
    RemovalLapsedError,
    RemovalPendingError,
    StatementAheadError,
    StatementOutdatedError,
    TooManyDocumentsError,
    UnknownAgreementError,
)
from liaison.relay.services.removals import Removals
from liaison.storage import agreements
from liaison.trust import certified_leaf
from liaison.wire import v1
from liaison.wire.frames import ItemKind
from tests.relay.services.forum import CODES, ID, Forum, take_handshakes
from tests.relay.services.harness import Actor, Relay, digest, fresh_id, news

LEAVING = (Event.SUSPEND, Event.WITHDRAW)


async def changes(relay: Relay) -> int:
    async with relay.database.read() as tx:
        return (await agreements.changes(tx, [ID]))[ID]


# --- leaving ----------------------------------------------------------------------------


@pytest.mark.parametrize("event", LEAVING)
async def test_a_party_that_leaves_sends_nothing_more_in_the_same_instant(
    forum: Forum, members: tuple[Actor, Actor, Actor], event: Event
) -> None:
    _, deu, _ = members
    waiting = deu.message()
    await forum.say("DEU", event)

    with pytest.raises(RemovalPendingError):
        await deu.relay.services.messages.accept(deu.caller, waiting)


@pytest.mark.parametrize("event", LEAVING)
@pytest.mark.parametrize("online", [0, 2])
async def test_the_others_go_on_as_soon_as_any_one_of_them_is_there(
    forum: Forum, members: tuple[Actor, Actor, Actor], event: Event, online: int
) -> None:
    alone, deu = members[online], members[1]
    await forum.say("DEU", event)
    with pytest.raises(RemovalPendingError):
        await alone.send()
    await take_handshakes(alone)

    await alone.update()

    assert (await alone.send()).duplicate is False
    with pytest.raises(LiaisonError) as refused:
        await deu.send()
    assert refused.value.code == "channel.not_member"


async def test_a_channel_whose_others_are_all_away_takes_nothing(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    _, deu, _ = members
    staged = deu.stage()
    await forum.say("DEU", Event.SUSPEND)

    with pytest.raises(RemovalPendingError):
        await deu.send()
    with pytest.raises(RemovalPendingError):
        await deu.commit(staged)


async def test_the_relay_proposes_the_removal_with_the_partys_own_word(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, deu, _ = members
    word = await forum.say("DEU", Event.SUSPEND)
    (reason,) = await take_handshakes(nor)
    leaf = nor.state.leaf_of(deu.id.uri.encode())
    assert leaf is not None

    verified = statement.verify_removal(
        reason,
        agreement=forum.agreement,
        policy=forum.agreement.channel("liaison"),
        device=deu.id,
        serial=certified_leaf(nor.state.member(leaf).leaf_node.credential).serial,
        standing=EVERYONE,
        renewed=None,
        now=forum.now,
    )

    assert isinstance(verified, statement.ParticipationReason)
    assert verified.signed == word


async def test_who_left_still_reads_what_was_accepted_before(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, deu, _ = members
    await nor.send(b"before")
    await forum.say("DEU", Event.SUSPEND)

    items = await deu.read_all()

    assert [deu.decrypts(one) for one in items if one.kind is ItemKind.MESSAGE] == [b"before"]


async def test_who_left_opens_nothing_adds_nobody_and_uploads_nothing(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    _, deu, _ = members
    other = await forum.relay.enrol("deu/desk#d2")
    staged = deu.stage(*deu.adding(other))
    await forum.say("DEU", Event.SUSPEND)
    services = forum.relay.services

    fresh = await forum.relay.enrol("deu/new#d1")
    with pytest.raises(PolicyRefusedError) as opening:
        await fresh.open(forum.agreement)
    with pytest.raises(PolicyRefusedError) as adding:
        await deu.commit(staged)
    with pytest.raises(PolicyRefusedError) as uploading:
        await services.blobs.put(
            deu.caller, deu.channel, BlobId(fresh_id()), digest(b"x"), pieces()
        )

    refusals = [opening.value, adding.value, uploading.value]
    assert [one.rule for one in refusals] == ["party.suspended"] * 3


async def test_who_left_does_not_come_back_by_itself(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    _, deu, _ = members
    state = await forum.relay.services.channels.group_state(deu.caller, deu.channel)
    staged = deu.resync(state)
    await forum.say("DEU", Event.SUSPEND)

    with pytest.raises(PolicyRefusedError) as refused:
        await deu.commit(staged)

    assert refused.value.rule == "member.excluded"


async def test_nobody_adds_a_device_of_a_party_that_has_left(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, deu, _ = members
    late = await forum.relay.enrol("deu/late#d1")
    await forum.say("DEU", Event.SUSPEND)
    await take_handshakes(nor)
    await nor.update()

    for one in (late, deu):
        with pytest.raises(PolicyRefusedError) as refused:
            await nor.add(one)
        assert refused.value.rule == "party.suspended"


async def test_a_commit_that_was_under_way_adds_nobody_of_a_party_that_has_left(
    forum: Forum, members: tuple[Actor, Actor, Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    nor, _, _ = members
    late = await forum.relay.enrol("deu/late#d1")
    real, arrived, judged = asyncio.to_thread, asyncio.Event(), asyncio.Event()

    async def slow(work: Any, *args: Any) -> Any:
        result = await real(work, *args)
        if getattr(work, "__name__", "") == "check_commit" and not judged.is_set():
            judged.set()
            await arrived.wait()
        return result

    monkeypatch.setattr("liaison.relay.services.channels.asyncio.to_thread", slow)
    adding = asyncio.create_task(nor.add(late))
    await judged.wait()
    monkeypatch.undo()
    await forum.say("DEU", Event.SUSPEND)
    arrived.set()

    with pytest.raises(LiaisonError) as refused:
        await adding
    assert refused.value.code in {"policy.refused", "channel.epoch_conflict"}


async def test_in_a_channel_of_two_parties_a_suspension_stops_all(relay: Relay) -> None:
    forum = await Forum.open(relay, "NOR", "DEU")
    nor, deu = await relay.enrol("nor/desk#d1"), await relay.enrol("deu/desk#d1")
    await nor.open(forum.agreement, deu)
    await nor.read_all()
    await forum.say("DEU", Event.SUSPEND)
    await take_handshakes(nor)
    await nor.update()

    with pytest.raises(PolicyRefusedError) as refused:
        await nor.send()

    assert refused.value.rule == "agreement.suspended"


# --- coming back ------------------------------------------------------------------------


async def test_a_party_that_resumes_is_added_again_and_sends(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, deu, _ = members
    await forum.say("DEU", Event.SUSPEND)
    await take_handshakes(nor)
    await nor.update()
    forum.wait(60)
    await forum.say("DEU", Event.RESUME)

    await nor.add(deu)

    assert (await deu.send()).duplicate is False


async def test_a_channel_is_open_again_when_the_party_resumes_before_it_was_removed(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, deu, _ = members
    await forum.say("DEU", Event.SUSPEND)
    await take_handshakes(nor)
    staged = nor.stage()
    forum.wait(60)
    await forum.say("DEU", Event.RESUME)

    assert (await deu.send()).duplicate is False
    with pytest.raises(RemovalLapsedError):
        await nor.commit(staged)


async def test_a_return_that_was_signed_before_the_removal_has_to_be_signed_anew(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, _, _ = members
    await forum.say("DEU", Event.SUSPEND)
    suspended = forum.said["DEU"]
    early = forum.statement("DEU", Event.RESUME, at=forum.now + 10)
    forum.wait(60)
    await take_handshakes(nor)
    await nor.update()

    with pytest.raises(StatementOutdatedError):
        await forum.publish("DEU", early)
    forum.wait(1)
    forum.said["DEU"] = suspended
    await forum.say("DEU", Event.RESUME)


async def test_nobody_comes_back_from_a_withdrawal(forum: Forum) -> None:
    await forum.say("DEU", Event.WITHDRAW)
    gone = forum.said["DEU"]
    forum.said["DEU"] = participation.Statement.first(
        forum.agreement, PartyCode("DEU"), now=forum.now
    )
    forum.said["DEU"] = forum.said["DEU"].after(
        Event.AFFIRM, reason="", now=forum.now, max_age=3600
    )

    with pytest.raises(StatementOrderError):
        await forum.say("DEU", *[Event.AFFIRM] * gone.number)


# --- which statements count -------------------------------------------------------------


async def test_the_same_statement_again_changes_nothing(forum: Forum) -> None:
    word = await forum.say("DEU", Event.SUSPEND)
    before = await changes(forum.relay)

    await forum.publish("DEU", word)

    assert await changes(forum.relay) == before


async def test_an_older_statement_is_refused_though_it_is_genuine(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    _, deu, _ = members
    active = await forum.say("DEU", Event.AFFIRM)
    older = forum.statement("DEU", Event.AFFIRM)
    forum.wait(60)
    await forum.say("DEU", Event.SUSPEND)

    await forum.publish("DEU", active)
    with pytest.raises(StatementOrderError):
        await forum.publish("DEU", older)

    with pytest.raises(RemovalPendingError):
        await deu.send()


async def test_a_party_speaks_for_itself_alone(forum: Forum) -> None:
    word = forum.statement("DEU", Event.SUSPEND)

    with pytest.raises(ForeignPartyError):
        await forum.publish("NOR", word)


async def test_a_statement_that_another_authority_signed_is_refused(forum: Forum) -> None:
    forged = participation.sign(
        participation.read(forum.statement("DEU", Event.SUSPEND)),
        forum.relay.world.party("NOR").authority_key,
    )

    with pytest.raises(SignatureMissingError):
        await forum.publish("DEU", forged)


async def test_a_statement_about_an_unknown_agreement_is_refused(forum: Forum) -> None:
    service = forum.relay.services.participation
    await forum.relay.services.registry.add_party(forum.relay.world.party("SWE").document)

    word = forum.statement("DEU", Event.SUSPEND)
    for code, id_ in (("DEU", "another"), ("SWE", ID), ("DEU", "no\0such")):
        with pytest.raises(UnknownAgreementError):
            await service.state(await forum.office(code), id_, word)


async def test_a_statement_from_the_future_is_refused(forum: Forum) -> None:
    ahead = forum.agreement.times.ahead
    late = forum.statement("DEU", Event.SUSPEND, at=forum.now + ahead + 1)

    with pytest.raises(StatementAheadError):
        await forum.publish("DEU", late)


async def test_a_suspension_holds_at_once_though_the_authoritys_clock_is_ahead(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    _, deu, _ = members

    await forum.say("DEU", Event.SUSPEND, at=forum.now + forum.agreement.times.ahead)

    with pytest.raises(RemovalPendingError):
        await deu.send()


async def test_the_registrar_may_bring_what_the_authority_has_signed(forum: Forum) -> None:
    office = await forum.office("DEU", "registrar")
    word = forum.statement("DEU", Event.SUSPEND)

    assert await forum.relay.services.participation.state(office, ID, word) == v1.Document(
        envelope=word
    )


async def test_members_read_the_newest_statements_of_all_parties(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    _, deu, _ = members
    words = []
    for _ in range(10):
        words.append(await forum.say("NOR", Event.AFFIRM))
        forum.wait(10)
    words.append(await forum.say("DEU", Event.WITHDRAW))

    listed = await forum.relay.services.participation.listing(deu.caller, ID)

    assert {one.envelope for one in listed.documents} == set(words[2:])


async def test_strangers_read_no_statements(forum: Forum) -> None:
    await forum.relay.services.registry.add_party(forum.relay.world.party("SWE").document)

    with pytest.raises(UnknownAgreementError):
        await forum.relay.services.participation.listing(await forum.office("SWE"), ID)


async def test_every_connected_device_of_the_parties_is_told(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    feeds = [await one.feed() for one in members]

    await forum.say("DEU", Event.SUSPEND)

    for feed in feeds:
        notes: set[str] = set()
        while CHANGED not in notes:
            notes |= await news(feed)
        feed.close()


# --- a relay that stops in between, and another node ------------------------------------


async def test_removals_are_proposed_though_the_relay_stopped_after_accepting(
    forum: Forum, members: tuple[Actor, Actor, Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    nor, _, _ = members

    async def stop(*_: object) -> None:
        raise UnavailableError("the power is gone")

    with monkeypatch.context() as broken:
        broken.setattr(Removals, "propose", stop)
        with pytest.raises(UnavailableError):
            await forum.say("DEU", Event.SUSPEND)
    with pytest.raises(RemovalPendingError):
        await nor.send()

    forum.relay.services = forum.relay.build()
    await forum.relay.services.resume()

    assert len(await take_handshakes(nor)) == 1
    await nor.update()
    await nor.send()


async def test_resuming_again_proposes_nothing_twice(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, _, _ = members
    await forum.say("DEU", Event.SUSPEND)

    await forum.relay.services.resume()
    await forum.relay.build().resume()

    assert len(await take_handshakes(nor)) == 1


async def test_what_was_known_before_a_refused_statement_still_holds(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, _, _ = members
    await nor.send()
    stale = forum.statement("DEU", Event.SUSPEND)
    forum.said.clear()
    await forum.say("DEU", *[Event.AFFIRM] * 3)

    with pytest.raises(StatementOrderError):
        await forum.publish("DEU", stale)

    await nor.send()


# --- exclusion --------------------------------------------------------------------------


async def test_a_party_is_excluded_when_all_the_others_have_signed(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, deu, _ = members
    half = await forum.exclude("NOR", forum.exclusion("DEU", "NOR"))
    await deu.send()

    whole = await forum.exclude("UN-OCHA", forum.exclusion("DEU", "UN-OCHA"))

    assert (half.signed, half.missing, half.in_force) == (["NOR"], ["UN-OCHA"], False)
    assert (whole.signed, whole.missing, whole.in_force) == (["NOR", "UN-OCHA"], [], True)
    with pytest.raises(RemovalPendingError):
        await deu.send()
    (reason,) = await take_handshakes(nor)
    assert statement.read_removal(reason).kind is statement.ReasonKind.EXCLUSION
    await nor.update()
    await nor.send()


async def test_the_exclusion_in_force_is_read_with_the_statements(forum: Forum) -> None:
    await forum.exclude("NOR", forum.exclusion("DEU", "NOR", "UN-OCHA"))

    office = await forum.office("DEU")
    (document,) = (await forum.relay.services.participation.listing(office, ID)).documents

    assert exclusion.verify(document.envelope, forum.agreement).party == PartyCode("DEU")


async def test_the_excluded_party_has_no_say_any_more(forum: Forum) -> None:
    await forum.exclude("NOR", forum.exclusion("DEU", "NOR", "UN-OCHA"))

    with pytest.raises(StatementOrderError):
        await forum.say("DEU", Event.AFFIRM)


async def test_the_same_exclusion_again_is_answered_and_another_one_refused(forum: Forum) -> None:
    word = forum.exclusion("DEU", "NOR", "UN-OCHA")
    first = await forum.exclude("NOR", word)

    assert await forum.exclude("UN-OCHA", word) == first
    with pytest.raises(AlreadyExcludedError):
        await forum.exclude("NOR", forum.exclusion("DEU", "NOR", "UN-OCHA", reason="other"))


async def test_a_forged_signature_is_not_united_with_good_ones(forum: Forum) -> None:
    word = forum.exclusion("DEU", "NOR")
    other = forum.exclusion("DEU", "UN-OCHA", reason="other")
    forged = dsse.Envelope.decode(word).signatures[0]
    good = dsse.Envelope.decode(other)
    mixed = dsse.Envelope(good.payload_type, good.payload, (*good.signatures, forged))

    with pytest.raises(SignatureMissingError):
        await forum.exclude("NOR", mixed.encode())
    with pytest.raises(SignatureMissingError):
        await forum.exclude("NOR", forum.exclusion("DEU", "DEU"))


async def test_a_party_neither_proposes_nor_sees_its_own_exclusion(forum: Forum) -> None:
    word = forum.exclusion("DEU", "NOR")
    await forum.exclude("NOR", word)
    service = forum.relay.services.participation

    with pytest.raises(ForeignPartyError):
        await forum.exclude("DEU", word)
    assert (await service.exclusions(await forum.office("DEU"), ID)).documents == []
    (waiting,) = (await service.exclusions(await forum.office("UN-OCHA"), ID)).documents
    assert waiting.envelope == word


async def test_a_party_has_a_bounded_number_of_exclusions_waiting(forum: Forum) -> None:
    for number in range(8):
        await forum.exclude("NOR", forum.exclusion("DEU", "NOR", reason=str(number)))

    with pytest.raises(TooManyDocumentsError):
        await forum.exclude("NOR", forum.exclusion("DEU", "NOR", reason="one more"))
    await forum.exclude("UN-OCHA", forum.exclusion("DEU", "UN-OCHA", reason="another's"))


async def test_who_has_withdrawn_is_not_asked_for_a_vote(relay: Relay) -> None:
    forum = await Forum.open(relay, *CODES, "SWE")
    await forum.say("SWE", Event.WITHDRAW)
    forum.wait(60)

    status = await forum.exclude("NOR", forum.exclusion("DEU", "NOR", "UN-OCHA"))

    assert (status.missing, status.in_force) == ([], True)


@pytest.fixture
async def many(relay: Relay) -> Forum:
    """Four parties, of whom a majority of the others excludes one."""
    forum = await Forum.open(relay, *CODES, "SWE")
    await forum.amend(forum.next(exclusion=ExclusionRule.MAJORITY))
    return forum


async def test_who_was_excluded_has_no_vote_by_dating_it_back(many: Forum) -> None:
    before = many.now
    many.wait(60)
    await many.exclude("NOR", many.exclusion("DEU", "NOR", "UN-OCHA"))
    many.wait(60)

    status = await many.exclude("SWE", many.exclusion("NOR", "SWE", "DEU", at=before))

    assert not status.in_force


async def test_no_withdrawal_takes_back_the_vote_of_an_exclusion(many: Forum) -> None:
    signed = many.statement("UN-OCHA", Event.WITHDRAW)
    many.wait(60)
    await many.exclude("NOR", many.exclusion("DEU", "NOR", "UN-OCHA"))

    with pytest.raises(StatementOutdatedError, match="before the exclusion of DEU"):
        await many.publish("UN-OCHA", signed)
    many.said.clear()
    many.wait(60)
    await many.say("UN-OCHA", Event.WITHDRAW)


async def test_an_exclusion_counts_the_votes_of_the_newest_version(
    many: Forum, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three had been enough; the version that comes in meanwhile knows five others."""
    forum, writer = many, many.relay.writer
    for code in ("FRA", "POL"):
        await forum.relay.services.registry.add_party(forum.relay.world.party(code).document)
    larger = forum.next(*CODES, "SWE", "FRA", "POL")
    submit = writer.submit

    async def overtaken(operation: Any) -> Any:
        monkeypatch.setattr(writer, "submit", submit)
        await forum.amend(larger)
        return await submit(operation)

    monkeypatch.setattr(writer, "submit", overtaken)
    status = await forum.exclude("NOR", forum.exclusion("DEU", "NOR", "UN-OCHA"))

    assert not status.in_force
    assert "POL" in status.missing


async def test_an_exclusion_that_was_signed_too_long_ago_is_signed_anew(many: Forum) -> None:
    old = many.exclusion("DEU", "NOR", "UN-OCHA")
    many.wait(many.agreement.status.max_age + 1)

    with pytest.raises(StatementOutdatedError, match="too long ago"):
        await many.exclude("NOR", old)


@pytest.mark.parametrize("event", LEAVING)
async def test_who_talks_all_the_time_is_stopped_and_may_still_leave(
    forum: Forum, event: Event
) -> None:
    for _ in range(8):
        await forum.say("DEU", Event.AFFIRM)

    with pytest.raises(TooManyDocumentsError):
        await forum.say("DEU", Event.AFFIRM)
    await forum.say("DEU", event)
    forum.wait(61)
    await forum.say("DEU", Event.AFFIRM)


@pytest.mark.parametrize("event", LEAVING)
async def test_nobody_has_left_long_ago(forum: Forum, event: Event) -> None:
    signed = forum.statement("DEU", event)
    forum.wait(forum.agreement.times.behind + 1)

    with pytest.raises(StatementOutdatedError, match="too long ago"):
        await forum.publish("DEU", signed)
    forum.said.clear()
    await forum.say("DEU", event)
    forum.wait(forum.agreement.times.behind + 1)
    await forum.say("DEU", Event.AFFIRM)


async def pieces() -> AsyncIterator[bytes]:
    yield b"x"
