"""A group as everyone may see it: tree, context and pending proposals, without a secret.

A relay holds this and no more. It checks what can be checked without secrets:
order, signatures, credentials, proposals, the tree. Membership and confirmation
tags and the path's ciphertexts only members can check.

Source: RFC 9420 §12; §16.5 for the delivery service's view.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Final, Self

from liaison import codec
from liaison.codec import Reader
from liaison.crypto import suites
from liaison.crypto.suites import CipherSuite
from liaison.mls import evolution, framing, transcript
from liaison.mls import extensions as ext
from liaison.mls.credentials import CredentialValidator
from liaison.mls.effects import CommitEffect, Member, QueuedProposal
from liaison.mls.errors import (
    InvalidCommitError,
    InvalidTreeError,
    SnapshotError,
    UnknownProposalError,
    WrongWireFormatError,
)
from liaison.mls.evolution import Candidate
from liaison.mls.framing import AuthenticatedContent, PublicMessage, Sender
from liaison.mls.leaf import LeafNode, LeafSource
from liaison.mls.messages import Commit, GroupContext, GroupInfo
from liaison.mls.proposals import (
    Add,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ProposalOrRef,
    ProposalRef,
    ReInit,
    Remove,
    Update,
    encode_proposal,
    read_proposal,
)
from liaison.mls.tree import RatchetTree
from liaison.mls.validation import commit as commit_checks
from liaison.mls.validation import framing as framing_checks
from liaison.mls.validation import group_info as group_info_checks
from liaison.mls.validation import leaf as leaf_checks
from liaison.mls.validation import proposals as proposal_checks
from liaison.mls.validation import tree as tree_checks
from liaison.mls.validation.judge import Judge
from liaison.values import dataclass

MAX_PENDING: Final = 4096
"""How many proposals may wait for a commit; beyond that the oldest is forgotten."""

_SNAPSHOT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class PublicGroup:
    """The public state of one epoch.

    Args:
        identities: what the validator said of each leaf when it came in.
        pending: proposals received in this epoch, by reference, in order of arrival.
    """

    suite: CipherSuite
    context: GroupContext
    tree: RatchetTree
    identities: Mapping[int, bytes]
    interim_transcript_hash: bytes
    confirmation_tag: bytes
    proposals: Mapping[bytes, QueuedProposal] = field(default_factory=dict)

    # --- reading --------------------------------------------------------------------------

    @property
    def group_id(self) -> bytes:
        """The group's id."""
        return self.context.group_id

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self.context.epoch

    @property
    def pending(self) -> tuple[QueuedProposal, ...]:
        """The proposals that wait for a commit, in order of arrival."""
        return tuple(self.proposals.values())

    def extension(self, extension_type: int) -> bytes | None:
        """Give the bytes of a group context extension, or None."""
        return ext.find(self.context.extensions, extension_type)

    def members(self) -> tuple[Member, ...]:
        """List the members, from left to right."""
        return tuple(Member(leaf, node) for leaf, node in self.tree.leaves())

    def member(self, leaf: int) -> Member:
        """Give the member at a leaf.

        Raises:
            NotAMemberError: there is none.
        """
        return Member(leaf, self.tree.member(leaf))

    def leaf_of(self, identity: bytes) -> int | None:
        """Give the leaf of a client by the identity that the validator gave it, or None."""
        for leaf, known in self.identities.items():
            if known == identity:
                return leaf
        return None

    def ratchet_tree(self) -> bytes:
        """Encode the tree, as joiners need it."""
        return self.tree.encode()

    # --- beginning ------------------------------------------------------------------------

    @classmethod
    def from_group_info(
        cls,
        group_info: bytes,
        ratchet_tree: bytes | None,
        *,
        validator: CredentialValidator,
        now: int,
    ) -> Self:
        """Take up a group from what its members publish, checking all of it.

        Args:
            group_info: an MLSMessage.
            ratchet_tree: `ratchet_tree<V>`, or None if it is in the GroupInfo.

        Raises:
            MalformedMessageError: one of them has another form.
            InvalidGroupInfoError, InvalidTreeError, InvalidLeafNodeError, SignatureInvalidError,
                CredentialInvalidError: a check failed.
        """
        info = framing.decode_group_info(group_info)
        return cls.verified(info, ratchet_tree, Judge(validator, now))

    @classmethod
    def verified(cls, info: GroupInfo, ratchet_tree: bytes | None, judge: Judge) -> Self:
        """Check a GroupInfo and its tree; joiners by Welcome come this way too.

        Source: RFC 9420 §12.4.3.1.
        """
        suite = suites.suite(info.context.cipher_suite)
        data = ext.find(info.extensions, ext.RATCHET_TREE) if ratchet_tree is None else ratchet_tree
        if data is None:
            raise InvalidTreeError("the ratchet tree is missing", hint="fetch it from the relay")
        tree = RatchetTree.decode(suite, data)
        tree_checks.check_unmerged_leaves(tree)
        tree_checks.check_tree_hash(tree, info.context.tree_hash)
        group_info_checks.check_signer(info, tree)
        judge.check_external_senders(info.context.extensions)
        identities = tree_checks.check_tree(
            tree, info.context.group_id, info.context.extensions, judge
        )
        interim = transcript.interim_hash(
            suite, info.context.confirmed_transcript_hash, info.confirmation_tag
        )
        return cls(suite, info.context, tree, identities, interim, info.confirmation_tag)

    # --- evolving -------------------------------------------------------------------------

    def apply(self, message: bytes, *, validator: CredentialValidator, now: int) -> PublicResult:
        """Check a handshake message and give the state after it.

        Args:
            message: an MLSMessage with a PublicMessage.
            now: Unix seconds: the time of acceptance.

        Returns:
            `PublicProposal` or `PublicCommit`; its `group` is the new state.

        Raises:
            MalformedMessageError: it has another form.
            WrongWireFormatError: it is not a PublicMessage.
            WrongGroupError, StaleEpochError, FutureEpochError: it does not belong here.
            MLSError: it is not valid; the class and `check` say why.
        """
        body = framing.decode_message(message)
        if not isinstance(body, PublicMessage):
            raise WrongWireFormatError("handshake messages must be PublicMessages here")
        judge = Judge(validator, now)
        content = body.authenticated
        verify_handshake(self, content)
        if not isinstance(content.framed.content, Commit):
            group, queued = queue_proposal(self, content, judge)
            return PublicProposal(group, queued)
        candidate = begin_commit(self, content, judge)
        group = advance(self, candidate, content)
        return PublicCommit(
            group,
            candidate.effect(),
            group.confirmation_tag,
            content.framed.authenticated_data,
        )

    def check_group_info(self, group_info: bytes) -> None:
        """Check that a GroupInfo tells of exactly this epoch and can be joined with.

        Raises:
            MalformedMessageError, WrongWireFormatError, InvalidGroupInfoError,
            SignatureInvalidError: it does not.
        """
        info = framing.decode_group_info(group_info)
        group_info_checks.check_same_state(info, self.context, self.confirmation_tag)
        group_info_checks.check_signer(info, self.tree)
        group_info_checks.check_external_pub(info, self.suite)

    def clear_pending(self) -> Self:
        """Forget the proposals that wait for a commit."""
        return replace(self, proposals={})

    # --- storing --------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Encode the whole state; nothing in it is secret."""
        return (
            codec.uint8(_SNAPSHOT_VERSION)
            + self.context.encode()
            + codec.opaque(self.tree.encode())
            + codec.vector_of(_encode_identity, self.identities.items())
            + codec.opaque(self.interim_transcript_hash)
            + codec.opaque(self.confirmation_tag)
            + codec.vector_of(_encode_queued, self.proposals.values())
        )

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """Read a snapshot back; it is trusted, as it is one's own.

        Raises:
            SnapshotError: it is of an unknown version.
            MalformedMessageError: it is damaged.
        """
        return codec.decode(cls.read_snapshot, data)

    @classmethod
    def read_snapshot(cls, reader: Reader) -> Self:
        """Read a snapshot that stands inside something else."""
        version = reader.uint8()
        if version != _SNAPSHOT_VERSION:
            raise SnapshotError(f"the public state has the unknown version {version}")
        context = GroupContext.read(reader)
        suite = suites.suite(context.cipher_suite)
        return cls(
            suite,
            context,
            RatchetTree.decode(suite, reader.opaque()),
            dict(reader.vector(_read_identity)),
            reader.opaque(),
            reader.opaque(),
            {queued.ref: queued for queued in reader.vector(_read_queued)},
        )


