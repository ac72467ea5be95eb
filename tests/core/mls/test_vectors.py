"""The MLS working group's test vectors, every case of every file but crypto-basics.

What each field means is told in mlswg/mls-implementations, `test-vectors.md`.
`tests/vectors_runner.py` calls the same functions with the cases of any folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from liaison import codec
from liaison.codec import Reader
from liaison.crypto import suites
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.crypto.suites import CipherSuite
from liaison.mls import (
    extensions,
    framing,
    group,
    key_schedule,
    protection,
    transcript,
    tree_kem,
    tree_math,
    welcome,
)
from liaison.mls.credentials import BasicValidator
from liaison.mls.errors import InvalidMessageError
from liaison.mls.framing import (
    AuthenticatedContent,
    Content,
    ContentType,
    FramedContent,
    PrivateMessage,
    PublicMessage,
    Sender,
    SenderKind,
    WireFormat,
)
from liaison.mls.key_package import KeyPackage
from liaison.mls.key_packages import KeyPackageBundle
from liaison.mls.key_schedule import PskStore
from liaison.mls.leaf import LeafNode, LeafSource
from liaison.mls.messages import Commit, GroupContext, UpdatePath
from liaison.mls.proposals import (
    Add,
    PreSharedKeyID,
    Proposal,
    PskType,
    Remove,
    Update,
    encode_proposal,
    read_proposal,
)
from liaison.mls.protection import MessageKeys
from liaison.mls.secret_tree import Limits, RatchetKind, SecretTree
from liaison.mls.tree import RatchetTree
from liaison.mls.validation import framing as framing_checks
from liaison.mls.validation import tree as tree_checks
from tests.vectors import load

Case = dict[str, Any]
pytestmark = pytest.mark.usefixtures("vectors")

LIMITS = Limits(forward=20_000, skipped=20_000)


def cases(name: str) -> pytest.MarkDecorator:
    """Parametrize over a file's cases, named by suite and number."""
    loaded = load(f"mls/{name}.json")
    ids = [
        f"suite{case['cipher_suite']}-{number}"
        if isinstance(case, dict) and "cipher_suite" in case
        else str(number)
        for number, case in enumerate(loaded)
    ]
    return pytest.mark.parametrize("case", loaded, ids=ids)


@pytest.fixture
def suite(case: Case) -> CipherSuite:
    return suites.suite(case["cipher_suite"])


def signing_key(suite: CipherSuite, text: str) -> SigningKey:
    """Read a signature key; the files leave out leading zeros of P-521 keys."""
    size = 66 if suite.signature is SignatureScheme.P521 else 0
    return SigningKey.from_bytes(suite.signature, h(text).rjust(size, b"\0"))


def h(text: str) -> bytes:
    return bytes.fromhex(text)


@cases("tree-math")
def test_tree_math(case: Case) -> None:
    size, width = case["n_leaves"], case["n_nodes"]
    assert tree_math.node_width(size) == width
    assert tree_math.root(size) == case["root"]
    for node in range(width):
        if case["left"][node] is not None:
            assert tree_math.left(node) == case["left"][node]
            assert tree_math.right(node) == case["right"][node]
        if case["parent"][node] is not None:
            assert tree_math.parent(node) == case["parent"][node]
            assert tree_math.sibling(node) == case["sibling"][node]


@cases("deserialization")
def test_length_headers(case: Case) -> None:
    header = h(case["vlbytes_header"])

    assert codec.decode(Reader.length_header, header) == case["length"]
    assert codec.length_header(case["length"]) == header


@cases("messages")
def test_messages_round_trip(case: Case) -> None:
    for name in (
        "mls_welcome",
        "mls_group_info",
        "mls_key_package",
        "public_message_application",
        "public_message_proposal",
        "public_message_commit",
        "private_message",
    ):
        data = h(case[name])
        assert framing.encode_message(framing.decode_message(data)) == data
    bodies = {
        "add_proposal": 1,
        "update_proposal": 2,
        "remove_proposal": 3,
        "pre_shared_key_proposal": 4,
        "re_init_proposal": 5,
        "external_init_proposal": 6,
        "group_context_extensions_proposal": 7,
    }
    for name, kind in bodies.items():
        data = codec.uint16(kind) + h(case[name])
        assert encode_proposal(codec.decode(read_proposal, data)) == data
    commit, secrets = h(case["commit"]), h(case["group_secrets"])
    assert codec.decode(Commit.read, commit).encode() == commit
    assert codec.decode(welcome.GroupSecrets.read, secrets).encode() == secrets
    tree = h(case["ratchet_tree"])
    assert RatchetTree.decode(suites.suite(1), tree).encode() == tree


