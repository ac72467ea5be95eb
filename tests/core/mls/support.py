"""A small world for MLS tests: clients with basic credentials, a relay, one clock.

Everything is deterministic: randomness comes from a counter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from liaison.crypto import suites
from liaison.crypto.signing import SigningKey
from liaison.mls import (
    external,
    external_sender,
    framing,
    group,
    protection,
    tree_math,
    welcome,
)
from liaison.mls.credentials import BasicValidator, Credential
from liaison.mls.errors import CredentialInvalidError
from liaison.mls.extensions import Extension, ExternalSender, external_senders_extension
from liaison.mls.framing import (
    ContentType,
    FramedContent,
    PublicMessage,
    Sender,
    SenderKind,
    WireFormat,
)
from liaison.mls.group import Group, Limits, Processed, StagedCommit
from liaison.mls.key_packages import KeyPackageBundle, new_key_package
from liaison.mls.leaf import Capabilities, Lifetime, ParentNode
from liaison.mls.messages import Commit, UpdatePath
from liaison.mls.proposals import Add, Proposal, ProposalOrRef
from liaison.mls.public_group import PublicGroup

NOW = 1_700_000_000
LIFETIME = Lifetime(NOW - 3600, NOW + 80 * 86_400)
OPAQUE_EXTENSION = 0xF0A1
CAPABILITIES = Capabilities.default(extensions=(OPAQUE_EXTENSION,))


def counter_rng(seed: bytes) -> Callable[[int], bytes]:
    """Give a source of bytes that differ on each call and repeat in each run."""
    calls = 0

    def rng(length: int) -> bytes:
        nonlocal calls
        calls += 1
        return hashlib.shake_256(seed + calls.to_bytes(8, "big")).digest(length)

    return rng


class Validator(BasicValidator):
    """Takes basic credentials, but for the identities that it was told to refuse.

    `types` gives credentials of other types an identity.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[bytes] = set()
        self.asked: list[bytes] = []
        self.types: dict[int, bytes] = {}

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> bytes:
        known = self.types.get(credential.type)
        identity = known or super().validate(credential, signature_key, now)
        self.asked.append(identity)
        if identity in self.refused:
            raise CredentialInvalidError("refused by the test", check="VAL-0201")
        return identity


@dataclass
class Client:
    """One device: its key, its name, and its state where it is a member."""

    name: bytes
    suite_code: int
    validator: Validator
    rng: Callable[[int], bytes]
    signer: SigningKey = field(init=False)
    state: Group | None = None

    def __post_init__(self) -> None:
        self.signer = SigningKey.generate(suites.suite(self.suite_code).signature)

    @property
    def credential(self) -> Credential:
        return Credential.basic(self.name)

    @property
    def group(self) -> Group:
        assert self.state is not None
        return self.state

    def key_package(self, **changes: Any) -> KeyPackageBundle:
        options: dict[str, Any] = {"capabilities": CAPABILITIES, "rng": self.rng} | changes
        lifetime = options.pop("lifetime", LIFETIME)
        return new_key_package(self.suite_code, self.signer, self.credential, lifetime, **options)

    def create(
        self,
        group_id: bytes = b"group",
        *,
        limits: Limits | None = None,
        extensions: Iterable[Extension] = (),
    ) -> Group:
        self.state = group.create(
            self.suite_code,
            group_id,
            self.signer,
            self.credential,
            lifetime=LIFETIME,
            rng=self.rng,
            now=NOW,
            validator=self.validator,
            extensions=extensions,
            capabilities=CAPABILITIES,
            limits=limits,
        )
        return self.state

    def commit(self, *proposals: Proposal, **options: Any) -> StagedCommit:
        return group.stage_commit(
            self.group,
            signer=self.signer,
            rng=self.rng,
            now=NOW,
            validator=self.validator,
            by_value=proposals,
            **options,
        )

    def process(self, message: bytes, **options: Any) -> Processed:
        known: dict[str, Any] = {"now": NOW, "validator": self.validator}
        return group.process(self.group, message, **(known | options))

    def receive(self, message: bytes, **options: Any) -> Processed:
        done = self.process(message, **options)
        self.state = done.group
        return done

    def encrypt(self, plaintext: bytes, authenticated_data: bytes = b"") -> bytes:
        self.state, message = group.encrypt(
            self.group,
            plaintext,
            signer=self.signer,
            rng=self.rng,
            authenticated_data=authenticated_data,
        )
        return message

    def propose_update(self) -> bytes:
        self.state, message = group.propose_update(
            self.group, signer=self.signer, rng=self.rng, validator=self.validator, now=NOW
        )
        return message

    def propose_add(self, bundle: KeyPackageBundle) -> bytes:
        self.state, message = group.propose_add(
            self.group,
            bundle.key_package,
            signer=self.signer,
            validator=self.validator,
            now=NOW,
        )
        return message

    def propose_remove(self, leaf: int) -> bytes:
        self.state, message = group.propose_remove(self.group, leaf, signer=self.signer)
        return message

    def join(self, staged: StagedCommit, bundle: KeyPackageBundle, **options: Any) -> Group:
        assert staged.welcome is not None
        options = {"ratchet_tree": staged.ratchet_tree} | options
        self.state = welcome.join(
            staged.welcome, [bundle], now=NOW, validator=self.validator, **options
        )
        return self.state

    def join_externally(self, info: bytes, tree: bytes, **options: Any) -> StagedCommit:
        return external.join(
            info,
            ratchet_tree=tree,
            signer=self.signer,
            credential=self.credential,
            rng=self.rng,
            now=NOW,
            validator=self.validator,
            capabilities=CAPABILITIES,
            **options,
        )


