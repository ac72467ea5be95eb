"""The party file: what a party tells the world about its registrar and authority.

`nor.party.json` is made by the party's registrar and admitted by the operator;
an agreement embeds the same fields, and there they are anchors for whoever
trusts the agreement. The file itself is not signed: whoever admits it compares
the fingerprints of its keys by another way.
"""

from __future__ import annotations

from typing import Final, Self

from liaison.crypto.x509 import Root
from liaison.errors import LiaisonError
from liaison.model import PartyCode
from liaison.policy import canonical
from liaison.policy.canonical import JSON, to_base64
from liaison.policy.errors import DocumentError
from liaison.policy.fields import Node
from liaison.policy.keys import MAX_KEYS, VerifyKey, keys_document, keys_from_node
from liaison.values import dataclass

FORMAT: Final = "liaison.party/1"
MAX_PARTY_BYTES: Final = 512 * 1024
FIELDS: Final = ("code", "name", "roots", "authority_keys", "registrar_keys")


@dataclass(frozen=True, slots=True)
class Party:
    """A party and its anchors.

    Args:
        code: `NOR`.
        name: for people.
        roots: certify the party's devices.
        authority_keys: sign agreements; any one of them is enough.
        registrar_keys: sign revocation lists and open the registrar's sessions.
    """

    code: PartyCode
    name: str
    roots: tuple[Root, ...]
    authority_keys: tuple[VerifyKey, ...]
    registrar_keys: tuple[VerifyKey, ...]

    @classmethod
    def parse(cls, data: bytes | str) -> Self:
        """Read a party file.

        Raises:
            DocumentError: a field is missing, unknown or wrong; the message says which.
        """
        return cls.from_node(Node.of(canonical.decode(data, limit=MAX_PARTY_BYTES)), FORMAT)

    @classmethod
    def from_node(cls, node: Node, file_format: str | None = None) -> Self:
        """Read the fields of a party, on their own or inside an agreement.

        Args:
            node: where they stand.
            file_format: what the field `format` must say; None where there is none.

        Raises:
            DocumentError: see `parse`.
        """
        fields = node.fields(FIELDS if file_format is None else ("format", *FIELDS))
        if file_format is not None and fields["format"].value != file_format:
            fields["format"].fail(f"must be {file_format}")
        code = fields["code"].parsed(PartyCode.parse)
        roots = tuple(_root(item, code) for item in fields["roots"].items(least=1, most=MAX_KEYS))
        authority = keys_from_node(fields["authority_keys"])
        registrar = keys_from_node(fields["registrar_keys"])
        # One key in two offices would let a signature for one stand for the other.
        if set(authority) & set(registrar):
            fields["registrar_keys"].fail("names a key that is an authority key too")
        return cls(code, fields["name"].text(most=200), roots, authority, registrar)

    def document(self) -> dict[str, JSON]:
        """Return the fields as they stand inside an agreement."""
        return {
            "code": str(self.code),
            "name": self.name,
            "roots": [to_base64(root.der) for root in self.roots],
            "authority_keys": keys_document(self.authority_keys),
            "registrar_keys": keys_document(self.registrar_keys),
        }

    def encode(self) -> bytes:
        """Return the party file."""
        return canonical.encode({"format": FORMAT, **self.document()}) + b"\n"


def _root(node: Node, code: PartyCode) -> Root:
    try:
        root = Root.parse(node.octets())
    except DocumentError:
        raise
    except LiaisonError as error:
        node.fail(f"is not a root certificate: {error.message}")
    if root.party != code:
        node.fail(f"is the root of {root.party}, not of {code}")
    return root
