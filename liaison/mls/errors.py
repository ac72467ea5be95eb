"""What can go wrong in MLS: each class one subject, each with a stable code.

Errors that come from one of the numbered checks carry its id in `check`
(`VAL-0204`); `docs/protocol/mls-validation.md` explains each.
"""

from __future__ import annotations

from liaison.codec import MalformedMessageError
from liaison.errors import (
    ConflictError,
    LiaisonError,
    RefusedError,
    UnknownError,
    VerificationError,
)

__all__ = ["MalformedMessageError"]


class MLSError(LiaisonError):
    """The MLS message or operation is not valid.

    Args:
        message: what is wrong, in one sentence.
        check: the id of the check that refused it, or empty.
        hint: what to do next.

    `sender_leaf` names the sender of a message whose sender data could be read, though the
    rest was refused; the sender's signature was not verified then.
    """

    code = "mls.invalid"
    sender_leaf: int | None = None

    def __init__(self, message: str = "", *, check: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint, unchanged="the group state is as it was")
        self.check = check


class WrongGroupError(MLSError, ConflictError):
    """The message belongs to another group."""

    code = "mls.wrong_group"


class StaleEpochError(MLSError, ConflictError):
    """The message belongs to an epoch that is over."""

    code = "mls.stale_epoch"


class FutureEpochError(MLSError, ConflictError):
    """The message belongs to an epoch that this state has not reached.

    Fetch and process the commits in between, then try again.
    """

    code = "mls.future_epoch"


class EpochForgottenError(MLSError, ConflictError):
    """The keys of that epoch are no longer kept, or were never held."""

    code = "mls.epoch_forgotten"


class WrongWireFormatError(MLSError, VerificationError):
    """A message of this kind can't be used here."""

    code = "mls.wire_format"


class UnknownProposalError(MLSError, ConflictError):
    """The commit refers to a proposal that was not received."""

    code = "mls.unknown_proposal"


class InvalidLeafNodeError(MLSError, VerificationError):
    """The leaf node is not valid."""

    code = "mls.leaf_node_invalid"


class InvalidKeyPackageError(MLSError, VerificationError):
    """The key package is not valid."""

    code = "mls.key_package_invalid"


class InvalidProposalError(MLSError, VerificationError):
    """The proposal, or the list of proposals, is not valid."""

    code = "mls.proposal_invalid"


class InvalidCommitError(MLSError, VerificationError):
    """The commit is not valid."""

    code = "mls.commit_invalid"


class InvalidTreeError(MLSError, VerificationError):
    """The ratchet tree is not valid."""

    code = "mls.tree_invalid"


class InvalidGroupInfoError(MLSError, VerificationError):
    """The GroupInfo is not valid."""

    code = "mls.group_info_invalid"


class InvalidWelcomeError(MLSError, VerificationError):
    """The Welcome is not valid."""

    code = "mls.welcome_invalid"


class InvalidMessageError(MLSError, VerificationError):
    """The message is not valid."""

    code = "mls.message_invalid"


class SignatureInvalidError(MLSError, VerificationError):
    """The signature does not hold."""

    code = "mls.signature_invalid"


class MembershipTagError(MLSError, VerificationError):
    """The membership tag does not hold: no member of this epoch sent the message."""

    code = "mls.membership_tag"


class ConfirmationTagError(MLSError, VerificationError):
    """The confirmation tag does not hold: its maker arrived at another state of the group."""

    code = "mls.confirmation_tag"


class DecryptError(MLSError, VerificationError):
    """The message can't be decrypted with the keys of its epoch."""

    code = "mls.decrypt"


class KeyUsedError(MLSError, VerificationError):
    """The key of this message was used and deleted: the message is a replay."""

    code = "mls.key_used"


class TooFarAheadError(MLSError, VerificationError):
    """The message's generation is further ahead than the skip bound allows."""

    code = "mls.too_far_ahead"


class OwnMessageError(MLSError, ConflictError):
    """This is an own message: its key was deleted when it was sent."""

    code = "mls.own_message"


class CredentialInvalidError(MLSError, VerificationError):
    """The credential does not stand for a member that may be here."""

    code = "mls.credential_invalid"


class MissingPskError(MLSError, UnknownError):
    """A pre-shared key that the message needs is not known here."""

    code = "mls.psk_missing"


class SnapshotError(MLSError, ConflictError):
    """The stored state can't be read."""

    code = "mls.snapshot"


class NotAMemberError(MLSError, UnknownError):
    """There is no member at that leaf."""

    code = "mls.not_a_member"


class InactiveGroupError(MLSError, ConflictError):
    """The group has ended: it was re-initialised under a new one."""

    code = "mls.group_inactive"


class CommitRequiredError(MLSError, ConflictError):
    """Proposals wait for a commit, and nothing is said before it.

    Commit them (those that are not valid together are left out), then encrypt again.
    """

    code = "mls.commit_required"


class ForbiddenOperationError(MLSError, RefusedError):
    """MLS does not allow this operation in this state."""

    code = "mls.operation_forbidden"
