"""Confidentiality labels and the policies that give them meaning.

A label is a policy, a level of it and categories. `Label` is the short form
that headers carry and decisions take; `stanag4774` has the long form and its
XML, `spif` and `spif_xml` the policies, `policy` what is made of them,
`decision` who may have what, `builtin` the policies that need no file.
"""

from liaison.labels.clearance import Clearance
from liaison.labels.decision import Decision, Holding, Requirement, decide, decide_all
from liaison.labels.errors import (
    ClearanceError,
    LabelError,
    NoDominantError,
    NoEquivalentError,
    SpifError,
    XMLError,
)
from liaison.labels.label import Label, label_digest
from liaison.labels.policy import LabelPolicies, LabelPolicy, compile_policy
from liaison.labels.spif import Spif
from liaison.labels.stanag4774 import ConfidentialityLabel

__all__ = [
    "Clearance",
    "ClearanceError",
    "ConfidentialityLabel",
    "Decision",
    "Holding",
    "Label",
    "LabelError",
    "LabelPolicies",
    "LabelPolicy",
    "NoDominantError",
    "NoEquivalentError",
    "Requirement",
    "Spif",
    "SpifError",
    "XMLError",
    "compile_policy",
    "decide",
    "decide_all",
    "label_digest",
]
