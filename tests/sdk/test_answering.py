"""Acknowledgements given while the relay is away: kept, in order, once; and told where they end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from liaison.policy.agreement import Agreement
from liaison.policy.who import Pattern
from liaison_sdk import Answer, Client, Event, EventKind, Message, MessageState
from liaison_sdk.errors import MessageRefusedError
from liaison_sdk.message import ReceiptView
from liaison_sdk.store import Transaction, answers, outbox
from tests.sdk.life import Life
from tests.sdk.support import Stage, endpoint, next_message, until

ATTACHE = "nor/defatt-berlin#d1"
OFFICER = "deu/lno-j3#d1"


async def _received(stage: Stage) -> Message:
    """Return what the officer has read before the connection went."""
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        await (await nor.channel("duty")).send("Acknowledge.")
        return await next_message(deu)


async def _own(client: Client, message: Message) -> list[tuple[Answer | None, MessageState]]:
    found = await client.message(str(message.id))
    return [(r.answer, r.state) for r in found.receipts if r.sender == client.device]


async def _taken(client: Client) -> list[ReceiptView]:
    """Return the receipts of a sender's only message, once there are some."""

    async def come() -> bool:
        return any(one.receipts for one in await client.history())

    await until(client, come)
    return [receipt for one in await client.history() for receipt in one.receipts]


async def test_an_answer_given_without_the_relay_leaves_once_when_it_is_back(pair: Stage) -> None:
    read = await _received(pair)
    async with pair.client(OFFICER, offline=True) as deu:
        message = await deu.message(str(read.id))
        first = await message.acknowledge("will-comply", "on it", wait=False)
        again = await message.acknowledge("will-comply", "on it", wait=False)

        assert first == again
        assert (first.state, first.answer) == (MessageState.QUEUED, Answer.WILL_COMPLY)
        assert await deu.queued() == [first]
        assert await _own(deu, message) == [(Answer.WILL_COMPLY, MessageState.QUEUED)]
    async with pair.client(OFFICER) as deu, pair.client(ATTACHE) as nor:
        ruled = await asyncio.wait_for(deu.ruling(first), 10)
        receipts = await _taken(nor)
        sent = await deu._env.read(lambda tx: tx.all("SELECT state FROM answers"))

        assert ruled.state is MessageState.ACCEPTED
        assert [(str(r.sender), r.answer, r.note) for r in receipts] == [
            (OFFICER, Answer.WILL_COMPLY, "on it")
        ]
        assert await deu.queued() == []
        assert await _own(deu, message) == [(Answer.WILL_COMPLY, MessageState.ACCEPTED)]
        assert sent == [("accepted",)]


async def test_answers_leave_in_the_order_in_which_they_were_given(pair: Stage) -> None:
    read = await _received(pair)
    given = ["roger", "have-complied", "roger"]
    async with pair.client(OFFICER, offline=True) as deu:
        message = await deu.message(str(read.id))
        for answer in given:
            await message.acknowledge(answer, wait=False)

        assert [str(one.answer) for one in await deu.queued()] == given
    heard: list[Event] = []
    async with pair.client(ATTACHE) as nor, pair.client(OFFICER) as deu:
        nor._env.listeners.add(heard.append)
        await deu.sync(10)
        await until(nor, lambda: _heard(heard, 3))

        assert [r.answer for r in await _taken(nor)] == [Answer.ROGER]
        # Of what was said one after another the last counts.
        assert await _own(deu, message) == [(Answer.ROGER, MessageState.ACCEPTED)]


async def _heard(events: list[Event], count: int) -> bool:
    return sum(event.kind is EventKind.RECEIPT for event in events) == count


async def test_an_answer_into_a_channel_that_one_was_removed_from_meanwhile_is_refused_and_told(
    pair: Stage,
) -> None:
    read = await _received(pair)
    async with pair.client(OFFICER, offline=True) as deu:
        message = await deu.message(str(read.id))
        queued = await message.acknowledge(wait=False)
    async with pair.client(ATTACHE) as nor:
        await (await nor.channel("duty")).remove(endpoint("deu/lno-j3"))
    heard: list[Event] = []
    async with pair.client(OFFICER) as deu:
        deu._env.listeners.add(heard.append)
        with pytest.raises(MessageRefusedError) as refused:
            await asyncio.wait_for(deu.ruling(queued), 10)
        await until(deu, lambda: _told(heard))

        told = [event.text for event in heard if event.kind is EventKind.REFUSED]
        (receipt,) = (await deu.message(str(read.id))).receipts
        assert refused.value.remote_code == "channel.closed"
        assert told == [f"the answer to {read.id} was refused: {receipt.reason}"]
        assert (receipt.state, receipt.reason_code) == (MessageState.REFUSED, "channel.closed")
        assert await deu.queued() == []


async def _told(events: list[Event]) -> bool:
    return any(event.kind is EventKind.REFUSED for event in events)


def _answers_are_norways(text: Agreement) -> Agreement:
    policies = (replace(one, acknowledge=(Pattern.parse("NOR"),)) for one in text.channels)
    return replace(text, channels=tuple(policies))


async def test_an_answer_that_a_later_version_forbids_is_refused_by_its_rule(life: Life) -> None:
    stage = life.stage
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        name = await life.gather(nor, deu)
        (read,) = await deu.history()
    async with stage.client(OFFICER, offline=True) as deu:
        queued = await (await deu.message(str(read.id))).acknowledge(wait=False)
    await life.amend(_answers_are_norways)
    async with stage.client(OFFICER) as deu:
        life.tell(deu)
        with pytest.raises(MessageRefusedError, match="send receipts") as refused:
            await asyncio.wait_for(deu.ruling(queued), 10)

        assert refused.value.remote_code == "policy.refused"
        assert (await deu.channel(name)).agreement_version == 2
        assert await _own(deu, read) == [(Answer.ROGER, MessageState.REFUSED)]


async def test_who_waits_for_an_answer_goes_on_when_another_has_given_up(pair: Stage) -> None:
    read = await _received(pair)
    async with pair.client(OFFICER, offline=True) as deu:
        env = deu._env
        queued = await (await deu.message(str(read.id))).acknowledge(wait=False)
        impatient = asyncio.ensure_future(deu.ruling(queued))
        while queued.number not in env.rulings:  # noqa: ASYNC110 - nothing tells of who begins to wait
            await asyncio.sleep(0)
        patient = asyncio.ensure_future(deu.ruling(queued))
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient

        def take(tx: Transaction) -> None:
            outbox.delete(tx, queued.number)
            answers.rule(tx, queued.number, MessageState.ACCEPTED)
            env.ruled(tx, queued.number)

        await env.write(take)

        assert (await asyncio.wait_for(patient, 10)).state is MessageState.ACCEPTED


async def test_what_was_answered_lies_open_nowhere(pair: Stage) -> None:
    read = await _received(pair)
    async with pair.client(OFFICER, offline=True) as deu:
        await (await deu.message(str(read.id))).acknowledge(note="canary", wait=False)
        files = await asyncio.to_thread(
            lambda: [p.read_bytes() for p in pair.homes[OFFICER].iterdir() if p.is_file()]
        )

        assert not any(b"canary" in content for content in files)
