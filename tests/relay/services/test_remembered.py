"""Where channels end is remembered between groups of messages, and true for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.errors import LiaisonError
from liaison.relay.services.accepting import Appends
from liaison.relay.services.append import read
from liaison.relay.services.entries import channel as entries
from liaison.relay.services.errors import MessageIdConflictError, RemovalPendingError
from liaison.relay.services.facts import FactFinder
from liaison.relay.work import Work
from liaison.storage import channels
from liaison.storage.savepoint import Savepoint
from liaison.storage.sqlite_direct import DirectConnection
from liaison.tlog.errors import EntryError
from liaison.wire import frames
from tests.relay.services.harness import Actor


async def _known(*actors: Actor) -> None:
    """Let the relay remember all that messages of these are judged by."""
    for _ in range(2):
        for actor in actors:
            await _accept(actor)


async def _accept(actor: Actor) -> frames.Accepted:
    return await actor.relay.services.messages.accept(actor.caller, actor.message())


async def _apply(work: Work, *actors: Actor) -> Sequence[frames.Accepted | LiaisonError]:
    together = actors[0].relay.services.messages.appends
    return await together.apply_all(
        work, [read(actor.caller, actor.message(), together) for actor in actors]
    )


def _committed(work: Work) -> None:
    for callback in work.callbacks:
        callback()


async def _pend(tx: AsyncConnection, actor: Actor) -> None:
    row = await channels.find(tx, actor.channel.value)
    assert row is not None
    await channels.change(tx, row.key, removals_pending=1)


async def test_for_a_message_of_whoever_is_known_sqlite_is_asked_nothing(
    migrated: str, nor: Actor, deu: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not migrated.startswith("sqlite"):
        pytest.skip("there it is one statement that writes and compares: test_heads.py")
    await _known(nor, deu)
    asked: list[str] = []
    asking = DirectConnection.ask

    async def told(self: DirectConnection, words: str, *args: Any) -> Any:
        if not self.reads:
            asked.append(words)
        return await asking(self, words, *args)

    monkeypatch.setattr(DirectConnection, "ask", told)
    first = await _accept(nor)
    second = await _accept(deu)

    assert second.seq == first.seq + 1
    assert asked == ["PRAGMA data_version"] * 2


async def test_what_comes_after_messages_in_their_own_transaction_counts(
    nor: Actor, deu: Actor
) -> None:
    """Then their channel's row has the version that is remembered, and says something else."""
    await _known(nor, deu)

    async with nor.relay.database.write() as tx:
        work = Work(tx)
        await _apply(work, nor)
        await _pend(tx, nor)
    _committed(work)

    with pytest.raises(RemovalPendingError):
        await _accept(deu)


async def test_a_number_that_something_else_has_taken_is_given_to_no_message(
    nor: Actor, deu: Actor
) -> None:
    await _known(nor, deu)
    before = await _accept(nor)

    async with nor.relay.database.write() as tx:
        row = await channels.find(tx, nor.channel.value)
        assert row is not None
        await channels.set_heads(tx, {row.key: before.seq + 5})

    assert (await _accept(deu)).seq == before.seq + 6


async def test_messages_that_come_twice_in_a_transaction_leave_the_right_number(
    nor: Actor, deu: Actor
) -> None:
    await _known(nor, deu)

    async with nor.relay.database.write() as tx:
        work = Work(tx)
        answers = [*await _apply(work, nor), *await _apply(work, deu, nor)]
    _committed(work)
    fourth = await _accept(nor)

    seqs = [one.seq for one in answers if isinstance(one, frames.Accepted)]
    assert seqs == [fourth.seq - 3, fourth.seq - 2, fourth.seq - 1]


async def test_of_what_was_undone_nothing_is_remembered(deu: Actor) -> None:
    await _known(deu)
    before = await _accept(deu)

    with suppress(ZeroDivisionError):
        async with deu.relay.database.write() as tx:
            await _apply(Work(tx), deu)
            _ = 1 // 0

    assert (await _accept(deu)).seq == before.seq + 1