class World:
    """Clients in one group, and the relay's view of it."""

    def __init__(
        self, suite_code: int = 0x0001, *, members: int = 1, limits: Limits | None = None
    ) -> None:
        self.suite = suites.suite(suite_code)
        self.validator = Validator()
        self.rng = counter_rng(b"world")
        self.relay_key = SigningKey.generate(self.suite.signature)
        self.clients: dict[bytes, Client] = {}
        self.extensions: tuple[Extension, ...] = (
            Extension(OPAQUE_EXTENSION, b"agreement 1"),
            external_senders_extension(
                [ExternalSender(self.relay_key.public_bytes, Credential.basic(b"relay"))]
            ),
        )
        first = self.client(b"0")
        first.create(limits=limits, extensions=self.extensions)
        self.group_info = group.group_info(first.group, signer=first.signer)
        self.relay = PublicGroup.from_group_info(
            self.group_info, first.group.ratchet_tree(), validator=self.validator, now=NOW
        )
        if members > 1:
            self.add(first, *(b"%d" % number for number in range(1, members)), limits=limits)

    def client(self, name: bytes) -> Client:
        client = Client(name, self.suite.code, self.validator, self.rng)
        self.clients[name] = client
        return client

    def __getitem__(self, number: int) -> Client:
        return self.clients[b"%d" % number]

    @property
    def members(self) -> list[Client]:
        return [client for client in self.clients.values() if client.state is not None]

    def add(self, by: Client, *names: bytes, limits: Limits | None = None) -> StagedCommit:
        joiners = [self.client(name) for name in names]
        bundles = [client.key_package() for client in joiners]
        staged = by.commit(*(Add(bundle.package) for bundle in bundles))
        self.accept(by, staged)
        for client, bundle in zip(joiners, bundles, strict=True):
            client.join(staged, bundle, limits=limits)
        return staged

    def accept(self, by: Client, staged: StagedCommit) -> None:
        """Let the relay check a commit, its maker merge it, and everyone else process it."""
        self.deliver(staged.commit, but=by)
        self.relay.check_group_info(staged.group_info)
        self.group_info = staged.group_info
        by.state = staged.group

    def deliver(self, message: bytes, *, but: Client) -> None:
        """Let the relay and all members but the sender process a handshake message."""
        self.relay = self.relay.apply(message, validator=self.validator, now=NOW).group
        for client in self.members:
            if client is not but:
                client.receive(message)

    def propose_from_relay(self, leaf: int, reason: bytes) -> bytes:
        message = external_sender.propose_remove(
            self.relay,
            leaf,
            signer=self.relay_key,
            sender_index=0,
            authenticated_data=reason,
        )
        self.relay = self.relay.apply(message, validator=self.validator, now=NOW).group
        for client in self.members:
            client.receive(message)
        return message

    def check_agreement(self) -> None:
        """Every member and the relay are in one state, and the members share its secrets."""
        first, *others = self.members
        for client in others:
            assert client.group.epoch_authenticator == first.group.epoch_authenticator
            assert client.group.secrets == first.group.secrets
        for client in self.members:
            assert client.group.public.context == self.relay.context
            assert client.group.public.tree == self.relay.tree
            assert client.group.public.identities == self.relay.identities
            self.check_private_keys(client)

    def check_private_keys(self, client: Client) -> None:
        """A member holds its own keys, each fits the tree, and it holds no other's."""
        state = client.group
        tree, leaf = state.public.tree, state.own_leaf
        for node in tree_math.direct_path(2 * leaf, tree.size):
            parent = tree.node(node)
            held = isinstance(parent, ParentNode) and leaf not in parent.unmerged_leaves
            assert (node in state.private) == held
        for node, private in state.private.items():
            public = state.public.tree.node(node)
            assert public is not None
            assert self.suite.public_key_of(private) == public.encryption_key

    def commit_what_waits(self) -> None:
        """Let the first member commit, if anything has to be before something is said."""
        if self.relay.pending:
            committer = self.members[0]
            self.accept(committer, committer.commit())

    def check_messages(self) -> None:
        """What anyone says, all others read."""
        self.commit_what_waits()
        for sender in self.members:
            message = sender.encrypt(b"from " + sender.name, b"header")
            for reader in self.members:
                if reader is not sender:
                    done = reader.receive(message)
                    assert isinstance(done, group.ApplicationReceived)
                    assert done.plaintext == b"from " + sender.name
                    assert done.authenticated_data == b"header"
                    assert done.sender_leaf == sender.group.own_leaf


