"""Public keys as they stand in documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

from liaison.crypto import kdf, signing
from liaison.crypto.signing import SignatureScheme, Signer
from liaison.errors import LiaisonError
from liaison.policy.canonical import JSON, to_base64
from liaison.policy.fields import Node
from liaison.values import dataclass

MAX_KEYS: Final = 8
"""Keys of one kind that a document may name: one in use, others during a change."""


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A public key that checks signatures; `public` is in MLS encoding."""

    scheme: SignatureScheme
    public: bytes

    @classmethod
    def of(cls, signer: Signer) -> Self:
        """Return the public half of a signer."""
        return cls(signer.scheme, signer.public_bytes)

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read `{scheme, public}`.

        Raises:
            DocumentError: no such scheme, or bytes that are no such key.
        """
        fields = node.fields(("scheme", "public"))
        key = cls(fields["scheme"].choice(SignatureScheme), fields["public"].octets())
        try:
            signing.validate_public(key.scheme, key.public)
        except LiaisonError as error:
            fields["public"].fail(f"is not a public key: {error.message}")
        return key

    @property
    def key_id(self) -> str:
        """Names the key in signatures, 64 hex digits."""
        return kdf.sha256(b"liaison key v1\0" + self.scheme.encode() + b"\0" + self.public).hex()

    def document(self) -> dict[str, JSON]:
        """Return the form that `from_node` reads."""
        return {"scheme": self.scheme.value, "public": to_base64(self.public)}

    def verify(self, signature: bytes, data: bytes) -> None:
        """Check a signature.

        Raises:
            SignatureError: it does not hold.
        """
        signing.verify(self.scheme, self.public, signature, data)


def keys_from_node(node: Node, *, least: int = 1) -> tuple[VerifyKey, ...]:
    """Read a list of different keys.

    Raises:
        DocumentError: none, too many, or one twice.
    """
    keys = tuple(VerifyKey.from_node(item) for item in node.items(least=least, most=MAX_KEYS))
    if len(set(keys)) != len(keys):
        node.fail("names one key twice")
    return keys


def keys_document(keys: Iterable[VerifyKey]) -> list[JSON]:
    """Return the form that `keys_from_node` reads."""
    return [key.document() for key in keys]
