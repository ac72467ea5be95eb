"""Backups: made while the relay serves, checked, restored, and known for what they are."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import func, select

from liaison.errors import LiaisonError
from liaison.policy import signing
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay import admin, backup, checks, files, restored, restoring, settings, tilestore
from liaison.relay.app import Clocks
from liaison.relay.backup import (
    BackupDamagedError,
    BackupError,
    BackupExistsError,
    BackupImpossibleError,
    Manifest,
)
from liaison.relay.checks import Verdict
from liaison.relay.errors import LogRefusedError
from liaison.relay.files import DataDir
from liaison.relay.recording import origin_of
from liaison.relay.restoring import RootUnknownError, RootWord
from liaison.relay.settings import TLSMode
from liaison.storage.engine import Database
from liaison.storage.tables import items
from liaison.tlog.errors import ForkError, ShrunkError
from liaison.wire import v1
from tests.relay.services.harness import NOW
from tests.relay.test_exchange import (
    ATTACHE,
    OFFICER,
    Party,
    Scene,
    accepted,
    add_officer,
    enter,
    until_caught_up,
)
from tests.relay.test_log_serving import (  # noqa: F401 - fixtures among them
    AGREEMENT,
    Log,
    admit,
    log,
    serving,
    witnesses,
)
from tests.support.client import RawClient, RawStream
from tests.support.people import people_of
from tests.support.relay import RelayProcess, RunningRelay, free_port, make, running
from tests.support.witness import RunningWitness
from tests.support.world import World

CLOCKS = Clocks(now_ms=lambda: NOW * 1000)
SECONDS = 30


@pytest.fixture
def world() -> World:
    return World(now=NOW)


def back_up(data: Path, target: Path) -> Manifest:
    return backup.make(DataDir(data), settings.load(data), target, NOW * 1000)


def root_checkpoint(folder: Path) -> bytes | None:
    """The checkpoint of the relay's own log that is in a backup, or in a data directory."""
    public = RelayIdentity.parse((folder / "relay.json").read_bytes())
    kept = tilestore.folder(folder / "log", origin_of(public.origin, None))
    return tilestore.checkpoint(kept)


def restore(
    source: Path, data: Path, keys: Path | None = None, root: RootWord | None = None
) -> restoring.Restored:
    if root is None:
        root = RootWord(root_checkpoint(source))
    return restoring.restore(source, DataDir(data), keys, root, NOW * 1000)


