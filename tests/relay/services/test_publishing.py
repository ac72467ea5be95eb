from __future__ import annotations

import asyncio
import errno
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import update

from liaison.crypto.signing import SigningKey
from liaison.relay import log_status, tilestore
from liaison.relay.errors import LogRefusedError
from liaison.relay.held import CHUNK
from liaison.relay.tilestore import TileStore
from liaison.storage import tables
from liaison.tlog import merkle, tiles
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import ShrunkError
from liaison.tlog.note import Note
from liaison.tlog.tiles import Tile
from liaison.tlog.vkey import SignatureType, VerifierKey
from tests.support.databases import copied
from tests.support.logrig import (
    AGREEMENT,
    ORIGIN,
    Act,
    LogRig,
    Policies,
    new_signer,
    opened,
    policy_of,
)


@pytest.fixture
def signer() -> SigningKey:
    return new_signer()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
async def rig(database_url: str, folder: Path, signer: SigningKey) -> AsyncIterator[LogRig]:
    async with opened(database_url, folder, signer) as found:
        yield found


def nothing_there(tile: Tile) -> bytes:
    raise LookupError(tile.path)


async def check_shown(rig: LogRig) -> None:
    """Check that what is shown is the log, all of it: checkpoint, tiles, the database's row."""
    row = await rig.until_cosigned()
    entries = await rig.entries()
    shown = await rig.shown()
    root = merkle.root_of(merkle.hash_leaves(entries))
    assert shown == Checkpoint(row.origin, len(entries), root)
    assert row.published_size == len(entries)
    assert row.published is not None
    assert Checkpoint.parse(Note.decode(row.published).text) == shown
    for tile, data in tiles.grow(0, entries, nothing_there):
        assert await asyncio.to_thread(rig.store.stored, tile) == data, tile.path


async def test_what_was_recorded_is_shown_signed_with_its_tiles(rig: LogRig) -> None:
    await rig.act(3)
    await rig.publisher.publish()

    await check_shown(rig)


async def test_a_log_that_grows_can_be_read_at_every_size_that_was_shown(rig: LogRig) -> None:
    steps = random.Random(5)
    shown = []
    for _ in range(12):
        await rig.act(steps.choice([1, 3, 100, 256, 300]))
        await rig.publisher.publish(everything=False)
        shown.append(await rig.shown())

    await check_shown(rig)
    for checkpoint in shown:
        tree = rig.store.tree(checkpoint.size)
        assert await asyncio.to_thread(tree.root) == checkpoint.root


async def test_partial_tiles_go_when_the_full_ones_are_there(rig: LogRig) -> None:
    await rig.act(200)
    await rig.publisher.publish()
    partial = Tile(0, 0, 200)
    assert await asyncio.to_thread(rig.store.stored, partial) is not None

    await rig.act(100)
    await rig.publisher.publish()

    assert await asyncio.to_thread(rig.store.stored, partial) is None
    whole = await asyncio.to_thread(rig.store.stored, Tile(0, 0))
    assert whole is not None
    assert await asyncio.to_thread(rig.store.read, partial) == whole[: 200 * 32]


async def test_a_log_that_nobody_need_cosign_counts_when_it_is_signed(rig: LogRig) -> None:
    await rig.writer.submit(Act(2, agreement=None))
    await rig.publisher.publish()

    row = await rig.row(None)
    assert row.cosigned_size == row.published_size == 2


async def test_a_log_without_news_is_not_signed_again(rig: LogRig) -> None:
    await rig.act()
    await rig.publisher.publish()
    steps: list[str] = []
    rig.publisher.step = steps.append

    await rig.publisher.publish()

    assert "signed" not in steps


async def test_more_than_is_read_at_once_is_published_whole(
    database_url: str, folder: Path, signer: SigningKey
) -> None:
    async with opened(database_url, folder, signer) as first:
        await first.act(10)
        await first.publisher.publish()
        await first.act(CHUNK + 300)
        await first.publisher.publish()
        await check_shown(first)


async def test_lost_files_are_made_again(
    database_url: str, folder: Path, signer: SigningKey
) -> None:
    async with opened(database_url, folder, signer) as rig:
        await rig.act(600)
        await rig.publisher.publish()
        lost = [rig.store.root / Tile(None, 1).path, rig.store.root / Tile(0, 0).path]
    for path in lost:
        await asyncio.to_thread(path.unlink)

    async with opened(database_url, folder, signer) as rig:
        await rig.publisher.publish()
        await check_shown(rig)

    await asyncio.to_thread(shutil.rmtree, folder)
    async with opened(database_url, folder, signer) as rig:
        await rig.act(5)
        await rig.publisher.publish()
        await check_shown(rig)


