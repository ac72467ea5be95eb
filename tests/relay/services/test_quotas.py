"""What parties, channels and devices can't do without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from unittest.mock import Mock

import pytest
from sqlalchemy import func, select

from liaison.mls import proposing
from liaison.model import BlobId, ChannelId, Precedence
from liaison.policy import sending
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.requests import deny
from liaison.relay.services import Limits
from liaison.relay.services.errors import (
    AttachmentsFullError,
    BlobTooLargeError,
    KeyPackageError,
    QueueFullError,
    TooManyChannelsError,
    TooManyInvitationsError,
    TooManyProposalsError,
    TooManyUploadsError,
)
from liaison.relay.services.fullness import Fullness, _Counted
from liaison.storage import tables
from liaison.storage.engine import Database
from liaison.wire import v1
from tests.relay.services.harness import NOW, Actor, Relay, digest, fresh_id
from tests.support.world import FAST_SUITE

NOW_MS = NOW * 1000
DAY_MS = 86_400_000
NAME = "nor/defatt-berlin#d1"
OTHER = "deu/lno-j3#d1"


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def upload(actor: Actor, data: bytes, *, announced: bool = True) -> BlobId:
    blob = BlobId(fresh_id())
    await actor.relay.services.blobs.put(
        actor.caller, actor.channel, blob, digest(data), pieces(data),
        len(data) if announced else None,
    )  # fmt: skip
    return blob


async def limited(relay: Relay, **limits: int) -> tuple[Actor, Actor]:
    """Two members of one channel under these limits."""
    relay.services = relay.build(Limits(**limits))
    agreement = await relay.admit("NOR", "DEU")
    nor, deu = await relay.enrol(NAME), await relay.enrol(OTHER)
    await nor.open(agreement, deu)
    return nor, deu


# --- key packages -----------------------------------------------------------------------


async def test_a_key_package_that_stands_in_an_upload_twice_is_refused(relay: Relay) -> None:
    await relay.admit("NOR", "DEU")
    nor = await relay.enrol(NAME)
    package, last = nor.key_package().key_package, nor.key_package(last_resort=True).key_package

    def body(*packages: bytes) -> v1.KeyPackages:
        return v1.KeyPackages(suite=FAST_SUITE, key_packages=list(packages), last_resort=last)

    with pytest.raises(KeyPackageError, match="twice"):
        await relay.services.key_packages.upload(nor.caller, body(package, package))
    once = await relay.services.key_packages.upload(nor.caller, body(package))
    again = await relay.services.key_packages.upload(nor.caller, body(package))

    assert once == again
    assert once.counts[0].available == 1


async def test_when_all_are_taken_the_last_resort_is_given_out_again_and_again(
    relay: Relay,
) -> None:
    agreement = await relay.admit("NOR", "DEU")
    nor, deu = await relay.enrol(NAME), await relay.enrol(OTHER)
    single, last = nor.key_package().key_package, nor.key_package(last_resort=True).key_package
    packages = relay.services.key_packages
    suite = FAST_SUITE
    await packages.upload(
        nor.caller, v1.KeyPackages(suite=suite, key_packages=[single], last_resort=last)
    )
    claim = v1.Claim(agreement=agreement.agreement_id, endpoint=str(nor.id.endpoint), suite=suite)

    given = [await packages.claim(deu.caller, claim) for _ in range(3)]

    assert [each.key_packages[0].key_package for each in given] == [single, last, last]


# --- invitations ------------------------------------------------------------------------


async def test_a_party_has_so_many_invitations_open(relay: Relay) -> None:
    relay.services = relay.build(Limits(invitations=2))
    await relay.admit("NOR", "DEU")
    nor, deu = await relay.registrar("NOR"), await relay.registrar("DEU")
    enrolment = relay.services.enrolment

    def invitation(device: str, lives_ms: int = 60_000) -> v1.Invitation:
        return v1.Invitation(
            lookup=fresh_id().hex(), device=device, expires_ms=relay.clock.ms + lives_ms
        )

    first = invitation("nor/a#d1")
    await enrolment.invite(nor, first)
    await enrolment.invite(nor, invitation("nor/b#d1", 1_000))
    with pytest.raises(TooManyInvitationsError):
        await enrolment.invite(nor, invitation("nor/c#d1"))
    await enrolment.invite(nor, first)
    await enrolment.invite(deu, invitation("deu/a#d1"))
    relay.clock.ms += 2_000
    await enrolment.invite(nor, invitation("nor/c#d1"))
    with pytest.raises(TooManyInvitationsError):
        await enrolment.invite(nor, invitation("nor/d#d1"))
    await enrolment.withdraw(nor, bytes.fromhex(first.lookup))
    await enrolment.invite(nor, invitation("nor/d#d1"))


async def test_a_party_has_had_so_many_enrolments_lately(relay: Relay) -> None:
    relay.services = relay.build(Limits(enrolments=2))
    await relay.admit("NOR", "DEU")
    nor, deu = await relay.registrar("NOR"), await relay.registrar("DEU")
    enrolment, end = relay.services.enrolment, relay.clock.ms + 60_000
    for name in ("nor/a#d1", "nor/b#d1"):
        lookup = fresh_id()
        await enrolment.invite(nor, v1.Invitation(lookup=lookup.hex(), device=name, expires_ms=end))
        await enrolment.withdraw(nor, lookup)

    def another(device: str) -> v1.Invitation:
        return v1.Invitation(lookup=fresh_id().hex(), device=device, expires_ms=end)

    with pytest.raises(TooManyInvitationsError):
        await enrolment.invite(nor, another("nor/c#d1"))
    await enrolment.invite(deu, another("deu/a#d1"))
    relay.clock.ms += 31 * DAY_MS
    await relay.services.retention.expire()
    end = relay.clock.ms + 60_000
    await enrolment.invite(nor, another("nor/c#d1"))


async def test_what_was_enrolled_long_ago_is_not_listed_for_ever(relay: Relay) -> None:
    await relay.admit("NOR", "DEU")
    await relay.enrol(NAME)
    office = await relay.registrar("NOR")
    before = await relay.services.enrolment.listing(office)

    relay.clock.ms += 31 * DAY_MS
    await relay.services.retention.expire()
    after = await relay.services.enrolment.listing(office)

    assert (len(before.enrolments), after.enrolments) == (1, [])


# --- channels ---------------------------------------------------------------------------


async def test_an_agreement_has_so_many_channels(relay: Relay) -> None:
    nor, _ = await limited(relay, channels=2)
    assert nor.agreement is not None
    nor.channel = ChannelId(fresh_id())
    second = nor.new_channel(nor.agreement)
    await relay.services.channels.create(nor.caller, second)

    nor.channel = ChannelId(fresh_id())
    with pytest.raises(TooManyChannelsError):
        await relay.services.channels.create(nor.caller, nor.new_channel(nor.agreement))
    await relay.services.channels.create(nor.caller, second)


async def test_a_welcome_that_nobody_takes_is_kept_for_a_while_only(
    relay: Relay, database: Database
) -> None:
    _, deu = await limited(relay, welcome_days=90)

    async def waiting() -> int:
        async with database.read() as tx:
            return int(await tx.scalar(select(func.count()).select_from(tables.joins)) or 0)

    relay.clock.ms += 89 * DAY_MS
    await relay.services.retention.expire()
    assert await waiting() == 1
    relay.clock.ms += 2 * DAY_MS
    await relay.services.retention.expire()
    assert await waiting() == 0

    state = await relay.services.channels.group_state(deu.caller, deu.channel)
    assert state.epoch == 1


async def test_so_many_proposals_wait_for_one_commit(relay: Relay) -> None:
    nor, _ = await limited(relay, proposals=1)
    second, third = await relay.enrol("nor/duty-desk#d1"), await relay.enrol("nor/duty-desk#d2")

    async def propose(other: Actor) -> None:
        nor.group, message = proposing.propose_add(
            nor.state,
            other.key_package().key_package,
            signer=nor.signer,
            validator=nor.validator,
            now=NOW,
        )
        body = v1.Proposal(proposal=message, state_version=1)
        await relay.services.channels.propose(nor.caller, nor.channel, body)

    await propose(second)
    with pytest.raises(TooManyProposalsError) as caught:
        await propose(third)
    assert caught.value.hint


# --- messages ---------------------------------------------------------------------------


async def test_a_full_channel_takes_flash_and_nothing_less_until_messages_expire(
    relay: Relay,
) -> None:
    nor, deu = await limited(relay, messages=10)
    while nor.state.epoch < 11:
        await nor.update()
    # The numbers say that it could be full; nothing is refused before it was counted.
    await nor.send()
    await relay.services.fullness.count()
    for _ in range(9):
        await nor.send()

    with pytest.raises(QueueFullError) as caught:
        await nor.send()
    await nor.send(precedence=Precedence.FLASH)
    with pytest.raises(QueueFullError):
        await nor.send(precedence=Precedence.FLASH)
    relay.clock.ms += 400 * DAY_MS
    await relay.services.retention.expire()

    assert caught.value.hint
    head = (await relay.services.channels.get(deu.caller, deu.channel)).head
    relay.services.fullness.check(1, head, Precedence.ROUTINE, 1)


def fullness(**limits: int) -> Fullness:
    found = Fullness(Mock(spec=Database), Limits(**limits), Mock(return_value=NOW_MS))
    found._counted[1] = _Counted(5, 500, 7, NOW_MS)
    return found


def test_a_channel_is_full_by_bytes_too() -> None:
    found = fullness(message_bytes=600)

    found.check(1, 7, Precedence.ROUTINE, 100)
    with pytest.raises(QueueFullError):
        found.check(1, 7, Precedence.ROUTINE, 101)
    found.check(1, 7, Precedence.FLASH, 160)
    with pytest.raises(QueueFullError):
        found.check(1, 7, Precedence.FLASH, 161)
    found.erased([(1, 3, 100), (2, 3, 100)])
    found.check(1, 7, Precedence.ROUTINE, 200)


def test_what_another_node_accepted_counts_by_its_number() -> None:
    found = fullness(messages=10)

    found.check(1, 11, Precedence.ROUTINE, 1)
    with pytest.raises(QueueFullError):
        found.check(1, 12, Precedence.ROUTINE, 1)


def test_a_channel_that_is_full_for_long_is_counted_anew() -> None:
    found = fullness(messages=5)
    for late, wanted in ((0, set()), (3_600_001, {1})):
        found.clock = Mock(return_value=NOW_MS + late)

        with pytest.raises(QueueFullError):
            found.check(1, 7, Precedence.ROUTINE, 1)
        assert found._wanted == wanted


def test_a_channel_that_cannot_be_full_yet_is_not_counted() -> None:
    found = fullness(messages=100)

    found.check(2, 99, Precedence.ROUTINE, 1)
    assert found._wanted == set()
    found.check(2, 100, Precedence.ROUTINE, 1)
    assert found._wanted == {2}


# --- attachments ------------------------------------------------------------------------


async def test_a_channel_and_a_party_hold_so_many_bytes_of_attachments(relay: Relay) -> None:
    nor, deu = await limited(relay, channel_attachments=1_000, party_attachments=800)
    await upload(nor, bytes(700))

    with pytest.raises(AttachmentsFullError, match="NOR"):
        await upload(nor, bytes(101))
    with pytest.raises(AttachmentsFullError, match="channel"):
        await upload(deu, bytes(301))
    await upload(deu, bytes(300))


async def test_uploads_under_way_count_and_a_device_has_so_many(relay: Relay) -> None:
    nor, deu = await limited(relay, uploads=1, channel_attachments=1_000)
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        begun.set()
        await gate.wait()
        yield bytes(600)

    put = relay.services.blobs.put(
        nor.caller, nor.channel, BlobId(fresh_id()), digest(bytes(600)), slowly(), 600
    )
    running = asyncio.create_task(put)
    await begun.wait()

    with pytest.raises(TooManyUploadsError):
        await upload(nor, b"x")
    with pytest.raises(AttachmentsFullError):
        await upload(deu, bytes(600))
    gate.set()
    await running
    await upload(nor, bytes(400))


async def test_an_attachment_that_is_too_large_or_not_allowed_is_refused_unread(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    nor, _ = await limited(relay, max_blob=1_000)
    read = []

    async def never() -> AsyncIterator[bytes]:
        read.append(1)
        yield b""

    async def put(size: int) -> None:
        blobs = relay.services.blobs
        await blobs.put(nor.caller, nor.channel, BlobId(fresh_id()), digest(b""), never(), size)

    with pytest.raises(BlobTooLargeError):
        await put(1_001)
    monkeypatch.setattr(sending, "attach", lambda *_: deny("channels.x.send", "no"))
    with pytest.raises(PolicyRefusedError):
        await put(1)
    assert read == []
