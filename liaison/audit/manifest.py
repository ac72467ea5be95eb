"""A bundle's manifest: which part of which log, for whom, and the digest of every other file.

Canonical JSON, signed by the log's key. Who signs it vouches for the export as a whole; the entries
themselves are vouched for by checkpoints and witnesses.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from liaison.audit.errors import ManifestError
from liaison.tlog import commitment
from liaison.tlog.commitment import MAX_NUMBER
from liaison.tlog.entries import MAX_TIME, PolicyRef
from liaison.tlog.merkle import MAX_SIZE
from liaison.tlog.text import from_base64_hash, to_base64
from liaison.tlog.tiles import WIDTH
from liaison.values import dataclass

FORMAT: Final = "liaison.bundle/1"
NAME: Final = "manifest.json"
SIGNATURE_NAME: Final = "manifest.sig"
MAX_BYTES: Final = 1 << 28
"""Room for the digests of two million files."""
MAX_FACTS_BYTES: Final = 1 << 20
"""Room for all but the files."""
MAX_TEXT: Final = 1024
"""Characters of a name."""
_GENERATION: Final = re.compile("[2-9]|[1-9][0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Agreement:
    """What an auditor has to know of the agreement under which the log stands.

    Args:
        id: of the agreement.
        versions: those that were in force, in order.
        parties: names, by their codes.
        limits: seconds within which a message has to be acknowledged, by precedence.
    """

    id: str
    versions: tuple[PolicyRef, ...]
    parties: Mapping[str, str]
    limits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The head of the log that a log follows, as the parties have agreed.

    Args:
        origin: of that log.
        size: entries under the head.
        root: of these entries, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    @property
    def values(self) -> dict[str, str | int]:
        """What the first entry of the log that follows says."""
        return {"origin": self.origin, "root": to_base64(self.root), "size": self.size}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a bundle is of.

    Args:
        origin: of the log.
        agreement: that the log is kept under.
        party: code of the party for whom it was exported: what that one may see is opened.
        first: the first entry, a multiple of 256.
        end: one past the last; the size of a checkpoint.
        since: Unix milliseconds: entries before are not opened; None for no such limit.
        until: Unix milliseconds: entries from then on are not opened.
        made_at: Unix milliseconds.
        predecessor: of a log that follows another one; None for an agreement's first.
    """

    origin: str
    agreement: Agreement
    party: str
    first: int
    end: int
    since: int | None
    until: int | None
    made_at: int
    predecessor: Predecessor | None = None

    def __post_init__(self) -> None:
        """Check that there can be such a bundle.

        Raises:
            ManifestError: an empty range, one that begins within a tile, or values out of bounds.
        """
        if not 0 <= self.first < self.end <= MAX_SIZE or self.first % WIDTH:
            raise ManifestError("the range of a bundle is empty or begins within a tile")
        for time in (self.since, self.until, self.made_at):
            if time is not None and not 0 <= _whole(time) <= MAX_TIME:
                raise ManifestError("a time of a manifest is out of bounds")
        named = {**self.agreement.parties, **dict.fromkeys(self.agreement.limits, "")}
        for text in (self.origin, self.agreement.id, self.party, *named, *named.values()):
            _check_text(text)
        for seconds in self.agreement.limits.values():
            if not 0 <= _whole(seconds) <= MAX_NUMBER:
                raise ManifestError("a limit in a manifest is out of bounds")
        for version in self.agreement.versions:
            if not 1 <= _whole(version.version) < 2**32:
                raise ManifestError("a version in a manifest is out of bounds")
        told = None if self.predecessor is None else self.predecessor.origin
        if told != predecessor_of(self.origin, self.agreement.id):
            raise ManifestError("a successor log follows the one before it, and no other log any")
        if self.predecessor is not None:
            _whole(self.predecessor.size, MAX_SIZE)

    @property
    def generation(self) -> int:
        """Which of the agreement's logs it is, from 1."""
        return 1 if self.predecessor is None else int(self.origin.rpartition("/")[2])

    @property
    def begins_with(self) -> Predecessor | None:
        """What the bundle's first entry has to say: of a successor log from its beginning."""
        return self.predecessor if self.first == 0 else None


