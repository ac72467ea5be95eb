"""What a registrar issues, and what its books say of it: certificates and revocation lists.

Nothing here is remembered or handed out: that is for `office`, in this order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from liaison.crypto import kdf, x509_issue, x509_path
from liaison.crypto.signing import SigningKey
from liaison.crypto.x509 import Root
from liaison.model import DeviceId, PartyCode
from liaison.policy import revocation
from liaison.policy.keys import VerifyKey
from liaison.policy.party import Party
from liaison.policy.revocation import RevocationList, RevokedCertificate
from liaison_sdk.registrar.state import IssuedCertificate

DAY: Final = 86_400
BACKDATED: Final = 3_600
"""Seconds before the issue at which a certificate begins: the device's clock may be behind."""


def root(
    key: SigningKey,
    party: PartyCode,
    now: int,
    lifetime_days: int,
    rng: Callable[[int], bytes],
) -> bytes:
    """Issue a party's own certificate; return its DER."""
    return x509_issue.issue_root(
        key,
        party,
        not_before=now - BACKDATED,
        not_after=now + lifetime_days * DAY,
        rng=rng,
    )


def leaf(
    root_key: SigningKey,
    root: Root,
    device: DeviceId,
    key: VerifyKey,
    now: int,
    lifetime_days: int,
    rng: Callable[[int], bytes],
) -> bytes:
    """Issue a device's certificate; return its DER.

    Args:
        root_key: the party's.
        root: its certificate.
        device: whose.
        key: the device's.
        now: Unix seconds.
        lifetime_days: at most; it ends with the root's.
        rng: gives random bytes.
    """
    # A certificate that outlives its root would be refused one day without a word.
    last = min(now + lifetime_days * DAY, root.certificate.not_after)
    return x509_issue.issue_device(
        root_key,
        root.der,
        device,
        key.scheme,
        key.public,
        not_before=max(now - BACKDATED, root.certificate.not_before),
        not_after=last,
        rng=rng,
    )


def entry(issued: bytes, now: int) -> IssuedCertificate:
    """Return what the books say of a certificate, DER, that was issued now, Unix seconds."""
    device = x509_path.peek_device(issued)
    return IssuedCertificate(
        device.device,
        device.scheme,
        device.serial,
        issued_at=now,
        not_after=device.not_after,
        digest=kdf.sha256(issued).hex(),
    )


def following(
    party: Party,
    newest: bytes | None,
    added: Sequence[RevokedCertificate],
    now: int,
    next_update: int,
) -> RevocationList:
    """Return the list that comes after the newest one.

    Args:
        party: whose registrar issues it.
        newest: signed; None before the first.
        added: certificates that are revoked from now on.
        now, next_update: Unix seconds.
    """
    if newest is not None:
        before = revocation.verify(newest, party)
        return before.with_revoked(added, issued_at=now, next_update=next_update)
    first = RevocationList.empty(party.code, issued_at=now, next_update=next_update)
    return replace(first, entries=tuple(sorted(added, key=lambda entry: entry.serial)))
