"""Confidentiality labels and the policies that give them meaning.

A label is a policy, a level of it and categories. Policies are data; the
built-in ones are in `liaison.labels.builtin`.
"""

from liaison.labels.label import Label, label_digest
from liaison.labels.policy import LabelError, LabelPolicies, LabelPolicy

__all__ = ["Label", "LabelError", "LabelPolicies", "LabelPolicy", "label_digest"]
