"""Which MLS credentials count: the engine's validator, fed by an agreement.

A member's credential is an X.509 chain under a root that the agreement names
for the device's party. The relay, as external sender, has a basic credential
with its origin, and counts only with a key that the agreement names; that
credential is refused in a leaf. Identities are device URIs.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Final

from liaison.crypto import x509_path
from liaison.crypto.x509 import Root
from liaison.crypto.x509_path import CertifiedDevice
from liaison.errors import LiaisonError
from liaison.mls.credentials import BASIC, X509, Credential
from liaison.mls.errors import CredentialInvalidError
from liaison.mls.extensions import ExternalSender
from liaison.model import PartyCode
from liaison.policy.agreement import Agreement
from liaison.policy.keys import VerifyKey
from liaison.policy.party import Party
from liaison.policy.relay_identity import RelayIdentity

NOTHING_REVOKED: Final[frozenset[tuple[PartyCode, str]]] = frozenset()


class PartyValidator:
    """Judges device credentials under the roots of some parties; knows no relay.

    Args:
        parties: whose devices count, with their roots.
        revoked: (party, serial) of every certificate known to be revoked;
            looked into at each call, so the caller may let it grow.
    """

    def __init__(
        self,
        parties: Iterable[Party],
        revoked: Container[tuple[PartyCode, str]] = NOTHING_REVOKED,
    ) -> None:
        self._roots: tuple[Root, ...] = tuple(root for party in parties for root in party.roots)
        self._revoked = revoked

    def certify(self, credential: Credential, signature_key: bytes, now: int) -> CertifiedDevice:
        """Check a leaf's credential and return the device that it certifies.

        Args:
            credential: as it stands in the leaf.
            signature_key: the leaf's, in MLS encoding.
            now: Unix seconds to judge validity at.

        Raises:
            CredentialInvalidError: not X.509, a chain that does not hold, or a
                certificate for another key.
        """
        if credential.type != X509:
            raise CredentialInvalidError("a member's credential is a certificate chain")
        device = self.certify_chain(credential.chain, now)
        # RFC 9420 §5.3: the end-entity certificate's key is the leaf's.
        if device.public_key != signature_key:
            raise CredentialInvalidError(f"the certificate of {device.device} is for another key")
        return device

    def certify_chain(self, chain: Sequence[bytes], now: int) -> CertifiedDevice:
        """Return the device that a chain certifies, for a signature outside MLS.

        Args:
            chain: DER, the device's certificate first.
            now: Unix seconds to judge validity at.

        Raises:
            CredentialInvalidError: the chain does not hold.
        """
        try:
            return x509_path.verify_chain(chain, self._roots, now, self._revoked)
        except LiaisonError as error:
            raise CredentialInvalidError(error.message, hint=error.hint) from error

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> bytes:
        """Do as `certify` does; return the device's URI as the identity.

        Raises:
            CredentialInvalidError: see `certify`.
        """
        return self.certify(credential, signature_key, now).device.uri.encode()

    def validate_external_sender(
        self, credential: Credential, signature_key: bytes, now: int
    ) -> bytes:
        """Refuse: without an agreement no relay is known.

        Raises:
            CredentialInvalidError: always.
        """
        del credential, signature_key, now
        raise CredentialInvalidError("no external sender is known here")


class AgreementValidator(PartyValidator):
    """Judges credentials under an agreement: devices of its parties, and its relay.

    Args:
        agreement: a verified one.
        revoked: as in `PartyValidator`.
    """

    def __init__(
        self,
        agreement: Agreement,
        revoked: Container[tuple[PartyCode, str]] = NOTHING_REVOKED,
    ) -> None:
        super().__init__(agreement.parties, revoked)
        self._relay = agreement.relay

    def validate_external_sender(
        self, credential: Credential, signature_key: bytes, now: int
    ) -> bytes:
        """Accept the agreement's relay under one of its sender keys; return its origin.

        Raises:
            CredentialInvalidError: anyone else.
        """
        del now
        origin = self._relay.origin.encode()
        if credential.type != BASIC or credential.identity != origin:
            raise CredentialInvalidError("the external sender is not the agreement's relay")
        if signature_key not in {key.public for key in self._relay.sender_keys}:
            raise CredentialInvalidError("the external sender's key is not one of the relay's")
        return origin


def relay_sender(relay: RelayIdentity, key: VerifyKey) -> ExternalSender:
    """Return the external sender that stands for the relay in a group.

    Args:
        relay: the agreement's relay.
        key: `relay.sender_key(scheme)` for the group's signature scheme.
    """
    return ExternalSender(key.public, Credential.basic(relay.origin.encode()))


def certified_leaf(credential: Credential) -> CertifiedDevice:
    """Read whom a leaf's credential names, in a group whose leaves were validated.

    Nothing is verified here: the engine has asked a validator when the leaf
    entered the tree.

    Raises:
        CredentialInvalidError: it names no device.
    """
    if credential.type != X509 or not credential.chain:
        raise CredentialInvalidError("the credential names no device")
    try:
        return x509_path.peek_device(credential.chain[0])
    except LiaisonError as error:
        raise CredentialInvalidError(error.message) from error