async def test_a_changed_tile_stops_the_log(
    database_url: str, folder: Path, signer: SigningKey
) -> None:
    async with opened(database_url, folder, signer) as rig:
        await rig.act(300)
        await rig.publisher.publish()
        path = rig.store.root / Tile(0, 1, 44).path
    before = await asyncio.to_thread(path.read_bytes)
    await asyncio.to_thread(path.write_bytes, bytes(len(before)))

    async with opened(database_url, folder, signer) as rig:
        await rig.publisher.publish()

        with pytest.raises(LogRefusedError, match="is not what the log's entries give"):
            await rig.act()
        with pytest.raises(LogRefusedError):
            log_status.check(rig.publisher)
    assert await asyncio.to_thread(path.read_bytes) == bytes(len(before))


async def test_an_old_copy_of_the_database_is_refused(
    database_url: str, folder: Path, signer: SigningKey, tmp_path: Path
) -> None:
    async with opened(database_url, folder, signer) as rig:
        await rig.act(5)
        await rig.publisher.publish()
    old = await asyncio.to_thread(copied, database_url, tmp_path)
    async with opened(database_url, folder, signer) as rig:
        await rig.act(5)
        await rig.publisher.publish()
        shown = await rig.shown()

    async with opened(old, folder, signer) as rig:
        with pytest.raises(
            LogRefusedError, match="has 5 entries of the log and 10 were"
        ) as refused:
            await rig.act()
        await rig.publisher.publish()

        assert "restore the newest backup" in refused.value.hint
        assert "docs/operating/log.md" in refused.value.hint
        assert await rig.shown() == shown
        evidence = rig.store.root / "evidence"
        kept = await asyncio.to_thread(lambda: sorted(path.name for path in evidence.iterdir()))
    assert [name.rpartition("-")[0] for name in kept] == [
        "log.shrunk-database",
        "log.shrunk-signed",
    ]


@pytest.mark.parametrize("more", [6, CHUNK + 6])
async def test_another_history_is_refused_and_none_of_it_is_written(
    database_url: str, folder: Path, signer: SigningKey, tmp_path: Path, more: int
) -> None:
    async with opened(database_url, folder, signer) as rig:
        await rig.act(5)
        await rig.publisher.publish()
    old = await asyncio.to_thread(copied, database_url, tmp_path)
    async with opened(database_url, folder, signer) as rig:
        await rig.act(5)
        await rig.publisher.publish()
        shown = await rig.shown()
    # The old copy went on elsewhere, with other files.
    async with opened(old, tmp_path / "elsewhere", signer) as rig:
        await rig.act(more, "other")

    async with opened(old, folder, signer) as rig:
        await rig.publisher.publish()

        with pytest.raises(LogRefusedError, match="does not go on where"):
            await rig.act()
        assert await rig.shown() == shown
    async with opened(database_url, folder, signer) as rig:
        await rig.act()
        await rig.publisher.publish()
        await check_shown(rig)


async def test_what_an_old_copy_wrote_and_nobody_saw_is_replaced_when_the_right_one_is_back(
    database_url: str, folder: Path, signer: SigningKey, tmp_path: Path
) -> None:
    async with opened(database_url, folder, signer) as rig:
        await rig.act(3)
        await rig.publisher.publish()
    copy = await asyncio.to_thread(copied, database_url, tmp_path)
    key = VerifierKey.of("w.example", SignatureType.COSIGNATURE_ED25519, new_signer())
    # Its only witness is away: it writes what is recorded, and signs nothing.
    away = Policies(policy_of([("w.example", key)], 1))
    async with opened(copy, folder, signer, policies=away, urls={"w.example": "x"}) as rig:
        await rig.act(300, "other")
        await rig.publisher.publish()
        assert (await rig.shown()).size == 3

    async with opened(database_url, folder, signer) as rig:
        await rig.act(297, "true")
        await rig.publisher.publish()
        await check_shown(rig)
        assert (await rig.shown()).size == 300


