"""RFC 6962's definitions, word for word: slow, obvious, and independent of `liaison.tlog`.

Lists of entries are the trees. Source: RFC 6962 §2.1; draft-ietf-plants-merkle-tree-certs §4.4.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def split(count: int) -> int:
    """The largest power of two smaller than `count`."""
    k = 1
    while 2 * k < count:
        k *= 2
    return k


def root(entries: Sequence[bytes]) -> bytes:
    if not entries:
        return sha256(b"")
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0])
    k = split(len(entries))
    return sha256(b"\x01" + root(entries[:k]) + root(entries[k:]))


def inclusion(index: int, entries: Sequence[bytes]) -> list[bytes]:
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if index < k:
        return [*inclusion(index, entries[:k]), root(entries[k:])]
    return [*inclusion(index - k, entries[k:]), root(entries[:k])]


def consistency(old: int, entries: Sequence[bytes]) -> list[bytes]:
    return _subproof(0, old, entries, known=True)


def subtree(begin: int, end: int, entries: Sequence[bytes]) -> list[bytes]:
    return _subproof(begin, end, entries, known=True)


def _subproof(begin: int, end: int, entries: Sequence[bytes], *, known: bool) -> list[bytes]:
    if begin == 0 and end == len(entries):
        return [] if known else [root(entries)]
    k = split(len(entries))
    if end <= k:
        return [*_subproof(begin, end, entries[:k], known=known), root(entries[k:])]
    if k <= begin:
        return [*_subproof(begin - k, end - k, entries[k:], known=known), root(entries[:k])]
    return [*_subproof(0, end - k, entries[k:], known=False), root(entries[:k])]
