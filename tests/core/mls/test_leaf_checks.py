"""What makes a leaf node or a key package fit to enter a tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from liaison.crypto import suites
from liaison.crypto.suites import CipherSuite
from liaison.mls import framing, group
from liaison.mls.credentials import MAX_LIFETIME_SECONDS, X509, Credential
from liaison.mls.errors import MLSError
from liaison.mls.extensions import (
    GREASE,
    Extension,
    ExternalSender,
    external_senders_extension,
    required_capabilities_extension,
)
from liaison.mls.key_package import KeyPackage
from liaison.mls.leaf import Capabilities, LeafNode, LeafSource, Lifetime
from liaison.mls.proposals import Add, GroupContextExtensions, Update
from liaison.mls.validation.judge import Judge
from liaison.mls.validation.leaf import check_key_package, validate_key_package
from tests.core.mls.support import (
    CAPABILITIES,
    NOW,
    OPAQUE_EXTENSION,
    Client,
    World,
    commit_to,
    path_of,
    propose,
    with_path,
    with_path_leaf,
)


@pytest.fixture
def world() -> World:
    return World(members=3)


def refused(world: World, message: bytes, check: str) -> None:
    """A member and the relay refuse a message for one reason and change nothing."""
    before, relay_before = world[1].group, world.relay.snapshot()
    with pytest.raises(MLSError) as caught:
        world[1].process(message)
    assert caught.value.check == check
    with pytest.raises(MLSError) as caught:
        world.relay.apply(message, validator=world.validator, now=NOW)
    assert caught.value.check == check
    assert world[1].group == before
    assert world.relay.snapshot() == relay_before


def package(client: Client, *, resign: bool = True, **changes: Any) -> KeyPackage:
    """Make a key package and change its leaf."""
    made = client.key_package().package
    leaf = replace(made.leaf_node, **changes)
    if resign:
        leaf = leaf.signed(client_suite(client), client.signer, b"", 0)
    return replace(made, leaf_node=leaf).signed(client.signer)


def client_suite(client: Client) -> CipherSuite:
    return suites.suite(client.suite_code)


def adds(world: World, key_package: KeyPackage) -> bytes:
    """Commit to a key package, checked by nobody."""
    return commit_to(world[0], Add(key_package))


WITHOUT_SUITE = Capabilities((1,), (0x0002,), (OPAQUE_EXTENSION,), (), (1, 2))
WITHOUT_VERSION = Capabilities((2,), (0x0001,), (OPAQUE_EXTENSION,), (), (1, 2))
WITHOUT_CREDENTIAL = Capabilities((1,), (0x0001,), (OPAQUE_EXTENSION,), (), (2,))
WITHOUT_EXTENSION = Capabilities((1,), (0x0001,), (), (), (1, 2))

LEAF_FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("VAL-0205", {"lifetime": Lifetime(NOW + 1, NOW + 100)}),
    ("VAL-0205", {"lifetime": Lifetime(NOW - 100, NOW - 1)}),
    ("VAL-0206", {"lifetime": Lifetime(NOW - 1, NOW + MAX_LIFETIME_SECONDS)}),
    ("VAL-0206", {"lifetime": Lifetime(NOW + 5, NOW - 5)}),
    ("VAL-0207", {"extensions": (Extension(0xF0B0, b""),)}),
    ("VAL-0212", {"capabilities": WITHOUT_EXTENSION}),
    ("VAL-0213", {"capabilities": WITHOUT_SUITE}),
    ("VAL-0213", {"capabilities": WITHOUT_VERSION}),
    ("VAL-0214", {"capabilities": WITHOUT_CREDENTIAL}),
    ("VAL-0217", {"encryption_key": b"short"}),
    ("VAL-0217", {"encryption_key": bytes(32)}),
]


@pytest.mark.parametrize(("check", "changes"), LEAF_FAULTS)
def test_a_key_package_with_a_bad_leaf_is_not_added(
    world: World, check: str, changes: dict[str, Any]
) -> None:
    refused(world, adds(world, package(world.client(b"new"), **changes)), check)


def test_a_leaf_of_a_key_package_says_so(world: World) -> None:
    made = package(world.client(b"new"), source=LeafSource.UPDATE, lifetime=None)

    refused(world, adds(world, made), "VAL-0208")


def test_a_leaf_is_signed(world: World) -> None:
    client = world.client(b"new")

    made = package(client, resign=False, signature=bytes(64))

    refused(world, adds(world, made), "VAL-0202")


def test_a_key_package_is_signed(world: World) -> None:
    made = world.client(b"new").key_package().package

    refused(world, adds(world, replace(made, signature=b"")), "VAL-0302")
    refused(world, adds(world, replace(made, extensions=(Extension(0xF0B0, b""),))), "VAL-0302")


def test_a_key_package_is_of_the_group_s_suite(world: World) -> None:
    other = World(0x0003)
    made = other.client(b"new").key_package().package

    refused(world, adds(world, made), "VAL-0301")


def test_init_key_and_encryption_key_differ(world: World) -> None:
    client = world.client(b"new")
    made = client.key_package().package

    same = replace(made, init_key=made.leaf_node.encryption_key).signed(client.signer)
    bad = replace(made, init_key=b"no key").signed(client.signer)

    refused(world, adds(world, same), "VAL-0303")
    refused(world, adds(world, bad), "VAL-0303")


def test_a_refused_credential_is_not_added_by_value_nor_by_reference(world: World) -> None:
    client = world.client(b"refused")
    made = client.key_package().package
    world.validator.refused.add(b"refused")

    refused(world, adds(world, made), "VAL-0201")
    refused(world, propose(world[0], Add(made)), "VAL-0201")
    with pytest.raises(MLSError):
        validate_key_package(made.message(), validator=world.validator, now=NOW)


def test_a_good_key_package_is_good(world: World) -> None:
    made = world.client(b"new").key_package(last_resort=True).package

    found, identity = validate_key_package(made.message(), validator=world.validator, now=NOW)

    assert (found, identity) == (made, b"new")
    assert found.last_resort
    assert check_key_package(made, world.suite, (), Judge(world.validator, NOW)) == b"new"


# --- leaves that members make: Update and path -------------------------------------------------


def update_leaf(client: Client, **changes: Any) -> LeafNode:
    """Make an Update's leaf with changes, well signed."""
    state = client.group
    fresh = state.suite.derive_key_pair(client.rng(state.suite.nh)).public
    fields: dict[str, Any] = {
        "encryption_key": fresh,
        "source": LeafSource.UPDATE,
        "lifetime": None,
        "parent_hash": b"",
    } | changes
    leaf = replace(state.own_leaf_node, **fields)
    return leaf.signed(state.suite, client.signer, state.group_id, state.own_leaf)


