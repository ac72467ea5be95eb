"""What parties agree, say and decide about each other, brought to clients in a moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from liaison.model import PartyCode
from liaison.policy import exclusion, participation, signing
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Event
from liaison.policy.participation import Statement
from liaison_sdk import Client, refreshing
from tests.sdk.support import Stage

MULTI = "nor-deu-swe"
PARTIES = ("NOR", "DEU", "SWE")


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
