"""Releases: whose signatures count, and that each goes out once, whichever device sends it.

A signature counts when its certificate is registered: that is when the certificate came into
the logs, where its registrar looks for what it never issued.

A message's id is unique for one device, and a release can lie with several. The
relay's answer to a resend by the same device does not hang on this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.crypto.x509_path import peek_device
from liaison.envelope.header import Header
from liaison.errors import LiaisonError
from liaison.mls import peek
from liaison.model import ChannelId
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.errors import ReleaseUnregisteredError, ReleaseUsedError
from liaison.storage import devices, items
from liaison.storage.channels import ChannelRow
from liaison.values import dataclass

_Place: TypeAlias = tuple[int, int, bytes]
"""Channel, party, message id."""


async def check_registered(tx: AsyncConnection, header: Header) -> None:
    """Check that the certificates of all who have signed a release are registered here.

    Args:
        tx: the transaction, in which nothing is written.
        header: of the message; the signatures of its release hold.

    Raises:
        ReleaseUnregisteredError: that of one is not.
    """
    if header.release is None:
        return
    signers = {one.chain[0]: peek_device(one.chain[0]) for one in header.release.signatures}
    names = {str(signer.device) for signer in signers.values()}
    keys = await devices.keys_of(tx, names)
    registered = {row.chain[0] for row in await devices.of_devices(tx, keys.values())}
    for der, signer in signers.items():
        # The certificate itself: another of the same name and serial is in no log.
        if der not in registered:
            raise ReleaseUnregisteredError(
                f"a certificate {signer.serial} of {signer.device} is not registered with this relay",
                hint="who signs a release has to do it with a device that is enrolled here",
            )


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
