"""Joining by an external commit: without being added, from a published GroupInfo.

Members only. A device whose state was lost or restored from a backup comes back
this way, replacing its own former leaf and no other.

Source: RFC 9420 §12.4.3.2, §8.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from liaison.crypto.signing import Signer
from liaison.crypto.suites import CipherSuite
from liaison.mls import evolution, framing, tree_kem
from liaison.mls.commit import Draft, StagedCommit, finish, publish
from liaison.mls.credentials import Credential, CredentialValidator
from liaison.mls.effects import QueuedProposal
from liaison.mls.evolution import Candidate
from liaison.mls.extensions import Extension
from liaison.mls.framing import Sender, SenderKind
from liaison.mls.key_schedule import NO_PSKS, PskStore
from liaison.mls.leaf import Capabilities, LeafNode, LeafSource
from liaison.mls.messages import GroupInfo
from liaison.mls.proposals import ExternalInit, PreSharedKey, PreSharedKeyID, Proposal, Remove
from liaison.mls.public_group import PublicGroup
from liaison.mls.secret_tree import Limits
from liaison.mls.state import begin
from liaison.mls.validation import group_info as checks
from liaison.mls.validation.judge import Judge


def own_leaf(
    group_info: bytes,
    ratchet_tree: bytes | None,
    identity: bytes,
    *,
    validator: CredentialValidator,
    now: int,
) -> int | None:
    """Find the leaf that a client has in a group that it wants to come back to, or None.

    Raises:
        As `PublicGroup.from_group_info`.
    """
    public = PublicGroup.from_group_info(group_info, ratchet_tree, validator=validator, now=now)
    return public.leaf_of(identity)


def join(  # noqa: PLR0913 - keyword arguments, each one decision of the caller
    group_info: bytes,
    *,
    ratchet_tree: bytes | None,
    signer: Signer,
    credential: Credential,
    rng: Callable[[int], bytes],
    now: int,
    validator: CredentialValidator,
    replace_leaf: int | None = None,
    authenticated_data: bytes = b"",
    leaf_extensions: Iterable[Extension] = (),
    capabilities: Capabilities | None = None,
    psk_ids: Iterable[PreSharedKeyID] = (),
    psks: PskStore = NO_PSKS,
    limits: Limits | None = None,
) -> StagedCommit:
    """Make the commit by which this client joins; the group is in the result.

    Args:
        group_info: MLSMessage of the group's current epoch, with a key for external commits.
        ratchet_tree: `ratchet_tree<V>`, or None if it is in the GroupInfo.
        signer: of the new leaf; `credential` stands for it.
        rng: gives fresh random bytes.
        now: Unix seconds.
        replace_leaf: this client's former leaf, which the commit removes.
        capabilities: `Capabilities.default()` if left out.
        psk_ids: pre-shared keys to mix in, found in `psks`.

    Raises:
        InvalidGroupInfoError, InvalidTreeError, SignatureInvalidError, ...: the GroupInfo or
            its tree is not valid.
        InvalidLeafNodeError: the own leaf would not be (also: `replace_leaf` belongs to
            another client).

    Source: RFC 9420 §12.4.3.2.
    """
    info = framing.decode_group_info(group_info)
    judge = Judge(validator, now)
    public = PublicGroup.verified(info, ratchet_tree, judge)
    external_init, init_secret = _external_init(info, public.suite)
    proposals = _proposals(external_init, replace_leaf, psk_ids)
    candidate = _apply(public, proposals, authenticated_data, judge)
    leaf = _leaf(signer, credential, capabilities, leaf_extensions)
    checks.check_joiner_support(info.context, leaf)
    draft = Draft(
        public=public,
        sender=_JOINER,
        signer=signer,
        leaf_signer=signer,
        leaf=leaf,
        init_secret=init_secret,
        membership_key=b"",
        psks=lambda made: [psks.find(psk) for psk in made.psks],
        rng=rng,
        judge=judge,
        authenticated_data=authenticated_data,
    )
    finished = finish(draft, candidate, with_path=True)
    private = tree_kem.prune(candidate.tree, candidate.committer, finished.private)
    group = begin(
        finished.public, candidate.committer, private, finished.secrets, limits or Limits()
    )
    return publish(group, candidate, finished, signer=signer)


_JOINER: Final = Sender(SenderKind.NEW_MEMBER_COMMIT)


def _external_init(info: GroupInfo, suite: CipherSuite) -> tuple[ExternalInit, bytes]:
    """Agree with the group on an init secret; only its members can open the proposal.

    Source: RFC 9420 §8.3.
    """
    kem_output, init_secret = suite.export_sender(
        checks.check_external_pub(info, suite), b"", b"MLS 1.0 external init secret", suite.nh
    )
    return ExternalInit(kem_output), init_secret


def _proposals(
    external_init: ExternalInit, replace_leaf: int | None, psk_ids: Iterable[PreSharedKeyID]
) -> list[Proposal]:
    removes = [] if replace_leaf is None else [Remove(replace_leaf)]
    return [external_init, *removes, *(PreSharedKey(psk) for psk in psk_ids)]


def _apply(
    public: PublicGroup, proposals: Iterable[Proposal], authenticated_data: bytes, judge: Judge
) -> Candidate:
    queued = [QueuedProposal(proposal, _JOINER, b"", authenticated_data) for proposal in proposals]
    return evolution.apply_proposals(
        public.context, public.tree, public.identities, queued, _JOINER, judge
    )


def _leaf(
    signer: Signer,
    credential: Credential,
    capabilities: Capabilities | None,
    extensions: Iterable[Extension],
) -> LeafNode:
    """Make the joiner's leaf but for its encryption key, parent hash and signature."""
    return LeafNode(
        encryption_key=b"",
        signature_key=signer.public_bytes,
        credential=credential,
        capabilities=capabilities or Capabilities.default(),
        source=LeafSource.COMMIT,
        extensions=tuple(extensions),
    )
