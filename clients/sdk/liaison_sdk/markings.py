"""Labels as their policy shows them, in the reader's language.

The rules of markings are loaded when the first one is shown: sending needs none.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final

from liaison.errors import LiaisonError
from liaison.labels import Label
from liaison.values import dataclass

if TYPE_CHECKING:
    from liaison.labels import LabelPolicy


@dataclass(frozen=True, slots=True)
class Marker:
    """Shows labels.

    Args:
        policy: of the message's agreement; None where that is not at hand.
        language: the reader's, such as `fr` or `fr-CA`.
    """

    policy: LabelPolicy | None = field(default=None, repr=False)
    language: str = "en"

    def mark(self, label: Label | None) -> str:
        """Return a label as people read it; by its bare names where its policy does not know it."""
        if label is None:
            return ""
        if self.policy is None or not self.policy.is_named(label.policy):
            return label.marking()
        from liaison.labels.marking import marking  # noqa: PLC0415 - loaded for the first reader

        try:
            return marking(self.policy, label, language=self.language).text
        except LiaisonError:
            # Of an older policy, or of a withheld message: whatever it says is shown.
            return label.marking()


BARE: Final = Marker()
"""Shows labels by their bare names."""
