"""Attachments, and what retention takes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select

from liaison.model import BlobId
from liaison.relay.services import Limits
from liaison.relay.services.blobs import CHUNK
from liaison.relay.services.errors import (
    BlobConflictError,
    BlobDigestError,
    BlobTooLargeError,
    DeviceRevokedError,
    NotMemberError,
    UnknownBlobError,
)
from liaison.storage import blobs, tables
from liaison.wire.frames import ItemKind
from tests.relay.services.harness import Actor, Relay, digest, fresh_id

DATA = bytes(range(256)) * (CHUNK // 256) * 2 + b"the last piece"


@pytest.fixture
async def nor(nor: Actor) -> Actor:
    """The device, in a channel of its own."""
    assert nor.agreement is not None
    await nor.open(nor.agreement)
    return nor


async def pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def put(actor: Actor, blob: BlobId, data: bytes = DATA, announced: bytes = b"") -> int:
    answer = await actor.relay.services.blobs.put(
        actor.caller, actor.channel, blob, announced or digest(data), pieces(data)
    )
    return answer.size


async def get(actor: Actor, blob: BlobId) -> bytes:
    stream = await actor.relay.services.blobs.get(actor.caller, actor.channel, blob)
    data = b"".join([chunk async for chunk in stream.chunks])
    assert (stream.size, stream.digest) == (len(data), digest(data))
    return data


async def rows(relay: Relay) -> tuple[int, int]:
    async with relay.database.read() as tx:
        whole = await tx.scalar(select(func.count()).select_from(tables.blobs))
        chunks = await tx.scalar(select(func.count()).select_from(tables.blob_chunks))
    return int(whole or 0), int(chunks or 0)


async def test_an_attachment_comes_back_as_it_went_in(relay: Relay, nor: Actor) -> None:
    blob = BlobId(fresh_id())

    assert await put(nor, blob) == len(DATA)
    assert await get(nor, blob) == DATA
    assert await rows(relay) == (1, 3)


async def test_an_empty_attachment_is_one_too(relay: Relay, nor: Actor) -> None:
    blob = BlobId(fresh_id())
    await put(nor, blob, b"")

    assert await get(nor, blob) == b""


async def test_the_same_bytes_again_are_stored_once(relay: Relay, nor: Actor) -> None:
    blob = BlobId(fresh_id())
    await asyncio.gather(put(nor, blob), put(nor, blob))
    await put(nor, blob)

    assert await rows(relay) == (1, 3)
    with pytest.raises(BlobConflictError):
        await put(nor, blob, b"other bytes")


async def test_bytes_with_another_digest_are_not_kept(relay: Relay, nor: Actor) -> None:
    blob = BlobId(fresh_id())

    with pytest.raises(BlobDigestError):
        await put(nor, blob, DATA, digest(b"announced"))

    assert await rows(relay) == (0, 0)
    with pytest.raises(UnknownBlobError):
        await get(nor, blob)


async def test_an_upload_that_breaks_off_leaves_nothing(relay: Relay, nor: Actor) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield DATA
        raise ConnectionResetError

    blob = BlobId(fresh_id())
    with pytest.raises(ConnectionResetError):
        await relay.services.blobs.put(nor.caller, nor.channel, blob, digest(DATA), broken())

    assert await rows(relay) == (0, 0)


async def test_an_attachment_over_the_limit_is_refused_while_it_comes(
    relay: Relay, nor: Actor
) -> None:
    relay.services = relay.build(Limits(max_blob=1000))

    with pytest.raises(BlobTooLargeError):
        await put(nor, BlobId(fresh_id()))
    assert await rows(relay) == (0, 0)


async def test_attachments_are_for_members(relay: Relay, nor: Actor) -> None:
    blob = BlobId(fresh_id())
    await put(nor, blob)
    deu = await relay.enrol("deu/lno-j3#d1")
    deu.channel = nor.channel

    with pytest.raises(NotMemberError):
        await put(deu, BlobId(fresh_id()))
    with pytest.raises(NotMemberError):
        await get(deu, blob)


async def test_what_comes_second_under_one_id_leaves_no_bytes_behind(
    relay: Relay, nor: Actor
) -> None:
    blob, other = BlobId(fresh_id()), b"other bytes"

    async def overtaken() -> AsyncIterator[bytes]:
        await put(nor, blob)
        yield other

    with pytest.raises(BlobConflictError):
        await relay.services.blobs.put(nor.caller, nor.channel, blob, digest(other), overtaken())

    assert await rows(relay) == (1, 3)


async def test_who_is_removed_or_revoked_while_uploading_leaves_nothing(
    relay: Relay, nor: Actor
) -> None:
    deu, third = [await relay.enrol(f"deu/lno-j3#d{n}") for n in (1, 2)]
    await nor.add(deu, third)

    async def while_removed() -> AsyncIterator[bytes]:
        await nor.remove(deu)
        yield DATA

    async def while_revoked() -> AsyncIterator[bytes]:
        await relay.revoke(third.device)
        yield DATA

    for actor, chunks, error in (
        (deu, while_removed(), NotMemberError),
        (third, while_revoked(), DeviceRevokedError),
    ):
        with pytest.raises(error):
            await relay.services.blobs.put(
                actor.caller, actor.channel, BlobId(fresh_id()), digest(DATA), chunks
            )
    assert await rows(relay) == (0, 0)


# --- retention ----------------------------------------------------------------------------


async def test_what_has_expired_becomes_a_gap_and_the_sequence_stays_whole(
    relay: Relay, nor: Actor
) -> None:
    deu = await relay.enrol("deu/lno-j3#d1")
    await nor.add(deu)
    await deu.read_all()
    short = nor.message(b"for an hour", expires=relay.clock.ms // 1000 + 3600)
    first = await relay.services.messages.accept(nor.caller, short)
    second = await nor.send(b"for longer")
    relay.clock.ms += 3_601_000
    expired = await relay.services.retention.expire()

    items = await deu.read_all()

    assert expired.messages == 1
    assert [(i.seq, i.kind) for i in items] == [
        (first.seq, ItemKind.GAP),
        (second.seq, ItemKind.MESSAGE),
    ]
    assert items[0].payload == b""
    assert (await relay.services.retention.expire()).messages == 0


async def test_attachments_go_with_the_policys_retention(relay: Relay, nor: Actor) -> None:
    blob = BlobId(fresh_id())
    await put(nor, blob)
    relay.clock.ms += 31 * 86_400_000

    expired = await relay.services.retention.expire()

    assert expired.attachments == 1
    assert await rows(relay) == (0, 0)


async def test_a_large_attachment_is_out_of_reach_at_once_and_its_bytes_go_pass_by_pass(
    relay: Relay, nor: Actor
) -> None:
    # So that no message waits for the deletion of a gigabyte.
    blob = BlobId(fresh_id())
    await put(nor, blob)
    relay.clock.ms += 31 * 86_400_000
    retention = relay.build(Limits(erase_at_once=2)).retention

    first = await retention.expire()

    assert first.more
    assert await rows(relay) == (1, 1)
    with pytest.raises(UnknownBlobError):
        await get(nor, blob)
    assert (await retention.expire()).erased == 2
    assert not (await retention.expire()).more
    assert await rows(relay) == (0, 0)


async def test_an_upload_that_a_crash_left_behind_is_deleted(relay: Relay, nor: Actor) -> None:
    async with relay.database.write() as tx:
        key = await blobs.begin(tx, 1, fresh_id(), nor.caller.key, bytes(32), now_ms=relay.clock())
        await blobs.add_chunk(tx, key, 0, b"half")
    early = await relay.services.retention.expire()
    relay.clock.ms += 25 * 3_600_000
    late = await relay.services.retention.expire()

    assert (early.erased, late.erased) == (0, 2)
    assert await rows(relay) == (0, 0)


async def test_a_pass_is_bounded_and_says_when_there_is_more(relay: Relay, nor: Actor) -> None:
    for _ in range(3):
        await relay.services.messages.accept(
            nor.caller, nor.message(expires=relay.clock.ms // 1000 + 10)
        )
    relay.clock.ms += 11_000
    retention = relay.build(Limits(expire_at_once=2)).retention

    passes = [await retention.expire() for _ in range(2)]

    assert [(p.messages, p.more) for p in passes] == [(2, True), (1, False)]
