"""Signed documents that were verified once.

Agreements by id, revocation lists by party, statements of participation and
exclusions by agreement and party. They are sealed not because they were secret, but so that nobody
can put others in their place.
"""

from __future__ import annotations

from typing import Final

from liaison.model import PartyCode
from liaison_sdk.store.base import Transaction

AGREEMENT: Final = "agreement"
REVOCATIONS: Final = "revocations"
ADMITTED: Final = "admitted"
"""When the relay admitted a version of an agreement, by its word; nothing that was signed."""
PARTICIPATION: Final = "participation"
EXCLUSION: Final = "exclusion"


def _label(kind: str, name: str, version: int) -> str:
    return f"document {kind} {name} {version}"


def save(tx: Transaction, kind: str, name: str, version: int, body: bytes) -> None:
    """Keep a document's signed bytes."""
    tx.execute(
        "INSERT OR REPLACE INTO documents (kind, name, version, body) VALUES (?, ?, ?, ?)",
        (kind, name, version, tx.seal(_label(kind, name, version), body)),
    )


def load(tx: Transaction, kind: str, name: str, version: int | None = None) -> bytes | None:
    """Return a document's signed bytes, of its latest version by default."""
    if version is None:
        found = latest(tx, kind, name)
        if found is None:
            return None
        version = found
    row = tx.one(
        "SELECT body FROM documents WHERE kind = ? AND name = ? AND version = ?",
        (kind, name, version),
    )
    return tx.unseal(_label(kind, name, version), row[0]) if row else None


def latest(tx: Transaction, kind: str, name: str) -> int | None:
    """Return the latest version that is here."""
    row = tx.one("SELECT max(version) FROM documents WHERE kind = ? AND name = ?", (kind, name))
    return None if row is None or row[0] is None else int(row[0])


def names(tx: Transaction, kind: str) -> list[str]:
    """Return the names of all documents of a kind, in order."""
    rows = tx.all("SELECT DISTINCT name FROM documents WHERE kind = ? ORDER BY name", (kind,))
    return [row[0] for row in rows]


def versions(tx: Transaction, kind: str, name: str) -> list[int]:
    """Return the versions of a document that are here, newest first."""
    sql = "SELECT version FROM documents WHERE kind = ? AND name = ? ORDER BY version DESC"
    return [row[0] for row in tx.all(sql, (kind, name))]


def about(tx: Transaction, kind: str, agreement_id: str) -> list[tuple[str, int]]:
    """Return name and version of the documents about an agreement's parties, in order."""
    prefix = f"{agreement_id}/"
    sql = (
        "SELECT name, version FROM documents WHERE kind = ? AND substr(name, 1, ?) = ? "
        "ORDER BY name, version"
    )
    return [(row[0], row[1]) for row in tx.all(sql, (kind, len(prefix), prefix))]


def party_name(agreement_id: str, party: PartyCode) -> str:
    """Return the name under which what concerns one party of an agreement is kept."""
    return f"{agreement_id}/{party}"


def forget(tx: Transaction, kind: str, name: str, version: int) -> None:
    """Drop one version."""
    tx.execute(
        "DELETE FROM documents WHERE kind = ? AND name = ? AND version = ?", (kind, name, version)
    )


def forget_older(tx: Transaction, kind: str, name: str, version: int) -> None:
    """Drop the versions before one."""
    tx.execute(
        "DELETE FROM documents WHERE kind = ? AND name = ? AND version < ?", (kind, name, version)
    )
