"""Bundles for auditors, from real entries to what both verifiers say of them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from liaison.audit import verify
from liaison.audit.compare import compare
from liaison.audit.events import Event
from liaison.audit.manifest import Manifest, Predecessor
from liaison.crypto.secret import random_bytes
from liaison.envelope.header import Kind
from liaison.errors import LiaisonError
from liaison.model import PartyCode, Precedence
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.lifecycle import Event as Step
from liaison.relay import exporting
from liaison.relay.exporting import NothingToExportError, Source, Wanted
from liaison.relay.publishing import Publisher
from liaison.relay.services.errors import ForeignPartyError, UnknownAgreementError
from liaison.relay.services.exports import Export
from liaison.relay.services.log_grace import LogPolicies
from liaison.storage import logs
from liaison.tlog.fields import EntryType
from liaison.tlog.sequencer import State
from liaison.tlog.text import to_base64
from liaison.trust import log as trust_log
from tests.relay.services import logbook
from tests.relay.services.forum import ID, Forum, draft, go_on
from tests.relay.services.harness import Actor, Relay
from tests.relay.services.logbook import of_type
from tests.relay.services.test_successors import DAMAGE, newest, sign_all, successor
from tests.support.world import HOUR

_HOUR_MS = 3_600_000


@dataclass
class Bundle:
    """An export, and what the verifier says of it."""

    data: bytes
    manifest: Manifest
    told: Export
    events: list[Event]

    def opened(self, *types: EntryType) -> list[Event]:
        """The events of some types of which something is open."""
        return [one for one in self.events if one.type in types and one.values is not None]


@dataclass
class Desk:
    """Where exports are made."""

    relay: Relay
    publisher: Publisher
    folder: Path
    news: asyncio.Event

    async def publish(self) -> None:
        """Publish all logs, and wait until all that is in them is cosigned."""
        await self.publisher.publish()
        async with asyncio.timeout(30):
            while True:
                self.news.clear()
                async with self.relay.database.read() as tx:
                    rows = await logs.listing(tx)
                if all(row.size == row.cosigned_size for row in rows if row.agreement):
                    return
                await self.news.wait()

    async def export(
        self,
        party: str = "NOR",
        agreement: str = ID,
        since: int | None = None,
        until: int | None = None,
        *,
        extras: bool = False,
        generation: int | None = None,
    ) -> Bundle:
        """Publish what there is, export, and verify in both ways."""
        await self.publish()
        source = Source(self.relay.database, self.publisher.root, self.relay.key, self.relay.clock)
        out = io.BytesIO()
        limits = (agreement, PartyCode(party), since, until)
        wanted = Wanted(*limits, parquet=extras, report=extras, generation=generation)
        made, told = await exporting.export(source, wanted, out)
        events: list[Event] = []
        (version,) = [
            one for one in await self.relay.services.agreements.all()
            if one.agreement_id == agreement
        ][-1:]  # fmt: skip
        policy = trust_log.policy(version, generation)
        checked = await asyncio.to_thread(verify.verify, out, policy=policy, take=events.append)
        assert checked.manifest == made
        await asyncio.to_thread(self._alone, out.getvalue())
        return Bundle(out.getvalue(), made, told, events)

    def _alone(self, data: bytes) -> None:
        path = self.folder / "bundle.zip"
        path.write_bytes(data)
        with ZipFile(path) as archive:
            (self.folder / "verify.py").write_bytes(archive.read("verify.py"))
        done = subprocess.run(
            [sys.executable, "-I", self.folder / "verify.py", path],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
async def desk(relay: Relay, tmp_path: Path) -> AsyncIterator[Desk]:
    news = asyncio.Event()

    def step(name: str) -> None:
        # The other steps are taken in threads.
        if name == "kept":
            news.set()

    publisher = Publisher(
        database=relay.database,
        writer=relay.writer,
        recorder=relay.recorder,
        root=tmp_path / "log",
        signer=relay.key,
        policies=LogPolicies(relay.database, relay.clock).find,
        urls={},
        clock=relay.clock,
        step=step,
    )
    await publisher.open()
    yield Desk(relay, publisher, tmp_path, news)
    await publisher.close()


async def test_an_export_says_what_the_log_does_and_opens_what_its_party_may_see(
    members: tuple[Actor, Actor, Actor], desk: Desk
) -> None:
    nor, deu, _ = members
    await nor.send()
    await relay_receipt(deu)
    for actor in (nor, deu):
        with pytest.raises(PolicyRefusedError):
            await actor.send(precedence=Precedence.OVERRIDE)
    await desk.relay.services.deliveries.tell()
    bundle = await desk.export("NOR")

    told = await logbook.read(desk.relay, ID)
    assert [one.index for one in bundle.events] == [one.index for one in told]
    for event, one in zip(bundle.events, told, strict=True):
        may = one.audience is None or "NOR" in one.audience
        said = {name: value for name, value in (one.said or {}).items() if value is not None}
        assert event.values == (said if may else None)
    closed = [one for one in bundle.events if one.values is None]
    assert {one.type for one in closed} == {EntryType.KEY, EntryType.REFUSED}
    (refused,) = bundle.opened(EntryType.REFUSED)
    assert (refused.values or {})["party"] == "NOR"
    assert bundle.manifest.disclosed == len(bundle.events) - len(closed)


async def relay_receipt(actor: Actor) -> None:
    """Send a receipt."""
    receipt = actor.message(kind=Kind.RECEIPT)
    await actor.relay.services.messages.accept(actor.caller, receipt)


def codes_in(data: bytes) -> set[bytes]:
    """Return the parties whose codes stand by themselves: digests in base64 have any three letters."""
    return set(re.findall(rb"(?<=[\"/,;: >])(NOR|DEU|SWE|FIN)(?=[\"/,;: <#])", data))


async def test_no_word_of_a_message_and_nothing_of_another_partnership_is_in_an_export(
    members: tuple[Actor, Actor, Actor], desk: Desk
) -> None:
    relay = desk.relay
    other = draft(relay, "SWE", "FIN", version_of="quiet-2026")
    for code in ("SWE", "FIN"):
        await relay.services.registry.add_party(relay.world.party(code).document)
    await relay.services.agreements.admit(Forum(relay, other).signed(other))
    swe, fin = [await relay.enrol(f"{code}/canary#d1") for code in ("swe", "fin")]
    await swe.open(other, fin)
    await swe.send(b"CANARY SONG")
    await members[0].send(b"CANARY SONG")
    with pytest.raises(PolicyRefusedError):
        await swe.send(precedence=Precedence.OVERRIDE)
    await fin.read_all()
    await relay.revoke(fin.device)
    await relay.services.deliveries.tell()
    await relay.services.root_log.keep()
    ours, theirs = await desk.export("NOR"), await desk.export("SWE", "quiet-2026")

    foreign = [
        b"canary", b"quiet-2026", swe.channel.value, str(swe.channel).encode(),
        relay.world.party("SWE").party.name.encode(),
    ]  # fmt: skip
    assert [word for word in foreign if word in ours.data] == []
    assert b"swe/canary#d1" in theirs.data
    assert [word for word in (b"nor/desk", ID.encode()) if word in theirs.data] == []
    assert (codes_in(ours.data), codes_in(theirs.data)) == ({b"NOR", b"DEU"}, {b"SWE", b"FIN"})
    for bundle in (ours, theirs):
        assert b"CANARY SONG" not in bundle.data


async def test_devices_that_a_party_never_met_are_not_named_to_its_auditors(
    members: tuple[Actor, Actor, Actor], desk: Desk
) -> None:
    relay = desk.relay
    stranger = await relay.enrol("deu/quiet-cell#d1")
    await relay.revoke(stranger.device)

    theirs, ours = await desk.export("NOR"), await desk.export("DEU")

    assert b"quiet-cell" not in theirs.data
    assert b"quiet-cell" in ours.data
    # That there is one more, and what became of it, is told all the same.
    partly = [one for one in theirs.opened(EntryType.KEY) if one.hidden]
    assert [(one.get("party"), one.get("act")) for one in partly] == [
        ("DEU", "certificate"),
        ("DEU", "revoked"),
    ]
    named = {one.text("subject") for one in theirs.opened(EntryType.KEY)}
    assert {str(actor.device.device) for actor in members} <= named


async def test_times_limit_what_is_opened_and_leave_out_whole_tiles(
    members: tuple[Actor, Actor, Actor], desk: Desk
) -> None:
    nor, _, _ = members
    for _ in range(150):
        await nor.send()
        await desk.relay.services.root_log.keep()
    before = len(await logbook.read(desk.relay, ID))
    assert before < 256
    for _ in range(260 - before):
        await nor.send()
    await desk.publish()
    desk.relay.clock.ms += _HOUR_MS
    since = desk.relay.clock.ms
    middle = [await nor.send() for _ in range(2)]
    await desk.publish()
    desk.relay.clock.ms += _HOUR_MS
    until = desk.relay.clock.ms
    await nor.send()
    await desk.publish()
    await nor.send()
    bundle = await desk.export("NOR", since=since, until=until)
    whole = await desk.export("NOR")

    assert bundle.manifest.facts.first == 256
    assert bundle.manifest.facts.end < whole.manifest.facts.end
    assert [one.seq for one in bundle.events if one.values] == [one.seq for one in middle]
    assert bundle.told.filters[0].startswith("from 20")
    assert bundle.told.filters[1].startswith("to 20")


async def test_the_log_tells_of_an_export_with_the_manifests_digest(
    members: tuple[Actor, Actor, Actor], desk: Desk
) -> None:
    bundle = await desk.export("DEU")
    told = Export.from_json(bundle.told.to_json())
    await desk.relay.services.exports.tell(told)
    following = await desk.export("NOR")

    (one,) = following.opened(EntryType.EXPORT)
    assert one.values == {
        "party": "DEU",
        "first": 0,
        "last": bundle.manifest.facts.end - 1,
        "filters": (),
        "count": bundle.manifest.disclosed,
        "digest": to_base64(bundle.manifest.digest),
    }
    root = of_type(await logbook.read(desk.relay, None), EntryType.ADMIN)
    assert (root[-1]["act"], root[-1]["subject"]) == ("export", ID)


async def test_report_and_parquet_come_along_on_request_and_say_the_same(
    members: tuple[Actor, Actor, Actor], desk: Desk
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    pytest.importorskip("pygal", reason="the extra report is not installed")
    await members[0].send()
    bundle = await desk.export("NOR", extras=True)

    with ZipFile(io.BytesIO(bundle.data)) as archive:
        assert b"<!doctype html>" in archive.read("report.html").lower()
        file = parquet.ParquetFile(io.BytesIO(archive.read("events.parquet")))
        table = file.read().to_pylist()
    assert [row["index"] for row in table] == [one.index for one in bundle.events]
    for row, event in zip(table, bundle.events, strict=True):
        assert row["type"] == event.type.value
        assert int(row["time"].timestamp() * 1000) == event.time
        assert row["opened"] == ("no" if event.values is None else "yes")
        for name in ("party", "device", "digest", "dtg", "added"):
            value = event.get(name)
            assert row[name] == (list(value) if isinstance(value, tuple) else value)


async def test_what_was_erased_is_closed_in_an_export_and_the_rest_verifies(
    members: tuple[Actor, Actor, Actor], desk: Desk
) -> None:
    await members[0].send()
    before = await desk.export()
    desk.relay.clock.ms += 400 * 24 * _HOUR_MS
    while (await desk.relay.services.retention.expire()).more:
        pass
    after = await desk.export()

    assert before.opened(EntryType.ACCEPTED)
    assert not after.opened(EntryType.ACCEPTED)
    assert after.opened(EntryType.COMMIT)
    assert {(one.values or {})["rule"] for one in after.opened(EntryType.ERASURE)} == {
        "contents", "openings",
    }  # fmt: skip


async def test_who_has_left_is_given_what_there_was_until_then(
    members: tuple[Actor, Actor, Actor], forum: Forum, desk: Desk
) -> None:
    await members[0].send()
    await forum.say("UN-OCHA", Step.WITHDRAW)
    before = await desk.export("UN-OCHA")
    forum.wait(2 * HOUR)
    await forum.amend(forum.next("NOR", "DEU"))
    await desk.publish()
    forum.wait(2 * HOUR)
    await desk.relay.enrol("nor/desk#d2")
    await desk.publish()
    after, whole = await desk.export("UN-OCHA"), await desk.export("NOR")

    assert after.opened(EntryType.ACCEPTED)
    assert after.events == before.events
    assert len(after.events) < len(whole.events)


async def test_what_can_not_be_exported_is_refused(forum: Forum, desk: Desk) -> None:
    relay = desk.relay
    await relay.services.registry.add_party(relay.world.party("SWE").document)
    refused: list[tuple[type[LiaisonError], Wanted]] = [
        (NothingToExportError, Wanted(ID, PartyCode("NOR"))),
        (UnknownAgreementError, Wanted("no-such", PartyCode("NOR"))),
        (ForeignPartyError, Wanted(ID, PartyCode("SWE"))),
    ]
    source = Source(relay.database, desk.publisher.root, relay.key, relay.clock)
    for error, wanted in refused:
        with pytest.raises(error):
            await exporting.export(source, wanted, io.BytesIO())
    await desk.publish()
    for since, until in ((None, 1), (relay.clock.ms + 1, None)):
        with pytest.raises(NothingToExportError):
            await exporting.export(source, Wanted(ID, PartyCode("NOR"), since, until), io.BytesIO())
    told = Export(ID, PartyCode("SWE"), 0, 1, (), 1, random_bytes(32))
    with pytest.raises(ForeignPartyError):
        await relay.services.exports.tell(told)


def test_a_file_gets_its_name_when_it_is_whole_and_never_anothers(tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    with contextlib.suppress(RuntimeError), exporting.new_file(path) as (file, _):
        file.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with exporting.new_file(path) as (file, finish):
        file.write(b"whole")
        assert not path.exists()
        finish()
    with pytest.raises(FileExistsError), exporting.new_file(path):
        pass

    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"whole"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_somebody_has_put_in_a_files_place_is_not_written_into(tmp_path: Path) -> None:
    path, other = tmp_path / "audit.zip", tmp_path / "other"
    other.write_bytes(b"mine")
    (tmp_path / ".audit.zip.part").symlink_to(other)

    with exporting.new_file(path) as (file, finish):
        file.write(b"openings")
        finish()

    assert other.read_bytes() == b"mine"
    assert not path.is_symlink()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"openings", 0o600)


async def test_a_log_and_its_successor_are_exported_each_by_itself_and_belong_together(
    desk: Desk, forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    await members[0].send()
    await desk.publish()
    old = await newest(forum.relay)
    forum.relay.recorder.refuse(ID, DAMAGE)
    new = successor(forum, old)
    await sign_all(forum, new)
    await go_on(members[0], new)
    await members[0].send()

    before, after = await desk.export(generation=1), await desk.export()

    assert before.manifest.facts.origin == old.origin
    assert (before.manifest.facts.end, before.manifest.facts.predecessor) == (old.size, None)
    assert before.told.filters == ("log 1",)
    facts = after.manifest.facts
    assert (facts.origin, facts.first) == (f"{old.origin}/2", 0)
    assert facts.predecessor == Predecessor(old.origin, old.size, State.decode(old.state).tree.root)
    first = after.events[0]
    assert (first.type, first.policy, first.get("size")) == (EntryType.CHECKPOINT, 2, old.size)
    found = await asyncio.to_thread(compare, io.BytesIO(before.data), io.BytesIO(after.data))
    assert found.sizes == (old.size,)
