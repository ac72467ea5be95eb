"""Signed envelopes: DSSE, over any payload, with one signature or many.

The payload is signed as bytes together with its type, so a document of one kind
can't be passed off as another. Read the payload only after `verify`: what an
unverified envelope says is nobody's word.

Source: DSSE protocol 1.0 (secure-systems-lab/dsse).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Self

from liaison.crypto.errors import SignatureError
from liaison.crypto.signing import Signer
from liaison.policy import canonical
from liaison.policy.canonical import to_base64
from liaison.policy.errors import DocumentError, SignatureMissingError
from liaison.policy.fields import Node
from liaison.policy.keys import VerifyKey
from liaison.values import dataclass

MAX_SIGNATURES: Final = 256
_MAX_SIGNATURE_BYTES: Final = 8192


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature; `key_id` only says which key to try."""

    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload, its type, and who claims to have signed both."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...] = ()

    @classmethod
    def decode(cls, data: bytes | str) -> Self:
        """Read an envelope. Nothing is verified.

        Raises:
            DocumentError: not a DSSE envelope.
            DocumentTooLargeError: larger than any document.
        """
        fields = Node.of(canonical.decode(data)).fields(("payload", "payloadType", "signatures"))
        listed = fields["signatures"].items(most=MAX_SIGNATURES)
        signatures = tuple(_signature(node) for node in listed)
        # Whoever verifies tries each signature by a known key: one for each will do.
        if len({signature.key_id for signature in signatures}) != len(signatures):
            fields["signatures"].fail("names one key twice")
        return cls(
            payload_type=fields["payloadType"].text(most=200),
            payload=fields["payload"].octets(),
            signatures=signatures,
        )

    def encode(self) -> bytes:
        """Return the envelope as JSON."""
        return canonical.encode(
            {
                "payload": to_base64(self.payload),
                "payloadType": self.payload_type,
                "signatures": [
                    {"keyid": s.key_id, "sig": to_base64(s.signature)} for s in self.signatures
                ],
            }
        )

    def signed_by(self, signer: Signer) -> Self:
        """Return the envelope with one more signature; an older one by the same key goes."""
        key_id = VerifyKey.of(signer).key_id
        mine = Signature(key_id, signer.sign(pae(self.payload_type, self.payload)))
        others = tuple(s for s in self.signatures if s.key_id != key_id)
        return replace(self, signatures=(*others, mine))


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed.

    Source: DSSE protocol, "Pre-Authentication Encoding".
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, signers: Sequence[Signer]) -> Envelope:
    """Return an envelope with each signer's signature."""
    envelope = Envelope(payload_type, payload)
    for signer in signers:
        envelope = envelope.signed_by(signer)
    return envelope


def verify(envelope: Envelope, payload_type: str, keys: Iterable[VerifyKey]) -> VerifyKey:
    """Check that one of the keys has signed, and return it.

    Args:
        envelope: from `Envelope.decode`.
        payload_type: the only kind of document that the caller wants.
        keys: whose signature counts.

    Raises:
        DocumentError: a document of another kind.
        SignatureMissingError: no signature by any of the keys, or none that holds.
    """
    if envelope.payload_type != payload_type:
        raise DocumentError(
            f"this is a {envelope.payload_type!r} document, not a {payload_type!r} one"
        )
    known = {key.key_id: key for key in keys}
    message = pae(payload_type, envelope.payload)
    broken = False
    for signature in envelope.signatures:
        key = known.get(signature.key_id)
        if key is None:
            continue
        try:
            key.verify(signature.signature, message)
        except SignatureError:
            # Another of the keys may have signed well; the refusal below
            # remembers that this one did not.
            broken = True
            continue
        return key
    raise SignatureMissingError(
        "a signature on the document does not hold" if broken else "no known key has signed this"
    )


def _signature(node: Node) -> Signature:
    fields = node.fields(("keyid", "sig"))
    signature = fields["sig"].octets()
    if len(signature) > _MAX_SIGNATURE_BYTES:
        node.fail("is longer than any signature")
    return Signature(fields["keyid"].text(most=200), signature)
