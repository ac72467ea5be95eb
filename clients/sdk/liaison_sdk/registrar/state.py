"""What a registrar remembers: a value, and its JSON form under the seal.

Everything that changes is here, in one document, so that one atomic write moves
the office from one state to the next. The private keys are not: they have sealed
files of their own (`store`), each opened only by what signs with it.
"""

from __future__ import annotations

import json
from dataclasses import field, replace
from typing import Any, Final, Self

from liaison.crypto.signing import SignatureScheme
from liaison.model import DeviceId
from liaison.policy.canonical import from_base64, to_base64
from liaison.policy.relay_identity import RelayIdentity
from liaison.values import dataclass
from liaison_sdk.registrar.errors import OfficeStateError

FORMAT: Final = "liaison.registrar/4"
_UNTOLD: Final[dict[str, Any]] = {"agreements": {}, "said": [], "said_whole": False}
_EARLIER: Final[dict[str, dict[str, Any]]] = {
    "liaison.registrar/1": _UNTOLD | {"statements": {}, "signed": [], "lists": {}, "watched": []},
    "liaison.registrar/2": _UNTOLD | {"signed": [], "lists": {}, "watched": []},
    "liaison.registrar/3": _UNTOLD,
}
"""What earlier versions of the form lack."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The reply to an enrolment request, kept so that a lost upload repeats the same bytes.

    Args:
        request_digest: of the request that it answers.
        chains: one DER chain per signature scheme, leaf first.
        sealed: the reply under the code's secret.
    """

    request_digest: bytes
    chains: tuple[tuple[bytes, ...], ...] = field(repr=False)
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Invitation:
    """A device that may enrol.

    Args:
        lookup: names the invitation at the relay, 32 hex digits.
        device: who is invited.
        code: what the officer is given; secret.
        schemes: what the device may ask for; empty means whatever it needs.
        expires: Unix seconds.
        answered: set once certificates were issued.
    """

    lookup: str
    device: DeviceId
    code: str = field(repr=False)
    schemes: tuple[SignatureScheme, ...]
    expires: int
    answered: Answered | None = None


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate that left this office.

    Args:
        device: whose.
        scheme: of its key.
        serial: lower-case hex.
        issued_at, not_after: Unix seconds.
        digest: SHA-256 of its DER, hex; empty where the office did not note that yet.
    """

    device: DeviceId
    scheme: SignatureScheme
    serial: str
    issued_at: int
    not_after: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class WatchAlarm:
    """An entry of a log about the party that is not its own doing.

    Args:
        index: where it stands; -1 where the log itself is wrong.
        text: for people.
        at: when it was noticed, Unix seconds.
    """

    index: int
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class WatchedLog:
    """How far the log of an agreement was watched.

    Args:
        agreement: its id.
        size: entries that were read.
        hashes: the compact range over them.
        note: the checkpoint that they were compared with.
        alarms: that nobody has accepted yet.
        channels: how far each channel was followed, by its pseudonym: the number that comes next,
            and the epoch.
        said: digests of the own party's statements and exclusions, hex, that need not be looked
            for any more: they stand in the log, or that they do not was told.
        listed: number of the newest revocation list of which the same holds; None where nothing
            about the party was read yet.
    """

    agreement: str
    size: int = 0
    hashes: tuple[bytes, ...] = ()
    note: bytes = b""
    alarms: tuple[WatchAlarm, ...] = ()
    channels: tuple[tuple[bytes, int, int], ...] = ()
    said: tuple[str, ...] = ()
    listed: int | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What the authority has signed about an agreement, beside its versions.

    Args:
        agreement: its id.
        digest: SHA-256 of the payload, hex.
        what: `active`, `suspended`, `withdrawn`, or `exclusion of CODE`.
        at: when, Unix seconds.
    """

    agreement: str
    digest: str
    what: str
    at: int


@dataclass(frozen=True, slots=True)
class Connection:
    """The relay that the party uses, as it was pinned. `ca_pem` replaces the system's CAs."""

    url: str
    identity: RelayIdentity
    ca_pem: str | None = None


