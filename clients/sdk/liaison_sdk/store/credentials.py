"""Which certificates were met, and whether they are known to be in their agreement's log."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from liaison.values import dataclass
from liaison_sdk.store.base import Row, Transaction


class CredentialState(StrEnum):
    """What is known of a credential."""

    LOGGED = "logged"
    UNPROVEN = "unproven"
    """The log could not say: it lacks its witnesses, or was not to be had."""
    MISSING = "missing"
    """The log is whole and does not have it."""


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """A credential that was met.

    Args:
        digest: SHA-256 of the certificate's DER.
        state: what is known.
        since: when it was first asked for, Unix seconds.
        size: what the relay gave as the log's size then.
        name: whose it is, as its certificate says.
    """

    digest: bytes
    state: CredentialState
    since: int
    size: int
    name: str


def load(
    tx: Transaction, agreement: str, digests: Iterable[bytes]
) -> dict[bytes, CredentialRecord]:
    """Return what is known of credentials, by digest; those never asked for are left out."""
    found = {}
    for digest in digests:
        row = tx.one(
            "SELECT digest, state, since, size, name FROM log_credentials "
            "WHERE agreement = ? AND digest = ?",
            (agreement, digest),
        )
        if row is not None:
            found[digest] = _record(row)
    return found


def unlogged(tx: Transaction, agreement: str) -> list[CredentialRecord]:
    """Return the credentials that were met and are not known to be in the log."""
    rows = tx.all(
        "SELECT digest, state, since, size, name FROM log_credentials "
        "WHERE agreement = ? AND state <> ?",
        (agreement, CredentialState.LOGGED),
    )
    return [_record(row) for row in rows]


def save(tx: Transaction, agreement: str, record: CredentialRecord) -> None:
    """Keep what is known of a credential."""
    tx.execute(
        "INSERT OR REPLACE INTO log_credentials (agreement, digest, state, since, size, name) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (agreement, record.digest, record.state, record.since, record.size, record.name),
    )


def _record(row: Row) -> CredentialRecord:
    digest, state, since, size, name = row
    return CredentialRecord(digest, CredentialState(state), since, size, name)
