from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from random import Random

import pytest

from liaison.crypto.signing import SigningKey
from liaison.envelope.header import Kind
from liaison.mls import group
from liaison.mls.proposals import Remove
from liaison.model import ChannelId, PartyCode, Precedence
from liaison.policy.agreement_rules import Witness
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.keys import VerifyKey
from liaison.policy.lifecycle import Event
from liaison.relay.recording import origin_of
from liaison.relay.services.errors import NotMemberError, UnknownChannelError
from liaison.relay.services.log_grace import LogGraceOverError
from liaison.tlog.channels import ChannelView
from liaison.tlog.fields import EntryType
from liaison.tlog.text import to_base64
from liaison.wire import v1
from tests.relay.services import logbook
from tests.relay.services.forum import CODES, ID, Forum, draft
from tests.relay.services.harness import Actor, Relay
from tests.relay.services.logbook import of_type
from tests.support.world import ED25519

ORIGIN = origin_of("relay.example", ID)
ITEMS = (EntryType.ACCEPTED, EntryType.RECEIPT, EntryType.COMMIT)


def b64(data: bytes) -> str:
    return to_base64(hashlib.sha256(data).digest())


# --- messages and handshakes ------------------------------------------------------------


async def test_each_accepted_message_is_one_entry_that_says_what_its_header_does(
    members: tuple[Actor, Actor, Actor], relay: Relay
) -> None:
    nor, _, _ = members
    send = nor.message(precedence=Precedence.IMMEDIATE)
    receipt = nor.message(kind=Kind.RECEIPT)
    accepted = [
        await relay.services.messages.accept(nor.caller, one) for one in (send, send, receipt)
    ]

    told = of_type(await logbook.read(relay, ID), EntryType.ACCEPTED, EntryType.RECEIPT)
    assert [one.type for one in told] == [EntryType.ACCEPTED, EntryType.RECEIPT]
    assert [one.entry.seq for one in told] == [accepted[0].seq, accepted[2].seq]
    assert accepted[1].duplicate
    assert told[0].said == {
        "party": "NOR",
        "sender": "nor/desk#d1",
        "message": str(send.message_id),
        "digest": b64(send.payload),
        "kind": "text",
        "action": "IMMEDIATE",
        "info": "IMMEDIATE",
        "dtg": relay.clock.ms // 1000,
        "to": (),
        "copy": (),
        "label": told[0]["label"],
        "reply": None,
    }
    assert told[0].audience == frozenset(CODES)
    assert told[0].entry.policy is not None
    assert told[0].entry.size is not None
    assert told[0].entry.size >= len(send.payload)


async def test_of_many_messages_at_once_each_accepted_one_is_exactly_one_entry(
    members: tuple[Actor, Actor, Actor], relay: Relay
) -> None:
    sends = [(actor, actor.message()) for actor in members for _ in range(20)]
    again = [*sends, *sends[::3]]
    accept = relay.services.messages.accept
    accepted = await asyncio.gather(*(accept(actor.caller, send) for actor, send in again))

    told = of_type(await logbook.read(relay, ID), EntryType.ACCEPTED)
    stored = {one.seq for one in accepted}
    assert len(stored) == len(sends)
    # In the order of their numbers, too: an entry stands behind those of earlier items.
    assert [one.entry.seq for one in told] == sorted(stored)
    digests = {one.entry.seq: one["digest"] for one in told}
    assert all(
        digests[one.seq] == b64(send.payload)
        for one, (_, send) in zip(accepted, again, strict=True)
    )


async def test_nobody_is_added_while_the_log_has_lacked_its_witnesses_for_too_long(
    relay: Relay,
) -> None:
    key = SigningKey.generate(ED25519)
    witness = Witness(PartyCode("NOR"), "nor-witness", VerifyKey.of(key))
    forum = await Forum.open(relay, *CODES)
    await forum.amend(forum.next(witnesses=(witness,)))
    nor, deu, late = [
        await relay.enrol(f"{name}#d1") for name in ("nor/desk", "deu/desk", "deu/late")
    ]
    await nor.open(forum.agreement, deu)
    forum.wait(forum.agreement.log.grace + 1)
    with pytest.raises(LogGraceOverError):
        await nor.add(late)
    removed = await nor.remove(deu)
    sent = await nor.send()

    # Messages flow, and who has to leave leaves.
    assert sent.seq == removed.seq + 1


