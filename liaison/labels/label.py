"""The label value: policy, classification, categories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

from liaison.crypto import kdf
from liaison.values import dataclass

SALT_BYTES: Final = 16
_DOMAIN: Final = b"liaison label v1\0"


@dataclass(frozen=True, slots=True)
class Label:
    """A confidentiality label.

    Args:
        policy: id of the label policy.
        classification: the name of a level of it.
        categories: (tag name, value), sorted.
    """

    policy: str
    classification: str
    categories: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls, policy: str, classification: str, categories: Iterable[tuple[str, str]] = ()
    ) -> Self:
        """Return a label with its categories in order, each once."""
        return cls(policy, classification, tuple(sorted(set(categories))))

    def marking(self) -> str:
        """Return the label by its bare names: `TLP:AMBER`, `SECRET // NOR, DEU`.

        `liaison.labels.marking` shows it as its policy wants it shown.
        """
        values = ", ".join(value for _, value in self.categories)
        return f"{self.classification} // {values}" if values else self.classification


def label_digest(label: bytes, salt: bytes) -> bytes:
    """Return the 32 bytes that tie a full label to a header.

    Args:
        label: the full label as it travels inside the content.
        salt: the content's salt, 16 random bytes; without it the relay could
            guess a label from its digest.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError("the salt has 16 bytes")
    return kdf.sha256(_DOMAIN + salt + label)
