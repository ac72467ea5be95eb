"""A relay without its rim, and devices that speak real MLS to its services."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SigningKey
from liaison.envelope.header import Header, HeaderLabel, Kind
from liaison.fanout import Bus, LocalBus
from liaison.mls import external, group, welcome
from liaison.mls.commit import StagedCommit
from liaison.mls.credentials import Credential
from liaison.mls.extensions import external_senders_extension, required_capabilities_extension
from liaison.mls.group import Group
from liaison.mls.key_package import KeyPackage
from liaison.mls.key_packages import KeyPackageBundle, new_key_package
from liaison.mls.leaf import Capabilities, Lifetime
from liaison.mls.proposals import Add, Proposal, Remove
from liaison.model import ChannelId, DeviceId, MessageId, PartyCode, Precedence
from liaison.policy.agreement import Agreement
from liaison.policy.keys import VerifyKey
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay.recording import Recorder
from liaison.relay.services import Limits, Services
from liaison.relay.services.callers import DeviceCaller, OfficeCaller
from liaison.relay.services.delivery import Feed
from liaison.relay.services.judging import JUDGE, Judge
from liaison.relay.writer import Writer
from liaison.storage.engine import Database
from liaison.trust import CHANNEL_BINDING_EXTENSION, AgreementValidator, ChannelBinding
from liaison.trust.credentials import relay_sender
from liaison.wire import frames, v1
from liaison.wire.handshake import key_fingerprint
from liaison.wire.stream import Delivered
from tests.support.world import ED25519, FAST_SUITE, Device, World

NOW = 1_790_000_000
POLICY = "liaison"
SECONDS = 30
"""That a test waits at most for what has to come."""
_numbers = count(1)


def fresh_id() -> bytes:
    return next(_numbers).to_bytes(16, "big")


@dataclass
class Clock:
    """Unix milliseconds that move when a test says so."""

    ms: int = NOW * 1000

    def __call__(self) -> int:
        return self.ms


class Relay:
    """The services on one database, with a world of parties around them.

    Args:
        database: its.
        limits: what it bounds.
        like: whose database this is a copy of: the same relay and world, at the same time.
    """

    def __init__(
        self, database: Database, limits: Limits | None = None, like: Relay | None = None
    ) -> None:
        self.database = database
        self.clock: Clock = Clock() if like is None else Clock(like.clock.ms)
        self.bus: Bus = LocalBus()
        self.recorder = Recorder("relay.example", self.clock, random_bytes)
        self.writer = Writer(database, recorder=self.recorder)
        self.key: SigningKey = SigningKey.generate(ED25519) if like is None else like.key
        self.identity = RelayIdentity(
            "relay.example", "https://relay.example", (VerifyKey.of(self.key),),
            (VerifyKey.of(self.key),), (VerifyKey.of(self.key),),
        )  # fmt: skip
        self.world: World = World(now=NOW) if like is None else like.world.copy()
        self.services = self.build(limits)

    def build(self, limits: Limits | None = None, judge: Judge = JUDGE) -> Services:
        """Services that know nothing but the database: a relay that was restarted."""
        return Services.build(
            database=self.database,
            writer=self.writer,
            bus=self.bus,
            clock=self.clock,
            identity=self.identity,
            senders={ED25519: self.key},
            limits=limits,
            judge=judge,
        )

    async def admit(self, *codes: str) -> Agreement:
        """Admit parties and an agreement between them."""
        for code in codes:
            await self.services.registry.add_party(self.world.party(code).document)
        envelope = self.world.agreement(*codes, relay=self.identity)
        return await self.services.agreements.admit(envelope)

    async def registrar(self, code: str) -> OfficeCaller:
        """The registrar's session."""
        nation = self.world.party(code)
        fingerprint = key_fingerprint(nation.registrar_key.public_bytes)
        found = await self.services.registry.find_key(nation.registrar, fingerprint)
        assert isinstance(found.caller, OfficeCaller)
        return found.caller

    async def enrol(self, name: str) -> Actor:
        """Enrol a device, as its registrar would."""
        device = self.world.device(name)
        office = await self.registrar(device.device.party.code)
        lookup = fresh_id()
        invitation = v1.Invitation(
            lookup=lookup.hex(), device=name, expires_ms=self.clock.ms + 60_000
        )
        enrolment = self.services.enrolment
        await enrolment.invite(office, invitation)
        await enrolment.request(lookup, b"sealed request")
        chains = [list(chain) for chain in device.chains.values()]
        await enrolment.reply(
            office, lookup, v1.EnrolmentReply(certificates=chains, sealed=b"sealed reply")
        )
        return await self.session(device)

    async def session(self, device: Device) -> Actor:
        """The device's session, as the rim would find it."""
        fingerprint = key_fingerprint(device.key.public_bytes)
        found = await self.services.registry.find_key(device.device, fingerprint)
        assert isinstance(found.caller, DeviceCaller)
        return Actor(self, device, found.caller)

    async def revoke(self, *devices: Device) -> None:
        """Revoke devices of one party."""
        code = devices[0].device.party.code
        office = await self.registrar(code)
        await self.services.revocation.accept(office, self.world.revoke(code, *devices))