async def test_what_is_refused_leaves_no_entry_but_the_refusal(
    members: tuple[Actor, Actor, Actor], relay: Relay
) -> None:
    nor, _, _ = members
    before = await logbook.read(relay, ID)
    with pytest.raises(PolicyRefusedError):
        await nor.send(precedence=Precedence.OVERRIDE)

    (told,) = (await logbook.read(relay, ID))[len(before) :]
    assert told.type is EntryType.REFUSED
    assert told.said == {
        "party": "NOR",
        "device": "nor/desk#d1",
        "action": "send",
        "code": "policy.refused",
        "rule": "channels.liaison.send.precedence",
        "count": None,
    }
    assert told.audience == frozenset({"NOR"})


async def test_many_refusals_of_a_device_are_counted_and_told_together(
    members: tuple[Actor, Actor, Actor], relay: Relay
) -> None:
    nor, deu, _ = members
    for actor in (nor, nor, nor, deu):
        with pytest.raises(PolicyRefusedError):
            await actor.send(precedence=Precedence.OVERRIDE)
    relay.clock.ms += 1000
    with pytest.raises(PolicyRefusedError):
        await nor.send(precedence=Precedence.OVERRIDE)
    await relay.services.refusals.flush()
    await relay.services.refusals.flush()

    told = of_type(await logbook.read(relay, ID), EntryType.REFUSED)
    assert [(one["party"], one["count"]) for one in told] == [
        ("NOR", None),
        ("DEU", None),
        ("NOR", None),
        ("NOR", 2),
    ]


async def test_what_one_partnership_refuses_strangers_is_not_told_it(
    members: tuple[Actor, Actor, Actor], relay: Relay
) -> None:
    await relay.admit("SWE", "FIN")
    swe = await relay.enrol("swe/desk#d1")
    before = await logbook.read(relay, ID)
    foreign = members[0].message()
    with pytest.raises(NotMemberError):
        await relay.services.messages.accept(swe.caller, foreign)
    with pytest.raises(UnknownChannelError):
        await relay.services.messages.accept(
            swe.caller, replace(foreign, channel=ChannelId(bytes(16)))
        )

    assert await logbook.read(relay, ID) == before


@pytest.mark.parametrize("seed", range(3))
async def test_the_log_says_of_a_channel_what_happened_in_it_and_nothing_else(
    forum: Forum, relay: Relay, seed: int
) -> None:
    rng, scene = Random(seed), await _Scene.open(forum)
    for _ in range(25):
        await rng.choice(scene.steps)(rng)

    told = logbook.of_channel(await logbook.read(relay, ID), ORIGIN, scene.nor.channel)
    items = of_type(told, *ITEMS)
    assert [_short(one) for one in items] == scene.expected
    changes = [(one["device"], one["change"]) for one in of_type(told, EntryType.MEMBER)]
    assert changes == scene.changes
    refused = of_type(told, EntryType.REFUSED)
    assert sum(one["count"] or 1 for one in refused) == scene.refused
    assert len(told) == len(items) + len(changes) + len(refused)
    view = ChannelView(told[0].entry.channel or b"")
    for one in told:
        view = view.follow(one.entry)
    assert view.next_seq == len(items) + 1


def _short(one: logbook.Told) -> tuple[object, ...]:
    entry, kind = one.entry, None if one.type is EntryType.COMMIT else one["kind"]
    return (entry.type.value, entry.seq, entry.epoch, one["sender"], kind, one["digest"])


