"""What a member can do in a group: the verbs.

Members only. Each verb takes a `Group` and gives a new one with what is to be
sent; the old one stays as it was. Store the new state before sending: a key that
was used twice is worse than a message that was lost.

Source: RFC 9420 §11, §12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from liaison.crypto import suites
from liaison.crypto.signing import Signer
from liaison.mls import commit, framing, key_schedule, protection, receive, state, transcript
from liaison.mls.commit import StagedCommit
from liaison.mls.credentials import Credential, CredentialValidator
from liaison.mls.errors import ForbiddenOperationError
from liaison.mls.extensions import Extension
from liaison.mls.key_packages import new_leaf
from liaison.mls.key_schedule import NO_PSKS, PskStore
from liaison.mls.leaf import Capabilities, Lifetime
from liaison.mls.messages import GroupContext
from liaison.mls.proposals import Proposal
from liaison.mls.proposing import (
    clear_pending,
    propose_add,
    propose_extensions,
    propose_psk,
    propose_reinit,
    propose_remove,
    propose_self_remove,
    propose_update,
)
from liaison.mls.protection import DEFAULT_BUCKETS
from liaison.mls.public_group import PublicGroup
from liaison.mls.receive import (
    ApplicationReceived,
    CommitStaged,
    OwnCommitEcho,
    Processed,
    ProposalStored,
)
from liaison.mls.secret_tree import Limits
from liaison.mls.state import Group, begin, keep, succeed
from liaison.mls.tree import RatchetTree
from liaison.mls.validation import leaf as leaf_checks
from liaison.mls.validation.judge import Judge

__all__ = [
    "ApplicationReceived",
    "CommitStaged",
    "Group",
    "Limits",
    "OwnCommitEcho",
    "Processed",
    "ProposalStored",
    "PskStore",
    "StagedCommit",
    "clear_pending",
    "create",
    "encrypt",
    "expire",
    "export",
    "forget_epochs",
    "group_info",
    "merge",
    "process",
    "propose_add",
    "propose_extensions",
    "propose_psk",
    "propose_reinit",
    "propose_remove",
    "propose_self_remove",
    "propose_update",
    "stage_commit",
]


def create(  # noqa: PLR0913 - keyword arguments, each one decision of the caller
    suite_code: int,
    group_id: bytes,
    signer: Signer,
    credential: Credential,
    *,
    lifetime: Lifetime,
    rng: Callable[[int], bytes],
    now: int,
    validator: CredentialValidator,
    extensions: Iterable[Extension] = (),
    leaf_extensions: Iterable[Extension] = (),
    capabilities: Capabilities | None = None,
    limits: Limits | None = None,
) -> Group:
    """Create a group with this client as its only member.

    Args:
        group_id: unlike any other's.
        signer: the key that `credential` stands for.
        lifetime: of the own leaf.
        rng: gives fresh random bytes.
        now: Unix seconds.
        extensions: of the group context.
        capabilities: `Capabilities.default()` if left out; must cover `extensions`.

    Raises:
        InvalidLeafNodeError, CredentialInvalidError: the own leaf would not be valid.
        UnsupportedSuiteError: the suite is not known here.

    Source: RFC 9420 §11.
    """
    suite = suites.suite(suite_code)
    extensions = tuple(extensions)
    judge = Judge(validator, now)
    leaf, private = new_leaf(
        suite, signer, credential, lifetime, rng, leaf_extensions, capabilities
    )
    identity = leaf_checks.check_leaf(leaf, suite, extensions, judge)
    judge.check_external_senders(extensions)
    tree = RatchetTree.of_one(suite, leaf)
    context = GroupContext(suite.code, group_id, 0, tree.root_hash(), b"", extensions)
    secrets = key_schedule.derive_epoch(suite, rng(suite.nh))
    tag = suite.mac(secrets.confirmation_key, b"")
    public = PublicGroup(
        suite, context, tree, {0: identity}, transcript.interim_hash(suite, b"", tag), tag
    )
    return begin(public, 0, {0: private}, secrets, limits or Limits())


# --- commits ------------------------------------------------------------------------------------


def stage_commit(  # noqa: PLR0913 - keyword arguments, each one decision of the caller
    group: Group,
    *,
    signer: Signer,
    rng: Callable[[int], bytes],
    now: int,
    validator: CredentialValidator,
    by_value: Iterable[Proposal] = (),
    include_pending: bool | Sequence[bytes] = True,
    path: bool = True,
    authenticated_data: bytes = b"",
    credential: Credential | None = None,
    new_signer: Signer | None = None,
    group_info_extensions: Iterable[Extension] = (),
    tree_in_welcome: bool = False,
    psks: PskStore = NO_PSKS,
) -> StagedCommit:
    """Make a commit without taking it into effect.

    Nothing has changed until the caller stores `StagedCommit.group`, after the relay
    accepted the commit; dropping it discards the commit.

    Args:
        signer: of the own leaf.
        rng: gives fresh random bytes.
        now: Unix seconds.
        by_value: proposals that the commit itself brings.
        include_pending: True: every waiting proposal that is valid together with the
            others; False: none; else exactly these references.
        path: whether to renew the own keys even where the proposals do not require it.
        authenticated_data: readable by all, covered by signature and tags.
        credential: for the own leaf, if it changes.
        new_signer: for the own leaf, if the key changes; `signer` still signs the commit.
        group_info_extensions: told to those who join.
        tree_in_welcome: whether the Welcome carries the tree itself.

    Raises:
        InvalidProposalError, InvalidLeafNodeError, ...: the proposals are not valid together.
        InactiveGroupError: the group has ended.
        ForbiddenOperationError: `signer` is not the own leaf's.
        MissingPskError: a PSK is not known here.

    Source: RFC 9420 §12.4.1.
    """
    options = commit.Options(
        signer=signer,
        rng=rng,
        judge=Judge(validator, now),
        by_value=tuple(by_value),
        include_pending=include_pending,
        path=path,
        authenticated_data=authenticated_data,
        credential=credential,
        new_signer=new_signer,
        group_info_extensions=tuple(group_info_extensions),
        tree_in_welcome=tree_in_welcome,
        psks=psks,
    )
    return commit.stage(group, options)


def merge(current: Group, staged: Group) -> Group:
    """Take an accepted own commit into effect, keeping what the old epoch did meanwhile.

    Between staging and acceptance messages of the old epoch were sent and read; their keys
    must not come back with the copy that was staged.

    Args:
        current: the state in the epoch that is ending.
        staged: `StagedCommit.group`, as staged or restored from its snapshot.

    Raises:
        ForbiddenOperationError: `staged` is not of the epoch after `current`'s.
    """
    if (staged.group_id, staged.epoch) != (current.group_id, current.epoch + 1):
        raise ForbiddenOperationError("the staged commit is not the next of this state")
    began = staged.past[0].ended if staged.past else 0
    return succeed(current, staged, began)


def group_info(group: Group, *, signer: Signer, extensions: Iterable[Extension] = ()) -> bytes:
    """Make the GroupInfo of the current epoch, with a key for external commits; MLSMessage.

    Raises:
        ForbiddenOperationError: `signer` is not the own leaf's.
    """
    group.check_signer(signer)
    info = commit.group_info(group, signer, tuple(extensions), external=True)
    return framing.encode_message(info)


# --- messages -----------------------------------------------------------------------------------


def process(
    group: Group,
    message: bytes,
    *,
    now: int,
    validator: CredentialValidator,
    psks: PskStore = NO_PSKS,
) -> Processed:
    """Open and check a message of the group.

    Args:
        message: MLSMessage, public or private.
        now: Unix seconds: the time of acceptance, where it is known.

    Returns:
        `ApplicationReceived`, `ProposalStored`, `CommitStaged` or `OwnCommitEcho`; its
        `group` is the state to store.

    Raises:
        MalformedMessageError: it has another form.
        WrongGroupError, StaleEpochError, FutureEpochError, EpochForgottenError: it does not
            belong to a state that is held here.
        KeyUsedError: it is a replay.
        OwnMessageError: it is an own application message.
        MLSError: it is not valid; the class and `check` say why.

    Source: RFC 9420 §6, §12.4.2.
    """
    return receive.receive(group, message, now=now, validator=validator, psks=psks)


def encrypt(
    group: Group,
    plaintext: bytes,
    *,
    signer: Signer,
    rng: Callable[[int], bytes],
    authenticated_data: bytes = b"",
    buckets: Sequence[int] = DEFAULT_BUCKETS,
) -> tuple[Group, bytes]:
    """Encrypt a message of the application; give the new state and the MLSMessage.

    Store the state before sending: encrypting twice from one state uses a key twice.

    Args:
        signer: of the own leaf.
        authenticated_data: readable by all, covered by the signature and the AEAD.
        buckets: rising sizes that the content is padded up to; empty: no padding.

    Raises:
        InactiveGroupError: the group has ended.
        CommitRequiredError: proposals wait; whom one of them removes must not read this.
        ForbiddenOperationError: `signer` is not the own leaf's.

    Source: RFC 9420 §6.3, §12.4, §15.
    """
    group.check_active()
    group.check_nothing_waits()
    group.check_signer(signer)
    content = protection.sign_application(
        group.keys, signer, group.own_leaf, plaintext, authenticated_data
    )
    keys, message, _ = protection.protect_private(group.keys, content, rng=rng, buckets=buckets)
    return group.with_keys(keys, group.past), framing.encode_message(message)


def export(group: Group, label: bytes, context: bytes, length: int) -> bytes:
    """Derive a secret of the epoch for the application.

    Args:
        label: what it is for; unlike every other use's.
        length: in bytes.

    Source: RFC 9420 §8.5.
    """
    return key_schedule.export(group.suite, group.secrets.exporter, label, context, length)


def forget_epochs(group: Group, before: int) -> Group:
    """Drop all keys of the epochs before one: their messages can't be read any more."""
    return keep(group, tuple(keys for keys in group.past if keys.epoch >= before))


def expire(group: Group, now: int) -> Group:
    """Drop all keys of the epochs that ended more than `Limits.past_seconds` ago.

    Every received message does so too; this is for a group in which nothing is said.

    Args:
        now: Unix seconds.
    """
    return state.expire(group, now)
