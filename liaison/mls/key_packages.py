"""The private half of key packages: making them, and keeping their keys.

Members only.

Source: RFC 9420 §10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Final, Self

from liaison import codec
from liaison.codec import Reader
from liaison.crypto import suites
from liaison.crypto.signing import Signer
from liaison.crypto.suites import CipherSuite
from liaison.mls import extensions as ext
from liaison.mls.credentials import Credential
from liaison.mls.errors import SnapshotError
from liaison.mls.extensions import Extension
from liaison.mls.key_package import KeyPackage
from liaison.mls.leaf import MLS10, Capabilities, LeafNode, LeafSource, Lifetime
from liaison.values import dataclass

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class KeyPackageBundle:
    """A key package with its private keys; the signature key is kept elsewhere.

    Args:
        key_package: MLSMessage, to be published.
        ref: what a Welcome names it by.
        init_private: opens the Welcome.
        leaf_private: of the leaf that will stand in the tree.
        last_resort: may be used more than once, so keep it after use.
    """

    key_package: bytes
    ref: bytes
    last_resort: bool
    init_private: bytes = field(repr=False)
    leaf_private: bytes = field(repr=False)

    @property
    def package(self) -> KeyPackage:
        """The decoded key package."""
        return KeyPackage.parse(self.key_package)

    def encode(self) -> bytes:
        """Encode for storage. The result is secret."""
        return (
            codec.uint8(_VERSION)
            + codec.opaque(self.key_package)
            + codec.opaque(self.init_private)
            + codec.opaque(self.leaf_private)
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote.

        Raises:
            SnapshotError: it is of an unknown version.
            MalformedMessageError: it is damaged.
        """
        return codec.decode(cls._read, data)

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        version = reader.uint8()
        if version != _VERSION:
            raise SnapshotError(f"the stored key package has the unknown version {version}")
        return cls.of(reader.opaque(), reader.opaque(), reader.opaque())

    @classmethod
    def of(cls, key_package: bytes, init_private: bytes, leaf_private: bytes) -> Self:
        """Put a key package (MLSMessage) and its private keys together."""
        package = KeyPackage.parse(key_package)
        return cls(key_package, package.ref(), package.last_resort, init_private, leaf_private)


def new_key_package(  # noqa: PLR0913 - keyword arguments, each one decision of the caller
    suite_code: int,
    signer: Signer,
    credential: Credential,
    lifetime: Lifetime,
    *,
    rng: Callable[[int], bytes],
    extensions: Iterable[Extension] = (),
    leaf_extensions: Iterable[Extension] = (),
    capabilities: Capabilities | None = None,
    last_resort: bool = False,
) -> KeyPackageBundle:
    """Make a key package to publish, and its private keys to keep.

    Args:
        suite_code: the suite of the groups that it is for.
        signer: the key that `credential` stands for, of the suite's scheme.
        lifetime: when it may be used.
        rng: gives fresh random bytes.
        extensions: of the key package.
        leaf_extensions: of the leaf; their types must stand in `capabilities`.
        capabilities: `Capabilities.default()` if left out.
        last_resort: it may be used more than once.

    Raises:
        UnsupportedSuiteError: the suite is not known here.

    Source: RFC 9420 §10.
    """
    suite = suites.suite(suite_code)
    init = suite.derive_key_pair(rng(suite.nh))
    leaf, leaf_private = new_leaf(
        suite, signer, credential, lifetime, rng, leaf_extensions, capabilities
    )
    marks = (Extension(ext.LAST_RESORT, b""),) if last_resort else ()
    if ext.GREASE_EXTENSION in leaf.capabilities.extensions:
        marks = (*marks, Extension(ext.GREASE_EXTENSION, rng(1)))
    package = KeyPackage(MLS10, suite.code, init.public, leaf, (*extensions, *marks))
    message = package.signed(signer).message()
    return KeyPackageBundle.of(message, init.private, leaf_private)


def new_leaf(
    suite: CipherSuite,
    signer: Signer,
    credential: Credential,
    lifetime: Lifetime,
    rng: Callable[[int], bytes],
    extensions: Iterable[Extension],
    capabilities: Capabilities | None,
) -> tuple[LeafNode, bytes]:
    """Make a leaf as it stands in a key package, and its private key."""
    pair = suite.derive_key_pair(rng(suite.nh))
    leaf = LeafNode(
        encryption_key=pair.public,
        signature_key=signer.public_bytes,
        credential=credential,
        capabilities=capabilities or Capabilities.default(),
        source=LeafSource.KEY_PACKAGE,
        lifetime=lifetime,
        extensions=tuple(extensions),
    )
    return leaf.signed(suite, signer, b"", 0), pair.private
