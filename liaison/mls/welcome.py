"""Welcomes: bringing new members in, and coming in by one.

Members only.

Source: RFC 9420 §12.4.3.1.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import field
from typing import Self

from liaison import codec
from liaison.codec import Reader
from liaison.crypto import suites
from liaison.crypto.errors import CryptoError
from liaison.crypto.suites import CipherSuite
from liaison.mls import framing, key_schedule, succession, tree_kem
from liaison.mls.credentials import CredentialValidator
from liaison.mls.errors import InvalidWelcomeError
from liaison.mls.key_packages import KeyPackageBundle
from liaison.mls.key_schedule import NO_PSKS, PskStore
from liaison.mls.messages import EncryptedGroupSecrets, GroupInfo, HPKECiphertext, Welcome
from liaison.mls.proposals import PreSharedKeyID
from liaison.mls.public_group import PublicGroup
from liaison.mls.secret_tree import Limits
from liaison.mls.state import Group, begin
from liaison.mls.validation import framing as framing_checks
from liaison.mls.validation import group_info as checks
from liaison.mls.validation.judge import Judge
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class GroupSecrets:
    """What a Welcome tells one new member.

    Args:
        joiner_secret: Nh bytes.
        path_secret: of the lowest node shared with the committer; None without a path.
        psks: mixed into the epoch, in this order.
    """

    joiner_secret: bytes = field(repr=False)
    path_secret: bytes | None = field(repr=False)
    psks: tuple[PreSharedKeyID, ...] = ()

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        path = b"\x00" if self.path_secret is None else b"\x01" + codec.opaque(self.path_secret)
        return codec.opaque(self.joiner_secret) + path + codec.vector(self.psks)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read group secrets."""
        return cls(
            reader.opaque(),
            reader.optional(Reader.opaque),
            reader.vector(PreSharedKeyID.read),
        )


def make_welcome(
    suite: CipherSuite,
    group_info: GroupInfo,
    member_secret: bytes,
    recipients: Sequence[tuple[bytes, bytes, GroupSecrets]],
) -> bytes:
    """Encrypt a GroupInfo and each new member's secrets; give the MLSMessage.

    Args:
        member_secret: of the new epoch, from `key_schedule.member_secret`.
        recipients: for each new member, key package reference, init key and secrets.

    Source: RFC 9420 §12.4.3.1.
    """
    key, nonce = key_schedule.welcome_key(suite, key_schedule.welcome_secret(suite, member_secret))
    sealed_info = suite.aead_seal(key, nonce, b"", group_info.encode())
    entries = []
    for ref, init_key, secrets in recipients:
        sealed = suite.encrypt_with_label(init_key, b"Welcome", sealed_info, secrets.encode())
        entries.append(EncryptedGroupSecrets(ref, HPKECiphertext(*sealed)))
    return framing.encode_message(Welcome(suite.code, tuple(entries), sealed_info))


def bundle_for(welcome: bytes, bundles: Sequence[KeyPackageBundle]) -> KeyPackageBundle:
    """Find the own key package that a Welcome is for.

    Raises:
        InvalidWelcomeError: it is for none of them (VAL-0802).
    """
    return _find(framing.decode_welcome(welcome), bundles)[0]


def _find(
    welcome: Welcome, bundles: Sequence[KeyPackageBundle]
) -> tuple[KeyPackageBundle, EncryptedGroupSecrets]:
    by_ref = {bundle.ref: bundle for bundle in bundles}
    for entry in welcome.secrets:
        bundle = by_ref.get(entry.new_member)
        if bundle is not None and bundle.package.cipher_suite == welcome.cipher_suite:
            return bundle, entry
    raise InvalidWelcomeError("the Welcome is for none of these key packages", check="VAL-0802")


def open_secrets(
    suite: CipherSuite, welcome: Welcome, entry: EncryptedGroupSecrets, init_private: bytes
) -> GroupSecrets:
    """Decrypt the secrets of one new member.

    Raises:
        InvalidWelcomeError: they can't be decrypted.
        MalformedMessageError: what was decrypted has another form.
    """
    sealed = entry.encrypted
    try:
        data = suite.decrypt_with_label(
            init_private,
            b"Welcome",
            welcome.encrypted_group_info,
            sealed.kem_output,
            sealed.ciphertext,
        )
    except CryptoError as error:
        raise InvalidWelcomeError("the Welcome's secrets can't be decrypted") from error
    return codec.decode(GroupSecrets.read, data)


