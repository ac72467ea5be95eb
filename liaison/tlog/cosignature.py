"""What a log and its witnesses sign.

A log signs the checkpoint's text (type 0x01). A cosigner adds a time and says: this is the largest
tree of this log that I have seen, and it has only grown. With Ed25519 (0x04) the message is a text,
with ML-DSA-44 (0x06) a structure that holds the signer's name too. The signature in a note is the
time, eight bytes, before the algorithm's own.

Source: C2SP tlog-cosignature.
"""

from __future__ import annotations

from typing import Final

from liaison.crypto import signing
from liaison.crypto.errors import SignatureError
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import CheckpointError, NoteSignatureError
from liaison.tlog.vkey import SignatureType, VerifierKey

MAX_TIME: Final = 2**63 - 1
_TIME_BYTES: Final = 8


def message(key: VerifierKey, text: str, time: int | None) -> bytes:
    """Return the bytes that a key signs.

    Args:
        key: whose type and name count.
        text: of the note.
        time: POSIX seconds; None where the type has none.

    Raises:
        CheckpointError: a cosignature is made of checkpoints only, and its origin must have room.
    """
    if not key.type.is_cosignature:
        return text.encode()
    checkpoint = Checkpoint.parse(text)
    if key.type is SignatureType.COSIGNATURE_ED25519:
        return f"cosignature/v1\ntime {time or 0}\n{text}".encode()
    return subtree_message(
        key.name, time or 0, checkpoint.origin, 0, checkpoint.size, checkpoint.root
    )


def subtree_message(
    name: str, time: int, origin: str, begin: int, end: int, subtree: bytes
) -> bytes:
    """Return what is signed with ML-DSA-44 for a subtree.

    Args:
        name: of the cosigner's key, at most 255 bytes.
        time: POSIX seconds; 0 unless the subtree is the whole tree.
        origin: of the log, at most 255 bytes.
        begin: first leaf.
        end: one past the last leaf.
        subtree: 32 bytes, the subtree's hash.

    Raises:
        CheckpointError: the origin is too long.

    Source: C2SP tlog-cosignature, "ML-DSA-44 signed message".
    """
    cosigner, log = name.encode(), origin.encode()
    if len(log) > 255:
        raise CheckpointError("the origin is too long for a cosignature")
    return b"".join(
        (
            b"subtree/v1\n\0",
            len(cosigner).to_bytes(1),
            cosigner,
            time.to_bytes(_TIME_BYTES),
            len(log).to_bytes(1),
            log,
            begin.to_bytes(8),
            end.to_bytes(8),
            subtree,
        )
    )


def sign(key: VerifierKey, signer: signing.Signer, text: str, time: int | None) -> bytes:
    """Make the signature as it stands in a note, without the key's id.

    Args:
        key: the public half of `signer`, with name and type.
        signer: the private half.
        text: of the note.
        time: POSIX seconds, above zero, for a cosignature; None for a log's own signature.

    Raises:
        ValueError: a time where the type has none, or the other way round.
        CheckpointError: a cosignature of something else than a checkpoint.
    """
    valid = time is not None and 0 < time <= MAX_TIME
    if valid != key.type.is_cosignature or (time is not None and not valid):
        raise ValueError("a cosignature has a time above zero, and nothing else has")
    raw = signer.sign(message(key, text, time))
    return raw if time is None else time.to_bytes(_TIME_BYTES) + raw


def verify(key: VerifierKey, text: str, signature: bytes) -> int | None:
    """Check a signature of a note and return its time, POSIX seconds; None where it has none.

    Raises:
        NoteSignatureError: it does not hold, or it is a cosignature without a time or of
            something else than a checkpoint.
    """
    time: int | None = None
    raw = signature
    if key.type.is_cosignature:
        time, raw = int.from_bytes(signature[:_TIME_BYTES]), signature[_TIME_BYTES:]
        if not 0 < time <= MAX_TIME:
            raise NoteSignatureError(f"the cosignature by {key.name} has no valid time")
    try:
        signing.verify(key.type.scheme, key.public, raw, message(key, text, time))
    except (SignatureError, CheckpointError) as error:
        raise NoteSignatureError(f"the signature by {key.name} does not hold") from error
    return time
