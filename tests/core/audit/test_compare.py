"""Two bundles of one log: one history, two histories, or nothing to compare."""

from __future__ import annotations

import io

import pytest

from liaison.audit.compare import Comparison, compare
from liaison.audit.errors import BundleForkError, BundleInvalidError, IncomparableError
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.tlog.fields import EntryType
from liaison.tlog.vkey import SignatureType, VerifierKey
from tests.core.audit.support import ORIGIN, AuditedLog


def logs(common: int, *, fork: bool) -> tuple[AuditedLog, AuditedLog]:
    """Make a log as it is shown to two parties, the same up to a size."""
    one, other = AuditedLog(), AuditedLog()
    one.grow(common)
    other.grow(common)
    if fork:
        other.add(EntryType.ADMIN, {"act": "something else"})
    one.grow(700 - common)
    other.grow(700 - len(other.data))
    return one, other


def compared(one: bytes, other: bytes) -> Comparison:
    found = compare(io.BytesIO(one), io.BytesIO(other))
    assert compare(io.BytesIO(other), io.BytesIO(one)) == found
    return found


def test_two_exports_of_one_history_agree() -> None:
    one, other = logs(300, fork=False)

    found = compared(one.bundle((100, 300)), other.bundle((600,), first=256))

    assert found == Comparison(ORIGIN, 256, 700, (256, 300, 600, 700))


def test_parts_that_meet_are_compared_where_they_meet() -> None:
    one, other = logs(512, fork=False)
    short = AuditedLog()
    short.grow(512)

    found = compared(short.bundle(), other.bundle(first=512))

    assert found == Comparison(ORIGIN, 512, 512, (512,))
    assert one.data == other.data


def test_a_bundle_under_a_key_of_its_own_accuses_nobody() -> None:
    one, other = logs(400, fork=True)
    made_up = SigningKey.generate(SignatureScheme.ED25519)
    other.key = VerifierKey.of(ORIGIN, SignatureType.ED25519, made_up)
    other.signer = made_up

    with pytest.raises(IncomparableError, match="different keys"):
        compared(one.bundle(), other.bundle())
    with pytest.raises(BundleInvalidError):
        compare(io.BytesIO(one.bundle()), io.BytesIO(other.bundle()), policy=one.policy)


@pytest.mark.parametrize("at", [0, 255, 256, 400, 699])
def test_the_first_entry_in_which_two_histories_differ_is_named(at: int) -> None:
    one, other = logs(at, fork=True)

    for a, b in ((one, other), (other, one)):
        with pytest.raises(BundleForkError) as raised:
            compare(io.BytesIO(a.bundle((100,))), io.BytesIO(b.bundle()))
        assert raised.value.index == at


def test_a_fork_before_the_later_bundle_is_seen_in_its_beginning() -> None:
    one, other = logs(100, fork=True)
    short = AuditedLog()
    short.data, short.sealed, short.made = one.data[:600], one.sealed[:600], one.made[:600]

    for a, b in ((short.bundle(), other.bundle(first=512)),):
        with pytest.raises(BundleForkError):
            compare(io.BytesIO(a), io.BytesIO(b))
    short.data = one.data[:512]
    with pytest.raises(BundleForkError) as raised:
        compare(io.BytesIO(short.bundle()), io.BytesIO(other.bundle(first=512)))
    assert raised.value.size == 512


def test_what_nothing_connects_is_not_compared() -> None:
    one, _ = logs(700, fork=False)
    short = AuditedLog()
    short.grow(100)

    with pytest.raises(IncomparableError):
        compare(io.BytesIO(short.bundle()), io.BytesIO(one.bundle(first=256)))


def test_two_logs_are_not_compared() -> None:
    one, other = AuditedLog(), AuditedLog(origin=f"another.{ORIGIN}")
    one.grow(3)
    other.grow(3)

    with pytest.raises(IncomparableError, match="two different logs"):
        compare(io.BytesIO(one.bundle()), io.BytesIO(other.bundle()))


def test_a_bundle_that_is_not_right_is_not_compared() -> None:
    one, other = logs(300, fork=False)
    data = bytearray(one.bundle())
    data[1000] ^= 1

    with pytest.raises(BundleInvalidError):
        compare(io.BytesIO(bytes(data)), io.BytesIO(other.bundle()))
    with pytest.raises(BundleInvalidError):
        compare(io.BytesIO(other.bundle()), io.BytesIO(bytes(data)))
