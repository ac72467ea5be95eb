"""What a relay keeps of a group follows the handshakes of every engine."""

from __future__ import annotations

import pytest

from liaison.mls.credentials import BasicValidator
from liaison.mls.public_group import (
    PublicCommit,
    PublicGroup,
    PublicProposal,
    welcome_recipients,
)
from tests.interop.engines import PROPOSING, TS_MLS
from tests.interop.member import Member, converse, deliver
from tests.interop.ours import YEAR, Ours
from tests.interop.table import Table

VALIDATOR = BasicValidator(max_lifetime=YEAR)


class Relay:
    """The public state of one group, from a member of ours on."""

    def __init__(self, member: Ours) -> None:
        self.now = member.now
        self.group = PublicGroup.from_group_info(
            member.group_info(), member.group.ratchet_tree(), validator=VALIDATOR, now=self.now
        )

    def pass_on(self, message: bytes, *members: Member) -> PublicCommit | PublicProposal:
        """Check a handshake message, keep what follows, and deliver it."""
        done = self.group.apply(message, validator=VALIDATOR, now=self.now)
        self.group = PublicGroup.restore(done.group.snapshot())
        deliver(message, *members)
        return done

    def matches(self, member: Ours) -> bool:
        """Whether it holds the same as a member."""
        return (
            self.group.context == member.group.context
            and self.group.ratchet_tree() == member.group.ratchet_tree()
        )


def test_a_relay_follows_their_adds_and_ours(table: Table) -> None:
    ours, theirs = table.ours(), table.theirs(tree_in_welcome=True)
    ours.create(b"public")
    relay = Relay(ours)

    added = ours.add(theirs.key_package())
    first = relay.pass_on(added.commit)
    assert added.welcome is not None
    theirs.join(added.welcome, added.ratchet_tree)
    newcomer = table.ours()
    made = theirs.add(newcomer.key_package())
    second = relay.pass_on(made.commit, ours)
    assert made.welcome is not None

    assert isinstance(first, PublicCommit)
    assert isinstance(second, PublicCommit)
    assert [add.key_package_ref for add in first.effect.added] == [
        *welcome_recipients(added.welcome)
    ]
    assert [add.key_package_ref for add in second.effect.added] == [
        *welcome_recipients(made.welcome)
    ]
    assert second.effect.committer == 1
    assert relay.matches(ours)


@pytest.mark.parametrize("table", PROPOSING, ids=str, indirect=True)
def test_a_relay_follows_proposals_by_reference_of_both(table: Table) -> None:
    ours, theirs = table.ours(), table.theirs()
    ours.create(b"public")
    relay = Relay(ours)
    added = ours.add(theirs.key_package())
    relay.pass_on(added.commit)
    assert added.welcome is not None
    theirs.join(added.welcome, added.ratchet_tree)

    relay.pass_on(ours.propose_update(), theirs)
    relay.pass_on(theirs.propose_add(table.ours().key_package()), ours)
    done = relay.pass_on(theirs.commit().commit, ours)

    assert isinstance(done, PublicCommit)
    assert [update.leaf for update in done.effect.updated] == [0, 1]
    assert len(done.effect.added) == 1
    assert relay.matches(ours)
    converse(ours, theirs)


@pytest.mark.parametrize("table", TS_MLS, ids=str, indirect=True)
def test_a_relay_follows_their_external_commits(table: Table) -> None:
    ours, theirs = table.ours(), table.ts()
    ours.create(b"public")
    relay = Relay(ours)

    for resync in (False, True):
        commit = theirs.join_externally(
            ours.bare_group_info(), ours.group.ratchet_tree(), resync=resync
        )
        done = relay.pass_on(commit, ours)

        assert isinstance(done, PublicCommit)
        assert done.effect.external
        assert [gone.leaf for gone in done.effect.removed] == [1] * resync
        assert relay.matches(ours)


@pytest.mark.parametrize("table", TS_MLS, ids=str, indirect=True)
def test_a_relay_takes_their_group_info_for_the_epoch_that_it_is_of(table: Table) -> None:
    ours, theirs = table.ours(), table.ts()
    ours.create(b"public")
    relay = Relay(ours)
    added = ours.add(theirs.key_package())
    relay.pass_on(added.commit)
    assert added.welcome is not None
    theirs.join(added.welcome, added.ratchet_tree)

    relay.pass_on(theirs.commit().commit, ours)

    relay.group.check_group_info(theirs.group_info())
    assert theirs.ratchet_tree() == relay.group.ratchet_tree()
