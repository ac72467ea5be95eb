"""Speed and size of the MLS engine: `make bench`, or `python -m bench.mls`.

Times are CPU time of this process, so that waiting does not count; rates are
per core. Of several rounds the quickest counts: what else runs on the machine
can only make a round slower. The compiled library mls-rs takes turns with the
engine, round by round, so the ratio is fair whatever the machine.

The group of 1,000 is full: every member has committed once, one after the
other, so no parent node is blank that could be set, and no leaf is unmerged.
The benchmark keeps all keys of all members in one place, which is how it can
build such a group in seconds; what is measured are the engine's own verbs.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from liaison.crypto import signing, suites
from liaison.crypto.kem import KeyPair
from liaison.crypto.signing import SigningKey
from liaison.crypto.suites import CipherSuite
from liaison.mls import (
    group,
    key_schedule,
    snapshot,
    state,
    transcript,
    tree_math,
    welcome,
)
from liaison.mls.credentials import BasicValidator, Credential
from liaison.mls.group import ApplicationReceived, CommitStaged, Group
from liaison.mls.key_packages import new_key_package
from liaison.mls.leaf import Capabilities, LeafNode, LeafSource, Lifetime, Node, ParentNode
from liaison.mls.messages import GroupContext
from liaison.mls.proposals import Add
from liaison.mls.public_group import PublicGroup
from liaison.mls.tree import RatchetTree

RESULTS = Path(__file__).parent / "results"
NOW = 1_700_000_000
LIFETIME = Lifetime(NOW - 3600, NOW + 80 * 86_400)
VALIDATOR = BasicValidator()
MEMBERS = 1000

CLASSIC = 0x0001
HYBRID = 0xF002
BATCH = 100
MESSAGE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Figure:
    """One result beside its goal.

    Args:
        goal: what it must reach, or None where it is only told.
        least: whether more is better.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    least: bool = True

    @property
    def holds(self) -> bool:
        """Whether the goal is reached."""
        if self.goal is None:
            return True
        return self.value >= self.goal if self.least else self.value < self.goal

    def __str__(self) -> str:
        # Ratios are small numbers, and their goals have decimals.
        digits = 2 if abs(self.value) < 10 else 1
        text = f"{self.name}: {self.value:,.{digits}f} {self.unit}"
        if self.goal is None:
            return text
        bound = "at least" if self.least else "under"
        verdict = "reached" if self.holds else "MISSED"
        return f"{text} (goal: {bound} {self.goal:,g}; {verdict})"


def cpu(work: Callable[[], object]) -> float:
    """Give the CPU seconds that one call takes."""
    gc.collect()
    begin = time.process_time()
    work()
    return time.process_time() - begin


def best(work: Callable[[], object], rounds: int) -> float:
    """Give the CPU seconds of the quickest of some calls."""
    return min(cpu(work) for _ in range(rounds))


# --- messages -------------------------------------------------------------------------------------


def pair(code: int) -> tuple[Group, SigningKey, Group]:
    """Make a group of two."""
    suite = suites.suite(code)
    keys = [SigningKey.generate(suite.signature) for _ in range(2)]
    first = group.create(
        code,
        b"bench",
        keys[0],
        Credential.basic(b"0"),
        lifetime=LIFETIME,
        rng=os.urandom,
        now=NOW,
        validator=VALIDATOR,
    )
    bundle = new_key_package(code, keys[1], Credential.basic(b"1"), LIFETIME, rng=os.urandom)
    staged = group.stage_commit(
        first,
        signer=keys[0],
        rng=os.urandom,
        now=NOW,
        validator=VALIDATOR,
        by_value=[Add(bundle.package)],
    )
    assert staged.welcome is not None
    second = welcome.join(
        staged.welcome, [bundle], ratchet_tree=staged.ratchet_tree, now=NOW, validator=VALIDATOR
    )
    return staged.group, keys[0], second


def exchange(code: int, count: int) -> Callable[[], None]:
    """Prepare `count` messages of 1 KiB from one member to the other."""
    sender, signer, reader = pair(code)
    text = os.urandom(MESSAGE_BYTES)

    def run() -> None:
        nonlocal sender, reader
        for _ in range(count):
            sender, message = group.encrypt(sender, text, signer=signer, rng=os.urandom)
            done = group.process(reader, message, now=NOW, validator=VALIDATOR)
            assert isinstance(done, ApplicationReceived)
            reader = done.group

    return run


