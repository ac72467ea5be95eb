"""Random histories: whatever happens in a group, its members stay in one state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from liaison.mls import snapshot, tree_math
from liaison.mls.errors import MLSError, StaleEpochError
from liaison.mls.group import Group
from liaison.mls.proposals import Remove
from liaison.mls.public_group import PublicGroup
from liaison.mls.secret_tree import Ratchet
from tests.core.mls.support import NOW, Client, World

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "add",
                "add by reference",
                "remove",
                "remove by reference",
                "relay removes",
                "update",
                "commit",
                "leave",
                "resync",
                "store",
                "talk",
                "race",
                "fork",
                "send",
                "read late",
            ]
        ),
        st.integers(0, 7),
        st.integers(0, 7),
    ),
    min_size=1,
    max_size=14,
)
MOST = 8


def pick(world: World, number: int) -> Client:
    return world.members[number % len(world.members)]


def other(world: World, number: int, than: Client) -> Client | None:
    rest = [client for client in world.members if client is not than]
    return rest[number % len(rest)] if rest else None


def step(world: World, what: str, a: int, b: int) -> None:
    actor = pick(world, a)
    target = other(world, b, actor)
    if what.startswith("add"):
        if len(world.members) < MOST:
            add(world, what, actor, pick(world, b))
    elif what == "send":
        send(world, actor)
    elif what == "read late":
        read_late(world, a, b)
    elif what in {"update", "commit", "store", "talk"}:
        step_alone(world, what, actor)
    elif target:
        step_together(world, what, actor, target)


def step_alone(world: World, what: str, actor: Client) -> None:
    match what:
        case "update":
            world.deliver(actor.propose_update(), but=actor)
        case "commit":
            world.accept(actor, actor.commit())
        case "store":
            for client in world.members:
                store(client)
            world.relay = PublicGroup.restore(world.relay.snapshot())
        case "talk":
            world.check_messages()


def step_together(world: World, what: str, actor: Client, target: Client) -> None:
    match what:
        case "remove":
            world.accept(actor, actor.commit(Remove(target.group.own_leaf)))
        case "remove by reference":
            world.deliver(actor.propose_remove(target.group.own_leaf), but=actor)
            world.accept(actor, actor.commit())
        case "relay removes":
            world.propose_from_relay(target.group.own_leaf, b"revoked")
            world.accept(actor, actor.commit())
        case "leave":
            world.deliver(actor.propose_remove(actor.group.own_leaf), but=actor)
            world.accept(target, target.commit())
        case "resync":
            resync(world, actor)
        case "race":
            race(world, actor, target)
        case "fork":
            fork(world, actor, target)


def race(world: World, winner: Client, loser: Client) -> None:
    """Two commit at once; the relay takes one, and the other gives its own up."""
    lost = loser.commit()
    world.accept(winner, winner.commit())
    with pytest.raises(StaleEpochError):
        winner.process(lost.commit)
    with pytest.raises(StaleEpochError):
        world.relay.apply(lost.commit, validator=world.validator, now=NOW)
    world.accept(loser, loser.commit())


def fork(world: World, winner: Client, loser: Client) -> None:
    """The relay takes one commit and shows some another: they notice, and come back."""
    others = [client for client in world.members if client not in (winner, loser)]
    misled, others = others[:1], others[1:]
    kept, shown = winner.commit(), loser.commit()
    loser.state = shown.group
    for client in misled:
        client.receive(shown.commit)
    for client in others:
        client.receive(kept.commit)
    winner.state = kept.group
    world.relay = world.relay.apply(kept.commit, validator=world.validator, now=NOW).group
    world.group_info = kept.group_info
    letter = loser.encrypt(b"to those who were misled")
    for client in misled:
        assert client.group.epoch_authenticator == loser.group.epoch_authenticator
        assert getattr(client.receive(letter), "plaintext", None) == b"to those who were misled"
    for client in (winner, *others):
        assert client.group.epoch_authenticator != loser.group.epoch_authenticator
        with pytest.raises(MLSError):
            client.process(letter)
    with pytest.raises(MLSError):
        loser.process(winner.commit().commit)
    astray = [(client, client.group.own_leaf) for client in (loser, *misled)]
    for client in (loser, *misled):
        client.state = None
    for client, leaf in astray:
        come_back(world, client, leaf)


@dataclass
class Letter:
    """A message under way."""

    message: bytes
    text: bytes
    epoch: int
    sender: Client
    readers: list[Client]


UNDER_WAY: WeakKeyDictionary[World, list[Letter]] = WeakKeyDictionary()
READ: WeakKeyDictionary[World, list[tuple[Client, bytes]]] = WeakKeyDictionary()


def send(world: World, sender: Client) -> None:
    world.commit_what_waits()
    text = b"late %d" % len(UNDER_WAY.setdefault(world, []))
    readers = [client for client in world.members if client is not sender]
    epoch = sender.group.epoch
    UNDER_WAY[world].append(Letter(sender.encrypt(text), text, epoch, sender, readers))


def read_late(world: World, skip: int, order: int) -> None:
    """Let messages arrive after commits, out of order; one of them never does."""
    letters = UNDER_WAY.pop(world, [])
    if letters:
        del letters[skip % (len(letters) + 1) : skip % (len(letters) + 1) + 1]
        letters = letters[order % (len(letters) + 1) :] + letters[: order % (len(letters) + 1)]
    for letter in letters:
        for reader in letter.readers:
            # Who left, came back or is forgetting by now has no key for it.
            if reader in world.members and letter.epoch in reader.group.epochs:
                done = reader.receive(letter.message)
                assert getattr(done, "plaintext", None) == letter.text
                READ.setdefault(world, []).append((reader, letter.message))


OF_ONE_EPOCH = ("exporter", "external", "confirmation_key", "membership_key", "init")
SPENT: WeakKeyDictionary[World, dict[bytes, set[bytes]]] = WeakKeyDictionary()


def note_what_is_spent(world: World, before: dict[bytes, Group]) -> None:
    """Remember the secrets that each member must have deleted since it was in these states."""
    for client in world.members:
        old = before.get(client.name)
        if old is not None:
            spent = SPENT.setdefault(world, {}).setdefault(client.name, set())
            spent |= spent_between(old, client.group) - {b""}


def spent_between(old: Group, new: Group) -> set[bytes]:
    """Give the secrets of one state that may not be in a later one."""
    spent: set[bytes] = set()
    if old.epoch_authenticator != new.epoch_authenticator:
        spent |= {getattr(old.secrets, name) for name in OF_ONE_EPOCH}
        in_use = new.public.tree.encryption_keys()
        private = (*old.private.values(), *old.own_updates.values())
        spent |= {key for key in private if old.suite.public_key_of(key) not in in_use}
    kept = {keys.context: keys.tree for keys in (new.keys, *new.past)}
    for keys in (old.keys, *old.past):
        if keys.context not in kept:
            spent |= {keys.sender_data_secret, *keys.tree.nodes.values()}
            continue
        for leaf, pair in keys.tree.ratchets.items():
            for ratchet, later in zip(pair, kept[keys.context].ratchets[leaf], strict=True):
                spent |= spent_of_ratchet(ratchet, later)
    return spent


def spent_of_ratchet(old: Ratchet, new: Ratchet) -> set[bytes]:
    spent = {key for at, (key, _) in old.skipped.items() if at not in new.skipped}
    return spent | {old.secret} if new.generation > old.generation else spent


def check_nothing_is_kept(world: World) -> None:
    """No member holds a key that it should have deleted: not in its state, nor stored."""
    for client in world.members:
        state = client.group
        stored = snapshot.snapshot_epoch(state) + snapshot.snapshot_ratchets(state)
        assert not [key for key in SPENT.get(world, {}).get(client.name, ()) if key in stored]
        assert state.secrets.encryption == b""
        assert len(state.past) <= state.limits.past_epochs
        for keys in (state.keys, *state.past):
            for leaf in keys.tree.ratchets:
                above = {2 * leaf, *tree_math.direct_path(2 * leaf, keys.tree.size)}
                assert above.isdisjoint(keys.tree.nodes)
    for reader, message in READ.get(world, []):
        if reader in world.members:
            with pytest.raises(MLSError):
                reader.process(message)


def add(world: World, what: str, actor: Client, committer: Client) -> None:
    if what == "add":
        world.add(actor, b"new %d" % len(world.clients))
    else:
        add_by_reference(world, actor, committer)


def add_by_reference(world: World, proposer: Client, committer: Client) -> None:
    joiner = world.client(b"new %d" % len(world.clients))
    bundle = joiner.key_package()
    world.deliver(proposer.propose_add(bundle), but=proposer)
    staged = committer.commit()
    world.accept(committer, staged)
    joiner.join(staged, bundle)


def resync(world: World, client: Client) -> None:
    come_back(world, client, client.group.own_leaf)


def come_back(world: World, client: Client, leaf: int) -> None:
    staged = client.join_externally(world.group_info, world.relay.ratchet_tree(), replace_leaf=leaf)
    world.accept(client, staged)


def store(client: Client) -> None:
    restored = snapshot.restore(
        snapshot.snapshot_epoch(client.group), snapshot.snapshot_ratchets(client.group)
    )
    assert restored == client.group
    client.state = restored


def live(world: World, steps: list[tuple[str, int, int]]) -> None:
    for what, a, b in steps:
        before = {client.name: client.group for client in world.members}
        step(world, what, a, b)
        world.check_agreement()
        note_what_is_spent(world, before)
    read_late(world, len(steps), 1)
    world.check_messages()
    check_nothing_is_kept(world)


@given(members=st.integers(1, 6), steps=STEPS)
def test_members_of_any_history_share_one_state(
    members: int, steps: list[tuple[str, int, int]]
) -> None:
    live(World(members=members), steps)


EVERYTHING = [
    (what, number, number + 1)
    for number, what in enumerate(
        (
            "send",
            "update",
            "race",
            "remove",
            "send",
            "resync",
            "add by reference",
            "fork",
            "relay removes",
            "store",
            "read late",
            "leave",
        )
    )
]


@settings(max_examples=2)
@given(members=st.integers(9, 50), steps=STEPS)
@example(members=2, steps=EVERYTHING)
@example(members=50, steps=EVERYTHING)
def test_members_of_a_large_group_share_one_state(
    members: int, steps: list[tuple[str, int, int]]
) -> None:
    live(World(members=members), [each for each in steps if each[0] != "talk"])


@pytest.mark.parametrize("code", [0x0004, 0x0005, 0x0006, *range(0xF001, 0xF00C)])
def test_a_short_history_holds_in_every_suite(code: int) -> None:
    live(World(code, members=2), [("add", 0, 0), ("update", 1, 0), ("commit", 0, 0)])


@pytest.mark.parametrize("code", [0x0001, 0x0002, 0x0003, 0x0007, 0xF002, 0xF005])
def test_a_long_history_holds_in_every_suite_of_the_product(code: int) -> None:
    steps = [
        ("add", 0, 0),
        ("update", 1, 0),
        ("add by reference", 1, 0),
        ("talk", 0, 0),
        ("commit", 2, 0),
        ("relay removes", 1, 0),
        ("store", 0, 0),
        ("resync", 1, 0),
        ("leave", 0, 1),
        ("talk", 0, 0),
    ]

    live(World(code, members=3), steps)


@settings(max_examples=20)
@given(order=st.permutations(range(8)), lost=st.sets(st.integers(0, 7), max_size=3))
def test_messages_are_read_in_any_order_and_despite_losses(
    order: list[int], lost: set[int]
) -> None:
    world = World(members=2)
    messages = [world[0].encrypt(b"%d" % number) for number in range(8)]

    for number in order:
        if number not in lost:
            done = world[1].receive(messages[number])
            assert getattr(done, "plaintext", None) == b"%d" % number


def test_messages_of_earlier_epochs_are_read_while_their_keys_are_kept() -> None:
    world = World(members=3)
    late = world[0].encrypt(b"late")
    world.accept(world[2], world[2].commit())
    world.accept(world[2], world[2].commit())
    store(world[1])

    done = world[1].receive(late)

    assert getattr(done, "plaintext", None) == b"late"
    assert getattr(done, "epoch", None) == 1


@pytest.mark.parametrize("name", OF_ONE_EPOCH)
def test_a_secret_that_was_kept_too_long_would_be_noticed(name: str) -> None:
    world = World(members=3)
    before = {client.name: client.group for client in world.members}
    world.accept(world[0], world[0].commit())
    note_what_is_spent(world, before)
    check_nothing_is_kept(world)
    kept = getattr(before[b"1"].secrets, name)
    world[1].state = replace(world[1].group, resumption={0: kept})

    with pytest.raises(AssertionError):
        check_nothing_is_kept(world)


def test_a_message_key_that_was_kept_after_its_use_would_be_noticed() -> None:
    world = World(members=2)
    messages = [world[0].encrypt(b"%d" % number) for number in range(3)]
    world[1].receive(messages[2])
    before = {client.name: client.group for client in world.members}
    world[1].receive(messages[0])
    note_what_is_spent(world, before)
    check_nothing_is_kept(world)
    world[1].state = before[b"1"]

    with pytest.raises(AssertionError):
        check_nothing_is_kept(world)
