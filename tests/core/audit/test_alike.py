"""`verify.py` reads every text as `liaison.tlog` does: what one takes the other takes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.audit import verify_alone
from liaison.audit.manifest import Manifest
from liaison.errors import LiaisonError
from liaison.tlog import tiles
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.disclosure import Disclosure
from liaison.tlog.entries import Entry
from liaison.tlog.note import Note
from liaison.tlog.policy import Listed, Policy
from liaison.tlog.quorum import Group
from liaison.tlog.vkey import SignatureType, VerifierKey
from tests.core.audit.support import ORIGIN, AuditedLog
from tests.core.tlog.support import key_pair
from tests.fuzz.mutator import Mutator

WITNESSES = {
    f"w{n}": Listed(key_pair(f"w{n}.example", SignatureType.COSIGNATURE_ED25519)[0])
    for n in range(4)
}


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Make a policy of up to four witnesses in groups within groups."""
    free = list(WITNESSES)
    groups: dict[str, Group] = {}
    for n in range(draw(st.integers(0, 3))):
        if not free:
            break
        members = draw(st.lists(st.sampled_from(free), min_size=1, max_size=3, unique=True))
        groups[f"g{n}"] = Group(draw(st.integers(1, len(members))), tuple(members))
        free = [name for name in free if name not in members] + [f"g{n}"]
    quorum = draw(st.none() | st.sampled_from([*WITNESSES, *groups]))
    return Policy((Listed(key_pair(ORIGIN)[0]),), WITNESSES, groups, quorum)


@given(policy=policies(), signed=st.sets(st.sampled_from(sorted(WITNESSES))))
def test_a_quorum_is_one_for_both(policy: Policy, signed: set[str]) -> None:
    alone = verify_alone.Policy(policy.encode())

    assert alone.is_quorum(alone.quorum, signed) is policy.is_quorum(signed)
    assert {key.public for key in alone.log_keys(ORIGIN).values()} == {
        key.public for key in policy.log_keys(ORIGIN)
    }


def taken(read: Callable[[bytes], object], data: bytes) -> bool:
    try:
        read(data)
    except (LiaisonError, verify_alone.InvalidError):
        return False
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    return True


def log() -> AuditedLog:
    made = AuditedLog()
    made.grow(6)
    return made


def read_in_a_tile(data: bytes) -> None:
    """Read an entry as `verify.py` does between two messages."""
    told = [FIRST.encode(), data, FIRST.encode()]
    pieces = verify_alone.cut(tiles.encode_entries(told), len(told))
    if pieces[2::9] != told:
        raise ValueError("other entries")
    verify_alone.found_in(pieces, 0, "")


LOG = log()
FIRST = LOG.made[0]
POLICY = (
    b"# ours\n"
    + LOG.policy.encode().replace(b"quorum", b"group  any\tany both\n\nquorum")
    + b"# end"
)
READERS: dict[str, tuple[list[bytes], Callable[[bytes], object], Callable[[bytes], object]]] = {
    "entry": (LOG.data, Entry.decode, verify_alone.parse_entry),
    "entry in a tile": (LOG.data, Entry.decode, read_in_a_tile),
    "note": (
        [LOG.checkpoint(3).encode()],
        lambda data: Checkpoint.parse(Note.decode(data).text),
        lambda data: verify_alone.Note(data).checkpoint(),
    ),
    "policy": ([POLICY], Policy.parse, verify_alone.Policy),
    "key": (
        [str(LOG.key).encode(), str(key_pair("w", SignatureType.COSIGNATURE_MLDSA44)[0]).encode()],
        lambda data: VerifierKey.parse(data.decode()),
        lambda data: verify_alone.parse_key(data.decode()),
    ),
    "manifest": (
        [Manifest(LOG.facts(), 3, {}).encode()],
        Manifest.decode,
        verify_alone.parse_manifest,
    ),
    "disclosure": (
        [
            LOG.sealed[0].disclose(FIRST.type, names).encode()
            for names in (None, ["party"], ["to", "dtg"])
        ],
        lambda data: FIRST.open(Disclosure.decode(data)),
        lambda data: verify_alone.open_entry(
            b'{"disclosure":%b,"index":0}' % data, 0, FIRST.type.value, FIRST.fields
        ),
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_what_one_reads_the_other_reads(name: str) -> None:
    seeds, ours, alone = READERS[name]
    mutator = Mutator(tuple(seeds), random.Random(name))  # reason: the same each time

    for data in [*seeds, *(mutator.next() for _ in range(1500))]:
        # A disclosure of nothing is a line of its own in a bundle.
        if data != b"null":
            assert taken(ours, data) is taken(alone, data), data
    assert all(taken(ours, seed) for seed in seeds)


NUMBERS = [0, 1, 10**12 - 1, 10**12, 10**13 - 1, 10**13, 10**15 - 1, 10**15, 2**53 - 1, 2**53]


@pytest.mark.parametrize("name", ["epoch", "seq", "size", "time", "version"])
@pytest.mark.parametrize("number", [*map(str, NUMBERS), "-1", "01", "+1", "1.0", "1e3", "1_0", ""])
def test_a_message_is_read_alike_whatever_its_numbers(name: str, number: str) -> None:
    old = re.compile(rb'"%b":[0-9]+' % name.encode())
    data, count = old.subn(f'"{name}":{number}'.encode(), FIRST.encode())

    assert count == 1
    assert taken(Entry.decode, data) is taken(read_in_a_tile, data)
