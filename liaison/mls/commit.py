"""Making commits: a member's, and what an external joiner's has in common with it.

Members only. A commit is staged: it comes with the group of the new epoch, and
takes effect when its maker stores that; until then nothing has changed.

Source: RFC 9420 §12.4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace

from liaison import codec
from liaison.crypto.signing import Signer
from liaison.mls import (
    evolution,
    framing,
    key_schedule,
    protection,
    selection,
    transcript,
    tree_kem,
)
from liaison.mls import extensions as ext
from liaison.mls.credentials import Credential
from liaison.mls.effects import CommitEffect
from liaison.mls.errors import InvalidCommitError, MissingPskError
from liaison.mls.evolution import Candidate
from liaison.mls.extensions import Extension
from liaison.mls.framing import (
    FramedContent,
    Sender,
    SenderKind,
    WireFormat,
)
from liaison.mls.key_schedule import NO_PSKS, EpochSecrets, PskStore
from liaison.mls.leaf import LeafNode, LeafSource
from liaison.mls.messages import Commit, GroupInfo, UpdatePath
from liaison.mls.proposals import Add, PreSharedKeyID, Proposal, ProposalRef
from liaison.mls.public_group import PublicGroup, advance
from liaison.mls.selection import Committer
from liaison.mls.state import Group, begin, succeed
from liaison.mls.tree_kem import PathKeys
from liaison.mls.validation import commit as commit_checks
from liaison.mls.validation import leaf as leaf_checks
from liaison.mls.validation import proposals as proposal_checks
from liaison.mls.validation import tree as tree_checks
from liaison.mls.validation.judge import Judge
from liaison.mls.welcome import GroupSecrets, make_welcome
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class StagedCommit:
    """A commit that was made but has not taken effect.

    Args:
        commit: MLSMessage (PublicMessage), to be sent.
        welcome: MLSMessage for all new members, or None if there are none.
        group_info: MLSMessage of the new epoch, with a key for external commits.
        group: the state in the new epoch: store and use it once the commit was accepted.
        effect: what it changes.
    """

    commit: bytes
    welcome: bytes | None
    group_info: bytes
    group: Group
    effect: CommitEffect

    @property
    def ratchet_tree(self) -> bytes:
        """The tree of the new epoch, `ratchet_tree<V>`."""
        return self.group.ratchet_tree()


@dataclass(frozen=True, slots=True)
class Draft:
    """Who makes a commit, and from what.

    Args:
        public: the epoch that is ending.
        sender: a member, or a new member for an external commit.
        signer: signs the commit.
        leaf_signer: signs the new leaf and what the new epoch publishes; `signer` unless
            the key changes.
        leaf: the new leaf but for keys, parent hash and signature.
        init_secret: of the epoch that is ending, or the joiner's own.
        membership_key: of the epoch that is ending; empty for a joiner.
        psks: the secrets of the commit's PSKs.
        rng: gives fresh random bytes.
    """

    public: PublicGroup
    sender: Sender
    signer: Signer
    leaf_signer: Signer
    leaf: LeafNode
    init_secret: bytes = field(repr=False)
    membership_key: bytes = field(repr=False)
    psks: Callable[[Candidate], list[bytes]] = field(repr=False)
    rng: Callable[[int], bytes]
    judge: Judge
    authenticated_data: bytes = b""


@dataclass(frozen=True, slots=True)
class Finished:
    """A commit with all the secrets of its epoch."""

    message: bytes
    public: PublicGroup
    secrets: EpochSecrets = field(repr=False)
    joiner_secret: bytes = field(repr=False)
    member_secret: bytes = field(repr=False)
    private: Mapping[int, bytes] = field(repr=False)
    path: PathKeys | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Options:
    """What a member decides about its commit; `liaison.mls.group.stage_commit` tells each."""

    signer: Signer
    rng: Callable[[int], bytes]
    judge: Judge
    by_value: tuple[Proposal, ...] = ()
    include_pending: bool | Sequence[bytes] = True
    path: bool = True
    authenticated_data: bytes = b""
    credential: Credential | None = None
    new_signer: Signer | None = None
    group_info_extensions: tuple[Extension, ...] = ()
    tree_in_welcome: bool = False
    psks: PskStore = NO_PSKS


def stage(group: Group, options: Options) -> StagedCommit:
    """Make a commit; see `liaison.mls.group.stage_commit`."""
    group.check_active()
    group.check_signer(options.signer)
    candidate = selection.choose(_committer(group, options), options.include_pending)
    rotates = options.new_signer is not None or options.credential is not None
    with_path = options.path or rotates or commit_checks.path_required(candidate.proposals)
    finished = finish(_draft(group, options), candidate, with_path=with_path)
    kept = tree_kem.prune(candidate.tree, group.own_leaf, group.private)
    new = begin(
        finished.public,
        group.own_leaf,
        {**kept, **finished.private},
        finished.secrets,
        group.limits,
        reinit=candidate.reinit,
    )
    return publish(
        succeed(group, new, options.judge.now),
        candidate,
        finished,
        # Without a path the old key stays in the leaf.
        signer=(options.new_signer if with_path else None) or options.signer,
        extensions=options.group_info_extensions,
        tree_in_welcome=options.tree_in_welcome,
    )


def _committer(group: Group, options: Options) -> Committer:
    def holds(psk: PreSharedKeyID) -> bool:
        try:
            group.psk(psk, options.psks)
        except MissingPskError:
            return False
        return True

    return Committer(
        group.public,
        group.own_leaf,
        options.by_value,
        options.authenticated_data,
        holds,
        options.judge,
    )


def _draft(group: Group, options: Options) -> Draft:
    leaf_signer = options.new_signer or options.signer
    return Draft(
        public=group.public,
        sender=Sender(SenderKind.MEMBER, group.own_leaf),
        signer=options.signer,
        leaf_signer=leaf_signer,
        leaf=_next_leaf(group, leaf_signer, options.credential),
        init_secret=group.secrets.init,
        membership_key=group.secrets.membership_key,
        psks=lambda made: [group.psk(psk, options.psks) for psk in made.psks],
        rng=options.rng,
        judge=options.judge,
        authenticated_data=options.authenticated_data,
    )


def _next_leaf(group: Group, signer: Signer, credential: Credential | None) -> LeafNode:
    old = group.own_leaf_node
    return replace(
        old,
        signature_key=signer.public_bytes,
        credential=credential or old.credential,
        source=LeafSource.COMMIT,
        lifetime=None,
    )


def finish(draft: Draft, candidate: Candidate, *, with_path: bool) -> Finished:
    """Make the path, sign the commit and derive the new epoch.

    Raises:
        InvalidLeafNodeError, InvalidTreeError, CredentialInvalidError: the own new leaf
            is not valid.
        MissingPskError: a PSK is not known.

    Source: RFC 9420 §12.4.1.
    """
    public, suite = draft.public, draft.public.suite
    path: UpdatePath | None = None
    keys: PathKeys | None = None
    private: dict[int, bytes] = {}
    if with_path:
        path, keys, private = _make_path(draft, candidate)
    commit_secret = bytes(suite.nh) if keys is None else keys.commit_secret
    covered = (ProposalRef(q.ref) if q.ref else q.proposal for q in candidate.proposals)
    commit = Commit(tuple(covered), path)
    framed = FramedContent(
        public.group_id, public.epoch, draft.sender, draft.authenticated_data, commit
    )
    context = public.context.encode()
    content = framing.sign(suite, draft.signer, WireFormat.PUBLIC_MESSAGE, framed, context)
    confirmed = transcript.confirmed_hash(suite, public.interim_transcript_hash, content)
    psk_secret = key_schedule.psk_secret(
        suite, list(zip(candidate.psks, draft.psks(candidate), strict=True))
    )
    new_context = candidate.context(confirmed).encode()
    joiner = key_schedule.joiner_secret(suite, draft.init_secret, commit_secret, new_context)
    member = key_schedule.member_secret(suite, joiner, psk_secret)
    secrets = key_schedule.epoch_secrets(suite, member, new_context)
    content = replace(content, confirmation_tag=suite.mac(secrets.confirmation_key, confirmed))
    message = protection.protect_public(suite, draft.membership_key, content, context)
    return Finished(
        framing.encode_message(message),
        advance(public, candidate, content),
        secrets,
        joiner,
        member,
        private,
        keys,
    )


def _make_path(draft: Draft, candidate: Candidate) -> tuple[UpdatePath, PathKeys, dict[int, bytes]]:
    suite, tree, leaf = draft.public.suite, candidate.tree, candidate.committer
    # Fresh, never from the path secret: who learns one must not learn the other.
    own = suite.derive_key_pair(draft.rng(suite.nh))
    steps = tree.filtered_path(leaf)
    keys = tree_kem.fresh_path(suite, steps, draft.rng)
    parent_hash = tree.set_path(leaf, steps, keys.public)
    leaf_node = replace(draft.leaf, encryption_key=own.public, parent_hash=parent_hash).signed(
        suite, draft.leaf_signer, draft.public.group_id, leaf
    )
    identity = _check_own_leaf(draft, candidate, leaf_node)
    evolution.put_committer(candidate, leaf_node, identity, steps)
    tree_checks.check_members_together(tree, candidate.identities)
    context = candidate.context().encode()
    nodes = tree_kem.encrypt_path(tree, steps, keys, context, candidate.new_nodes)
    return UpdatePath(leaf_node, nodes), keys, {**keys.private, 2 * leaf: own.private}


def _check_own_leaf(draft: Draft, candidate: Candidate, leaf_node: LeafNode) -> bytes:
    """Refuse here what everyone else would refuse."""
    place = (draft.public.group_id, candidate.committer)
    identity = leaf_checks.check_leaf(
        leaf_node, candidate.tree.suite, candidate.extensions, draft.judge, place=place
    )
    before = candidate.replaced if candidate.external else candidate.identities[candidate.committer]
    if before is not None:
        proposal_checks.check_successor(before, identity)
    return identity


def publish(
    group: Group,
    candidate: Candidate,
    finished: Finished,
    *,
    signer: Signer,
    extensions: tuple[Extension, ...] = (),
    tree_in_welcome: bool = False,
) -> StagedCommit:
    """Make what a commit is sent with: GroupInfo, and a Welcome where members come in."""
    welcome = None
    if candidate.added:
        tree = (Extension(ext.RATCHET_TREE, group.ratchet_tree()),) if tree_in_welcome else ()
        info = group_info(group, signer, (*extensions, *tree))
        recipients = _recipients(candidate, finished)
        welcome = make_welcome(group.suite, info, finished.member_secret, recipients)
    return StagedCommit(
        finished.message,
        welcome,
        # Without the extensions: this one is for the relay, they are for those who join.
        framing.encode_message(group_info(group, signer, external=True)),
        group,
        candidate.effect(),
    )


def _recipients(
    candidate: Candidate, finished: Finished
) -> list[tuple[bytes, bytes, GroupSecrets]]:
    packages = [q.proposal.key_package for q in candidate.proposals if isinstance(q.proposal, Add)]
    psks = tuple(candidate.psks)
    return [
        (
            added.key_package_ref,
            package.init_key,
            GroupSecrets(finished.joiner_secret, _shared(candidate, finished, added.leaf), psks),
        )
        for added, package in zip(candidate.added, packages, strict=True)
    ]


def _shared(candidate: Candidate, finished: Finished, leaf: int) -> bytes | None:
    """Give the path secret of the lowest node above both the committer and a new member."""
    if finished.path is None:
        return None
    for step, secret in zip(candidate.path_steps, finished.path.secrets, strict=True):
        if tree_kem.is_above(step, leaf):
            return secret
    raise InvalidCommitError("a new member is not below the committer's path")


def group_info(
    group: Group,
    signer: Signer,
    extensions: tuple[Extension, ...] = (),
    *,
    external: bool = False,
) -> GroupInfo:
    """Sign the public state of the group's epoch.

    Args:
        signer: of the own leaf.
        external: whether to offer the key for external commits.

    Source: RFC 9420 §12.4.3.
    """
    if external:
        public = group.secrets.external_key_pair(group.suite).public
        extensions = (*extensions, Extension(ext.EXTERNAL_PUB, codec.opaque(public)))
    extensions = (*extensions, Extension(ext.GREASE_EXTENSION, b""))
    info = GroupInfo(group.context, extensions, group.public.confirmation_tag, group.own_leaf)
    return info.signed(group.suite, signer)
