"""Parties, devices and agreements made in a moment, for tests of relay and clients.

What a registrar and an authority do through the commands in real life is done
here by the same library functions, without files and passphrases.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from liaison.crypto import x509_issue
from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.crypto.x509 import Root
from liaison.crypto.x509_path import CertifiedDevice, peek_device
from liaison.model import DeviceId, PartyCode
from liaison.policy import revocation, signing, templates
from liaison.policy.agreement import AgreementKind
from liaison.policy.keys import VerifyKey
from liaison.policy.party import Party
from liaison.policy.relay_identity import RelayIdentity
from liaison.policy.revocation import RevocationList, RevokedCertificate
from liaison.wire.handshake import Office

HOUR = 3600
YEAR = 365 * 24 * HOUR
ED25519 = SignatureScheme.ED25519
FAST_SUITE = 0x0001


@dataclass(frozen=True)
class Nation:
    """A party with all its private keys."""

    party: Party
    root_key: SigningKey
    authority_key: SigningKey
    registrar_key: SigningKey

    @property
    def document(self) -> bytes:
        """The public party file."""
        return self.party.encode()

    @property
    def registrar(self) -> Office:
        """The principal of the registrar's sessions."""
        return Office(self.party.code, "registrar")

    @property
    def authority(self) -> Office:
        """The principal of the authority's sessions."""
        return Office(self.party.code, "authority")


@dataclass(frozen=True)
class Device:
    """A device with its keys and chains, one for each scheme."""

    device: DeviceId
    keys: Mapping[SignatureScheme, SigningKey]
    chains: Mapping[SignatureScheme, tuple[bytes, ...]]

    @property
    def key(self) -> SigningKey:
        """The first key."""
        return next(iter(self.keys.values()))

    @property
    def certified(self) -> tuple[CertifiedDevice, ...]:
        """What its certificates say."""
        return tuple(peek_device(chain[0]) for chain in self.chains.values())


class World:
    """Makes parties on demand and remembers them.

    Args:
        now: Unix seconds around which everything is valid; the real time where left out.
    """

    def __init__(self, now: int | None = None) -> None:
        self.now = int(time.time()) if now is None else now
        self._nations: dict[str, Nation] = {}
        self._lists: dict[str, RevocationList] = {}

    def copy(self) -> World:
        """Return a world of the same parties, which goes its own way from here on."""
        made = World(self.now)
        made._nations, made._lists = dict(self._nations), dict(self._lists)
        return made

    def party(self, code: str) -> Nation:
        """Return a party, the same at every call."""
        if code not in self._nations:
            self._nations[code] = self._found(PartyCode.parse(code))
        return self._nations[code]

    def _found(self, code: PartyCode) -> Nation:
        root, authority, registrar = (SigningKey.generate(ED25519) for _ in range(3))
        der = x509_issue.issue_root(
            root, code, not_before=self.now - HOUR, not_after=self.now + YEAR, rng=random_bytes
        )
        party = Party(
            code,
            f"The party {code}",
            (Root.parse(der),),
            (VerifyKey.of(authority),),
            (VerifyKey.of(registrar),),
        )
        return Nation(party, root, authority, registrar)

    def device(self, name: str, schemes: tuple[SignatureScheme, ...] = (ED25519,)) -> Device:
        """Make a device with fresh keys and certificates, such as `nor/defatt-berlin#d1`."""
        device = DeviceId.parse(name)
        nation = self.party(device.party.code)
        keys = {scheme: SigningKey.generate(scheme) for scheme in schemes}
        chains = {
            scheme: (
                x509_issue.issue_device(
                    nation.root_key,
                    nation.party.roots[0].der,
                    device,
                    scheme,
                    key.public_bytes,
                    not_before=self.now - HOUR,
                    not_after=self.now + YEAR // 2,
                    rng=random_bytes,
                ),
            )
            for scheme, key in keys.items()
        }
        return Device(device, keys, chains)

    def agreement(
        self,
        *codes: str,
        relay: RelayIdentity,
        suite: int = FAST_SUITE,
        agreement_id: str = "nor-deu-2026",
        kind: AgreementKind = AgreementKind.BILATERAL,
    ) -> bytes:
        """Return an agreement between parties, signed by all their authorities."""
        nations = [self.party(code) for code in codes]
        agreement = templates.new(
            kind,
            agreement_id=agreement_id,
            parties=[nation.party for nation in nations],
            relay=relay,
            valid_from=self.now - HOUR,
            valid_until=self.now + YEAR,
            cipher_suite=suite,
        )
        envelope = signing.sign(agreement, nations[0].authority_key)
        for nation in nations[1:]:
            envelope = signing.add_signature(envelope, nation.authority_key)
        return envelope

    def revoke(self, code: str, *devices: Device) -> bytes:
        """Return the party's next revocation list, which names the devices too."""
        party = PartyCode.parse(code)
        times = {"issued_at": self.now - 1, "next_update": self.now + 24 * HOUR}
        entries = [
            RevokedCertificate(certified.serial, device.device, self.now - 1)
            for device in devices
            for certified in device.certified
        ]
        before = self._lists.get(code) or RevocationList.empty(party, **times)
        after = before.with_revoked(entries, **times)
        self._lists[code] = after
        return revocation.sign(after, self.party(code).registrar_key)
