"""What can go wrong at a registrar's."""

from __future__ import annotations

from liaison.errors import (
    ConflictError,
    LiaisonError,
    MalformedError,
    RefusedError,
    UnknownError,
    VerificationError,
)


class OfficeExistsError(ConflictError):
    """There is a registrar of this party here already."""

    code = "registrar.exists"


class OfficeMissingError(UnknownError):
    """There is no registrar of this party here."""

    code = "registrar.missing"


class OfficeStateError(MalformedError):
    """The registrar's stored state can't be read.

    Its seal holds, so nobody changed it: it was written by another version, or
    the program has a fault.
    """

    code = "registrar.state_malformed"


class InvitationUnknownError(UnknownError):
    """No invitation of this name was made here."""

    code = "registrar.invitation_unknown"


class InvitationExpiredError(RefusedError):
    """The invitation has run out."""

    code = "registrar.invitation_expired"


class InvitationChangedError(ConflictError):
    """Another process of this registrar dealt with the invitation at the same time."""

    code = "registrar.invitation_changed"


class InvitationUsedError(VerificationError):
    """A code was used for a second set of keys.

    Raised when the relay hands over another request under a code that was
    answered. Either the device was set up anew, or somebody else has the code.
    """

    code = "registrar.invitation_used"


class CertificateUnknownError(UnknownError):
    """No certificate of this device was issued here."""

    code = "registrar.certificate_unknown"


class ForeignPartyError(RefusedError):
    """The registrar of one party does not act for another."""

    code = "registrar.foreign_party"


class SchemeRefusedError(RefusedError):
    """The device asks for a certificate that its invitation does not cover."""

    code = "registrar.scheme_refused"


class NotConnectedError(LiaisonError):
    """This party is not connected to a relay yet."""

    code = "registrar.not_connected"