@cases("key-schedule")
def test_key_schedule(case: Case, suite: CipherSuite) -> None:
    init = h(case["initial_init_secret"])
    for number, epoch in enumerate(case["epochs"]):
        context = GroupContext(
            suite.code,
            h(case["group_id"]),
            number,
            h(epoch["tree_hash"]),
            h(epoch["confirmed_transcript_hash"]),
        ).encode()
        assert context == h(epoch["group_context"])
        joiner = key_schedule.joiner_secret(suite, init, h(epoch["commit_secret"]), context)
        assert joiner == h(epoch["joiner_secret"])
        member = key_schedule.member_secret(suite, joiner, h(epoch["psk_secret"]))
        assert key_schedule.welcome_secret(suite, member) == h(epoch["welcome_secret"])
        secrets = key_schedule.epoch_secrets(suite, member, context)
        init = secrets.init
        assert init == h(epoch["init_secret"])
        assert secrets.sender_data == h(epoch["sender_data_secret"])
        assert secrets.encryption == h(epoch["encryption_secret"])
        assert secrets.exporter == h(epoch["exporter_secret"])
        assert secrets.epoch_authenticator == h(epoch["epoch_authenticator"])
        assert secrets.external == h(epoch["external_secret"])
        assert secrets.confirmation_key == h(epoch["confirmation_key"])
        assert secrets.membership_key == h(epoch["membership_key"])
        assert secrets.resumption_psk == h(epoch["resumption_psk"])
        assert secrets.external_key_pair(suite).public == h(epoch["external_pub"])
        wanted = epoch["exporter"]
        exported = key_schedule.export(
            suite,
            secrets.exporter,
            wanted["label"].encode(),
            h(wanted["context"]),
            wanted["length"],
        )
        assert exported == h(wanted["secret"])


@cases("psk_secret")
def test_psk_secret(case: Case, suite: CipherSuite) -> None:
    psks = [
        (
            PreSharedKeyID(PskType.EXTERNAL, h(psk["psk_nonce"]), psk_id=h(psk["psk_id"])),
            h(psk["psk"]),
        )
        for psk in case["psks"]
    ]

    assert key_schedule.psk_secret(suite, psks) == h(case["psk_secret"])


@cases("secret-tree")
def test_secret_tree(case: Case, suite: CipherSuite) -> None:
    wanted = case["sender_data"]
    empty = SecretTree(1, {})
    keys = MessageKeys(suite, b"", 0, b"", {}, h(wanted["sender_data_secret"]), empty)
    key, nonce = protection.sender_data_key(keys, h(wanted["ciphertext"]))
    assert (key, nonce) == (h(wanted["key"]), h(wanted["nonce"]))
    tree = SecretTree.begin(h(case["encryption_secret"]), len(case["leaves"]))
    for leaf, generations in enumerate(case["leaves"]):
        for entry in generations:
            for kind, name in (
                (RatchetKind.HANDSHAKE, "handshake"),
                (RatchetKind.APPLICATION, "application"),
            ):
                tree, taken = tree.take(suite, leaf, kind, entry["generation"], LIMITS)
                assert taken == (h(entry[f"{name}_key"]), h(entry[f"{name}_nonce"]))


@cases("transcript-hashes")
def test_transcript_hashes(case: Case, suite: CipherSuite) -> None:
    content = codec.decode(AuthenticatedContent.read, h(case["authenticated_content"]))
    before = h(case["interim_transcript_hash_before"])

    confirmed = transcript.confirmed_hash(suite, before, content)

    assert confirmed == h(case["confirmed_transcript_hash_after"])
    framing_checks.check_confirmation_tag(
        suite, h(case["confirmation_key"]), confirmed, content.confirmation_tag
    )
    interim = transcript.interim_hash(suite, confirmed, content.confirmation_tag or b"")
    assert interim == h(case["interim_transcript_hash_after"])


