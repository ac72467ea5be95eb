"""Parties around one agreement: their offices, what they state, what they sign."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from liaison.mls import peek
from liaison.mls.proposals import GroupContextExtensions, Proposal, Remove
from liaison.model import PartyCode
from liaison.policy import exclusion, participation, signing, templates
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Event
from liaison.policy.participation import Statement
from liaison.relay.services.callers import OfficeCaller
from liaison.trust import CHANNEL_BINDING_EXTENSION, ChannelBinding
from liaison.wire import v1
from liaison.wire.frames import ItemKind
from liaison.wire.handshake import Office, key_fingerprint
from tests.relay.services.harness import Actor, Relay
from tests.support.world import FAST_SUITE, HOUR

DAY = 24 * HOUR
ID = "forum-2026"
CODES = ("NOR", "DEU", "UN-OCHA")


@dataclass
class Forum:
    """One agreement and its parties."""

    relay: Relay
    agreement: Agreement
    said: dict[str, Statement] = field(default_factory=dict)

    @classmethod
    async def open(cls, relay: Relay, *codes: str, **policy: Any) -> Forum:
        """Admit the parties and their agreement; `policy` changes its channel policy."""
        for code in codes:
            await relay.services.registry.add_party(relay.world.party(code).document)
        forum = cls(relay, draft(relay, *codes, **policy))
        await relay.services.agreements.admit(forum.signed(forum.agreement))
        return forum

    def on(self, relay: Relay) -> Forum:
        """The same at a copy of its relay."""
        return replace(self, relay=relay, said=dict(self.said))

    async def meet(self) -> tuple[Actor, Actor, Actor]:
        """Return a device of each party, all in one channel that NOR's opened."""
        nor = await self.relay.enrol("nor/desk#d1")
        deu = await self.relay.enrol("deu/desk#d1")
        ocha = await self.relay.enrol("un-ocha/desk#d1")
        await nor.open(self.agreement, deu, ocha)
        for one in (nor, deu, ocha):
            await one.read_all()
        return nor, deu, ocha

    @property
    def now(self) -> int:
        """Unix seconds."""
        return self.relay.clock.ms // 1000

    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.relay.clock.ms += seconds * 1000

    async def office(self, code: str, name: str = "authority") -> OfficeCaller:
        """The session of a party's office."""
        nation = self.relay.world.party(code)
        key = nation.authority_key if name == "authority" else nation.registrar_key
        found = await self.relay.services.registry.find_key(
            Office(PartyCode(code), name), key_fingerprint(key.public_bytes)
        )
        assert isinstance(found.caller, OfficeCaller)
        return found.caller

    # --- statements ---------------------------------------------------------------------

    def statement(self, code: str, *events: Event, at: int | None = None) -> bytes:
        """What a party says next, signed."""
        now = self.now if at is None else at
        known = self.said.get(code)
        if known is None:
            known = Statement.first(self.agreement, PartyCode(code), now=now - DAY)
        for event in events:
            known = known.after(event, reason="", now=now, max_age=self.agreement.status.max_age)
        self.said[code] = known
        return participation.sign(known, self.relay.world.party(code).authority_key)

    async def publish(self, code: str, signed: bytes) -> v1.Document:
        """Upload what a party says."""
        service = self.relay.services.participation
        return await service.state(await self.office(code), self.agreement.agreement_id, signed)

    async def say(self, code: str, *events: Event, at: int | None = None) -> bytes:
        """Let a party state something."""
        signed = self.statement(code, *events, at=at)
        await self.publish(code, signed)
        return signed

    def exclusion(
        self, code: str, *signers: str, reason: str = "for cause", at: int | None = None
    ) -> bytes:
        """An exclusion, signed by some."""
        dated = self.now if at is None else at
        word = Exclusion(self.agreement.agreement_id, PartyCode(code), reason, dated)
        parties = [self.relay.world.party(signer) for signer in signers]
        data = exclusion.sign(word, parties[0].authority_key)
        for party in parties[1:]:
            data = exclusion.add_signature(data, party.authority_key)
        return data

    async def exclude(self, by: str, signed: bytes) -> v1.ExclusionStatus:
        """Upload an exclusion."""
        service = self.relay.services.participation
        return await service.exclude(await self.office(by), self.agreement.agreement_id, signed)

    # --- versions -----------------------------------------------------------------------

    def next(self, *codes: str, policy: ChannelPolicy | None = None, **changes: Any) -> Agreement:
        """The next version, between these parties (the same where left out)."""
        before = self.agreement
        parties = tuple(self.relay.world.party(code).party for code in codes) or before.parties
        channels = before.channels
        if codes:
            fresh = draft(self.relay, *codes)
            changes = {"clearances": fresh.clearances, "roles": fresh.roles, **changes}
            channels = fresh.channels
        if policy is not None:
            channels = tuple(policy if one.name == policy.name else one for one in channels)
        made = replace(
            before,
            version=before.version + 1,
            previous=before.digest(),
            parties=parties,
            channels=channels,
            **changes,
        )
        return Agreement.from_payload(made.payload())

    def signed(self, agreement: Agreement, *codes: str) -> bytes:
        """The version in an envelope, signed by some, or by all."""
        names = codes or tuple(map(str, agreement.codes))
        keys = [self.relay.world.party(code).authority_key for code in names]
        data = signing.sign(agreement, keys[0])
        for key in keys[1:]:
            data = signing.add_signature(data, key)
        return data

    async def propose(self, by: str, signed: bytes) -> v1.ProposalStatus:
        """Upload a version."""
        return await self.relay.services.proposals.propose(await self.office(by), signed)

    async def amend(self, agreement: Agreement) -> Agreement:
        """Let all parties sign a version and upload it."""
        status = await self.propose(str(agreement.codes[0]), self.signed(agreement))
        assert status.active
        self.agreement = agreement
        return agreement


