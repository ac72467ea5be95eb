"""The label policies that need no file."""

from __future__ import annotations

from typing import Final

from liaison.labels.policy import LabelPolicies, LabelPolicy

UNMARKED: Final = LabelPolicy("liaison.unmarked", "No labels", ("UNMARKED",))
"""For agreements that use no labels: one level, which everyone holds."""

TLP: Final = LabelPolicy(
    "tlp-2.0",
    "TLP 2.0",
    ("TLP:CLEAR", "TLP:GREEN", "TLP:AMBER", "TLP:AMBER+STRICT", "TLP:RED"),
)
"""The Traffic Light Protocol. Labels are never translated. Source: FIRST, TLP 2.0."""

BUILT_IN: Final = LabelPolicies((UNMARKED, TLP))