def public_message(message: bytes) -> PublicMessage:
    """Decode a PublicMessage."""
    body = framing.decode_message(message)
    assert isinstance(body, PublicMessage)
    return body


def commit_of(message: bytes) -> Commit:
    """Decode the commit in a PublicMessage."""
    commit = public_message(message).framed.content
    assert isinstance(commit, Commit)
    return commit


def path_of(message: bytes) -> UpdatePath:
    """Decode the path of the commit in a PublicMessage."""
    path = commit_of(message).path
    assert path is not None
    return path


def reissue(client: Client, message: bytes, *, tag: bytes | None = None, **changes: Any) -> bytes:
    """Change a public message's framed content and let its member sign and tag it anew.

    The confirmation tag stays as it was unless `tag` is given: it is checked last.
    """
    former = public_message(message).authenticated
    state = client.group
    framed = replace(former.framed, **changes)
    context = state.context.encode()
    content = framing.sign(state.suite, client.signer, WireFormat.PUBLIC_MESSAGE, framed, context)
    kept = former.confirmation_tag if framed.content_type is ContentType.COMMIT else None
    content = replace(content, confirmation_tag=kept if tag is None else tag)
    return framing.encode_message(
        protection.protect_public(state.suite, state.secrets.membership_key, content, context)
    )


def with_path(client: Client, message: bytes, **changes: Any) -> bytes:
    """Change a commit's path and sign all anew."""
    path = replace(path_of(message), **changes)
    return reissue(client, message, content=replace(commit_of(message), path=path))


def with_path_leaf(client: Client, message: bytes, **changes: Any) -> bytes:
    """Change the leaf of a commit's path and sign all anew."""
    leaf = replace(path_of(message).leaf_node, **changes)
    signed = leaf.signed(
        client.group.suite, client.signer, client.group.group_id, client.group.own_leaf
    )
    return with_path(client, message, leaf_node=signed)


def propose(client: Client, proposal: Proposal) -> bytes:
    """Sign a proposal as it is, checked by nobody."""
    state = client.group
    framed = FramedContent(
        state.group_id,
        state.epoch,
        Sender(SenderKind.MEMBER, state.own_leaf),
        b"",
        proposal,
    )
    context = state.context.encode()
    content = framing.sign(state.suite, client.signer, WireFormat.PUBLIC_MESSAGE, framed, context)
    return framing.encode_message(
        protection.protect_public(state.suite, state.secrets.membership_key, content, context)
    )


def commit_to(client: Client, *items: ProposalOrRef, path: UpdatePath | None = None) -> bytes:
    """Sign a commit to these proposals as they are, checked by nobody."""
    staged = client.commit(include_pending=False)
    return reissue(client, staged.commit, content=Commit(items, path))