class _Scene:
    """A channel in which things happen at random, and what the log should say of them."""

    def __init__(self, forum: Forum, nor: Actor, deu: Actor) -> None:
        self.forum, self.nor, self.deu = forum, nor, deu
        self.guest: Actor | None = None
        self.expected: list[tuple[object, ...]] = []
        self.changes: list[tuple[str, str]] = [("nor/desk#d1", "founded")]
        self.refused = 0
        self.steps = (self.send, self.receipt, self.resend, self.refuse, self.commit, self.people)
        self._last = nor.message()

    @classmethod
    async def open(cls, forum: Forum) -> _Scene:
        nor, deu = [await forum.relay.enrol(name) for name in ("nor/desk#d1", "deu/desk#d1")]
        await nor.open(forum.agreement)
        scene = cls(forum, nor, deu)
        await scene._commit(*nor.adding(deu))
        scene.changes.append(("deu/desk#d1", "added"))
        await scene.send(Random(0))
        return scene

    async def send(self, _rng: Random, kind: Kind = Kind.TEXT) -> None:
        self._last = self.nor.message(kind=kind)
        accepted = await self.forum.relay.services.messages.accept(self.nor.caller, self._last)
        type_ = "receipt" if kind is Kind.RECEIPT else "accepted"
        digest = b64(self._last.payload)
        epoch = self.nor.state.epoch
        self.expected.append((type_, accepted.seq, epoch, "nor/desk#d1", str(kind), digest))

    async def receipt(self, rng: Random) -> None:
        await self.send(rng, Kind.RECEIPT)

    async def resend(self, _rng: Random) -> None:
        await self.forum.relay.services.messages.accept(self.nor.caller, self._last)

    async def refuse(self, rng: Random) -> None:
        self.forum.relay.clock.ms += rng.choice((0, 600, 1200))
        with pytest.raises(PolicyRefusedError):
            await self.nor.send(precedence=Precedence.OVERRIDE)
        self.refused += 1
        await self.forum.relay.services.refusals.flush()

    async def commit(self, _rng: Random) -> None:
        await self._commit()

    async def people(self, _rng: Random) -> None:
        if self.guest is None:
            self.guest = await self.forum.relay.enrol(f"un-ocha/desk#d{len(self.changes)}")
            await self._commit(*self.nor.adding(self.guest))
            self.changes.append((str(self.guest.id), "added"))
            return
        leaf = self.nor.state.leaf_of(self.guest.id.uri.encode())
        assert leaf is not None
        await self._commit(Remove(leaf))
        self.changes.append((str(self.guest.id), "removed"))
        self.guest = None

    async def _commit(self, *proposals: object) -> None:
        epoch, staged = self.nor.state.epoch, self.nor.stage(*proposals)  # type: ignore[arg-type]
        answer = await self.nor.commit(staged)
        self.expected.append(("commit", answer.seq, epoch, "nor/desk#d1", None, b64(staged.commit)))


async def test_the_relays_own_proposals_take_a_place_and_a_removal_says_why(
    members: tuple[Actor, Actor, Actor], relay: Relay
) -> None:
    nor, deu, _ = members
    await relay.revoke(deu.device)
    for item in await nor.read_all():
        nor.process(item.payload)
    await nor.commit(nor.stage())

    told = logbook.of_channel(await logbook.read(relay, ID), ORIGIN, nor.channel)
    proposal = next(one for one in of_type(told, EntryType.ACCEPTED) if one["kind"] == "proposal")
    assert (proposal["party"], proposal["sender"]) == (None, None)
    commit = of_type(told, EntryType.COMMIT)[-1]
    assert commit.entry.seq == (proposal.entry.seq or 0) + 1
    assert (commit["removed"], commit["added"]) == (("deu/desk#d1",), ())
    # Who is removed learns of it.
    assert commit.audience == frozenset(CODES)
    gone = of_type(told, EntryType.MEMBER)[-1]
    assert (gone["device"], gone["change"], gone["reason"]) == (
        "deu/desk#d1", "removed", "revocation",
    )  # fmt: skip
    await nor.send()
    (after,) = of_type(await logbook.read(relay, ID), EntryType.ACCEPTED)[-1:]
    assert after.audience == frozenset({"NOR", "UN-OCHA"})


async def test_who_leaves_is_told_to_have_left_and_to_have_proposed_it(
    members: tuple[Actor, Actor, Actor], relay: Relay
) -> None:
    nor, deu, _ = members
    deu.group, message = group.propose_self_remove(deu.state, signer=deu.signer)
    answer = await relay.services.channels.propose(
        deu.caller, deu.channel, v1.Proposal(proposal=message, state_version=3)
    )
    (item,) = await nor.read_all()
    nor.process(item.payload)
    await nor.commit(nor.stage())

    told = await logbook.read(relay, ID)
    (proposal,) = (one for one in told if one.entry.seq == answer.seq)
    assert (proposal["kind"], proposal["sender"]) == ("proposal", "deu/desk#d1")
    assert proposal["digest"] == b64(message)
    gone = of_type(told, EntryType.MEMBER)[-1]
    assert (gone["change"], gone["reason"]) == ("removed", "left")
    assert gone.entry.epoch == nor.state.epoch


async def test_a_member_that_comes_back_from_outside_has_returned(
    members: tuple[Actor, Actor, Actor], relay: Relay
) -> None:
    _, deu, _ = members
    state = await relay.services.channels.group_state(deu.caller, deu.channel)
    await deu.commit(deu.resync(state))

    told = await logbook.read(relay, ID)
    commit = of_type(told, EntryType.COMMIT)[-1]
    assert commit["added"] == commit["removed"] == ("deu/desk#d1",)
    assert of_type(told, EntryType.MEMBER)[-1]["change"] == "returned"