async def test_what_is_undone_in_part_of_a_transaction_is_not_written(deu: Actor) -> None:
    await _known(deu)
    before = await _accept(deu)

    async with deu.relay.database.write() as tx:
        part = await Savepoint.begin(tx)
        await _apply(Work(tx), deu)
        await part.rollback()
        part = await Savepoint.begin(tx)
        (answer,) = await _apply(Work(tx), deu)
        await part.commit()

    assert isinstance(answer, frames.Accepted)
    assert answer.seq == before.seq + 1
    assert (await _accept(deu)).seq == before.seq + 2


async def test_a_message_that_the_log_cannot_tell_of_takes_no_number(
    nor: Actor, deu: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _known(nor, deu)
    before = await _accept(nor)
    entry = entries.message

    def none_of_nor(place: Any, sender: Any, *args: Any, **named: Any) -> Any:
        if sender == nor.id:
            raise EntryError("no")
        return entry(place, sender, *args, **named)

    monkeypatch.setattr(entries, "message", none_of_nor)

    results = await asyncio.gather(_accept(nor), _accept(deu), return_exceptions=True)

    assert isinstance(results[0], EntryError)
    assert isinstance(results[1], frames.Accepted)
    assert results[1].seq == before.seq + 1


async def test_what_comes_again_is_answered_as_the_first_time(
    nor: Actor, deu: Actor, reads: list[FactFinder]
) -> None:
    await _known(nor, deu)
    accept = nor.relay.services.messages.accept
    send = nor.message()
    first = await accept(nor.caller, send)

    again = await accept(nor.caller, send)
    # It was found out by what the key forbids, and everything was read.
    assert reads
    others = await asyncio.gather(accept(nor.caller, send), _accept(deu))

    assert (again.seq, again.duplicate) == (first.seq, True)
    assert [(one.seq, one.duplicate) for one in others] == [
        (first.seq, True), (first.seq + 1, False),
    ]  # fmt: skip


async def test_who_is_refused_again_and_again_has_nothing_judged_twice(
    nor: Actor, deu: Actor, reads: list[FactFinder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or one device would make all others' messages cost twice as much."""
    await _known(nor, deu)
    judged: list[object] = []
    one = Appends._one

    def told(self: Appends, facts: Any, op: Any) -> Any:
        judged.append(op)
        return one(self, facts, op)

    monkeypatch.setattr(Appends, "_one", told)

    async def refused() -> None:
        send = deu.message(expires=deu.relay.clock.ms // 1000 + 1)
        deu.relay.clock.ms += 2_000
        with pytest.raises(LiaisonError):
            await deu.relay.services.messages.accept(deu.caller, send)

    await refused()
    assert len(judged) == 2
    reads.clear()

    await refused()
    await _accept(nor)

    assert len(judged) == 4
    assert len(reads) == (0 if nor.relay.database.is_sqlite else 1)


async def test_under_a_name_that_is_taken_nothing_else_is_accepted(nor: Actor, deu: Actor) -> None:
    await _known(nor, deu)
    send = nor.message()
    await nor.relay.services.messages.accept(nor.caller, send)
    other = nor.message()
    at = other.payload.index(other.message_id.value)
    name = send.message_id.value
    forged = frames.Send(
        other.request,
        other.channel,
        send.message_id,
        other.state_version,
        other.payload[:at] + name + other.payload[at + 16 :],
    )

    with pytest.raises(MessageIdConflictError):
        await nor.relay.services.messages.accept(nor.caller, forged)


async def test_what_was_accepted_is_answered_so_whatever_has_changed_since(
    nor: Actor, deu: Actor
) -> None:
    """Who is refused by what is remembered may have sent it before that was so."""
    await _known(nor, deu)
    send = nor.message()
    first = await nor.relay.services.messages.accept(nor.caller, send)
    async with nor.relay.database.write() as tx:
        await _pend(tx, nor)
    for actor in (nor, deu):
        with pytest.raises(RemovalPendingError):
            await _accept(actor)

    again = await nor.relay.services.messages.accept(nor.caller, send)

    assert (again.seq, again.duplicate) == (first.seq, True)
