"""Clients follow the relay's log: what was accepted is proven there, and whatever is not is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from liaison.crypto import kdf
from liaison.model import ChannelId, PartyCode
from liaison.policy import participation
from liaison.policy.agreement import Agreement
from liaison.policy.lifecycle import Event as Step
from liaison.policy.participation import Statement
from liaison.relay import identity
from liaison.relay.files import DataDir
from liaison.tlog import merkle
from liaison.tlog.disclosure import Disclosure
from liaison.tlog.entries import Entry
from liaison.tlog.proof import TlogProof
from liaison.tlog.text import to_base64
from liaison.trust import log as trusted
from liaison.wire import v1
from liaison.wire.frames import Deliver, ItemKind
from liaison.wire.log import LogAnswer, LogQuery
from liaison_sdk import ChannelState, Client, EventKind, LogStatus, log_asking, log_credentials
from liaison_sdk.channel import Channel
from liaison_sdk.log_asking import Wanted
from liaison_sdk.log_credentials import CredentialUnloggedError
from liaison_sdk.log_following import LogFollower
from liaison_sdk.store import Transaction, channels, gaps, items, pending, stays
from liaison_sdk.store.gaps import GapRecord
from liaison_sdk.store.items import Told
from tests.sdk.support import (
    AGREEMENT,
    CALM,
    POLICY,
    QUICK,
    Stage,
    endpoint,
    next_message,
    tiles_of,
    until,
)
from tests.sdk.test_undecided import refusing
from tests.support import relay as relays
from tests.support import witness as witnesses
from tests.support.ledger import Ledger, digest_of
from tests.support.witness import RunningWitness
from tests.support.world import World

ATTACHE, OFFICER = "nor/defatt-berlin#d1", "deu/lno-j3#d1"
HOUR = 3600
MANY = 1000
BRIEF = replace(QUICK, log_pause=30)
"""Asks only when it is told to, and ends long before a gap has been there for long enough."""


@pytest.fixture
def pair(enrolled: Stage) -> Stage:
    """Two devices under an agreement without witnesses."""
    return enrolled


@dataclass
class Witnessed:
    """Two devices, and a witness of each party that can be put to sleep."""

    stage: Stage
    agreement: Agreement
    nor: RunningWitness
    deu: RunningWitness
    awake: contextlib.AsyncExitStack
    """Closing it puts Germany's witness to sleep."""

    async def enrol(self) -> Stage:
        """Enrol the devices."""
        for name in (ATTACHE, OFFICER):
            await self.stage.enrol(name)
        return self.stage


@pytest.fixture
async def witnessed(tmp_path: Path) -> AsyncIterator[Witnessed]:
    nor, deu = (witnesses.new(f"{code}.example", folder=tmp_path) for code in ("nor", "deu"))
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(witnesses.running(nor))
        awake = await stack.enter_async_context(contextlib.AsyncExitStack())
        await awake.enter_async_context(witnesses.running(deu))
        urls = {nor.name: nor.url, deu.name: deu.url}
        relay = await stack.enter_async_context(relays.running(tmp_path / "relay", witnesses=urls))
        stage = Stage(relay, World(), tmp_path / "devices")
        agreement = await stage.open(nor.in_agreement("NOR"), deu.in_agreement("DEU"))
        for one in (nor, deu):
            one.follow(*(log.key for log in trusted.policy(agreement).logs))
        yield Witnessed(stage, agreement, nor, deu, awake)


async def talk(attache: Client, officer: Client) -> Channel:
    """Have both say something in a channel."""
    channel = await attache.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
    await channel.send("one")
    assert (await next_message(officer)).text == "one"
    await (await officer.channel("duty")).send("two")
    assert (await next_message(attache)).text == "two"
    return channel


async def status(client: Client) -> LogStatus:
    (found,) = await client.log_status()
    return found


async def all_logged(client: Client) -> bool:
    """Whether all that a client knows of is proven to be in the log."""
    known = await status(client)
    history = await client.history()
    return (
        all(message.logged for message in history)
        and all(channel.confirmed for channel in known.channels)
        and not known.unlogged
    )


def lying(client: Client, change: Callable[[LogQuery, LogAnswer], LogAnswer]) -> None:
    """Change what the relay answers a client about its log."""
    api: Any = client._env.api
    asked = api.log

    async def log(agreement: str, query: LogQuery) -> LogAnswer:
        return change(query, await asked(agreement, query))

    api.log = log


# --- an honest relay --------------------------------------------------------------------


async def test_messages_become_logged_for_senders_and_readers(pair: Stage) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        await talk(attache, officer)

        for client in (attache, officer):
            assert await until(client, lambda c=client: all_logged(c))  # type: ignore[misc]
            assert (await status(client)).is_sound
            assert (await client.channel("duty")).confirmed


async def test_who_asks_for_the_logs_is_answered_also_where_the_background_has_just_asked(
    pair: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogFollower, "_is_due", lambda *_: False)
    asked: list[LogQuery] = []

    def note(query: LogQuery, answer: LogAnswer) -> LogAnswer:
        asked.append(query)
        return answer

    async with pair.client(ATTACHE) as client:
        lying(client, note)
        await client.follow_logs()

    assert asked


