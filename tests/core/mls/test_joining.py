"""Coming in: by Welcome, by external commit, and what a joiner checks of the tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from liaison import codec
from liaison.crypto import suites
from liaison.mls import extensions as ext
from liaison.mls import external, framing, group, key_schedule, welcome
from liaison.mls.errors import (
    ConfirmationTagError,
    InvalidTreeError,
    InvalidWelcomeError,
    MalformedMessageError,
    MissingPskError,
    MLSError,
)
from liaison.mls.extensions import Extension
from liaison.mls.framing import Sender, SenderKind
from liaison.mls.group import PskStore, StagedCommit
from liaison.mls.key_packages import KeyPackageBundle
from liaison.mls.leaf import MAX_LEAF, Capabilities, Node, ParentNode
from liaison.mls.messages import Commit, EncryptedGroupSecrets, GroupInfo, HPKECiphertext, Welcome
from liaison.mls.proposals import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ProposalRef,
    PskType,
    Remove,
    ResumptionUsage,
)
from liaison.mls.public_group import PublicGroup, welcome_recipients
from liaison.mls.tree import RatchetTree
from liaison.mls.validation import tree as tree_checks
from liaison.mls.welcome import GroupSecrets
from tests.core.mls.support import (
    CAPABILITIES,
    LIFETIME,
    NOW,
    Client,
    World,
    commit_of,
    public_message,
)


@pytest.fixture
def world() -> World:
    return World(members=4)


class Invitation:
    """A staged commit that adds one client, and ways to spoil its Welcome."""

    def __init__(self, world: World, *proposals: Proposal, psks: PskStore | None = None) -> None:
        self.world = world
        self.joiner = world.client(b"new")
        self.bundle = self.joiner.key_package()
        self.staged = world[0].commit(Add(self.bundle.package), *proposals, psks=psks or PskStore())
        self.suite = world.suite

    @property
    def message(self) -> Welcome:
        assert self.staged.welcome is not None
        return framing.decode_welcome(self.staged.welcome)

    @property
    def secrets(self) -> GroupSecrets:
        (entry,) = self.message.secrets
        return welcome.open_secrets(self.suite, self.message, entry, self.bundle.init_private)

    @property
    def info(self) -> GroupInfo:
        member = key_schedule.member_secret(
            self.suite, self.secrets.joiner_secret, bytes(self.suite.nh)
        )
        return welcome.open_group_info(self.suite, self.message, member)

    def resealed(self, info: GroupInfo, secrets: GroupSecrets | None = None) -> StagedCommit:
        """Make the Welcome anew around another GroupInfo, or other secrets."""
        used = secrets or self.secrets
        psk_secret = bytes(self.suite.nh)
        member = key_schedule.member_secret(self.suite, used.joiner_secret, psk_secret)
        made = welcome.make_welcome(
            self.suite, info, member, [(self.bundle.ref, self.bundle.package.init_key, used)]
        )
        return replace(self.staged, welcome=made)

    def signed(self, info: GroupInfo, client: Client | None = None) -> StagedCommit:
        return self.resealed(info.signed(self.suite, (client or self.world[0]).signer))

    def refused(self, staged: StagedCommit, check: str, tree: bytes | None = None) -> None:
        with pytest.raises(MLSError) as caught:
            self.joiner.join(staged, self.bundle, ratchet_tree=tree or self.staged.ratchet_tree)
        assert caught.value.check == check
        assert self.joiner.state is None


# --- Welcome ----------------------------------------------------------------------------------------


def test_a_welcome_brings_its_member_in_with_the_tree_inside_or_beside(world: World) -> None:
    for inside in (False, True):
        joiner = world.client(b"new %d" % inside)
        bundle = joiner.key_package()
        staged = world[0].commit(Add(bundle.package), tree_in_welcome=inside)
        world.accept(world[0], staged)
        assert staged.welcome is not None
        assert welcome_recipients(staged.welcome) == (bundle.ref,)
        joiner.join(staged, bundle, ratchet_tree=None if inside else world.relay.ratchet_tree())
    world.check_agreement()
    world.check_messages()


def test_a_welcome_without_its_tree_says_so(world: World) -> None:
    invitation = Invitation(world)

    with pytest.raises(InvalidTreeError):
        invitation.joiner.join(invitation.staged, invitation.bundle, ratchet_tree=None)


def test_who_joins_reads_nothing_from_before(world: World) -> None:
    before = world[0].encrypt(b"before")
    invitation = Invitation(world)
    joined = invitation.joiner.join(invitation.staged, invitation.bundle)

    with pytest.raises(MLSError):
        group.process(joined, before, now=NOW, validator=world.validator)


def test_a_welcome_is_for_whom_it_names(world: World) -> None:
    invitation = Invitation(world)
    stranger = world.client(b"stranger")

    invitation.refused(
        replace(
            invitation.staged,
            welcome=framing.encode_message(replace(invitation.message, secrets=())),
        ),
        "VAL-0802",
    )
    with pytest.raises(InvalidWelcomeError):
        stranger.join(invitation.staged, stranger.key_package())
    wrong_keys = replace(invitation.bundle, init_private=stranger.key_package().init_private)
    with pytest.raises(InvalidWelcomeError):
        invitation.joiner.join(invitation.staged, wrong_keys)


def test_a_welcome_of_another_suite_is_refused(world: World) -> None:
    invitation = Invitation(world)
    other = framing.encode_message(replace(invitation.message, cipher_suite=0x0003))

    invitation.refused(replace(invitation.staged, welcome=other), "VAL-0802")


def test_only_the_named_signer_verifies_a_group_info(world: World) -> None:
    invitation = Invitation(world)
    info = invitation.info

    invitation.refused(invitation.resealed(replace(info, signer=1)), "VAL-0801")
    invitation.refused(invitation.signed(info, world[1]), "VAL-0801")
    invitation.refused(invitation.resealed(replace(info, signature=b"")), "VAL-0801")
    invitation.refused(invitation.signed(replace(info, signer=77)), "VAL-0801")


def test_the_confirmation_tag_is_checked_on_joining(world: World) -> None:
    invitation = Invitation(world)
    info = invitation.info

    for tag in (b"", info.confirmation_tag[:-1], bytes(32)):
        invitation.refused(invitation.signed(replace(info, confirmation_tag=tag)), "VAL-0108")
    other = replace(info.context, confirmed_transcript_hash=bytes(32))
    forged = invitation.signed(replace(info, context=other))
    with pytest.raises(ConfirmationTagError):
        invitation.joiner.join(forged, invitation.bundle)


def test_the_secrets_of_a_welcome_have_one_length(world: World) -> None:
    """HMAC pads its key with zeros, so a zero more would otherwise change nothing."""
    invitation = Invitation(world)
    info, secrets = invitation.info, invitation.secrets
    assert secrets.path_secret is not None

    for changed in (
        replace(secrets, joiner_secret=secrets.joiner_secret + b"\0"),
        replace(secrets, joiner_secret=b""),
        replace(secrets, path_secret=secrets.path_secret + b"\0"),
        replace(secrets, path_secret=secrets.path_secret[:-1]),
    ):
        invitation.refused(invitation.resealed(info, changed), "VAL-0816")


def test_a_welcome_keeps_no_key_back(world: World) -> None:
    invitation = Invitation(world)
    withheld = replace(invitation.secrets, path_secret=None)

    invitation.refused(invitation.resealed(invitation.info, withheld), "VAL-0817")


def test_the_parts_of_a_welcome_are_of_one_suite(world: World) -> None:
    invitation = Invitation(world)
    info = invitation.info
    other = replace(info, context=replace(info.context, cipher_suite=0x0003))

    invitation.refused(invitation.signed(other), "VAL-0802")


def test_a_joiner_supports_the_group_s_extensions(world: World) -> None:
    joiner = world.client(b"new")
    bundle = joiner.key_package(capabilities=Capabilities.default())
    with pytest.raises(MLSError) as caught:
        world[0].commit(Add(bundle.package))
    assert caught.value.check == "VAL-0212"

    invitation = Invitation(World(members=1))
    info = invitation.info
    unknown = (*info.context.extensions, Extension(0xF0B0, b""))
    spoiled = replace(info, context=replace(info.context, extensions=unknown))

    invitation.refused(invitation.signed(spoiled), "VAL-0805")


def test_the_path_secret_of_a_welcome_leads_to_the_tree_s_keys(world: World) -> None:
    invitation = Invitation(world)

    for secret in (bytes(32), b"\1" * 32):
        changed = replace(invitation.secrets, path_secret=secret)
        invitation.refused(invitation.resealed(invitation.info, changed), "VAL-0806")


def test_a_group_that_is_known_already_is_not_joined_again(world: World) -> None:
    invitation = Invitation(world)

    with pytest.raises(MLSError) as caught:
        invitation.joiner.join(
            invitation.staged, invitation.bundle, known_groups={world[0].group.group_id}
        )

    assert caught.value.check == "VAL-0807"


def test_a_joiner_is_in_the_tree_as_its_key_package_says(world: World) -> None:
    invitation = Invitation(world)
    joiner = invitation.joiner
    twin = joiner.key_package()
    bundle = KeyPackageBundle.of(twin.key_package, twin.init_private, twin.leaf_private)
    secrets = invitation.secrets
    member = key_schedule.member_secret(world.suite, secrets.joiner_secret, bytes(32))
    made = welcome.make_welcome(
        world.suite, invitation.info, member, [(bundle.ref, bundle.package.init_key, secrets)]
    )

    with pytest.raises(MLSError) as caught:
        joiner.join(replace(invitation.staged, welcome=made), bundle)

    assert caught.value.check == "VAL-0407"


def test_a_welcome_s_psks_must_be_known_and_valid_together(world: World) -> None:
    psk = PreSharedKeyID(PskType.EXTERNAL, bytes(32), psk_id=b"psk")
    store = PskStore({b"psk": b"secret"})
    invitation = Invitation(world, PreSharedKey(psk), psks=store)

    with pytest.raises(MissingPskError):
        invitation.joiner.join(invitation.staged, invitation.bundle)
    with pytest.raises(InvalidWelcomeError):
        invitation.joiner.join(
            invitation.staged, invitation.bundle, psks=PskStore({b"psk": b"another"})
        )
    joined = invitation.joiner.join(invitation.staged, invitation.bundle, psks=store)
    assert joined.epoch_authenticator == invitation.staged.group.epoch_authenticator


def linking(usage: ResumptionUsage, nonce: int) -> PreSharedKeyID:
    return PreSharedKeyID(
        PskType.RESUMPTION, bytes([nonce]) * 32, usage=usage, group_id=b"old", epoch=1
    )


def test_two_links_or_one_psk_twice_are_refused(world: World) -> None:
    invitation = Invitation(world)
    external_psk = PreSharedKeyID(PskType.EXTERNAL, bytes(32), psk_id=b"psk")
    short = PreSharedKeyID(PskType.EXTERNAL, bytes(31), psk_id=b"psk")
    branch, reinit = linking(ResumptionUsage.BRANCH, 1), linking(ResumptionUsage.REINIT, 2)

    for psks in ((branch, reinit), (branch, branch), (external_psk, external_psk), (short,)):
        changed = replace(invitation.secrets, psks=psks)
        invitation.refused(invitation.resealed(invitation.info, changed), "VAL-0804")


def test_a_group_that_goes_on_from_another_begins_in_epoch_one(world: World) -> None:
    invitation = Invitation(world)
    parent = Client(b"new", world.suite.code, world.validator, world.rng)
    old = parent.create(b"old")
    link = replace(linking(ResumptionUsage.BRANCH, 1), epoch=0)
    secrets = replace(invitation.secrets, psks=(link,))
    psk_secret = key_schedule.psk_secret(world.suite, [(link, old.resumption_psk)])
    member = key_schedule.member_secret(world.suite, secrets.joiner_secret, psk_secret)
    made = welcome.make_welcome(
        world.suite,
        invitation.info,
        member,
        [(invitation.bundle.ref, invitation.bundle.package.init_key, secrets)],
    )

    with pytest.raises(MLSError) as caught:
        invitation.joiner.join(
            replace(invitation.staged, welcome=made), invitation.bundle, continues=old
        )

    assert caught.value.check == "VAL-0811"


def test_a_welcome_that_is_not_well_formed_inside_is_refused(world: World) -> None:
    invitation = Invitation(world)
    message = invitation.message
    sealed = world.suite.encrypt_with_label(
        invitation.bundle.package.init_key, b"Welcome", message.encrypted_group_info, b"\xff"
    )
    entry = EncryptedGroupSecrets(invitation.bundle.ref, HPKECiphertext(*sealed))
    spoiled = framing.encode_message(replace(message, secrets=(entry,)))

    with pytest.raises(MalformedMessageError):
        invitation.joiner.join(replace(invitation.staged, welcome=spoiled), invitation.bundle)


def test_credentials_of_all_leaves_are_judged_on_joining(world: World) -> None:
    invitation = Invitation(world)
    world.validator.asked.clear()
    invitation.joiner.join(invitation.staged, invitation.bundle)
    assert set(world.validator.asked) >= {b"0", b"1", b"2", b"3", b"new", b"relay"}

    invitation.joiner.state = None
    for refused in (b"3", b"relay"):
        world.validator.refused = {refused}
        invitation.refused(invitation.staged, "VAL-0201")
        with pytest.raises(MLSError):
            PublicGroup.from_group_info(
                world.group_info,
                world.relay.ratchet_tree(),
                validator=world.validator,
                now=NOW,
            )


def test_expired_leaves_are_seen_on_joining(world: World) -> None:
    invitation = Invitation(world)

    with pytest.raises(MLSError) as caught:
        welcome.join(
            invitation.staged.welcome or b"",
            [invitation.bundle],
            ratchet_tree=invitation.staged.ratchet_tree,
            now=LIFETIME.not_after + 1,
            validator=world.validator,
        )

    assert caught.value.check == "VAL-0205"


# --- the tree that a joiner is served ----------------------------------------------------------------


def test_another_tree_than_the_group_s_is_refused(world: World) -> None:
    invitation = Invitation(world)
    old = world.relay.ratchet_tree()

    invitation.refused(invitation.staged, "VAL-0401", tree=old)


def nodes_of(tree: RatchetTree) -> list[Node | None]:
    return [tree.node(index) for index in range(tree.width)]


def changed(
    tree: RatchetTree, index: int, change: Callable[[ParentNode], Node | None]
) -> RatchetTree:
    nodes = nodes_of(tree)
    node = nodes[index]
    assert isinstance(node, ParentNode)
    nodes[index] = change(node)
    return RatchetTree(tree.suite, nodes)


def full_tree() -> RatchetTree:
    """Eight members, all of whom have committed: no blank, and one more leaf unmerged."""
    world = World(members=7)
    for number in range(7):
        world.accept(world[number], world[number].commit())
    joiner = world.client(b"7")
    bundle = joiner.key_package()
    world.accept(world[0], world[0].commit(Add(bundle.package), path=False))
    return world.relay.tree.copy()


def test_every_parent_was_set_by_a_member_below_it() -> None:
    tree = full_tree()
    tree_checks.check_parent_hashes(tree)
    fresh = tree.suite.derive_key_pair(bytes(32)).public

    spoiled = [
        changed(tree, 3, lambda node: replace(node, encryption_key=fresh)),
        changed(tree, 7, lambda node: replace(node, encryption_key=fresh)),
        changed(tree, 7, lambda node: replace(node, parent_hash=bytes(32))),
        changed(tree, 1, lambda node: replace(node, parent_hash=b"")),
        changed(tree, 11, lambda node: replace(node, unmerged_leaves=())),
        changed(tree, 3, lambda _: ParentNode(fresh)),
    ]

    for bad in spoiled:
        with pytest.raises(InvalidTreeError) as caught:
            tree_checks.check_parent_hashes(bad)
        assert caught.value.check == "VAL-0402"


@pytest.mark.parametrize(
    "leaves", [(0,), (6,), (8,), (77,), (7, 7), (0xFFFF_FFFF,), (7, 6)], ids=str
)
def test_unmerged_leaves_are_members_below(leaves: tuple[int, ...]) -> None:
    tree = full_tree()
    nodes = nodes_of(tree)
    nodes[12] = None
    node = nodes[11]
    assert isinstance(node, ParentNode)
    nodes[11] = replace(node, unmerged_leaves=leaves)
    bad = RatchetTree(tree.suite, nodes)

    with pytest.raises(InvalidTreeError) as caught:
        tree_checks.check_unmerged_leaves(bad)

    assert caught.value.check == "VAL-0403"


def test_an_unmerged_leaf_is_named_on_its_whole_way() -> None:
    tree = changed(full_tree(), 11, lambda node: replace(node, unmerged_leaves=()))

    with pytest.raises(InvalidTreeError) as caught:
        tree_checks.check_unmerged_on_the_way(tree)

    assert caught.value.check == "VAL-0404"


def test_a_tree_of_more_nodes_than_any_group_has_is_refused_unread() -> None:
    leaf = b"\1\1" + full_tree().member(0).encode()
    blanks = bytes(2 * MAX_LEAF + 1)

    with pytest.raises(MalformedMessageError, match="too large"):
        RatchetTree.decode(suites.suite(1), codec.opaque(leaf + blanks + leaf))


def test_the_original_sibling_is_hashed_as_it_was() -> None:
    """Adding unmerged leaves does not change the parent hash that a leaf once signed."""
    world = World(members=4)
    for number in range(4):
        world.accept(world[number], world[number].commit())
    world.accept(world[0], world[0].commit(Remove(3)))
    for number in (0, 1, 2):
        world.accept(world[number], world[number].commit())
    root = world.relay.tree.node(3)
    assert isinstance(root, ParentNode)
    before = world.relay.tree.parent_hash(root, 5)
    world.accept(
        world[0],
        world[0].commit(Add(world.client(b"new").key_package().package), path=False),
    )
    tree = world.relay.tree

    after = tree.node(3)
    assert isinstance(after, ParentNode)
    assert after.unmerged_leaves == (3,)
    assert tree.parent_hash(after, 5) == before
    assert (
        tree.suite.hash(
            codec.opaque(after.encryption_key) + codec.opaque(b"") + codec.opaque(tree.tree_hash(5))
        )
        != before
    )
    tree_checks.check_parent_hashes(tree)


def test_the_keys_of_a_tree_are_keys_and_differ() -> None:
    tree = full_tree()
    first, other = tree.node(1), tree.node(5)
    assert first is not None
    assert other is not None

    with pytest.raises(InvalidTreeError) as caught:
        tree_checks.check_parent_keys(
            changed(tree, 1, lambda node: replace(node, encryption_key=bytes(32)))
        )
    assert caught.value.check == "VAL-0405"
    with pytest.raises(InvalidTreeError) as caught:
        tree_checks.check_unique_encryption_keys(
            changed(tree, 1, lambda node: replace(node, encryption_key=other.encryption_key))
        )
    assert caught.value.check == "VAL-0211"


def test_a_tree_of_a_bad_form_is_refused() -> None:
    tree = full_tree()
    suite, data = tree.suite, tree.encode()
    nodes = nodes_of(tree)

    def encoded(*some: Node | None) -> bytes:
        return RatchetTree(suite, some).encode()

    leaf, parent = nodes[0], nodes[1]
    for bad in (
        codec.opaque(b""),
        data + b"\0",
        codec.opaque(codec.decode(codec.Reader.opaque, data) + b"\0"),
        encoded(parent),
        encoded(leaf, leaf, leaf),
        codec.opaque(b"\x01\x03"),
        codec.opaque(b"\x02"),
    ):
        with pytest.raises(MalformedMessageError):
            RatchetTree.decode(suite, bad)
    assert RatchetTree.decode(suite, data) == tree


# --- GroupInfo for all -------------------------------------------------------------------------------


def test_the_relay_takes_only_the_group_info_of_the_commit(world: World) -> None:
    staged = world[0].commit()
    relay = world.relay.apply(staged.commit, validator=world.validator, now=NOW).group
    relay.check_group_info(staged.group_info)
    info = framing.decode_group_info(staged.group_info)
    signer = world[0].signer

    def refused(changed: GroupInfo, check: str) -> None:
        with pytest.raises(MLSError) as caught:
            relay.check_group_info(framing.encode_message(changed))
        assert caught.value.check == check

    refused(framing.decode_group_info(world.group_info), "VAL-0810")
    refused(replace(info, confirmation_tag=bytes(32)).signed(world.suite, signer), "VAL-0810")
    refused(replace(info, signature=bytes(64)), "VAL-0801")
    refused(replace(info, signer=1), "VAL-0801")
    refused(replace(info, extensions=()).signed(world.suite, signer), "VAL-0808")
    bad = (Extension(ext.EXTERNAL_PUB, codec.opaque(b"no key")),)
    refused(replace(info, extensions=bad).signed(world.suite, signer), "VAL-0808")


# --- external commits --------------------------------------------------------------------------------


def test_a_stranger_joins_by_an_external_commit(world: World) -> None:
    stranger = world.client(b"stranger")

    staged = stranger.join_externally(world.group_info, world.relay.ratchet_tree())
    world.accept(stranger, staged)

    assert staged.effect.external
    assert staged.effect.joined == stranger.group.own_leaf
    world.check_agreement()
    world.check_messages()


def test_a_lost_device_comes_back_and_replaces_only_itself(world: World) -> None:
    tree = world.relay.ratchet_tree()
    lost = world[2]
    lost.state = None
    found = external.own_leaf(world.group_info, tree, b"2", validator=world.validator, now=NOW)
    assert found == 2

    with pytest.raises(MLSError) as caught:
        lost.join_externally(world.group_info, tree, replace_leaf=1)
    assert caught.value.check == "VAL-0215"
    with pytest.raises(MLSError) as caught:
        lost.join_externally(world.group_info, tree)
    assert caught.value.check in {"VAL-0210", "VAL-0216"}
    staged = lost.join_externally(world.group_info, tree, replace_leaf=found)
    world.accept(lost, staged)

    assert [removed.leaf for removed in staged.effect.removed] == [2]
    world.check_agreement()


def forged_join(world: World, *proposals: Proposal, keep: bool = True, path: bool = True) -> bytes:
    """Make an external commit with other proposals than one may have, well signed."""
    stranger = world.client(b"stranger")
    staged = stranger.join_externally(world.group_info, world.relay.ratchet_tree())
    commit = commit_of(staged.commit)
    items = (*commit.proposals, *proposals) if keep else proposals
    return resigned(world, stranger, staged.commit, Commit(items, commit.path if path else None))


def resigned(world: World, client: Client, message: bytes, commit: Commit) -> bytes:
    former = public_message(message).authenticated
    content = framing.sign(
        world.suite,
        client.signer,
        former.wire_format,
        replace(former.framed, content=commit),
        world.relay.context.encode(),
    )
    content = replace(content, confirmation_tag=former.confirmation_tag)
    return framing.encode_message(framing.PublicMessage(content))


def refused(world: World, message: bytes, check: str) -> None:
    before = world[1].group
    with pytest.raises(MLSError) as caught:
        world[1].process(message)
    assert caught.value.check == check
    with pytest.raises(MLSError) as caught:
        world.relay.apply(message, validator=world.validator, now=NOW)
    assert caught.value.check == check
    assert world[1].group == before


def test_an_external_commit_has_exactly_one_external_init(world: World) -> None:
    init = ExternalInit(bytes(32))

    refused(world, forged_join(world, init), "VAL-0611")
    refused(world, forged_join(world, keep=False), "VAL-0611")


def test_an_external_commit_removes_at_most_one_and_only_its_own(world: World) -> None:
    refused(world, forged_join(world, Remove(1), Remove(2)), "VAL-0612")
    refused(world, forged_join(world, Remove(2)), "VAL-0202")


def test_an_external_commit_covers_nothing_else(world: World) -> None:
    package = world.client(b"friend").key_package().package

    refused(world, forged_join(world, Add(package)), "VAL-0613")
    refused(world, forged_join(world, GroupContextExtensions(())), "VAL-0613")


def test_an_external_commit_refers_to_nothing(world: World) -> None:
    world.deliver(world[2].propose_remove(3), but=world[2])
    ref = world[1].group.pending[0].ref
    stranger = world.client(b"stranger")
    staged = stranger.join_externally(world.group_info, world.relay.ratchet_tree())
    commit = commit_of(staged.commit)
    with_ref = Commit((*commit.proposals, ProposalRef(ref)), commit.path)

    refused(world, resigned(world, stranger, staged.commit, with_ref), "VAL-0614")


def test_an_external_commit_has_a_path_that_signs_it(world: World) -> None:
    refused(world, forged_join(world, path=False), "VAL-0104")
    stranger = world.client(b"stranger 2")
    staged = stranger.join_externally(world.group_info, world.relay.ratchet_tree())
    commit = commit_of(staged.commit)

    refused(world, resigned(world, world[3], staged.commit, commit), "VAL-0101")


def test_an_external_joiner_brings_new_keys_and_a_new_name(world: World) -> None:
    twin = world.client(b"twin")
    twin.signer = world[3].signer
    with pytest.raises(MLSError) as caught:
        twin.join_externally(world.group_info, world.relay.ratchet_tree())
    assert caught.value.check == "VAL-0210"

    stranger = world.client(b"stranger")
    staged = stranger.join_externally(world.group_info, world.relay.ratchet_tree())
    world.validator.refused.add(b"stranger")
    refused(world, staged.commit, "VAL-0201")
    world.validator.refused.clear()
    same_name = Client(b"3", world.suite.code, world.validator, world.rng)
    with pytest.raises(MLSError) as caught:
        same_name.join_externally(world.group_info, world.relay.ratchet_tree())
    assert caught.value.check == "VAL-0216"


def test_an_external_commit_with_a_foreign_init_is_refused_by_members(world: World) -> None:
    stranger = world.client(b"stranger")
    staged = stranger.join_externally(world.group_info, world.relay.ratchet_tree())
    commit = commit_of(staged.commit)
    other = Commit((ExternalInit(world[0].group.own_leaf_node.encryption_key),), commit.path)

    message = resigned(world, stranger, staged.commit, other)

    with pytest.raises(MLSError) as caught:
        world[1].process(message)
    assert caught.value.check == "VAL-0108"
    broken = Commit((ExternalInit(b"short"),), commit.path)
    with pytest.raises(MLSError):
        world[1].process(resigned(world, stranger, staged.commit, broken))


def test_a_group_info_without_a_key_can_not_be_joined_with(world: World) -> None:
    info = framing.decode_group_info(world.group_info)
    bare = replace(info, extensions=()).signed(world.suite, world[0].signer)

    with pytest.raises(MLSError) as caught:
        world.client(b"stranger").join_externally(
            framing.encode_message(bare), world.relay.ratchet_tree()
        )

    assert caught.value.check == "VAL-0808"


def test_an_external_joiner_can_mix_a_psk_in(world: World) -> None:
    psk = PreSharedKeyID(PskType.EXTERNAL, bytes(32), psk_id=b"psk")
    store = PskStore({b"psk": b"secret"})
    stranger = world.client(b"stranger")

    staged = stranger.join_externally(
        world.group_info, world.relay.ratchet_tree(), psk_ids=[psk], psks=store
    )
    done = world[1].process(staged.commit, psks=store)

    assert done.group is not None
    assert done.group.epoch_authenticator == staged.group.epoch_authenticator
    assert stranger.key_package().package.leaf_node.capabilities == CAPABILITIES


def test_a_new_member_proposes_its_own_addition(world: World) -> None:
    joiner = world.client(b"new")
    bundle = joiner.key_package()
    framed = framing.FramedContent(
        b"group",
        world.relay.epoch,
        Sender(SenderKind.NEW_MEMBER_PROPOSAL),
        b"",
        Add(bundle.package),
    )
    content = framing.sign(
        world.suite, joiner.signer, framing.WireFormat.PUBLIC_MESSAGE, framed, b""
    )
    world.deliver(framing.encode_message(framing.PublicMessage(content)), but=joiner)

    staged = world[0].commit()
    world.accept(world[0], staged)
    joiner.join(staged, bundle)

    world.check_agreement()
