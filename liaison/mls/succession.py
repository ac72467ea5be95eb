"""Groups that go on from another: the checks of a joiner.

Members only. A group's first commit may name one resumption PSK of usage reinit
or branch; whoever joins by it must know the other group and compare.

Source: RFC 9420 §11.2, §11.3, §12.4.3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from liaison.mls.errors import InvalidWelcomeError
from liaison.mls.proposals import PreSharedKeyID, PskType, ResumptionUsage
from liaison.mls.public_group import PublicGroup
from liaison.mls.state import Group


def link_to(
    former: Group, usage: ResumptionUsage, rng: Callable[[int], bytes], nh: int
) -> PreSharedKeyID:
    """Name the current epoch of a group as what another goes on from.

    Args:
        nh: hash length of the new group's suite.
    """
    return PreSharedKeyID(
        PskType.RESUMPTION, rng(nh), usage=usage, group_id=former.group_id, epoch=former.epoch
    )


def check_named(psks: Sequence[PreSharedKeyID], former: Group | None) -> None:
    """A linked group is joined by who knows the other. Source: RFC 9420 §12.4.3.1.

    Check: VAL-0812.
    """
    for psk in psks:
        named = former is not None and (psk.group_id, psk.epoch) == (
            former.group_id,
            former.epoch,
        )
        if psk.links and not named:
            raise InvalidWelcomeError(
                "the group goes on from one that was not given",
                check="VAL-0812",
                hint="give the state in the group that it goes on from",
            )


def check_continues(
    public: PublicGroup, psks: Sequence[PreSharedKeyID], former: Group | None
) -> None:
    """Compare a new group with the one that it goes on from; nothing if it goes on from none.

    Raises:
        InvalidWelcomeError: they do not fit (VAL-0811, VAL-0813, VAL-0814, VAL-0815).

    Source: RFC 9420 §12.4.3.1.
    """
    for psk in psks:
        if not psk.links or former is None:
            continue
        if public.epoch != 1:
            raise InvalidWelcomeError(
                "a group that goes on from another does not begin in epoch 1", check="VAL-0811"
            )
        if psk.usage is ResumptionUsage.REINIT:
            _check_reinit(public, former)
        else:
            _check_branch(public, former)


def _check_reinit(public: PublicGroup, former: Group) -> None:
    promised, context = former.reinit, public.context
    if promised is None or (
        promised.version,
        promised.cipher_suite,
        promised.group_id,
        promised.extensions,
    ) != (context.version, context.cipher_suite, context.group_id, context.extensions):
        raise InvalidWelcomeError(
            "the group is not the one that the ReInit names", check="VAL-0813"
        )
    if not set(former.public.identities.values()) <= set(public.identities.values()):
        raise InvalidWelcomeError("the group lacks a member of the one before", check="VAL-0814")


def _check_branch(public: PublicGroup, former: Group) -> None:
    old, context = former.context, public.context
    if (old.version, old.cipher_suite) != (context.version, context.cipher_suite):
        raise InvalidWelcomeError("the branch is of another version or suite", check="VAL-0815")
    if not set(public.identities.values()) <= set(former.public.identities.values()):
        raise InvalidWelcomeError(
            "the branch has a member that the group does not", check="VAL-0814"
        )
