"""A registrar reads every entry of its logs, and finds what it has not done itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from liaison.crypto import x509_issue
from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.model import ChannelId, DeviceId, PartyCode
from liaison.policy import participation, revocation, signing, templates
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.lifecycle import Event
from liaison.policy.participation import Statement
from liaison.policy.revocation import Reason, RevocationList
from liaison.relay import identity
from liaison.relay.files import DataDir
from liaison.tlog.fields import EntryType
from liaison.tlog.text import to_base64
from liaison.tlog.tiles import encode_entries
from liaison.wire.log import LogAnswer, LogQuery
from liaison.wire.problems import Problem, RemoteError
from liaison_sdk.enrol import EnrolmentOptions, enrol
from liaison_sdk.registrar import authority, comparing, watching
from liaison_sdk.registrar.comparing import KeyEvent
from liaison_sdk.registrar.desk import RelayDesk
from liaison_sdk.registrar.office import RegistrarOffice
from liaison_sdk.registrar.state import OfficeState, WatchedLog
from liaison_sdk.registrar.store import Role
from liaison_sdk.registrar.watching import Watched
from tests.sdk.support import AGREEMENT, CHEAP, PASSPHRASE
from tests.support.ledger import Ledger, digest_of, with_log
from tests.support.relay import RunningRelay, relay  # noqa: F401 - a fixture
from tests.support.world import FAST_SUITE, HOUR, YEAR, World

DEVICE = DeviceId.parse("nor/defatt-berlin#d1")
CHANNEL = ChannelId(bytes(range(16)))
MANY = 2000


@dataclass
class Scene:
    """Norway's office at a relay, under an agreement with Germany."""

    office: RegistrarOffice
    desk: RelayDesk
    relay: RunningRelay
    home: Path

    async def enrol(self, device: DeviceId = DEVICE) -> None:
        """Do what registrar and officer do."""
        invitation = await self.desk.invite(device, ttl=HOUR)

        async def approve(_: float) -> None:
            for one in await self.desk.enrolments():
                if one.lookup == invitation.lookup and one.sealed is not None:
                    await self.desk.approve(one)

        await enrol(
            self.home / "device",
            self.relay.url,
            invitation.code,
            passphrase=PASSPHRASE,
            ca_file=self.relay.ca,
            parameters=CHEAP,
            options=EnrolmentOptions(key_packages=2, sleep=approve),
        )

    async def watch(self, *acts: str) -> Watched:
        """Watch until the log has shown something of each of these acts since the last time."""
        events: list[Any] = []
        for _ in range(MANY):
            (found,) = await self.desk.watch()
            events += found.events
            if set(acts) <= {event.act for event in events} and not found.problem:
                return replace(found, events=tuple(events))
        raise AssertionError(f"the log never showed {acts}, but {events}")


@pytest.fixture
async def scene(relay: RunningRelay, tmp_path: Path) -> AsyncIterator[Scene]:  # noqa: F811 - the fixture's name
    world = World()
    office, envelope = await asyncio.to_thread(_founded, tmp_path, world, relay)
    for document in (office.party.encode(), world.party("DEU").document):
        await relay.admit_party(document)
    await relay.admit_agreement(envelope)
    async with await RelayDesk.open(office, time.time) as desk:
        await desk.renew(lifetime_days=30)
        yield Scene(office, desk, relay, tmp_path)


def _founded(
    home: Path,
    world: World,
    relay: RunningRelay,  # noqa: F811 - the fixture's value
) -> tuple[RegistrarOffice, bytes]:
    now, deu = int(time.time()), world.party("DEU")
    office = RegistrarOffice.found(
        home, PASSPHRASE, PartyCode("NOR"), "Norway", now=now, parameters=CHEAP
    )
    office.pin(relay.url, relay.identity, relay.ca.read_text())
    agreement = templates.new(
        AgreementKind.BILATERAL,
        agreement_id=AGREEMENT,
        parties=[office.party, deu.party],
        relay=relay.identity,
        valid_from=now - HOUR,
        valid_until=now + YEAR,
        cipher_suite=FAST_SUITE,
    )
    envelope = authority.sign(office.store, agreement)
    return office, signing.add_signature(envelope, deu.authority_key)