async def test_accepted_comes_at_once_and_logged_later(pair: Stage) -> None:
    async with pair.client(ATTACHE, replace(QUICK, log_pause=HOUR)) as attache:
        channel = await attache.create_channel(AGREEMENT, POLICY, "alone")

        sent = await channel.send("is anybody there?")

        (message,) = await attache.history()
        assert (str(sent.state), str(message.state), message.logged) == (
            "accepted",
            "accepted",
            False,
        )
        for _ in range(MANY):
            await attache.follow_logs()
            (message,) = await attache.history()
            if message.logged:
                break
        assert message.logged


async def test_whoever_has_sent_a_message_holds_a_proof_that_others_can_check(pair: Stage) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        await talk(attache, officer)
        assert await until(attache, lambda: all_logged(attache))
        own, other = await attache.history()
        policy = trusted.policy(await attache.agreement(AGREEMENT))

        kept = json.loads(await attache.log_proof(own) or b"")

        data = kept["entry"].encode()
        TlogProof.decode(kept["proof"].encode()).verify(merkle.hash_leaf(data), policy)
        said = Entry.decode(data).open(Disclosure.from_json(kept["disclosure"]))
        assert (said["sender"], said["message"]) == (ATTACHE, str(own.id))
        assert await attache.log_proof(other) is None


async def test_what_a_closed_program_has_sent_is_logged_by_the_next_one(pair: Stage) -> None:
    async with pair.client(ATTACHE, replace(QUICK, log_pause=HOUR)) as attache:
        channel = await attache.create_channel(AGREEMENT, POLICY, "alone")
        await channel.send("goodbye")

    async with pair.client(ATTACHE) as attache:
        assert await until(attache, lambda: all_logged(attache))


async def test_whoever_joins_anew_goes_on_in_the_log(pair: Stage) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        channel = await talk(attache, officer)
        await officer.resync(channel.id)
        await channel.update()
        await channel.send("three")
        assert (await next_message(officer)).text == "three"

        for client in (attache, officer):
            assert await until(client, lambda c=client: all_logged(c))  # type: ignore[misc]


async def test_whoever_was_removed_knows_the_log_up_to_there(pair: Stage) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        channel = await talk(attache, officer)
        await channel.remove(endpoint("deu/lno-j3"))
        await channel.send("three")

        async def is_out() -> bool:
            return not (await officer.channel(channel.id)).state.is_open

        assert await until(officer, is_out)
        for client in (attache, officer):
            assert await until(client, lambda c=client: all_logged(c))  # type: ignore[misc]


async def test_whoever_is_added_again_goes_on_where_it_came_back(pair: Stage) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        channel = await talk(attache, officer)
        await channel.remove(endpoint("deu/lno-j3"))
        await channel.send("not for Germany")
        await channel.add(endpoint("deu/lno-j3"))
        await channel.send("three")
        assert (await next_message(officer)).text == "three"

        for client in (attache, officer):
            assert await until(client, lambda c=client: all_logged(c))  # type: ignore[misc]


class Mute:
    """A relay whose log shows a client nothing until it is let."""

    def __init__(self, client: Client) -> None:
        self.speaks = False
        lying(client, self._answer)

    def _answer(self, query: LogQuery, answer: LogAnswer) -> LogAnswer:
        del query
        return answer if self.speaks else LogAnswer(newest=answer.newest)