@dataclass(frozen=True, slots=True)
class PublicProposal:
    """A proposal was checked and waits for a commit."""

    group: PublicGroup
    queued: QueuedProposal


@dataclass(frozen=True, slots=True)
class PublicCommit:
    """A commit was checked as far as it can be without secrets; `group` is the next epoch."""

    group: PublicGroup
    effect: CommitEffect
    confirmation_tag: bytes
    authenticated_data: bytes


PublicResult = PublicProposal | PublicCommit


def verify_handshake(group: PublicGroup, content: AuthenticatedContent) -> None:
    """Check where a handshake message belongs, that its sender may send it, and its signature.

    Raises:
        WrongGroupError, StaleEpochError, FutureEpochError, InvalidMessageError,
        InvalidProposalError, SignatureInvalidError: it fails.

    Source: RFC 9420 §6.1.
    """
    framed = content.framed
    framing_checks.check_group(group.context, framed.group_id)
    framing_checks.check_epoch(group.context, framed.epoch)
    framing_checks.check_sender_and_content(framed)
    key = framing_checks.signature_key(group.context, group.tree, framed)
    framing.verify(group.suite, key, content, group.context.encode())


def queue_proposal(
    group: PublicGroup, content: AuthenticatedContent, judge: Judge
) -> tuple[PublicGroup, QueuedProposal]:
    """Check a proposal by itself and keep it for a commit; its signature is checked already.

    Raises:
        InvalidProposalError, InvalidLeafNodeError, InvalidKeyPackageError,
        SignatureInvalidError, CredentialInvalidError: it is not valid.

    Source: RFC 9420 §12.1.
    """
    proposal = content.framed.content
    if isinstance(proposal, bytes | Commit):
        raise WrongWireFormatError("the message holds no proposal")
    check_proposal(group, content.framed.sender, proposal, judge)
    return enqueue(group, content, proposal)