class _Protection:
    """One epoch with two members, of whom leaf 1 sends; as the vectors prescribe."""

    def __init__(self, case: Case, suite: CipherSuite) -> None:
        self.suite = suite
        self.signer = signing_key(suite, case["signature_priv"])
        self.public = h(case["signature_pub"])
        self.membership_key = h(case["membership_key"])
        self.group_id, self.epoch = h(case["group_id"]), case["epoch"]
        self.context = GroupContext(
            suite.code,
            self.group_id,
            self.epoch,
            h(case["tree_hash"]),
            h(case["confirmed_transcript_hash"]),
        ).encode()
        sender = KeyOnly(self.public)
        self.keys = MessageKeys(
            suite,
            self.group_id,
            self.epoch,
            self.context,
            {1: sender},  # type: ignore[dict-item]  # only its key is looked at
            h(case["sender_data_secret"]),
            SecretTree.begin(h(case["encryption_secret"]), 2),
        )

    def content(self, wire_format: WireFormat, body: Content) -> AuthenticatedContent:
        framed = FramedContent(
            self.group_id, self.epoch, Sender(SenderKind.MEMBER, 1), b"data", body
        )
        content = framing.sign(self.suite, self.signer, wire_format, framed, self.context)
        if framed.content_type is not ContentType.COMMIT:
            return content
        return AuthenticatedContent(wire_format, framed, content.signature, bytes(self.suite.nh))

    def open_public(self, data: bytes) -> Content:
        message = framing.decode_message(data)
        assert isinstance(message, PublicMessage)
        content = protection.open_public(self.suite, self.membership_key, message, self.context)
        framing.verify(self.suite, self.public, content, self.context)
        return content.framed.content

    def open_private(self, data: bytes) -> Content:
        message = framing.decode_message(data)
        assert isinstance(message, PrivateMessage)
        return protection.open_private(self.keys, message, LIMITS).content.framed.content

    def round_trips(self, body: Content) -> bool:
        content = self.content(WireFormat.PRIVATE_MESSAGE, body)
        _, message, _ = protection.protect_private(self.keys, content, rng=bytes, buckets=(512,))
        opened = self.open_private(framing.encode_message(message))
        if isinstance(body, bytes):
            return opened == body
        content = self.content(WireFormat.PUBLIC_MESSAGE, body)
        public = protection.protect_public(self.suite, self.membership_key, content, self.context)
        return opened == body == self.open_public(framing.encode_message(public))


class KeyOnly:
    """Stands for a leaf of which only the signature key is known."""

    def __init__(self, signature_key: bytes) -> None:
        self.signature_key = signature_key


@cases("message-protection")
def test_message_protection(case: Case, suite: CipherSuite) -> None:
    given = _Protection(case, suite)
    proposal = codec.decode(read_proposal, h(case["proposal"]))
    commit = codec.decode(Commit.read, h(case["commit"]))
    application = h(case["application"])

    assert given.open_public(h(case["proposal_pub"])) == proposal
    assert given.open_private(h(case["proposal_priv"])) == proposal
    assert given.open_public(h(case["commit_pub"])) == commit
    assert given.open_private(h(case["commit_priv"])) == commit
    assert given.open_private(h(case["application_priv"])) == application
    assert all(given.round_trips(body) for body in (proposal, commit, application))
    content = given.content(WireFormat.PUBLIC_MESSAGE, application)
    with pytest.raises(InvalidMessageError):
        protection.protect_public(suite, given.membership_key, content, given.context)


@cases("welcome")
def test_welcome(case: Case, suite: CipherSuite) -> None:
    package = KeyPackage.parse(h(case["key_package"]))
    message = framing.decode_welcome(h(case["welcome"]))
    (entry,) = [entry for entry in message.secrets if entry.new_member == package.ref()]

    secrets = welcome.open_secrets(suite, message, entry, h(case["init_priv"]))
    member = key_schedule.member_secret(suite, secrets.joiner_secret, bytes(suite.nh))
    info = welcome.open_group_info(suite, message, member)

    info.verify_signature(suite, h(case["signer_pub"]))
    epoch = key_schedule.epoch_secrets(suite, member, info.context.encode())
    framing_checks.check_confirmation_tag(
        suite,
        epoch.confirmation_key,
        info.context.confirmed_transcript_hash,
        info.confirmation_tag,
    )


def apply_to_tree(tree: RatchetTree, proposal: Proposal, sender: int) -> None:
    match proposal:
        case Add(key_package=key_package):
            tree.add(key_package.leaf_node)
        case Update(leaf_node=leaf_node):
            tree.update(sender, leaf_node)
        case Remove(leaf=leaf):
            tree.remove(leaf)
        case _:
            pytest.fail("another proposal than the vectors are about")


