"""Changes bytes as a fuzzer does: a seed, some cuts and flips, pieces of other seeds.

Everything follows from one `random.Random`, so a run with the same number finds
the same inputs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

MAX_SIZE = 1 << 16

# Numbers that lengths, counts and versions go wrong at, and pieces of our formats.
TOKENS = (
    b"\x00",
    b"\x3f",
    b"\x40\x00",
    b"\x40\x40",
    b"\x7f\xff",
    b"\x80\x00\x40\x00",
    b"\xbf\xff\xff\xff",
    b"\xc0",
    b"\xff" * 4,
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\x00\x01\x00\x02",
    b"\x1a\x1a\x00",
    b"\x30\x80",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x9f",
    b"\xbf",
    b"\xf9\x7e\x00",
    b"\xc2\x41\x00",
    b"\xd8\x1c",
    b"[" * 200,
    b"{" * 200,
    b'{"a":',
    b'"\\ud800"',
    b"1e999",
    b"-0",
    b"NaN",
    b"null",
    b"9" * 400,
    b"&a [*a]",
    b"!!python/object:os.system",
    b"<<: *x",
    b"\xef\xbb\xbf",
    b"<a>" * 200,
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b"<![CDATA[",
    b"&#xD800;",
    b' xmlns:a="a"',
    b"\xc3\x28",
    b"\xe2\x80\xae",
)


class Mutator:
    """Makes inputs for one decoder."""

    def __init__(self, seeds: Sequence[bytes], rng: random.Random) -> None:
        self._seeds = tuple(seeds)
        self._rng = rng
        self._changes: tuple[Callable[[bytearray], None], ...] = (
            self._flip,
            self._set,
            self._add,
            self._insert,
            self._cut,
            self._repeat,
            self._splice,
            self._truncate,
        )

    def next(self) -> bytes:
        """Make one more input: mostly a seed with a few changes, sometimes noise."""
        rng = self._rng
        if rng.random() < 0.02:
            return rng.randbytes(rng.randrange(80))
        data = bytearray(rng.choice(self._seeds))
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 9))):
            rng.choice(self._changes)(data)
        return bytes(data[:MAX_SIZE])

    def _at(self, data: bytearray) -> int:
        return self._rng.randrange(len(data) + 1)

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)

    def _set(self, data: bytearray) -> None:
        if data:
            data[self._rng.randrange(len(data))] = self._rng.randrange(256)

    def _add(self, data: bytearray) -> None:
        if data:
            at = self._rng.randrange(len(data))
            data[at] = (data[at] + self._rng.choice((1, 255))) & 0xFF

    def _insert(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self._rng.choice(TOKENS)

    def _cut(self, data: bytearray) -> None:
        at = self._at(data)
        del data[at : at + self._rng.randrange(1, 20)]

    def _repeat(self, data: bytearray) -> None:
        at = self._at(data)
        piece = data[at : at + self._rng.randrange(1, 40)]
        data[at:at] = piece * self._rng.choice((1, 2, 30))

    def _splice(self, data: bytearray) -> None:
        other = self._rng.choice(self._seeds)
        at = self._at(data)
        start = self._rng.randrange(len(other) + 1)
        data[at : at + self._rng.randrange(40)] = other[start : start + self._rng.randrange(40)]

    def _truncate(self, data: bytearray) -> None:
        del data[self._at(data) :]
