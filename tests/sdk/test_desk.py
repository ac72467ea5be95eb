"""A party's office: it says how the party takes part, and joins in what the others decide."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.errors import UnavailableError
from liaison.model import PartyCode
from liaison.policy import exclusion, participation, signing, templates
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.agreement_rules import ExclusionRule
from liaison.policy.errors import DocumentError
from liaison.policy.keys import VerifyKey
from liaison.policy.lifecycle import Event, LifecycleError, Participation, Phase
from liaison.policy.relay_identity import RelayIdentity
from liaison.wire import v1
from liaison.wire.problems import Problem, RemoteError
from liaison_sdk.agreements import HistoryKind
from liaison_sdk.errors import RelayBrokenError
from liaison_sdk.registrar import authority
from liaison_sdk.registrar.desk import RelayDesk
from liaison_sdk.registrar.errors import ForeignPartyError, OfficeStateError
from liaison_sdk.registrar.office import RegistrarOffice
from liaison_sdk.registrar.state import OfficeState, Said, WatchAlarm, WatchedLog
from tests.sdk.support import CHEAP, PASSPHRASE

NOW = 1_795_000_000
ID = "nor-deu-swe"
SWE = PartyCode.parse("SWE")


@dataclass
class FakeRelay:
    """Keeps what it is given, and gives it out; refuses or loses what it is told to."""

    versions: list[bytes]
    said: list[bytes] = field(default_factory=list)
    waiting: list[bytes] = field(default_factory=list)
    proposed: dict[bytes, bytes] = field(default_factory=dict)
    admitted_ms: dict[int, int] = field(default_factory=dict)
    refusing: Exception | None = None
    losing: bool = False

    async def agreement(self, agreement_id: str, version: int | None = None) -> v1.Document:
        assert agreement_id == ID
        number = len(self.versions) if version is None else version
        return v1.Document(
            envelope=self.versions[number - 1], accepted_ms=self.admitted_ms.get(number)
        )

    async def statements(self, agreement_id: str) -> list[bytes]:
        return list(self.said)

    async def declare(self, agreement_id: str, envelope: bytes) -> None:
        if self.refusing is not None:
            raise self.refusing
        if envelope not in self.said:
            self.said.append(envelope)
        if self.losing:
            raise UnavailableError("the answer was lost")

    async def waiting_exclusions(self, agreement_id: str) -> list[bytes]:
        return list(self.waiting)

    async def exclude(self, agreement_id: str, envelope: bytes) -> v1.ExclusionStatus:
        _, text = signing.read(self.versions[-1])
        signed = exclusion.signers(envelope, text)
        missing = set(text.codes) - signed - {exclusion.read(envelope).party}
        self.waiting = [envelope] if missing else []
        if not missing:
            self.said.append(envelope)
        return v1.ExclusionStatus(
            party="SWE",
            signed=sorted(map(str, signed)),
            missing=sorted(map(str, missing)),
            in_force=not missing,
        )

    async def propose_agreement(self, envelope: bytes) -> v1.ProposalStatus:
        _, text = signing.read(envelope)
        self.proposed[text.digest()] = envelope
        signed = signing.signers(envelope)
        return v1.ProposalStatus(
            id=text.agreement_id,
            version=text.version,
            digest=text.digest(),
            signed=sorted(map(str, signed)),
            missing=sorted(map(str, set(text.codes) - signed)),
            active=set(text.codes) == signed,
        )

    async def proposals(self) -> list[v1.ProposalStatus]:
        return [await self.propose_agreement(one) for one in self.proposed.values()]

    async def proposal(self, digest: bytes) -> bytes:
        return self.proposed[digest]

    async def close(self) -> None:
        pass


@dataclass
class Scene:
    """Three offices, an agreement that all have signed, and the relay between them."""

    offices: dict[str, RegistrarOffice]
    text: Agreement
    relay: FakeRelay
    now: int = NOW

    def desk(self, code: str) -> RelayDesk:
        api: Any = self.relay
        return RelayDesk(self.offices[code], api, lambda: float(self.now))

    async def signed(self, code: str, text: Agreement) -> bytes:
        return await asyncio.to_thread(authority.sign, self.offices[code].store, text)

    def sign(self, text: Agreement) -> bytes:
        first, *others = (self.offices[str(code)].store for code in text.codes)
        envelope = authority.sign(first, text)
        for store in others:
            envelope = authority.countersign(store, envelope, text)
        return envelope


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Scene:
    rule: ExclusionRule = getattr(request, "param", ExclusionRule.ALL_OTHERS)
    offices = {
        code: RegistrarOffice.found(
            tmp_path / code, PASSPHRASE, PartyCode.parse(code), code, now=NOW, parameters=CHEAP
        )
        for code in ("NOR", "DEU", "SWE")
    }
    keys = [SigningKey.generate(SignatureScheme.ED25519) for _ in range(2)]
    origin = "https://relay.example:8443"
    ids = (VerifyKey.of(keys[0]),), (VerifyKey.of(keys[1]),)
    text = templates.new(
        AgreementKind.MULTILATERAL,
        agreement_id=ID,
        parties=[office.party for office in offices.values()],
        relay=RelayIdentity(origin, origin, *ids),
        valid_from=NOW - 1000,
        valid_until=NOW + 10**7,
        cipher_suite=1,
    )
    scene = Scene(offices, replace(text, exclusion=rule), FakeRelay([]))
    scene.relay.versions.append(scene.sign(scene.text))
    return scene


async def test_a_party_suspends_resumes_and_withdraws_itself_under_growing_numbers(
    scene: Scene,
) -> None:
    desk = scene.desk("SWE")
    said = []
    for event in (Event.AFFIRM, Event.SUSPEND, Event.AFFIRM, Event.RESUME, Event.WITHDRAW):
        scene.now += 60
        said.append(await desk.declare(ID, event, reason=f"because of {event}"))

    assert [one.number for one in said] == [1, 2, 3, 4, 5]
    assert [one.state.value for one in said] == [
        "active",
        "suspended",
        "suspended",
        "active",
        "withdrawn",
    ]
    view = await desk.standing(ID)
    sweden = next(one for one in view.parties if one.party == SWE)
    assert (sweden.state, sweden.number) == (Participation.WITHDRAWN, 5)
    assert sweden.reason == "because of withdraw"
    assert view.phase is Phase.ACTIVE
    with pytest.raises(LifecycleError):
        await desk.declare(ID, Event.RESUME)


async def test_history_tells_versions_statements_and_exclusions_in_the_order_of_time(
    scene: Scene,
) -> None:
    scene.now += 60
    await scene.desk("SWE").declare(ID, Event.SUSPEND, reason="parliament")
    scene.now += 60
    begun = await scene.desk("NOR").exclude(ID, SWE, reason="no answer")
    await scene.desk("DEU").countersign_exclusion(begun.envelope)

    history = await scene.desk("NOR").history(ID)

    assert [one.kind for one in history] == list(HistoryKind)
    assert [one.text for one in history[1:]] == [
        "SWE has suspended its participation",
        "SWE was excluded by the others",
    ]
    assert [one.reason for one in history] == ["", "parliament", "no answer"]
    assert history == sorted(history, key=lambda one: one.at)


async def test_a_version_begins_when_it_came_in_and_not_when_it_says_that_it_is_valid(
    scene: Scene,
) -> None:
    # An amendment mostly repeats the first version's dates.
    second = replace(scene.text, version=2, previous=scene.text.digest(), title="Second")
    third = replace(second, version=3, previous=second.digest(), title="Third")
    fourth = replace(third, version=4, previous=third.digest(), valid_from=NOW + 86_400)
    for text in (second, third, fourth):
        scene.relay.versions.append(await asyncio.to_thread(scene.sign, text))
    scene.relay.admitted_ms = {1: (NOW - 5000) * 1000, 2: NOW * 1000, 4: (NOW + 60) * 1000}

    history = await scene.desk("NOR").history(ID)

    # Of the third the relay does not say when: after the second at least.
    assert [int(one.at.timestamp()) for one in history] == [NOW - 1000, NOW, NOW, NOW + 86_400]
    assert [one.version for one in history] == [1, 2, 3, 4]
    assert all(one.valid_from is not None for one in history)
    assert [int(one.valid_from.timestamp()) for one in history if one.valid_from] == [
        *([NOW - 1000] * 3),
        NOW + 86_400,
    ]
    assert {one.signers for one in history} == {tuple(map(PartyCode, ("DEU", "NOR", "SWE")))}


async def test_within_one_second_a_version_comes_before_what_is_said_under_it(
    scene: Scene,
) -> None:
    second = replace(scene.text, version=2, previous=scene.text.digest(), title="Second")
    scene.relay.versions.append(await asyncio.to_thread(scene.sign, second))
    scene.relay.admitted_ms = {2: scene.now * 1000}
    await scene.desk("SWE").declare(ID, Event.SUSPEND, reason="parliament")

    history = await scene.desk("NOR").history(ID)

    assert [one.version for one in history] == [1, 2, None]
    assert history[1].at == history[2].at


async def test_a_lost_answer_is_no_second_statement(scene: Scene) -> None:
    desk = scene.desk("SWE")
    scene.relay.losing = True
    with pytest.raises(UnavailableError):
        await desk.declare(ID, Event.SUSPEND)
    scene.relay.losing = False
    lost = scene.relay.said.pop()

    again = await desk.declare(ID, Event.SUSPEND)

    assert scene.relay.said == [lost]
    assert participation.read(lost) == again


async def test_no_number_is_used_twice_even_where_the_relay_forgets_or_refuses(
    scene: Scene,
) -> None:
    desk = scene.desk("SWE")
    await desk.declare(ID, Event.SUSPEND)
    scene.now += 60
    scene.relay.refusing = RemoteError(Problem("statement.outdated", 409, "came too late"))
    with pytest.raises(RemoteError):
        await desk.declare(ID, Event.RESUME)
    scene.relay.refusing = None
    books = await asyncio.to_thread(lambda: scene.offices["SWE"].state)
    booked = books.statement(ID)
    assert booked is not None
    refused = participation.read(booked)
    scene.now += 60

    async def takes_all_but_the_refused(agreement_id: str, envelope: bytes) -> None:
        if participation.read(envelope) == refused:
            raise RemoteError(Problem("statement.outdated", 409, "came too late"))
        scene.relay.said.append(envelope)

    scene.relay.declare = takes_all_but_the_refused  # type: ignore[method-assign]
    resumed = await desk.declare(ID, Event.RESUME)

    assert resumed.state is Participation.ACTIVE
    assert resumed.number == refused.number + 1
    assert resumed.since == scene.now


async def test_a_forged_statement_moves_nothing(scene: Scene) -> None:
    first = await scene.desk("DEU").declare(ID, Event.AFFIRM)
    forged = replace(first, party=SWE, number=1000, state=Participation.WITHDRAWN)
    key = SigningKey.generate(SignatureScheme.ED25519)
    scene.relay.said.append(participation.sign(forged, key))

    said = await scene.desk("SWE").declare(ID, Event.AFFIRM)

    assert (said.number, said.state) == (1, Participation.ACTIVE)


async def test_an_exclusion_takes_the_others_one_after_another(scene: Scene) -> None:
    begun = await scene.desk("NOR").exclude(ID, SWE, reason="no answer")
    (waiting,) = await scene.desk("DEU").waiting_exclusions(ID)
    done = await scene.desk("DEU").countersign_exclusion(waiting.envelope)

    assert (begun.signed, begun.missing, begun.in_force) == (("NOR",), ("DEU",), False)
    assert (waiting.signed, waiting.missing) == (("NOR",), ("DEU",))
    assert (done.signed, done.missing, done.in_force) == (("DEU", "NOR"), (), True)
    view = await scene.desk("NOR").standing(ID)
    assert [one.state.value for one in view.parties] == ["active", "active", "excluded"]


@pytest.mark.parametrize("scene", [ExclusionRule.NEVER], indirect=True)
async def test_nobody_excludes_itself_or_where_the_agreement_excludes_nobody(
    scene: Scene,
) -> None:
    with pytest.raises(ForeignPartyError):
        await scene.desk("SWE").exclude(ID, SWE, reason="we had enough")
    with pytest.raises(DocumentError, match="excludes nobody"):
        await scene.desk("NOR").exclude(ID, SWE, reason="no answer")


async def test_a_version_goes_round_until_all_have_signed(scene: Scene) -> None:
    following = replace(
        scene.text, version=2, previous=scene.text.digest(), title="With another title"
    )
    begun = await scene.desk("NOR").propose(await scene.signed("NOR", following))
    digest = following.digest()
    second = await scene.desk("DEU").countersign(digest)
    last = await scene.desk("SWE").countersign(digest)

    assert (begun.signed, begun.active) == (["NOR"], False)
    assert second.missing == ["SWE"]
    assert last.active
    assert signing.verify(await scene.desk("NOR").proposal(digest)) == following
    assert [one.digest for one in await scene.desk("NOR").proposals()] == [digest]


async def test_another_proposal_than_was_asked_for_is_not_signed(scene: Scene) -> None:
    following = replace(scene.text, version=2, previous=scene.text.digest(), title="Harmless")
    other = replace(following, title="Not what was agreed on")
    await scene.desk("NOR").propose(await scene.signed("NOR", other))
    scene.relay.proposed[following.digest()] = scene.relay.proposed[other.digest()]

    with pytest.raises(RelayBrokenError):
        await scene.desk("DEU").countersign(following.digest())


def test_the_books_of_earlier_versions_are_read_and_a_later_version_is_refused() -> None:
    log = WatchedLog(ID, 2, (bytes(32),), b"note", (WatchAlarm(1, "not ours", 3),))
    books = OfficeState(signed=("ab",), lists=((1, "cd"),), watched=(log,))
    books = books.with_statement(ID, b"signed").with_said(Said(ID, "ef", "withdrawn", 4))
    books = books.with_signed(b"version", ID, 5)
    assert OfficeState.decode(books.encode()) == books
    plain = json.loads(OfficeState().encode())
    said = {"agreements", "said", "said_whole"}
    lacking = {
        1: said | {"statements", "signed", "lists", "watched"},
        2: said | {"signed", "lists", "watched"},
        3: said,
    }

    for number, names in lacking.items():
        old = {name: value for name, value in plain.items() if name not in names}
        old["format"] = f"liaison.registrar/{number}"
        # It is remembered that not all that was said is there.
        assert OfficeState.decode(json.dumps(old).encode()) == OfficeState(said_whole=False)
    with pytest.raises(OfficeStateError) as caught:
        OfficeState.decode(json.dumps(plain | {"format": "liaison.registrar/5"}).encode())
    assert "newer version" in caught.value.hint
