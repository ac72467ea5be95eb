"""Who asks: a device or an office, as the session has authenticated it."""

from __future__ import annotations

from liaison.crypto.signing import SignatureScheme
from liaison.model import DeviceId, PartyCode
from liaison.relay.errors import WrongPrincipalError
from liaison.values import dataclass
from liaison.wire.handshake import Office


@dataclass(frozen=True, slots=True)
class DeviceCaller:
    """A device, with the certificate that its session stands on.

    Args:
        key, certificate, party_key: the rows in the database.
    """

    id: DeviceId
    key: int
    certificate: int
    party: PartyCode
    party_key: int


@dataclass(frozen=True, slots=True)
class OfficeCaller:
    """An office of a party."""

    office: Office
    party_key: int

    @property
    def party(self) -> PartyCode:
        """The party whose office it is."""
        return self.office.party

    def require_registrar(self) -> None:
        """Refuse any other office.

        Raises:
            WrongPrincipalError: it is not the registrar.
        """
        if self.office.name != "registrar":
            raise WrongPrincipalError("only the party's registrar may do this")


Caller = DeviceCaller | OfficeCaller


@dataclass(frozen=True, slots=True)
class SessionKey:
    """The key that a principal signs the challenge with, and whom it then speaks for."""

    scheme: SignatureScheme
    public: bytes
    caller: Caller
