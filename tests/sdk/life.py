"""What parties agree, say and decide about each other, brought to clients in a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from liaison.model import PartyCode
from liaison.policy import exclusion, participation, signing
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Event
from liaison.policy.participation import Statement
from liaison.policy.who import Pattern
from liaison.wire.problems import RemoteError
from liaison_sdk import Client, refreshing
from tests.sdk.support import POLICY, Stage, endpoint, next_message

MULTI = "nor-deu-swe"
PARTIES = ("NOR", "DEU", "SWE")
ATTACHE = "nor/defatt-berlin#d1"
OFFICER = "deu/lno-j3#d1"
DESK = "swe/duty-desk#d1"
EVERYONE = (ATTACHE, OFFICER, DESK)
_MANY = 5000


def code(text: str) -> PartyCode:
    return PartyCode.parse(text)


class Life:
    """One agreement between three parties, and what becomes of it.

    Clients that `tell` was called for are served the documents that are here.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.world = stage.world
        self.versions: list[Agreement] = []
        self.said: dict[str, Statement] = {}
        self.documents: list[bytes] = []

    async def open(
        self,
        kind: AgreementKind = AgreementKind.MULTILATERAL,
        change: Callable[[Agreement], Agreement] = lambda text: text,
    ) -> None:
        """Admit the third party and the first version."""
        await self.stage.relay.admit_party(self.world.party("SWE").document)
        signed = self.world.agreement(
            *PARTIES, relay=self.stage.relay.identity, agreement_id=MULTI, kind=kind
        )
        text = change(signing.verify(signed))
        self.versions.append(text)
        await self.stage.relay.admit_agreement(self.sign(text))

    def sign(self, text: Agreement) -> bytes:
        """Have every party of a version sign it."""
        first, *others = (self.world.party(c.code).authority_key for c in text.codes)
        envelope = signing.sign(text, first)
        for key in others:
            envelope = signing.add_signature(envelope, key)
        return envelope

    def following(self, change: Callable[[Agreement], Agreement]) -> Agreement:
        """Return the next version."""
        last = self.versions[-1]
        return replace(change(last), version=last.version + 1, previous=last.digest())

    async def amend(self, change: Callable[[Agreement], Agreement]) -> Agreement:
        """Bring the next version into force."""
        text = self.following(change)
        self.versions.append(text)
        await self.stage.relay.admit_agreement(self.sign(text))
        return text

    async def whisper(self, client: Client, change: Callable[[Agreement], Agreement]) -> Agreement:
        """Let one client know the next version, and the relay not."""
        text = self.following(change)
        env, signed = client._env, self.sign(text)
        await env.write(lambda tx: env.trust._keep(tx, text, signed))
        return text

    def say(
        self, party: str, event: Event, *, at: int | None = None, agreement: str = MULTI
    ) -> bytes:
        """Have a party's authority sign its next statement; returns it unpublished."""
        now = self.world.now if at is None else at
        text = next(v for v in reversed(self.versions) if v.agreement_id == agreement)
        before = self.said.get(party) or Statement.first(text, code(party), now=now - 1)
        said = before.after(event, reason="", now=now, max_age=text.status.max_age)
        self.said[party] = said
        return participation.sign(said, self.world.party(party).authority_key)

    def exclude(self, party: str, *signers: str, at: int | None = None) -> bytes:
        """Have some of the others exclude a party."""
        said = Exclusion(MULTI, code(party), "by decision of the others", at or self.world.now)
        first, *others = (self.world.party(c).authority_key for c in signers)
        envelope = exclusion.sign(said, first)
        for key in others:
            envelope = exclusion.add_signature(envelope, key)
        return envelope

    def publish(self, *documents: bytes) -> None:
        """Let whoever asks be served these documents."""
        self.documents.extend(documents)

    async def gather(self, *clients: Client) -> str:
        """Tell these clients what is published, and have them meet."""
        self.tell(*clients)
        return await meet(*clients)

    def tell(self, *clients: Client) -> None:
        """Serve these clients what is published."""
        for client in clients:
            _serve(client, lambda: list(self.documents))


async def learn(client: Client) -> None:
    """Have a client ask for all that the parties have signed."""
    await refreshing.refresh(client._env, MULTI)


def _serve(client: Client, documents: Callable[[], list[bytes]]) -> None:
    async def statements(agreement: str) -> list[bytes]:
        return documents() if agreement == MULTI else []

    api: Any = client._env.api
    api.statements = statements


def without_swedish_readers(text: Agreement) -> Agreement:
    """Return an agreement in which Sweden may be in no channel."""
    people = (Pattern.parse("NOR"), Pattern.parse("DEU"))
    policies = tuple(replace(policy, read=people) for policy in text.channels)
    return replace(text, channels=policies)


def as_it_was(text: Agreement) -> Agreement:
    """Return an agreement that gives the same rights."""
    return replace(text, title="The same, with another title")


async def meet(*clients: Client) -> str:
    """Have all of the clients in one channel, each of which has read something there."""
    first, *others = clients
    wanted = [endpoint(str(client.device.endpoint)) for client in others]
    channel = await first.create_channel(MULTI, POLICY, "duty", wanted)
    await channel.send("hello")
    for client in others:
        assert (await next_message(client)).text == "hello"
    return str(channel.id)


async def declare(life: Life, party: str, event: Event) -> None:
    """Have a party's office tell the relay."""
    async with life.stage.registrar(party) as registrar:
        before = life.said.get(party)
        for _ in range(_MANY):
            try:
                return await registrar.declare(MULTI, life.say(party, event, at=int(time.time())))
            except RemoteError as e:
                # In the second in which its device was removed a party can't resume yet.
                if e.remote_code != "statement.outdated" or before is None:
                    raise
                life.said[party] = before
    raise AssertionError("the second never ended")


async def agree(life: Life, text: Agreement) -> None:
    """Have every party sign the next version at its own desk, one after another."""
    for number, code in enumerate(map(str, text.codes)):
        async with life.stage.registrar(code) as registrar:
            key = life.world.party(code).authority_key
            if number == 0:
                envelope = signing.sign(text, key)
            else:
                envelope = signing.add_signature(await registrar.proposal(text.digest()), key)
            status = await registrar.propose_agreement(envelope)
    assert status.active
    life.versions.append(text)


async def members(client: Client, name: str) -> set[str]:
    """Return the devices in a channel, as a client sees it."""
    return {str(m.device) for m in await (await client.channel(name)).members()}