def exchange_mls_rs(count: int) -> Callable[[], None] | None:
    """Prepare the same with mls-rs; None where it is not installed."""
    try:
        import mls_rs_uniffi as rs  # noqa: PLC0415 - it need not be there
    except ImportError:
        return None
    suite = rs.CipherSuite.CURVE25519_AES128
    clients = [
        rs.Client(b"%d" % n, rs.generate_signature_keypair(suite), rs.client_config_default())
        for n in range(2)
    ]
    sender = clients[0].create_group(b"bench")
    package = clients[1].generate_key_package_message()
    added = sender.add_members([package])
    sender.process_incoming_message(added.commit_message)
    reader = clients[1].join_group(None, added.welcome_message).group
    text = os.urandom(MESSAGE_BYTES)

    def run() -> None:
        for _ in range(count):
            message = sender.encrypt_application_message(text).to_bytes()
            reader.process_incoming_message(rs.Message.from_bytes(message))

    return run


# --- a full group of N members --------------------------------------------------------------------


@dataclass
class Full:
    """A full tree, and all the keys of its members."""

    suite: CipherSuite
    tree: RatchetTree
    pairs: dict[int, KeyPair]
    signers: list[SigningKey]
    context: GroupContext
    secrets: key_schedule.EpochSecrets
    tag: bytes

    def member(self, leaf: int) -> Group:
        """Give the state of one member."""
        identities = {place: b"%d" % place for place, _ in self.tree.leaves()}
        interim = transcript.interim_hash(
            self.suite, self.context.confirmed_transcript_hash, self.tag
        )
        public = PublicGroup(self.suite, self.context, self.tree, identities, interim, self.tag)
        held = [2 * leaf, *tree_math.direct_path(2 * leaf, self.tree.size)]
        private = {node: self.pairs[node].private for node in held if node in self.pairs}
        return state.begin(public, leaf, private, self.secrets, group.Limits())


def full_group(code: int, members: int = MEMBERS) -> Full:
    """Make a group whose members have all committed: no blank parent, no unmerged leaf."""
    suite = suites.suite(code)
    size = tree_math.size_for(members - 1)
    width = tree_math.node_width(size)
    signers = [SigningKey.generate(suite.signature) for _ in range(members)]
    pairs = {2 * leaf: suite.generate_key_pair() for leaf in range(members)}
    capabilities = Capabilities.default()
    tree = RatchetTree(suite, [None] * width)

    def leaf_node(leaf: int, parent_hash: bytes) -> LeafNode:
        node = LeafNode(
            encryption_key=pairs[2 * leaf].public,
            signature_key=signers[leaf].public_bytes,
            credential=Credential.basic(b"%d" % leaf),
            capabilities=capabilities,
            source=LeafSource.COMMIT,
            parent_hash=parent_hash,
        )
        return node.signed(suite, signers[leaf], b"bench", leaf)

    for leaf in range(members):
        tree.set_leaf(leaf, leaf_node(leaf, b""))
    for leaf in range(members):
        steps = tree.filtered_path(leaf)
        fresh = [suite.generate_key_pair() for _ in steps]
        pairs |= {step.node: made for step, made in zip(steps, fresh, strict=True)}
        parent_hash = tree.set_path(leaf, steps, [made.public for made in fresh])
        tree.set_leaf(leaf, leaf_node(leaf, parent_hash))
    kept: list[Node | None] = [tree.node(index) for index in range(width)]
    # Full: only parents with nobody on one side are blank, as in every tree of this size.
    assert all(
        node is not None or tree_math.leaf_range(tree_math.right(index))[0] >= members
        for index, node in enumerate(kept)
        if index % 2
    )
    assert all(not n.unmerged_leaves for n in kept if isinstance(n, ParentNode))
    context = GroupContext(code, b"bench", members, tree.root_hash(), os.urandom(suite.nh))
    secrets = key_schedule.derive_epoch(suite, os.urandom(suite.nh))
    tag = suite.mac(secrets.confirmation_key, context.confirmed_transcript_hash)
    return Full(suite, tree, pairs, signers, context, secrets, tag)


# --- measuring ------------------------------------------------------------------------------------