async def test_what_the_office_has_done_is_told_and_no_alarm(scene: Scene) -> None:
    await scene.enrol()
    await scene.desk.revoke(DEVICE, Reason.SUPERSEDED, lifetime_days=30)

    found = await scene.watch("signature", "certificate", "key_packages", "revocations", "revoked")

    assert found.alarms == ()
    assert all(not event.problem for event in found.events)
    assert {e.subject for e in found.events if e.act == "certificate"} == {str(DEVICE)}


async def test_what_was_told_once_is_not_told_again(scene: Scene) -> None:
    await scene.watch("signature")
    before = (await scene.desk.watch())[0]
    await scene.enrol()

    after = await scene.watch("certificate")

    assert after.size > before.size
    assert "signature" not in {event.act for event in after.events}


async def stolen(scene: Scene, name: str = "nor/defatt-berlin#evil") -> None:
    """Do what a thief of the party's root and registrar keys does."""
    device, key = DeviceId.parse(name), SigningKey.generate(SignatureScheme.ED25519)
    root, now = scene.office.party.roots[0], int(time.time())
    der = x509_issue.issue_device(
        await asyncio.to_thread(scene.office.store.key, Role.ROOT),
        root.der,
        device,
        key.scheme,
        key.public_bytes,
        not_before=now - 60,
        not_after=now + HOUR,
        rng=random_bytes,
    )
    api, lookup = scene.desk._api, random_bytes(16).hex()
    await api.invite(lookup, name, (now + HOUR) * 1000)
    await api.request_enrolment(lookup, b"sealed")
    await api.reply_enrolment(lookup, [[der]], b"sealed")


async def test_a_certificate_that_the_office_did_not_issue_is_an_alarm_until_it_is_accepted(
    scene: Scene,
) -> None:
    await stolen(scene)

    found = await scene.watch("certificate")

    (alarm,) = found.alarms
    assert "nor/defatt-berlin#evil: this office did not issue the certificate" in alarm.text
    assert (await scene.desk.watch())[0].alarms == found.alarms
    assert await scene.desk.accept_alarms() == 1
    assert (await scene.desk.watch())[0].alarms == ()


async def test_a_version_that_the_authority_did_not_sign_is_an_alarm(scene: Scene) -> None:
    agreement = await scene.desk.agreement(AGREEMENT)
    second = replace(agreement, version=2, previous=agreement.digest(), title="Something else")
    key = await asyncio.to_thread(scene.office.store.key, Role.AUTHORITY)
    await scene.desk.propose(signing.sign(second, key))

    found = await scene.watch("signature")
    while len(found.alarms) < 2:
        found = await scene.watch()

    assert {alarm.text for alarm in found.alarms} == {
        f"signature {AGREEMENT} version 2: this office did not sign that version",
        "proposed agreement: this office did not sign that version",
    }


async def test_an_entry_that_the_relay_leaves_out_or_does_not_open_is_an_alarm(
    scene: Scene,
) -> None:
    await scene.watch("signature")
    await stolen(scene)
    api: Any = scene.desk._api
    asked = api.log

    async def hiding(agreement: str, query: LogQuery) -> LogAnswer:
        answer: LogAnswer = await asked(agreement, query)
        return answer.model_copy(update={"entries": []})

    api.log = hiding
    found = await scene.watch()
    while not found.alarms:
        found = await scene.watch()

    assert {alarm.text for alarm in found.alarms} == {
        "the relay does not show whose key this entry is about"
    }


async def test_entries_that_are_not_those_of_the_log_are_an_alarm(scene: Scene) -> None:
    await scene.watch("signature")
    await scene.enrol()
    api: Any = scene.desk._api
    fetched = api.log_tile

    async def changed(agreement: str, path: str) -> bytes:
        data: bytes = await fetched(agreement, path)
        return data.replace(b'"key"', b'"kez"')

    api.log_tile = changed
    (found,) = await scene.desk.watch()
    while not found.alarms:
        (found,) = await scene.desk.watch()

    assert found.problem
    assert [alarm.index for alarm in found.alarms] == [-1]


# --- what only a reader of everything can see -------------------------------------------


