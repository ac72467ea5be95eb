"""Who this device is: its keys and certificates, and the anchors that came with them.

The account is one sealed record in the store. It is made by enrolment and never
changes by anything that the relay serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from liaison.crypto import x509_path
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.crypto.x509_path import CertifiedDevice
from liaison.envelope import cbor
from liaison.model import DeviceId
from liaison.policy.party import Party
from liaison.policy.relay_identity import RelayIdentity
from liaison.values import dataclass
from liaison_sdk.errors import NotEnrolledError
from liaison_sdk.http import Login
from liaison_sdk.store import Transaction, meta

RECORD: Final = "account"
_VERSION: Final = 1


class NoKeyForSchemeError(NotEnrolledError):
    """This device has no certificate of the signature scheme that the agreement needs."""

    code = "account.no_key"


@dataclass(frozen=True, slots=True)
class Account:
    """An enrolled device.

    Args:
        device: its name, from its certificates.
        url: where its relay is.
        ca_pem: TLS CA certificates that replace the system's; None for the system's.
        party: its own party with roots and authority keys: its anchors.
        relay: its relay's pinned identity.
        chains: one DER chain per signature scheme, leaf first.
        keys: the private key of each scheme.
    """

    device: DeviceId
    url: str
    ca_pem: str | None
    party: Party
    relay: RelayIdentity
    chains: Mapping[SignatureScheme, tuple[bytes, ...]]
    keys: Mapping[SignatureScheme, SigningKey] = field(repr=False)

    @property
    def schemes(self) -> tuple[SignatureScheme, ...]:
        """The signature schemes that the device has certificates for, the first to log in with."""
        return tuple(self.chains)

    @property
    def certificates(self) -> tuple[CertifiedDevice, ...]:
        """What the certificates say; they were verified at enrolment."""
        return tuple(certified(chain) for chain in self.chains.values())

    @property
    def login(self) -> Login:
        """How the device logs in to its relay."""
        return Login(self.device, self.signer(self.schemes[0]))

    def signer(self, scheme: SignatureScheme) -> SigningKey:
        """Return the key of a scheme.

        Raises:
            NoKeyForSchemeError: the device has none.
        """
        if scheme not in self.keys:
            raise NoKeyForSchemeError(
                f"{self.device} has no {scheme.value} certificate",
                hint="ask the registrar to invite the device with this signature scheme as well",
            )
        return self.keys[scheme]

    def chain(self, scheme: SignatureScheme) -> tuple[bytes, ...]:
        """Return the certificate chain of a scheme, leaf first.

        Raises:
            NoKeyForSchemeError: the device has none.
        """
        self.signer(scheme)
        return self.chains[scheme]

    def encode(self) -> bytes:
        """Return the record's plaintext. Secret."""
        item: list[Any] = [
            _VERSION,
            str(self.device),
            self.url,
            self.ca_pem,
            self.party.encode(),
            self.relay.encode(),
            [
                [scheme.value, list(chain), self.keys[scheme].private_bytes()]
                for scheme, chain in self.chains.items()
            ],
        ]
        return cbor.encode(item)

    @classmethod
    def decode(cls, data: bytes) -> Account:
        """Read what `encode` wrote."""
        item: Any = cbor.decode(data)
        _, device, url, ca_pem, party, relay, schemes = item
        return cls(
            device=DeviceId.parse(device),
            url=url,
            ca_pem=ca_pem,
            party=Party.parse(party),
            relay=RelayIdentity.parse(relay),
            chains={SignatureScheme(name): tuple(chain) for name, chain, _ in schemes},
            keys={
                SignatureScheme(name): SigningKey.from_bytes(SignatureScheme(name), raw)
                for name, _, raw in schemes
            },
        )


def certified(chain: Sequence[bytes]) -> CertifiedDevice:
    """Return what an own chain certifies; it was verified when it came."""
    return x509_path.peek_device(chain[0])


def load(tx: Transaction) -> Account:
    """Return the store's account.

    Raises:
        NotEnrolledError: there is none.
    """
    data = meta.load_record(tx, RECORD)
    if data is None:
        raise NotEnrolledError(hint="enrol this device with the code from its registrar first")
    return Account.decode(data)


def save(tx: Transaction, account: Account) -> None:
    """Keep the account."""
    meta.save_record(tx, RECORD, account.encode())
