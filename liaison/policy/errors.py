"""What can be wrong with a document or with what someone asks for."""

from __future__ import annotations

from liaison.errors import LimitError, MalformedError, RefusedError, VerificationError


class DocumentError(MalformedError):
    """The document does not say what such a document must say.

    The message names the line (where the source has lines) and the field.
    """

    code = "document.invalid"


class DocumentTooLargeError(LimitError):
    """The document is larger than any of its kind may be."""

    code = "document.too_large"


class SignatureMissingError(VerificationError):
    """Someone whose signature is needed has not signed.

    Either the signature is absent or what stands in its place does not hold.
    """

    code = "document.signature_missing"


class StaleRevocationError(VerificationError):
    """The revocation list is too old to be relied on.

    Whoever serves it may be hiding a newer one. Fetch it again; if it stays
    old, ask the party's registrar.
    """

    code = "revocation.stale"


class RevocationOrderError(VerificationError):
    """The revocation list does not follow the one before it."""

    code = "revocation.order"


class StatementOrderError(VerificationError):
    """A statement does not follow what is known of its party.

    An old one is being shown again, or two contradict each other.
    """

    code = "statement.order"


class RemovalReasonError(VerificationError):
    """The reason attached to a removal does not justify it."""

    code = "removal.unjustified"


class PolicyRefusedError(RefusedError):
    """The agreement does not allow this.

    `rule` names the rule that decided.
    """

    code = "policy.refused"

    def __init__(self, message: str = "", *, rule: str = "", hint: str = "") -> None:
        self.rule = rule
        super().__init__(message, hint=hint, unchanged="nothing was sent or changed")


class EnrolmentCodeError(MalformedError):
    """The enrolment code has a typing error.

    The checksum caught it; read the code again, group by group.
    """

    code = "enrolment.code_mistyped"


class EnrolmentError(VerificationError):
    """The enrolment message was not made with this code.

    Someone between the device and the registrar has changed, mixed up or
    replayed it. The registrar should withdraw the invitation and give out a new
    code by another way.
    """

    code = "enrolment.not_authentic"
