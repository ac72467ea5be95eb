"""A relay and a client in memory, as far as the command line sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from liaison.envelope.header import Kind, MessageRef
from liaison.envelope.release import Part
from liaison.labels import Label, LabelPolicy
from liaison.labels.builtin import TLP
from liaison.model import ChannelId, DeviceId, EndpointId, MessageId, PartyCode, Precedence
from liaison.policy import exclusion, signing
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import LabelRules
from liaison.policy.channel_rules import AnswerTimes
from liaison.policy.dsse import Envelope
from liaison.policy.relay_identity import RelayIdentity
from liaison.policy.requests import allow
from liaison.policy.simulate import Simulation
from liaison.policy.standing import Standing
from liaison.wire import v1
from liaison.wire.problems import Problem, RemoteError
from liaison_sdk import ChannelState, agreements
from liaison_sdk.agreements import AgreementStanding, HistoryEntry
from liaison_sdk.drafts import DraftView, SignatureView
from liaison_sdk.errors import (
    ChannelUnknownError,
    ConnectionLostError,
    MessageRefusedError,
    MessageUnknownError,
    NotADraftError,
)
from liaison_sdk.log_status import LogStatus

ME = DeviceId.parse("nor/defatt-berlin#d1")
PARTNER = DeviceId.parse("deu/lno-j3#d1")
CHANNEL = ChannelId(bytes(range(32, 48)))
MESSAGE = MessageId(bytes(range(16)))


class FakeRelay:
    """Stands in for the class `RelayAPI` and for its one instance."""

    def __init__(self, identity: RelayIdentity) -> None:
        self.identity = identity
        self.expected: dict[str, v1.Enrolment] = {}
        self.replies: list[tuple[str, list[list[bytes]], bytes]] = []
        self.lists: list[bytes] = []
        self.logins: list[Any] = []
        self.failing: str | None = None
        self.closed = 0
        self.versions: list[bytes] = []
        self.proposed: dict[bytes, bytes] = {}
        self.said: list[bytes] = []
        self.waiting: list[bytes] = []

    def to(self, url: str, **options: Any) -> FakeRelay:
        self.logins.append({"url": url, **options})
        return self

    def request(self, lookup: str, sealed: bytes) -> None:
        """Do as a device does that asks to be enrolled."""
        self.expected[lookup] = self.expected[lookup].model_copy(
            update={"state": "requested", "sealed_request": sealed}
        )

    async def session(self) -> v1.Session:
        self._check("session")
        return v1.Session(token="t", expires_ms=1, time_ms=0)

    async def invite(self, lookup: str, device: str, expires_ms: int) -> None:
        self._check("invite")
        self.expected[lookup] = v1.Enrolment(
            lookup=lookup, device=device, state="invited", expires_ms=expires_ms
        )

    async def enrolments(self) -> list[v1.Enrolment]:
        return list(self.expected.values())

    async def reply_enrolment(
        self, lookup: str, chains: Sequence[Sequence[bytes]], sealed: bytes
    ) -> None:
        self._check("reply_enrolment")
        self.replies.append((lookup, [list(c) for c in chains], sealed))
        self.expected[lookup] = self.expected[lookup].model_copy(update={"state": "approved"})

    async def withdraw_enrolment(self, lookup: str) -> None:
        del self.expected[lookup]

    async def publish_revocations(self, envelope: bytes) -> None:
        self._check("publish_revocations")
        self.lists.append(envelope)

    async def revocations(self, party: PartyCode) -> bytes:
        return self.lists[-1]

    async def agreement(self, agreement_id: str, version: int | None = None) -> v1.Document:
        if not self.versions:
            raise RemoteError(Problem("agreement.unknown", 404, f"no agreement {agreement_id}"))
        number = len(self.versions) if version is None else version
        # Admitted one after another, a minute apart.
        at = signing.verify(self.versions[0]).valid_from + 60 * (number - 1)
        return v1.Document(envelope=self.versions[number - 1], accepted_ms=at * 1000)

    async def propose_agreement(self, envelope: bytes) -> v1.ProposalStatus:
        _, text = signing.read(envelope)
        signed = signing.signers(envelope)
        status = _status(text, signed)
        self.proposed[text.digest()] = envelope
        if not status.missing and text.version > 1:
            self.versions.append(self.proposed.pop(text.digest()))
            return status.model_copy(update={"active": True})
        return status

    async def proposals(self) -> list[v1.ProposalStatus]:
        return [_status(signing.read(e)[1], signing.signers(e)) for e in self.proposed.values()]

    async def proposal(self, digest: bytes) -> bytes:
        return self.proposed[digest]

    async def retract_proposal(self, digest: bytes) -> None:
        del self.proposed[digest]

    async def retract_exclusion(self, agreement_id: str, digest: bytes) -> None:
        assert [sha256(Envelope.decode(one).payload).digest() for one in self.waiting] == [digest]
        self.waiting.clear()

    async def statements(self, agreement_id: str) -> list[bytes]:
        return list(self.said)

    async def declare(self, agreement_id: str, envelope: bytes) -> None:
        self._check("declare")
        self.said.append(envelope)

    async def waiting_exclusions(self, agreement_id: str) -> list[bytes]:
        return list(self.waiting)

    async def exclude(self, agreement_id: str, envelope: bytes) -> v1.ExclusionStatus:
        _, text = signing.read(self.versions[-1])
        said, signed = exclusion.read(envelope), exclusion.signers(envelope, text)
        missing = set(text.codes) - signed - {said.party}
        self.waiting = [envelope] if missing else []
        if not missing:
            self.said.append(envelope)
        return v1.ExclusionStatus(
            party=str(said.party),
            signed=sorted(map(str, signed)),
            missing=sorted(map(str, missing)),
            in_force=not missing,
        )

    async def close(self) -> None:
        self.closed += 1

    def _check(self, route: str) -> None:
        if self.failing == route:
            raise RemoteError(Problem("unavailable", 503, "the relay is busy"))


def _status(text: Agreement, signed: frozenset[PartyCode]) -> v1.ProposalStatus:
    return v1.ProposalStatus(
        id=text.agreement_id,
        version=text.version,
        digest=text.digest(),
        signed=sorted(map(str, signed)),
        missing=sorted(map(str, set(text.codes) - signed)),
        active=False,
    )


class State(StrEnum):
    QUEUED = "queued"
    ACCEPTED = "accepted"
    RECEIVED = "received"
    WITHHELD = "withheld"


@dataclass(frozen=True)
class FakeAttachment:
    index: int
    filename: str
    media_type: str = "image/tiff"
    size: int = 5 * 1024 * 1024
    description: str = ""


@dataclass(frozen=True)
class FakeReceipt:
    sender: DeviceId
    status: str
    answer: str | None = None
    note: str = ""
    code: str = ""
    state: str = "received"
    reason: str = ""
    reason_code: str = ""
    at: datetime = datetime(2026, 11, 21, 15, 31, tzinfo=UTC)


@dataclass(frozen=True)
class FakeSent:
    message_id: MessageId
    state: State = State.ACCEPTED
    seq: int | None = 7
    number: int = 1
    answer: str | None = None


@dataclass(frozen=True)
class FakeMessage:
    text: str
    client: FakeClient = field(repr=False, compare=False)
    id: MessageId = MESSAGE
    channel_id: ChannelId = CHANNEL
    channel_name: str = "berlin-watch"
    sender: DeviceId | None = PARTNER
    outgoing: bool = False
    state: State = State.RECEIVED
    reason: str = ""
    reason_code: str = ""
    kind: Kind = Kind.TEXT
    precedence: Precedence = Precedence.ROUTINE
    action: Precedence = Precedence.ROUTINE
    info: Precedence = Precedence.ROUTINE
    dtg: datetime = datetime(2026, 11, 21, 15, 30, tzinfo=UTC)
    dtg_text: str = "211530Z NOV 26"
    to: tuple[EndpointId, ...] = ()
    copy: tuple[EndpointId, ...] = ()
    marking: str = "UNMARKED"
    subject: str = ""
    in_reply_to: MessageRef | None = None
    seq: int | None = 1
    shown: bool = False
    attachments: tuple[FakeAttachment, ...] = ()
    receipts: tuple[FakeReceipt, ...] = ()
    label: Label | None = None
    accepted_at: datetime | None = datetime(2026, 11, 21, 15, 30, 30, tzinfo=UTC)
    expires: datetime | None = None
    draft: DraftView | None = None
    logged: bool = False
    late: bool = False
    given_up: bool = False

    async def review(self) -> FakeSent:
        return self._signed(Part.REVIEW)

    async def release(self) -> FakeSent:
        return self._signed(Part.RELEASE)

    def _signed(self, part: Part) -> FakeSent:
        if self.draft is None:
            raise NotADraftError("the message carries no draft")
        signature = SignatureView(part, ME.endpoint)
        missing = self.draft.missing[1:]
        signed = replace(
            self.draft, signatures=(*self.draft.signatures, signature), missing=missing
        )
        return self.client.store(replace(self, draft=signed))

    async def send_released(self) -> FakeSent:
        assert self.draft is not None
        self.client.released.append(self.draft)
        return FakeSent(self.draft.id, seq=9)

    async def acknowledge(self, answer: str, note: str = "", *, wait: bool = True) -> FakeSent:
        assert not wait, "what is stored is told, even where nobody takes it"
        self.client.acknowledged.append((self.id, answer, note))
        return FakeSent(self.id, State.QUEUED, answer=answer)

    async def save(
        self, attachment: FakeAttachment, target: Path, *, overwrite: bool, progress: object
    ) -> Path:
        assert progress is None, "there is no bar where nobody looks"
        self.client.saved.append((attachment.filename, overwrite))
        await asyncio.to_thread(target.write_bytes, b"content")
        return target


@dataclass(frozen=True)
class FakeMember:
    device: DeviceId
    leaf: int
    own: bool = False


@dataclass
class FakeChannel:
    client: FakeClient = field(repr=False)
    name: str = "berlin-watch"
    id: ChannelId = CHANNEL
    agreement_id: str = "nor-deu-2026"
    policy: str = "liaison"
    epoch: int = 3
    confirmed: bool = True
    state: ChannelState = ChannelState.ACTIVE
    reason: str = ""
    devices: list[DeviceId] = field(default_factory=lambda: [ME, PARTNER])

    async def members(self) -> list[FakeMember]:
        return [FakeMember(d, leaf, d == ME) for leaf, d in enumerate(self.devices)]

    async def simulate(self, text: str, **options: Any) -> Simulation:
        self.client.simulated.append({"text": text, **options})
        return self.client.simulation

    async def draft(self, via: FakeChannel, text: str, **options: Any) -> FakeSent:
        self.client.drafted.append({"text": text, "for": self.name, "via": via.name, **options})
        message = FakeMessage("", self.client, channel_name=via.name, draft=a_draft())
        return self.client.store(message)

    async def send(self, text: str, **options: Any) -> FakeSent:
        number = MessageId(len(self.client.sent).to_bytes(16, "big"))
        action = options.get("precedence", Precedence.ROUTINE)
        message = FakeMessage(
            text, self.client, number, sender=ME, outgoing=True, state=State.QUEUED, action=action
        )
        if self.client.cut_off:
            self.client.queue.append(message)
            await asyncio.Event().wait()
        self.client.sent.append({"text": text, **options})
        accepted = replace(message, state=State.ACCEPTED)
        self.client.stored.append(accepted)
        return FakeSent(number)

    async def add(self, endpoint: EndpointId) -> list[DeviceId]:
        added = DeviceId(endpoint, "d1")
        self.devices.append(added)
        self.epoch += 1
        return [added]

    async def remove(self, member: EndpointId | DeviceId) -> list[DeviceId]:
        gone = [d for d in self.devices if member in {d, d.endpoint}]
        self.devices = [d for d in self.devices if d not in gone]
        self.epoch += 1
        return gone

    async def leave(self) -> None:
        self.state = ChannelState.LEFT


@dataclass(frozen=True)
class FakeEvent:
    kind: str
    text: str


def a_draft(text: str = "Bridge open") -> DraftView:
    """Return a draft that its drafter has signed."""
    return DraftView(
        channel_id=CHANNEL,
        channel_name="berlin-watch",
        agreement_id="nor-deu-2026",
        agreement_version=2,
        policy="liaison",
        id=MessageId(bytes(range(48, 64))),
        kind=Kind.NOTICE,
        action=Precedence.FLASH,
        info=Precedence.ROUTINE,
        dtg=datetime(2026, 11, 21, 15, 20, tzinfo=UTC),
        to=(PARTNER.endpoint,),
        copy=(),
        label=Label("liaison.unmarked", "UNMARKED"),
        marking="UNMARKED",
        expires=None,
        text=text,
        subject="Bridge",
        language="",
        attachments=(),
        signatures=(SignatureView(Part.DRAFT, EndpointId.parse("nor/drafter")),),
        missing=("a reviewer other than the drafter", "a releaser other than the drafter"),
        problem="",
        sent=False,
    )


_LABELS = LabelRules(TLP.policy_id, "TLP:AMBER", "TLP:GREEN")


@dataclass(frozen=True)
class FakePolicy:
    name: str
    answers: dict[Precedence, AnswerTimes] = field(default_factory=dict)


@dataclass(frozen=True)
class FakeAgreement:
    agreement_id: str
    channels: tuple[FakePolicy, ...] = (FakePolicy("liaison"),)
    labels: LabelRules = _LABELS
    label_policy: LabelPolicy = TLP

    def channel(self, name: str) -> FakePolicy:
        return next(policy for policy in self.channels if policy.name == name)


@dataclass(frozen=True)
class FakeDirectoryEntry:
    device: DeviceId
    revoked: bool = False


class FakeClient:
    """Stands in for `liaison_sdk.Client`."""

    def __init__(self) -> None:
        self.opened: list[dict[str, bool]] = []
        self.known_agreements = ["nor-deu-2026"]
        self.rooms = [FakeChannel(self)]
        self.stored: list[FakeMessage] = []
        self.queue: list[FakeMessage] = []
        self.waiting: list[FakeSent] = []
        self.forbids: dict[int, str] = {}
        self.sent: list[dict[str, Any]] = []
        self.acknowledged: list[tuple[MessageId, str, str]] = []
        self.saved: list[tuple[str, bool]] = []
        self.shown: set[MessageId] = set()
        self.cut_off = False
        self.swallowed = False
        self.failures: list[Exception] = []
        self.happened: list[FakeEvent] = []
        self.verified: dict[str, Agreement] = {}
        self.simulation = Simulation(allow("channels.liaison.send", "it may be sent"), ())
        self.simulated: list[dict[str, Any]] = []
        self.drafted: list[dict[str, Any]] = []
        self.released: list[DraftView] = []
        self.logs: list[LogStatus] = []
        self.asked_logs = 0
        self.read_logs = 0

    async def log_status(self) -> list[LogStatus]:
        return self.logs

    async def follow_logs(self, *, whole: bool = False) -> list[LogStatus]:
        self.asked_logs += 1
        self.read_logs += whole
        return self.logs

    async def log_proof(self, message: FakeMessage) -> bytes | None:
        return b'{"proof":1}' if message.logged else None

    def store(self, message: FakeMessage) -> FakeSent:
        """Keep an own message that the relay has taken."""
        number = MessageId((100 + len(self.stored)).to_bytes(16, "big"))
        own = replace(message, id=number, sender=ME, outgoing=True, state=State.ACCEPTED)
        self.stored.append(own)
        return FakeSent(number)

    device = ME

    async def agreements(self) -> list[FakeAgreement]:
        return [FakeAgreement(name) for name in self.known_agreements]

    async def agreement(self, agreement_id: str) -> FakeAgreement | Agreement:
        return self.verified.get(agreement_id) or FakeAgreement(agreement_id)

    async def standing(self, agreement_id: str) -> AgreementStanding:
        if agreement_id not in self.verified:
            raise ConnectionLostError("the relay has gone")
        agreement = self.verified[agreement_id]
        now = agreement.valid_from
        return agreements.standing_of(agreement, agreement, Standing(), now)

    async def agreement_history(self, agreement_id: str) -> list[HistoryEntry]:
        return agreements.history_of([self.verified[agreement_id]], Standing(), {})

    async def devices(self, agreement_id: str) -> list[FakeDirectoryEntry]:
        return [FakeDirectoryEntry(device) for device in self.rooms[0].devices]

    async def create_channel(
        self, agreement_id: str, policy: str, name: str, members: Sequence[EndpointId]
    ) -> FakeChannel:
        devices = [ME, *(DeviceId(endpoint, "d1") for endpoint in members)]
        room = FakeChannel(self, name, ChannelId(bytes(16)), agreement_id, policy, devices=devices)
        self.rooms.append(room)
        return room

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    @property
    def connected(self) -> bool:
        return not self.cut_off

    async def wait_connected(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  as theirs
        if self.swallowed:
            await asyncio.Event().wait()
        if self.failures:
            raise self.failures.pop(0)
        if self.cut_off:
            raise ConnectionLostError("the relay does not answer")

    async def sync(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  as theirs
        await self.wait_connected(timeout)
        self.waiting.clear()

    async def queued(self) -> list[FakeSent]:
        return list(self.waiting)

    async def ruling(self, queued: FakeSent) -> FakeSent:
        if self.cut_off:
            await asyncio.Event().wait()
        if queued.number in self.forbids:
            raise MessageRefusedError(self.forbids[queued.number], remote_code="policy.refused")
        return replace(queued, state=State.ACCEPTED)

    async def channels(self) -> list[FakeChannel]:
        return self.rooms

    async def channel(self, name: object) -> FakeChannel:
        for room in self.rooms:
            if name in {room.name, room.id}:
                return room
        raise ChannelUnknownError(f"no channel {name}")

    async def history(self, channel: ChannelId | None = None) -> list[FakeMessage]:
        return [m for m in self.stored if channel in {None, m.channel_id}]

    async def unread(self, channel: ChannelId | None = None) -> list[FakeMessage]:
        mine = await self.history(channel)
        return [m for m in mine if not m.outgoing and m.id not in self.shown]

    async def mark_shown(self, messages: Sequence[FakeMessage]) -> None:
        self.shown |= {m.id for m in messages}

    async def outbox(self) -> list[FakeMessage]:
        return self.queue

    async def message(self, name: str) -> FakeMessage:
        prefix, _, sender = name.partition("@")
        for message in self.stored:
            if str(message.id).startswith(prefix) and sender in {"", str(message.sender)}:
                return message
        raise MessageUnknownError(f"no message {name}")

    async def messages(self, channel: ChannelId | None = None) -> AsyncIterator[FakeMessage]:
        for message in await self.unread(channel):
            self.shown.add(message.id)
            yield message
        await asyncio.Event().wait()

    async def events(self) -> AsyncIterator[FakeEvent]:
        for event in self.happened:
            yield event
        await asyncio.Event().wait()