def check_proposal(group: PublicGroup, sender: Sender, proposal: Proposal, judge: Judge) -> None:
    """Check a proposal by itself; what depends on others is checked when it is committed.

    Raises:
        InvalidProposalError, InvalidLeafNodeError, InvalidKeyPackageError,
        SignatureInvalidError, CredentialInvalidError: it is not valid.

    Source: RFC 9420 §12.1.
    """
    match proposal:
        case Add(key_package=key_package):
            # The extensions that count are those after the commit.
            leaf_checks.check_key_package(key_package, group.suite, (), judge)
        case Update(leaf_node=leaf_node):
            _check_update(group, sender, leaf_node, judge)
        case Remove():
            proposal_checks.check_remove(group.tree, proposal)
        case PreSharedKey(psk=psk):
            proposal_checks.check_psk_usage(psk, group.epoch)
            proposal_checks.check_psk_nonce(psk, group.suite.nh)
        case ReInit():
            proposal_checks.check_reinit_version(proposal)
        case GroupContextExtensions(extensions=extensions):
            judge.check_external_senders(extensions)


def enqueue(
    group: PublicGroup, content: AuthenticatedContent, proposal: Proposal
) -> tuple[PublicGroup, QueuedProposal]:
    """Keep a checked proposal for a commit; beyond `MAX_PENDING` the oldest goes."""
    framed = content.framed
    ref = content.ref(group.suite)
    queued = QueuedProposal(proposal, framed.sender, ref, framed.authenticated_data)
    kept = {**group.proposals, ref: queued}
    if len(kept) > MAX_PENDING:
        del kept[next(iter(kept))]
    return replace(group, proposals=kept), queued


