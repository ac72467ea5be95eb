from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from liaison.policy import signing
from liaison.policy.agreement import Agreement
from liaison.policy.fields import Node
from liaison.policy.log_rules import LogRules
from liaison.relay import admin, identity, log_status, log_words
from liaison.relay.errors import KeyFileError, LogRefusedError
from liaison.relay.files import DataDir
from liaison.relay.scrape import Scrape
from liaison.storage import logs
from liaison.storage.logs import LogRow
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.tlog.witness import SIZE_TYPE
from liaison.trust import log as trust_log
from tests.support import witness
from tests.support.people import people_of
from tests.support.relay import RelayProcess, RunningRelay, free_port, make, running
from tests.support.witness import RunningWitness
from tests.support.world import World

SECONDS = 30
AGREEMENT = "nor-deu-2026"


async def admit(relay: RunningRelay, world: World, *witnesses: RunningWitness) -> Agreement:
    """Admit two parties and an agreement with a witness of each, or with none."""
    for code in ("NOR", "DEU"):
        await relay.admit_party(world.party(code).document)
    signed = world.agreement("NOR", "DEU", relay=relay.identity, agreement_id=AGREEMENT)
    agreement = replace(
        signing.verify(signed),
        witnesses=tuple(
            one.in_agreement(code) for one, code in zip(witnesses, ("NOR", "DEU"), strict=False)
        ),
    )
    await relay.admit_agreement(signed_by_both(world, agreement))
    return agreement


def signed_by_both(world: World, agreement: Agreement) -> bytes:
    envelope = signing.sign(agreement, world.party("NOR").authority_key)
    return signing.add_signature(envelope, world.party("DEU").authority_key)


async def row_of(relay: RunningRelay, agreement: str | None = AGREEMENT) -> LogRow:
    async with relay.app.database.read() as tx:
        found = await logs.find(tx, agreement)
    assert found is not None
    return found


@dataclass
class Log:
    """Tells when the relay's log has done something."""

    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, step: str) -> None:
        # The other steps are taken in threads.
        if step in ("stored", "kept", "refused"):
            self.news.set()

    async def until_cosigned(
        self, relay: RunningRelay, agreement: str | None = AGREEMENT
    ) -> LogRow:
        """Wait until all that was recorded counts."""
        async with asyncio.timeout(SECONDS):
            while True:
                self.news.clear()
                row = await row_of(relay, agreement)
                if row.cosigned_size == row.size:
                    return row
                await self.news.wait()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def witnesses(tmp_path: Path) -> AsyncIterator[tuple[RunningWitness, RunningWitness]]:
    async with AsyncExitStack() as stack:
        one, two = (witness.new(f"w{n}.example", folder=tmp_path) for n in (1, 2))
        for each in (one, two):
            await stack.enter_async_context(witness.running(each))
        yield one, two


def urls(*witnesses: RunningWitness) -> dict[str, str]:
    return {one.name: one.url for one in witnesses}


@asynccontextmanager
async def serving(
    path: Path, port: int, both: tuple[RunningWitness, RunningWitness], log: Log
) -> AsyncIterator[RunningRelay]:
    async with running(path, port=port, witnesses=urls(*both), step=log) as relay:
        key = relay.app.keys.log
        origin = f"{relay.identity.origin}/log/{AGREEMENT}"
        for one in both:
            one.logs.clear()
            one.follow(VerifierKey.of(origin, SignatureType.ED25519, key))
        yield relay


async def test_a_serving_relay_has_its_log_cosigned_by_the_agreements_witnesses(
    tmp_path: Path, world: World, witnesses: tuple[RunningWitness, RunningWitness], log: Log
) -> None:
    async with serving(tmp_path / "relay", free_port(), witnesses, log) as relay:
        agreement = await admit(relay, world, *witnesses)
        row = await log.until_cosigned(relay)

        assert row.cosigned is not None
        cosigned = trust_log.verify(agreement, row.cosigned)
        assert set(cosigned.witnesses) == {one.name for one in witnesses}
        assert (await log.until_cosigned(relay, None)).size > 0
        own, shared = await log_status.status(relay.app.publisher)
        assert (own["agreement"], own["entries"], own["witnesses"]) == (None, own["cosigned"], [])
        assert (shared["agreement"], shared["waiting_seconds"]) == (AGREEMENT, None)
        assert [(one["name"], one["cosigned"], one["problem"]) for one in shared["witnesses"]] == [
            (one.name, shared["entries"], None) for one in witnesses
        ]


