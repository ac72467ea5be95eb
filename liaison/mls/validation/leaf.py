"""Checks of leaf nodes and key packages.

Source: RFC 9420 §7.3, §10.1.
"""

from __future__ import annotations

from collections.abc import Iterable

from liaison.crypto import suites
from liaison.crypto.errors import KeyFormatError
from liaison.crypto.suites import CipherSuite
from liaison.mls import extensions as ext
from liaison.mls import proposals
from liaison.mls.credentials import CredentialValidator
from liaison.mls.errors import InvalidKeyPackageError, InvalidLeafNodeError
from liaison.mls.extensions import Extension, RequiredCapabilities
from liaison.mls.key_package import KeyPackage
from liaison.mls.leaf import MLS10, LeafNode, LeafSource
from liaison.mls.validation.judge import Judge


def check_required_capabilities(leaf_node: LeafNode, required: RequiredCapabilities) -> None:
    """A leaf supports all that the group requires. Source: RFC 9420 §7.3. Check: VAL-0203."""
    have = leaf_node.capabilities
    missing = (
        (set(required.extensions) - ext.DEFAULT_TYPES - set(have.extensions))
        or (set(required.proposals) - proposals.DEFAULT_TYPES - set(have.proposals))
        or (set(required.credentials) - set(have.credentials))
    )
    if missing:
        raise InvalidLeafNodeError(
            "the leaf node does not support what the group requires", check="VAL-0203"
        )


def check_lifetime(leaf_node: LeafNode, now: int) -> None:
    """A key package's leaf is used within its time. Source: RFC 9420 §7.3. Check: VAL-0205."""
    lifetime = leaf_node.lifetime
    if lifetime is not None and not lifetime.not_before <= now <= lifetime.not_after:
        raise InvalidLeafNodeError("the leaf node's lifetime is not now", check="VAL-0205")


def check_lifetime_width(leaf_node: LeafNode, widest: int) -> None:
    """No leaf claims to live too long. Source: RFC 9420 §7.2. Check: VAL-0206."""
    lifetime = leaf_node.lifetime
    if lifetime is None:
        return
    if not 0 <= lifetime.not_after - lifetime.not_before <= widest:
        raise InvalidLeafNodeError("the leaf node's lifetime is too long", check="VAL-0206")


def check_own_extensions(leaf_node: LeafNode) -> None:
    """A leaf supports the extensions it carries. Source: RFC 9420 §7.3. Check: VAL-0207."""
    supported = ext.DEFAULT_TYPES.union(leaf_node.capabilities.extensions)
    if any(extension.type not in supported for extension in leaf_node.extensions):
        raise InvalidLeafNodeError(
            "the leaf node carries an extension that it does not support", check="VAL-0207"
        )


def check_source(leaf_node: LeafNode, source: LeafSource) -> None:
    """A leaf says where it comes from. Source: RFC 9420 §7.3. Check: VAL-0208."""
    if leaf_node.source is not source:
        raise InvalidLeafNodeError(
            f"the leaf node's source is {leaf_node.source.name}, not {source.name}",
            check="VAL-0208",
        )


def check_context_extensions(leaf_node: LeafNode, extensions: Iterable[Extension]) -> None:
    """A leaf supports the extensions of the group. Source: RFC 9420 §13.4. Check: VAL-0212."""
    supported = ext.DEFAULT_TYPES.union(leaf_node.capabilities.extensions)
    if any(extension.type not in supported for extension in extensions):
        raise InvalidLeafNodeError(
            "the leaf node does not support an extension of the group", check="VAL-0212"
        )


def check_version_and_suite(leaf_node: LeafNode, suite: CipherSuite) -> None:
    """A leaf supports version and suite. Source: RFC 9420 §7.2, §11.1. Check: VAL-0213."""
    have = leaf_node.capabilities
    if MLS10 not in have.versions or suite.code not in have.cipher_suites:
        raise InvalidLeafNodeError(
            "the leaf node does not support the version or cipher suite of the group",
            check="VAL-0213",
        )


def check_own_credential_type(leaf_node: LeafNode) -> None:
    """A leaf supports its own credential's type. Source: RFC 9420 §7.2. Check: VAL-0214."""
    if leaf_node.credential.type not in leaf_node.capabilities.credentials:
        raise InvalidLeafNodeError(
            "the leaf node does not support the type of its own credential", check="VAL-0214"
        )


