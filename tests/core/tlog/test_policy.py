"""Trust policies and quorums: read as the standard says, counted as a truth table counts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.tlog import quorum
from liaison.tlog.errors import (
    NoteSignatureError,
    NoteUnsignedError,
    OriginError,
    PolicyError,
    QuorumError,
    QuorumsDisjointError,
)
from liaison.tlog.note import NoteSignature
from liaison.tlog.policy import Listed, Policy
from liaison.tlog.quorum import Group
from liaison.tlog.vkey import SignatureType
from tests.core.tlog.support import NOW, ORIGIN, Log, key_pair

LOG, _ = key_pair(ORIGIN)
KEYS = [key_pair(f"w{n}.example", SignatureType.COSIGNATURE_ED25519)[0] for n in range(8)]


def policy_of(*lines: str, witnesses: int = 3) -> Policy:
    named = [f"witness W{n} {KEYS[n]}" for n in range(witnesses)]
    return Policy.parse("\n".join([f"log {LOG}", *named, *lines, ""]).encode())


# --- reading --------------------------------------------------------------------------------------


def test_a_policy_is_read_whatever_its_layout() -> None:
    text = (
        f"""
    # who watches the log
\tlog  {LOG}\thttps://relay.example.org/log
    witness nor {KEYS[0]} https://witness.example/nor/
witness d\N{LATIN SMALL LETTER U WITH DIAERESIS} {KEYS[1]}
group  all-of-us  all nor\t\td\N{LATIN SMALL LETTER U WITH DIAERESIS}
quorum all-of-us
    """.encode()
        + b"# \xff\xfe\n"
    )

    policy = Policy.parse(text)

    assert policy.logs == (Listed(LOG, "https://relay.example.org/log"),)
    assert policy.witnesses["nor"].url == "https://witness.example/nor/"
    assert policy.groups == {"all-of-us": Group(2, ("nor", "d\xfc"))}
    assert policy.quorum == "all-of-us"
    assert Policy.parse(policy.encode()) == policy


def test_names_are_opaque_octets() -> None:
    kelvin = "\N{KELVIN SIGN}".encode()
    head = f"witness K {KEYS[0]}\n".encode() + b"witness " + kelvin + f" {KEYS[1]}\n".encode()
    broken = b"witness \xff\xfe " + str(KEYS[2]).encode() + b"\n"

    policy = Policy.parse(head + broken + b"group G 2 K " + kelvin + b" \xff\xfe\nquorum G\n")

    assert len(policy.witnesses) == 3
    assert Policy.parse(policy.encode()) == policy


@pytest.mark.parametrize(
    "line",
    [
        "quorum none\nquorum none",
        "quorum",
        "quorum W0 W1",
        "quorum W9",
        "group G all\nquorum none",
        "group G 0 W0\nquorum none",
        "group G 2 W0\nquorum none",
        "group G +1 W0\nquorum none",
        "group G 01 W0\nquorum none",
        "group G some W0\nquorum none",
        "group G any G\nquorum none",
        "group none any W0\nquorum none",
        "quorum none\nfollow the log",
        "log x\nquorum none",
        f"log {LOG} https://a b\nquorum none",
        f"witness X {LOG}\nquorum none",
        "quorum none\r",
    ],
    ids=repr,
)
def test_what_the_standard_does_not_know_is_refused(line: str) -> None:
    with pytest.raises(PolicyError):
        policy_of(line)


def test_groups_within_groups_have_an_end() -> None:
    deep = ["group G0 all W0", *(f"group G{n} all G{n - 1}" for n in range(1, 40))]

    with pytest.raises(PolicyError, match="nested"):
        policy_of(*deep, "quorum G39")


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(PolicyError):
        Policy.parse(b"log \xff+00000000+AAAA\nquorum none\n")


def test_as_many_as_the_standard_asks_for_have_room() -> None:
    logs = [f"log {key_pair(f'log{n}')[0]}" for n in range(32)]
    keys = [key_pair("w", SignatureType.COSIGNATURE_ED25519, seed=n)[0] for n in range(32)]
    witnesses = [f"witness W{n} {key}" for n, key in enumerate(keys)]
    groups = [f"group G{n} any W{n}" for n in range(31)]
    last = f"group G 16 W31 {' '.join(f'G{n}' for n in range(31))}"
    text = "\n".join([*logs, *witnesses, *groups, last, "quorum G", ""])

    policy = Policy.parse(text.encode())

    assert quorum.overlap(policy) == 0
    assert policy.is_quorum({f"W{n}" for n in range(16)})
    assert not policy.is_quorum({f"W{n}" for n in range(15)})


# --- quorums --------------------------------------------------------------------------------------


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Draw a quorum over up to 7 witnesses, in groups of groups."""
    count = draw(st.integers(1, 7))
    free = [f"W{n}" for n in range(count)]
    groups: dict[str, Group] = {}
    while len(free) > 1 or not groups:
        size = draw(st.integers(1, len(free)))
        members, free = free[:size], free[size:]
        name = f"G{len(groups)}"
        groups[name] = Group(draw(st.integers(1, size)), tuple(members))
        free.append(name)
        if len(groups) > 6:
            break
    witnesses = {f"W{n}": Listed(KEYS[n]) for n in range(count)}
    return Policy((Listed(LOG),), witnesses, groups, f"G{len(groups) - 1}")


