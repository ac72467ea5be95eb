"""What can be wrong with a bundle, or with what two bundles say of one log."""

from __future__ import annotations

from liaison.errors import MalformedError, RefusedError, VerificationError


class BundleInvalidError(VerificationError):
    """The bundle is not what the log's keys and witnesses have signed.

    Keep the file: it is evidence. Ask the relay's operator for the export anew, and the other
    parties for theirs.

    Args:
        message: what is wrong.
        index: the first entry that can't be believed; None where no entry is concerned.
        part: the file within the bundle; None for the archive itself.
    """

    code = "audit.bundle_invalid"

    def __init__(self, message: str, *, index: int | None = None, part: str | None = None) -> None:
        places = [f"entry {index}"] if index is not None else []
        places += [part] if part is not None else []
        super().__init__(f"{', '.join(places)}: {message}" if places else message)
        self.index = index
        self.part = part


class ManifestError(MalformedError):
    """The bytes are not a bundle's manifest."""

    code = "audit.manifest_malformed"


class ExportError(RefusedError):
    """These entries and checkpoints do not make a bundle that anyone could verify.

    What was written so far is of no use.
    """

    code = "audit.export_inconsistent"


class BundleForkError(VerificationError):
    """Two bundles show two histories of one log.

    Keep both files: each is signed by the log. Tell every party by another way.

    Args:
        message: what differs.
        index: the first entry that differs or can; None where it is not known.
        size: the tree of which both signed roots stand; None where none does.
    """

    code = "audit.fork"

    def __init__(self, message: str, *, index: int | None = None, size: int | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.size = size


class IncomparableError(RefusedError):
    """The bundles are of different logs, or of parts that nothing connects."""

    code = "audit.incomparable"


class EventError(MalformedError):
    """The line is not an event of a bundle."""

    code = "audit.event_malformed"
