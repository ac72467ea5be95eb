"""A log that was given up: what its successor begins with, and that the old one stays as it is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from liaison.errors import ConflictError
from liaison.policy.agreement import Agreement
from liaison.policy.log_rules import Predecessor
from liaison.relay.errors import LogRefusedError
from liaison.relay.recording import Draft
from liaison.relay.work import Operation, Work
from liaison.storage import backlog, erasures, logs, logs_reading
from liaison.storage.backlog import ROOM
from liaison.storage.logs import LogRow
from liaison.tlog.entries import PolicyRef
from liaison.tlog.errors import ShrunkError
from liaison.tlog.fields import EntryType
from liaison.tlog.note import Note
from liaison.tlog.sequencer import State
from liaison.tlog.text import from_base64, to_base64
from liaison.trust import log as trusted
from tests.relay.services import logbook
from tests.relay.services.forum import CODES, DAY, ID, Forum, go_on
from tests.relay.services.harness import Actor, Relay

ORIGIN = f"relay.example/log/{ID}"
DAMAGE = ShrunkError("the database has 3 entries of the log and 9 were signed", hint="restore it")


async def newest(relay: Relay) -> LogRow:
    async with relay.database.read() as tx:
        row = await logs.find(tx, ID)
    assert row is not None
    return row


def successor(forum: Forum, row: LogRow, **changes: Any) -> Agreement:
    """The next version, which gives up the log of a row at its end."""
    head = Predecessor(row.origin, row.size, State.decode(row.state).tree.root)
    log = replace(forum.agreement.log, generation=row.generation + 1, predecessor=head)
    return forum.next(log=log, **changes)


async def sign_all(forum: Forum, new: Agreement) -> None:
    for code in CODES:
        status = await forum.propose(code, forum.signed(new, code))
    assert status.active


async def test_a_refused_log_is_given_up_by_all_parties_signatures_and_messages_flow_again(
    forum: Forum, members: tuple[Actor, ...]
) -> None:
    relay, (nor, *_) = forum.relay, members
    old = await newest(relay)
    relay.recorder.refuse(ID, DAMAGE)
    with pytest.raises(LogRefusedError):
        await nor.send()
    new = successor(forum, old)

    await sign_all(forum, new)

    assert ID not in relay.recorder.refused
    await go_on(nor, new)
    row = await newest(relay)
    assert (row.generation, row.origin) == (2, f"{old.origin}/2")
    assert row.origin == trusted.origin(new)
    async with relay.database.read() as tx:
        frozen = await logs.of_generation(tx, ID, 1)
        assert frozen == old
        assert len(await logs_reading.data(tx, old.key, 0, old.size)) == old.size
    told = await logbook.read(relay, ID)
    assert logbook.of_channel(told, row.origin, nor.channel)


async def test_the_successors_first_entry_names_the_old_head_and_the_version(
    forum: Forum, members: tuple[Actor, ...]
) -> None:
    old = await newest(forum.relay)
    forum.relay.recorder.refuse(ID, DAMAGE)
    new = successor(forum, old)

    await sign_all(forum, new)

    told = await logbook.read(forum.relay, ID)
    first = told[0]
    assert (first.type, first.audience) == (EntryType.CHECKPOINT, None)
    assert first.entry.policy == PolicyRef(2, new.digest())
    assert new.log.predecessor is not None
    assert (first["origin"], first["size"]) == (old.origin, old.size)
    assert first["root"] == to_base64(new.log.predecessor.root)
    signatures = [one for one in told if one.said and one.said.get("act") == "signature"]
    assert {one["party"] for one in signatures} == set(CODES)
    known = [one for one in told if one.said and one.said.get("act") == "known"]
    assert {one["subject"] for one in known} == {str(one.device.device) for one in members}
    steps = [one["step"] for one in logbook.of_type(told, EntryType.POLICY)]
    assert steps == ["admitted", "in_force"]


async def test_a_successor_begins_on_its_day_and_the_old_log_takes_what_comes_before(
    forum: Forum,
) -> None:
    old = await newest(forum.relay)
    new = successor(forum, old, valid_from=forum.now + 3600)

    await sign_all(forum, new)
    assert (await newest(forum.relay)).generation == 1
    forum.wait(3601)
    await forum.relay.services.resume()

    row = await newest(forum.relay)
    assert row.generation == 2
    first = (await logbook.read(forum.relay, ID))[0]
    assert first.type is EntryType.CHECKPOINT
    assert first.entry.policy == PolicyRef(2, new.digest())


async def test_a_log_that_is_refused_takes_no_version_that_keeps_it(forum: Forum) -> None:
    forum.relay.recorder.refuse(ID, DAMAGE)

    with pytest.raises(LogRefusedError, match="9 were signed"):
        await forum.propose("NOR", forum.signed(forum.next(title="amended"), "NOR"))


async def test_what_is_said_of_a_log_that_was_given_up_stops_nothing(forum: Forum) -> None:
    recorder = forum.relay.recorder
    recorder.refuse(ID, DAMAGE)
    await sign_all(forum, successor(forum, await newest(forum.relay)))

    recorder.refuse(ID, DAMAGE, 1)
    assert ID not in recorder.refused

    recorder.refuse(ID, DAMAGE, 2)
    assert ID in recorder.refused


async def test_another_node_takes_the_successor_from_the_database(forum: Forum) -> None:
    relay = forum.relay
    other = Relay(relay.database)
    relay.recorder.refuse(ID, DAMAGE)
    await sign_all(forum, successor(forum, await newest(relay)))
    row = await newest(relay)

    other.recorder.refuse(ID, DAMAGE, 1)
    other.recorder.succeeded(ID, row.generation)

    assert ID not in other.recorder.refused


class Undone(Operation[None]):
    """Begins a successor, and fails."""

    async def apply(self, work: Work) -> None:
        """Fail after it."""
        work.succeed(ID, 2)
        work.record(Draft(ID, EntryType.ADMIN, {"act": "undone"}))
        raise ConflictError("undone")


async def test_a_successor_whose_transaction_is_undone_was_never_there(forum: Forum) -> None:
    old = await newest(forum.relay)
    forum.relay.recorder.refuse(ID, DAMAGE)

    with pytest.raises(ConflictError, match="undone"):
        await forum.relay.writer.submit(Undone())

    assert await newest(forum.relay) == old
    assert ID in forum.relay.recorder.refused


async def test_what_is_erased_of_a_log_that_was_given_up_is_told_in_the_next_one_without_its_places(
    forum: Forum, members: tuple[Actor, ...]
) -> None:
    relay, (nor, *_) = forum.relay, members
    await nor.send()
    old = await newest(relay)
    relay.recorder.refuse(ID, DAMAGE)
    await sign_all(forum, successor(forum, old))
    forum.wait((forum.agreement.retention_days + 400) * DAY)
    await relay.services.retention.expire()

    told = await logbook.read(relay, ID)
    erased = [one for one in logbook.of_type(told, EntryType.ERASURE) if one["rule"] == "openings"]
    assert erased
    assert all((one["first"], one["last"]) == (None, None) for one in erased)
    async with relay.database.read() as tx:
        note = await erasures.report(tx, ID, from_base64(erased[0]["digest"]))
    report = json.loads(Note.decode(note or b"").text)
    assert report["origin"] == old.origin
    assert report["first"] is not None


async def test_the_root_log_tells_where_the_log_stands_that_goes_on(forum: Forum) -> None:
    relay = forum.relay
    relay.recorder.refuse(ID, DAMAGE)
    await sign_all(forum, successor(forum, await newest(relay)))

    await relay.services.root_log.keep()

    told = logbook.of_type(await logbook.read(relay, None), EntryType.CHECKPOINT)
    assert {one["origin"] for one in told} == {(await newest(relay)).origin}


async def test_channels_go_on_with_numbers_that_were_never_given_out(
    forum: Forum, members: tuple[Actor, ...]
) -> None:
    relay, (nor, deu, _) = forum.relay, members
    await nor.send()
    await deu.read_all()
    await relay.services.deliveries.tell()
    relay.recorder.refuse(ID, DAMAGE)
    new = successor(forum, await newest(relay))
    await sign_all(forum, new)
    await go_on(nor, new)
    await nor.send()

    seqs = [item.seq for item in await deu.read_all()]
    await relay.services.deliveries.tell()

    assert seqs == [ROOM + 1, ROOM + 2]
    told = logbook.of_channel(await logbook.read(relay, ID), f"{ORIGIN}/2", nor.channel)
    items = [one.entry.seq for one in told if one.entry.seq is not None]
    assert items == seqs
    delivered = logbook.of_type(told, EntryType.DELIVERED)
    ranges = {(one["device"], one["first"], one["last"]) for one in delivered}
    assert ranges == {(str(deu.device.device), ROOM + 1, ROOM + 2)}
    async with relay.database.read() as tx:
        waits = (await backlog.measure(tx, limit=100)).found
    assert waits.longest <= len(seqs) + 1


async def test_a_version_that_was_lost_is_added_by_the_operator_before_the_successors(
    forum: Forum,
) -> None:
    relay = forum.relay
    old = await newest(relay)
    relay.recorder.refuse(ID, DAMAGE)
    lost = forum.next(title="agreed on, and lost")
    # Nobody but the operator can bring it, and nothing is told in the log that is refused.
    with pytest.raises(LogRefusedError):
        await sign_all(forum, lost)
    await relay.services.agreements.admit(forum.signed(lost))
    assert await newest(relay) == old

    forum.agreement = lost
    await sign_all(forum, successor(forum, old))

    row = await newest(relay)
    assert row.generation == 2
    first = (await logbook.read(relay, ID))[0]
    assert first.entry.policy is not None
    assert first.entry.policy.version == 3
