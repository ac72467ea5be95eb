"""What can be wrong with a header or a content."""

from __future__ import annotations

from liaison.errors import LimitError, MalformedError


class CBORError(MalformedError):
    """The bytes are not the CBOR that is used here."""

    code = "cbor.malformed"


class HeaderError(MalformedError):
    """The message header is not well formed."""

    code = "header.malformed"


class HeaderVersionError(HeaderError):
    """The message header is of a version that this program does not know.

    The sender is newer; update this program.
    """

    code = "header.version"


class ContentError(MalformedError):
    """The message content is not well formed."""

    code = "content.malformed"


class ContentTooLargeError(LimitError):
    """The message is too large; send the bulk of it as an attachment."""

    code = "content.too_large"


class ReleaseError(HeaderError):
    """The release in the header is not well formed."""

    code = "header.release_malformed"
