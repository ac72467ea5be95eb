"""Why a service refuses. The codes are API; `docs/protocol/wire.md` lists them."""

from __future__ import annotations

from liaison.errors import (
    ConflictError,
    LimitError,
    MalformedError,
    RefusedError,
    UnknownError,
    VerificationError,
)
from liaison.wire.handshake import HandshakeError
from liaison.wire.problems import OversizeError

# --- who is asking ----------------------------------------------------------------------


class UnauthenticatedError(HandshakeError):
    """The key is not one that the relay knows for this principal."""


class UnknownKeyError(UnauthenticatedError):
    """The principal has no such key here."""


class DeviceRevokedError(RefusedError):
    """The device's certificate was revoked by its registrar."""

    code = "device.revoked"


class UnknownDeviceError(UnknownError):
    """The relay knows no such device."""

    code = "device.unknown"


class UnknownPartyError(UnknownError):
    """The operator has admitted no such party."""

    code = "party.unknown"


class PartyChangedError(ConflictError):
    """The party file does not fit the agreements that the party has signed."""

    code = "party.in_use"


class ForeignPartyError(RefusedError):
    """This concerns another party, with which the caller shares no agreement."""

    code = "party.foreign"


# --- enrolment and revocation -----------------------------------------------------------


class UnknownEnrolmentError(UnknownError):
    """There is no such enrolment."""

    code = "enrolment.unknown"


class EnrolmentPendingError(UnknownError):
    """The registrar has not answered yet."""

    code = "enrolment.pending"


class EnrolmentExpiredError(RefusedError):
    """The enrolment is over: its time has passed, or it was withdrawn."""

    code = "enrolment.expired"


class EnrolmentExistsError(ConflictError):
    """There is another enrolment under this lookup id."""

    code = "enrolment.exists"


class AlreadyRequestedError(ConflictError):
    """A different request has come under this code already.

    Whoever made that one knew the code. If it was not you, tell the registrar.
    """

    code = "enrolment.already_requested"


class TooManyInvitationsError(LimitError):
    """The party has too many invitations open."""

    code = "enrolment.too_many"


class EnrolmentStateError(ConflictError):
    """The enrolment is not at the step that this belongs to."""

    code = "enrolment.state"


class CertificateRefusedError(VerificationError):
    """A certificate in the reply does not hold, or is for another device."""

    code = "enrolment.certificate_refused"


class NoRevocationListError(UnknownError):
    """The party has published no revocation list."""

    code = "revocation.none"


# --- agreements -------------------------------------------------------------------------


class UnknownAgreementError(UnknownError):
    """The relay has admitted no such agreement of the caller's party."""

    code = "agreement.unknown"


class AgreementNotActiveError(RefusedError):
    """The agreement is not in force, or this is not its newest version."""

    code = "agreement.not_active"


class AgreementRefusedError(VerificationError):
    """The agreement can't be admitted."""

    code = "agreement.refused"


class AgreementVersionError(ConflictError):
    """The agreement does not follow the newest version that the relay has."""

    code = "agreement.version"


class AgreementSupersededError(ConflictError):
    """A newer version of the agreement is in force; the channel has to be moved to it first."""

    code = "agreement.superseded"


class AmendmentPendingError(ConflictError):
    """The commit does not bring the version in force into the channel."""

    code = "agreement.amendment_pending"


class TooManyDocumentsError(LimitError):
    """The party has too many documents waiting for signatures."""

    code = "agreement.too_many_proposals"


class UnknownProposalError(UnknownError):
    """No such version is proposed to the caller's party."""

    code = "proposal.unknown"


class StatementAheadError(RefusedError):
    """The document is dated further in the future than clocks may differ."""

    code = "statement.ahead"


class StatementOutdatedError(ConflictError):
    """Signed too long ago: others have acted on what held until now."""

    code = "statement.outdated"


class AlreadyExcludedError(ConflictError):
    """The party was excluded by another document before."""

    code = "exclusion.exists"


# --- key packages -----------------------------------------------------------------------


class KeyPackageError(VerificationError):
    """A key package is not valid."""

    code = "key_package.invalid"


