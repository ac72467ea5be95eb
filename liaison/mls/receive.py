"""Receiving messages as a member: opening, checking, and the state after it.

Members only. Every outcome carries the group to be stored; a commit's is the
next epoch, which takes effect when it is stored.

Source: RFC 9420 §6, §12.4.2.
"""

from __future__ import annotations

from dataclasses import replace

from liaison.crypto.errors import CryptoError
from liaison.mls import framing, key_schedule, protection, transcript, tree_kem
from liaison.mls.credentials import CredentialValidator
from liaison.mls.effects import CommitEffect, Member, QueuedProposal
from liaison.mls.errors import (
    EpochForgottenError,
    InvalidCommitError,
    WrongWireFormatError,
)
from liaison.mls.evolution import Candidate
from liaison.mls.framing import (
    AuthenticatedContent,
    ContentType,
    PrivateMessage,
    PublicMessage,
    SenderKind,
)
from liaison.mls.key_schedule import NO_PSKS, PskStore
from liaison.mls.messages import Commit
from liaison.mls.protection import MessageKeys
from liaison.mls.public_group import advance, begin_commit, queue_proposal, verify_handshake
from liaison.mls.state import Group, begin, expire, succeed
from liaison.mls.validation import framing as checks
from liaison.mls.validation.judge import Judge
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class ApplicationReceived:
    """A message of the application was opened; its key is gone from `group`.

    Args:
        sender: the member as of the message's epoch.
        generation: the message's number in its sender's ratchet, from 0.
    """

    group: Group
    plaintext: bytes
    authenticated_data: bytes
    sender: Member
    epoch: int
    generation: int

    @property
    def sender_leaf(self) -> int:
        """The sender's leaf index in the message's epoch."""
        return self.sender.leaf


@dataclass(frozen=True, slots=True)
class ProposalStored:
    """A proposal was checked and waits for a commit."""

    group: Group
    queued: QueuedProposal


@dataclass(frozen=True, slots=True)
class CommitStaged:
    """A commit was checked; it takes effect when `group` is stored.

    Args:
        group: the state in the next epoch; None iff the commit removes this member.
    """

    group: Group | None
    effect: CommitEffect
    authenticated_data: bytes


@dataclass(frozen=True, slots=True)
class OwnCommitEcho:
    """An own commit of this epoch came back: take the group that was staged with it.

    Args:
        group: unchanged.
        commit: the message, equal to `StagedCommit.commit`.
    """

    group: Group
    commit: bytes


Processed = ApplicationReceived | ProposalStored | CommitStaged | OwnCommitEcho


def receive(
    group: Group,
    message: bytes,
    *,
    now: int,
    validator: CredentialValidator,
    psks: PskStore = NO_PSKS,
) -> Processed:
    """Open and check a message; see `liaison.mls.group.process`."""
    body = framing.decode_message(message)
    judge = Judge(validator, now)
    group = expire(group, now)
    if isinstance(body, PrivateMessage):
        return _receive_private(group, body, message, judge, psks)
    if not isinstance(body, PublicMessage):
        raise WrongWireFormatError("the message is not framed content")
    framed = body.framed
    checks.check_group(group.context, framed.group_id)
    checks.check_epoch(group.context, framed.epoch)
    content = protection.open_public(
        group.suite, group.secrets.membership_key, body, group.keys.context
    )
    verify_handshake(group.public, content)
    return _receive_handshake(group, content, message, judge, psks)


def _receive_private(
    group: Group, body: PrivateMessage, message: bytes, judge: Judge, psks: PskStore
) -> Processed:
    checks.check_group(group.context, body.group_id)
    if body.content_type is not ContentType.APPLICATION or body.epoch > group.epoch:
        checks.check_epoch(group.context, body.epoch)
    opened = protection.open_private(
        _keys_of(group, body.epoch), body, group.limits, own_leaf=group.own_leaf
    )
    after = _with_keys(group, opened.keys)
    framed = opened.content.framed
    if isinstance(framed.content, bytes):
        leaf = framed.sender.index
        return ApplicationReceived(
            after,
            framed.content,
            framed.authenticated_data,
            Member(leaf, opened.keys.members[leaf]),
            framed.epoch,
            opened.generation,
        )
    checks.check_sender_and_content(framed)
    return _receive_handshake(after, opened.content, message, judge, psks)


