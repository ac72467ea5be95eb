"""Labels and clearances: everyone who can decrypt must be cleared for what is said.

Addressees say who is to act; whoever is in the group can read. So a message is
allowed only if each endpoint in the group is cleared for its label. Deny by
default: who stands in no clearance of the agreement is cleared for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from liaison.envelope.header import Header
from liaison.errors import LiaisonError
from liaison.labels import Clearance, LabelPolicy
from liaison.model import EndpointId
from liaison.policy.agreement import Agreement
from liaison.policy.labelling import label_of
from liaison.policy.requests import Decision, deny

RULE: Final = "clearances"


def check_label(header: Header, agreement: Agreement, now: int) -> Decision | None:
    """Return why the agreement does not know a label, or not so high a one; None where it does.

    Args:
        header: with the label.
        agreement: with policy and ceiling.
        now: Unix seconds.
    """
    meaning = agreement.label_policy
    if meaning is None:
        return _unknown(agreement)
    if not meaning.is_valid_at(now):
        return deny("labels.policy", f"label policy {meaning.name!r} is not valid at this time")
    label = label_of(header)
    try:
        meaning.check(label, now=now)
        within = meaning.is_within(label, agreement.labels.ceiling)
    except LiaisonError as error:
        return deny("labels.policy", error.message)
    if within:
        return None
    ceiling = agreement.labels.ceiling
    return deny("labels.ceiling", f"{label.marking()} is above {ceiling}, the highest allowed")


def check_readers(
    header: Header, readers: Iterable[EndpointId], agreement: Agreement, now: int | None
) -> Decision | None:
    """Return who of those who can read is not cleared for a label; None where all are.

    Args:
        header: with the label.
        readers: the sender and the endpoints of all devices in the group.
        agreement: with the clearances.
        now: Unix seconds; None leaves out what is valid for a time only.
    """
    meaning = agreement.label_policy
    if meaning is None:
        return _unknown(agreement)
    label = label_of(header)
    try:
        requirement = meaning.requirement(label, now=now)
    except LiaisonError as error:
        return deny("labels.policy", error.message)
    for endpoint in sorted(set(readers)):
        decision = requirement.decide(agreement.holding(meaning, endpoint))
        if not decision.grant:
            return deny(
                RULE,
                f"{endpoint} is not cleared for {label.marking()}: {decision.reason}",
            )
    return None


def _unknown(agreement: Agreement) -> Decision:
    return deny("labels.policy", f"label policy {agreement.labels.policy} is not known here")


def highest(policy: LabelPolicy, clearance: Clearance) -> str:
    """Return the highest classification of a clearance that the policy knows."""
    known = [name for name in clearance.classifications if name in policy.classifications]
    return max(known, key=policy.rank, default="nothing")