# --- deliveries -------------------------------------------------------------------------


async def test_what_devices_acknowledge_is_told_once_and_as_ranges(
    members: tuple[Actor, Actor, Actor], relay: Relay
) -> None:
    nor, deu, _ = members
    deliveries = relay.services.deliveries
    await deliveries.tell()
    before = len(await logbook.read(relay, ID))
    sent = [await nor.send() for _ in range(5)]
    await deu.read_all()
    await deliveries.tell()
    await deliveries.tell()

    told = of_type((await logbook.read(relay, ID))[before:], EntryType.DELIVERED)
    ranges = {one["device"]: (one["first"], one["last"]) for one in told}
    assert ranges["deu/desk#d1"] == (sent[0].seq, sent[-1].seq)
    assert len(told) == len(ranges)


async def test_a_device_is_told_to_have_read_only_what_came_after_it_had_joined(
    members: tuple[Actor, Actor, Actor], relay: Relay
) -> None:
    nor, _, _ = members
    await nor.send()
    late = await relay.enrol("deu/desk#d2")
    joined = await nor.add(late)
    sent = await nor.send()
    await late.read_all()
    await relay.services.deliveries.tell()

    told = of_type(await logbook.read(relay, ID), EntryType.DELIVERED)
    (one,) = (one for one in told if one["device"] == "deu/desk#d2")
    assert (one["first"], one["last"]) == (joined.seq + 1, sent.seq)


# --- keys -------------------------------------------------------------------------------


def _keys(told: list[logbook.Told]) -> list[tuple[str, str, str]]:
    return [(one["party"], one["act"], one["subject"]) for one in of_type(told, EntryType.KEY)]


async def test_a_log_begins_with_the_certificates_and_signatures_that_are_there(
    relay: Relay,
) -> None:
    await relay.admit("NOR", "DEU")
    early = await relay.enrol("nor/desk#d1")
    await relay.enrol("deu/desk#d1")
    await Forum.open(relay, *CODES)

    told = await logbook.read(relay, ID)
    assert _keys(told) == [
        *((code, "signature", f"{ID} version 1") for code in _signers(told)),
        ("NOR", "known", "nor/desk#d1"),
        ("DEU", "known", "deu/desk#d1"),
    ]
    known = next(one for one in of_type(told, EntryType.KEY) if one["act"] == "known")
    leaf = early.device.chains[ED25519][0]
    assert known["digest"] == b64(leaf)
    assert known.audience is None
    (signature,) = (one for one in told if one.audience == frozenset({"NOR"}))
    assert signature["act"] == "signature"


def _signers(told: list[logbook.Told]) -> list[str]:
    found = [one["party"] for one in of_type(told, EntryType.KEY) if one["act"] == "signature"]
    assert sorted(found) == sorted(CODES)
    return found


async def test_keys_go_into_the_logs_of_all_partnerships_of_the_party_and_no_others(
    forum: Forum, relay: Relay
) -> None:
    await relay.admit("NOR", "SWE")
    counts = [len(await logbook.read(relay, id_)) for id_ in (ID, "nor-deu-2026")]
    nor = await relay.enrol("nor/desk#d1")
    await relay.enrol("swe/desk#d1")
    package = nor.key_package().key_package
    upload = v1.KeyPackages(suite=1, key_packages=[package])
    await relay.services.key_packages.upload(nor.caller, upload)
    await relay.revoke(nor.device)

    ours = [
        ("NOR", "certificate", "nor/desk#d1"),
        ("NOR", "key_packages", "nor/desk#d1"),
        ("NOR", "revocations", "2"),
        ("NOR", "revoked", "nor/desk#d1"),
    ]
    told = (await logbook.read(relay, ID))[counts[0] :]
    assert _keys(told) == ours
    assert [one.audience for one in told] == [None, {"NOR"}, None, None]
    theirs = (await logbook.read(relay, "nor-deu-2026"))[counts[1] :]
    assert _keys(theirs) == [ours[0], ("SWE", "certificate", "swe/desk#d1"), *ours[1:]]


# --- agreements -------------------------------------------------------------------------


def _steps(told: list[logbook.Told]) -> list[tuple[str | None, str, str]]:
    return [(one["party"], one["step"], one["document"]) for one in of_type(told, EntryType.POLICY)]


