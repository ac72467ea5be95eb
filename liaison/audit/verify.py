"""Checking a bundle: whether every byte of it is what the log and its witnesses stand for.

In this order: the archive is in its one form; the log has signed the manifest; the files are those
that the manifest tells of; each checkpoint is signed by the log and cosigned as the policy asks;
and then, entry by entry, what `liaison.audit.walk` compares. What a bundle can't show: that the log
left nothing out, and whether the keys are the right ones. Those the reader has to bring.
Whether the entries' times and the witnesses' agree is told, and rejects nothing (`audit.dates`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import BinaryIO, Final, TypeVar

from liaison.audit import dates, layout, manifest
from liaison.audit.archive import Archive
from liaison.audit.bundle import verifier
from liaison.audit.dates import Misdated
from liaison.audit.errors import BundleInvalidError
from liaison.audit.events import Event
from liaison.audit.manifest import Manifest
from liaison.audit.stream import Stream
from liaison.audit.walk import Walk
from liaison.errors import LiaisonError
from liaison.tlog import tiles
from liaison.tlog.errors import StateError
from liaison.tlog.merkle import HASH_BYTES, CompactRange
from liaison.tlog.note import MAX_NOTE_BYTES, Note
from liaison.tlog.policy import MAX_POLICY_BYTES, Cosigned, Policy
from liaison.values import dataclass

_MAX_COMPACT_BYTES: Final = 64 * HASH_BYTES
_MAX_VERIFIER_BYTES: Final = 1 << 20
_LINES: Final = 1024
_T = TypeVar("_T")

Take = Callable[[Event], object]


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, of a bundle in which nothing is wrong.

    Args:
        manifest: what it is of.
        policy: whose keys and quorum were asked for.
        is_own_policy: whether the reader brought it; else it is the bundle's.
        checkpoints: with their witnesses, by size; the last is of the whole range.
        attached: files of which only the digest was checked.
        begun: channels whose beginning lies before the range, and the first number in it.
        is_own_verifier: whether `verify.py` in the bundle is the one that this version knows.
        misdated: where entries are dated otherwise than their witnesses' times allow.
    """

    manifest: Manifest
    policy: Policy
    is_own_policy: bool
    checkpoints: tuple[Cosigned, ...]
    attached: tuple[str, ...]
    begun: tuple[tuple[str, int], ...]
    is_own_verifier: bool
    misdated: tuple[Misdated, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """The parts of a bundle that tell what it is; all but the entries were checked.

    Args:
        archive: the bundle.
        manifest: signed by the log.
        policy: that was asked for.
        compact: the tree before the range.
        checkpoints: that fulfil the policy, by size.
    """

    archive: Archive
    manifest: Manifest
    policy: Policy
    compact: CompactRange
    checkpoints: tuple[Cosigned, ...]

    @property
    def roots(self) -> dict[int, bytes]:
        """The signed roots, by size."""
        return {each.checkpoint.size: each.checkpoint.root for each in self.checkpoints}


def verify(
    file: BinaryIO,
    *,
    policy: Policy | None = None,
    required: Collection[str] = (),
    take: Take | None = None,
) -> Report:
    """Check a bundle.

    Args:
        file: the bundle, open for reading; it may be large.
        policy: the reader's own; None for the one in the bundle: then the keys are only those
            that the bundle names.
        required: witnesses, by the policy's names, that must have cosigned the last checkpoint.
        take: is given each event, as soon as it was checked; the whole bundle only is when this
            function returns.

    Raises:
        BundleInvalidError: something is wrong; with the first entry that it concerns.
    """
    head = read_head(file, policy=policy, required=required)
    walk = Walk(head.archive, head.manifest, head.roots, head.compact)
    for event in walk.events():
        if take is not None:
            take(event)
    files = head.manifest.files
    attached = tuple(name for name in layout.ATTACHED if name in files)
    for name in attached:
        Stream(head.archive, name, files[name]).skip()
    text = Stream(head.archive, layout.VERIFIER, files[layout.VERIFIER]).whole(_MAX_VERIFIER_BYTES)
    return Report(
        head.manifest,
        head.policy,
        policy is not None,
        head.checkpoints,
        attached,
        tuple(sorted(walk.channels.begun.items())),
        text == verifier(),
        dates.compare(head.checkpoints, walk.times),
    )


def read_head(
    file: BinaryIO, *, policy: Policy | None = None, required: Collection[str] = ()
) -> Head:
    """Check all of a bundle but its entries and what was made of them.

    Raises:
        BundleInvalidError: something is wrong.
    """
    archive = Archive(file)
    own = Stream(archive, layout.POLICY, None).whole(MAX_POLICY_BYTES)
    trusted = _parsed(layout.POLICY, partial(Policy.parse, own)) if policy is None else policy
    made = _manifest(archive, trusted)
    files = made.files
    Stream(archive, layout.POLICY, files[layout.POLICY]).whole(MAX_POLICY_BYTES)
    hashes = Stream(archive, layout.COMPACT, files[layout.COMPACT]).whole(_MAX_COMPACT_BYTES)
    rows = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    try:
        compact = CompactRange(made.facts.first, tuple(rows))
    except StateError as error:
        raise BundleInvalidError(error.message, part=layout.COMPACT) from error
    checkpoints = tuple(_checkpoints(archive, made, trusted))
    last = layout.checkpoint(made.facts.end)
    if not checkpoints or checkpoints[-1].checkpoint.size != made.facts.end:
        raise BundleInvalidError("the end of the range has no checkpoint", part=last)
    for name in required:
        if name not in checkpoints[-1].witnesses:
            raise BundleInvalidError(f"{name} has not cosigned it", part=last)
    return Head(archive, made, trusted, compact, checkpoints)


def read_events(file: BinaryIO) -> Iterator[Event]:
    """Give the events of a bundle that `verify` has found right, made anew where it has none.

    Raises:
        BundleInvalidError: they are not what the manifest says, or the bundle is none.
    """
    archive = Archive(file)
    if layout.EVENTS not in archive.members:
        head = read_head(file)
        yield from Walk(archive, head.manifest, head.roots, head.compact).events()
        return
    stream = Stream(archive, layout.EVENTS, None)
    while lines := stream.lines(_LINES):
        for line in lines:
            yield _parsed(layout.EVENTS, partial(Event.decode, line + b"\n"))
    stream.end()


def _manifest(archive: Archive, policy: Policy) -> Manifest:
    # Who has signed it is checked before it is read; and each file has one line in it: more than
    # that is nothing to be read, whoever has signed it.
    most = manifest.MAX_FACTS_BYTES + sum(len(name) + 128 for name in archive.members)
    data = Stream(archive, manifest.NAME, None).whole(most)
    note = Stream(archive, manifest.SIGNATURE_NAME, None).whole(MAX_NOTE_BYTES)
    digest = hashlib.sha256(data).digest()
    signed = partial(_verify_signature, note, digest, policy)
    origin = _parsed(manifest.SIGNATURE_NAME, signed)
    made = _parsed(manifest.NAME, partial(Manifest.decode, data))
    if made.facts.origin != origin:
        problem = "the log has not signed this manifest"
        raise BundleInvalidError(problem, part=manifest.SIGNATURE_NAME)
    # As many are listed below, and no more.
    if 2 * made.entries > tiles.WIDTH * len(made.files):
        raise BundleInvalidError("it tells of other files than there are", part=manifest.NAME)
    try:
        names = layout.order(made.facts.first, made.facts.end, made.files)
    except ValueError as error:
        raise BundleInvalidError(
            f"a checkpoint has no size: {error}", part=manifest.NAME
        ) from error
    if [*names, manifest.NAME, manifest.SIGNATURE_NAME] != list(archive.members):
        raise BundleInvalidError(
            "the archive has other files than its manifest tells, or in another order"
        )
    if set(names) != made.files.keys():
        raise BundleInvalidError("it tells of other files than there are", part=manifest.NAME)
    if len(made.files.keys() & set(layout.DERIVED)) == 1:
        raise BundleInvalidError("it tells of events in one of two forms", part=manifest.NAME)
    return made


def _verify_signature(data: bytes, digest: bytes, policy: Policy) -> str:
    """Check the signature over a manifest; return the origin of the log."""
    note = Note.decode(data)
    origin = "".join(note.text.split("\n")[1:2])
    note.verify(policy.log_keys(origin))
    if note.text != manifest.statement(origin, digest):
        raise BundleInvalidError("the log has not signed this manifest")
    # Nothing vouches for further lines.
    if len(note.signatures) != 1:
        raise BundleInvalidError("it has other signatures than the log's one")
    return origin


def _checkpoints(archive: Archive, made: Manifest, policy: Policy) -> Iterator[Cosigned]:
    facts = made.facts
    for size in layout.sizes(made.files):
        name = layout.checkpoint(size)
        note = Stream(archive, name, made.files[name]).whole(MAX_NOTE_BYTES)
        found = _parsed(name, partial(policy.verify, note))
        if found.checkpoint.origin != facts.origin:
            raise BundleInvalidError("it is of another log", part=name)
        if found.checkpoint.size != size or not max(facts.first, 1) <= size <= facts.end:
            raise BundleInvalidError(
                "it is of another size than its name, or outside of the range", part=name
            )
        yield found


def _parsed(part: str, parse: Callable[[], _T]) -> _T:
    try:
        return parse()
    except LiaisonError as error:
        raise BundleInvalidError(error.message, part=part) from error