@dataclass(frozen=True, slots=True)
class OfficeState:
    """The whole state; every change is a new value."""

    invitations: tuple[Invitation, ...] = ()
    certificates: tuple[IssuedCertificate, ...] = ()
    revocations: bytes | None = None
    """The newest signed revocation list."""
    connection: Connection | None = None
    statements: tuple[tuple[str, bytes], ...] = ()
    """The newest signed statement of participation about each agreement, by its id."""
    signed: tuple[str, ...] = ()
    """Digests of the versions of agreements that were signed here, hex."""
    lists: tuple[tuple[int, str], ...] = ()
    """Digests of the revocation lists that were signed here, hex, by their numbers."""
    watched: tuple[WatchedLog, ...] = ()
    """How far the logs of the party's agreements were watched."""
    agreements: tuple[tuple[str, int], ...] = ()
    """The agreements of which a version was signed here, and from when the first one holds."""
    said: tuple[Said, ...] = ()
    """Statements and exclusions that were signed here."""
    said_whole: bool = True
    """Whether all of them are there: earlier programs noted the newest statements only."""

    def with_signed(self, digest: bytes, agreement_id: str, valid_from: int) -> OfficeState:
        """Remember that a version of an agreement is being signed.

        Args:
            digest: of the version.
            agreement_id: whose.
            valid_from: when it begins to hold, Unix seconds.
        """
        known = dict(self.agreements)
        known[agreement_id] = min(valid_from, known.get(agreement_id, valid_from))
        return replace(
            self,
            signed=tuple(sorted({*self.signed, digest.hex()})),
            agreements=tuple(sorted(known.items())),
        )

    def with_said(self, said: Said) -> OfficeState:
        """Remember a statement or an exclusion that is being signed."""
        return self if said in self.said else replace(self, said=(*self.said, said))

    def watch(self, agreement_id: str) -> WatchedLog:
        """Return how far a log was watched; a new value where it never was."""
        known = {one.agreement: one for one in self.watched}
        return known.get(agreement_id) or WatchedLog(agreement_id)

    def with_watched(self, log: WatchedLog) -> OfficeState:
        """Remember how far a log was watched."""
        others = (one for one in self.watched if one.agreement != log.agreement)
        return replace(self, watched=(*others, log))

    def statement(self, agreement_id: str) -> bytes | None:
        """Return the newest statement that was signed here about an agreement, or None."""
        return dict(self.statements).get(agreement_id)

    def with_statement(self, agreement_id: str, signed: bytes) -> OfficeState:
        """Remember a statement in the place of the one before."""
        known = dict(self.statements) | {agreement_id: signed}
        return replace(self, statements=tuple(sorted(known.items())))

    def with_invitation(self, invitation: Invitation) -> OfficeState:
        """Add an invitation, or replace the one of the same lookup id."""
        others = tuple(i for i in self.invitations if i.lookup != invitation.lookup)
        return replace(self, invitations=(*others, invitation))

    def without_invitation(self, lookup: str) -> OfficeState:
        """Forget an invitation and its code."""
        return replace(self, invitations=tuple(i for i in self.invitations if i.lookup != lookup))

    def without_expired(self, before: int) -> OfficeState:
        """Forget the invitations, and their codes, that ran out before this moment."""
        return replace(self, invitations=tuple(i for i in self.invitations if i.expires >= before))

    def encode(self) -> bytes:
        """Return the JSON form. It holds enrolment codes: seal it."""
        return json.dumps(
            {
                "format": FORMAT,
                "invitations": [_invitation(i) for i in self.invitations],
                "certificates": [_certificate(c) for c in self.certificates],
                "revocations": _maybe(self.revocations),
                "connection": _connection(self.connection),
                "statements": {name: to_base64(signed) for name, signed in self.statements},
                "signed": list(self.signed),
                "lists": {str(number): digest for number, digest in self.lists},
                "watched": [_watched(log) for log in self.watched],
                "agreements": dict(self.agreements),
                "said": [[one.agreement, one.digest, one.what, one.at] for one in self.said],
                "said_whole": self.said_whole,
            }
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the JSON form.

        Raises:
            OfficeStateError: it is of another version or damaged.
        """
        try:
            document = json.loads(data)
            if document["format"] in _EARLIER:
                document |= _EARLIER[document["format"]]
            elif document["format"] != FORMAT:
                raise OfficeStateError(
                    f"the registrar's state is not of the form {FORMAT}",
                    hint="a newer version of this program wrote it: use that one",
                )
            return cls(
                invitations=tuple(_read_invitation(i) for i in document["invitations"]),
                certificates=tuple(_read_certificate(c) for c in document["certificates"]),
                revocations=_read_maybe(document["revocations"]),
                connection=_read_connection(document["connection"]),
                statements=tuple(
                    (name, from_base64(signed)) for name, signed in document["statements"].items()
                ),
                signed=tuple(document["signed"]),
                lists=tuple((int(n), digest) for n, digest in document["lists"].items()),
                watched=tuple(_read_watched(log) for log in document["watched"]),
                agreements=tuple(document["agreements"].items()),
                said=tuple(Said(*one) for one in document["said"]),
                said_whole=document["said_whole"],
            )
        except (KeyError, TypeError, ValueError) as e:
            # Not the text of `e`: it may quote a code.
            raise OfficeStateError(
                f"the registrar's state is damaged: {type(e).__name__}"
            ) from None


def _invitation(invitation: Invitation) -> dict[str, Any]:
    answered = invitation.answered
    return {
        "lookup": invitation.lookup,
        "device": str(invitation.device),
        "code": invitation.code,
        "schemes": [s.value for s in invitation.schemes],
        "expires": invitation.expires,
        "answered": None
        if answered is None
        else {
            "request": to_base64(answered.request_digest),
            "chains": [[to_base64(der) for der in chain] for chain in answered.chains],
            "sealed": to_base64(answered.sealed),
        },
    }


def _read_invitation(node: dict[str, Any]) -> Invitation:
    answered = node["answered"]
    return Invitation(
        lookup=node["lookup"],
        device=DeviceId.parse(node["device"]),
        code=node["code"],
        schemes=tuple(SignatureScheme(s) for s in node["schemes"]),
        expires=node["expires"],
        answered=None
        if answered is None
        else Answered(
            from_base64(answered["request"]),
            tuple(tuple(from_base64(der) for der in chain) for chain in answered["chains"]),
            from_base64(answered["sealed"]),
        ),
    )


def _certificate(certificate: IssuedCertificate) -> dict[str, Any]:
    return {
        "device": str(certificate.device),
        "scheme": certificate.scheme.value,
        "serial": certificate.serial,
        "issued_at": certificate.issued_at,
        "not_after": certificate.not_after,
        "digest": certificate.digest,
    }


def _read_certificate(node: dict[str, Any]) -> IssuedCertificate:
    return IssuedCertificate(
        DeviceId.parse(node["device"]),
        SignatureScheme(node["scheme"]),
        node["serial"],
        node["issued_at"],
        node["not_after"],
        node.get("digest", ""),
    )


def _watched(log: WatchedLog) -> dict[str, Any]:
    return {
        "agreement": log.agreement,
        "size": log.size,
        "hashes": [to_base64(one) for one in log.hashes],
        "note": log.note.decode(),
        "alarms": [[one.index, one.text, one.at] for one in log.alarms],
        "channels": [[name.hex(), seq, epoch] for name, seq, epoch in log.channels],
        "said": list(log.said),
        "listed": log.listed,
    }


def _read_watched(node: dict[str, Any]) -> WatchedLog:
    return WatchedLog(
        node["agreement"],
        node["size"],
        tuple(from_base64(one) for one in node["hashes"]),
        node["note"].encode(),
        tuple(WatchAlarm(*one) for one in node["alarms"]),
        tuple((bytes.fromhex(name), seq, epoch) for name, seq, epoch in node["channels"]),
        tuple(node.get("said", ())),
        node.get("listed"),
    )


def _connection(connection: Connection | None) -> dict[str, Any] | None:
    if connection is None:
        return None
    return {
        "url": connection.url,
        "identity": connection.identity.encode().decode(),
        "ca_pem": connection.ca_pem,
    }


def _read_connection(node: dict[str, Any] | None) -> Connection | None:
    if node is None:
        return None
    return Connection(node["url"], RelayIdentity.parse(node["identity"]), node["ca_pem"])


def _maybe(data: bytes | None) -> str | None:
    return None if data is None else to_base64(data)


def _read_maybe(text: str | None) -> bytes | None:
    return None if text is None else from_base64(text)
