"""The tables. A version says whether this program may write here."""

from __future__ import annotations

import itertools
import sqlite3
from typing import Final

from liaison_sdk.errors import NewerStoreError

VERSION: Final = 6

# `about` is the device that sent the message: two devices may give two messages one id.
_RECEIPTS: Final = """
    CREATE TABLE receipts (
        channel BLOB NOT NULL,
        message_id BLOB NOT NULL,
        about TEXT NOT NULL,
        sender TEXT NOT NULL,
        status TEXT NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (channel, message_id, about, sender, status)
    ) WITHOUT ROWID, STRICT
    """

# What was verified of the agreements' logs; the module of each table says what its columns mean.
_LOGS: Final = (
    """
    CREATE TABLE logs (
        agreement TEXT PRIMARY KEY,
        body BLOB NOT NULL
    ) WITHOUT ROWID, STRICT
    """,
    """
    CREATE TABLE log_channels (
        channel BLOB PRIMARY KEY,
        body BLOB NOT NULL
    ) STRICT
    """,
    # What the log says of items that have not come yet.
    """
    CREATE TABLE log_pending (
        channel BLOB NOT NULL,
        seq INTEGER NOT NULL,
        place INTEGER NOT NULL,
        is_commit INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        digest BLOB,
        since INTEGER NOT NULL,
        PRIMARY KEY (channel, seq)
    ) WITHOUT ROWID, STRICT
    """,
    """
    CREATE TABLE log_credentials (
        agreement TEXT NOT NULL,
        digest BLOB NOT NULL,
        state TEXT NOT NULL,
        since INTEGER NOT NULL,
        size INTEGER NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (agreement, digest)
    ) WITHOUT ROWID, STRICT
    """,
    """
    CREATE TABLE log_alarms (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        agreement TEXT NOT NULL,
        channel BLOB,
        code TEXT NOT NULL,
        at INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT
    """,
    # Of own messages: what shows to anybody, for good, that they were logged.
    """
    CREATE TABLE log_proofs (
        channel BLOB NOT NULL,
        seq INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (channel, seq)
    ) WITHOUT ROWID, STRICT
    """,
    # Where a message stands in the log; NULL until that is proven.
    "ALTER TABLE messages ADD COLUMN logged INTEGER",
    # Whether it was reported as missing there.
    "ALTER TABLE messages ADD COLUMN late INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX messages_by_place ON messages (channel, seq)",
)

# What items have to say in the log, and what the log says, whole: so that all of it is compared.
_TOLD: Final = (
    # Sealed; NULL where it was compared already, or nothing is known but the digest.
    "ALTER TABLE items ADD COLUMN told BLOB",
    # What waited had only its digest with it: these channels are followed anew from where they are.
    "DELETE FROM log_channels WHERE channel IN (SELECT channel FROM log_pending)",
    "DROP TABLE log_pending",
    """
    CREATE TABLE log_pending (
        channel BLOB NOT NULL,
        seq INTEGER NOT NULL,
        since INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (channel, seq)
    ) WITHOUT ROWID, STRICT
    """,
    # Which log of an agreement is followed, and what is known of those before it.
    """
    CREATE TABLE log_generations (
        agreement TEXT PRIMARY KEY,
        body BLOB NOT NULL
    ) WITHOUT ROWID, STRICT
    """,
    # How far the logs were read entry by entry.
    """
    CREATE TABLE log_walks (
        agreement TEXT PRIMARY KEY,
        body BLOB NOT NULL
    ) WITHOUT ROWID, STRICT
    """,
)

# Own answers to messages; the number is that of the row of the outbox.
_ANSWERS: Final = (
    """
    CREATE TABLE answers (
        number INTEGER PRIMARY KEY,
        channel BLOB NOT NULL,
        message_id BLOB NOT NULL,
        about TEXT NOT NULL,
        state TEXT NOT NULL,
        body BLOB NOT NULL
    ) STRICT
    """,
    "CREATE INDEX answers_by_message ON answers (channel, message_id)",
    "CREATE INDEX answers_waiting ON answers (number) WHERE state = 'queued'",
)

# What the logs leave out of channels, until that is explained.
_GAPS: Final = (
    """
    CREATE TABLE log_gaps (
        channel BLOB PRIMARY KEY,
        body BLOB NOT NULL
    ) STRICT
    """,
)