def test_updates_and_paths_are_judged_by_their_credentials(world: World) -> None:
    """Not only key packages: a credential that was revoked can't come in by an update."""
    update = propose(world[0], Update(update_leaf(world[0])))
    commit = world[0].commit().commit
    world.validator.refused.add(b"0")

    refused(world, update, "VAL-0201")
    refused(world, commit, "VAL-0201")


def test_an_update_takes_a_new_encryption_key(world: World) -> None:
    old = world[0].group.own_leaf_node.encryption_key

    refused(world, propose(world[0], Update(update_leaf(world[0], encryption_key=old))), "VAL-0209")
    refused(
        world,
        with_path_leaf(world[0], world[0].commit().commit, encryption_key=old),
        "VAL-0209",
    )


def test_an_update_stands_for_the_same_client(world: World) -> None:
    someone = {"credential": Credential.basic(b"someone else")}

    refused(world, propose(world[0], Update(update_leaf(world[0], **someone))), "VAL-0215")
    refused(world, with_path_leaf(world[0], world[0].commit().commit, **someone), "VAL-0215")


@pytest.mark.parametrize("source", [LeafSource.COMMIT, LeafSource.KEY_PACKAGE])
def test_an_update_s_leaf_says_so(world: World, source: LeafSource) -> None:
    lifetime = world[0].group.own_leaf_node.lifetime or Lifetime(NOW, NOW + 1)
    changes: dict[str, Any] = {"source": source}
    if source is LeafSource.KEY_PACKAGE:
        changes["lifetime"] = lifetime

    refused(world, propose(world[0], Update(update_leaf(world[0], **changes))), "VAL-0208")


@pytest.mark.parametrize("source", [LeafSource.UPDATE, LeafSource.KEY_PACKAGE])
def test_a_path_s_leaf_says_so(world: World, source: LeafSource) -> None:
    changes: dict[str, Any] = {"source": source, "parent_hash": b""}
    if source is LeafSource.KEY_PACKAGE:
        changes["lifetime"] = Lifetime(NOW, NOW + 1)

    refused(world, with_path_leaf(world[0], world[0].commit().commit, **changes), "VAL-0208")


PATH_FAULTS = [fault for fault in LEAF_FAULTS if "lifetime" not in fault[1]]


@pytest.mark.parametrize(("check", "changes"), PATH_FAULTS)
def test_a_path_with_a_bad_leaf_is_refused(
    world: World, check: str, changes: dict[str, Any]
) -> None:
    refused(world, with_path_leaf(world[0], world[0].commit().commit, **changes), check)


def test_a_path_s_leaf_is_signed_for_its_group_and_place(world: World) -> None:
    commit = world[0].commit().commit
    leaf = path_of(commit).leaf_node
    suite, signer = world.suite, world[0].signer
    elsewhere: list[Callable[[], LeafNode]] = [
        lambda: leaf.signed(suite, signer, b"another group", 0),
        lambda: leaf.signed(suite, signer, b"group", 1),
        lambda: replace(leaf, signature=b""),
    ]
    for make in elsewhere:
        refused(world, with_path(world[0], commit, leaf_node=make()), "VAL-0202")