async def dishonest(scene: Scene) -> Ledger:
    """Return an empty log that the relay signs, and shows the office from now on."""
    agreement = await scene.desk.agreement(AGREEMENT)
    keys = await asyncio.to_thread(identity.load, DataDir(scene.relay.data))
    made, api = Ledger(agreement, int(time.time()), signer=keys.log), cast("Any", scene.desk._api)

    async def log(_agreement: str, query: LogQuery) -> LogAnswer:
        return made.answer(query)

    async def tile(_agreement: str, _path: str) -> bytes:
        return encode_entries(entry.encode() for entry, _ in made.rows)

    api.log, api.log_tile = log, tile
    return made


async def test_a_channel_that_stands_in_the_log_twice_is_an_alarm(scene: Scene) -> None:
    made = await dishonest(scene)
    for name in ("Norway", "Germany"):
        made.item(CHANNEL, 1, 0, digest_of("one"))
        made.commit(CHANNEL, 2, 0, digest_of(f"the commit for {name}"))
        made.item(CHANNEL, 3, 1, digest_of(f"to {name}"))

    found = await scene.watch()

    (alarm,) = found.alarms
    assert alarm.index == 3
    assert "goes on with item 1 of the channel, not 4" in alarm.text
    assert (await scene.watch()).alarms == found.alarms


async def test_a_channel_is_followed_from_one_look_to_the_next(scene: Scene) -> None:
    made = await dishonest(scene)
    made.item(CHANNEL, 1, 0, digest_of("one"))
    assert (await scene.watch()).alarms == ()
    made.commit(CHANNEL, 2, 0, digest_of("two"))
    made.item(CHANNEL, 3, 1, digest_of("three"))
    assert (await scene.watch()).alarms == ()
    made.commit(CHANNEL, 4, 0, digest_of("another end of the first epoch"))

    (alarm,) = (await scene.watch()).alarms

    assert (alarm.index, "ends epoch 0" in alarm.text) == (3, True)


async def test_an_entry_that_is_none_keeps_nobody_from_reading_on(scene: Scene) -> None:
    made = await dishonest(scene)
    junk: Any = SimpleNamespace(encode=lambda: b"{}", type=None, channel=None)
    made.rows.append((junk, junk))
    made.certificate(digest_of("made up"), device="nor/defatt-berlin#evil")

    found = await scene.watch("certificate")

    assert [alarm.index for alarm in found.alarms] == [0, 1]


async def test_a_relay_that_has_always_more_to_say_is_not_asked_for_ever(scene: Scene) -> None:
    made = await dishonest(scene)
    made.certificate(digest_of("made up"), device="nor/defatt-berlin#evil")
    api: Any = scene.desk._api

    async def endless(_agreement: str, query: LogQuery) -> LogAnswer:
        answer = made.answer(query.model_copy(update={"keys_after": 0}))
        return answer.model_copy(update={"more": True})

    api.log = endless

    assert len((await scene.watch()).alarms) == 1


async def test_what_is_wrong_each_time_is_told_once(scene: Scene) -> None:
    made = await dishonest(scene)
    made.item(CHANNEL, 1, 0, digest_of("one"))
    api: Any = scene.desk._api

    async def other(_agreement: str, _path: str) -> bytes:
        return encode_entries([b"{}"])

    api.log_tile = other
    for _ in range(3):
        (found,) = await scene.desk.watch()

    assert [alarm.index for alarm in found.alarms] == [-1]


async def test_an_old_checkpoint_is_an_alarm(scene: Scene) -> None:
    made = await dishonest(scene)
    agreement = replace(made.agreement, witnesses=with_log(made.agreement, "NOR-1").witnesses)
    made.agreement, made.witnesses = agreement, ("NOR-1",)
    scene.desk._acts.agreement = lambda *_: soon(agreement)  # type: ignore[method-assign]
    made.certificate(digest_of("made up"))
    grace = agreement.log.grace

    fresh = await scene.watch()
    made.now -= grace + 60
    for _ in range(2):
        (found,) = await scene.desk.watch()

    assert fresh.alarms == ()
    (alarm,) = found.alarms
    assert alarm.index == -1
    assert "no checkpoint that a witness has cosigned" in alarm.text