@cases("tree-operations")
def test_tree_operations(case: Case, suite: CipherSuite) -> None:
    before = RatchetTree.decode(suite, h(case["tree_before"]))
    proposal = codec.decode(read_proposal, h(case["proposal"]))
    assert before.root_hash() == h(case["tree_hash_before"])
    after = before.copy()

    apply_to_tree(after, proposal, case["proposal_sender"])

    assert after.encode() == h(case["tree_after"])
    assert after.root_hash() == h(case["tree_hash_after"])
    assert before.encode() == h(case["tree_before"])
    assert before.root_hash() == h(case["tree_hash_before"])


@cases("tree-validation")
def test_tree_validation(case: Case, suite: CipherSuite) -> None:
    tree = RatchetTree.decode(suite, h(case["tree"]))

    tree_checks.check_unmerged_leaves(tree)
    tree_checks.check_unmerged_on_the_way(tree)
    tree_checks.check_parent_hashes(tree)
    tree_checks.check_parent_keys(tree)

    assert [tree.resolution(node) for node in range(tree.width)] == case["resolutions"]
    hashes = [tree.tree_hash(node).hex() for node in range(tree.width)]
    assert hashes == case["tree_hashes"]
    for leaf, node in tree.leaves():
        node.verify_signature(suite, h(case["group_id"]), leaf)


class _TreeKEM:
    """A tree, and what each of its members knows of it."""

    def __init__(self, case: Case, suite: CipherSuite) -> None:
        self.suite = suite
        self.tree = RatchetTree.decode(suite, h(case["ratchet_tree"]))
        self.case = case
        self.private = {entry["index"]: self.known(entry) for entry in case["leaves_private"]}
        self.signers = {
            entry["index"]: signing_key(suite, entry["signature_priv"])
            for entry in case["leaves_private"]
        }

    def known(self, entry: Case) -> dict[int, bytes]:
        keys = {2 * entry["index"]: h(entry["encryption_priv"])}
        for known in entry["path_secrets"]:
            path = tree_kem.ratchet_up(self.suite, h(known["path_secret"]), [known["node"]])
            keys |= path.private
        for index, key in keys.items():
            node = self.tree.node(index)
            assert node is not None
            assert self.suite.public_key_of(key) == node.encryption_key
        return keys

    def context(self, tree: RatchetTree) -> bytes:
        return GroupContext(
            self.suite.code,
            h(self.case["group_id"]),
            self.case["epoch"],
            tree.root_hash(),
            h(self.case["confirmed_transcript_hash"]),
        ).encode()

    def merge(self, sender: int, path: UpdatePath) -> RatchetTree:
        tree = self.tree.copy()
        steps = tree.filtered_path(sender)
        keys = [node.encryption_key for node in path.nodes]
        assert tree.set_path(sender, steps, keys) == path.leaf_node.parent_hash
        tree.set_leaf(sender, path.leaf_node)
        return tree

    def open(self, sender: int, path: UpdatePath, leaf: int) -> tree_kem.PathKeys:
        tree = self.merge(sender, path)
        steps = self.tree.filtered_path(sender)
        return tree_kem.open_path(
            tree, steps, path, leaf, self.private[leaf], self.context(tree), frozenset()
        )

    def create(self, sender: int) -> tuple[UpdatePath, bytes]:
        tree, suite = self.tree.copy(), self.suite
        steps = tree.filtered_path(sender)
        keys = tree_kem.fresh_path(suite, steps, lambda n: bytes([7]) * n)
        old = tree.member(sender)
        leaf = LeafNode(
            suite.derive_key_pair(bytes([8]) * suite.nh).public,
            old.signature_key,
            old.credential,
            old.capabilities,
            LeafSource.COMMIT,
            parent_hash=tree.set_path(sender, steps, keys.public),
            extensions=old.extensions,
        ).signed(suite, self.signers[sender], h(self.case["group_id"]), sender)
        tree.set_leaf(sender, leaf)
        nodes = tree_kem.encrypt_path(tree, steps, keys, self.context(tree), frozenset())
        return UpdatePath(leaf, nodes), keys.commit_secret


