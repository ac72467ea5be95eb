"""Every change to a bundle is found, by both verifiers, and the right entry is named."""

from __future__ import annotations

import io
import random

import pytest

from liaison.audit import verify_alone
from liaison.audit.errors import BundleInvalidError
from liaison.audit.verify import verify
from tests.core.audit.mutations import KINDS, Mutation, Target
from tests.core.audit.support import AuditedLog

EACH = 14
"""Changes of each kind; bench/bundle.py makes ten thousand in all."""


@pytest.fixture(scope="module")
def targets() -> list[Target]:
    return made_targets()


def made_targets() -> list[Target]:
    log = AuditedLog()
    log.grow(520)
    whole, part = (1, 100, 256, 300, 512, 520), (256, 400, 520)
    return [
        Target(log, log.bundle(whole[:-1]), whole),
        Target(log, log.bundle(part[:-1], first=256), part),
    ]


def check(mutation: Mutation) -> None:
    """Give a changed bundle to both verifiers."""
    with pytest.raises(BundleInvalidError) as ours:
        verify(io.BytesIO(mutation.data))
    with pytest.raises(verify_alone.InvalidError) as alone:
        verify_alone.verify(io.BytesIO(mutation.data))

    assert mutation.is_told_by(ours.value.index), f"{mutation.name}: {ours.value}"
    assert (ours.value.index, ours.value.part) == (alone.value.index, alone.value.part)


@pytest.mark.parametrize("kind", KINDS)
def test_every_change_is_found_by_both_verifiers_and_the_first_entry_named(
    kind: str, targets: list[Target]
) -> None:
    rng = random.Random(kind)  # reason: the same changes each time

    for _ in range(EACH):
        target = rng.choice(targets)
        mutation = KINDS[kind](target, rng)
        assert mutation.data != target.data
        check(mutation)
