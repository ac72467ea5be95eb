"""Commits between engines: paths, Adds, Removes and Updates, by value and by reference."""

from __future__ import annotations

import pytest

from liaison.mls.group import CommitStaged
from tests.interop.engines import EVERY_SUITE, MLS_RS, PROPOSING, REST_OF_TS_MLS, RINE
from tests.interop.member import Member, admit, agree, converse, deliver, found
from tests.interop.ours import Ours
from tests.interop.table import Table


def _pair(table: Table) -> tuple[Ours, Member]:
    ours, theirs = table.ours(), table.theirs(tree_in_welcome=True)
    found(b"pair", ours, theirs)
    return ours, theirs


def _three(table: Table) -> tuple[Ours, Member, Ours]:
    ours, theirs, third = table.ours(), table.theirs(tree_in_welcome=True), table.ours()
    found(b"three", ours, theirs, third)
    return ours, theirs, third


def _hear(listener: Member, speaker: Member, *others: Member) -> None:
    """Let a member be heard; one engine knows others by that only."""
    message = speaker.encrypt(b"here")
    for member in (listener, *others):
        assert member.receive(message) == b"here"


@pytest.mark.parametrize("table", EVERY_SUITE, ids=str, indirect=True)
def test_they_follow_a_path_of_ours(table: Table) -> None:
    ours, theirs = _pair(table)

    deliver(ours.commit().commit, theirs)

    agree(ours, theirs)
    converse(ours, theirs)


@pytest.mark.parametrize("table", [*PROPOSING, *REST_OF_TS_MLS], ids=str, indirect=True)
def test_we_follow_a_path_of_theirs(table: Table) -> None:
    ours, theirs = _pair(table)

    deliver(theirs.commit().commit, ours)

    agree(ours, theirs)
    converse(ours, theirs)


@pytest.mark.parametrize("table", PROPOSING, ids=str, indirect=True)
def test_paths_by_turns_keep_the_group_together(table: Table) -> None:
    members = [table.ours(), table.theirs(), table.ours(), table.theirs(), table.ours()]
    found(b"turns", *members)

    for committer in [*members, members[1], members[0]]:
        others = [member for member in members if member is not committer]
        deliver(committer.commit().commit, *others)
        agree(*members)

    converse(*members)


def test_our_commit_without_a_path_is_followed(table: Table) -> None:
    ours, theirs = _pair(table)
    newcomer = table.ours()
    deliver(ours.propose_add(newcomer.key_package()), theirs)

    made = ours.commit(path=False)
    assert made.welcome is not None
    deliver(made.commit, theirs)
    newcomer.join(made.welcome, made.ratchet_tree)

    agree(ours, theirs, newcomer)
    converse(ours, theirs, newcomer)


def test_we_follow_their_adds_and_removes_with_paths(table: Table) -> None:
    ours, theirs = _pair(table)
    third, fourth = table.ours(), table.theirs(tree_in_welcome=True)
    admit(theirs, third, ours)
    admit(third, fourth, ours, theirs)
    agree(ours, theirs, third, fourth)
    _hear(theirs, third, ours, fourth)

    removal = theirs.remove(third.name)
    deliver(removal.commit, ours, fourth)

    agree(ours, theirs, fourth)
    converse(ours, theirs, fourth)


def test_a_member_that_they_remove_learns_that_it_is_out(table: Table) -> None:
    ours, theirs, third = _three(table)
    _hear(theirs, third, ours)

    removal = theirs.remove(third.name)
    done = third.process(removal.commit)
    deliver(removal.commit, ours)

    assert isinstance(done, CommitStaged)
    assert done.group is None
    assert done.effect.removed_self
    assert [leaf.leaf_node.credential.identity for leaf in done.effect.removed] == [third.name]
    agree(ours, theirs)


def test_a_member_of_theirs_that_we_remove_is_out_for_all(table: Table) -> None:
    ours, theirs, third = _three(table)
    fourth = table.theirs()
    admit(third, fourth, ours, theirs)

    removal = ours.remove(fourth.name)
    deliver(removal.commit, theirs, third)

    assert fourth.name not in {m.leaf_node.credential.identity for m in ours.group.members()}
    agree(ours, theirs, third)
    converse(ours, theirs, third)


def test_a_seat_that_became_free_is_taken_again(table: Table) -> None:
    ours, theirs, third = _three(table)
    fourth = table.theirs(tree_in_welcome=True)
    admit(third, fourth, ours, theirs)
    deliver(ours.remove(theirs.name).commit, third, fourth)
    newcomer = table.ours()

    admit(fourth, newcomer, ours, third)

    assert newcomer.group.own_leaf == 1
    agree(ours, third, fourth, newcomer)
    converse(ours, third, fourth, newcomer)


