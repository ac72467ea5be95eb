"""Joining by an external commit: without being added, from a published GroupInfo.

Members only. A device whose state was lost or restored from a backup comes back
this way, replacing its own former leaf and no other.

Source: RFC 9420 §12.4.3.2, §8.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from liaison.crypto.signing import Signer
from liaison.mls import evolution, framing, tree_kem
from liaison.mls.commit import Draft, StagedCommit, finish, publish
from liaison.mls.credentials import Credential, CredentialValidator
from liaison.mls.effects import QueuedProposal
from liaison.mls.extensions import Extension
from liaison.mls.framing import Sender, SenderKind
from liaison.mls.key_schedule import NO_PSKS, PskStore
from liaison.mls.leaf import Capabilities, LeafNode, LeafSource
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
    suite = public.suite
    external_pub = checks.check_external_pub(info, suite)
    kem_output, init_secret = suite.export_sender(
        external_pub, b"", b"MLS 1.0 external init secret", suite.nh
    )
    proposals: list[Proposal] = [ExternalInit(kem_output)]
    if replace_leaf is not None:
        proposals.append(Remove(replace_leaf))
    proposals.extend(PreSharedKey(psk) for psk in psk_ids)
    sender = Sender(SenderKind.NEW_MEMBER_COMMIT)
    queued = [QueuedProposal(proposal, sender, b"", authenticated_data) for proposal in proposals]
    candidate = evolution.apply_proposals(
        public.context, public.tree, public.identities, queued, sender, judge
    )
    leaf = LeafNode(
        encryption_key=b"",
        signature_key=signer.public_bytes,
        credential=credential,
        capabilities=capabilities or Capabilities.default(),
        source=LeafSource.COMMIT,
        extensions=tuple(leaf_extensions),
    )
    checks.check_joiner_support(info.context, leaf)
    draft = Draft(
        public=public,
        sender=sender,
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
