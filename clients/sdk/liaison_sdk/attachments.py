"""Files that travel with messages: encrypted piece by piece, in bounded memory.

Each file gets a fresh key. It is encrypted once, into a spool file of the
device's folder, and uploaded from there, so that an upload which is repeated
sends the same bytes: the key never meets a second content, even where the
original changes meanwhile. Disk is read and written in threads.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, Final, cast

from liaison.crypto import secret
from liaison.crypto.errors import CryptoError
from liaison.crypto.secret import CHUNK_OVERHEAD, CHUNK_SIZE
from liaison.envelope.attachment import KEY_BYTES, Attachment
from liaison.errors import MalformedError
from liaison.model import BlobId, ChannelId
from liaison.policy import contents
from liaison.policy.channel_policy import ChannelPolicy
from liaison.values import dataclass
from liaison.wire.problems import RemoteError
from liaison_sdk import files, transfers
from liaison_sdk.environment import Environment
from liaison_sdk.errors import (
    AttachmentExistsError,
    AttachmentTamperedError,
    ConnectionLostError,
)
from liaison_sdk.names import safe_name

SPOOL: Final = "spool"
DEFAULT_TYPE: Final = "application/octet-stream"
_SEALED_CHUNK: Final = CHUNK_SIZE + CHUNK_OVERHEAD
_BLOCK: Final = 16
"""Chunks that one turn in a thread works off."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is; bytes of the file."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class OutgoingFile:
    """A file to attach, where its name or type should not follow from its path."""

    path: Path
    filename: str = ""
    media_type: str = ""
    description: str = ""

    @property
    def name(self) -> str:
        """The name that travels."""
        return safe_name(self.filename or self.path.name)

    @property
    def type(self) -> str:
        """The media type that travels."""
        return self.media_type or mimetypes.guess_type(self.name)[0] or DEFAULT_TYPE


Report = Callable[[Progress], None]


async def check_rules(policy: ChannelPolicy, outgoing: list[OutgoingFile]) -> None:
    """Check files against the channel's policy, before anything is read of them.

    Raises:
        PolicyRefusedError: too many, too large, or of a kind that is not allowed.
        OSError: a file can't be read.
    """
    refusal = contents.check_count(len(outgoing), policy)
    for file in outgoing:
        if refusal is not None:
            break
        size = (await asyncio.to_thread(file.path.stat)).st_size
        refusal = contents.check_file(file.name, file.type, size, policy)
    if refusal is not None:
        refusal.require()


# --- up ---------------------------------------------------------------------------------


async def upload(
    env: Environment,
    home: Path,
    channel: ChannelId,
    file: OutgoingFile,
    report: Report | None = None,
) -> Attachment:
    """Encrypt a file and leave the ciphertext at the relay.

    Raises:
        OSError: the file can't be read.
        RemoteError: the relay refused.
        ConnectionLostError: it could not be reached several times in a row.
    """
    key = env.options.rng(KEY_BYTES)
    spool = await asyncio.to_thread(_spool, home, file.path, key)
    try:
        attachment = Attachment(
            blob_id=BlobId(env.options.rng(16)),
            size=spool.size,
            key=key,
            digest=spool.digest,
            filename=file.name,
            media_type=file.type,
            description=file.description,
        )
        await _put(env, channel, attachment, spool, report)
    finally:
        await asyncio.to_thread(spool.file.close)
    return attachment


@dataclass(frozen=True, slots=True)
class _Spool:
    file: BinaryIO
    """Without a name: it is gone with the process, however that ends."""
    size: int
    digest: bytes