def subsets(names: set[str]) -> list[set[str]]:
    ordered = sorted(names)
    return [
        set(chosen)
        for size in range(len(ordered) + 1)
        for chosen in itertools.combinations(ordered, size)
    ]


@given(policy=policies(), data=st.data())
def test_the_overlap_of_quorums_is_the_least_over_all_pairs(
    policy: Policy, data: st.DataObject
) -> None:
    dishonest = data.draw(st.sets(st.sampled_from(sorted(policy.witnesses))))
    quorums = [each for each in subsets(set(policy.witnesses)) if policy.is_quorum(each)]
    least = min(len((a & b) - dishonest) for a in quorums for b in quorums)

    assert quorum.overlap(policy, dishonest) == least
    if least:
        quorum.verify_intersecting(policy, [dishonest])
    else:
        with pytest.raises(QuorumsDisjointError):
            quorum.verify_intersecting(policy, [dishonest])


def test_of_two_parties_both_are_needed_to_exclude_a_split_view() -> None:
    either = policy_of("group G any W0 W1", "quorum G", witnesses=2)
    both = policy_of("group G all W0 W1", "quorum G", witnesses=2)
    suspects = [{"W0"}, {"W1"}]

    quorum.verify_intersecting(both, suspects)
    with pytest.raises(QuorumsDisjointError):
        quorum.verify_intersecting(either, suspects)
    with pytest.raises(QuorumsDisjointError, match="W0, W1"):
        quorum.verify_intersecting(both, [{"W0", "W1"}])


def test_without_witnesses_nothing_excludes_a_split_view() -> None:
    policy = policy_of("quorum none")

    assert policy.is_quorum(())
    with pytest.raises(QuorumsDisjointError):
        quorum.verify_intersecting(policy)


# --- checkpoints ----------------------------------------------------------------------------------


@pytest.fixture
def log() -> Log:
    log = Log()
    log.append(b"one", b"two")
    return log


def test_a_checkpoint_that_both_witnesses_cosigned_fulfils_the_policy(log: Log) -> None:
    note = log.cosigned("nor", "deu", times={"deu": NOW + 5})

    cosigned = log.policy.verify(note.encode(), required=["nor"], not_after=NOW + 5)

    assert cosigned.checkpoint == log.checkpoint()
    assert cosigned.witnesses == {"nor": NOW, "deu": NOW + 5}
    assert [signed.key for signed in cosigned.log] == [log.key]
    assert cosigned.note == note


@pytest.mark.parametrize("parties", [(), ("nor",), ("deu",)])
def test_below_quorum_a_checkpoint_does_not_count(log: Log, parties: tuple[str, ...]) -> None:
    with pytest.raises(QuorumError):
        log.policy.verify(log.cosigned(*parties).encode())


def test_a_reader_needs_its_own_partys_witness_whatever_the_quorum_says(log: Log) -> None:
    policy = Policy(log.policy.logs, log.policy.witnesses, {"G": Group(1, ("nor", "deu"))}, "G")
    data = log.cosigned("nor").encode()

    policy.verify(data, required=["nor"])
    with pytest.raises(QuorumError, match="deu"):
        policy.verify(data, required=["deu"])


def test_a_cosignature_from_the_future_does_not_count(log: Log) -> None:
    data = log.cosigned("nor", "deu", times={"deu": NOW + 61}).encode()

    with pytest.raises(QuorumError):
        log.policy.verify(data, not_after=NOW + 60)


def test_without_the_logs_own_signature_cosignatures_are_nothing(log: Log) -> None:
    note = log.cosigned("nor", "deu")
    bare = type(note)(note.text, note.signatures[1:])

    with pytest.raises(NoteUnsignedError):
        log.policy.verify(bare.encode())


def test_a_log_that_the_policy_does_not_list_is_refused(log: Log) -> None:
    other, _ = key_pair("another.example")
    policy = Policy((Listed(other),), log.policy.witnesses, log.policy.groups, "both")

    with pytest.raises(OriginError):
        policy.verify(log.cosigned("nor", "deu").encode())


def test_a_broken_cosignature_spoils_the_checkpoint(log: Log) -> None:
    key, _ = log.witnesses["deu"]
    note = log.cosigned("nor").with_signature(NoteSignature(key.name, key.id, bytes(2428)))

    with pytest.raises(NoteSignatureError):
        log.policy.verify(note.encode())
