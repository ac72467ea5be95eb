"""Attachments: an external part that names a blob on the relay and opens it.

The blob is ciphertext in chunks (`liaison.crypto.secret`, STREAM) under a key
of its own; the key travels in the message, so whoever can read the message can
open the attachment and nobody else can.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final, Self

from liaison.crypto.secret import CHUNK_OVERHEAD, CHUNK_SIZE, sealed_size
from liaison.envelope.content import External
from liaison.envelope.errors import ContentError
from liaison.errors import LiaisonError
from liaison.model import BlobId
from liaison.values import dataclass

URL_PREFIX: Final = "liaison-blob:"
STREAM_AES_256_GCM: Final = 0xF001
"""Private-use number in the IANA AEAD registry's range for "STREAM, AES-256-GCM, 64 KiB"."""
KEY_BYTES: Final = 32
DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a message.

    Args:
        blob_id: of the ciphertext on the relay.
        size: of the file, bytes.
        key: 32 bytes, used for this blob alone.
        digest: SHA-256 of the ciphertext.
        filename: as the sender calls it; not a path, and not to be trusted as a name.
        media_type: as the sender says.
        description: for people.
    """

    blob_id: BlobId
    size: int
    key: bytes = field(repr=False)
    digest: bytes
    filename: str
    media_type: str = "application/octet-stream"
    description: str = ""

    def as_part(self) -> External:
        """Return the part that stands for it in a content."""
        return External(
            media_type=self.media_type,
            url=f"{URL_PREFIX}{self.blob_id}",
            size=sealed_size(self.size),
            algorithm=STREAM_AES_256_GCM,
            key=self.key,
            nonce=b"",
            aad=b"",
            digest=self.digest,
            description=self.description,
            filename=self.filename,
        )

    @classmethod
    def from_part(cls, part: External) -> Self:
        """Read a part of this kind.

        Raises:
            ContentError: an external part of another kind, or one that contradicts itself.
        """
        try:
            blob_id = BlobId.parse(part.url.removeprefix(URL_PREFIX))
        except LiaisonError as error:
            raise ContentError("the attachment is not a blob of this relay") from error
        if not part.url.startswith(URL_PREFIX) or part.algorithm != STREAM_AES_256_GCM:
            raise ContentError("the attachment is not a blob of this relay")
        if len(part.key) != KEY_BYTES or len(part.digest) != DIGEST_BYTES:
            raise ContentError("the attachment's key or digest has the wrong length")
        return cls(
            blob_id=blob_id,
            size=_opened_size(part.size),
            key=part.key,
            digest=part.digest,
            filename=part.filename,
            media_type=part.media_type,
            description=part.description,
        )


def _opened_size(sealed: int) -> int:
    chunks = -(-sealed // (CHUNK_SIZE + CHUNK_OVERHEAD))
    size = sealed - chunks * CHUNK_OVERHEAD
    if size < 0 or sealed_size(size) != sealed:
        raise ContentError("no file has this size when encrypted")
    return size
