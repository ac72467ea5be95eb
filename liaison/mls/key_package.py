"""Key packages: what a client publishes so that others can add it while it is away.

The private half is in `liaison.mls.key_packages`.

Source: RFC 9420 §10.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Self

from liaison import codec
from liaison.codec import MalformedMessageError, Reader
from liaison.crypto import suites
from liaison.crypto.errors import CryptoError, KeyFormatError
from liaison.crypto.signing import Signer
from liaison.mls import extensions as ext
from liaison.mls.errors import SignatureInvalidError, WrongWireFormatError
from liaison.mls.extensions import Extension, read_extensions
from liaison.mls.leaf import MLS10, LeafNode
from liaison.values import dataclass

WIRE_FORMAT: Final = 5
"""The wire format of a key package in an MLSMessage."""


@dataclass(frozen=True, slots=True)
class KeyPackage:
    """A signed invitation to add the client that it describes.

    Args:
        version: the protocol version, `MLS10`.
        cipher_suite: the only suite that this key package is for.
        init_key: HPKE public key that the Welcome is encrypted to.
        leaf_node: the leaf that will stand in the tree.
    """

    version: int
    cipher_suite: int
    init_key: bytes
    leaf_node: LeafNode
    extensions: tuple[Extension, ...] = ()
    signature: bytes = b""

    def _fields(self) -> bytes:
        return (
            codec.uint16(self.version)
            + codec.uint16(self.cipher_suite)
            + codec.opaque(self.init_key)
            + self.leaf_node.encode()
            + codec.vector(self.extensions)
        )

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return self._fields() + codec.opaque(self.signature)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a key package."""
        return cls(
            reader.uint16(),
            reader.uint16(),
            reader.opaque(),
            LeafNode.read(reader),
            read_extensions(reader),
            reader.opaque(),
        )

    @classmethod
    def parse(cls, message: bytes) -> Self:
        """Decode an MLSMessage that must be a key package; nothing is verified.

        Raises:
            MalformedMessageError: it has another form.
            WrongWireFormatError: it is a message of another kind.
        """
        return codec.decode(cls._read_message, message)

    @classmethod
    def _read_message(cls, reader: Reader) -> Self:
        if reader.uint16() != MLS10:
            raise MalformedMessageError("the protocol version is not known")
        if reader.uint16() != WIRE_FORMAT:
            raise WrongWireFormatError("the message is not a key package")
        return cls.read(reader)

    def message(self) -> bytes:
        """Encode as an MLSMessage."""
        return codec.uint16(MLS10) + codec.uint16(WIRE_FORMAT) + self.encode()

    def signed(self, signer: Signer) -> Self:
        """Give the same key package with a fresh signature."""
        suite = suites.suite(self.cipher_suite)
        signature = suite.sign_with_label(signer, b"KeyPackageTBS", self._fields())
        return replace(self, signature=signature)

    def verify_signature(self) -> None:
        """Check the signature, with the key in the leaf node.

        Raises:
            SignatureInvalidError: it does not hold (VAL-0302).
            UnsupportedSuiteError: the suite is not known here.
        """
        suite = suites.suite(self.cipher_suite)
        key = self.leaf_node.signature_key
        try:
            suite.verify_with_label(key, b"KeyPackageTBS", self._fields(), self.signature)
        except (CryptoError, KeyFormatError) as error:
            raise SignatureInvalidError(
                "the key package's signature does not hold", check="VAL-0302"
            ) from error

    def ref(self) -> bytes:
        """Give the reference that a Welcome names this key package by.

        Source: RFC 9420 §5.2.
        """
        suite = suites.suite(self.cipher_suite)
        return suite.ref_hash(b"MLS 1.0 KeyPackage Reference", self.encode())

    @property
    def last_resort(self) -> bool:
        """Whether it may be used more than once."""
        return ext.find(self.extensions, ext.LAST_RESORT) is not None