@dataclass
class Actor:
    """A device: its session and its side of one group."""

    relay: Relay
    device: Device
    caller: DeviceCaller
    group: Group | None = None
    channel: ChannelId = field(default_factory=lambda: ChannelId(fresh_id()))
    agreement: Agreement | None = None
    state_version: int = 0
    bundles: list[KeyPackageBundle] = field(default_factory=list)

    def on(self, relay: Relay) -> Actor:
        """The same device with the same group, at a copy of its relay."""
        return replace(self, relay=relay, bundles=list(self.bundles))

    @property
    def id(self) -> DeviceId:
        return self.device.device

    @property
    def signer(self) -> SigningKey:
        return self.device.key

    @property
    def credential(self) -> Credential:
        return Credential.x509(self.device.chains[ED25519])

    @property
    def state(self) -> Group:
        assert self.group is not None
        return self.group

    @property
    def validator(self) -> AgreementValidator:
        assert self.agreement is not None
        return AgreementValidator(self.agreement)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities.default((CHANNEL_BINDING_EXTENSION,))

    @property
    def lifetime(self) -> Lifetime:
        return Lifetime(NOW - 3600, NOW + 80 * 24 * 3600)

    # --- key packages and channels ------------------------------------------------------

    def key_package(self, *, last_resort: bool = False) -> KeyPackageBundle:
        """Make a key package and keep its private half."""
        bundle = new_key_package(
            FAST_SUITE,
            self.signer,
            self.credential,
            self.lifetime,
            rng=random_bytes,
            capabilities=self.capabilities,
            last_resort=last_resort,
        )
        self.bundles.append(bundle)
        return bundle

    def new_channel(self, agreement: Agreement, policy: str = POLICY) -> v1.NewChannel:
        """Make the group of a channel."""
        self.agreement = agreement
        binding = ChannelBinding.of(self.channel, agreement, policy)
        sender = relay_sender(self.relay.identity, self.relay.identity.sender_key(ED25519))
        self.group = group.create(
            FAST_SUITE,
            self.channel.value,
            self.signer,
            self.credential,
            lifetime=self.lifetime,
            rng=random_bytes,
            now=NOW,
            validator=self.validator,
            capabilities=self.capabilities,
            extensions=[
                required_capabilities_extension([CHANNEL_BINDING_EXTENSION]),
                external_senders_extension([sender]),
                binding.extension(),
            ],
        )
        return v1.NewChannel(
            channel=str(self.channel),
            group_info=group.group_info(self.group, signer=self.signer),
            tree=self.group.ratchet_tree(),
        )

    async def open(self, agreement: Agreement, *others: Actor) -> None:
        """Open a channel and add others to it."""
        await self.relay.services.channels.create(self.caller, self.new_channel(agreement))
        if others:
            await self.add(*others)

    def stage(self, *by_value: Proposal) -> StagedCommit:
        """Make a commit, without sending it."""
        return group.stage_commit(
            self.state,
            signer=self.signer,
            rng=random_bytes,
            now=NOW,
            validator=self.validator,
            by_value=by_value,
        )

    def body(self, staged: StagedCommit) -> v1.Commit:
        """Make the upload of a commit."""
        self.state_version += 1
        return v1.Commit(
            commit=staged.commit,
            welcome=staged.welcome,
            group_info=staged.group_info,
            state_version=self.state_version,
        )

    async def commit(self, staged: StagedCommit) -> v1.Sequenced:
        """Send a commit, and merge it when it was accepted."""
        answer = await self.relay.services.channels.commit(
            self.caller, self.channel, self.body(staged)
        )
        self.group = staged.group
        return answer

    def adding(self, *others: Actor) -> tuple[Proposal, ...]:
        """Make proposals to add devices, each by a fresh key package."""
        return tuple(Add(KeyPackage.parse(other.key_package().key_package)) for other in others)

    async def add(self, *others: Actor) -> v1.Sequenced:
        """Add devices, who join at once."""
        proposals = self.adding(*others)
        bundles = [other.bundles[-1] for other in others]
        staged = self.stage(*proposals)
        answer = await self.commit(staged)
        for other, bundle in zip(others, bundles, strict=True):
            assert staged.welcome is not None
            other.channel, other.agreement = self.channel, self.agreement
            other.group = welcome.join(
                staged.welcome,
                [bundle],
                ratchet_tree=staged.ratchet_tree,
                now=NOW,
                validator=self.validator,
            )
        return answer

    async def remove(self, *others: Actor) -> v1.Sequenced:
        """Remove devices."""
        leaves = [self.state.leaf_of(o.id.uri.encode()) for o in others]
        return await self.commit(self.stage(*(Remove(leaf) for leaf in leaves if leaf is not None)))

    async def update(self) -> v1.Sequenced:
        """Commit nothing but fresh keys."""
        return await self.commit(self.stage())

    def process(self, message: bytes) -> None:
        """Take a handshake of somebody else's."""
        processed = group.process(self.state, message, now=NOW, validator=self.validator)
        self.group = processed.group

    def resync(self, state: v1.GroupState, report: bytes = b"") -> StagedCommit:
        """Come back by external commit."""
        assert state.group_info is not None
        leaf = external.own_leaf(
            state.group_info, state.tree, self.id.uri.encode(), validator=self.validator, now=NOW
        )
        return external.join(
            state.group_info,
            ratchet_tree=state.tree,
            signer=self.signer,
            credential=self.credential,
            rng=random_bytes,
            now=NOW,
            validator=self.validator,
            replace_leaf=leaf,
            authenticated_data=report,
            capabilities=self.capabilities,
        )

    # --- messages -----------------------------------------------------------------------

    def message(
        self,
        text: bytes = b"hello",
        precedence: Precedence = Precedence.ROUTINE,
        *,
        expires: int | None = None,
        kind: Kind = Kind.TEXT,
    ) -> frames.Send:
        """Encrypt a message."""
        assert self.agreement is not None
        labels = self.agreement.labels
        header = Header(
            message_id=MessageId(fresh_id()),
            kind=kind,
            action=precedence,
            info=precedence,
            dtg=self.relay.clock.ms // 1000,
            label=HeaderLabel(labels.policy, labels.default),
            agreement_id=self.agreement.agreement_id,
            agreement_version=self.agreement.version,
            expires=expires,
        )
        self.group, data = group.encrypt(
            self.state,
            text,
            signer=self.signer,
            rng=random_bytes,
            authenticated_data=header.encode(),
        )
        self.state_version += 1
        return frames.Send(7, self.channel, header.message_id, self.state_version, data)

    async def send(
        self, text: bytes = b"hello", precedence: Precedence = Precedence.ROUTINE
    ) -> frames.Accepted:
        """Encrypt and send."""
        return await self.relay.services.messages.accept(
            self.caller, self.message(text, precedence)
        )

    async def feed(self) -> Feed:
        """Open a delivering connection."""
        return await self.relay.services.delivery.open(self.caller)

    async def acknowledge(self, items: Sequence[frames.Deliver]) -> None:
        """Acknowledge deliveries."""
        await self.relay.services.delivery.acknowledge(
            self.caller, [Delivered(i.channel, i.seq, i.kind) for i in items]
        )

    async def read_all(self) -> list[frames.Deliver]:
        """Open a connection, take everything, acknowledge it."""
        feed = await self.feed()
        items = await drain(feed)
        feed.close()
        await self.acknowledge(items)
        return items

    def decrypts(self, item: frames.Deliver) -> bytes:
        """The plaintext of a delivered message."""
        processed = group.process(self.state, item.payload, now=NOW, validator=self.validator)
        assert isinstance(processed, group.ApplicationReceived)
        self.group = processed.group
        return processed.plaintext


