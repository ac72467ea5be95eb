"""Verifier keys: the public keys of logs and witnesses, in the field's one-line form.

`<name>+<key id>+<base64 of type and key>`. The id is bound to name, type and key, so a key of one
kind can't be passed off as another's.

Source: C2SP signed-note, "Verifier keys"; tlog-cosignature, "Format".
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from liaison.crypto import kdf, signing
from liaison.crypto.errors import KeyFormatError
from liaison.crypto.signing import SignatureScheme, Signer
from liaison.tlog.errors import VerifierKeyError
from liaison.tlog.text import from_base64, to_base64
from liaison.values import dataclass

ID_BYTES: Final = 4
MAX_NAME: Final = 255
"""Bytes in a name: the signed message of an ML-DSA cosignature has no room for more."""
_ID: Final = re.compile(r"[0-9a-f]{8}")


class SignatureType(IntEnum):
    """What a signature on a note says, and with which algorithm.

    Source: C2SP signed-note, "Signature types".
    """

    ED25519 = 0x01
    """Of the note's text: a log's own."""
    COSIGNATURE_ED25519 = 0x04
    """Of a checkpoint and a time: a witness's."""
    COSIGNATURE_MLDSA44 = 0x06
    """Of a checkpoint (or subtree), a time and the signer's name."""

    @property
    def scheme(self) -> SignatureScheme:
        """The scheme of its keys."""
        if self is SignatureType.COSIGNATURE_MLDSA44:
            return SignatureScheme.MLDSA44
        return SignatureScheme.ED25519

    @property
    def is_cosignature(self) -> bool:
        """Whether it carries a time."""
        return self is not SignatureType.ED25519


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key of a log or a witness.

    Args:
        name: as it stands in signature lines; a log's is its origin.
        type: of its signatures.
        public: 32 bytes (Ed25519) or 1312 (ML-DSA-44).
    """

    name: str
    type: SignatureType
    public: bytes

    def __post_init__(self) -> None:
        """Check name and key.

        Raises:
            VerifierKeyError: a name that no note can hold, or no key of the type.
        """
        if not is_name(self.name):
            raise VerifierKeyError(f"{self.name[:80]!r} is not a name for a key")
        try:
            signing.validate_public(self.type.scheme, self.public)
        except KeyFormatError as error:
            raise VerifierKeyError(f"the key of {self.name} is none: {error.message}") from error

    @classmethod
    def of(cls, name: str, type_: SignatureType, signer: Signer) -> VerifierKey:
        """Return the public half of a signer."""
        return cls(name, type_, signer.public_bytes)

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a verifier key.

        Raises:
            VerifierKeyError: not one, of a type that is not known here, or its id is another key's.
        """
        name, _, rest = text.partition("+")
        id_, _, encoded = rest.partition("+")
        try:
            data = from_base64(encoded)
            type_ = SignatureType(data[0]) if data else None
        except ValueError as error:
            raise VerifierKeyError(f"{text[:80]!r} is not a verifier key: {error}") from error
        if type_ is None or not _ID.fullmatch(id_):
            raise VerifierKeyError(f"{text[:80]!r} is not a verifier key")
        key = cls(name, type_, data[1:])
        if key.id.hex() != id_:
            raise VerifierKeyError(f"the id of {name}'s key is not that of the key")
        return key

    @property
    def id(self) -> bytes:
        """The four bytes that name the key in signature lines, beside `name`."""
        data = self.name.encode() + b"\n" + bytes((self.type,)) + self.public
        return kdf.sha256(data)[:ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{to_base64(bytes((self.type,)) + self.public)}"


def is_name(name: str) -> bool:
    """Whether a note can hold a key's name.

    Source: C2SP signed-note, "Format".
    """
    return (
        0 < len(name.encode(errors="replace")) <= MAX_NAME
        and "+" not in name
        and not any(c.isspace() or c < " " or "\ud800" <= c <= "\udfff" for c in name)
    )