@pytest.mark.parametrize("table", PROPOSING, ids=str, indirect=True)
def test_we_commit_an_add_that_they_proposed(table: Table) -> None:
    ours, theirs = _pair(table)
    newcomer = table.ours()

    deliver(theirs.propose_add(newcomer.key_package()), ours)
    made = ours.commit()
    assert made.welcome is not None
    deliver(made.commit, theirs)
    newcomer.join(made.welcome, made.ratchet_tree)

    agree(ours, theirs, newcomer)
    converse(ours, theirs, newcomer)


@pytest.mark.parametrize("table", PROPOSING, ids=str, indirect=True)
def test_they_commit_an_add_that_we_proposed(table: Table) -> None:
    ours, theirs = _pair(table)
    newcomer = table.theirs(tree_in_welcome=True)

    deliver(ours.propose_add(newcomer.key_package()), theirs)
    made = theirs.commit()
    assert made.welcome is not None
    deliver(made.commit, ours)
    newcomer.join(made.welcome, made.ratchet_tree)

    agree(ours, theirs, newcomer)
    converse(ours, theirs, newcomer)


@pytest.mark.parametrize("table", PROPOSING, ids=str, indirect=True)
def test_we_commit_a_remove_that_they_proposed(table: Table) -> None:
    ours, theirs, third = _three(table)
    _hear(theirs, third, ours)

    deliver(theirs.propose_remove(third.name), ours, third)
    made = ours.commit()
    deliver(made.commit, theirs)
    done = third.process(made.commit)

    assert isinstance(done, CommitStaged)
    assert done.effect.removed_self
    agree(ours, theirs)
    converse(ours, theirs)


@pytest.mark.parametrize("table", PROPOSING, ids=str, indirect=True)
def test_they_commit_a_remove_that_we_proposed(table: Table) -> None:
    ours, theirs, third = _three(table)

    deliver(ours.propose_remove(third.name), theirs, third)
    made = theirs.commit()
    done = third.process(made.commit)
    deliver(made.commit, ours)

    assert isinstance(done, CommitStaged)
    assert done.effect.removed_self
    agree(ours, theirs)
    converse(ours, theirs)


@pytest.mark.parametrize("table", PROPOSING, ids=str, indirect=True)
def test_they_commit_an_update_that_we_proposed(table: Table) -> None:
    ours, theirs, third = _three(table)
    before = ours.group.own_leaf_node.encryption_key

    deliver(ours.propose_update(), theirs, third)
    deliver(theirs.commit().commit, ours, third)

    assert ours.group.own_leaf_node.encryption_key != before
    agree(ours, theirs, third)
    converse(ours, theirs, third)


def test_they_follow_our_commit_of_an_update_by_reference(table: Table) -> None:
    ours, theirs, third = _three(table)

    deliver(third.propose_update(), ours, theirs)
    deliver(ours.commit().commit, theirs, third)

    agree(ours, theirs, third)
    converse(ours, theirs, third)


def test_their_own_add_takes_our_pending_proposals_along(table: Table) -> None:
    ours, theirs, third = _three(table)
    newcomer = table.ours()

    deliver(ours.propose_update(), theirs, third)
    made = theirs.add(newcomer.key_package())
    assert made.welcome is not None
    deliver(made.commit, ours, third)
    newcomer.join(made.welcome, made.ratchet_tree)

    agree(ours, theirs, third, newcomer)
    converse(ours, theirs, third, newcomer)


@pytest.mark.parametrize("table", PROPOSING, ids=str, indirect=True)
def test_one_commit_of_theirs_adds_removes_and_updates(table: Table) -> None:
    ours, theirs, third = _three(table)
    fourth, newcomer = table.ours(), table.theirs(tree_in_welcome=True)
    admit(third, fourth, ours, theirs)

    for proposal in (
        ours.propose_update(),
        third.propose_remove(fourth.name),
        fourth.propose_add(newcomer.key_package()),
    ):
        for member in (ours, theirs, third, fourth):
            member.receive(proposal)
    made = theirs.commit()
    assert made.welcome is not None
    deliver(made.commit, ours, third)
    newcomer.join(made.welcome, made.ratchet_tree)

    agree(ours, theirs, third, newcomer)
    converse(ours, theirs, third, newcomer)


@pytest.mark.parametrize("table", [MLS_RS, RINE], ids=str, indirect=True)
def test_they_refuse_a_commit_of_ours_that_was_changed_on_the_way(table: Table) -> None:
    ours, theirs = _pair(table)
    before = ours.group
    made = ours.commit()
    spoilt = bytearray(made.commit)
    spoilt[-40] ^= 1

    with pytest.raises(Exception, match=r"."):
        theirs.receive(bytes(spoilt))

    ours.group = before
    converse(ours, theirs)
