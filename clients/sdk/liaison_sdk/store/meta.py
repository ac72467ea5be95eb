"""Counters and flags of the whole store, and its sealed singletons."""

from __future__ import annotations

from typing import Final

from liaison_sdk.store.base import Transaction

STATE_VERSION: Final = "state_version"
RESYNC: Final = "resync"
"""1 while channels must be joined anew, because this store is an old copy."""


def number(tx: Transaction, name: str) -> int:
    """Return a counter; one that was never set is 0."""
    row = tx.one("SELECT value FROM meta WHERE name = ?", (name,))
    return int(row[0]) if row else 0


def set_number(tx: Transaction, name: str, value: int) -> None:
    """Set a counter."""
    tx.execute(
        "INSERT INTO meta (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def next_state_version(tx: Transaction) -> int:
    """Count up: something was encrypted or committed, so an older copy of this store is stale."""
    value = number(tx, STATE_VERSION) + 1
    set_number(tx, STATE_VERSION, value)
    return value


def load_record(tx: Transaction, name: str) -> bytes | None:
    """Return a sealed singleton, opened."""
    row = tx.one("SELECT body FROM records WHERE name = ?", (name,))
    return tx.unseal(f"record {name}", row[0]) if row else None


def save_record(tx: Transaction, name: str, body: bytes) -> None:
    """Seal and keep a singleton."""
    tx.execute(
        "INSERT INTO records (name, body) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET body = excluded.body",
        (name, tx.seal(f"record {name}", body)),
    )


def delete_record(tx: Transaction, name: str) -> None:
    """Forget a singleton; none of this name is fine."""
    tx.execute("DELETE FROM records WHERE name = ?", (name,))