async def test_without_witnesses_the_relays_signature_counts(
    tmp_path: Path, world: World, log: Log
) -> None:
    async with running(tmp_path / "relay", step=log) as relay:
        agreement = await admit(relay, world)
        row = await log.until_cosigned(relay)

        assert row.cosigned is not None
        assert trust_log.verify(agreement, row.cosigned).checkpoint.size == row.size


async def test_a_relay_on_an_old_copy_is_not_ready_and_says_what_to_do(
    tmp_path: Path, world: World, witnesses: tuple[RunningWitness, RunningWitness], log: Log
) -> None:
    port, data, backup = free_port(), tmp_path / "relay", tmp_path / "backup"
    async with serving(data, port, witnesses, log) as relay:
        await admit(relay, world, *witnesses)
        await log.until_cosigned(relay)
    await asyncio.to_thread(shutil.copytree, data, backup)
    async with serving(data, port, witnesses, log) as relay:
        await relay.admit_party(world.party("SWE").document)
        await log.until_cosigned(relay, None)

    # The database alone is old.
    await asyncio.to_thread(shutil.copy, backup / "relay.db", data / "relay.db")
    async with serving(data, port, witnesses, log) as relay, relay.client() as nobody:
        answer = await nobody.get("/readyz")
        assert answer.status == 503
        assert answer.json["type"].endswith("log.refused")
        assert answer.json["detail"] == "the relay's own log is refused"
        assert "liaison-relay log status" in answer.json["hint"]
        told = "\n".join(log_words.lines(await log_status.status(relay.app.publisher)))
        assert re.search(r"refused +127\.0\.0\.1:\d+/root-log", told)
        assert "were signed" in told
        assert "restore the newest backup" in told


async def test_witnesses_tell_a_relay_that_all_of_it_was_restored(
    tmp_path: Path, world: World, witnesses: tuple[RunningWitness, RunningWitness], log: Log
) -> None:
    port, data, backup = free_port(), tmp_path / "relay", tmp_path / "backup"
    async with serving(data, port, witnesses, log) as relay:
        await admit(relay, world, *witnesses)
        await log.until_cosigned(relay)
    await asyncio.to_thread(shutil.copytree, data, backup)
    async with serving(data, port, witnesses, log) as relay:
        async with people_of(relay, world) as people:
            await people.enrol("nor/desk#1")
        await log.until_cosigned(relay)

    async with serving(backup, port, witnesses, log) as relay, relay.client() as nobody:
        async with asyncio.timeout(SECONDS):
            while not relay.app.recorder.refused:
                log.news.clear()
                await log.news.wait()
        answer = await nobody.get("/readyz")
        assert answer.status == 503
        # Strangers are told nothing of a partnership.
        assert AGREEMENT.encode() not in answer.body
        told = "\n".join(log_words.lines(await log_status.status(relay.app.publisher)))
        assert "a witness has seen" in told


async def test_a_witness_that_only_says_so_stops_no_messages(
    tmp_path: Path, world: World, witnesses: tuple[RunningWitness, RunningWitness], log: Log
) -> None:
    asked = asyncio.Event()

    async def says_so(request: web.Request) -> web.Response:
        if request.path.endswith("/show-checkpoint"):
            asked.set()
            return web.Response(status=404)
        return web.Response(status=409, body=b"999999\n", content_type=SIZE_TYPE)

    app, honest = web.Application(), witnesses[0]
    app.router.add_post("/{what}", says_so)
    liar = web.AppRunner(app)
    await liar.setup()
    port = free_port()
    await web.TCPSite(liar, "127.0.0.1", port).start()
    other = witness.new("liar.example", folder=tmp_path)
    other.url = f"http://127.0.0.1:{port}"
    async with (
        serving(tmp_path / "relay", free_port(), (honest, other), log) as relay,
        relay.client() as nobody,
    ):
        await admit(relay, world, honest, other)
        async with asyncio.timeout(SECONDS):
            await asked.wait()
        before = await row_of(relay)
        async with people_of(relay, world) as people:
            await people.enrol("nor/desk#1")

        assert (await row_of(relay)).size > before.size
        assert (await row_of(relay)).published_size == 0
        ready = await nobody.get("/readyz")
        assert (ready.status, ready.json["problems"]) == (200, ["log.unconfirmed"])
        facts = await Scrape(relay.app).facts()
        assert facts.logs is not None
        assert dict(facts.logs.states) == {"ok": 1, "waiting": 0, "unconfirmed": 1, "refused": 0}
        told = "\n".join(log_words.lines(await log_status.status(relay.app.publisher)))
        assert f"unconfirmed  {relay.identity.origin}/log/{AGREEMENT}" in told
        assert "liar.example says that it has seen more, or other, and shows no proof" in told
    await liar.cleanup()


