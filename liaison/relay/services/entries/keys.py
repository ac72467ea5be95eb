"""Keys: certificates, revocation lists, key packages, signatures under agreements.

Each goes into the logs of all partnerships that the party is in. Certificates and revocation lists
may be opened by every party, because members check the credentials that they meet; the rest only
by the party itself, whose registrar watches all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from liaison.model import PartyCode
from liaison.policy import dsse
from liaison.policy.agreement import Agreement
from liaison.policy.dsse import Envelope
from liaison.policy.revocation import RevocationList
from liaison.relay.recording import Draft
from liaison.storage.devices import CertificateRow, NewCertificate
from liaison.tlog.commitment import Value
from liaison.tlog.fields import EntryType
from liaison.tlog.text import to_base64


def certificates(
    logs: Iterable[str], party: PartyCode, device: str, new: Iterable[NewCertificate]
) -> list[Draft]:
    """A registrar has certified a device."""
    return [
        _certificate(
            log, "certificate", party, device, one.chain, one.serial, one.scheme, one.not_after
        )
        for log in logs
        for one in new
    ]


def known(log: str, party: PartyCode, rows: Iterable[CertificateRow]) -> list[Draft]:
    """What was certified before the log began, or before the party came into it."""
    return [
        _certificate(
            log, "known", party, row.name, row.chain, row.serial, row.scheme, row.not_after
        )
        for row in rows
        if row.revoked_at is None
    ]


def _certificate(
    log: str,
    act: str,
    party: PartyCode,
    device: str,
    chain: Sequence[bytes],
    serial: str,
    scheme: str,
    not_after_ms: int,
) -> Draft:
    digest = hashlib.sha256(chain[0]).digest()
    fields: dict[str, Value] = {
        "party": str(party),
        "subject": device,
        "act": act,
        "digest": to_base64(digest),
        "serial": serial,
        "suite": scheme,
        "not_after": not_after_ms // 1000,
    }
    return Draft(log=log, type=EntryType.KEY, fields=fields, mark=digest)


def revocations(
    logs: Iterable[str], new: RevocationList, envelope: bytes, hit: Sequence[CertificateRow]
) -> list[Draft]:
    """A revocation list came into force: an entry for the list, and one for each certificate.

    Args:
        logs: of the party's partnerships.
        new: the list.
        envelope: as the registrar signed it.
        hit: the registered certificates that were good until now.
    """
    digest = _payload_digest(envelope)
    listed = _fields(new.party, str(new.number), "revocations", digest)
    gone = [
        _fields(new.party, row.name, "revoked", digest)
        | {"serial": row.serial, "suite": row.scheme, "not_after": row.not_after // 1000}
        for row in hit
    ]
    return [
        Draft(log=log, type=EntryType.KEY, fields=fields)
        for log in logs
        for fields in (listed, *gone)
    ]


def key_packages(
    logs: Iterable[str], party: PartyCode, device: str, suite: int, uploaded: Iterable[bytes]
) -> list[Draft]:
    """A device has uploaded key packages.

    Args:
        logs: of the party's partnerships.
        party: the device's.
        device: which.
        suite: of the packages.
        uploaded: their references, in the order of the upload; the entry has one digest over all.
    """
    digest = hashlib.sha256(b"".join(uploaded)).digest()
    fields = _fields(party, device, "key_packages", digest) | {"suite": f"{suite:#06x}"}
    return [_private(log, party, fields) for log in logs]


def signatures(agreement: Agreement, envelope: bytes, before: bytes | None = None) -> list[Draft]:
    """Authorities have signed a version of an agreement.

    Args:
        agreement: the version; its partnership's log takes the entries.
        envelope: with the signatures.
        before: the same document with the signatures that are in the log already.
    """
    seen = set() if before is None else _key_ids(before)
    owners = {
        key.key_id: (one.code, key) for one in agreement.parties for key in one.authority_keys
    }
    drafts = []
    for key_id in sorted((_key_ids(envelope) - seen) & owners.keys()):
        party, key = owners[key_id]
        subject = f"{agreement.agreement_id} version {agreement.version}"
        fields = _fields(party, subject, "signature", agreement.digest())
        fields |= {"serial": key_id, "suite": key.scheme.value}
        drafts.append(_private(agreement.agreement_id, party, fields))
    return drafts


def _key_ids(envelope: bytes) -> set[str]:
    return {one.key_id for one in Envelope.decode(envelope).signatures}


def _payload_digest(envelope: bytes) -> bytes:
    return hashlib.sha256(dsse.Envelope.decode(envelope).payload).digest()


def _fields(party: PartyCode, subject: str, act: str, digest: bytes) -> dict[str, Value]:
    return {"party": str(party), "subject": subject, "act": act, "digest": to_base64(digest)}


def _private(log: str, party: PartyCode, fields: dict[str, Value]) -> Draft:
    return Draft(log=log, type=EntryType.KEY, fields=fields, audience=(str(party),))
