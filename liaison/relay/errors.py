"""Errors of the relay's rim: sessions, limits, administration."""

from __future__ import annotations

from typing import ClassVar

from liaison.errors import (
    AuthenticationError,
    ConflictError,
    Fault,
    LimitError,
    MalformedError,
    RefusedError,
    UnavailableError,
    UnknownError,
)
from liaison.wire.handshake import HandshakeError


class NoTokenError(HandshakeError):
    """The request carries no valid token."""


class SessionExpiredError(AuthenticationError):
    """The session has ended; open a new one."""

    code = "session.expired"


class WrongPrincipalError(RefusedError):
    """This is not for a principal of this kind."""

    code = "session.wrong_principal"


class RateExceededError(LimitError):
    """Too many requests.

    `retry_after` is in whole seconds, at least 1; the same request may succeed then.
    """

    code = "rate.exceeded"

    def __init__(self, message: str = "", *, retry_after: int = 1) -> None:
        super().__init__(
            message,
            hint=f"wait {retry_after} s and send it again",
            unchanged="nothing was stored",
        )
        self.retry_after = retry_after


class TooManyStreamsError(LimitError):
    """The device, or the relay, has as many streams open as it may."""

    code = "rate.streams"


class TooManyConnectionsError(LimitError):
    """The device or office has as many connections open as it may."""

    code = "rate.connections"


class TooManyBodiesError(LimitError):
    """The device or office has as much under way as the relay keeps in memory for it."""

    code = "rate.bodies"


class AttachmentRateError(LimitError):
    """The device or its party has moved as many bytes of attachments as it may for now.

    `retry_after` is in whole seconds, at least 1; the same request may succeed then.
    """

    code = "rate.attachments"

    def __init__(self, message: str = "", *, hint: str = "", retry_after: int = 1) -> None:
        super().__init__(message, hint=hint, unchanged="nothing was stored")
        self.retry_after = retry_after


class CrowdedError(UnavailableError):
    """More is under way than the relay keeps in memory."""

    retry_after: ClassVar[int] = 1


class HTTPError(MalformedError):
    """This is no HTTP request, or its head is larger than the relay reads."""

    code = "malformed.http"


class HostError(MalformedError):
    """The request is for another host than this relay."""

    code = "malformed.host"


class OriginError(RefusedError):
    """The request comes from a web page, and no page has anything to do here."""

    code = "request.origin"


class EncodedBodyError(MalformedError):
    """The body has a content encoding; the relay takes plain bodies only."""

    code = "malformed.encoding"


class BodyError(MalformedError):
    """The body is not what this request takes."""


class ParameterError(MalformedError):
    """A parameter of the request is missing or malformed."""


class RouteUnknownError(UnknownError):
    """There is nothing at this address."""

    code = "route.unknown"


class MethodError(MalformedError):
    """This address does not take this method."""

    code = "route.method"


class SettingsError(MalformedError):
    """The settings can't be used."""

    code = "relay.settings"
    fault: ClassVar[Fault] = Fault.CALLER


class NotInitialisedError(UnknownError):
    """There is no relay in this directory."""

    code = "relay.not_initialised"


class AlreadyInitialisedError(ConflictError):
    """There is a relay in this directory already."""

    code = "relay.already_initialised"


class LockedError(UnavailableError):
    """Another process holds this relay's lock."""

    code = "relay.locked"


class KeyFileError(MalformedError):
    """A key file of the relay can't be used."""

    code = "relay.key_file"
    fault: ClassVar[Fault] = Fault.CALLER


class AdminError(UnavailableError):
    """The running relay could not be reached through its socket."""

    code = "relay.admin"


class NotReadyError(UnavailableError):
    """The relay is not ready to serve."""


class LogRefusedError(UnavailableError):
    """The transparency log is damaged, and nothing is accepted that would have to stand in it.

    The message says what was found and the hint what the operator has to do. The relay does not
    mend this by itself: what it has shown to witnesses and readers can't be taken back.
    """

    code = "log.refused"
