"""Why the relay refused what leaves no message behind: receipts, by their number in the outbox.

Who waits for the ruling may be in another process than who heard it.
"""

from __future__ import annotations

from typing import Any, Final

from liaison.envelope import cbor
from liaison_sdk.store import meta
from liaison_sdk.store.base import Transaction

_KEPT: Final = 64
"""Numbers after which nobody waits for a refusal any more."""


def save(tx: Transaction, number: int, code: str, reason: str) -> None:
    """Keep a refusal, and forget one of long ago."""
    meta.save_record(tx, _name(number), cbor.encode([code, reason]))
    tx.execute(
        "DELETE FROM records WHERE name LIKE 'refusal %' AND CAST(substr(name, 9) AS INTEGER) < ?",
        (number - _KEPT,),
    )


def load(tx: Transaction, number: int) -> tuple[str, str] | None:
    """Return code and reason, or None where nothing was refused."""
    data = meta.load_record(tx, _name(number))
    if data is None:
        return None
    item: Any = cbor.decode(data)
    code, reason = item
    return code, reason


def _name(number: int) -> str:
    return f"refusal {number}"
