"""Attachments: streamed in and out in chunks, whole or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import field
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison import words
from liaison.errors import UnavailableError
from liaison.model import BlobId, ChannelId, Precedence
from liaison.policy import lifecycle, sending
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.lifecycle import Participation
from liaison.relay.services.book import Book
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.errors import (
    AttachmentsFullError,
    BlobConflictError,
    BlobDigestError,
    BlobRangeError,
    BlobTooLargeError,
    NotMemberError,
    TooManyUploadsError,
    UnknownBlobError,
)
from liaison.relay.services.limits import Limits
from liaison.relay.services.refusals import Asked, Refusals
from liaison.relay.services.registry import check_standing
from liaison.relay.services.states import find_for_member
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import blobs, devices, members, usage
from liaison.storage.blobs import BlobRow
from liaison.storage.engine import Database
from liaison.values import dataclass
from liaison.wire import v1

CHUNK: Final = 256 << 10
"""Bytes in one row."""
_OVERHEAD: Final = 1 << 16
"""What encryption may add to an attachment of the size that a policy allows, at least."""
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class BlobStream:
    """A stored attachment, and its bytes from where they were asked for, to be read once."""

    size: int
    digest: bytes
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True)
class Blobs:
    """The attachment service."""

    database: Database
    writer: Writer
    book: Book
    clock: Callable[[], int]
    limits: Limits
    refusals: Refusals
    room: _Room = field(init=False)

    def __post_init__(self) -> None:
        """Have one place that knows of all uploads under way."""
        object.__setattr__(self, "room", _Room(self.limits))

    async def put(
        self,
        caller: DeviceCaller,
        channel: ChannelId,
        blob: BlobId,
        digest: bytes,
        chunks: AsyncIterator[bytes],
        size: int | None = None,
    ) -> v1.Blob:
        """Store an attachment; the same bytes again change nothing.

        Args:
            digest: SHA-256 that the bytes must have.
            chunks: the ciphertext in pieces of any size.
            size: how much will come, where that was announced.

        Raises:
            UnknownChannelError, NotMemberError: not there, or not for the caller.
            PolicyRefusedError: the caller's party does not take part, or the caller may not send
                attachments.
            TooManyUploadsError: the caller has enough uploads under way.
            AttachmentsFullError: the channel or the party has as much stored as it may.
            BlobTooLargeError: over the policy's or the relay's limit.
            BlobDigestError: the bytes do not have the digest. Nothing is kept.
            BlobConflictError: another attachment has this id.
        """
        asked = Asked(caller, "attach", channel=channel)
        return await self.refusals.watch(
            asked, self._put(caller, channel, blob, digest, chunks, size)
        )

    async def _put(
        self,
        caller: DeviceCaller,
        channel: ChannelId,
        blob: BlobId,
        digest: bytes,
        chunks: AsyncIterator[bytes],
        size: int | None,
    ) -> v1.Blob:
        async with self.database.read() as tx:
            row = await find_for_member(tx, channel, caller)
            agreement = (await self.book.agreement(tx, row.agreement)).agreement
            standing = (await self.book.life(tx, agreement.agreement_id)).standing
            known = await blobs.find(tx, row.key, blob.value)
            stored = await _stored(tx, row.key, caller.party_key)
        if known is not None:
            return _same(blob, known, digest)
        state = standing.participation(caller.party, self.clock() // 1000)
        if state is not Participation.ACTIVE:
            raise PolicyRefusedError(
                f"{caller.party} {lifecycle.in_words(state)}", rule=f"party.{state.value}"
            )
        policy = agreement.channel(row.policy)
        sending.attach(caller.id.endpoint, agreement, policy).require()
        allowed = policy.attachments.max_bytes
        most = min(self.limits.max_blob, allowed + allowed // 1000 + _OVERHEAD)
        if (size or 0) > most:
            raise _too_large(most)
        upload = _Upload(
            self.writer,
            self.clock,
            caller,
            row.key,
            blob,
            digest,
            most=most,
            keep_ms=policy.retention_days * _DAY_MS,
            erase_at_once=self.limits.erase_at_once,
        )
        with self.room.taken(caller, row.key, most if size is None else size, stored):
            return await upload.run(chunks)

    async def get(
        self, caller: DeviceCaller, channel: ChannelId, blob: BlobId, begin: int = 0
    ) -> BlobStream:
        """Return an attachment, read chunk by chunk, from a byte on.

        Raises:
            UnknownChannelError, NotMemberError: not there, or not for the caller.
            UnknownBlobError: the channel has no such attachment.
            BlobRangeError: it ends before `begin`.
        """
        async with self.database.read() as tx:
            row = await find_for_member(tx, channel, caller)
            found = await blobs.find(tx, row.key, blob.value)
        if found is None:
            raise UnknownBlobError(f"channel {channel} has no attachment {blob}")
        if begin and begin >= found.size:
            raise BlobRangeError(f"attachment {blob} has {found.size} bytes")
        return BlobStream(found.size, found.digest, self._chunks(found, begin))

    async def _chunks(self, found: BlobRow, begin: int) -> AsyncIterator[bytes]:
        # A transaction for each chunk: a slow reader holds no connection.
        first, skip = divmod(begin, CHUNK)
        for index in range(first, -(-found.size // CHUNK)):
            async with self.database.read() as tx:
                data = await blobs.chunk(tx, found.key, index)
            if data is None:
                raise UnknownBlobError("the attachment expired while it was read")
            yield data[skip:] if index == first else data


async def _stored(tx: AsyncConnection, channel: int, party: int) -> tuple[int, int]:
    in_channel = await usage.attachments_of_channel(tx, channel)
    return in_channel, await usage.attachments_of_party(tx, party)


def _too_large(most: int) -> BlobTooLargeError:
    return BlobTooLargeError(
        f"an attachment here has at most {most} bytes", hint="send it in parts, or another way"
    )


@dataclass
class _Room:
    """What uploads that are under way will take, beside what is stored."""

    limits: Limits
    _channels: Counter[int] = field(default_factory=Counter)
    _parties: Counter[int] = field(default_factory=Counter)
    _devices: Counter[int] = field(default_factory=Counter)

    @contextlib.contextmanager
    def taken(
        self, caller: DeviceCaller, channel: int, size: int, stored: tuple[int, int]
    ) -> Iterator[None]:
        """Keep room for an upload until it has ended.

        Args:
            caller: who uploads.
            channel: its key.
            size: bytes at most.
            stored: bytes of the channel, and of the caller's party.
        """
        self._check(caller, channel, size, stored)
        kept = (
            (self._channels, channel, size),
            (self._parties, caller.party_key, size),
            (self._devices, caller.key, 1),
        )
        for counts, key, more in kept:
            counts[key] += more
        try:
            yield
        finally:
            for counts, key, more in kept:
                counts[key] -= more
                if not counts[key]:
                    del counts[key]

    def _check(
        self, caller: DeviceCaller, channel: int, size: int, stored: tuple[int, int]
    ) -> None:
        if self._devices[caller.key] >= self.limits.uploads:
            raise TooManyUploadsError(
                f"this device has {words.count(self.limits.uploads, 'upload')} under way",
                hint="begin the next one when one has ended",
            )
        hint = "it takes more as old ones expire"
        if stored[0] + self._channels[channel] + size > self.limits.channel_attachments:
            raise AttachmentsFullError(
                f"the channel has {stored[0]} bytes of attachments", hint=hint
            )
        if stored[1] + self._parties[caller.party_key] + size > self.limits.party_attachments:
            raise AttachmentsFullError(
                f"{caller.party} has {stored[1]} bytes of attachments here", hint=hint
            )


def _same(blob: BlobId, known: BlobRow, digest: bytes) -> v1.Blob:
    if known.digest != digest:
        raise BlobConflictError(f"attachment {blob} was stored with other bytes")
    return v1.Blob(blob=str(blob), size=known.size, digest=known.digest)


@dataclass
class _Upload:
    """One upload: its chunks are rows of their own until the digest has matched."""

    writer: Writer
    clock: Callable[[], int]
    caller: DeviceCaller
    channel: int
    blob: BlobId
    digest: bytes
    most: int
    keep_ms: int
    erase_at_once: int

    async def run(self, chunks: AsyncIterator[bytes]) -> v1.Blob:
        key = await self.writer.submit(_Begin(self))
        kept = False
        try:
            size = await self._store(key, chunks)
            answer, kept = await self.writer.submit(_Complete(self, key, size))
        finally:
            if not kept:
                await self._drop(key)
        return answer

    async def _drop(self, key: int) -> None:
        try:
            while await self.writer.submit(_Drop(key, self.erase_at_once)):
                pass
        except UnavailableError:
            # The retention finds it; why the upload ended is what its sender has to hear.
            return

    async def check_caller(self, work: Work) -> None:
        """Check that the session's certificate still holds."""
        standing = await devices.standing(work.tx, [self.caller.certificate])
        check_standing(standing, self.caller, self.clock())

    async def _store(self, key: int, chunks: AsyncIterator[bytes]) -> int:
        hashed, size, index, waiting = hashlib.sha256(), 0, 0, bytearray()
        async for piece in chunks:
            size += len(piece)
            if size > self.most:
                raise _too_large(self.most)
            hashed.update(piece)
            waiting += piece
            while len(waiting) >= CHUNK:
                await self.writer.submit(_Chunk(key, index, bytes(waiting[:CHUNK])))
                del waiting[:CHUNK]
                index += 1
        if waiting:
            await self.writer.submit(_Chunk(key, index, bytes(waiting)))
        if hashed.digest() != self.digest:
            raise BlobDigestError(
                "the bytes do not have the digest that was announced", unchanged="nothing was kept"
            )
        return size