def _keys_of(group: Group, epoch: int) -> MessageKeys:
    for keys in (group.keys, *group.past):
        if keys.epoch == epoch:
            return keys
    raise EpochForgottenError(f"the keys of epoch {epoch} are not kept")


def _with_keys(group: Group, keys: MessageKeys) -> Group:
    if keys.epoch == group.epoch:
        return group.with_keys(keys, group.past)
    past = tuple(keys if old.epoch == keys.epoch else old for old in group.past)
    return group.with_keys(group.keys, past)


def _receive_handshake(
    group: Group, content: AuthenticatedContent, message: bytes, judge: Judge, psks: PskStore
) -> Processed:
    framed = content.framed
    if not isinstance(framed.content, Commit):
        public, queued = queue_proposal(group.public, content, judge)
        return ProposalStored(replace(group, public=public), queued)
    group.check_active()
    if framed.sender.kind is SenderKind.MEMBER and framed.sender.index == group.own_leaf:
        return OwnCommitEcho(group, message)
    candidate = begin_commit(group.public, content, judge)
    if any(removed.leaf == group.own_leaf for removed in candidate.removed):
        return CommitStaged(None, candidate.effect(removed_self=True), framed.authenticated_data)
    new = _next_epoch(group, candidate, content, psks)
    return CommitStaged(
        succeed(group, new, judge.now), candidate.effect(), framed.authenticated_data
    )


def _next_epoch(
    group: Group, candidate: Candidate, content: AuthenticatedContent, psks: PskStore
) -> Group:
    suite = group.suite
    psk_secret = key_schedule.psk_secret(
        suite, [(psk, group.psk(psk, psks)) for psk in candidate.psks]
    )
    private, commit_secret = _open_path(group, candidate, content)
    confirmed = transcript.confirmed_hash(suite, group.public.interim_transcript_hash, content)
    context = candidate.context(confirmed).encode()
    joiner = key_schedule.joiner_secret(
        suite, _init_secret(group, candidate), commit_secret, context
    )
    member = key_schedule.member_secret(suite, joiner, psk_secret)
    secrets = key_schedule.epoch_secrets(suite, member, context)
    checks.check_confirmation_tag(
        suite, secrets.confirmation_key, confirmed, content.confirmation_tag
    )
    return begin(
        advance(group.public, candidate, content),
        group.own_leaf,
        private,
        secrets,
        group.limits,
        reinit=candidate.reinit,
    )


def _open_path(
    group: Group, candidate: Candidate, content: AuthenticatedContent
) -> tuple[dict[int, bytes], bytes]:
    private = dict(group.private)
    for queued in candidate.proposals:
        if queued.ref in group.own_updates:
            private[2 * group.own_leaf] = group.own_updates[queued.ref]
    commit = content.framed.content
    if not isinstance(commit, Commit) or commit.path is None:
        kept = tree_kem.prune(candidate.tree, group.own_leaf, private)
        return kept, bytes(group.suite.nh)
    keys = tree_kem.open_path(
        candidate.tree,
        candidate.path_steps,
        commit.path,
        group.own_leaf,
        private,
        candidate.context().encode(),
        candidate.new_nodes,
    )
    kept = tree_kem.prune(candidate.tree, group.own_leaf, private)
    return {**kept, **keys.private}, keys.commit_secret


def _init_secret(group: Group, candidate: Candidate) -> bytes:
    """Give the init secret of the next epoch: the group's own, or the joiner's.

    Source: RFC 9420 §8.3.
    """
    if candidate.external_init is None:
        return group.secrets.init
    suite = group.suite
    try:
        return suite.export_receiver(
            group.secrets.external_key_pair(suite).private,
            candidate.external_init.kem_output,
            b"",
            b"MLS 1.0 external init secret",
            suite.nh,
        )
    except CryptoError as error:
        raise InvalidCommitError("the external init can't be opened") from error