def test_the_operator_sees_how_the_logs_stand_while_the_relay_is_stopped(tmp_path: Path) -> None:
    relay = RelayProcess(tmp_path / "relay")
    relay.init()

    words = relay.run("log", "status").stdout
    (own,) = json.loads(relay.run("log", "status", "--json").stdout)

    origin = f"127.0.0.1:{relay.port}/root-log"
    assert words.startswith(f"ok           {origin}  entries 0  signed 0  cosigned 0\n")
    assert VerifierKey.parse(own["vkey"]).name == own["log"] == origin
    # A log that is whole has no successor.
    refused = relay.run("log", "begin-root", check=False)
    assert (refused.returncode, "the log of this relay is whole" in refused.stderr) == (1, True)
    # Unless the operator knows of more.
    begun = relay.run("log", "begin-root", "--lost")
    assert begun.stdout == f"{origin}/2 follows the first 0 entries of {origin}\n"


def test_a_relay_without_its_log_key_does_not_start(tmp_path: Path) -> None:
    data = make(tmp_path / "relay", 8443)
    (data.keys / "log.ed25519.key").unlink()

    with pytest.raises(KeyFileError, match=r"log\.ed25519\.key"):
        identity.load(DataDir(data.path))


async def test_after_an_old_backup_the_parties_sign_a_successor_and_the_relay_goes_on(
    tmp_path: Path, world: World, witnesses: tuple[RunningWitness, RunningWitness], log: Log
) -> None:
    port, data, backup = free_port(), tmp_path / "relay", tmp_path / "backup"
    async with serving(data, port, witnesses, log) as relay:
        agreement = await admit(relay, world, *witnesses)
        await log.until_cosigned(relay)
    await asyncio.to_thread(shutil.copytree, data, backup)
    async with serving(data, port, witnesses, log) as relay, people_of(relay, world) as people:
        await people.enrol("nor/desk#1")
        await relay.admit_party(world.party("SWE").document)
        await log.until_cosigned(relay, None)
        lost = await log.until_cosigned(relay)
    await asyncio.to_thread(shutil.copy, backup / "relay.db", data / "relay.db")

    async with serving(data, port, witnesses, log) as relay, people_of(relay, world) as people:
        assert relay.app.recorder.refused.keys() == {None, AGREEMENT}
        with pytest.raises(LogRefusedError):
            await relay.admit_party(world.party("SWE").document)
        # Its own log is the operator's to go on with, the agreement's the parties'.
        root = await admin.perform_on(relay.app, {"do": "log.begin_root"})
        assert root["log"] == f"{relay.identity.origin}/root-log/2"
        found = await admin.perform_on(relay.app, {"do": "log.successor", "agreement": AGREEMENT})
        assert found["predecessor"]["size"] == lost.cosigned_size
        told = {name: found[name] for name in ("generation", "predecessor")}
        assert yaml.safe_load("\n".join(log_words.successor(found))) == {"log": told}
        new = replace(
            agreement,
            version=2,
            previous=agreement.digest(),
            log=LogRules.from_node(Node.of({**agreement.log.document(), **told})),
        )
        await relay.admit_agreement(signed_by_both(world, new))
        assert not relay.app.recorder.refused
        for one in witnesses:
            one.follow(VerifierKey.parse(found["vkey"]))

        row = await log.until_cosigned(relay)

        assert row.generation == 2
        assert row.cosigned is not None
        cosigned = trust_log.verify(new, row.cosigned)
        assert set(cosigned.witnesses) == {one.name for one in witnesses}
        states = [
            (one["log"], one["ended"]) for one in await log_status.status(relay.app.publisher)
        ]
        assert sorted(states) == sorted(
            (f"{relay.identity.origin}{name}", name[-2:] != "/2")
            for name in ("/root-log", "/root-log/2", f"/log/{AGREEMENT}", f"/log/{AGREEMENT}/2")
        )
        # What the old one has is there as it was, and more is never signed in its name.
        office = await people.registrar("NOR")
        note = await office.get(f"/log/{AGREEMENT}/checkpoint")
        size = trust_log.verify(agreement, note.body).checkpoint.size
        assert 0 < size < lost.cosigned_size
        tile = f"tile/entries/000.p/{size}"
        assert (await office.get(f"/log/{AGREEMENT}/{tile}")).status == 200
        assert (await office.get(f"/log/{AGREEMENT}/2/checkpoint")).body == row.cosigned
    # A start finds the old ones as they are, and goes on with the new ones.
    async with serving(data, port, witnesses, log) as relay:
        assert not relay.app.recorder.refused
        await relay.admit_party(world.party("SWE").document)
        assert (await log.until_cosigned(relay, None)).origin == root["log"]
