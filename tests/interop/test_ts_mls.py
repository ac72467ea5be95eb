"""What ts-mls alone among the foreign engines can do: the rest of RFC 9420."""

from __future__ import annotations

import pytest

from liaison.crypto.secret import random_bytes
from liaison.mls import extensions as ext
from liaison.mls import proposals
from liaison.mls.errors import InvalidCommitError, MLSError
from liaison.mls.group import PskStore
from liaison.mls.proposals import (
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    PskType,
    ReInit,
    ResumptionUsage,
)
from tests.interop.engines import TS_MLS
from tests.interop.member import agree, converse, deliver, found
from tests.interop.ours import Ours
from tests.interop.table import Table
from tests.interop.ts_mls import ForeignError, TsMLS, plain, text

# One suite with SHA-256 and one with SHA-384: the rest of these rules does not look at the suite.
EVERY_TABLE = pytest.mark.parametrize("table", TS_MLS[::2], ids=str, indirect=True)
PRIVATE_EXTENSION = 0xF7A0
GREASE = {0x0A0A + 0x1010 * step for step in range(15)}


def _pair(table: Table, *, private: bool = False) -> tuple[Ours, TsMLS]:
    ours, theirs = table.ours(), table.ts(private=private)
    found(b"pair", ours, theirs)
    return ours, theirs


# --- pre-shared keys ------------------------------------------------------------------------------


def _share(ours: Ours, theirs: TsMLS, psk_id: bytes, secret: bytes) -> None:
    ours.psks = PskStore(external={psk_id: secret})
    theirs.ask("psk", psk_id=text(psk_id), secret=text(secret))


@EVERY_TABLE
def test_an_external_psk_of_ours_enters_the_epoch(table: Table) -> None:
    ours, theirs = _pair(table)
    _share(ours, theirs, b"shared", b"a secret that both of us know")
    psk = PreSharedKeyID(PskType.EXTERNAL, random_bytes(ours.suite.nh), psk_id=b"shared")

    deliver(ours.commit(PreSharedKey(psk)).commit, theirs)

    agree(ours, theirs)
    converse(ours, theirs)


@EVERY_TABLE
def test_an_external_psk_of_theirs_enters_the_epoch_by_value_and_by_reference(
    table: Table,
) -> None:
    ours, theirs = _pair(table)
    _share(ours, theirs, b"shared", b"a secret that both of us know")

    deliver(theirs.commit({"kind": "psk", "psk_id": text(b"shared")}).commit, ours)
    agree(ours, theirs)
    deliver(theirs.propose("psk", psk_id=text(b"shared")), ours)
    deliver(ours.commit().commit, theirs)

    agree(ours, theirs)
    converse(ours, theirs)


@EVERY_TABLE
def test_another_secret_under_the_same_psk_id_is_noticed(table: Table) -> None:
    ours, theirs = _pair(table)
    _share(ours, theirs, b"shared", b"what we know")
    theirs.ask("psk", psk_id=text(b"shared"), secret=text(b"what they know"))
    made = theirs.commit({"kind": "psk", "psk_id": text(b"shared")})
    before = ours.group

    with pytest.raises(MLSError):
        ours.receive(made.commit)

    assert ours.group is before


@EVERY_TABLE
def test_several_psks_are_mixed_in_the_same_order(table: Table) -> None:
    ours, theirs = _pair(table)
    ours.psks = PskStore(external={b"one": b"1" * 40, b"two": b"2" * 40, b"three": b"3" * 40})
    for psk_id, secret in ours.psks.external.items():
        theirs.ask("psk", psk_id=text(psk_id), secret=text(secret))

    wanted = [{"kind": "psk", "psk_id": text(psk_id)} for psk_id in (b"two", b"three", b"one")]
    deliver(theirs.commit(*wanted).commit, ours)

    agree(ours, theirs)
    converse(ours, theirs)


@EVERY_TABLE
def test_a_resumption_psk_of_an_earlier_epoch_is_found_by_both(table: Table) -> None:
    ours, theirs = _pair(table)
    epoch = ours.group.epoch
    deliver(theirs.commit().commit, ours)
    psk = PreSharedKeyID(
        PskType.RESUMPTION,
        random_bytes(ours.suite.nh),
        usage=ResumptionUsage.APPLICATION,
        group_id=b"pair",
        epoch=epoch,
    )

    deliver(ours.commit(PreSharedKey(psk)).commit, theirs)

    agree(ours, theirs)
    converse(ours, theirs)


# --- group context extensions ---------------------------------------------------------------------


def _in_a_context(table: Table) -> tuple[Ours, TsMLS]:
    ours = Ours(table.suite, b"ours", extensions=[PRIVATE_EXTENSION])
    theirs = table.ts(extensions=(PRIVATE_EXTENSION,))
    found(b"context", ours, theirs)
    return ours, theirs