async def test_to_who_has_left_an_old_checkpoint_is_the_last(scene: Scene) -> None:
    made = await dishonest(scene)
    agreement = replace(made.agreement, witnesses=with_log(made.agreement, "NOR-1").witnesses)
    made.agreement, made.witnesses = agreement, ("NOR-1",)
    scene.desk._acts.agreement = lambda *_: soon(agreement)  # type: ignore[method-assign]
    made.certificate(digest_of("made up"))
    await scene.watch()
    await scene.desk.declare(AGREEMENT, Event.WITHDRAW)
    made.now -= agreement.log.grace + 60

    (found,) = await scene.desk.watch()

    assert (found.alarms, found.problem) == ((), "")


async def test_what_an_entry_says_at_length_does_not_fill_the_books(scene: Scene) -> None:
    made = await dishonest(scene)
    made.add(EntryType.KEY, {"party": "NOR", "act": "revoked", "subject": "x" * 100_000})

    found = await scene.watch("revoked")

    (event,) = found.events
    assert len(event.subject) == 200
    assert len(found.alarms[0].text) < 1000


# --- what the office has signed ---------------------------------------------------------


async def later(scene: Scene) -> list[Watched]:
    """Watch some hours from now."""
    now = int(time.time()) + 2 * comparing.PATIENCE
    return await watching.watch(scene.office, scene.desk._api, scene.desk._acts, now=now)


async def another(scene: Scene, name: str) -> bytes:
    """Sign another agreement, and bring it to nobody."""
    agreement = await scene.desk.agreement(AGREEMENT)
    return await asyncio.to_thread(
        authority.sign, scene.office.store, replace(agreement, agreement_id=name)
    )


async def test_what_the_office_has_declared_stands_in_the_log_and_is_no_alarm(
    scene: Scene,
) -> None:
    await scene.desk.declare(AGREEMENT, Event.SUSPEND, reason="a leak")

    found = await scene.watch("suspended")

    (said,) = [event for event in found.events if event.subject == "statement"]
    assert (said.problem, found.alarms) == ("", ())
    (after,) = await later(scene)
    assert after.alarms == ()


async def test_a_statement_that_is_kept_out_of_the_log_is_an_alarm(scene: Scene) -> None:
    agreement = await scene.desk.agreement(AGREEMENT)
    await asyncio.to_thread(
        authority.declare,
        scene.office.store,
        agreement,
        Event.WITHDRAW,
        None,
        reason="a leak",
        now=int(time.time()),
    )
    await scene.watch("signature")
    assert (await scene.desk.watch())[0].alarms == ()

    (found,) = await later(scene)

    (alarm,) = found.alarms
    assert "(withdrawn) is not in the log" in alarm.text
    await scene.desk.accept_alarms()
    assert (await later(scene))[0].alarms == ()


async def test_a_revocation_that_the_relay_sits_on_is_an_alarm(scene: Scene) -> None:
    await scene.enrol()
    await scene.watch("certificate")
    api: Any = scene.desk._api
    taken = api.publish_revocations

    async def sit_on(_signed: bytes) -> None:
        """Say yes, and do nothing."""

    api.publish_revocations = sit_on
    await scene.desk.revoke(DEVICE, Reason.KEY_COMPROMISE, lifetime_days=30)
    assert (await scene.desk.watch())[0].alarms == ()

    (alarm,) = (await later(scene))[0].alarms

    assert "(revocation list 2) is not in the log" in alarm.text
    # It is told once; and one that is there gives no alarm.
    await scene.desk.accept_alarms()
    assert (await later(scene))[0].alarms == ()
    api.publish_revocations = taken
    await scene.desk.renew(lifetime_days=30)
    await scene.watch("revocations", "revoked")
    assert (await later(scene))[0].alarms == ()