@dataclass(frozen=True, slots=True)
class File:
    """One file of a bundle.

    Args:
        size: in bytes.
        sha256: 32 bytes.
    """

    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest.

    Args:
        facts: what the bundle is of.
        disclosed: number of entries of which something is opened.
        files: every other file but the manifest's signature, by name.
    """

    facts: Facts
    disclosed: int
    files: Mapping[str, File]

    @property
    def entries(self) -> int:
        """Number of entries in the bundle."""
        return self.facts.end - self.facts.first

    @property
    def digest(self) -> bytes:
        """What is signed, 32 bytes."""
        return hashlib.sha256(self.encode()).digest()

    def encode(self) -> bytes:
        """Return the manifest's bytes."""
        facts, agreement = self.facts, self.facts.agreement
        before = {} if facts.predecessor is None else {"predecessor": facts.predecessor.values}
        return commitment.dump(
            before
            | {
                "agreement": {
                    "id": agreement.id,
                    "limits": dict(agreement.limits),
                    "parties": dict(agreement.parties),
                    "versions": [
                        {"digest": to_base64(each.digest), "version": each.version}
                        for each in agreement.versions
                    ],
                },
                "counts": {"disclosed": self.disclosed, "entries": self.entries},
                "files": {
                    name: {"sha256": to_base64(file.sha256), "size": file.size}
                    for name, file in self.files.items()
                },
                "format": FORMAT,
                "made_at": facts.made_at,
                "origin": facts.origin,
                "party": facts.party,
                "range": {
                    "end": facts.end,
                    "first": facts.first,
                    "since": facts.since,
                    "until": facts.until,
                },
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read a manifest. Nothing is verified.

        Raises:
            ManifestError: not one.
        """
        if len(data) > MAX_BYTES:
            raise ManifestError(f"a manifest has at most {MAX_BYTES} bytes")
        try:
            manifest = _manifest(commitment.load(data))
            same = manifest.encode() == data
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ManifestError(f"not the manifest of a bundle: {error}") from error
        # Nothing is in it that was not read.
        if not same:
            raise ManifestError("a manifest has other members")
        return manifest


def predecessor_of(origin: str, agreement: str) -> str | None:
    """Return the name of the log that a log follows; None for an agreement's first, and any other."""
    first, _, number = origin.rpartition("/")
    if not first.endswith(f"/log/{agreement}") or not _GENERATION.fullmatch(number):
        return None
    return first if number == "2" else f"{first}/{int(number) - 1}"


def statement(origin: str, digest: bytes) -> str:
    """Return the text that a log signs for a manifest; it can't be taken for a checkpoint.

    Args:
        origin: of the log.
        digest: of the manifest, 32 bytes.
    """
    # A checkpoint's second line is a number, which no origin of ours is.
    return f"{FORMAT}\n{origin}\nsha256 {to_base64(digest)}\n"


def _manifest(body: dict[str, Any]) -> Manifest:
    if body["format"] != FORMAT:
        raise ValueError("another format")
    agreement, bounds, before = body["agreement"], body["range"], body.get("predecessor")
    facts = Facts(
        body["origin"],
        Agreement(
            agreement["id"],
            tuple(
                PolicyRef(each["version"], from_base64_hash(each["digest"]))
                for each in agreement["versions"]
            ),
            dict(agreement["parties"]),
            dict(agreement["limits"]),
        ),
        body["party"],
        _whole(bounds["first"]),
        _whole(bounds["end"]),
        bounds["since"],
        bounds["until"],
        _whole(body["made_at"]),
        None if before is None else Predecessor(before["origin"], before["size"], _root(before)),
    )
    files = {
        name: File(_whole(each["size"], MAX_SIZE), from_base64_hash(each["sha256"]))
        for name, each in body["files"].items()
    }
    disclosed = _whole(body["counts"]["disclosed"], facts.end - facts.first)
    return Manifest(facts, disclosed, files)


def _root(before: Mapping[str, Any]) -> bytes:
    return from_base64_hash(before["root"])


def _check_text(value: object) -> None:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ManifestError("a name in a manifest is none")


def _whole(value: object, most: int | None = None) -> int:
    if type(value) is not int or (most is not None and not 0 <= value <= most):
        raise ManifestError("a number of a manifest is none, or out of bounds")
    return value
