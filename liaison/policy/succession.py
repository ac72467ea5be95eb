"""May this version of an agreement follow that one?

A version names the digest of the one before it and is signed by everyone in it.
No party can be dropped on the way: who is missing must have withdrawn or been
excluded, and who has left does not come back under the same agreement. The log
stays the same one, or ends and the version names its successor.
"""

from __future__ import annotations

from collections.abc import Iterable

from liaison.errors import VerificationError
from liaison.model import PartyCode
from liaison.policy.agreement import Agreement
from liaison.policy.log_rules import LogRules
from liaison.policy.standing import Standing


class SuccessionError(VerificationError):
    """The version does not follow the one before it."""

    code = "agreement.succession"


def check(previous: Agreement, following: Agreement, standing: Standing, now: int) -> None:
    """Check that a version may follow another; signatures were checked before.

    Args:
        previous: the newest version so far.
        following: signed by the authority of every party in it.
        standing: what is known of the parties.
        now: Unix seconds.

    Raises:
        SuccessionError: it names another version as the one before, drops a
            party that takes part, takes back one that has left, or changes what
            can't be changed.
    """
    _check_chain(previous, following)
    left = standing.left(previous, now)
    before, after = set(previous.codes), set(following.codes)
    if dropped := before - after - left:
        raise SuccessionError(
            f"version {following.version} leaves out {_named(dropped)}, which takes part",
            hint="a party withdraws itself or is excluded by the agreement's rule first",
        )
    if returned := after & left:
        raise SuccessionError(
            f"version {following.version} names {_named(returned)}, which has left",
            hint="a party that has left comes back under a new agreement",
        )


def _check_chain(previous: Agreement, following: Agreement) -> None:
    if following.agreement_id != previous.agreement_id:
        raise SuccessionError(
            f"{following.agreement_id} is another agreement than {previous.agreement_id}"
        )
    if following.version != previous.version + 1:
        raise SuccessionError(
            f"version {following.version} does not follow version {previous.version}"
        )
    if following.previous != previous.digest():
        raise SuccessionError(
            f"version {following.version} was made from another version {previous.version}",
            hint="make the amendment anew from the version in force",
        )
    if following.kind is not previous.kind:
        raise SuccessionError("an amendment can't change the agreement's kind")
    # Groups can't change their suite; new channels under a new agreement can.
    if following.cipher_suite != previous.cipher_suite:
        raise SuccessionError(
            "an amendment can't change the cipher suite", hint="agree on a new agreement"
        )
    if following.relay.origin != previous.relay.origin:
        raise SuccessionError("an amendment can't move to another relay")
    _check_log(previous.log, following.log)


def _check_log(before: LogRules, after: LogRules) -> None:
    if after.generation not in {before.generation, before.generation + 1}:
        raise SuccessionError(
            f"the log's generation {after.generation} does not follow {before.generation}",
            hint="a version keeps the log, or names the next one",
        )
    if after.generation == before.generation and after.predecessor != before.predecessor:
        raise SuccessionError(
            f"the version changes what the log of generation {after.generation} follows",
            hint="that is agreed once; another head needs another generation",
        )


def _named(codes: Iterable[PartyCode]) -> str:
    return ", ".join(sorted(map(str, codes)))