@pytest.mark.parametrize(
    ("issued", "size", "has_events", "expected"),
    [
        (HOUR, 0, True, 7),
        (HOUR + 1, 0, True, 0),
        (2 * HOUR, 0, False, None),
        (2 * HOUR, 3, False, 7),
    ],
)
def test_a_log_need_not_have_a_list_from_before_it_was_watched(
    issued: int, size: int, has_events: bool, expected: int | None
) -> None:
    begun = int(time.time()) - HOUR
    newest = replace(
        RevocationList.empty(PartyCode("NOR"), issued_at=begun + issued, next_update=begun + YEAR),
        number=7,
    )
    books = OfficeState(revocations=revocation.sign(newest, World().party("NOR").registrar_key))
    event = KeyEvent(0, begun * 1000, "signature", AGREEMENT, "", "")

    alarms, listed = comparing.compare_lists(
        books, WatchedLog(AGREEMENT, size), [event] if has_events else [], begun + issued
    )

    assert (alarms, listed) == ([], expected)


async def test_a_statement_that_the_office_has_not_signed_is_an_alarm(scene: Scene) -> None:
    agreement = await scene.desk.agreement(AGREEMENT)
    key = await asyncio.to_thread(scene.office.store.key, Role.AUTHORITY)
    now = int(time.time())
    first = Statement.first(agreement, scene.office.party.code, now=now)
    said = first.after(Event.SUSPEND, reason="", now=now, max_age=agreement.status.max_age)
    await scene.desk._api.declare(AGREEMENT, participation.sign(said, key))

    found = await scene.watch("suspended")

    (alarm,) = found.alarms
    assert "this office did not sign that statement" in alarm.text


async def test_an_exclusion_that_the_office_has_not_signed_is_an_alarm(scene: Scene) -> None:
    made = await dishonest(scene)
    digest = to_base64(digest_of("an exclusion"))
    made.add(
        EntryType.POLICY,
        {"party": "NOR", "step": "signed", "document": "exclusion", "digest": digest},
    )
    made.add(
        EntryType.POLICY,
        {"party": "DEU", "step": "signed", "document": "exclusion", "digest": digest},
    )

    found = await scene.watch()

    assert [(alarm.index, alarm.text) for alarm in found.alarms] == [
        (0, "signed exclusion: this office did not sign that exclusion")
    ]


async def test_a_step_that_the_relay_does_not_open_is_an_alarm(scene: Scene) -> None:
    made = await dishonest(scene)
    made.add(EntryType.POLICY, {"party": "NOR", "step": "withdrawn", "document": "statement"})
    made.closed.add(0)

    (alarm,) = (await scene.watch()).alarms

    assert "does not show whose act" in alarm.text


async def test_a_log_that_the_relay_does_not_list_is_watched_all_the_same(scene: Scene) -> None:
    async def none() -> list[Any]:
        return []

    scene.desk._api.agreements = none  # type: ignore[method-assign]

    assert (await scene.watch("signature")).agreement_id == AGREEMENT


async def test_an_agreement_that_was_signed_and_is_nowhere_is_told_until_it_is_accepted(
    scene: Scene,
) -> None:
    await another(scene, "kept-from-us")
    for _ in range(2):
        found = {one.agreement_id: one for one in await scene.desk.watch()}

        assert [alarm.index for alarm in found["kept-from-us"].alarms] == [-1]
        assert found[AGREEMENT].alarms == ()

    await scene.desk.accept_alarms()
    found = {one.agreement_id: one for one in await scene.desk.watch()}
    assert (found["kept-from-us"].alarms, found["kept-from-us"].problem) == ((), "")


async def test_an_agreement_that_waits_for_others_signatures_is_no_news(scene: Scene) -> None:
    await scene.desk.propose(await another(scene, "waits"))

    found = {one.agreement_id: one for one in await scene.desk.watch()}

    assert (found["waits"].alarms, found["waits"].problem) == ((), "")


async def test_a_log_that_is_no_longer_served_is_a_problem_each_time(scene: Scene) -> None:
    await scene.watch("signature")

    async def gone(*_: object) -> Agreement:
        raise RemoteError(Problem(code="agreement.unknown", status=404, detail="no such agreement"))

    cast("Any", scene.desk._acts).agreement = gone
    for _ in range(2):
        (found,) = await scene.desk.watch()

        assert (found.problem, found.size > 0) == ("no such agreement", True)


async def soon(agreement: Agreement) -> Agreement:
    return agreement