def draft(relay: Relay, *codes: str, version_of: str = ID, **policy: Any) -> Agreement:
    """A first version; `policy` changes its channel policy."""
    made = templates.new(
        AgreementKind.MULTILATERAL,
        agreement_id=version_of,
        parties=[relay.world.party(code).party for code in codes],
        relay=relay.identity,
        valid_from=relay.world.now - 2 * DAY,
        valid_until=relay.world.now + 300 * DAY,
        cipher_suite=FAST_SUITE,
    )
    if not policy:
        return made
    channels = tuple(
        replace(one, **policy) if one.name == "liaison" else one for one in made.channels
    )
    return Agreement.from_payload(replace(made, channels=channels).payload())


def amendment(actor: Actor, agreement: Agreement, *gone: Actor) -> tuple[Proposal, ...]:
    """What brings a version into an actor's channel and takes some out of it."""
    binding = ChannelBinding.of(actor.channel, agreement, "liaison").extension()
    kept = [
        binding if one.type == CHANNEL_BINDING_EXTENSION else one
        for one in actor.state.context.extensions
    ]
    leaves = [actor.state.leaf_of(other.id.uri.encode()) for other in gone]
    removes = [Remove(leaf) for leaf in leaves if leaf is not None]
    return (GroupContextExtensions(tuple(kept)), *removes)


async def go_on(actor: Actor, agreement: Agreement, *gone: Actor) -> None:
    """Bring a version into an actor's channel."""
    await actor.commit(actor.stage(*amendment(actor, agreement, *gone)))
    actor.agreement = agreement


async def take_handshakes(actor: Actor) -> list[bytes]:
    """Take the handshakes that wait; return their authenticated data."""
    reasons = []
    for item in await actor.read_all():
        if item.kind in (ItemKind.COMMIT, ItemKind.PROPOSAL):
            reasons.append(peek.parse_header(item.payload).authenticated_data)
            actor.process(item.payload)
    return reasons
