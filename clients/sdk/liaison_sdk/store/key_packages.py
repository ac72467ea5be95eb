"""The private halves of published key packages."""

from __future__ import annotations

from liaison.mls.key_packages import KeyPackageBundle
from liaison_sdk.store.base import Transaction


def save(tx: Transaction, suite: int, bundle: KeyPackageBundle, expires_at: int) -> None:
    """Keep a bundle; before its public half is published, never after."""
    tx.execute(
        "INSERT INTO key_packages (ref, suite, last_resort, expires_at, bundle) "
        "VALUES (?, ?, ?, ?, ?)",
        (
            bundle.ref,
            suite,
            bundle.last_resort,
            expires_at,
            tx.seal(_label(bundle.ref), bundle.encode()),
        ),
    )


def load(tx: Transaction, ref: bytes) -> KeyPackageBundle | None:
    """Return the bundle whose public half has this reference."""
    row = tx.one("SELECT bundle FROM key_packages WHERE ref = ?", (ref,))
    return KeyPackageBundle.decode(tx.unseal(_label(ref), row[0])) if row else None


def delete(tx: Transaction, ref: bytes) -> None:
    """Forget a bundle that was used."""
    tx.execute("DELETE FROM key_packages WHERE ref = ?", (ref,))


def delete_expired(tx: Transaction, now: int) -> int:
    """Forget bundles that nobody may use any more; return how many."""
    return tx.execute("DELETE FROM key_packages WHERE expires_at < ?", (now,))


def last_resort_expiry(tx: Transaction, suite: int) -> int | None:
    """Return when the newest last-resort package of a suite ends."""
    row = tx.one(
        "SELECT max(expires_at) FROM key_packages WHERE suite = ? AND last_resort = 1", (suite,)
    )
    return None if row is None or row[0] is None else int(row[0])


def _label(ref: bytes) -> str:
    return f"key package {ref.hex()}"
