"""Clients of ours and of foreign engines join each other's groups by Welcomes."""

from __future__ import annotations

import pytest

from liaison.mls.errors import InvalidLeafNodeError, SignatureInvalidError
from liaison.mls.validation.leaf import validate_key_package
from tests.interop.engines import EVERY_SUITE, MLS_RS, RINE, TAKING_TREES, TS_MLS
from tests.interop.member import admit, agree, converse, found
from tests.interop.table import Table


@pytest.mark.parametrize("table", EVERY_SUITE, ids=str, indirect=True)
def test_we_join_a_group_that_they_founded(table: Table) -> None:
    ours, theirs = table.ours(), table.theirs(tree_in_welcome=True)

    found(b"theirs", theirs, ours)

    agree(ours, theirs)
    converse(ours, theirs)


@pytest.mark.parametrize("table", EVERY_SUITE, ids=str, indirect=True)
def test_they_join_a_group_that_we_founded(table: Table) -> None:
    ours, theirs = table.ours(), table.theirs()

    found(b"ours", ours, theirs)

    agree(ours, theirs)
    converse(ours, theirs)


@pytest.mark.parametrize("inside", [True, False], ids=["tree inside", "tree beside"])
@pytest.mark.parametrize("table", TAKING_TREES, ids=str, indirect=True)
def test_a_joiner_takes_the_tree_inside_the_welcome_or_beside_it(
    table: Table, *, inside: bool
) -> None:
    ours, theirs = table.ours(tree_in_welcome=inside), table.theirs(tree_in_welcome=inside)
    newcomer = table.ours(tree_in_welcome=inside)

    found(b"tree", ours, theirs, newcomer)

    agree(ours, theirs, newcomer)
    converse(ours, theirs, newcomer)


def test_one_commit_welcomes_clients_of_both_engines(table: Table) -> None:
    founder = table.ours()
    founder.create(b"both")
    ours, theirs = table.ours(), table.theirs()

    made = founder.add(theirs.key_package(), ours.key_package())
    assert made.welcome is not None
    theirs.join(made.welcome, made.ratchet_tree)
    ours.join(made.welcome, made.ratchet_tree)

    agree(founder, ours, theirs)
    converse(founder, ours, theirs)


def test_a_group_of_five_is_built_by_turns(table: Table) -> None:
    members = [
        table.ours() if turn % 2 else table.theirs(tree_in_welcome=True) for turn in range(5)
    ]

    found(b"five", *members)

    agree(*members)
    converse(*members)


def test_a_key_package_of_last_resort_is_used_by_two_groups_of_theirs(table: Table) -> None:
    founders = [table.theirs(tree_in_welcome=True) for _ in range(2)]
    ours = table.ours()
    package = ours.key_package(last_resort=True)

    for number, founder in enumerate(founders):
        founder.create(b"last-resort-%d" % number)
        made = founder.add(package)
        assert made.welcome is not None
        ours.join(made.welcome, made.ratchet_tree)

        agree(ours, founder)
        converse(ours, founder)


def test_a_client_of_ours_that_lives_from_its_snapshots_keeps_up(table: Table) -> None:
    ours, theirs = table.ours(restored=True), table.theirs(tree_in_welcome=True)

    found(b"snapshots", theirs, ours)
    admit(ours, table.theirs(), theirs)
    converse(ours, theirs)

    agree(ours, theirs)


def test_their_key_packages_pass_our_checks(table: Table) -> None:
    ours, theirs = table.ours(), table.theirs()

    package, identity = validate_key_package(
        theirs.key_package(), validator=ours.validator, now=ours.now
    )

    assert package.cipher_suite == table.suite
    assert identity == theirs.name
    assert not package.last_resort


@pytest.mark.parametrize("table", [MLS_RS, RINE], ids=str, indirect=True)
def test_a_key_package_for_a_year_is_refused_unless_the_application_allows_it(
    table: Table,
) -> None:
    ours, theirs = table.ours(), table.theirs()
    ours.allow_a_year(allowed=False)

    with pytest.raises(InvalidLeafNodeError) as caught:
        validate_key_package(theirs.key_package(), validator=ours.validator, now=ours.now)

    assert caught.value.check == "VAL-0206"


@pytest.mark.parametrize("table", TS_MLS[1:], ids=str, indirect=True)
def test_an_ecdsa_key_as_a_compressed_point_is_refused(table: Table) -> None:
    ours, theirs = table.ours(), table.ts(compressed=True)
    package = theirs.key_package()

    with pytest.raises((InvalidLeafNodeError, SignatureInvalidError)):
        validate_key_package(package, validator=ours.validator, now=ours.now)
