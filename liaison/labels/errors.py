"""What can be wrong with labels, policies and clearances, as typed errors.

All mean: these bytes or this value are no good, nothing was decided or changed,
and the same input will fail again.
"""

from __future__ import annotations

from liaison.errors import MalformedError, RefusedError


class XMLError(MalformedError):
    """The XML is not well formed, or not of the plain kind that is accepted here.

    Raised before any meaning is looked at: document types, entities, processing
    instructions, other encodings, and documents beyond the limits.
    """

    code = "label.xml_refused"


class LabelError(MalformedError):
    """The label is not well formed, or not one of its policy."""

    code = "label.invalid"


class ClearanceError(MalformedError):
    """The clearance is not well formed."""

    code = "label.clearance_invalid"


class SpifError(MalformedError):
    """The label policy is not well formed, or contradicts itself."""

    code = "label.policy_invalid"


class NoEquivalentError(RefusedError):
    """The label has no equivalent in the other policy.

    Somebody who may decide on the information has to give it a label of the
    other policy.
    """

    code = "label.no_equivalent"


class NoDominantError(RefusedError):
    """No one label stands for all of these.

    Somebody who may decide on the information has to name the label of the
    whole, or it gets the highest that the policy knows.
    """

    code = "label.no_dominant"
