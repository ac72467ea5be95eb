"""What the retention takes from the log, what it leaves, and what stops it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from liaison.errors import MalformedError
from liaison.model import BlobId, Precedence
from liaison.policy.errors import PolicyRefusedError
from liaison.relay.recording import origin_of
from liaison.relay.services import Limits
from liaison.relay.services.errors import UnknownAgreementError, UnknownReportError
from liaison.relay.services.holds import HoldExistsError, NoHoldError
from liaison.relay.services.retention import ERASABLE, Retention, keeps_days
from liaison.tlog.fields import EntryType
from liaison.tlog.note import Note
from liaison.tlog.text import from_base64
from liaison.tlog.vkey import SignatureType, VerifierKey
from tests.relay.services import logbook
from tests.relay.services.forum import ID, Forum
from tests.relay.services.harness import Actor, Relay, digest, fresh_id
from tests.relay.services.logbook import Told, of_type

_DAY_MS = 86_400_000


async def all_of(retention: Retention) -> int:
    """Erase until nothing is left; return how many openings went."""
    openings = 0
    while True:
        done = await retention.expire()
        openings += done.openings
        if not done.more:
            return openings


async def report(relay: Relay, told: Told) -> dict[str, Any]:
    """The signed report of an erasure, checked against the log's key and the entry."""
    named = from_base64(told["digest"])
    office = await relay.registrar("DEU")
    data = await relay.services.log_reading.erasure(office, ID, named)
    with pytest.raises(UnknownReportError):
        await relay.services.log_reading.erasure(office, ID, bytes(32))
    assert hashlib.sha256(data).digest() == named
    note = Note.decode(data)
    note.verify([VerifierKey.of(origin_of("relay.example", ID), SignatureType.ED25519, relay.key)])
    body = json.loads(note.text)
    for name in ("first", "last", "openings", "rule"):
        assert body[name] == told[name]
    assert body["messages"] + body["attachments"] == told["contents"]
    return dict(body)