@EVERY_TABLE
def test_group_context_extensions_are_replaced_by_value_and_by_reference(table: Table) -> None:
    ours, theirs = _in_a_context(table)

    first = ext.Extension(PRIVATE_EXTENSION, b"first")
    deliver(ours.commit(GroupContextExtensions((first,))).commit, theirs)
    agree(ours, theirs)
    second = [{"type": PRIVATE_EXTENSION, "data": text(b"second")}]
    deliver(theirs.propose("extensions", extensions=second), ours)
    deliver(ours.commit().commit, theirs)

    assert ours.group.extension(PRIVATE_EXTENSION) == b"second"
    agree(ours, theirs)
    converse(ours, theirs)


@EVERY_TABLE
@pytest.mark.parametrize("with_path", [True, False], ids=["with a path", "without a path"])
def test_their_commit_of_extensions_is_refused_and_changes_nothing(
    table: Table, *, with_path: bool
) -> None:
    ours, theirs = _in_a_context(table)
    if with_path:
        # With an Update among the proposals, ts-mls sends a path.
        deliver(ours.propose_update(), theirs)
    before = ours.group
    new = [{"type": PRIVATE_EXTENSION, "data": text(b"new")}]

    # RFC 9420 section 12.4 wants a path here, encrypted under the new extensions; ts-mls sends none
    # or encrypts it under the old ones.
    with pytest.raises(InvalidCommitError) as refused:
        ours.receive(theirs.commit({"kind": "extensions", "extensions": new}).commit)

    assert refused.value.check == ("VAL-0712" if with_path else "VAL-0701")
    assert ours.group is before


@EVERY_TABLE
def test_an_extension_that_they_do_not_support_is_refused_on_our_side(table: Table) -> None:
    ours, theirs = Ours(table.suite, b"ours", extensions=[PRIVATE_EXTENSION]), table.ts()
    found(b"context", ours, theirs)

    with pytest.raises(MLSError):
        ours.commit(GroupContextExtensions((ext.Extension(PRIVATE_EXTENSION, b""),)))

    converse(ours, theirs)


@EVERY_TABLE
def test_required_capabilities_of_ours_are_understood(table: Table) -> None:
    required = ext.required_capabilities_extension(
        extension_types=[PRIVATE_EXTENSION], credential_types=[1]
    )
    ours = Ours(table.suite, b"ours", extensions=[PRIVATE_EXTENSION])
    able, unable = table.ts(extensions=(PRIVATE_EXTENSION,)), table.ts()
    ours.create(b"required", [required])

    made = ours.add(able.key_package())
    assert made.welcome is not None
    able.join(made.welcome, made.ratchet_tree)
    with pytest.raises(MLSError) as refused:
        ours.add(unable.key_package())
    with pytest.raises(ForeignError, match="required capabilities"):
        able.add(unable.key_package())

    assert refused.value.check == "VAL-0203"
    agree(ours, able)
    converse(ours, able)


@EVERY_TABLE
def test_what_our_welcome_says_besides_is_read_by_their_joiner(table: Table) -> None:
    ours, theirs = table.ours(), table.ts()
    ours.create(b"told")
    name = ext.Extension(PRIVATE_EXTENSION, b"the channel's name")

    add = proposals.Add(ours.parse(theirs.key_package()))
    made = ours.commit(add, group_info_extensions=[name])
    assert made.welcome is not None
    assert made.ratchet_tree is not None
    told = theirs.ask("join", welcome=text(made.welcome), tree=text(made.ratchet_tree))

    meant = [each for each in told["extensions"] if each["type"] not in GREASE]
    assert meant == [{"type": PRIVATE_EXTENSION, "data": text(name.data)}]
    agree(ours, theirs)


# --- other ways in --------------------------------------------------------------------------------


@EVERY_TABLE
def test_a_client_of_theirs_proposes_from_outside_to_be_added(table: Table) -> None:
    ours, theirs, newcomer = table.ours(), table.ts(), table.ts()
    found(b"asking", ours, theirs)

    asked = plain(
        newcomer.ask("propose_own_add", group_info=text(ours.bare_group_info()))["message"]
    )
    deliver(asked, ours, theirs)
    made = ours.commit()
    assert made.welcome is not None
    deliver(made.commit, theirs)
    newcomer.join(made.welcome, made.ratchet_tree)

    agree(ours, theirs, newcomer)
    converse(ours, theirs, newcomer)


@EVERY_TABLE
def test_a_branch_of_theirs_takes_us_into_a_new_group(table: Table) -> None:
    ours, theirs = _pair(table)
    parent = ours.group

    made = theirs.ask("branch", group_id=text(b"twig"), key_packages=[text(ours.key_package())])
    ours.join(plain(made["welcome"]), plain(made["tree"]), continues=parent)

    assert (ours.group.group_id, ours.group.epoch) == (b"twig", 1)
    agree(ours, theirs)
    converse(ours, theirs)


