"""What a log and a witness say to each other, and what a witness checks before it cosigns.

The bodies of `add-checkpoint`, and the decision. `show-checkpoint` is ours beside it: a log that
was refused asks for what the witness has cosigned, because nobody should have to take its word for
it. Whoever runs a witness keeps, for each origin, the checkpoint cosigned last; `judge` must be
called, and what it returns stored, as one step, and the cosignature leaves only when the checkpoint
is on disk.

Source: C2SP tlog-witness.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from liaison import words
from liaison.crypto.signing import Signer
from liaison.errors import LiaisonError
from liaison.tlog import merkle, note
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.entries import MAX_TIME
from liaison.tlog.errors import (
    CheckpointError,
    ForkError,
    NoteError,
    NoteSignatureError,
    NoteUnsignedError,
    OriginError,
    ProofError,
    ShrunkError,
    WitnessBehindError,
    WitnessRequestError,
)
from liaison.tlog.note import MAX_NOTE_BYTES, Note, NoteSignature
from liaison.tlog.text import from_base64_hash, from_decimal, to_base64
from liaison.tlog.vkey import VerifierKey
from liaison.values import dataclass

MAX_HASHES: Final = 63
MAX_REQUEST_BYTES: Final = MAX_NOTE_BYTES + 64 * 50
ADD: Final = "add-checkpoint"
"""A log's request for a cosignature: `AddCheckpoint`, answered with signature lines."""
SHOW: Final = "show-checkpoint"
"""A log's question what was cosigned: one of its checkpoints, answered with one that contradicts it where
there is such a one, else with the newest; both are notes that the log has signed."""
SIZE_TYPE: Final = "text/x.tlog.size"
"""Content type of the answer that tells another size (409)."""

STATUS: Final[Mapping[type[LiaisonError], int]] = {
    WitnessRequestError: 400,
    NoteUnsignedError: 403,
    NoteSignatureError: 403,
    OriginError: 404,
    WitnessBehindError: 409,
    ProofError: 422,
    ForkError: 422,
}
"""What a witness answers for each refusal of `AddCheckpoint.decode` and `judge`."""


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A log asks for a cosignature.

    Args:
        old_size: of the checkpoint that the witness cosigned last, as the log believes.
        proof: consistency from there, 32 bytes each; empty from size 0.
        note: the new checkpoint, signed by the log.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: Note

    @property
    def checkpoint(self) -> Checkpoint:
        """The new checkpoint; nobody's word before `judge`.

        Raises:
            CheckpointError: the note is of something else; `decode` gives no such request.
        """
        return Checkpoint.parse(self.note.text)

    def encode(self) -> bytes:
        """Return the request's body."""
        lines = (f"old {self.old_size}", *map(to_base64, self.proof), "", "")
        return "\n".join(lines).encode() + self.note.encode()

    @classmethod
    def decode(cls, data: bytes) -> AddCheckpoint:
        """Read a request's body. Nothing is verified.

        Raises:
            WitnessRequestError: not a request, or it goes back in size.
        """
        if len(data) > MAX_REQUEST_BYTES:
            raise WitnessRequestError(f"a request has at most {MAX_REQUEST_BYTES} bytes")
        head, blank, rest = data.partition(b"\n\n")
        try:
            old, *hashes = head.decode("ascii").split("\n")
            if not blank or not old.startswith("old ") or len(hashes) > MAX_HASHES:
                raise WitnessRequestError("not a request to a witness")
            old_size = from_decimal(old.removeprefix("old "))
            request = cls(old_size, tuple(map(from_base64_hash, hashes)), Note.decode(rest))
            new_size = request.checkpoint.size
        except (ValueError, NoteError, CheckpointError) as error:
            raise WitnessRequestError(f"not a request to a witness: {error}") from error
        if new_size < old_size:
            raise WitnessRequestError("the old size is above the checkpoint's")
        return request


def judge(
    request: AddCheckpoint, log_keys: Sequence[VerifierKey], latest: Checkpoint | None
) -> Checkpoint:
    """Decide whether a witness may cosign, and return what it then has to store.

    Args:
        request: from a log, or from anyone.
        log_keys: of the log with the request's origin; none if it is unknown.
        latest: what was cosigned last for this origin; None for nothing yet.

    Raises:
        OriginError: a log that this witness does not know.
        NoteUnsignedError, NoteSignatureError: the log has not signed it.
        WitnessBehindError: the request starts from another size; log and witness are both well.
        ProofError: the proof does not show that the log only grew.
        ForkError: another root for the size that was cosigned already. The signed note is proof.

    Source: C2SP tlog-witness, "add-checkpoint".
    """
    new = signed_by_log(request.note, log_keys)
    size = 0 if latest is None else latest.size
    if request.old_size != size:
        raise WitnessBehindError(f"this witness has cosigned size {size} last", size=size)
    if latest is None or size == 0:
        if request.proof:
            raise ProofError("from an empty log nothing is to be proved")
        return new
    if new.size == size and new.root != latest.root:
        raise ForkError(f"the log has shown two roots for its first {words.entries(size)}")
    merkle.verify_consistency(size, new.size, request.proof, latest.root, new.root)
    return new


