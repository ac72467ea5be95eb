"""Who judges credentials, and at which moment: handed to every check that needs it."""

from __future__ import annotations

from collections.abc import Iterable

from liaison.mls import extensions as ext
from liaison.mls.credentials import MAX_LIFETIME_SECONDS, CredentialValidator
from liaison.mls.extensions import Extension
from liaison.mls.leaf import LeafNode
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Judge:
    """The application's authentication service at one moment.

    Args:
        validator: decides about credentials.
        now: Unix seconds.
    """

    validator: CredentialValidator
    now: int

    @property
    def max_lifetime(self) -> int:
        """The widest lifetime of a key package, in seconds: the validator's, else the default."""
        # By name: whether an object has the form of a protocol takes long to find out, and a
        # joiner asks for each of a thousand leaves.
        widest = getattr(self.validator, "max_lifetime", MAX_LIFETIME_SECONDS)
        return int(widest)

    def identity(self, leaf_node: LeafNode) -> bytes:
        """Check a leaf's credential and give the identity it stands for.

        Raises:
            CredentialInvalidError: it stands for nobody who may be here.

        Source: RFC 9420 §5.3.1. Check: VAL-0201.
        """
        return self.validator.validate(leaf_node.credential, leaf_node.signature_key, self.now)

    def check_external_senders(self, extensions: Iterable[Extension]) -> None:
        """Check the credential of every external sender that a group would admit.

        Raises:
            CredentialInvalidError: one of them stands for nobody who may.

        Source: RFC 9420 §5.3.1. Check: VAL-0507.
        """
        for sender in ext.external_senders(extensions):
            self.validator.validate_external_sender(
                sender.credential, sender.signature_key, self.now
            )