def check_keys(leaf_node: LeafNode, suite: CipherSuite) -> None:
    """A leaf's keys are keys of the suite. Source: RFC 9420 §5.1.1, §10. Check: VAL-0217."""
    try:
        suite.validate_hpke_public(leaf_node.encryption_key)
        suite.validate_signature_public(leaf_node.signature_key)
    except KeyFormatError as error:
        raise InvalidLeafNodeError(
            "a key in the leaf node is not a key of the cipher suite", check="VAL-0217"
        ) from error


def check_leaf(
    leaf_node: LeafNode,
    suite: CipherSuite,
    extensions: Iterable[Extension],
    judge: Judge,
    *,
    place: tuple[bytes, int] = (b"", 0),
) -> bytes:
    """Check all that can be said of a leaf node by itself, and give its identity.

    Args:
        leaf_node: it may come from a stranger.
        suite: the group's.
        extensions: of the group context that it will live under.
        judge: for the credential and the time.
        place: group id and leaf index, which leaves made inside a group are signed with.

    Raises:
        InvalidLeafNodeError: a check failed; `check` says which.
        SignatureInvalidError: the leaf's signature does not hold (VAL-0202).
        CredentialInvalidError: the credential does not (VAL-0201).

    Source: RFC 9420 §7.3.
    """
    extensions = tuple(extensions)
    check_version_and_suite(leaf_node, suite)
    check_own_credential_type(leaf_node)
    check_own_extensions(leaf_node)
    check_context_extensions(leaf_node, extensions)
    check_required_capabilities(leaf_node, ext.required_capabilities(extensions))
    check_lifetime_width(leaf_node, judge.max_lifetime)
    check_lifetime(leaf_node, judge.now)
    check_keys(leaf_node, suite)
    leaf_node.verify_signature(suite, *place)
    return judge.identity(leaf_node)


# --- key packages ---------------------------------------------------------------------------


def check_key_package_group(key_package: KeyPackage, suite: CipherSuite) -> None:
    """Version and suite are the group's. Source: RFC 9420 §10.1. Check: VAL-0301."""
    if key_package.version != MLS10 or key_package.cipher_suite != suite.code:
        raise InvalidKeyPackageError(
            "the key package is for another version or cipher suite", check="VAL-0301"
        )


def check_init_key(key_package: KeyPackage, suite: CipherSuite) -> None:
    """The init key is another than the leaf's. Source: RFC 9420 §10.1. Check: VAL-0303."""
    if key_package.init_key == key_package.leaf_node.encryption_key:
        raise InvalidKeyPackageError(
            "the key package's init key is also its encryption key", check="VAL-0303"
        )
    try:
        suite.validate_hpke_public(key_package.init_key)
    except KeyFormatError as error:
        raise InvalidKeyPackageError(
            "the key package's init key is not a key of the cipher suite", check="VAL-0303"
        ) from error


def check_key_package(
    key_package: KeyPackage, suite: CipherSuite, extensions: Iterable[Extension], judge: Judge
) -> bytes:
    """Check a key package for use in a group, and give the identity of its client.

    Raises:
        InvalidKeyPackageError, InvalidLeafNodeError: a check failed; `check` says which.
        SignatureInvalidError: a signature does not hold (VAL-0302 for the package's own).
        CredentialInvalidError: the credential does not.

    Source: RFC 9420 §10.1.
    """
    check_key_package_group(key_package, suite)
    check_source(key_package.leaf_node, LeafSource.KEY_PACKAGE)
    check_init_key(key_package, suite)
    key_package.verify_signature()
    return check_leaf(key_package.leaf_node, suite, extensions, judge)


def validate_key_package(
    message: bytes, *, validator: CredentialValidator, now: int
) -> tuple[KeyPackage, bytes]:
    """Decode and check a key package apart from any group, as a directory does on upload.

    Args:
        message: MLSMessage.
        now: Unix seconds.

    Returns:
        The key package, and its client's identity.

    Raises:
        MalformedMessageError, WrongWireFormatError: it has another form.
        UnsupportedSuiteError: its suite is not known here.
        InvalidKeyPackageError, InvalidLeafNodeError, SignatureInvalidError,
        CredentialInvalidError: a check failed.

    Source: RFC 9420 §10.1.
    """
    package = KeyPackage.parse(message)
    suite = suites.suite(package.cipher_suite)
    return package, check_key_package(package, suite, (), Judge(validator, now))
