"""The SDK's own errors. What the relay refuses is `liaison.wire.problems.RemoteError`.

No text here carries a passphrase, a key or content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from liaison.errors import (
    AuthenticationError,
    ConflictError,
    MalformedError,
    RefusedError,
    UnavailableError,
    UnknownError,
    VerificationError,
)

if TYPE_CHECKING:
    from liaison_sdk.account import Account

# --- keystore ---------------------------------------------------------------------------


class WrongPassphraseError(AuthenticationError):
    """The passphrase is wrong.

    Nothing was changed.
    """

    code = "keystore.wrong_passphrase"


class KeystoreMissingError(UnknownError):
    """There is no keystore in this folder."""

    code = "keystore.missing"


class KeystoreExistsError(ConflictError):
    """There is a keystore in this folder already; it was left as it is."""

    code = "keystore.exists"


class KeystoreMalformedError(MalformedError):
    """The keystore file is not readable as one."""

    code = "keystore.malformed"


class KeystoreLockedOutError(UnavailableError):
    """The system keyring is not there, or does not hold this keystore's key."""

    code = "keystore.locked_out"


class SealBrokenError(VerificationError):
    """A stored record does not open: it was altered, moved, or is another keystore's."""

    code = "keystore.seal_broken"


# --- account and store ------------------------------------------------------------------


class NotEnrolledError(UnknownError):
    """No device is enrolled in this folder."""

    code = "account.missing"


class AlreadyEnrolledError(ConflictError):
    """A device is enrolled in this folder already; nothing was changed.

    Args:
        account: the device's.
    """

    code = "account.exists"

    def __init__(self, account: Account) -> None:
        super().__init__(
            f"this folder's device is enrolled already: {account.device}",
            hint="liaison channels list shows what it is in; another device needs another folder:"
            " --home FOLDER",
        )
        self.account = account


class EnrolmentWaitingError(UnavailableError):
    """The registrar has not answered the certificate request yet."""

    code = "enrolment.waiting"


class StoreError(UnavailableError):
    """The store can't be read or written now; nothing of the step was kept."""

    code = "store.failed"


class StoreBusyError(UnavailableError):
    """Another process holds the store for too long."""

    code = "store.busy"


class NewerStoreError(ConflictError):
    """The store was written by a newer version of this program."""

    code = "store.newer"


# --- channels and messages --------------------------------------------------------------


class ChannelUnknownError(UnknownError):
    """There is no such channel here."""

    code = "channel.unknown"


class ChannelAmbiguousError(ConflictError):
    """More than one channel answers to this name."""

    code = "channel.ambiguous"


class ChannelClosedError(ConflictError):
    """This device is not, or no longer, a member of the channel."""

    code = "channel.closed"


class ChannelRejectedError(VerificationError):
    """The channel's last change breaks its agreement, so nothing after it is taken or sent."""

    code = "channel.rejected"


class MessageUnknownError(UnknownError):
    """There is no such message here."""

    code = "message.unknown"


class MessageAmbiguousError(ConflictError):
    """More than one message answers to this id."""

    code = "message.ambiguous"


class MessageRefusedError(RefusedError):
    """The relay refused the message for good; it will not be sent again.

    Args:
        message: the relay's words.
        remote_code: the relay's code, such as `policy.refused`.
        hint: what to do next.
    """

    code = "message.refused"

    def __init__(self, message: str, *, remote_code: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.remote_code = remote_code


class StatusOverdueError(UnavailableError):
    """A party's word on its participation is older than the agreement bears.

    Nothing is encrypted until a fresh one comes; what is queued waits.
    """

    code = "agreement.status_overdue"


class NotADraftError(MalformedError):
    """The message carries no draft that could be reviewed, released or sent."""

    code = "message.not_a_draft"


class NotReleasedError(RefusedError):
    """Signatures are missing under the draft, so it was not sent."""

    code = "release.incomplete"


class AlreadySentError(ConflictError):
    """The draft was sent already; nothing was sent again."""

    code = "release.sent"


class EndpointNoDevicesError(UnknownError):
    """The endpoint has no device that can be added."""

    code = "endpoint.no_devices"


class AttachmentMalformedError(MalformedError):
    """The attachment's description can't be used."""

    code = "attachment.malformed"


class AttachmentTamperedError(VerificationError):
    """The attachment's content is not what its sender described; nothing was kept of it."""

    code = "attachment.tampered"


class AttachmentExistsError(ConflictError):
    """There is a file of this name already; it was left as it is."""

    code = "attachment.exists"


# --- connection -------------------------------------------------------------------------


class ConnectionLostError(UnavailableError):
    """The connection to the relay is not there.

    Args:
        message: what happened.
        close_code: the WebSocket's close code, where there was one.
        hint: what to do, where it is known better than this class knows it.
    """

    code = "connection.lost"

    def __init__(self, message: str = "", *, close_code: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint or "check the network and the relay's address")
        self.close_code = close_code


class UndecidedError(ConnectionLostError):
    """The relay can't say now whether it takes a change of a channel.

    The change stays staged and goes out when it can. The connection is there, and everything else
    goes on over it.
    """


class RelayAddressError(MalformedError):
    """The relay's address can't be used."""

    code = "connection.address"


class CertificateFileError(MalformedError):
    """The CA file holds no certificates."""

    code = "connection.ca_file"


class RelayUntrustedError(VerificationError):
    """The server does not hold the key that this client pinned for its relay."""

    code = "connection.untrusted"


class RelayBrokenError(MalformedError):
    """The relay's answer is not what the protocol says."""

    code = "connection.malformed"