def _check_update(group: PublicGroup, sender: Sender, leaf_node: LeafNode, judge: Judge) -> None:
    leaf_checks.check_source(leaf_node, LeafSource.UPDATE)
    proposal_checks.check_update_key(group.tree.member(sender.index), leaf_node)
    identity = leaf_checks.check_leaf(
        leaf_node, group.suite, (), judge, place=(group.group_id, sender.index)
    )
    proposal_checks.check_successor(group.identities[sender.index], identity)


def resolve(
    group: PublicGroup,
    items: Iterable[ProposalOrRef],
    sender: Sender,
    authenticated_data: bytes,
) -> list[QueuedProposal]:
    """Look up what a commit covers.

    Raises:
        UnknownProposalError: it names a proposal that was not received (VAL-0710).
        InvalidCommitError: it names one twice.

    Source: RFC 9420 §12.4.
    """
    found = []
    seen = set()
    for item in items:
        if not isinstance(item, ProposalRef):
            found.append(QueuedProposal(item, sender, b"", authenticated_data))
            continue
        queued = group.proposals.get(item.ref)
        if queued is None:
            raise UnknownProposalError(check="VAL-0710")
        if item.ref in seen:
            raise InvalidCommitError("the commit names one proposal twice", check="VAL-0711")
        seen.add(item.ref)
        found.append(queued)
    return found


def begin_commit(group: PublicGroup, content: AuthenticatedContent, judge: Judge) -> Candidate:
    """Check a received commit's proposals and path; its signature is checked already.

    Raises:
        UnknownProposalError, InvalidCommitError, InvalidProposalError, InvalidLeafNodeError,
        InvalidKeyPackageError, InvalidTreeError, SignatureInvalidError, CredentialInvalidError.

    Source: RFC 9420 §12.4.2.
    """
    framed = content.framed
    commit = framed.content
    if not isinstance(commit, Commit):
        raise WrongWireFormatError("the message holds no commit")
    if not content.confirmation_tag:
        raise InvalidCommitError("the commit has no confirmation tag", check="VAL-0108")
    queued = resolve(group, commit.proposals, framed.sender, framed.authenticated_data)
    commit_checks.check_path_present(queued, commit.path)
    candidate = evolution.apply_proposals(
        group.context, group.tree, group.identities, queued, framed.sender, judge
    )
    if commit.path is not None:
        evolution.merge_path(candidate, commit.path, judge)
    return candidate


def advance(group: PublicGroup, candidate: Candidate, content: AuthenticatedContent) -> PublicGroup:
    """Give the public state of the epoch that a commit begins.

    Args:
        content: the commit with its confirmation tag.
    """
    confirmed = transcript.confirmed_hash(group.suite, group.interim_transcript_hash, content)
    tag = content.confirmation_tag or b""
    return PublicGroup(
        suite=group.suite,
        context=candidate.context(confirmed),
        tree=candidate.tree,
        identities=candidate.identities,
        interim_transcript_hash=transcript.interim_hash(group.suite, confirmed, tag),
        confirmation_tag=tag,
    )


def welcome_recipients(welcome: bytes) -> tuple[bytes, ...]:
    """List the references of the key packages that a Welcome is for.

    Raises:
        MalformedMessageError, WrongWireFormatError: it is not a Welcome.
    """
    return tuple(entry.new_member for entry in framing.decode_welcome(welcome).secrets)


def _encode_identity(item: tuple[int, bytes]) -> bytes:
    return codec.uint32(item[0]) + codec.opaque(item[1])


def _read_identity(reader: Reader) -> tuple[int, bytes]:
    return reader.uint32(), reader.opaque()


def _encode_queued(queued: QueuedProposal) -> bytes:
    return (
        encode_proposal(queued.proposal)
        + queued.sender.encode()
        + codec.opaque(queued.ref)
        + codec.opaque(queued.authenticated_data)
    )


def _read_queued(reader: Reader) -> QueuedProposal:
    return QueuedProposal(
        read_proposal(reader), Sender.read(reader), reader.opaque(), reader.opaque()
    )