async def news(feed: Feed) -> set[str]:
    """Wait until there may be something new for a reader; return notes for its client.

    Raises:
        TimeoutError: there was nothing new.
    """
    called = asyncio.Event()
    feed.call(called.set)
    try:
        async with asyncio.timeout(SECONDS):
            await called.wait()
    finally:
        feed.call(None)
    # A look for items takes what it was woken for, too, and there may be none here to look for.
    feed._note(feed._subscription.taken())
    return set(feed.notes())


async def another_node(relay: Relay) -> AsyncIterator[Services]:
    """Run another node of a relay: its own connections, writer, bus and memory."""
    database = Database.open(relay.database.url.render_as_string(hide_password=False))
    writer = Writer(database, recorder=Recorder("relay.example", relay.clock, random_bytes))
    await writer.start()
    yield Services.build(
        database=database,
        writer=writer,
        bus=LocalBus(),
        clock=relay.clock,
        identity=relay.identity,
        senders={ED25519: relay.key},
    )
    await writer.stop()
    await database.close()


async def drain(feed: Feed, limit: int = 7) -> list[frames.Deliver]:
    """Take batches until the feed is empty."""
    items: list[frames.Deliver] = []
    while batch := await feed.next(limit):
        items += batch
    return items


def seqs(items: Sequence[frames.Deliver]) -> list[int]:
    return [item.seq for item in items]


def party(code: str) -> PartyCode:
    return PartyCode.parse(code)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