# --- leaves together -----------------------------------------------------------------------------


def test_no_signature_key_stands_twice(world: World) -> None:
    twin = world.client(b"twin")
    twin.signer = world[2].signer

    refused(world, adds(world, twin.key_package().package), "VAL-0210")
    refused(
        world,
        resigned_as(world, world[2].signer, world[0].commit().commit),
        "VAL-0210",
    )


def resigned_as(world: World, signer: Any, commit: bytes) -> bytes:
    """Let member 0 take another member's signature key into its new leaf."""
    state = world[0].group
    leaf = replace(path_of(commit).leaf_node, signature_key=signer.public_bytes)
    signed = leaf.signed(state.suite, signer, state.group_id, state.own_leaf)
    return with_path(world[0], commit, leaf_node=signed)


def test_no_encryption_key_stands_twice(world: World) -> None:
    taken = world[2].group.own_leaf_node.encryption_key

    refused(world, adds(world, package(world.client(b"new"), encryption_key=taken)), "VAL-0211")


def test_no_client_stands_twice(world: World) -> None:
    again = Client(b"2", world.suite.code, world.validator, world.rng)

    refused(world, adds(world, again.key_package().package), "VAL-0216")


def test_every_member_supports_every_credential_type_in_use(world: World) -> None:
    only_basic = replace(CAPABILITIES, credentials=(1,))
    world.add(world[0], b"new")
    stranger = package(
        world.client(b"stranger"),
        credential=Credential(X509, chain=(b"certificate",)),
    )
    bounded = package(world.client(b"bounded"), capabilities=only_basic)

    world.accept(world[0], world[0].commit(Add(bounded)))
    world.validator.types = {X509: b"x509"}

    refused(world, adds(world, stranger), "VAL-0204")


def test_members_support_what_the_group_requires(world: World) -> None:
    required = required_capabilities_extension(extension_types=(OPAQUE_EXTENSION,))
    world.accept(world[0], world[0].commit(GroupContextExtensions((*world.extensions, required))))
    unable = Capabilities((1,), (0x0001,), (OPAQUE_EXTENSION,), (), (1,))
    demanding = required_capabilities_extension(credential_types=(1, 2))

    world.accept(world[0], world[0].commit(GroupContextExtensions((*world.extensions, demanding))))

    refused(world, adds(world, package(world.client(b"new"), capabilities=unable)), "VAL-0203")


def test_default_types_need_not_be_listed(world: World) -> None:
    required = required_capabilities_extension(
        extension_types=(1, 2, 3, 4, 5), proposal_types=(1, 2, 3, 4, 5, 6, 7)
    )

    world.accept(world[0], world[0].commit(GroupContextExtensions((*world.extensions, required))))
    world.add(world[0], b"new")

    world.check_agreement()


def test_external_senders_are_judged_too(world: World) -> None:
    world.validator.refused.add(b"spy")
    spy = external_senders_extension(
        [ExternalSender(world.relay_key.public_bytes, Credential.basic(b"spy"))]
    )
    proposal = GroupContextExtensions((spy,))

    refused(world, propose(world[0], proposal), "VAL-0201")
    with pytest.raises(MLSError):
        world[0].commit(proposal)
    with pytest.raises(MLSError):
        group.propose_extensions(
            world[0].group, (spy,), signer=world[0].signer, validator=world.validator, now=NOW
        )


def test_what_we_publish_has_values_that_mean_nothing(world: World) -> None:
    """So that nobody comes to rely on knowing all that we may send."""
    package = world.client(b"new").key_package().package
    have = package.leaf_node.capabilities

    for listed in (have.cipher_suites, have.extensions, have.proposals, have.credentials):
        assert GREASE & set(listed)
    assert GREASE & {extension.type for extension in package.extensions}
    info = framing.decode_group_info(world.group_info)
    assert GREASE & {extension.type for extension in info.extensions}
    assert not GREASE & {extension.type for extension in info.context.extensions}


def test_values_that_mean_nothing_here_are_ignored(world: World) -> None:
    grease = Capabilities(
        (1, 0x0A0A), (0x0001, 0x1A1A), (OPAQUE_EXTENSION, 0x2A2A), (0x3A3A,), (1, 0x4A4A)
    )
    client = world.client(b"new")
    bundle = client.key_package(
        capabilities=grease,
        leaf_extensions=(Extension(0x2A2A, b"noise"),),
        extensions=(Extension(0x5A5A, b"noise"),),
    )

    staged = world[0].commit(Add(bundle.package))
    world.accept(world[0], staged)
    client.join(staged, bundle)

    world.check_agreement()
