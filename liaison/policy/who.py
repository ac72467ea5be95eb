"""Who a rule speaks of: patterns over parties, endpoints and roles.

`*` is every endpoint of every party, `NOR` every endpoint of one party,
`nor/defatt-berlin` one endpoint, `nor/lno-*` those whose name begins so, and
`role:officers` whoever the agreement puts into that role. An empty list is
nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Self

from liaison.errors import LiaisonError, MalformedError
from liaison.model import EndpointId, PartyCode
from liaison.policy.canonical import JSON
from liaison.policy.fields import Node
from liaison.values import dataclass

MAX_PATTERNS: Final = 500
_ROLE: Final = re.compile(r"role:([a-z][a-z0-9-]{0,39})")
_PREFIX: Final = re.compile(r"([a-z0-9-]+)/([a-z0-9-]{0,63})\*")


class PatternError(MalformedError):
    """The pattern names nobody in a known way."""

    code = "pattern.malformed"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, taken apart; its text is canonical.

    Args:
        text: as it stands in the agreement.
        role: the role's name, for `role:...`.
        party: the party it is about; None for `*` and for roles.
        endpoint: the exact name, for one endpoint.
        prefix: what the name begins with, for `nor/lno-*`.
    """

    text: str
    role: str | None = None
    party: PartyCode | None = None
    endpoint: str | None = None
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern.

        Raises:
            PatternError: none of the forms.
        """
        if text == "*":
            return cls(text)
        if role := _ROLE.fullmatch(text):
            return cls(text, role=role[1])
        try:
            if prefix := _PREFIX.fullmatch(text):
                return cls(text, party=PartyCode.parse(prefix[1].upper()), prefix=prefix[2])
            if "/" in text:
                endpoint = EndpointId.parse(text)
                return cls(text, party=endpoint.party, endpoint=endpoint.name)
            return cls(text, party=PartyCode.parse(text))
        except LiaisonError as error:
            raise PatternError(
                f"{text[:80]!r} is not *, a party (NOR), an endpoint (nor/defatt-berlin),"
                " endpoints (nor/lno-*) or a role (role:officers)"
            ) from error

    def matches(self, endpoint: EndpointId, roles: Mapping[str, Iterable[Pattern]]) -> bool:
        """Whether the pattern speaks of this endpoint.

        Args:
            endpoint: who.
            roles: the agreement's roles; their members are patterns without roles.
        """
        if self.role is not None:
            return any(member.matches(endpoint, {}) for member in roles.get(self.role, ()))
        if self.party is not None and self.party != endpoint.party:
            return False
        if self.endpoint is not None:
            return self.endpoint == endpoint.name
        return endpoint.name.startswith(self.prefix)

    def __str__(self) -> str:
        return self.text


Who = tuple[Pattern, ...]


def matches(who: Who, endpoint: EndpointId, roles: Mapping[str, Iterable[Pattern]]) -> bool:
    """Whether any of the patterns speaks of this endpoint."""
    return any(pattern.matches(endpoint, roles) for pattern in who)


def who_from_node(node: Node) -> Who:
    """Read a list of patterns, each once."""
    patterns = tuple(item.parsed(Pattern.parse) for item in node.items(most=MAX_PATTERNS))
    if len(set(patterns)) != len(patterns):
        node.fail("names someone twice")
    return patterns


def who_document(who: Who) -> list[JSON]:
    """Return patterns as they stand in the document."""
    return [str(pattern) for pattern in who]