def messages(rounds: int) -> Iterator[Figure]:
    """Measure application messages, ours and mls-rs's by turns."""
    size = f"1 KiB messages, encrypted and decrypted, suite 0x{CLASSIC:04X}"
    ours, hybrid, theirs = exchange(CLASSIC, BATCH), exchange(HYBRID, BATCH), exchange_mls_rs(BATCH)
    works = [work for work in (ours, hybrid, theirs) if work is not None]
    for work in works:
        work()
    times = [[cpu(work) for work in works] for _ in range(rounds)]
    quickest = [min(column) for column in zip(*times, strict=True)]
    yield Figure(size, BATCH / quickest[0], "/s", 3000)
    yield Figure(f"the same, suite 0x{HYBRID:04X}", BATCH / quickest[1], "/s", 2000)
    if theirs is not None:
        yield Figure(f"the same, mls-rs, suite 0x{CLASSIC:04X}", BATCH / quickest[2], "/s")
        ratio = statistics.median(row[2] / row[0] for row in times)
        yield Figure("our rate in terms of mls-rs's (median of the rounds)", ratio, "x", 1)


def big_group(code: int, rounds: int) -> Iterator[Figure]:
    """Measure commits, joining and memory in a full group of 1,000."""
    full = full_group(code)
    goals = code == CLASSIC
    name = f"in a full group of {MEMBERS:,}, suite 0x{code:04X}"
    committer, reader = full.member(0), full.member(MEMBERS // 2)

    def stage(**options: Any) -> group.StagedCommit:
        return group.stage_commit(
            committer,
            signer=full.signers[0],
            rng=os.urandom,
            now=NOW,
            validator=VALIDATOR,
            **options,
        )

    staged = stage()

    def process() -> Group:
        done = group.process(reader, staged.commit, now=NOW, validator=VALIDATOR)
        assert isinstance(done, CommitStaged)
        assert done.group is not None
        return done.group

    assert process().epoch_authenticator == staged.group.epoch_authenticator
    yield Figure(
        f"commit created, {name}",
        1000 * best(stage, rounds),
        "ms",
        goals_or(100, goals),
        least=False,
    )
    yield Figure(
        f"commit processed, {name}",
        1000 * best(process, rounds),
        "ms",
        goals_or(50, goals),
        least=False,
    )
    yield Figure("  bytes of the commit", len(staged.commit), "bytes")
    yield from joining(full, stage, name, goals=goals, rounds=rounds)


def goals_or(goal: float, wanted: bool) -> float | None:  # noqa: FBT001 - two words
    """Give the goal where there is one."""
    return goal if wanted else None


def joining(
    full: Full,
    stage: Callable[..., group.StagedCommit],
    name: str,
    *,
    goals: bool,
    rounds: int,
) -> Iterator[Figure]:
    """Measure joining by Welcome, and the state that a joiner has then."""
    code = full.suite.code
    signer = SigningKey.generate(full.suite.signature)
    bundle = new_key_package(code, signer, Credential.basic(b"new"), LIFETIME, rng=os.urandom)
    added = stage(by_value=[Add(bundle.package)])
    tree = added.ratchet_tree
    assert added.welcome is not None

    def join() -> Group:
        # Whoever joins has seen none of the keys.
        signing._verifier.cache_clear()  # noqa: SLF001 - nothing else has to forget keys
        return welcome.join(
            added.welcome or b"", [bundle], ratchet_tree=tree, now=NOW, validator=VALIDATOR
        )

    yield Figure(
        f"joined, {name}",
        1000 * best(join, min(rounds, 3)),
        "ms",
        goals_or(1000, goals),
        least=False,
    )
    gc.collect()
    tracemalloc.start()
    held = join()
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held.epoch_authenticator == added.group.epoch_authenticator
    yield Figure(
        f"memory of a member's state, {name}", size / 2**20, "MiB", goals_or(20, goals), least=False
    )
    yield Figure("  bytes of the ratchet tree", len(tree), "bytes")
    yield Figure("  bytes of the stored state", len(snapshot.snapshot_epoch(held)), "bytes")


def main(arguments: list[str]) -> int:
    """Measure, print, keep the figures in bench/results; exit 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench.mls", description="Measure the MLS engine.")
    parser.add_argument("--rounds", type=int, default=15, help="rounds per figure (15)")
    parser.add_argument("--only", choices=["messages", "group"], help="measure a part")
    chosen = parser.parse_args(arguments)
    figures: list[Figure] = []
    parts: list[Iterator[Figure]] = []
    if chosen.only != "group":
        parts.append(messages(2 * chosen.rounds))
    if chosen.only != "messages":
        parts.extend(big_group(code, chosen.rounds) for code in (CLASSIC, HYBRID))
    for figure in itertools.chain.from_iterable(parts):
        figures.append(figure)
        print(figure, flush=True)
    RESULTS.mkdir(exist_ok=True)
    kept = [asdict(figure) | {"holds": figure.holds} for figure in figures]
    (RESULTS / "mls.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
