"""PostgreSQL: messages are judged by what is remembered, and written only where that is still so."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.errors import LiaisonError
from liaison.policy.lifecycle import Event
from liaison.relay.services import Services
from liaison.relay.services.errors import (
    AgreementSupersededError,
    DeviceRevokedError,
    EpochStaleError,
    NotMemberError,
    RemovalPendingError,
)
from liaison.relay.services.facts import FactFinder
from liaison.relay.services.heads import Head, Heads
from liaison.storage import agreements, channels, connections, members, postgres_direct
from liaison.storage.engine import Database
from liaison.storage.rehearsal import rehearse
from liaison.storage.tables import certificates
from liaison.wire import frames
from liaison.wire.stream import Delivered
from tests.relay.services.forum import Forum
from tests.relay.services.harness import Actor, Relay, another_node, drain
from tests.support.databases import administer


@pytest.fixture(autouse=True)
def _only_postgresql(migrated: str) -> None:
    if migrated.startswith("sqlite"):
        pytest.skip("there everything is told by a mark: test_remembered.py")


async def _known(*actors: Actor, node: Services | None = None) -> None:
    """Let a node remember all that messages of these are judged by."""
    for _ in range(2):
        for actor in actors:
            await _accept(actor, node)


async def _accept(actor: Actor, node: Services | None = None) -> frames.Accepted:
    return await (node or actor.relay.services).messages.accept(actor.caller, actor.message())


@pytest.fixture
async def second(nor: Actor) -> AsyncIterator[Services]:
    """Another node: its own connections, writer, bus and memory."""
    async for node in another_node(nor.relay):
        yield node


async def test_a_message_of_whoever_is_known_is_one_statement_which_is_the_transaction(
    nor: Actor, deu: Actor, reads: list[FactFinder]
) -> None:
    await _known(nor, deu)
    asked: list[str] = []
    reads.clear()
    async with nor.relay.database.write() as tx:
        driver: Any = _connection(tx).driver_connection
    driver.add_query_logger(lambda one: asked.append(one.query))

    answers = [await _accept(actor) for actor in (nor, deu, nor)]
    # Loggers are called a moment later.
    await asyncio.sleep(0)

    first = answers[0].seq
    assert [one.seq for one in answers] == [first, first + 1, first + 2]
    assert not reads
    assert [one.split()[0] for one in asked if not one.startswith("DISCARD")] == ["WITH"] * 3


def _connection(tx: AsyncConnection) -> Any:
    found = connections.postgres(tx)
    assert found is not None
    return found


async def test_what_is_gone_through_before_the_first_message_is_what_messages_do(
    nor: Actor, deu: Actor, second: Services
) -> None:
    database = second.messages.database
    await nor.read_all()
    await deu.read_all()
    await rehearse(database)
    before = await _prepared(database)

    # The second of them has not read what the first has sent.
    for actor in (nor, nor, deu, deu):
        await _accept(actor, second)
    items = await drain(await deu.feed())
    told = [Delivered(item.channel, item.seq, item.kind) for item in items]
    await second.delivery.acknowledge(deu.caller, told)

    new = await _prepared(database) - before
    # What is read once of an agreement, and of its log, is not among it.
    assert [one for one in new if one.startswith(("WITH", "SELECT ARRAY"))] == []
    assert sum(one.startswith("WITH w0") for one in before) == 6


async def _prepared(database: Database) -> set[str]:
    async with database.write() as tx:
        rows = await _connection(tx).driver_connection.fetch(
            "SELECT statement FROM pg_prepared_statements"
        )
    return {statement for (statement,) in rows}


async def test_what_is_not_planned_anew_finds_rows_by_their_keys_from_the_beginning(
    nor: Actor, deu: Actor
) -> None:
    """When the tables are empty anything is as good, but what is chosen then stays when they are full."""
    found: list[tuple[str, tuple[Any, ...]]] = []
    async with nor.relay.database.write() as tx:
        driver: Any = _connection(tx).driver_connection
    driver.add_query_logger(lambda one: found.append((one.query, one.args)))
    await nor.read_all()
    await deu.read_all()
    for _ in range(3):
        await _accept(nor)
        await deu.read_all()
    await asyncio.sleep(0)

    # Messages of whoever is known, and acknowledgements.
    hot = dict(one for one in found if one[0].startswith("WITH") and "coalesce" in one[0])
    plans = [await driver.fetch(f"EXPLAIN {query}", *hot[query]) for query in hot]

    steps = [line for plan in plans for (line,) in plan if "Scan" in line]
    rest = [one for one in steps if not re.search("(Function|CTE|Bitmap Heap) Scan", one)]
    indexes = [re.search(r"Index (?:Only )?Scan (?:using|on) (\w+)", one) for one in rest]
    assert len(plans) == 2
    # No index is looked through whole.
    assert not [line for plan in plans for (line,) in plan if "DISTINCT FROM" in line]
    assert {one and one[1] for one in indexes} == {
        "pk_agreement_changes", "pk_beyond", "pk_certificates", "pk_channels", "pk_devices",
        "pk_logs", "pk_members", "uq_logs_agreement_generation",
    }  # fmt: skip


async def test_the_first_message_of_an_epoch_locks_nothing(nor: Actor, deu: Actor) -> None:
    await _known(nor)
    await nor.update()
    asked: list[str] = []
    async with nor.relay.database.write() as tx:
        driver: Any = _connection(tx).driver_connection
    driver.add_query_logger(lambda one: asked.append(one.query))

    await _accept(nor)
    # Loggers are called a moment later.
    await asyncio.sleep(0)

    words = [one.split()[0] for one in asked if not one.startswith("DISCARD")]
    assert words == ["SELECT", "SELECT", "WITH"]


# --- what others change -----------------------------------------------------------------

Change = Callable[[AsyncConnection, Actor], Awaitable[object]]


async def _channel(tx: AsyncConnection, actor: Actor) -> channels.ChannelRow:
    row = await channels.find(tx, actor.channel.value)
    assert row is not None
    return row


async def _revoke(tx: AsyncConnection, actor: Actor) -> None:
    which = certificates.c.key == actor.caller.certificate
    await tx.execute(update(certificates).where(which).values(revoked_at=1))


async def _pend(tx: AsyncConnection, actor: Actor) -> None:
    await channels.change(tx, (await _channel(tx, actor)).key, removals_pending=1)


async def _leave(tx: AsyncConnection, actor: Actor) -> None:
    row = await _channel(tx, actor)
    stay = await members.find(tx, row.key, actor.caller.key)
    assert stay is not None
    # Without a lock on the channel, which nothing in the relay does.
    await members.leave(tx, row.key, stay.leaf, seq=row.head)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [(_revoke, DeviceRevokedError), (_pend, RemovalPendingError), (_leave, NotMemberError)],
)
async def test_what_another_node_takes_away_is_gone_for_the_very_next_message(
    nor: Actor, deu: Actor, second: Services, change: Change, refusal: type[LiaisonError]
) -> None:
    await _known(nor, deu, node=second)

    async with nor.relay.database.write() as tx:
        await change(tx, deu)

    with pytest.raises(refusal):
        await _accept(deu, second)


async def _lock(tx: AsyncConnection, actor: Actor) -> None:
    await channels.lock(tx, [actor.channel.value])


async def _lock_agreement(tx: AsyncConnection, actor: Actor) -> None:
    assert actor.agreement is not None
    await channels.lock_agreement(tx, actor.agreement.agreement_id)


async def _touch(tx: AsyncConnection, actor: Actor) -> None:
    assert actor.agreement is not None
    await agreements.lock(tx, actor.agreement.agreement_id)
    await agreements.touch(tx, actor.agreement.agreement_id)


@pytest.mark.parametrize("change", [_lock, _lock_agreement, _touch])
async def test_where_another_node_may_have_changed_something_it_is_read_again(
    deu: Actor, second: Services, reads: list[FactFinder], change: Change
) -> None:
    await _known(deu, node=second)
    before = await _accept(deu, second)
    reads.clear()

    async with deu.relay.database.write() as tx:
        await change(tx, deu)
    after = await _accept(deu, second)

    assert after.seq == before.seq + 1
    assert len(reads) == 1


async def test_what_is_no_longer_forbidden_is_accepted(
    nor: Actor, deu: Actor, second: Services
) -> None:
    await _known(deu, node=second)
    async with nor.relay.database.write() as tx:
        await _pend(tx, deu)
    with pytest.raises(RemovalPendingError):
        await _accept(deu, second)

    async with nor.relay.database.write() as tx:
        await channels.change(tx, (await _channel(tx, nor)).key, removals_pending=0)

    assert not (await _accept(deu, second)).duplicate


async def test_who_has_judged_by_what_is_remembered_waits_for_a_change_and_judges_again(
    nor: Actor, deu: Actor, second: Services
) -> None:
    await _known(deu, node=second)

    async with nor.relay.database.write() as tx:
        await channels.lock(tx, [nor.channel.value])
        await _pend(tx, deu)
        sending = asyncio.create_task(_accept(deu, second))
        await _somebody_waits(nor.relay.database)

    with pytest.raises(RemovalPendingError):
        await sending


async def _somebody_waits(database: Database) -> None:
    async with database.read() as tx:
        while not await tx.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            pass


async def test_nodes_that_write_one_channel_in_turns_give_out_each_number_once(
    nor: Actor, deu: Actor, second: Services
) -> None:
    await _known(nor, deu)
    await _known(nor, deu, node=second)
    first = (await _accept(nor)).seq
    nodes = [second, second, None, second, None, None, second, None]

    answers = [await _accept((nor, deu)[turn % 2], node) for turn, node in enumerate(nodes)]

    assert [one.seq for one in answers] == [*range(first + 1, first + 1 + len(nodes))]


async def test_a_suspended_party_sends_nothing_more_through_a_node_that_remembers_it(
    relay: Relay,
) -> None:
    forum = await Forum.open(relay, "NOR", "DEU", "UN-OCHA")
    nor, deu, _ = await forum.meet()
    async for second in another_node(relay):
        await _known(nor, deu, node=second)

        await forum.say("DEU", Event.SUSPEND)

        with pytest.raises(RemovalPendingError):
            await _accept(deu, second)


async def test_under_a_version_that_is_superseded_nothing_more_is_sent_through_such_aanother_node(
    relay: Relay,
) -> None:
    forum = await Forum.open(relay, "NOR", "DEU", "UN-OCHA")
    nor, deu, _ = await forum.meet()
    async for second in another_node(relay):
        await _known(nor, deu, node=second)

        await forum.amend(forum.next(title="amended"))

        with pytest.raises(AgreementSupersededError):
            await _accept(nor, second)


async def test_a_member_that_was_removed_sends_nothing_more_through_such_aanother_node(
    nor: Actor, deu: Actor, second: Services
) -> None:
    await _known(nor, deu, node=second)
    late = deu.message()
    await nor.remove(deu)

    with pytest.raises(NotMemberError):
        await second.messages.accept(deu.caller, late)


async def test_what_was_read_anew_for_one_sender_is_not_taken_for_what_another_was_judged_by(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Otherwise it takes these seconds until anything is remembered again.
    monkeypatch.setattr(postgres_direct, "CROWDED", 0.0)
    forum = await Forum.open(relay, "NOR", "DEU", "UN-OCHA")
    nor, deu, third = await forum.meet()
    async for second in another_node(relay):
        await _known(deu, node=second)
        # Encrypted before the removal: who was removed can read it.
        late = deu.message()
        await nor.remove(third)
        # This sender was not known: the channel is read, as it is now, and where it ends is remembered.
        await _accept(nor, second)

        with pytest.raises(EpochStaleError):
            await second.messages.accept(deu.caller, late)


# --- what this node changes -------------------------------------------------------------


async def test_nothing_is_remembered_beyond_the_connection_that_has_written_it(
    deu: Actor, reads: list[FactFinder]
) -> None:
    """Behind another one may be another server, which has lost what this one wrote last."""
    await _known(deu)
    database = deu.relay.database
    async with database.write() as tx:
        driver: Any = _connection(tx).driver_connection
    ended = asyncio.Event()
    driver.add_termination_listener(lambda _: ended.set())
    url = database.url.render_as_string(hide_password=False).replace("+asyncpg", "")
    statement = f"SELECT pg_terminate_backend({driver.get_server_pid()})"
    await asyncio.to_thread(administer, url, statement)
    await ended.wait()
    reads.clear()

    await _accept(deu)

    assert reads


# --- what is kept -----------------------------------------------------------------------


def test_heads_are_relied_on_under_their_mark_and_for_some_minutes() -> None:
    heads = Heads()
    mark = ("a", 1)
    heads.move(mark, {1: Head(7, 99, 1_000)})

    assert heads.recall(mark, [1], 1_000) == {1: Head(7, 99, 1_000)}
    assert heads.recall(mark, [1], 601_000) is None
    assert heads.recall(mark, [1], 999) is None
    assert heads.recall(mark, [1, 2], 1_000) is None
    assert heads.recall(("a", 2), [1], 1_000) is None
    assert heads.recall(None, [1], 1_000) is None
    heads.move(None, {})
    assert heads.recall(mark, [1], 1_000) is None
