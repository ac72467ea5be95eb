"""Signed notes: a text, and the signatures of those who vouch for it.

The text is nobody's word before `verify`. Signatures by keys that nobody told us of are carried
along and ignored; one by a known key that does not hold spoils the note.

Source: C2SP signed-note.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from liaison.crypto.signing import Signer
from liaison.tlog import cosignature
from liaison.tlog.errors import NoteError, NoteUnsignedError
from liaison.tlog.text import from_base64, to_base64
from liaison.tlog.vkey import ID_BYTES, VerifierKey, is_name
from liaison.values import dataclass

MAX_NOTE_BYTES: Final = 256 * 1024
"""Room for 32 of the longest signatures."""
MAX_SIGNATURES: Final = 64

_DASH: Final = "\u2014 "
_FORBIDDEN: Final = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line.

    Args:
        name: of the key.
        key_id: four bytes.
        signature: for a cosignature, the time and then the algorithm's own.
    """

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line, with its newline."""
        return f"{_DASH}{self.name} {to_base64(self.key_id + self.signature)}\n"

    @classmethod
    def parse(cls, line: str) -> NoteSignature:
        """Read a line without its newline.

        Raises:
            NoteError: not a signature line.
        """
        name, space, encoded = line.removeprefix(_DASH).partition(" ")
        try:
            data = from_base64(encoded)
        except ValueError as error:
            raise NoteError("a signature line does not hold base64") from error
        if not line.startswith(_DASH) or not space or not is_name(name) or len(data) <= ID_BYTES:
            raise NoteError("a signature line is not one")
        return cls(name, data[:ID_BYTES], data[ID_BYTES:])

    def is_by(self, key: VerifierKey) -> bool:
        """Whether the line names a key."""
        return self.name == key.name and self.key_id == key.id


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that holds: whose, and when.

    Args:
        key: of the signer.
        time: of a cosignature, POSIX seconds by the cosigner's clock; else None.
    """

    key: VerifierKey
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signatures.

    Args:
        text: with its last newline.
        signatures: at least one, once it is encoded.
    """

    text: str
    signatures: tuple[NoteSignature, ...] = ()

    def encode(self) -> bytes:
        """Return the note's bytes.

        Raises:
            NoteError: nobody has signed it, or the text is none that a note can hold.
        """
        _check_text(self.text)
        if not self.signatures:
            raise NoteError("nobody has signed the note")
        return (self.text + "\n" + "".join(s.line for s in self.signatures)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Note:
        """Read a note. Nothing is verified.

        Raises:
            NoteError: not a note, or larger than one may be.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise NoteError(f"a note has at most {MAX_NOTE_BYTES} bytes")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise NoteError("a note is UTF-8") from error
        text, blank, lines = whole.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise NoteError("a note has an empty line before its signatures, and ends its last")
        _check_text(text + "\n")
        return cls(text + "\n", parse_lines(lines))

    def with_signature(self, *signatures: NoteSignature) -> Note:
        """Return the note with more signatures; older ones by the same keys go."""
        named = {(s.name, s.key_id) for s in signatures}
        others = tuple(s for s in self.signatures if (s.name, s.key_id) not in named)
        return replace(self, signatures=(*others, *signatures))

    def signed_by(self, key: VerifierKey, signer: Signer, time: int | None = None) -> Note:
        """Return the note signed by one more key.

        Raises:
            CheckpointError: a cosignature of something else than a checkpoint.
        """
        raw = cosignature.sign(key, signer, self.text, time)
        return self.with_signature(NoteSignature(key.name, key.id, raw))

    def verify(self, keys: Iterable[VerifierKey]) -> tuple[Signed, ...]:
        """Check the signatures of all known keys, and return those that there are.

        Raises:
            NoteSignatureError: one by a known key does not hold.
            NoteUnsignedError: there is none by a known key.
        """
        known = {(key.name, key.id): key for key in keys}
        found = []
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is not None:
                found.append(Signed(key, cosignature.verify(key, self.text, signature.signature)))
        if not found:
            raise NoteUnsignedError
        return tuple(found)


def parse_lines(text: str) -> tuple[NoteSignature, ...]:
    """Read signature lines, as a witness answers with.

    Raises:
        NoteError: not lines of signatures, or too many.
    """
    lines = text.split("\n")
    if lines.pop() or not lines:
        raise NoteError("signature lines end in a newline, and there is at least one")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"a note has at most {MAX_SIGNATURES} signatures")
    return tuple(NoteSignature.parse(line) for line in lines)


def _check_text(text: str) -> None:
    if not text.endswith("\n") or _FORBIDDEN.search(text):
        raise NoteError("the text of a note ends its last line and has no control characters")