def open_group_info(suite: CipherSuite, welcome: Welcome, member_secret: bytes) -> GroupInfo:
    """Decrypt a Welcome's GroupInfo; nothing about it is verified yet.

    Raises:
        InvalidWelcomeError: it can't be decrypted.
        MalformedMessageError: what was decrypted has another form.
    """
    key, nonce = key_schedule.welcome_key(suite, key_schedule.welcome_secret(suite, member_secret))
    try:
        data = suite.aead_open(key, nonce, b"", welcome.encrypted_group_info)
    except CryptoError as error:
        raise InvalidWelcomeError("the Welcome's GroupInfo can't be decrypted") from error
    return codec.decode(GroupInfo.read, data)


def join(  # noqa: PLR0913 - keyword arguments, each one decision of the caller
    welcome: bytes,
    bundles: Sequence[KeyPackageBundle],
    *,
    ratchet_tree: bytes | None,
    now: int,
    validator: CredentialValidator,
    psks: PskStore = NO_PSKS,
    limits: Limits | None = None,
    known_groups: Container[bytes] = (),
    continues: Group | None = None,
) -> Group:
    """Join a group by a Welcome, after checking all of it.

    Args:
        welcome: MLSMessage.
        bundles: own key packages; the one that it is for is used, and is to be deleted
            after the group was stored (unless it is one of last resort).
        ratchet_tree: `ratchet_tree<V>` from the relay, or None if it is in the Welcome.
        now: Unix seconds.
        known_groups: ids of groups that this client is in; the new one must be another.
        continues: the state in the group that this one branches from, or whose ReInit it
            fulfils; needed if the Welcome links them, and the linking PSK is taken from it.

    Raises:
        InvalidWelcomeError, InvalidGroupInfoError, InvalidTreeError, InvalidLeafNodeError,
        SignatureInvalidError, CredentialInvalidError, ConfirmationTagError, MissingPskError:
            a check failed; `check` says which.
        MalformedMessageError: something has another form.

    Source: RFC 9420 §12.4.3.1.
    """
    message = framing.decode_welcome(welcome)
    bundle, entry = _find(message, bundles)
    suite = suites.suite(message.cipher_suite)
    secrets = open_secrets(suite, message, entry, bundle.init_private)
    _check_secrets(suite, secrets, continues)
    member_secret = _member_secret(suite, secrets, psks, continues)
    info = open_group_info(suite, message, member_secret)
    checks.check_suite(info.context, message.cipher_suite)
    checks.check_new_group(info.context.group_id, known_groups)
    checks.check_joiner_support(info.context, bundle.package.leaf_node)
    public = PublicGroup.verified(info, ratchet_tree, Judge(validator, now))
    succession.check_continues(public, secrets.psks, continues)
    own_leaf, private = _private_keys(public, info, bundle, secrets.path_secret)
    epoch = key_schedule.epoch_secrets(suite, member_secret, info.context.encode())
    framing_checks.check_confirmation_tag(
        suite,
        epoch.confirmation_key,
        info.context.confirmed_transcript_hash,
        info.confirmation_tag,
    )
    return begin(public, own_leaf, private, epoch, limits or Limits())


def _check_secrets(suite: CipherSuite, secrets: GroupSecrets, continues: Group | None) -> None:
    checks.check_secret_lengths(secrets.joiner_secret, secrets.path_secret, suite.nh)
    checks.check_psks(secrets.psks, suite.nh)
    succession.check_named(secrets.psks, continues)


def _member_secret(
    suite: CipherSuite, secrets: GroupSecrets, psks: PskStore, continues: Group | None
) -> bytes:
    find = psks.find if continues is None else lambda psk: continues.psk(psk, psks)
    psk_secret = key_schedule.psk_secret(suite, [(psk, find(psk)) for psk in secrets.psks])
    return key_schedule.member_secret(suite, secrets.joiner_secret, psk_secret)


def _private_keys(
    public: PublicGroup, info: GroupInfo, bundle: KeyPackageBundle, path_secret: bytes | None
) -> tuple[int, dict[int, bytes]]:
    """Give the own leaf, and the private keys of it and of all nodes above that it holds."""
    own_leaf = checks.check_own_leaf(public.tree, bundle.package.leaf_node)
    private = {2 * own_leaf: bundle.leaf_private}
    if path_secret is not None:
        private |= tree_kem.open_welcome_path(public.tree, info.signer, own_leaf, path_secret)
    checks.check_keys_held(public.tree, own_leaf, private)
    return own_leaf, private
