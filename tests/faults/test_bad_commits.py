"""A member's commit that the relay can't tell from a good one, and that members can't follow."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from liaison.crypto.secret import random_bytes
from liaison.mls import commit as making
from liaison.mls import key_schedule, tree_kem
from liaison.model import ChannelId, EndpointId
from liaison.policy.errors import PolicyRefusedError
from liaison.relay import log
from liaison_sdk import ChannelState, Client, MessageState, judgement
from liaison_sdk.environment import first_of
from tests.sdk.support import AGREEMENT, POLICY, Stage, endpoint, until
from tests.support.camp import ATTACHE, OFFICER, Camp
from tests.support.duty import SEED
from tests.support.tally import Tally
from tests.support.traffic import PATIENCE, PATIENT

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]

DESK = "deu/duty-desk#d1"
MALLORY = "nor/duty-desk#d1"
EVERYONE = (ATTACHE, OFFICER, DESK, MALLORY)
ROOM = "room"


def with_a_wrong_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next commit lead to an epoch that its maker has made up."""
    left = [True]

    def joiner_secret(suite: Any, *values: bytes) -> bytes:
        if left and left.pop():
            return random_bytes(suite.nh)
        return key_schedule.joiner_secret(suite, *values)

    names = {name: getattr(key_schedule, name) for name in dir(key_schedule) if name[:2] != "__"}
    changed = SimpleNamespace(**{**names, "joiner_secret": joiner_secret})
    monkeypatch.setattr(making, "key_schedule", changed)


def with_one_wrong_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next commit hold nonsense for some of those who have to open its path."""
    left = [True]
    rng = random.Random(SEED)
    plain = tree_kem.encrypt_path

    def encrypt_path(*values: Any) -> Any:
        nodes = list(plain(*values))
        if left and left.pop():
            at = rng.choice([n for n, node in enumerate(nodes) if node.secrets])
            secrets = list(nodes[at].secrets)
            which = rng.randrange(len(secrets))
            nonsense = bytes(len(secrets[which].ciphertext))
            secrets[which] = replace(secrets[which], ciphertext=nonsense)
            nodes[at] = replace(nodes[at], secrets=tuple(secrets))
        return tuple(nodes)

    monkeypatch.setattr(tree_kem, "encrypt_path", encrypt_path)


@contextlib.asynccontextmanager
async def everyone(stage: Stage) -> AsyncIterator[list[Client]]:
    for name in (DESK, MALLORY):
        await stage.enrol(name)
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(stage.client(name, PATIENT)) for name in EVERYONE
        ]
        others: list[EndpointId] = [endpoint(name.partition("#")[0]) for name in EVERYONE[1:]]
        await clients[0].create_channel(AGREEMENT, POLICY, ROOM, others)
        await together(clients, 0)
        yield clients


async def together(clients: Sequence[Client], after: int) -> None:
    """Wait until everybody is in the same epoch of the room, a later one than `after`."""
    async with asyncio.timeout(PATIENCE):
        while True:
            changes = [one._env.changes.next() for one in clients]
            found = [c for one in clients for c in await one.channels() if c.name == ROOM]
            if len(found) == len(clients) and all(c.state is ChannelState.ACTIVE for c in found):
                epochs = {c.epoch for c in found}
                if len(epochs) == 1 and epochs.pop() > after:
                    return
            await first_of(*changes)


async def say(clients: Sequence[Client], what: str) -> set[str]:
    """Let everybody say something; return who has to be shown what."""
    texts = [f"{what} {number}" for number in range(len(clients))]
    for client, text in zip(clients, texts, strict=True):
        await (await client.channel(ROOM)).send(text)
    names = EVERYONE[: len(clients)]
    return {
        f"{name}: {text}"
        for author, text in zip(names, texts, strict=True)
        for name in names
        if name != author
    }


async def shown_to(clients: Sequence[Client], wanted: set[str]) -> Counter[str]:
    """Return who was shown what, once that is all or some time has passed."""
    shown: Counter[str] = Counter()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while True:
                changes = [one._env.changes.next() for one in clients]
                shown.clear()
                for name, client in zip(EVERYONE, clients, strict=False):
                    read = [m for m in await client.history() if m.state is MessageState.RECEIVED]
                    shown.update(f"{name}: {m.text}" for m in read)
                if wanted <= set(shown):
                    break
                await first_of(*changes)
    return shown


@pytest.mark.parametrize("badly", [with_a_wrong_tag, with_one_wrong_secret])
async def test_a_commit_that_members_cannot_follow_stops_no_channel_and_is_reported(
    camp: Camp,
    tally: Tally,
    monkeypatch: pytest.MonkeyPatch,
    badly: Callable[[pytest.MonkeyPatch], None],
) -> None:
    heard: list[str] = []
    lines = io.StringIO()
    async with camp.stage() as stage, everyone(stage) as clients:
        log.configure("warning", lines)
        for client in clients:
            client._env.listeners.add(lambda event: heard.append(event.text))
        wanted = await say(clients, "before")
        await shown_to(clients, wanted)
        badly(monkeypatch)
        *_, mallory = clients
        await (await mallory.channel(ROOM)).update()
        epoch = (await mallory.channel(ROOM)).epoch
        await together(clients, epoch)
        wanted |= await say(clients, "after")
        shown = await shown_to(clients, wanted)
        tally.count(wanted, shown, strange=set(shown) - wanted)
    words = f"could not follow a commit of {MALLORY} in epoch {epoch - 1}"
    assert any(words in text for text in heard)
    logged = [json.loads(line) for line in lines.getvalue().splitlines()]
    reports = [line for line in logged if line["event"] == "commit_rejected"]
    # One of them for each who came back.
    assert {line["device"] for line in reports} == {MALLORY}
    assert DESK in {line["principal"] for line in reports}


async def test_a_channel_whose_rules_were_broken_is_given_up_and_made_anew(
    camp: Camp, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with camp.stage() as stage, everyone(stage) as clients:
        *honest, mallory = clients
        wanted = await say(clients, "before")
        await shown_to(clients, wanted)
        room = (await mallory.channel(ROOM)).id
        with monkeypatch.context() as patched:
            # What the relay lets pass breaks the agreement, as the others read it.
            patched.setattr("liaison_sdk.staging._check_own", lambda *_: None)
            patched.setattr(judgement, "judge_commit", refuse)
            await (await mallory.channel(ROOM)).update()
            for client in honest:
                await until(client, lambda c=client: has_given_up(c, room), PATIENCE)  # type: ignore[misc]  # a default argument binds the loop's value
        others = [endpoint(name.partition("#")[0]) for name in (OFFICER, DESK)]
        await honest[0].create_channel(AGREEMENT, POLICY, ROOM, others)
        for client in honest:
            await until(client, lambda c=client: has_open(c), PATIENCE)  # type: ignore[misc]  # as above
        # By the same name they speak in the new one.
        wanted |= await say(honest, "after")

        shown = await shown_to(clients, wanted)
        tally.count(wanted, shown, strange=set(shown) - wanted)


def refuse(*_: object) -> None:
    raise PolicyRefusedError("nobody may do that", rule="member.remove")


async def has_given_up(client: Client, room: ChannelId) -> bool:
    return (await client.channel(room)).state is ChannelState.REJECTED


async def has_open(client: Client) -> bool:
    found = [c for c in await client.channels() if c.name == ROOM]
    return any(c.state is ChannelState.ACTIVE for c in found)
