"""A short round of `make fuzz`: no decoder raises anything but typed errors, or hangs."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.decoders import Decoder, decoders
from tests.fuzz.mutator import MAX_SIZE, Mutator
from tests.fuzz.run import Report, _try, fuzz

INPUTS = 150


@pytest.mark.parametrize("name", [decoder.name for decoder in decoders()])
def test_changed_bytes_raise_nothing_but_typed_errors(name: str) -> None:
    (decoder,) = (each for each in decoders() if each.name == name)

    report = fuzz(decoder, INPUTS if decoder.weight > 1 else 10, seed=1)

    assert report.findings == []


def test_an_error_of_another_type_is_found() -> None:
    report = Report("broken")

    _try(Decoder("broken", (b"",), lambda data: data[10]), b"\x01\x02", report)

    assert report.findings[0].startswith("IndexError")
    assert report.findings[0].endswith("for 0102")


def test_one_seed_finds_the_same_inputs_and_most_differ() -> None:
    seeds = (bytes(range(100)), b"other")
    first, second = (Mutator(seeds, random.Random(7)) for _ in range(2))

    made = [first.next() for _ in range(500)]

    assert made == [second.next() for _ in range(500)]
    assert len(set(made)) > 400
    assert max(map(len, made)) <= MAX_SIZE