@dataclass
class _Begin(Operation[int]):
    upload: _Upload
    precedence: int = Precedence.ROUTINE

    async def apply(self, work: Work) -> int:
        upload = self.upload
        await upload.check_caller(work)
        return await blobs.begin(
            work.tx,
            upload.channel,
            upload.blob.value,
            upload.caller.key,
            upload.digest,
            now_ms=upload.clock(),
        )


@dataclass
class _Chunk(Operation[None]):
    blob: int
    index: int
    data: bytes
    # Bulk waits for everything else.
    precedence: int = Precedence.DEFERRED

    @property
    def size(self) -> int:  # type: ignore[override]  # computed where others store it
        """Bytes that wait."""
        return len(self.data)

    async def apply(self, work: Work) -> None:
        await blobs.add_chunk(work.tx, self.blob, self.index, self.data)


@dataclass
class _Drop(Operation[bool]):
    """Returns whether there is more to delete."""

    blob: int
    limit: int
    precedence: int = Precedence.DEFERRED

    async def apply(self, work: Work) -> bool:
        return await blobs.drop(work.tx, self.blob, limit=self.limit) >= self.limit


@dataclass
class _Complete(Operation[tuple[v1.Blob, bool]]):
    """Returns the attachment, and whether this upload is it."""

    upload: _Upload
    key: int
    size_: int
    precedence: int = Precedence.DEFERRED

    async def apply(self, work: Work) -> tuple[v1.Blob, bool]:
        upload = self.upload
        await upload.check_caller(work)
        if await members.find(work.tx, upload.channel, upload.caller.key) is None:
            raise NotMemberError(f"{upload.caller.id} is not a member of the channel any more")
        known = await blobs.find(work.tx, upload.channel, upload.blob.value)
        if known is not None:
            # Somebody else completed it meanwhile: one of the two is enough.
            return _same(upload.blob, known, upload.digest), False
        expires = upload.clock() + upload.keep_ms
        await blobs.complete(work.tx, self.key, self.size_, expires_at=expires)
        return v1.Blob(blob=str(upload.blob), size=self.size_, digest=upload.digest), True