async def test_a_database_that_does_not_have_what_it_says_was_signed_is_refused(
    database_url: str, folder: Path, signer: SigningKey
) -> None:
    other = Checkpoint(ORIGIN, 5, bytes(32))
    async with opened(database_url, folder, signer) as rig:
        await rig.act(5)
        await rig.publisher.publish()
        row = await rig.row()
        note = Note(other.text).signed_by(rig.key, signer)
        async with rig.database.write() as tx:
            await tx.execute(update(tables.logs).values(published=note.encode()))
    # Without its files there is nothing else to go by.
    await asyncio.to_thread(shutil.rmtree, folder)

    async with opened(database_url, folder, signer) as rig:
        await rig.publisher.publish()
        with pytest.raises(LogRefusedError, match="does not have the 5 entries that were signed"):
            await rig.act()
    assert row.published_size == other.size


async def test_a_log_is_refused_though_the_evidence_can_not_be_kept(
    database_url: str, folder: Path, signer: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_store: TileStore, _name: str, _data: bytes) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with opened(database_url, folder, signer) as rig:
        await rig.act(300)
        await rig.publisher.publish()
        path = rig.store.root / Tile(0, 1, 44).path
    await asyncio.to_thread(path.write_bytes, bytes(44 * 32))
    monkeypatch.setattr(TileStore, "keep_evidence", full)

    async with opened(database_url, folder, signer) as rig:
        await rig.publisher.publish()
        assert AGREEMENT in rig.recorder.refused


async def test_a_folder_that_could_not_be_synced_is_synced_before_a_checkpoint_is_shown(
    rig: LogRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, sync = set(), tilestore._sync_folder

    def fails(path: Path) -> None:
        if path.name == "000.p" and path not in synced:
            synced.add(path)
            raise OSError(errno.EIO, "Input/output error")
        sync(path)

    await rig.act(3)
    monkeypatch.setattr(tilestore, "_sync_folder", fails)
    await rig.publisher.publish()
    assert synced
    assert await asyncio.to_thread(rig.store.checkpoint) is None

    await rig.publisher.publish()
    await check_shown(rig)


async def test_a_checkpoint_by_another_key_is_refused(
    database_url: str, folder: Path, signer: SigningKey
) -> None:
    async with opened(database_url, folder, signer) as rig:
        await rig.act(5)
        await rig.publisher.publish()

    async with opened(database_url, folder, new_signer()) as rig:
        with pytest.raises(LogRefusedError):
            log_status.check(rig.publisher)


async def test_one_refused_log_stops_its_partnership_and_no_other(rig: LogRig) -> None:
    for agreement in (None, AGREEMENT, "other"):
        await rig.writer.submit(Act(1, agreement=agreement))
    await rig.publisher.publish()
    assert log_status.problems(rig.publisher) == []

    rig.recorder.refuse(AGREEMENT, ShrunkError())
    log_status.check(rig.publisher)
    assert log_status.problems(rig.publisher) == ["log.refused"]

    rig.recorder.refuse("other", ShrunkError())
    with pytest.raises(LogRefusedError, match="the logs of all partnerships are refused"):
        log_status.check(rig.publisher)


async def test_a_relay_whose_own_log_is_refused_serves_nobody(rig: LogRig) -> None:
    await rig.act()
    await rig.publisher.publish()
    rig.recorder.refuse(None, ShrunkError())

    with pytest.raises(LogRefusedError, match="the relay's own log is refused"):
        log_status.check(rig.publisher)


async def test_two_passes_at_once_are_one_after_the_other(rig: LogRig) -> None:
    await rig.act(3)
    await asyncio.gather(*(rig.publisher.publish() for _ in range(5)))
    await rig.act(3)
    await asyncio.gather(*(rig.publisher.publish(everything=bool(n % 2)) for n in range(5)))

    assert not rig.recorder.refused
    await check_shown(rig)


async def test_a_pass_that_is_cut_off_leaves_no_log_half_begun(
    rig: LogRig, recwarn: pytest.WarningsRecorder
) -> None:
    for number in range(12):
        await rig.writer.submit(Act(1, agreement=f"alliance-{number}"))
    reached = asyncio.Event()
    rig.publisher.step = lambda name: reached.set() if name == "tiles" else None
    cut_off = asyncio.create_task(rig.publisher.publish())
    await reached.wait()
    cut_off.cancel()
    await asyncio.gather(cut_off, return_exceptions=True)

    await rig.act(3)
    await rig.publisher.publish()
    await check_shown(rig)
    assert not [str(warning.message) for warning in recwarn]
