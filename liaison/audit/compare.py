"""Comparing two bundles of one log, or of a log and its successor: whether both show the same history.

Each party exports by itself, and each bundle is right for itself. If a log has shown two histories,
then two parties' bundles have different entries at one place, or signed roots that no one history
has. Both bundles are verified first, and one key has signed both, so what differs was signed by the
log: it is proof.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import BinaryIO

from liaison import words
from liaison.audit.errors import BundleForkError, IncomparableError
from liaison.audit.stream import Stream
from liaison.audit.verify import Head, read_head, verify
from liaison.tlog import merkle, tiles
from liaison.tlog.merkle import HASH_BYTES
from liaison.tlog.policy import Policy
from liaison.tlog.tiles import WIDTH, Tile
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two bundles that show one history, as far as they can be compared.

    Args:
        origin: of the log.
        first: the first entry that both have.
        end: one past the last one; `first` where they have none in common.
        sizes: trees of which both know the root: signed in one, signed or computed in the other.
    """

    origin: str
    first: int
    end: int
    sizes: tuple[int, ...]


def compare(one: BinaryIO, other: BinaryIO, *, policy: Policy | None = None) -> Comparison:
    """Verify two bundles, and check that they show one history of one log.

    Args:
        one: a bundle, open for reading.
        other: another one.
        policy: the reader's own; None for the one in each bundle.

    Raises:
        BundleInvalidError: one of them is not right by itself.
        IncomparableError: they are of logs that do not follow each other, nothing connects their
            ranges, or each names a key of its own for the log.
        BundleForkError: they show two histories.
    """
    heads = []
    for file in (one, other):
        verify(file, policy=policy)
        heads.append(read_head(file, policy=policy))
    a, b = heads
    origins = {head.manifest.facts.origin for head in heads}
    if len(origins) != 1:
        return _compare_logs(a, b)
    if policy is None:
        _check_signers(a, b)
    first = max(head.manifest.facts.first for head in heads)
    end = min(head.manifest.facts.end for head in heads)
    _compare_entries(a, b, first, end)
    sizes = _compare_roots(a, b)
    if not sizes:
        raise IncomparableError(
            "the bundles have no entry and no size in common",
            hint="ask for a bundle that overlaps with both",
        )
    return Comparison(origins.pop(), first, max(first, end), sizes)


def _check_signers(a: Head, b: Head) -> None:
    """Check that one key has signed both: anybody can make a bundle with a key of their own."""
    ours, theirs = ({signed.key for signed in head.checkpoints[-1].log} for head in (a, b))
    if ours.isdisjoint(theirs):
        raise IncomparableError(
            "the bundles name different keys for the log, so one shows nothing about the other",
            hint="give the keys that the agreement names with --policy",
        )


def _compare_logs(a: Head, b: Head) -> Comparison:
    """Compare the head that a log follows with the log before it."""
    for old, new in ((a, b), (b, a)):
        before = new.manifest.facts.predecessor
        if before is None or before.origin != old.manifest.facts.origin:
            continue
        root = dict(_roots(old, {before.size})).get(before.size)
        if root is None:
            raise IncomparableError(
                "the bundle of the old log does not tell the root of its"
                f" {words.entries(before.size)}",
                hint="ask for a bundle that goes up to there",
            )
        if root != before.root:
            raise BundleForkError(
                "the new log follows another history of the old one's first"
                f" {words.entries(before.size)}",
                size=before.size,
            )
        facts = old.manifest.facts
        return Comparison(facts.origin, facts.first, facts.first, (before.size,))
    raise IncomparableError("the bundles are of two different logs")


def _compare_entries(a: Head, b: Head, first: int, end: int) -> None:
    for start in range(first, end, WIDTH):
        ours, theirs = (_row(head, start) for head in (a, b))
        for n, (mine, yours) in enumerate(zip(ours, theirs, strict=False)):
            if mine != yours:
                index = start + n
                raise BundleForkError(
                    f"entry {index}: the log has shown two different ones", index=index
                )


def _compare_roots(a: Head, b: Head) -> tuple[int, ...]:
    """Compare the roots of all sizes that one of them has signed, or begins with."""
    asked = {size for head in (a, b) for size in (*head.roots, head.compact.size) if size}
    ours, theirs = (dict(_roots(head, asked)) for head in (a, b))
    common = sorted(ours.keys() & theirs.keys())
    for size in common:
        if ours[size] != theirs[size]:
            raise BundleForkError(
                f"the log has signed two trees of {words.entries(size)}", size=size
            )
    return tuple(common)


def _roots(head: Head, sizes: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Give the roots of those sizes that the bundle has entries for."""
    tree = head.compact
    if tree.size in sizes:
        yield tree.size, tree.root
    end = head.manifest.facts.end
    for start in range(tree.size, end, WIDTH):
        row = _row(head, start)
        for size in range(start + 1, start + len(row)):
            if size in sizes:
                yield size, tree.extend(row[: size - start]).root
        if len(row) == WIDTH:
            tree = tree.extend([merkle.hash_full(row)], tiles.HEIGHT)
        else:
            tree = tree.extend(row)
        if tree.size in sizes:
            yield tree.size, tree.root


def _row(head: Head, start: int) -> list[bytes]:
    """Return the leaf hashes of one tile, which `verify` has compared with its entries."""
    tile = Tile(0, start // WIDTH, min(WIDTH, head.manifest.facts.end - start))
    name = tile.path
    data = Stream(head.archive, name, head.manifest.files[name]).whole(WIDTH * HASH_BYTES)
    return tiles.decode_hashes(tile, data)
