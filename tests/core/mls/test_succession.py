"""Groups that go on from another: branches, and successors after a ReInit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from liaison.mls import group, succession
from liaison.mls.errors import MLSError
from liaison.mls.extensions import Extension
from liaison.mls.group import Group, PskStore, StagedCommit
from liaison.mls.key_packages import KeyPackageBundle
from liaison.mls.leaf import MLS10
from liaison.mls.proposals import Add, PreSharedKey, Proposal, ReInit, ResumptionUsage
from liaison.mls.public_group import PublicGroup
from tests.core.mls.support import NOW, OPAQUE_EXTENSION, Client, World


@dataclass
class Founding:
    """A new group that member 0 founds, and those who are invited to it."""

    staged: StagedCommit
    invited: dict[bytes, tuple[Client, KeyPackageBundle]]
    relay: PublicGroup

    def join(self, name: bytes, former: Group | None, psks: PskStore | None = None) -> Group:
        client, bundle = self.invited[name]
        return client.join(self.staged, bundle, continues=former, psks=psks or PskStore())


def found(
    world: World,
    usage: ResumptionUsage,
    group_id: bytes,
    *names: bytes,
    suite_code: int = 0x0001,
    extensions: tuple[Extension, ...] = (),
    twice: bool = False,
) -> Founding:
    """Found a group that goes on from the world's, with the members of these names."""
    former = world[0].group
    founder = Client(b"0", suite_code, world.validator, world.rng)
    state = founder.create(group_id, extensions=extensions)
    relay = PublicGroup.from_group_info(
        founder_info(founder), state.ratchet_tree(), validator=world.validator, now=NOW
    )
    invited = {}
    adds: list[Proposal] = []
    for name in names:
        client = Client(name, suite_code, world.validator, world.rng)
        bundle = client.key_package()
        invited[name] = (client, bundle)
        adds.append(Add(bundle.package))
    links = [
        PreSharedKey(succession.link_to(former, usage, world.rng, state.suite.nh))
        for _ in range(1 + twice)
    ]
    secret = {(former.group_id, former.epoch): former.resumption_psk}
    staged = founder.commit(*adds, *links, psks=PskStore(resumption=secret))
    relay = relay.apply(staged.commit, validator=world.validator, now=NOW).group
    return Founding(staged, invited, relay)


def founder_info(founder: Client) -> bytes:
    return group.group_info(founder.group, signer=founder.signer)


def ended(world: World, reinit: ReInit) -> list[Group]:
    """End the world's group by a ReInit; give the last states."""
    world.accept(world[0], world[0].commit(reinit))
    return [client.group for client in world.members]


@pytest.fixture
def world() -> World:
    return World(members=3)


def refused(founding: Founding, name: bytes, former: Group | None, check: str) -> None:
    with pytest.raises(MLSError) as caught:
        founding.join(name, former)
    assert caught.value.check == check


def test_a_branch_takes_some_members_into_a_new_group(world: World) -> None:
    founding = found(world, ResumptionUsage.BRANCH, b"branch", b"2")

    joined = founding.join(b"2", world[2].group)

    assert joined.epoch_authenticator == founding.staged.group.epoch_authenticator
    assert joined.context == founding.relay.context


def test_a_successor_takes_all_members_into_the_promised_group(world: World) -> None:
    extension = (Extension(OPAQUE_EXTENSION, b"agreement 2"),)
    last = ended(world, ReInit(b"next", MLS10, 0x0003, extension))

    founding = found(
        world, ResumptionUsage.REINIT, b"next", b"1", b"2", suite_code=0x0003, extensions=extension
    )

    for number in (1, 2):
        joined = founding.join(b"%d" % number, last[number])
        assert joined.epoch_authenticator == founding.staged.group.epoch_authenticator


def test_a_linked_group_is_joined_by_who_knows_the_other(world: World) -> None:
    founding = found(world, ResumptionUsage.BRANCH, b"branch", b"2")
    former = world[2].group
    stranger = World(members=1)[0].group

    refused(founding, b"2", None, "VAL-0812")
    refused(founding, b"2", stranger, "VAL-0812")
    world.accept(world[0], world[0].commit())
    refused(founding, b"2", world[2].group, "VAL-0812")
    secret = {(former.group_id, former.epoch): former.resumption_psk}
    with pytest.raises(MLSError):
        founding.join(b"2", None, PskStore(resumption=secret))
    assert founding.join(b"2", former).epoch == 1


def test_a_successor_is_the_group_that_was_promised(world: World) -> None:
    last = ended(world, ReInit(b"next", MLS10, 0x0001))
    members = (b"1", b"2")

    other_name = found(world, ResumptionUsage.REINIT, b"other", *members)
    other_suite = found(world, ResumptionUsage.REINIT, b"next", *members, suite_code=0x0003)
    extension = (Extension(OPAQUE_EXTENSION, b"agreement 3"),)
    other_terms = found(world, ResumptionUsage.REINIT, b"next", *members, extensions=extension)

    for founding in (other_name, other_suite, other_terms):
        refused(founding, b"1", last[1], "VAL-0813")
    right = found(world, ResumptionUsage.REINIT, b"next", *members)
    refused(right, b"1", replace(last[1], reinit=None), "VAL-0813")


def test_a_successor_has_all_members_and_a_branch_no_others(world: World) -> None:
    wide = found(world, ResumptionUsage.BRANCH, b"branch", b"2", b"stranger")
    refused(wide, b"2", world[2].group, "VAL-0814")
    last = ended(world, ReInit(b"next", MLS10, 0x0001))

    narrow = found(world, ResumptionUsage.REINIT, b"next", b"1")

    refused(narrow, b"1", last[1], "VAL-0814")


def test_a_branch_is_of_the_same_suite(world: World) -> None:
    founding = found(world, ResumptionUsage.BRANCH, b"branch", b"2", suite_code=0x0003)

    refused(founding, b"2", world[2].group, "VAL-0815")


def test_a_group_is_linked_once(world: World) -> None:
    with pytest.raises(MLSError) as caught:
        found(world, ResumptionUsage.BRANCH, b"branch", b"2", twice=True)

    assert caught.value.check == "VAL-0605"
