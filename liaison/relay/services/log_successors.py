"""Successor logs: an agreement's log ends, and the next one begins where the parties have agreed.

The version that names the successor is what all authorities have signed. With it in force, in one
transaction, the new log comes into being: its first entry names the old head and the version, then
come the signatures under that version and the certificates that count, as in any log that begins.
What the old log has stays as it is; nothing more goes into it.

A log mostly ends because the database is an old copy: numbers that it would give out next in a
channel were given out before, and devices have taken what had them. So with each log the channels'
numbers go on in a room of their own, where none was ever given out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from liaison.policy.agreement import Agreement
from liaison.relay.services.book import Book
from liaison.relay.services.entries import agreements as entries
from liaison.relay.services.entries import keys
from liaison.relay.work import Work
from liaison.storage import channels, devices, logs, progress
from liaison.storage.backlog import ROOM

Check = Callable[[Agreement], Awaitable[None]]
"""Checks that a version that names a log's successor may, before it is taken.

Raises:
    ConflictError: the log needs none.
    AgreementRefusedError: its head is another one.
"""


async def no_check(_agreement: Agreement) -> None:
    """Take every version: for tests that publish nothing."""


async def is_next(work: Work, agreement: Agreement) -> bool:
    """Whether a version names a log that is not there yet, in the place of one that is."""
    row = await logs.find(work.tx, agreement.agreement_id)
    return row is not None and row.generation < agreement.log.generation


async def begin(work: Work, book: Book, agreement: Agreement, envelope: bytes) -> None:
    """Begin the log that a version names.

    Args:
        work: the transaction; it holds the agreement.
        book: knows the parties.
        agreement: the version in force; `is_next` holds of it.
        envelope: with the authorities' signatures.

    Raises:
        UnknownPartyError: the operator has not admitted one of its parties.
    """
    id_ = agreement.agreement_id
    await _renumber(work, agreement)
    work.succeed(id_, agreement.log.generation)
    work.record(entries.succeeds(agreement))
    work.record(*keys.signatures(agreement, envelope))
    work.record(entries.admitted(agreement), entries.in_force(agreement))
    for one in agreement.parties:
        key = (await book.party(work.tx, one.code)).key
        work.record(*keys.known(id_, one.code, await devices.of_parties(work.tx, [key])))


def before_room(seq: int) -> int:
    """Return what comes before the first number of the room that an item's number is in."""
    return seq - seq % ROOM


async def _renumber(work: Work, agreement: Agreement) -> None:
    """Let the channels go on with numbers that were never given out."""
    before = (agreement.log.generation - 1) * ROOM
    rows = await channels.lock_agreement(work.tx, agreement.agreement_id)
    old = {row.key: row.head for row in rows if row.head < before}
    await channels.set_heads(work.tx, dict.fromkeys(old, before))
    await progress.skip(work.tx, old, before)
