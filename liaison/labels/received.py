"""Labels as they come from outside: which one counts under a policy.

Information may carry the originator's label and alternatives in other policies.
The originator's counts where it is of the reader's policy, else the alternative
that is, else the equivalent of the originator's. Source: ADatP-4774.1 §4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from liaison.labels import stanag4774, stanag4778, xml
from liaison.labels.clearance import ConfidentialityClearance
from liaison.labels.decision import Decision, decide
from liaison.labels.equivalence import translate
from liaison.labels.errors import ClearanceError, LabelError, NoEquivalentError
from liaison.labels.label import Label
from liaison.labels.policy import LabelPolicies, LabelPolicy
from liaison.labels.stanag4774 import ConfidentialityLabel, Role


def read_labels(data: bytes) -> tuple[ConfidentialityLabel, ...]:
    """Return the labels of a document that is one label or a binding of several.

    Raises:
        XMLError: the XML is refused.
        LabelError: it is neither.
    """
    root = xml.parse(data, xml.LABEL_LIMITS)
    if stanag4778.is_binding(root):
        return stanag4778.from_element(root).labels
    return (stanag4774.from_element(root),)


def label_for(
    policy: LabelPolicy,
    labels: Sequence[ConfidentialityLabel],
    *,
    now: int | None,
    known: LabelPolicies | None = None,
) -> Label:
    """Return the short form of the label that counts under a policy.

    Args:
        policy: the reader's.
        labels: those of one piece of information.
        now: Unix seconds, for labels with a successor; None leaves that out.
        known: other policies, for labels that have no alternative in this one.

    Raises:
        LabelError: no label is of the policy, or it is not one that it knows.
        NoEquivalentError: the originator's label has no equivalent in the policy.
    """
    in_force = [
        label if now is None else label.at(now)
        for label in labels
        if label.role is not Role.METADATA
    ]
    # False sorts before True: the originator's label comes before all others.
    in_force.sort(key=lambda label: label.role is not Role.ORIGINATOR)
    for label in in_force:
        if policy.is_meant(label.sensitivity.policy):
            return policy.compact(label)
    for label in in_force:
        source = None if known is None else known.named(label.sensitivity.policy)
        if source is not None:
            return translate(source.compact(label), source, policy)
    names = ", ".join(sorted({repr(label.sensitivity.policy.name[:60]) for label in in_force}))
    raise LabelError(f"the label is of {names or 'no policy'}, not of {policy.name!r}")


def decide_received(
    policy: LabelPolicy,
    clearance: ConfidentialityClearance | None,
    labels: Sequence[ConfidentialityLabel],
    *,
    now: int | None,
    known: LabelPolicies | None = None,
) -> Decision:
    """Decide on a clearance and labels in their long forms; as total as `decide`.

    Args:
        policy: what gives both their meaning.
        clearance: None where there is none.
        labels: those of one piece of information; empty where there is none.
        now: Unix seconds; None leaves out what is valid for a time only.
        known: other policies, for labels that have no alternative in this one.
    """
    try:
        held = None if clearance is None else policy.clearance(clearance)
    except ClearanceError as error:
        return Decision(grant=False, rule="clearance.policy", reason=error.message)
    try:
        label = label_for(policy, labels, now=now, known=known) if labels else None
    except NoEquivalentError as error:
        return Decision(grant=False, rule="label.policy", reason=error.message)
    except LabelError as error:
        own = any(policy.is_meant(each.sensitivity.policy) for each in labels)
        rule = "label.invalid" if own else "label.policy"
        return Decision(grant=False, rule=rule, reason=error.message)
    return decide(policy, held, label, now=now)