async def attach(actor: Actor) -> None:
    """Upload an attachment."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"ciphertext"

    blob = BlobId(fresh_id())
    put = actor.relay.services.blobs.put
    await put(actor.caller, actor.channel, blob, digest(b"ciphertext"), chunks())


def age(relay: Relay, forum: Forum) -> None:
    relay.clock.ms += keeps_days(forum.agreement) * _DAY_MS + 1


async def test_openings_go_with_the_agreements_retention_and_the_tree_still_verifies(
    members: tuple[Actor, Actor, Actor], forum: Forum, relay: Relay
) -> None:
    nor, deu, _ = members
    for _ in range(3):
        await nor.send()
    with pytest.raises(PolicyRefusedError):
        await nor.send(precedence=Precedence.OVERRIDE)
    await deu.read_all()
    await relay.services.deliveries.tell()
    before = await logbook.read(relay, ID)
    assert None not in [one.said for one in before]
    age(relay, forum)
    openings = await all_of(relay.services.retention)
    after = await logbook.read(relay, ID)

    kept = after[: len(before)]
    assert [one.entry for one in kept] == [one.entry for one in before]
    erased = [one.index for one in kept if one.said is None]
    assert erased == [one.index for one in before if one.type in ERASABLE]
    assert openings == len(erased)
    told = of_type(after[len(before) :], EntryType.ERASURE)
    assert {one["rule"] for one in told} == {"contents", "openings"}
    (one,) = (one for one in told if one["rule"] == "openings")
    assert (one["first"], one["last"], one["openings"]) == (erased[0], erased[-1], len(erased))
    (contents,) = (one for one in told if one["rule"] == "contents")
    assert contents["contents"] == 3
    assert [(await report(relay, one))["number"] for one in told] == [1, 2]


async def test_what_is_younger_stays_and_goes_in_its_turn(
    members: tuple[Actor, Actor, Actor], forum: Forum, relay: Relay
) -> None:
    nor, _, _ = members
    await nor.send()
    relay.clock.ms += _DAY_MS
    young = await nor.send()
    relay.clock.ms += (keeps_days(forum.agreement) - 1) * _DAY_MS + 1
    await all_of(relay.services.retention)
    first = {int(one.entry.seq or 0): one.said for one in await logbook.read(relay, ID)}
    relay.clock.ms += _DAY_MS
    await all_of(relay.services.retention)
    second = {int(one.entry.seq or 0): one.said for one in await logbook.read(relay, ID)}

    assert first[young.seq] is not None
    assert first[young.seq - 1] is None
    assert second[young.seq] is None


async def test_openings_go_a_bounded_number_at_a_time(
    members: tuple[Actor, Actor, Actor], forum: Forum, relay: Relay
) -> None:
    nor, _, _ = members
    for _ in range(5):
        await nor.send()
    age(relay, forum)
    retention = relay.build(Limits(expire_at_once=2)).retention
    done = await retention.expire()

    assert (done.openings, done.more) == (2, True)
    assert await all_of(retention) == 3


async def test_a_hold_stops_all_erasure_of_its_agreement_and_of_no_other(
    members: tuple[Actor, Actor, Actor], forum: Forum, relay: Relay
) -> None:
    nor, _, _ = members
    other = await relay.admit("NOR", "DEU")
    free, peer = [await relay.enrol(f"{code}/other#d1") for code in ("nor", "deu")]
    await free.open(other, peer)
    await free.send()
    await nor.send()
    await attach(nor)
    await relay.services.holds.set(ID, "case 17")
    age(relay, forum)
    await all_of(relay.services.retention)
    held = of_type(await logbook.read(relay, ID), EntryType.ACCEPTED)
    others = of_type(await logbook.read(relay, "nor-deu-2026"), EntryType.ACCEPTED)
    assert [one.said is None for one in (*held, *others)] == [False, True]
    relay.clock.ms += _DAY_MS
    await relay.services.holds.release(ID)
    done = await relay.services.retention.expire()

    assert (done.messages, done.attachments) == (1, 1)
    told = await logbook.read(relay, ID)
    acts = [one["act"] for one in of_type(told, EntryType.ADMIN)]
    assert acts == ["agreement.admitted", "hold.set", "hold.released"]
    # Why is the operator's business.
    assert "case 17" not in repr(told)
    (row,) = await relay.services.holds.listing()
    assert (row.agreement, row.reason, row.released_at) == (ID, "case 17", relay.clock.ms)


async def test_a_hold_is_set_once_and_released_once(forum: Forum, relay: Relay) -> None:
    holds = relay.services.holds
    for reason in ("", "x" * 1001, "a\0b"):
        with pytest.raises(MalformedError):
            await holds.set(ID, reason)
    with pytest.raises(UnknownAgreementError):
        await holds.set("no-such", "why")
    with pytest.raises(NoHoldError):
        await holds.release(ID)
    await holds.set(ID, "why")
    with pytest.raises(HoldExistsError):
        await holds.set(ID, "again")
    await holds.release(ID)
    await holds.set(ID, "again")

    assert [row.released_at is None for row in await holds.listing()] == [False, True]


async def test_each_period_the_root_log_tells_once_where_every_log_stands(
    forum: Forum, relay: Relay
) -> None:
    nodes = [relay.services.root_log, relay.build().root_log]
    for _ in range(2):
        for node in nodes:
            await node.keep()
            await node.keep()
        relay.clock.ms += 60_000
    told = of_type(await logbook.read(relay, None), EntryType.CHECKPOINT)

    size = len(await logbook.read(relay, ID))
    assert [(one["origin"], one["size"]) for one in told] == [
        (origin_of("relay.example", ID), size)
    ] * 2
    first, second = (one.entry.period for one in told)
    assert (first or 0) + 1 == second
    # The same place, and nobody can tell by looking at it.
    assert told[0]["root"] == told[1]["root"]
    assert told[0].entry.fields != told[1].entry.fields
    assert {one.audience for one in told} == {frozenset()}