def signed_by_log(note: Note, log_keys: Sequence[VerifierKey]) -> Checkpoint:
    """Return a note's checkpoint if the log that it names has signed it.

    Args:
        note: from anyone.
        log_keys: of the log with the checkpoint's origin; none if it is unknown.

    Raises:
        CheckpointError: the note is of something else.
        OriginError: a log whose keys these are not.
        NoteUnsignedError, NoteSignatureError: the log has not signed it.
    """
    found = Checkpoint.parse(note.text)
    # A relay signs all its logs with one key: whose checkpoint it is, the text says.
    keys = [key for key in log_keys if key.name == found.origin]
    if not keys:
        raise OriginError(f"no log {found.origin[:80]!r} is known here")
    note.verify(keys)
    return found


def cosign(request: AddCheckpoint, keys: Iterable[tuple[VerifierKey, Signer]], time: int) -> bytes:
    """Make a witness's answer: a signature line for each of its keys.

    Args:
        request: that `judge` has accepted; the checkpoint that it returned is stored by now.
        keys: of the witness.
        time: POSIX seconds.
    """
    signed = Note(request.note.text)
    for key, signer in keys:
        signed = signed.signed_by(key, signer, time)
    return encode_signatures(signed.signatures)


def accept(asked: Note, answer: bytes, keys: Iterable[VerifierKey]) -> Note:
    """Add a witness's answer to the checkpoint it was asked about.

    Args:
        asked: the checkpoint with the signatures so far.
        answer: the body of the witness's answer.
        keys: of the witness; other signatures in the answer are dropped, and further ones by one
            key.

    Raises:
        WitnessRequestError: not an answer, or one of a time that no calendar has.
        NoteUnsignedError, NoteSignatureError: the witness has not cosigned this checkpoint.
    """
    lines = decode_signatures(answer)
    given = list(keys)
    # One for each key: a note has room for so many, and one witness must not take all of it.
    first = {key: line for key in given for line in reversed(lines) if line.is_by(key)}
    mine = tuple(first.values())
    for signed in Note(asked.text, mine).verify(given):
        if (signed.time or 0) > MAX_TIME // 1000:
            raise WitnessRequestError("the cosignature is of a time after the year 9999")
    return asked.with_signature(*mine)


def encode_signatures(signatures: Iterable[NoteSignature]) -> bytes:
    """Write the answer to a request: signature lines."""
    return "".join(signature.line for signature in signatures).encode()


def decode_signatures(data: bytes) -> tuple[NoteSignature, ...]:
    """Read the answer to a request.

    Raises:
        WitnessRequestError: not signature lines.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise WitnessRequestError(f"an answer has at most {MAX_NOTE_BYTES} bytes")
    try:
        return note.parse_lines(data.decode())
    except (UnicodeDecodeError, NoteError) as error:
        raise WitnessRequestError(f"not a witness's answer: {error}") from error


def encode_size(size: int) -> bytes:
    """Write the answer that tells another size."""
    return f"{size}\n".encode()


def decode_size(data: bytes) -> int:
    """Read the answer that tells another size.

    Raises:
        WitnessRequestError: not a number and a newline.
    """
    line, newline, rest = data[:40].partition(b"\n")
    if not newline or rest or len(data) > 40:
        raise WitnessRequestError("not a size: there is no single line")
    try:
        return from_decimal(line.decode("ascii"))
    except ValueError as error:
        raise WitnessRequestError(f"not a size: {error}") from error


def verify_not_behind(own: Checkpoint, own_root: bytes, seen: Checkpoint) -> None:
    """Check that a log holds everything that a witness has seen of it.

    Args:
        own: the log's newest state.
        own_root: the log's root at the size of `seen`, where it has that many entries.
        seen: from a witness, verified by the caller.

    Raises:
        ShrunkError: the log is shorter than it was: an old backup was restored.
        ForkError: it has another history.
    """
    if seen.origin != own.origin:
        raise ForkError("the witness has seen another log")
    if seen.size > own.size:
        raise ShrunkError(
            f"the log has {words.entries(own.size)} and a witness has seen {seen.size}",
            hint="restore the newest backup, or have all parties' authorities sign a successor log",
        )
    if seen.root != own_root:
        raise ForkError(
            f"a witness has seen {words.noun(seen.size, 'another', 'other')} first {words.entries(seen.size)}"
        )
