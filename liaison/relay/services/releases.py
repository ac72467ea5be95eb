"""Releases that were sent: each goes out once, whichever device of its party sends it.

A message's id is unique for one device, and a release can lie with several. The
relay's answer to a resend by the same device does not hang on this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.envelope.header import Header
from liaison.errors import LiaisonError
from liaison.mls import peek
from liaison.model import ChannelId
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.errors import ReleaseUsedError
from liaison.storage import items
from liaison.storage.channels import ChannelRow

_Place: TypeAlias = tuple[int, int, bytes]
"""Channel, party, message id."""


@dataclass
class SentReleases:
    """What is known of the releases that a batch of messages carries."""

    _sent: dict[_Place, set[bytes | None]] = field(default_factory=dict)

    @classmethod
    async def find(
        cls,
        tx: AsyncConnection,
        rows: Mapping[bytes, ChannelRow],
        asked: Iterable[tuple[ChannelId, DeviceCaller, Header]],
    ) -> SentReleases:
        """Look up what other devices have sent under the same ids.

        Args:
            tx: the transaction.
            rows: of the channels, locked, by id.
            asked: channel, sender and header of the messages that wait.
        """
        found = cls()
        for channel, caller, header in asked:
            row = rows.get(channel.value)
            if header.release is None or row is None:
                continue
            ident, party = header.message_id.value, caller.party_key
            payloads = await items.of_party(tx, row.key, ident, party=party, but=caller.key)
            names = {_name_in(payload) for payload in payloads}
            found._sent.setdefault((row.key, party, ident), set()).update(names)
        return found

    def take(self, channel: int, caller: DeviceCaller, header: Header) -> None:
        """Note that a release is sent.

        Raises:
            ReleaseUsedError: another device of the party has sent it.
        """
        if header.release is None:
            return
        sent = self._sent.setdefault((channel, caller.party_key, header.message_id.value), set())
        if sent & {None, _name(header)}:
            raise ReleaseUsedError(
                "another device of the party has sent this release", hint="it is in the channel"
            )
        sent.add(_name(header))


def _name(header: Header) -> bytes:
    """Return what all copies of a release have in common, whoever has signed them."""
    return header.bare() + (b"" if header.release is None else header.release.content)


def _name_in(payload: bytes) -> bytes | None:
    """Return the name of a stored message's release; None where it is not there any more."""
    if not payload:
        return None
    try:
        header = Header.decode(peek.parse_header(payload).authenticated_data)
    except LiaisonError:
        # A commit or a proposal whose digest begins like the id.
        return b""
    return b"" if header.release is None else _name(header)
