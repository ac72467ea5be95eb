"""The relay's public identity: where it is and which keys speak for it.

Agreements embed it, and only there is it an anchor: what a relay serves about
itself is trusted by nobody.
"""

from __future__ import annotations

import re
from typing import Final, Self

from liaison.crypto.signing import SignatureScheme
from liaison.errors import UnknownError
from liaison.policy import canonical
from liaison.policy.canonical import JSON
from liaison.policy.fields import Node
from liaison.policy.keys import VerifyKey, keys_document, keys_from_node
from liaison.values import dataclass

FORMAT: Final = "liaison.relay/1"
MAX_RELAY_BYTES: Final = 128 * 1024
_FIELDS: Final = ("origin", "url", "identity_keys", "sender_keys", "log_keys")
_ORIGIN: Final = re.compile(r"[a-z0-9][a-z0-9.\-:/\[\]]{0,199}")
_URL: Final = re.compile(r"https://([A-Za-z0-9.\-]{1,200}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


class RelayKeyError(UnknownError):
    """The relay has no key for this signature scheme."""

    code = "relay.key_unknown"


@dataclass(frozen=True, slots=True)
class RelayIdentity:
    """A relay and the keys that speak for it.

    Args:
        origin: its name for good, such as `relay.example.org`; the log's name begins with it.
        url: where it is reached, `https://host[:port]`.
        identity_keys: sign the session challenge; any one of them.
        sender_keys: sign its Remove proposals, at most one per signature scheme.
        log_keys: sign its logs' checkpoints.
    """

    origin: str
    url: str
    identity_keys: tuple[VerifyKey, ...]
    sender_keys: tuple[VerifyKey, ...]
    log_keys: tuple[VerifyKey, ...] = ()

    @classmethod
    def parse(cls, data: bytes | str) -> Self:
        """Read the public identity document, `relay.json`.

        Raises:
            DocumentError: a field is missing, unknown or wrong; the message says which.
        """
        return cls.from_node(Node.of(canonical.decode(data, limit=MAX_RELAY_BYTES)), FORMAT)

    @classmethod
    def from_node(cls, node: Node, file_format: str | None = None) -> Self:
        """Read the fields, on their own or inside an agreement.

        Args:
            node: where they stand.
            file_format: what the field `format` must say; None where there is none.

        Raises:
            DocumentError: see `parse`.
        """
        fields = node.fields(_FIELDS if file_format is None else ("format", *_FIELDS))
        if file_format is not None and fields["format"].value != file_format:
            fields["format"].fail(f"must be {file_format}")
        if not _ORIGIN.fullmatch(fields["origin"].text(most=200)):
            fields["origin"].fail("is not a relay's name, such as relay.example.org")
        if not _URL.fullmatch(fields["url"].text(most=250)):
            fields["url"].fail("is not https://host or https://host:port")
        senders = keys_from_node(fields["sender_keys"])
        if len({key.scheme for key in senders}) != len(senders):
            fields["sender_keys"].fail("names two keys of one signature scheme")
        return cls(
            origin=fields["origin"].text(),
            url=fields["url"].text(),
            identity_keys=keys_from_node(fields["identity_keys"]),
            sender_keys=senders,
            log_keys=keys_from_node(fields["log_keys"], least=0),
        )

    def document(self) -> dict[str, JSON]:
        """Return the fields as they stand inside an agreement."""
        return {
            "origin": self.origin,
            "url": self.url,
            "identity_keys": keys_document(self.identity_keys),
            "sender_keys": keys_document(self.sender_keys),
            "log_keys": keys_document(self.log_keys),
        }

    def encode(self) -> bytes:
        """Return the public identity document."""
        return canonical.encode({"format": FORMAT, **self.document()}) + b"\n"

    @property
    def log_signers(self) -> tuple[VerifyKey, ...]:
        """The keys that its logs' checkpoints count by; without any it has no logs.

        Source: C2SP tlog-checkpoint: a log's own signatures are Ed25519.
        """
        return tuple(key for key in self.log_keys if key.scheme is SignatureScheme.ED25519)

    def sender_key(self, scheme: SignatureScheme) -> VerifyKey:
        """Return the key that signs the relay's proposals in groups of this scheme.

        Raises:
            RelayKeyError: the relay has none.
        """
        for key in self.sender_keys:
            if key.scheme is scheme:
                return key
        raise RelayKeyError(f"the relay {self.origin} has no {scheme.value} key for proposals")