_STATEMENTS: Final = (
    """
    CREATE TABLE meta (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID, STRICT
    """,
    # Sealed singletons: the account, an enrolment under way.
    """
    CREATE TABLE records (
        name TEXT PRIMARY KEY,
        body BLOB NOT NULL
    ) WITHOUT ROWID, STRICT
    """,
    # Signed documents that were verified: agreements by id, revocation lists by party.
    """
    CREATE TABLE documents (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (kind, name, version)
    ) WITHOUT ROWID, STRICT
    """,
    """
    CREATE TABLE key_packages (
        ref BLOB PRIMARY KEY,
        suite INTEGER NOT NULL,
        last_resort INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        bundle BLOB NOT NULL
    ) WITHOUT ROWID, STRICT
    """,
    # `stamp` is random and new at every change of the group: equal stamps, equal state.
    """
    CREATE TABLE channels (
        channel BLOB PRIMARY KEY,
        stamp BLOB NOT NULL,
        state TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        body BLOB NOT NULL,
        epoch_blob BLOB,
        ratchets BLOB
    ) STRICT
    """,
    # An own commit that the relay has not ruled on: one at a time per channel.
    """
    CREATE TABLE commits (
        channel BLOB PRIMARY KEY,
        epoch INTEGER NOT NULL,
        digest BLOB NOT NULL,
        body BLOB NOT NULL
    ) STRICT
    """,
    # What was taken from the relay, so that nothing is taken twice.
    """
    CREATE TABLE items (
        channel BLOB NOT NULL,
        seq INTEGER NOT NULL,
        digest BLOB NOT NULL,
        PRIMARY KEY (channel, seq)
    ) WITHOUT ROWID, STRICT
    """,
    "CREATE INDEX items_by_digest ON items (channel, digest)",
    """
    CREATE TABLE messages (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        channel BLOB NOT NULL,
        sender TEXT NOT NULL,
        message_id BLOB NOT NULL,
        outgoing INTEGER NOT NULL,
        state TEXT NOT NULL,
        precedence INTEGER NOT NULL,
        shown INTEGER NOT NULL,
        seq INTEGER,
        time_ms INTEGER,
        body BLOB NOT NULL,
        UNIQUE (channel, message_id, sender)
    ) STRICT
    """,
    "CREATE INDEX messages_by_id ON messages (message_id)",
    "CREATE INDEX messages_unread ON messages (precedence DESC, number) WHERE shown = 0",
    # What is to be sent: in the clear under the seal until encrypted, then as ciphertext.
    """
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        channel BLOB NOT NULL,
        message_id BLOB NOT NULL,
        precedence INTEGER NOT NULL,
        state TEXT NOT NULL,
        digest BLOB,
        epoch INTEGER,
        body BLOB NOT NULL,
        UNIQUE (channel, message_id)
    ) STRICT
    """,
    "CREATE INDEX outbox_waiting ON outbox (precedence DESC, number)",
    _RECEIPTS,
    *_LOGS,
    *_TOLD,
    *_ANSWERS,
    *_GAPS,
)

# What brings a store of an earlier version to the next one.
_STEPS: Final = {
    1: (
        "ALTER TABLE receipts RENAME TO receipts_1",
        _RECEIPTS,
        # Whose message they are about stood in the sealed part only: '' is anybody's.
        (
            "INSERT INTO receipts (channel, message_id, about, sender, status, body) "
            "SELECT channel, message_id, '', sender, status, body FROM receipts_1"
        ),
        "DROP TABLE receipts_1",
    ),
    2: _LOGS,
    3: _TOLD,
    # Why an answer was refused stood apart, and only for a while.
    4: (*_ANSWERS, "DELETE FROM records WHERE name LIKE 'refusal %'"),
    5: _GAPS,
}


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables, or bring older ones up to date; runs in the caller's transaction.

    Raises:
        NewerStoreError: a later version of this program wrote here.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise NewerStoreError(
            "the store was written by a newer version of this program",
            hint="update this program",
        )
    if version == VERSION:
        return
    steps = [_STATEMENTS] if version == 0 else [_STEPS[v] for v in range(version, VERSION)]
    for statement in itertools.chain.from_iterable(steps):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