class TooManyKeyPackagesError(LimitError):
    """The device has more key packages here than the relay keeps."""

    code = "key_package.too_many"


class NoKeyPackageError(UnknownError):
    """The endpoint has no device with a key package of this suite."""

    code = "key_package.none_left"


# --- channels ---------------------------------------------------------------------------


class UnknownChannelError(UnknownError):
    """There is no such channel."""

    code = "channel.unknown"


class NotMemberError(RefusedError):
    """The device is not a member of the channel."""

    code = "channel.not_member"


class ChannelExistsError(ConflictError):
    """There is a channel with this id."""

    code = "channel.exists"


class TooManyChannelsError(LimitError):
    """The agreement has as many channels as the relay keeps of one."""

    code = "channel.too_many"


class GroupRefusedError(VerificationError):
    """The group is not one that a channel can be opened with."""

    code = "channel.group_refused"


class RejectionUnfoundedError(VerificationError):
    """A member reports a commit that the channel did not have in the member's time."""

    code = "channel.rejection_unfounded"


class GroupMismatchError(MalformedError):
    """The message is for another group than the channel's."""

    code = "channel.group_mismatch"


class UnknownEpochError(UnknownError):
    """The relay does not keep the public tree of that epoch."""

    code = "channel.epoch_unknown"


class EpochStaleError(ConflictError):
    """The message was encrypted in an epoch that the channel takes nothing of any more."""

    code = "channel.epoch_stale"


class EpochConflictError(ConflictError):
    """Another commit has ended that epoch."""

    code = "channel.epoch_conflict"


class RemovalPendingError(ConflictError):
    """Somebody in the group has to go; nothing is sent before that device is removed."""

    code = "channel.removal_pending"


class RemovalLapsedError(ConflictError):
    """The relay's proposal to remove a member does not hold any more."""

    code = "channel.removal_lapsed"


class CommitInvalidError(VerificationError):
    """The commit or proposal is not valid."""

    code = "channel.commit_invalid"


class TooManyProposalsError(LimitError):
    """More proposals wait for a commit than the relay keeps for one epoch."""

    code = "channel.too_many_proposals"


# --- messages and attachments -----------------------------------------------------------


class UnknownMessageError(UnknownError):
    """The relay has accepted no such message of this device."""

    code = "message.unknown"


class MessageInvalidError(MalformedError):
    """The frame does not hold an application message with a readable header."""

    code = "malformed"


class MessageIdConflictError(ConflictError):
    """Another message of this device has this id."""

    code = "message.id_conflict"


class ReleaseUsedError(ConflictError):
    """A release was sent before: several persons have released one message, not two."""

    code = "release.used"


class ReleaseUnregisteredError(VerificationError):
    """A signature under a release is of a certificate that is not registered here.

    So no log has it, and its registrar can't have seen it. Readers show no such message.
    """

    code = "release.unregistered"


class QueueFullError(LimitError):
    """The channel holds as many messages as the relay keeps of one."""

    code = "queue.full"


class AttachmentsFullError(LimitError):
    """The channel or the party has as many attachments stored as the relay keeps."""

    code = "blob.quota"


class TooManyUploadsError(LimitError):
    """The device has too many uploads under way."""

    code = "blob.too_many"


class UnknownBlobError(UnknownError):
    """There is no such attachment in the channel."""

    code = "blob.unknown"


class BlobConflictError(ConflictError):
    """Another attachment has this id."""

    code = "blob.id_conflict"


class BlobDigestError(VerificationError):
    """The bytes do not have the digest that was announced."""

    code = "blob.digest_mismatch"


class BlobRangeError(MalformedError):
    """The attachment ends before what was asked of it."""

    code = "blob.range"


class BlobTooLargeError(OversizeError):
    """The attachment is larger than the channel's policy or the relay allows."""

    code = "blob.too_large"


# --- the log ----------------------------------------------------------------------------


class UnknownLogError(UnknownError):
    """The relay has no such log, or has published nothing of it yet."""

    code = "log.unknown"


class UnknownTileError(UnknownError):
    """The log has no such file."""

    code = "log.tile_unknown"


class UnknownReportError(UnknownError):
    """There is no such report."""

    code = "log.report_unknown"