@cases("treekem")
def test_treekem(case: Case, suite: CipherSuite) -> None:
    given = _TreeKEM(case, suite)
    for update in case["update_paths"]:
        sender = update["sender"]
        path = codec.decode(UpdatePath.read, h(update["update_path"]))
        assert given.merge(sender, path).root_hash() == h(update["tree_hash_after"])
        own, own_secret = given.create(sender)
        for leaf, secret in enumerate(update["path_secrets"]):
            if secret is None:
                continue
            opened = given.open(sender, path, leaf)
            assert opened.secrets[0] == h(secret)
            assert opened.commit_secret == h(update["commit_secret"])
            assert given.open(sender, own, leaf).commit_secret == own_secret


def hpke_key(code: int, text: str) -> bytes:
    """Read an HPKE private key; the files leave out leading zeros of P-521 keys."""
    return h(text).rjust(66 if code == 5 else 0, b"\0")


ANY_LIFETIME = BasicValidator(max_lifetime=2**64)


def clock_of(case: Case) -> int:
    """Give a moment at which every leaf that the case shows was valid.

    The published key packages ran out long ago, so each case brings its own clock.
    """
    lifetimes = [leaf.lifetime for leaf in _leaves_of(case) if leaf.lifetime is not None]
    begin = max(lifetime.not_before for lifetime in lifetimes)
    end = min(lifetime.not_after for lifetime in lifetimes)
    # Commits in PrivateMessages may add who came a little later.
    return begin + min(86_400, (end - begin) // 2)


def _leaves_of(case: Case) -> Iterator[LeafNode]:
    yield KeyPackage.parse(h(case["key_package"])).leaf_node
    tree = RatchetTree.decode(suites.suite(case["cipher_suite"]), _tree_of(case))
    yield from (node for _, node in tree.leaves())
    for epoch in case["epochs"]:
        for message in (*epoch["proposals"], epoch["commit"]):
            body = framing.decode_message(h(message))
            content = body.framed.content if isinstance(body, PublicMessage) else b""
            for item in content.proposals if isinstance(content, Commit) else (content,):
                if isinstance(item, Add):
                    yield item.key_package.leaf_node


def _tree_of(case: Case) -> bytes:
    """Give the tree that the client is served, or else finds in its Welcome."""
    if case["ratchet_tree"] is not None:
        return h(case["ratchet_tree"])
    suite, message = suites.suite(case["cipher_suite"]), framing.decode_welcome(h(case["welcome"]))
    own = KeyPackage.parse(h(case["key_package"])).ref()
    (entry,) = [entry for entry in message.secrets if entry.new_member == own]
    init = hpke_key(case["cipher_suite"], case["init_priv"])
    secrets = welcome.open_secrets(suite, message, entry, init)
    psks = [(psk, psks_of(case).find(psk)) for psk in secrets.psks]
    mixed = key_schedule.psk_secret(suite, psks)
    member = key_schedule.member_secret(suite, secrets.joiner_secret, mixed)
    info = welcome.open_group_info(suite, message, member)
    tree = extensions.find(info.extensions, extensions.RATCHET_TREE)
    assert tree is not None
    return tree


def passive_client(case: Case, now: int) -> group.Group:
    bundle = KeyPackageBundle.of(
        h(case["key_package"]),
        hpke_key(case["cipher_suite"], case["init_priv"]),
        hpke_key(case["cipher_suite"], case["encryption_priv"]),
    )
    package = bundle.package
    signer = signing_key(suites.suite(case["cipher_suite"]), case["signature_priv"])
    assert signer.public_bytes == package.leaf_node.signature_key
    tree = case["ratchet_tree"]
    return welcome.join(
        h(case["welcome"]),
        [bundle],
        ratchet_tree=None if tree is None else h(tree),
        now=now,
        validator=ANY_LIFETIME,
        psks=psks_of(case),
    )


def psks_of(case: Case) -> PskStore:
    return PskStore({h(psk["psk_id"]): h(psk["psk"]) for psk in case["external_psks"]})


def follow(case: Case) -> None:
    now = clock_of(case)
    state = passive_client(case, now)
    assert state.epoch_authenticator == h(case["initial_epoch_authenticator"])
    for epoch in case["epochs"]:
        for message in (*epoch["proposals"], epoch["commit"]):
            done = group.process(
                state, h(message), now=now, validator=ANY_LIFETIME, psks=psks_of(case)
            )
            assert done.group is not None
            state = done.group
        assert state.epoch_authenticator == h(epoch["epoch_authenticator"])


@cases("passive-client-welcome")
def test_passive_client_welcome(case: Case) -> None:
    follow(case)


@cases("passive-client-handling-commit")
def test_passive_client_handling_commit(case: Case) -> None:
    follow(case)
