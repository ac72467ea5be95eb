"""Which devices there are: the relay's list, cut down to what certificates bear out."""

from __future__ import annotations

from liaison.crypto import x509_path
from liaison.crypto.x509_path import CertifiedDevice
from liaison.errors import LiaisonError
from liaison.model import DeviceId
from liaison.policy.agreement import Agreement
from liaison.values import dataclass
from liaison.wire import v1
from liaison_sdk.environment import Environment


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A device of one of the agreement's parties.

    Args:
        device: its name, from its certificates.
        revoked: whether all its certificates are revoked.
    """

    device: DeviceId
    revoked: bool


async def devices(env: Environment, agreement: Agreement) -> list[DirectoryEntry]:
    """Return the agreement's devices, in order of their names.

    Raises:
        RemoteError: the relay refused.
        ConnectionLostError: it can't be reached.
    """
    listed = await env.api.directory(agreement.agreement_id)
    await env.trust.revocations.refresh(env.api, env.store, agreement)
    revoked = await env.read(lambda tx: env.trust.revocations.revoked(tx, agreement))
    entries = []
    for entry in listed:
        certified = _certified(entry, agreement, env.now)
        if certified:
            out = all((c.device.party, c.serial) in revoked for c in certified)
            entries.append(DirectoryEntry(certified[0].device, out or entry.revoked))
    return sorted(entries, key=lambda entry: entry.device)


def _certified(entry: v1.RegisteredDevice, agreement: Agreement, now: int) -> list[CertifiedDevice]:
    roots = [root for party in agreement.parties for root in party.roots]
    found = []
    for chain in entry.chains:
        try:
            certified = x509_path.verify_chain(chain, roots, now)
        except LiaisonError:
            # Expired, or not one of these parties': as if it were not listed.
            continue
        if str(certified.device) == entry.device.removeprefix("liaison://"):
            found.append(certified)
    return found
