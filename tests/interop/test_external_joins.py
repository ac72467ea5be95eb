"""Clients of ours and of foreign engines enter each other's groups by external commits.

Two ends of ts-mls are mended by the drivers: it reads and writes the key for
external commits without the length before it (RFC 9420 section 12.4.3.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from liaison.mls.group import CommitStaged
from tests.interop.engines import MLS_RS, REST_OF_TS_MLS, RINE, TS_MLS
from tests.interop.member import agree, converse, deliver, found
from tests.interop.ours import Ours
from tests.interop.table import Table
from tests.interop.ts_mls import TsMLS

if TYPE_CHECKING:
    # Its package may not be installed.
    from tests.interop.rine import Rine

EVERY_TS = [*TS_MLS, *REST_OF_TS_MLS]


def _rine(table: Table) -> Rine:
    return cast("Rine", table.theirs())


def _enter(theirs: TsMLS, ours: Ours, *, resync: bool = False) -> bytes:
    """Let a client of ts-mls come into the group of a client of ours."""
    return theirs.join_externally(ours.bare_group_info(), ours.group.ratchet_tree(), resync=resync)


@pytest.mark.parametrize("table", EVERY_TS, ids=str, indirect=True)
def test_ts_mls_enters_our_group(table: Table) -> None:
    ours, second, theirs = table.ours(), table.ours(), table.ts()
    found(b"open", ours, second)

    commit = _enter(theirs, ours)
    done = ours.process(commit)
    deliver(commit, second)

    assert isinstance(done, CommitStaged)
    assert done.effect.external
    assert done.effect.joined == 2
    agree(ours, second, theirs)
    converse(ours, second, theirs)


@pytest.mark.parametrize("table", EVERY_TS, ids=str, indirect=True)
@pytest.mark.parametrize("inside", [True, False], ids=["tree inside", "tree beside"])
def test_we_enter_a_group_of_ts_mls(table: Table, *, inside: bool) -> None:
    theirs, ours = table.ts(), table.ours()
    theirs.create(b"open")

    info = theirs.group_info(with_tree=inside)
    deliver(ours.join_externally(info, None if inside else theirs.ratchet_tree()), theirs)

    agree(ours, theirs)
    assert ours.authenticator == theirs.authenticator
    converse(ours, theirs)
    deliver(theirs.commit().commit, ours)
    deliver(ours.commit().commit, theirs)
    converse(ours, theirs)


@pytest.mark.parametrize("table", TS_MLS, ids=str, indirect=True)
def test_ts_mls_comes_back_in_place_of_its_old_leaf(table: Table) -> None:
    ours, theirs, third = table.ours(), table.ts(), table.ours()
    found(b"lost", ours, theirs, third)

    commit = _enter(theirs, ours, resync=True)
    done = ours.process(commit)
    deliver(commit, third)

    assert isinstance(done, CommitStaged)
    assert [gone.leaf for gone in done.effect.removed] == [1]
    assert done.effect.joined == 1
    agree(ours, third, theirs)
    converse(ours, third, theirs)


@pytest.mark.parametrize("table", TS_MLS, ids=str, indirect=True)
def test_we_come_back_into_a_group_of_ts_mls(table: Table) -> None:
    theirs, ours, third = table.ts(), table.ours(), table.ts()
    found(b"lost", theirs, ours, third)

    commit = ours.join_externally(theirs.group_info(with_tree=True), resync=True)
    deliver(commit, theirs, third)

    assert ours.group.own_leaf == 1
    agree(ours, theirs, third)
    converse(ours, theirs, third)


@pytest.mark.parametrize("table", [RINE], ids=str, indirect=True)
def test_rine_enters_our_group_and_comes_back(table: Table) -> None:
    ours, second, theirs = table.ours(), table.ours(), _rine(table)
    found(b"open", ours, second)

    deliver(theirs.join_externally(ours.group_info(with_tree=True)), ours, second)
    converse(ours, second, theirs)
    info = ours.group_info(with_tree=True)
    deliver(theirs.resync(info, ours.leaf_of(theirs.name)), ours, second)

    assert len(ours.group.members()) == 3
    converse(ours, second, theirs)


@pytest.mark.parametrize("table", [RINE], ids=str, indirect=True)
def test_we_enter_a_group_of_rine_and_come_back(table: Table) -> None:
    theirs, ours = _rine(table), table.ours()
    theirs.create(b"open")

    deliver(ours.join_externally(theirs.group_info()), theirs)
    converse(ours, theirs)
    deliver(ours.join_externally(theirs.group_info(), resync=True), theirs)

    assert len(ours.group.members()) == 2
    converse(ours, theirs)


@pytest.mark.parametrize("table", [MLS_RS], ids=str, indirect=True)
def test_mls_rs_follows_an_external_commit_and_a_return_of_ours(table: Table) -> None:
    theirs, ours, newcomer = table.theirs(), table.ours(), table.ours()
    found(b"open", theirs, ours)

    deliver(newcomer.join_externally(ours.group_info(with_tree=True)), ours, theirs)
    agree(ours, theirs, newcomer)
    info = ours.group_info(with_tree=True)
    deliver(newcomer.join_externally(info, resync=True), ours, theirs)

    agree(ours, theirs, newcomer)
    converse(ours, theirs, newcomer)