def _spool(home: Path, source: Path, key: bytes) -> _Spool:
    folder = files.private_folder(home / SPOOL)
    sealed = cast("BinaryIO", tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - the caller closes it after the upload
    try:
        with source.open("rb") as plain:
            return _seal(plain, sealed, key)
    except BaseException:
        sealed.close()
        raise


def _seal(plain: BinaryIO, sealed: BinaryIO, key: bytes) -> _Spool:
    digest, size, index = hashlib.sha256(), 0, 0
    piece = plain.read(CHUNK_SIZE)
    while True:
        following = plain.read(CHUNK_SIZE)
        chunk = secret.seal_chunk(key, index, not following, piece)
        sealed.write(chunk)
        digest.update(chunk)
        size += len(piece)
        index += 1
        if not following:
            return _Spool(sealed, size, digest.digest())
        piece = following


async def _put(
    env: Environment,
    channel: ChannelId,
    attachment: Attachment,
    spool: _Spool,
    report: Report | None,
) -> None:
    patience = transfers.Patience(env)
    while True:
        try:
            await env.api.put_blob(
                channel,
                attachment.blob_id,
                attachment.digest,
                secret.sealed_size(attachment.size),
                _pieces(spool.file, attachment, report),
            )
        except (ConnectionLostError, RemoteError) as error:
            await patience.after(error)
        else:
            return


async def _pieces(
    file: BinaryIO, attachment: Attachment, report: Report | None
) -> AsyncIterator[bytes]:
    done = 0
    await asyncio.to_thread(file.seek, 0)
    while piece := await asyncio.to_thread(file.read, _BLOCK * _SEALED_CHUNK):
        yield piece
        done = min(done + _BLOCK * CHUNK_SIZE, attachment.size)
        if report is not None:
            report(Progress(attachment.filename, done, attachment.size))


# --- down -------------------------------------------------------------------------------


async def download(
    env: Environment,
    channel: ChannelId,
    attachment: Attachment,
    target: Path,
    *,
    name: str = "",
    overwrite: bool = False,
    report: Report | None = None,
) -> Path:
    """Fetch a file, check every piece of it, and give it its name when it is whole.

    Args:
        env: the client's surroundings.
        channel: that the message came in.
        attachment: from the message.
        target: the file, or a folder for it.
        name: in a folder; the sender's where left out.
        overwrite: whether a file of this name is replaced.
        report: told of progress.

    Raises:
        AttachmentExistsError: there is a file of this name.
        AttachmentTamperedError: the relay's bytes are not what the sender described.
        RemoteError, ConnectionLostError: it could not be fetched.
        OSError: it could not be written.
    """
    if await asyncio.to_thread(target.is_dir):
        target = target / safe_name(name or attachment.filename)
    if not overwrite and await asyncio.to_thread(target.exists):
        raise AttachmentExistsError(f"{target} exists already", hint="choose another name")
    writer = await asyncio.to_thread(_Writer, target, attachment)
    try:
        async for piece in transfers.received(env, channel, attachment.blob_id):
            if writer.add(piece):
                await asyncio.to_thread(writer.work)
                if report is not None:
                    report(Progress(attachment.filename, writer.done, attachment.size))
        await asyncio.to_thread(writer.finish, overwrite=overwrite)
    except BaseException:
        await asyncio.to_thread(writer.abandon)
        raise
    if report is not None:
        report(Progress(attachment.filename, attachment.size, attachment.size))
    return target


class _Writer:
    """Opens chunks into a file beside the target."""

    def __init__(self, target: Path, attachment: Attachment) -> None:
        self._target = target
        self._attachment = attachment
        self._last = secret.chunk_count(attachment.size) - 1
        self._index = 0
        self._buffer = bytearray()
        self._received = 0
        self._digest = hashlib.sha256()
        self.done = 0
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".liaison-")
        self._path = Path(name)
        self._file: BinaryIO = os.fdopen(handle, "wb")

    def add(self, piece: bytes) -> bool:
        """Take ciphertext; return whether there is enough to work off."""
        self._buffer += piece
        self._received += len(piece)
        if self._received > secret.sealed_size(self._attachment.size):
            raise AttachmentTamperedError("the relay sends more than the sender described")
        return len(self._buffer) >= _BLOCK * _SEALED_CHUNK

    def work(self) -> None:
        """Open and write the chunks that are here in full."""
        while self._index < self._last and len(self._buffer) >= _SEALED_CHUNK:
            self._open(bytes(self._buffer[:_SEALED_CHUNK]), last=False)
            del self._buffer[:_SEALED_CHUNK]

    def finish(self, *, overwrite: bool) -> None:
        """Open the last chunk, check the whole, and give the file its name."""
        self.work()
        self._open(bytes(self._buffer), last=True)
        if self._index != self._last + 1 or self._digest.digest() != self._attachment.digest:
            raise AttachmentTamperedError("the attachment is not what its sender described")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if overwrite:
            self._path.replace(self._target)
        else:
            try:
                self._take_free_name()
            except FileExistsError as e:
                raise AttachmentExistsError(f"{self._target} exists already") from e
        files.sync_folder(self._target.parent)

    def _take_free_name(self) -> None:
        """Give the file its name unless someone has made one of that name meanwhile."""
        try:
            os.link(self._path, self._target)
        except FileExistsError:
            raise
        except OSError:
            # A memory stick's file system has no links: an empty file holds the name instead.
            handle = os.open(self._target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            os.close(handle)
            self._path.replace(self._target)
        else:
            self._path.unlink()

    def abandon(self) -> None:
        """Leave nothing of it."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _open(self, chunk: bytes, *, last: bool) -> None:
        self._digest.update(chunk)
        try:
            plain = secret.open_chunk(self._attachment.key, self._index, last, chunk)
        except (CryptoError, MalformedError) as e:
            raise AttachmentTamperedError(
                "a piece of the attachment is missing or was altered",
                unchanged="nothing was kept of it",
            ) from e
        self._file.write(plain)
        self._index += 1
        self.done += len(plain)
