"""The key schedule: from one epoch's init secret to all secrets of the next.

Members only.

Source: RFC 9420 §8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Final

from liaison import codec
from liaison.crypto.kem import KeyPair
from liaison.crypto.suites import CipherSuite
from liaison.mls.errors import MissingPskError
from liaison.mls.proposals import PreSharedKeyID, PskType
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class PskStore:
    """The pre-shared keys that the application holds.

    Args:
        external: by psk_id.
        resumption: by (group id, epoch), of other groups or forgotten epochs.
    """

    external: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    resumption: Mapping[tuple[bytes, int], bytes] = field(default_factory=dict, repr=False)

    def find(self, psk: PreSharedKeyID) -> bytes:
        """Give the secret that an id names.

        Raises:
            MissingPskError: it is not here (VAL-0708).
        """
        found = (
            self.external.get(psk.psk_id)
            if psk.type is PskType.EXTERNAL
            else self.resumption.get((psk.group_id, psk.epoch))
        )
        if found is None:
            raise MissingPskError(check="VAL-0708")
        return found


NO_PSKS: Final = PskStore()


@dataclass(frozen=True, slots=True)
class EpochSecrets:
    """The secrets of one epoch, Nh bytes each; the epoch secret itself is gone.

    `encryption` is the root of the secret tree and is not kept here after that began.
    """

    sender_data: bytes = field(repr=False)
    encryption: bytes = field(repr=False)
    exporter: bytes = field(repr=False)
    external: bytes = field(repr=False)
    confirmation_key: bytes = field(repr=False)
    membership_key: bytes = field(repr=False)
    resumption_psk: bytes = field(repr=False)
    epoch_authenticator: bytes = field(repr=False)
    init: bytes = field(repr=False)

    def external_key_pair(self, suite: CipherSuite) -> KeyPair:
        """Derive the group's HPKE key pair for external commits.

        Source: RFC 9420 §8.
        """
        return suite.derive_key_pair(self.external)


def derive_epoch(suite: CipherSuite, epoch_secret: bytes) -> EpochSecrets:
    """Derive the secrets of an epoch.

    Source: RFC 9420 §8, table 4.
    """
    derive = suite.derive_secret
    return EpochSecrets(
        sender_data=derive(epoch_secret, b"sender data"),
        encryption=derive(epoch_secret, b"encryption"),
        exporter=derive(epoch_secret, b"exporter"),
        external=derive(epoch_secret, b"external"),
        confirmation_key=derive(epoch_secret, b"confirm"),
        membership_key=derive(epoch_secret, b"membership"),
        resumption_psk=derive(epoch_secret, b"resumption"),
        epoch_authenticator=derive(epoch_secret, b"authentication"),
        init=derive(epoch_secret, b"init"),
    )


def joiner_secret(
    suite: CipherSuite, init_secret: bytes, commit_secret: bytes, context: bytes
) -> bytes:
    """Derive the secret that Welcomes carry.

    Args:
        init_secret: of the epoch that is ending, or from an ExternalInit.
        commit_secret: from the path, or Nh zeros.
        context: the new group context, encoded.

    Source: RFC 9420 §8.
    """
    mixed = suite.extract(init_secret, commit_secret)
    return suite.expand_with_label(mixed, b"joiner", context, suite.nh)


def member_secret(suite: CipherSuite, joiner: bytes, psk_secret: bytes) -> bytes:
    """Mix the pre-shared keys in; both `welcome_secret` and the epoch secret come from it."""
    return suite.extract(joiner, psk_secret)


def welcome_secret(suite: CipherSuite, member: bytes) -> bytes:
    """Derive the secret that a Welcome's GroupInfo is encrypted under."""
    return suite.derive_secret(member, b"welcome")


def welcome_key(suite: CipherSuite, welcome: bytes) -> tuple[bytes, bytes]:
    """Derive key and nonce of a Welcome's GroupInfo.

    Source: RFC 9420 §12.4.3.1.
    """
    key = suite.expand_with_label(welcome, b"key", b"", suite.nk)
    return key, suite.expand_with_label(welcome, b"nonce", b"", suite.nn)


def epoch_secrets(suite: CipherSuite, member: bytes, context: bytes) -> EpochSecrets:
    """Derive an epoch's secrets from the member secret and the encoded group context."""
    return derive_epoch(suite, suite.expand_with_label(member, b"epoch", context, suite.nh))


def psk_secret(suite: CipherSuite, psks: Sequence[tuple[PreSharedKeyID, bytes]]) -> bytes:
    """Chain pre-shared keys, in their order, into one secret; Nh zeros if there are none.

    Source: RFC 9420 §8.4.
    """
    zeros = bytes(suite.nh)
    secret = zeros
    for index, (psk_id, psk) in enumerate(psks):
        label = psk_id.encode() + codec.uint16(index) + codec.uint16(len(psks))
        extracted = suite.extract(zeros, psk)
        mixed = suite.expand_with_label(extracted, b"derived psk", label, suite.nh)
        secret = suite.extract(mixed, secret)
    return secret


def export(
    suite: CipherSuite, exporter_secret: bytes, label: bytes, context: bytes, length: int
) -> bytes:
    """Derive a secret for the application.

    Args:
        label: what it is for.
        context: any bytes; they are hashed.
        length: in bytes.

    Source: RFC 9420 §8.5.
    """
    derived = suite.derive_secret(exporter_secret, label)
    return suite.expand_with_label(derived, b"exported", suite.hash(context), length)