@EVERY_TABLE
def test_a_branch_of_ours_takes_them_into_a_new_group(table: Table) -> None:
    ours, theirs = _pair(table)
    parent = ours.group
    ours.psks = PskStore(resumption={(b"pair", parent.epoch): parent.resumption_psk})
    psk = PreSharedKeyID(
        PskType.RESUMPTION,
        random_bytes(ours.suite.nh),
        usage=ResumptionUsage.BRANCH,
        group_id=b"pair",
        epoch=parent.epoch,
    )

    ours.create(b"twig")
    made = ours.commit(proposals.Add(ours.parse(theirs.key_package())), PreSharedKey(psk))
    assert made.welcome is not None
    assert made.ratchet_tree is not None
    theirs.ask("join_branch", welcome=text(made.welcome), tree=text(made.ratchet_tree))

    agree(ours, theirs)
    converse(ours, theirs)


@EVERY_TABLE
def test_a_group_that_they_end_goes_on_as_theirs(table: Table) -> None:
    ours, theirs = _pair(table)

    ending = {"kind": "reinit", "group_id": text(b"next"), "suite": table.suite}
    deliver(theirs.commit(ending).commit, ours)
    ended = ours.group
    made = theirs.ask(
        "recreate",
        group_id=text(b"next"),
        suite=table.suite,
        key_packages=[text(ours.key_package())],
    )
    ours.join(plain(made["welcome"]), plain(made["tree"]), continues=ended)

    assert ended.reinit is not None
    assert ended.reinit.group_id == b"next"
    assert (ours.group.group_id, ours.group.epoch) == (b"next", 1)
    agree(ours, theirs)
    converse(ours, theirs)


@EVERY_TABLE
def test_a_group_that_we_end_goes_on_as_ours(table: Table) -> None:
    ours, theirs = _pair(table)

    deliver(ours.commit(ReInit(b"next", 1, table.suite, ())).commit, theirs)
    ended = ours.group
    ours.psks = PskStore(resumption={(b"pair", ended.epoch): ended.resumption_psk})
    psk = PreSharedKeyID(
        PskType.RESUMPTION,
        random_bytes(ours.suite.nh),
        usage=ResumptionUsage.REINIT,
        group_id=b"pair",
        epoch=ended.epoch,
    )
    ours.create(b"next")
    made = ours.commit(proposals.Add(ours.parse(theirs.key_package())), PreSharedKey(psk))
    assert made.welcome is not None
    assert made.ratchet_tree is not None
    theirs.ask(
        "join_recreated",
        welcome=text(made.welcome),
        tree=text(made.ratchet_tree),
        suite=table.suite,
    )

    agree(ours, theirs)
    converse(ours, theirs)


# --- the wire -------------------------------------------------------------------------------------


@EVERY_TABLE
def test_their_handshakes_as_private_messages_are_followed(table: Table) -> None:
    ours, theirs = _pair(table, private=True)
    newcomer = table.ours()

    deliver(theirs.propose_add(newcomer.key_package()), ours)
    made = theirs.commit()
    assert made.welcome is not None
    deliver(made.commit, ours)
    newcomer.join(made.welcome, made.ratchet_tree)

    agree(ours, theirs, newcomer)
    converse(ours, theirs, newcomer)


@EVERY_TABLE
def test_a_proposal_in_a_private_message_is_committed_by_us(table: Table) -> None:
    ours, theirs = _pair(table, private=True)
    newcomer = table.ours()

    deliver(theirs.propose_add(newcomer.key_package()), ours)
    made = ours.commit()
    assert made.welcome is not None
    deliver(made.commit, theirs)
    newcomer.join(made.welcome, made.ratchet_tree)

    agree(ours, theirs, newcomer)


@EVERY_TABLE
def test_authenticated_data_of_their_commit_arrives(table: Table) -> None:
    ours, theirs = _pair(table)

    done = ours.process(theirs.commit(authenticated_data=b"why").commit)
    deliver(ours.commit(authenticated_data=b"because").commit, theirs)

    assert getattr(done, "authenticated_data", None) == b"why"
    agree(ours, theirs)


@pytest.mark.parametrize("table", TS_MLS[:1], ids=str, indirect=True)
def test_grease_in_their_capabilities_means_nothing(table: Table) -> None:
    ours = table.ours()
    ours.create(b"grease")
    members = [table.ts() for _ in range(12)]

    made = ours.add(*(member.key_package() for member in members))
    assert made.welcome is not None
    for member in members:
        member.join(made.welcome, made.ratchet_tree)

    # Each of the fifteen values comes into a list with a chance of a tenth.
    listed = {
        value
        for member in ours.group.members()
        for value in member.leaf_node.capabilities.cipher_suites
    }
    assert listed & GREASE
    agree(ours, *members)