@asynccontextmanager
async def channel_of_two(relay: RunningRelay, world: World) -> AsyncIterator[Scene]:
    async with people_of(relay, world) as people:
        await people.agreement("NOR", "DEU")
        attache, officer = await enter(people, ATTACHE), await enter(people, OFFICER)
        document = await attache.client.get("/v1/agreements/nor-deu-2026")
        agreement = signing.verify(v1.Document.model_validate_json(document.body).envelope)
        created = await attache.client.post("/v1/channels", attache.mls.new_channel(agreement))
        assert created.status == 201, created.body
        officer.mls.channel, officer.mls.agreement = attache.mls.channel, agreement
        scene = Scene(relay, people, attache, officer)
        await add_officer(scene)
        yield scene


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stopped relay that has signed the beginning of its own log, and its backup."""
    folder = tmp_path_factory.mktemp("kept")

    async def begin() -> None:
        async with running(folder / "relay") as relay:
            await relay.admit_party(World().party("NOR").document)
            await relay.app.publisher.publish()

    asyncio.run(begin())
    back_up(folder / "relay", folder / "backup")
    return folder


@pytest.fixture
def whole(kept: Path, tmp_path: Path) -> Path:
    """A copy of that backup; the relay is beside it."""
    for name in ("relay", "backup"):
        shutil.copytree(kept / name, tmp_path / name, ignore=shutil.ignore_patterns("*.sock"))
    return tmp_path / "backup"


@dataclass
class Stood:
    """A relay that was stopped, and whoever used it."""

    port: int
    data: Path
    attache: Party
    officer: Party


@pytest.fixture
async def stopped(tmp_path: Path, world: World) -> Stood:
    """A relay that was stopped with a message that the officer has not fetched."""
    port, data = free_port(), tmp_path / "relay"
    async with (
        running(data, port=port, clocks=CLOCKS) as relay,
        channel_of_two(relay, world) as scene,
    ):
        sender = await scene.attache.stream(deliver=False)
        await send(scene.attache, sender, b"one")
        await relay.app.publisher.publish()
        return Stood(port, data, scene.attache, scene.officer)


async def send(who: Party, stream: RawStream, text: bytes) -> int:
    await stream.send(who.mls.message(text))
    return (await accepted(stream)).seq


@asynccontextmanager
async def back(relay: RunningRelay, who: Party) -> AsyncIterator[Party]:
    """The device comes back to a relay that was started anew."""
    device = who.mls.id
    async with RawClient(relay.url, relay.ca, relay.identity, device, who.mls.signer) as client:
        assert (await client.login()).status == 201
        yield Party(client, who.mls)


async def stored(path: Path) -> int:
    database = Database.open(f"sqlite:///{path}")
    try:
        async with database.read() as tx:
            return int((await tx.scalar(select(func.count()).select_from(items))) or 0)
    finally:
        await database.close()


def everything_in(folder: Path) -> dict[str, bytes]:
    # The lock is an empty file that whoever looks may have made.
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "relay.lock"
    }


async def test_a_backup_under_load_is_whole_and_has_all_that_was_acknowledged(
    tmp_path: Path, world: World
) -> None:
    done, numbers = asyncio.Event(), list[int]()
    sixth = asyncio.Event()

    async def load(who: Party) -> None:
        stream = await who.stream(deliver=False)
        while not done.is_set():
            numbers.append(await send(who, stream, b"%d" % len(numbers)))
            if len(numbers) >= 6:
                sixth.set()

    async with (
        running(tmp_path / "relay", clocks=CLOCKS) as relay,
        channel_of_two(relay, world) as scene,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(load(scene.attache))
        async with asyncio.timeout(SECONDS):
            await sixth.wait()
        before = numbers[-1]
        made = await asyncio.to_thread(back_up, relay.data, tmp_path / "backup")
        done.set()

    copy = tmp_path / "backup"
    # The channel's items have no gaps, and their first number is 0.
    assert await stored(copy / "relay.db") > before
    assert not made.was_stopped
    assert await asyncio.to_thread(backup.read, copy) == made
    assert {one.origin for one in await asyncio.to_thread(backup.verify, copy)} == set(made.logs)


async def test_a_restored_relay_goes_on_where_it_was_stopped(
    tmp_path: Path, stopped: Stood
) -> None:
    copy, anew = tmp_path / "backup", tmp_path / "anew"
    made = await asyncio.to_thread(back_up, stopped.data, copy)
    done = await asyncio.to_thread(restore, copy, anew, stopped.data / "keys")

    async with (
        running(anew, port=stopped.port, clocks=CLOCKS) as relay,
        back(relay, stopped.attache) as attache,
        back(relay, stopped.officer) as officer,
    ):
        sender = await attache.stream(deliver=False)
        await send(attache, sender, b"two")
        delivered = await until_caught_up(await officer.stream())
        await relay.app.publisher.publish()
        assert not relay.app.recorder.refused

    assert made.was_stopped
    assert (done.manifest, done.missing_keys) == (made, "")
    # The welcome, and both messages.
    assert len(delivered) == 3
    mark = await asyncio.to_thread(restored.Mark.read, DataDir(anew))
    assert mark == restored.Mark(NOW * 1000, NOW * 1000, was_stopped=True)


def test_a_backup_has_no_private_key_and_nobody_else_can_read_it(kept: Path) -> None:
    found = everything_in(kept / "backup")
    secrets = [path.read_bytes() for path in (kept / "relay" / "keys").iterdir()]

    assert {name.partition("/")[0] for name in found} == {
        "log", "manifest.json", "relay.db", "relay.json",
    }  # fmt: skip
    assert not any(secret in data for secret in secrets for data in found.values())
    for path in (kept / "backup", *(kept / "backup").rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_without_its_keys_a_restored_relay_says_so(tmp_path: Path, kept: Path) -> None:
    done = restore(kept / "backup", tmp_path / "anew")

    assert "keys" in done.missing_keys


def cut(copy: Path) -> None:
    (copy / "relay.db").write_bytes((copy / "relay.db").read_bytes()[:-1])


def flip(copy: Path) -> None:
    data = bytearray((copy / "relay.db").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "relay.db").write_bytes(data)


def lose(copy: Path) -> None:
    next(copy.glob("log/*/checkpoint")).unlink()


def unfinished(copy: Path) -> None:
    (copy / "manifest.json").unlink()


def lead_out(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["../../etc/passwd"] = manifest["files"]["relay.json"]
    (copy / "manifest.json").write_text(json.dumps(manifest))


def from_the_future(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "format": "other/2"}))


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (cut, BackupDamagedError),
        (flip, BackupDamagedError),
        (lose, BackupDamagedError),
        (unfinished, BackupError),
        (lead_out, BackupError),
        (from_the_future, BackupError),
    ],
)
def test_a_damaged_backup_is_refused_and_nothing_is_made_of_it(
    tmp_path: Path, whole: Path, damage: Callable[[Path], None], error: type[Exception]
) -> None:
    damage(whole)

    with pytest.raises(error):
        restore(whole, tmp_path / "anew")

    assert not (tmp_path / "anew").exists()


def test_a_log_whose_entries_are_not_those_that_were_signed_is_found(
    tmp_path: Path, whole: Path
) -> None:
    data = tmp_path / "relay"
    connection = backup._connect(data / "relay.db")
    connection.execute("PRAGMA query_only = OFF")
    connection.execute("UPDATE log_entries SET data = x'00' WHERE \"index\" = 0")
    connection.commit()
    connection.close()

    with pytest.raises(ForkError):
        back_up(data, tmp_path / "second")

    assert not list(tmp_path.glob("second*"))


async def test_a_backup_older_than_what_was_signed_is_refused_where_that_is_still_known(
    tmp_path: Path, stopped: Stood
) -> None:
    await asyncio.to_thread(back_up, stopped.data, tmp_path / "backup")
    async with (
        running(stopped.data, port=stopped.port, clocks=CLOCKS) as relay,
        back(relay, stopped.attache) as attache,
    ):
        await send(attache, await attache.stream(deliver=False), b"two")
        await relay.app.publisher.publish()

    def lose_the_database() -> dict[str, bytes]:
        for path in stopped.data.glob("relay.db*"):
            path.unlink()
        return everything_in(stopped.data)

    before = await asyncio.to_thread(lose_the_database)
    with pytest.raises(ShrunkError) as caught:
        await asyncio.to_thread(restore, tmp_path / "backup", stopped.data)

    assert caught.value.unchanged == "nothing was restored"
    assert await asyncio.to_thread(everything_in, stopped.data) == before


async def test_a_lost_database_is_restored_beside_the_log_and_the_keys_that_are_left(
    tmp_path: Path, stopped: Stood
) -> None:
    await asyncio.to_thread(back_up, stopped.data, tmp_path / "backup")

    def lose_and_restore() -> restoring.Restored:
        for path in stopped.data.glob("relay.db*"):
            path.unlink()
        return restore(tmp_path / "backup", stopped.data)

    done = await asyncio.to_thread(lose_and_restore)
    async with running(stopped.data, port=stopped.port, clocks=CLOCKS) as relay:
        await relay.app.check_ready()

    assert done.missing_keys == ""


def test_a_log_that_the_backup_does_not_know_shows_that_it_is_old(
    tmp_path: Path, whole: Path
) -> None:
    anew = tmp_path / "anew"
    shutil.copytree(tmp_path / "relay" / "log", anew / "log")
    known = next(anew.glob("log/*/checkpoint"))
    files.make_private_directory(anew / "log" / ("0" * 16))
    shutil.copy(known, anew / "log" / ("0" * 16) / "checkpoint")

    with pytest.raises(ShrunkError, match="does not know"):
        restore(whole, anew)


def test_nothing_is_written_over(tmp_path: Path, whole: Path) -> None:
    other = make(tmp_path / "other", free_port())
    before = everything_in(other.path)

    with pytest.raises(BackupExistsError):
        back_up(tmp_path / "relay", whole)
    with pytest.raises(BackupExistsError, match="another relay"):
        restore(whole, other.path)
    with pytest.raises(BackupExistsError, match=r"relay\.db is there"):
        restore(whole, tmp_path / "relay")

    assert everything_in(other.path) == before


def test_a_relay_on_postgresql_is_told_what_backs_it_up(tmp_path: Path) -> None:
    data = make(tmp_path / "relay", free_port())
    chosen = settings.load(data.path, database_url="postgresql://liaison@db.example/liaison")

    with pytest.raises(BackupImpossibleError) as caught:
        backup.make(data, chosen, tmp_path / "backup", NOW * 1000)

    assert "pg_basebackup" in caught.value.hint
    assert not (tmp_path / "backup").exists()


def test_the_operator_backs_up_a_running_relay_and_restores_it(tmp_path: Path) -> None:
    process = RelayProcess(tmp_path / "relay")
    make(process.data, process.port)
    process.start()

    made = process.run("backup", tmp_path / "backup")
    process.terminate()
    anew = RelayProcess(tmp_path / "anew", process.port)
    unsure = anew.run("restore", tmp_path / "backup", check=False)
    done = anew.run(
        "restore", tmp_path / "backup", "--keys", process.data / "keys", "--lost-root-log"
    )
    begun = anew.run("log", "begin-root")
    anew.start()
    anew.terminate()

    assert made.stdout.startswith(f"wrote {tmp_path / 'backup'}: ")
    assert "the relay is running" in made.stderr
    assert (unsure.returncode, "--root-checkpoint" in unsure.stderr) == (1, True)
    assert "log begin-root" in done.stderr
    assert begun.stdout.startswith(f"127.0.0.1:{process.port}/root-log/2 follows the first ")
    assert done.stdout.startswith(f"restored 127.0.0.1:{process.port} as it was at ")
    events = [json.loads(line)["event"] for line in anew.log.read_text().splitlines()]
    assert events.index("restored_copy") < events.index("listening")


@dataclass
class Grown:
    """A relay whose own log has grown since its backup."""

    port: int
    data: Path
    backup: Path


@pytest.fixture
async def grown(tmp_path: Path, world: World) -> Grown:
    found = Grown(free_port(), tmp_path / "relay", tmp_path / "backup")
    for code in ("NOR", "DEU"):
        async with running(found.data, port=found.port) as relay:
            await relay.admit_party(world.party(code).document)
            await relay.app.publisher.publish()
        if code == "NOR":
            await asyncio.to_thread(back_up, found.data, found.backup)
    return found


def test_an_old_backup_is_known_by_what_the_root_log_has_shown_since(
    tmp_path: Path, grown: Grown
) -> None:
    anew, shown = tmp_path / "anew", root_checkpoint(grown.data)
    assert shown is not None
    forged = shown.replace(b"root-log\n", b"root-log/7\n", 1)
    changed = shown[:-10] + b"A" + shown[-9:]

    for root, error in (
        (RootWord(), RootUnknownError),
        (RootWord(shown), ShrunkError),
        (RootWord(forged), RootUnknownError),
        (RootWord(changed), LiaisonError),
        (RootWord(b"nothing of the kind"), LiaisonError),
    ):
        with pytest.raises(error) as caught:
            restore(grown.backup, anew, root=root)
        assert caught.value.unchanged == "nothing was restored"

    assert everything_in(anew) == {}


async def test_a_root_log_whose_end_is_lost_gets_a_successor_before_anything_is_signed(
    tmp_path: Path, grown: Grown, world: World
) -> None:
    anew = tmp_path / "anew"
    lost = RootWord(is_lost=True)
    await asyncio.to_thread(restore, grown.backup, anew, grown.data / "keys", lost)
    before = await asyncio.to_thread(root_checkpoint, anew)

    async with running(anew, port=grown.port) as relay:
        await relay.app.publisher.publish()
        with pytest.raises(LogRefusedError):
            await relay.app.check_ready()
        with pytest.raises(LiaisonError):
            await relay.admit_party(world.party("SWE").document)
        begun = await admin.perform_on(relay.app, {"do": "log.begin_root"})
        await relay.admit_party(world.party("SWE").document)
        await relay.app.publisher.publish()
    async with running(anew, port=grown.port) as relay:
        await relay.app.check_ready()

    assert begun["log"] == f"{begun['predecessor']['origin']}/2"
    assert await asyncio.to_thread(root_checkpoint, anew) == before


async def test_witnesses_know_a_relay_that_was_restored_from_an_old_backup(
    tmp_path: Path,
    witnesses: tuple[RunningWitness, RunningWitness],  # noqa: F811
    log: Log,  # noqa: F811
) -> None:
    port, data, anew, people = free_port(), tmp_path / "relay", tmp_path / "anew", World()
    async with serving(data, port, witnesses, log) as relay:
        await admit(relay, people, *witnesses)
        await log.until_cosigned(relay)
        await asyncio.to_thread(back_up, data, tmp_path / "backup")
        async with people_of(relay, people) as devices:
            await devices.enrol("nor/desk#1")
        await log.until_cosigned(relay)
    await asyncio.to_thread(restore, tmp_path / "backup", anew, data / "keys")

    chosen = {"listen": f"127.0.0.1:{port}", "tls": TLSMode.DEV}
    async with serving(anew, port, witnesses, log) as relay:
        async with asyncio.timeout(SECONDS):
            while AGREEMENT not in relay.app.recorder.refused:
                log.news.clear()
                await log.news.wait()
        found = await asyncio.to_thread(
            checks.run, DataDir(anew), lambda: settings.load(anew, **chosen)
        )

    told = {one.check: one for one in found}
    assert told["log"].verdict is Verdict.FAILED
    assert told["restored"].verdict is Verdict.WARNING
    assert "not every log is confirmed" in told["restored"].text