async def test_an_amendment_is_told_step_by_step(forum: Forum, relay: Relay) -> None:
    following = forum.next(title="changed")
    await forum.propose("NOR", forum.signed(following, "NOR"))
    await forum.propose("DEU", forum.signed(following, "DEU"))
    await forum.propose("DEU", forum.signed(following, "DEU"))
    await forum.propose("UN-OCHA", forum.signed(following, "UN-OCHA"))

    told = await logbook.read(relay, ID)
    assert _steps(told) == [
        (None, "admitted", "agreement"),
        (None, "in_force", "agreement"),
        ("NOR", "proposed", "agreement"),
        ("DEU", "signed", "agreement"),
        ("UN-OCHA", "signed", "agreement"),
        (None, "admitted", "agreement"),
        (None, "in_force", "agreement"),
    ]
    signed = [one for one in _keys(told) if one[2] == f"{ID} version 2"]
    assert [one[0] for one in signed] == ["NOR", "DEU", "UN-OCHA"]
    assert of_type(told, EntryType.POLICY)[-1]["digest"] == to_base64(following.digest())


async def test_a_version_whose_day_comes_is_told_once(forum: Forum, relay: Relay) -> None:
    await forum.amend(forum.next(valid_from=forum.now + 100))
    before = _steps(await logbook.read(relay, ID))
    forum.wait(101)
    await relay.services.calendar.keep()
    await relay.services.calendar.keep()

    after = _steps(await logbook.read(relay, ID))[len(before) :]
    assert before[-1] == (None, "admitted", "agreement")
    assert after == [(None, "in_force", "agreement")]


async def test_a_party_that_comes_in_brings_its_certificates(relay: Relay) -> None:
    await relay.admit("NOR", "UN-OCHA")
    await relay.enrol("un-ocha/desk#d1")
    forum = await Forum.open(relay, "NOR", "DEU")
    before = _keys(await logbook.read(relay, ID))
    await forum.amend(forum.next(*CODES))

    assert ("UN-OCHA", "known", "un-ocha/desk#d1") not in before
    assert ("UN-OCHA", "known", "un-ocha/desk#d1") in _keys(await logbook.read(relay, ID))


async def test_what_parties_state_and_whom_they_exclude_is_told(forum: Forum, relay: Relay) -> None:
    await forum.say("UN-OCHA", Event.SUSPEND)
    for code in ("NOR", "NOR", "DEU"):
        await forum.exclude(code, forum.exclusion("UN-OCHA", code))

    assert _steps(await logbook.read(relay, ID))[2:] == [
        ("UN-OCHA", "suspended", "statement"),
        ("NOR", "proposed", "exclusion"),
        ("DEU", "signed", "exclusion"),
        ("UN-OCHA", "excluded", "exclusion"),
    ]


async def test_admissions_are_told_in_the_root_log_and_to_whom_they_concern(
    forum: Forum, relay: Relay
) -> None:
    await relay.services.registry.add_party(relay.world.party("NOR").document)

    root = await logbook.read(relay, None)
    assert [(one["act"], one["subject"]) for one in of_type(root, EntryType.ADMIN)] == [
        ("party.admitted", "NOR"),
        ("party.admitted", "DEU"),
        ("party.admitted", "UN-OCHA"),
        ("agreement.admitted", f"{ID} version 1"),
    ]
    (ours,) = of_type(await logbook.read(relay, ID), EntryType.ADMIN)
    assert ours["act"] == "agreement.admitted"


async def test_nothing_of_one_partnership_stands_in_the_log_of_another(
    members: tuple[Actor, Actor, Actor], relay: Relay
) -> None:
    other = draft(relay, "SWE", "FIN", version_of="quiet-2026")
    for code in ("SWE", "FIN"):
        await relay.services.registry.add_party(relay.world.party(code).document)
    apart = Forum(relay, other)
    await relay.services.agreements.admit(apart.signed(other))
    swe, fin = [await relay.enrol(f"{code}/canary#d1") for code in ("swe", "fin")]
    await swe.open(other, fin)
    await swe.send(b"canary")
    with pytest.raises(PolicyRefusedError):
        await swe.send(precedence=Precedence.OVERRIDE)
    await fin.read_all()
    await relay.revoke(fin.device)
    await relay.services.deliveries.tell()

    told = await logbook.read(relay, ID)
    text = repr(told).lower()
    assert not [word for word in ("canary", "swe", "fin", "quiet") if f"{word}/" in text]
    assert not [code for code in ("SWE", "FIN") if f"'{code}'" in repr(told)]
    assert "canary" in repr(await logbook.read(relay, "quiet-2026"))
    assert len(of_type(told, EntryType.REFUSED)) == 0