async def test_what_the_log_had_not_shown_when_a_device_joins_anew_is_still_asked_for(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        log = Mute(officer)
        channel = await talk(attache, officer)
        await officer.resync(channel.id)
        await channel.send("three")
        assert (await next_message(officer)).text == "three"
        (known,) = (await status(officer)).channels
        assert known.unlogged == 3

        log.speaks = True

        assert await until(officer, lambda: all_logged(officer))
        (known,) = (await status(officer)).channels
        assert (known.unlogged, (await status(officer)).is_sound) == (0, True)
        own = next(message for message in await officer.history() if message.outgoing)
        assert await officer.log_proof(own) is not None


async def test_what_the_log_had_not_shown_when_a_device_is_added_again_is_still_asked_for(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        log = Mute(officer)
        channel = await talk(attache, officer)
        for text in ("three", "four"):
            await channel.remove(endpoint("deu/lno-j3"))
            await channel.send("not for Germany")
            await channel.add(endpoint("deu/lno-j3"))
            await channel.send(text)
            assert (await next_message(officer)).text == text

        log.speaks = True

        assert await until(officer, lambda: all_logged(officer))
        assert (await status(officer)).is_sound


async def test_what_the_log_never_shows_of_an_earlier_stay_is_late(pair: Stage) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        Mute(officer)
        channel = await talk(attache, officer)
        await officer.resync(channel.id)
        await officer.follow_logs()
        (known,) = (await status(officer)).channels
        assert (known.unlogged, known.late) == (2, 0)
    later = replace(QUICK, clock=lambda: time.time() + HOUR)
    async with pair.client(OFFICER, later) as officer:
        Mute(officer)

        async def late() -> bool:
            return [message.late for message in await officer.history()] == [True, True]

        assert await until(officer, late)
        assert not (await status(officer)).is_sound


async def test_what_the_log_never_shows_of_an_earlier_stay_is_asked_for_less_and_not_forgotten(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        Mute(officer)
        channel = await talk(attache, officer)
        await channel.update()
        await officer.sync()
        await officer.resync(channel.id)
        known = await officer._env.read(lambda tx: stays.load(tx, channel.id))
        assert known is not None
        start = known.start
        assert await until(attache, lambda: all_logged(attache))
        asking = await wanted(officer)
        assert [(past.channel, past.last) for past in asking.past] == [(channel.id, start - 1)]

    def showing(query: LogQuery, answer: LogAnswer) -> LogAnswer:
        del query
        shown = [one for one in answer.entries if (Entry.decode(one.data).seq or start) >= start]
        return answer.model_copy(update={"entries": shown})

    later = replace(BRIEF, clock=lambda: time.time() + HOUR)
    async with pair.client(OFFICER, later) as officer:
        api: Any = officer._env.api
        honest = api.log
        Mute(officer)
        await officer.follow_logs()
        asking = await wanted(officer)
        # What lacks of this stay is asked for as before.
        assert ([one[0] for one in asking.channels], asking.past) == ([channel.id], ())

        api.log = honest
        lying(officer, showing)
        await officer.follow_logs()
        assert not await wanted(officer)
        assert await officer._env.read(lambda tx: items.told(tx, channel.id, start - 1)) is not None

        api.log = honest
        await officer.follow_logs()

        assert await officer._env.read(lambda tx: items.told(tx, channel.id, start - 1)) is None
        assert await all_logged(officer)


async def wanted(client: Client) -> Wanted:
    """Return what a client wants its log to show."""
    env = client._env

    def look(tx: Transaction) -> Wanted:
        (agreement,) = log_asking.agreements(env, tx)
        return log_asking.wanted(env, tx, agreement)

    return await env.read(look)


# --- witnesses --------------------------------------------------------------------------


async def test_with_witnesses_what_is_logged_is_cosigned_by_both_parties(
    witnessed: Witnessed,
) -> None:
    stage = await witnessed.enrol()
    async with stage.client(ATTACHE) as attache, stage.client(OFFICER) as officer:
        await talk(attache, officer)

        for client in (attache, officer):
            assert await until(client, lambda c=client: all_logged(c))  # type: ignore[misc]
            assert (await status(client)).witnesses == ("deu.example", "nor.example")


async def test_below_quorum_messages_flow_unlogged_and_are_logged_when_it_is_back(
    witnessed: Witnessed,
) -> None:
    stage = await witnessed.enrol()
    async with stage.client(ATTACHE) as attache, stage.client(OFFICER) as officer:
        channel = await talk(attache, officer)
        for client in (attache, officer):
            assert await until(client, lambda c=client: all_logged(c))  # type: ignore[misc]
        await witnessed.awake.aclose()
        await channel.send("three")

        assert (await next_message(officer)).text == "three"
        await attache.follow_logs()
        assert not (await attache.history())[-1].logged

        async with witnesses.running(witnessed.deu):
            for client in (attache, officer):
                assert await until(client, lambda c=client: all_logged(c), 30)  # type: ignore[misc]


async def test_a_message_that_is_not_logged_in_time_is_reported(witnessed: Witnessed) -> None:
    await witnessed.awake.aclose()
    stage = await witnessed.enrol()
    async with stage.client(ATTACHE) as attache:
        channel = await attache.create_channel(AGREEMENT, POLICY, "alone")
        await channel.send("is anybody there?")
    later = replace(QUICK, clock=lambda: time.time() + HOUR)
    async with stage.client(ATTACHE, later) as attache:

        async def late() -> bool:
            return (await attache.history())[0].late

        assert await until(attache, late)
        known = await status(attache)
        assert [one.late for one in known.channels] == [1]
        assert not known.is_sound


async def test_in_its_grace_a_log_without_witnesses_lets_members_in(witnessed: Witnessed) -> None:
    await witnessed.awake.aclose()
    stage = await witnessed.enrol()
    async with stage.client(ATTACHE) as attache, stage.client(OFFICER) as officer:
        await talk(attache, officer)

        devices = {one.device: one.missing for one in (await status(attache)).unlogged}
        assert devices == {ATTACHE: False, OFFICER: False}


async def test_after_its_grace_nothing_is_encrypted_for_whom_the_log_does_not_show(
    witnessed: Witnessed,
) -> None:
    await witnessed.awake.aclose()
    stage = await witnessed.enrol()
    async with stage.client(ATTACHE) as attache, stage.client(OFFICER) as officer:
        await talk(attache, officer)
    grace = witnessed.agreement.log.grace
    later = replace(QUICK, clock=lambda: time.time() + grace + HOUR)
    async with stage.client(ATTACHE, later) as attache:
        channel = await attache.channel("duty")
        await channel.send("three", wait=False)

        assert await until(attache, lambda: is_blocked(attache))
        assert [str(m.state) for m in await attache.outbox()] == ["queued"]


async def test_a_relay_that_goes_on_showing_an_old_checkpoint_is_told_of(
    witnessed: Witnessed,
) -> None:
    stage, agreement = await witnessed.enrol(), witnessed.agreement
    history = await second_log(stage, agreement)
    signers = {one.name: one.key.signer for one in (witnessed.nor, witnessed.deu)}
    history.witnesses, history.cosigners = tuple(signers), signers
    async with stage.client(ATTACHE, CALM) as attache:
        lying(attache, lambda query, _: history.answer(query))
        api: Any = attache._env.api
        api.log_tile = tiles_of(history)
        (fresh,) = await attache.follow_logs()

        assert (fresh.is_sound, fresh.old) == (True, "")
    later = replace(CALM, clock=lambda: time.time() + agreement.log.grace + HOUR)
    async with stage.client(ATTACHE, later) as attache:
        told: list[str] = []
        attache._env.listeners.add(lambda e: told.append(e.text))
        lying(attache, lambda query, _: history.answer(query))
        for _ in range(2):
            (old,) = await attache.follow_logs()

        assert (old.is_sound, old.size, old.alarms) == (False, fresh.size, ())
        assert "no checkpoint that a witness has cosigned" in old.old
        assert len([text for text in told if old.old in text]) == 1

        # To who has left, what there was until then is all that is shown.
        env, now = attache._env, int(time.time())
        word = Statement.first(agreement, PartyCode("NOR"), now=now)
        word = word.after(Step.WITHDRAW, reason="", now=now, max_age=agreement.status.max_age)
        said = participation.sign(word, stage.world.party("NOR").authority_key)
        was = await env.read(lambda tx: log_asking.has_left(env, tx, agreement))
        await env.write(lambda tx: env.trust.keep_statement(tx, AGREEMENT, said))
        (left,) = await attache.log_status()

        assert not was
        assert (left.is_sound, left.old) == (True, "")

        history.now = int(time.time()) + agreement.log.grace + HOUR
        assert (await attache.follow_logs())[0].is_sound


# --- certificates -----------------------------------------------------------------------


async def is_blocked(client: Client) -> bool:
    return any(isinstance(e, CredentialUnloggedError) for e in client._env.blocked.values())


@dataclass
class Hiding:
    """A relay that has no entry for any certificate, as long as it hides."""

    hides: bool = True

    def __call__(self, query: LogQuery, answer: LogAnswer) -> LogAnswer:
        if not self.hides or not query.credentials:
            return answer
        shown = [one for one in answer.entries if b'"seq"' in one.data]
        return answer.model_copy(update={"entries": shown, "missing": query.credentials})


async def test_nothing_is_encrypted_for_a_device_whose_certificate_is_not_in_the_log(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE) as attache:
        relay = Hiding()
        lying(attache, relay)
        channel = await attache.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        await channel.send("one", wait=False)

        assert await until(attache, lambda: is_blocked(attache))
        assert [str(m.state) for m in await attache.outbox()] == ["queued"]
        missing = {one.device for one in (await status(attache)).unlogged if one.missing}
        assert missing == {ATTACHE, OFFICER}

        relay.hides = False

        async def gone() -> bool:
            return not await attache.outbox()

        assert await until(attache, gone)


async def test_what_a_device_says_whose_certificate_is_not_in_the_log_is_withheld_until_it_is(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        relay = Hiding()
        lying(officer, relay)
        channel = await attache.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        await channel.send("one")

        withheld = await next_message(officer)
        assert (str(withheld.state), withheld.reason_code, withheld.text) == (
            "withheld",
            "log.credential_unlogged",
            "",
        )

        relay.hides = False
        shown = await next_message(officer)
        assert (str(shown.state), shown.text) == ("received", "one")


# --- split views ------------------------------------------------------------------------


async def second_log(stage: Stage, agreement: Agreement) -> Ledger:
    """Return a second history, which a dishonest relay signs as the first one."""
    keys = await asyncio.to_thread(identity.load, DataDir(stage.relay.data))
    made = Ledger(agreement, int(time.time()), signer=keys.log)
    for number in range(40):
        made.certificate(digest_of(f"made up {number}"))
    return made


@pytest.mark.parametrize(("shown", "code"), [(None, "log.fork"), (3, "log.shrunk")])
async def test_a_second_history_of_the_log_is_noticed_by_both(
    pair: Stage, shown: int | None, code: str
) -> None:
    async with (
        pair.client(ATTACHE, alarms=True) as attache,
        pair.client(OFFICER, alarms=True) as officer,
    ):
        await talk(attache, officer)
        second = await second_log(pair, await attache.agreement(AGREEMENT))
        second.shown = shown
        for client in (attache, officer):
            assert await until(client, lambda c=client: all_logged(c))  # type: ignore[misc]
            before = await status(client)
            told: list[str] = []
            client._env.listeners.add(lambda e, to=told: to.append(e.kind))  # type: ignore[misc]

            lying(client, lambda query, _: second.answer(query))
            (known,) = await client.follow_logs()

            (alarm,) = known.alarms
            assert (alarm.code, known.is_sound, known.size) == (code, False, before.size)
            assert EventKind.ALARM in told
            evidence = json.loads(alarm.evidence)
            assert evidence["known"].split("\n")[1] == str(before.size)
            assert evidence["answered"]["checkpoint"] == second.answer(LogQuery()).checkpoint


async def test_two_histories_can_not_both_have_the_witnesses_of_both_parties(
    witnessed: Witnessed,
) -> None:
    stage, agreement = await witnessed.enrol(), witnessed.agreement
    async with stage.client(ATTACHE) as attache, stage.client(OFFICER) as officer:
        for client, witness in ((attache, witnessed.nor), (officer, witnessed.deu)):
            # What the other party's witness was shown first it does not contradict.
            history = await second_log(stage, agreement)
            history.witnesses = (witness.name,)
            history.cosigners = {witness.name: witness.key.signer}
            lying(client, lambda query, _, h=history: h.answer(query))  # type: ignore[misc]
        await talk(attache, officer)

        for client in (attache, officer):
            (known,) = await client.follow_logs()
            assert (known.size, known.is_sound) == (0, False)
            assert "lacks the cosignature" in known.problem or "no quorum" in known.problem
            assert not any(message.logged for message in await client.history())


async def codes(client: Client) -> set[str]:
    return {alarm.code for alarm in (await status(client)).alarms}


async def test_whoever_is_told_that_its_commit_was_first_finds_another_one_in_the_log(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        channel = await talk(attache, officer)
    async with (
        pair.client(ATTACHE) as attache,
        pair.client(OFFICER, receive=False, alarms=True) as officer,
    ):
        await attache.update(channel.id)
        place = await attache._env.read(lambda tx: items.highest(tx, channel.id))

        async def both(channel: ChannelId, body: v1.Commit) -> v1.Sequenced:
            del channel
            digest = kdf.sha256(body.commit)
            return v1.Sequenced(seq=place, epoch=2, digest=digest, time_ms=int(time.time() * 1000))

        api: Any = officer._env.api
        api.commit = both
        await officer.update(channel.id)

        async def noticed() -> bool:
            return await codes(officer) == {"log.channel_fork"}

        assert await until(officer, noticed)
        assert not (await officer.channel(channel.id)).confirmed
        assert await until(attache, lambda: all_logged(attache))


class Shadow:
    """A relay that logs of one client's items what it wants.

    Args:
        ledger: the log that it shows.
        client: whose items it logs as they come.
        commits: the places of commits that came as Welcomes, and the epochs that they ended.
        instead: places of which it logs something else.
    """

    def __init__(
        self, ledger: Ledger, client: Client, commits: dict[int, int], instead: set[int]
    ) -> None:
        self._ledger, self._client = ledger, client
        self._commits, self._instead = commits, instead
        self._done: set[bytes | int] = set()
        self.added: Callable[[], tuple[str, ...] | None] = lambda: (
            str(client._env.account.device),
        )
        self.false: dict[int, dict[str, Any]] = {}
        """Fields that it makes up, by the item's place."""
        self.told: dict[int, Told] = {}
        """What the items say of themselves."""
        api: Any = client._env.api
        api.log, api.log_tile = self.log, tiles_of(ledger)

    async def log(self, agreement: str, query: LogQuery) -> LogAnswer:
        """Answer, after logging what is new."""
        del agreement
        names = await self._client._env.read(self._names)
        for digest in query.credentials:
            if digest not in self._done:
                self._done.add(digest)
                self._ledger.certificate(digest, device=names[digest])
        for channel, seq, digest, told in await self._client._env.read(self._items):
            if seq not in self._done:
                self._done.add(seq)
                self._add(channel, seq, digest, told)
        return self._ledger.answer(query)

    def _names(self, tx: Transaction) -> dict[bytes, str]:
        env, found = self._client._env, channels.load_all(tx)
        groups = [log_credentials.of_group(env, tx, one) for one in found if one.state.is_open]
        return {digest: name for group in groups for digest, name in group.items()}

    def _items(self, tx: Transaction) -> list[tuple[ChannelId, int, bytes, Told | None]]:
        rows = tx.all("SELECT channel, seq, digest FROM items ORDER BY seq")
        return [
            (ChannelId(channel), seq, digest, items.told(tx, ChannelId(channel), seq))
            for channel, seq, digest in rows
        ]

    def _add(self, channel: ChannelId, seq: int, digest: bytes, told: Told | None) -> None:
        fields = dict(self.false.get(seq, {}))
        if seq in self._instead:
            fields["digest"] = to_base64(digest_of("another"))
        if told is not None:
            self.told[seq] = told
            self._ledger.told(channel, seq, told, **fields)
        elif seq in self._commits:
            self._ledger.commit(channel, seq, self._commits[seq], digest, added=self.added())
        else:
            self._ledger.item(channel, seq, 1, digest, **fields)


async def test_whoever_was_given_another_commit_than_the_log_has_finds_out(pair: Stage) -> None:
    async with pair.client(ATTACHE, alarms=True) as attache, pair.client(OFFICER) as officer:
        ledger = await second_log(pair, await attache.agreement(AGREEMENT))
        Shadow(ledger, attache, {1: 0, 4: 1}, {4})
        channel = await talk(attache, officer)
        assert await until(attache, lambda: all_logged(attache))
        await channel.update()

        async def noticed() -> bool:
            return await codes(attache) == {"log.channel_fork"}

        assert await until(attache, noticed)
        assert not (await attache.channel("duty")).confirmed


async def test_whoever_was_given_another_message_than_the_log_has_finds_out(pair: Stage) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER, alarms=True) as officer:
        ledger = await second_log(pair, await attache.agreement(AGREEMENT))
        Shadow(ledger, officer, {1: 0}, {2})
        await talk(attache, officer)

        async def noticed() -> bool:
            return await codes(officer) == {"log.channel_fork"}

        assert await until(officer, noticed)


@pytest.mark.parametrize(
    ("place", "field", "value"),
    [
        (2, "label", "liaison/UNCLASSIFIED"),
        (3, "sender", "deu/lno-j3#d2"),
        (4, "removed", ()),
    ],
)
async def test_what_the_log_makes_up_about_an_item_is_noticed(
    pair: Stage, place: int, field: str, value: Any
) -> None:
    async with pair.client(ATTACHE, alarms=True) as attache, pair.client(OFFICER) as officer:
        ledger = await second_log(pair, await attache.agreement(AGREEMENT))
        relay = Shadow(ledger, attache, {}, set())
        relay.false[place] = {field: value}
        channel = await talk(attache, officer)
        await channel.remove(endpoint("deu/lno-j3"))

        async def noticed() -> bool:
            logged = {message.text: message.logged for message in await attache.history()}
            return (
                await codes(attache) == {"log.false_entry"}
                and logged == {"one": place != 2, "two": place != 3}
                and (await attache.channel("duty")).confirmed is (place != 4)
            )

        assert await until(attache, noticed)
        (alarm,) = (await status(attache)).alarms
        assert f"item {place} of the channel another {field} " in alarm.text
        evidence = json.loads(alarm.evidence)
        (shown,) = evidence["answered"]["entries"]
        assert ledger.rows[shown["index"]][0].seq == place
        assert evidence["given"]["told"]["fields"][field] != value
        own = (await attache.history())[0]
        assert (await attache.log_proof(own) is None) is (place == 2)


def hiding(query: LogQuery, answer: LogAnswer) -> LogAnswer:
    """Leave an item out of the log."""
    del query
    shown = [one for one in answer.entries if b'"seq":2,' not in one.data]
    return answer.model_copy(update={"entries": shown})


def stopping(query: LogQuery, answer: LogAnswer) -> LogAnswer:
    """Show nothing from the item on that is left out."""
    del query
    shown = [one for one in answer.entries if b'"seq":' not in one.data or b'"seq":1,' in one.data]
    return answer.model_copy(update={"entries": shown, "more": False})


async def test_an_entry_that_is_kept_back_is_noticed(pair: Stage) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER, alarms=True) as officer:
        lying(officer, hiding)
        await talk(attache, officer)

        async def noticed() -> bool:
            return await codes(officer) == {"log.channel_gap"}

        assert await until(officer, noticed, 20)


async def asked(
    stage: Stage, change: Callable[[LogQuery, LogAnswer], LogAnswer], ahead: int
) -> set[str]:
    """Have the officer's device ask the log once, as a command does; return the alarms that it has."""
    options = replace(BRIEF, clock=lambda: time.time() + ahead)
    async with stage.client(OFFICER, options, alarms=True) as officer:
        lying(officer, change)
        await officer.sync()
        await officer.follow_logs()
        return await codes(officer)


async def gap(client: Client, channel: ChannelId) -> GapRecord | None:
    """Return what a client has noted that the log leaves out."""
    return await client._env.read(lambda tx: gaps.load(tx, channel))


@pytest.mark.parametrize("between", [[], [hiding, stopping, stopping]])
async def test_an_entry_that_is_kept_back_is_noticed_also_by_programs_that_end_at_once(
    pair: Stage, between: list[Callable[[LogQuery, LogAnswer], LogAnswer]]
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER, BRIEF) as officer:
        lying(officer, hiding)
        channel = await talk(attache, officer)
        assert await until(attache, lambda: all_logged(attache))
        await officer.follow_logs()
        assert await gap(officer, channel.id) is not None

    for number, change in enumerate(between):
        assert await asked(pair, change, number) == set()

    assert await asked(pair, hiding, HOUR) == {"log.channel_gap"}


async def test_a_relay_that_delivers_something_before_each_answer_does_not_put_the_alarms_off(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER, BRIEF) as officer:
        channel = await talk(attache, officer)
        withholding(officer)
        await channel.send("three")
        assert await until(attache, lambda: all_logged(attache))
        await officer.follow_logs()
        assert len(await waiting(officer, channel.id)) == 1
        await channel.update()
        await channel.send("four")
        assert await until(attache, lambda: all_logged(attache))
        lying(officer, hiding_next(await followed_by(officer, channel.id)))
        await officer.follow_logs()
        assert await gap(officer, channel.id) is not None
        left_out = await followed_by(officer, channel.id)

    options = replace(BRIEF, clock=lambda: time.time() + HOUR)
    async with pair.client(OFFICER, options, alarms=True) as officer:
        connection: Any = officer._parts.connection
        hide = hiding_next(left_out)

        def busy(query: LogQuery, answer: LogAnswer) -> LogAnswer:
            connection.caught_up = False
            return hide(query, answer)

        withholding(officer)
        lying(officer, busy)
        await officer.sync()
        await officer.follow_logs()

        assert await codes(officer) == {"log.channel_gap", "log.item_withheld"}


async def followed_by(client: Client, channel: ChannelId) -> int:
    """Return the place of a channel that its log has to show next."""
    known = await client._env.read(lambda tx: stays.load(tx, channel))
    assert known is not None
    return known.next_seq


def hiding_next(seq: int) -> Callable[[LogQuery, LogAnswer], LogAnswer]:
    """Leave the item at a place out of the log."""

    def change(query: LogQuery, answer: LogAnswer) -> LogAnswer:
        del query
        shown = [one for one in answer.entries if Entry.decode(one.data).seq != seq]
        return answer.model_copy(update={"entries": shown})

    return change


async def test_an_invitation_that_no_program_has_taken_yet_is_no_gap_however_long_it_waits(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        channel = await talk(attache, officer)
        for client in (attache, officer):
            assert await until(client, lambda c=client: all_logged(c))  # type: ignore[misc]
    async with pair.client(ATTACHE) as attache:
        channel = await attache.channel("duty")
        await channel.remove(endpoint("deu/lno-j3"))
        await channel.send("not for Germany")
        await channel.add(endpoint("deu/lno-j3"))
        assert await until(attache, lambda: all_logged(attache))
    for ahead in (0, HOUR):
        options = replace(BRIEF, clock=lambda s=ahead: time.time() + s)  # type: ignore[misc]  # a default argument binds the loop's value
        async with pair.client(OFFICER, options, receive=False) as officer:
            await officer.follow_logs()
            assert await gap(officer, channel.id) is not None

    async with pair.client(OFFICER, replace(BRIEF, clock=lambda: time.time() + HOUR)) as officer:
        await officer.sync()
        await officer.follow_logs()

        assert await gap(officer, channel.id) is None
        assert await codes(officer) == set()


@pytest.mark.parametrize("left_out", [0, 1])
async def test_an_invitation_that_can_not_be_used_is_no_gap_but_what_is_left_out_elsewhere_is(
    pair: Stage, left_out: int
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        channel = await talk(attache, officer)
        for client in (attache, officer):
            assert await until(client, lambda c=client: all_logged(c))  # type: ignore[misc]
        place = await followed_by(officer, channel.id)
    async with pair.client(ATTACHE) as attache:
        channel = await attache.channel("duty")
        if left_out:
            await channel.send("still for Germany")
            await channel.send("this as well")
        await channel.remove(endpoint("deu/lno-j3"))
        await channel.send("not for Germany")
        await channel.add(endpoint("deu/lno-j3"))
        assert await until(attache, lambda: all_logged(attache))
    hide = hiding_next(place if left_out else 0)
    async with pair.client(OFFICER, BRIEF, receive=False) as officer:
        lying(officer, hide)
        await officer.follow_logs()
        assert await gap(officer, channel.id) is not None
        await officer._env.write(lambda tx: tx.execute("DELETE FROM key_packages"))

    options = replace(BRIEF, clock=lambda: time.time() + HOUR)
    async with pair.client(OFFICER, options, alarms=True) as officer:
        lying(officer, hide)
        # It can't join anew for a while.
        refusing(officer, 429, "rate.exceeded")
        await officer.sync()
        await officer.follow_logs()

        assert (await officer.channel("duty")).state is ChannelState.STALE
        assert await codes(officer) == ({"log.channel_gap"} if left_out else set())


async def test_an_item_that_is_logged_and_never_delivered_is_noticed(pair: Stage) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        await talk(attache, officer)
        for client in (attache, officer):
            assert await until(client, lambda c=client: all_logged(c))  # type: ignore[misc]
        withholding(officer)
        await (await attache.channel("duty")).send("three")

        async def waits() -> bool:
            room = (await officer.channel("duty")).id
            return bool(await officer._env.read(lambda tx: pending.load_all(tx, room)))

        assert await until(attache, lambda: all_logged(attache))
        await officer.follow_logs()
        assert await waits()
    later = replace(QUICK, clock=lambda: time.time() + HOUR)
    async with pair.client(OFFICER, later, alarms=True) as officer:
        withholding(officer)

        async def noticed() -> bool:
            return await codes(officer) == {"log.item_withheld"}

        assert await until(officer, noticed)
        (alarm,) = (await status(officer)).alarms
        assert "sender" in json.loads(alarm.evidence)["values"]


async def test_what_is_on_its_way_while_the_clock_is_put_on_is_no_alarm(pair: Stage) -> None:
    ahead = 0
    options = replace(BRIEF, clock=lambda: time.time() + ahead)
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER, options) as officer:
        channel = await talk(attache, officer)
        await officer.sync()
        withholding(officer)
        await channel.send("three")
        assert await until(attache, lambda: all_logged(attache))
        await officer.follow_logs()
        assert len(await waiting(officer, channel.id)) == 1

        ahead = HOUR
        await officer.follow_logs()

        assert await codes(officer) == set()


@pytest.mark.parametrize("way", ["anew", "added again"])
async def test_an_item_that_was_never_delivered_is_noticed_also_after_a_new_stay_began(
    pair: Stage, way: str
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        channel = await talk(attache, officer)
        for client in (attache, officer):
            assert await until(client, lambda c=client: all_logged(c))  # type: ignore[misc]
        withholding(officer)
        await channel.send("three")
        withheld = await attache._env.read(lambda tx: items.highest(tx, channel.id))
        assert await until(attache, lambda: all_logged(attache))
        await officer.follow_logs()
        assert await waiting(officer, channel.id) == [withheld]

        if way == "anew":
            await officer.resync(channel.id)
        else:
            await channel.remove(endpoint("deu/lno-j3"))
            await channel.send("not for Germany")
            assert await until(attache, lambda: all_logged(attache))
            await officer.follow_logs()
            await channel.add(endpoint("deu/lno-j3"))

            async def is_back() -> bool:
                known = await officer._env.read(lambda tx: stays.load(tx, channel.id))
                return known is not None and known.start > withheld + 1

            assert await until(officer, is_back)

        assert await waiting(officer, channel.id) == [withheld]
    later = replace(QUICK, clock=lambda: time.time() + HOUR)
    async with pair.client(OFFICER, later, alarms=True) as officer:
        withholding(officer)

        async def noticed() -> bool:
            return await codes(officer) == {"log.item_withheld"}

        assert await until(officer, noticed)
        (alarm,) = (await status(officer)).alarms
        assert alarm.text.startswith(f"item {withheld} of the channel")


async def test_an_item_of_an_earlier_stay_that_comes_after_all_is_compared_and_no_alarm(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        channel = await talk(attache, officer)
        assert await until(officer, lambda: all_logged(officer))
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER, receive=False) as officer:
        await (await attache.channel("duty")).send("three")
        assert await until(attache, lambda: all_logged(attache))
        await officer.follow_logs()
        await officer.resync(channel.id)
        assert len(await waiting(officer, channel.id)) == 1
    async with pair.client(OFFICER) as officer:

        async def none_waits() -> bool:
            return await waiting(officer, channel.id) == []

        assert (await next_message(officer)).text == "three"
        assert await until(officer, none_waits)
        assert await until(officer, lambda: all_logged(officer))


async def waiting(client: Client, channel: ChannelId) -> list[int]:
    """Return the places that the log has shown, and that were not delivered."""
    found = await client._env.read(lambda tx: pending.load_all(tx, channel))
    return [place.seq for place in found]


async def test_whoever_was_given_another_message_before_it_joined_anew_finds_out(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER, alarms=True) as officer:
        ledger = await second_log(pair, await attache.agreement(AGREEMENT))
        Shadow(ledger, officer, {1: 0}, {2})
        log = Mute(officer)
        channel = await talk(attache, officer)
        await officer.resync(channel.id)

        log.speaks = True

        async def noticed() -> bool:
            return await codes(officer) == {"log.channel_fork"}

        assert await until(officer, noticed)
        logged = {message.text: message.logged for message in await officer.history()}
        assert logged == {"one": False, "two": True}


@pytest.mark.parametrize("added", [None, (), ("deu/somebody-else#d1",)])
async def test_whoever_was_let_in_by_another_commit_than_the_log_has_finds_out(
    pair: Stage, added: tuple[str, ...] | None
) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER, alarms=True) as officer:
        ledger = await second_log(pair, await attache.agreement(AGREEMENT))
        Shadow(ledger, officer, {1: 0}, set()).added = lambda: added
        await talk(attache, officer)

        async def noticed() -> bool:
            return await codes(officer) == {"log.channel_fork"}

        assert await until(officer, noticed)
        assert not (await officer.channel("duty")).confirmed


def withholding(client: Client) -> None:
    """Have a client's relay deliver no messages any more."""
    delivering(client, lambda item: None if item.kind is ItemKind.MESSAGE else item)


def erasing(client: Client, kind: ItemKind) -> None:
    """Have a client's relay say that it has items of a kind no more."""

    def gone(item: Deliver) -> Deliver:
        return replace(item, kind=ItemKind.GAP, payload=b"") if item.kind is kind else item

    delivering(client, gone)


def delivering(client: Client, change: Callable[[Deliver], Deliver | None]) -> None:
    """Change what a client's relay delivers."""
    connection: Any = client._parts.connection
    take = connection._take

    async def some(delivered: list[Deliver]) -> None:
        found = [change(item) for item in delivered]
        await take([item for item in found if item is not None])

    connection._take = some


@pytest.mark.parametrize("is_open", [True, False])
async def test_a_message_that_the_relay_says_is_gone_is_told(pair: Stage, *, is_open: bool) -> None:
    def closed(query: LogQuery, answer: LogAnswer) -> LogAnswer:
        del query
        shown = [
            one.model_copy(update={"disclosure": None}) if b'"accepted"' in one.data else one
            for one in answer.entries
        ]
        return answer.model_copy(update={"entries": shown})

    async with pair.client(ATTACHE) as attache, pair.client(OFFICER) as officer:
        channel = await talk(attache, officer)
        assert await until(officer, lambda: all_logged(officer))
        if not is_open:
            lying(officer, closed)
        sender = ATTACHE if is_open else "somebody whom the log does not show"
        told: list[str] = []
        officer._env.listeners.add(lambda e: told.append(e.text))
        erasing(officer, ItemKind.MESSAGE)
        await channel.send("three")

        async def noticed() -> bool:
            return any(f"which {sender} sent" in text for text in told)

        assert await until(officer, noticed)


async def test_a_commit_that_the_relay_says_is_gone_is_an_alarm(pair: Stage) -> None:
    async with pair.client(ATTACHE) as attache, pair.client(OFFICER, alarms=True) as officer:
        channel = await talk(attache, officer)
        assert await until(officer, lambda: all_logged(officer))
        erasing(officer, ItemKind.COMMIT)
        await channel.update()

        async def noticed() -> bool:
            return await codes(officer) == {"log.channel_fork"}

        assert await until(officer, noticed)


async def test_an_epoch_that_the_log_never_confirms_is_told(pair: Stage) -> None:
    def silent(query: LogQuery, answer: LogAnswer) -> LogAnswer:
        del query
        shown = [one for one in answer.entries if b'"seq":' not in one.data]
        return answer.model_copy(update={"entries": shown})

    async with pair.client(ATTACHE, CALM) as attache:
        lying(attache, silent)
        await attache.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        (known,) = await attache.follow_logs()

        assert [(one.confirmed, one.overdue) for one in known.channels] == [(False, False)]
    later = replace(CALM, clock=lambda: time.time() + HOUR)
    async with pair.client(ATTACHE, later) as attache:
        (known,) = await attache.log_status()

        assert [(one.confirmed, one.overdue) for one in known.channels] == [(False, True)]
        assert not known.is_sound


async def test_an_own_message_that_is_given_anothers_place_is_not_taken_for_logged(
    pair: Stage,
) -> None:
    async with pair.client(ATTACHE, CALM) as attache:
        channel = await attache.create_channel(AGREEMENT, POLICY, "alone")
        await channel.send("one")
        await channel.send("two")
        await attache._env.write(
            lambda tx: tx.execute("UPDATE messages SET seq = (SELECT min(seq) FROM messages)")
        )
        for _ in range(MANY):
            await attache.follow_logs()
            one, two = await attache.history()
            if one.logged:
                break

        assert (one.logged, two.logged) == (True, False)
