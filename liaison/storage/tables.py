"""The tables. `migrations/` makes them; a test compares the two.

Rows refer to each other by small integer keys; names and 16-byte ids appear
once. Times are Unix milliseconds. Secrets have no column: what members
encrypt arrives encrypted, and the relay's own keys are files.

An item's *lane* is the queue it waits in: its precedence for messages (0 to 5),
`HANDSHAKE_LANE` for commits and proposals. Within a lane items leave in the
order of their sequence numbers, so a reader's place is one number per lane.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    false,
    text,
)

SCHEMA_VERSION: Final = 4
"""The schema that this program was written for."""
SCHEMA_COMPAT: Final = 1
"""The oldest program (by its SCHEMA_VERSION) that may work on this schema."""

MESSAGE: Final = 0
GAP: Final = 4
"""The kinds that storage itself tells apart; the numbers are those of the wire."""
HANDSHAKE_LANE: Final = 6
LANES: Final = 7

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_WHERE: Final = "postgresql_where"

# SQLite numbers rows by itself only where the column is called INTEGER.
Key = BigInteger().with_variant(Integer, "sqlite")
Digest = LargeBinary(32)
Id16 = LargeBinary(16)


def _key() -> Column[int]:
    return Column("key", Key, primary_key=True, autoincrement=True)


def _ref(name: str, target: str, *, nullable: bool = False, index: bool = False) -> Column[int]:
    return Column(name, Key, ForeignKey(f"{target}.key"), nullable=nullable, index=index)


def _partial(
    name: str, *columns: str, where: str, postgresql: str = "", unique: bool = False
) -> Index:
    """Return an index of some rows only; PostgreSQL may need other words for which."""
    more = {_WHERE: postgresql or where}
    return Index(name, *columns, unique=unique, sqlite_where=text(where), info=more)


def complete() -> MetaData:
    """Return all tables, with what only migrations have to know.

    SQLAlchemy loads all of PostgreSQL's dialect for one word of it in an index, which is a
    fifteenth of a relay's start on SQLite.
    """
    for table in metadata.tables.values():
        for index in table.indexes:
            if _WHERE in index.info:
                index.dialect_options["postgresql"]["where"] = text(index.info[_WHERE])
    return metadata


meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

parties = Table(
    "parties",
    metadata,
    _key(),
    Column("code", String(67), nullable=False, unique=True),
    Column("document", LargeBinary, nullable=False),
    Column("admitted_at", BigInteger, nullable=False),
)

revocation_lists = Table(
    "revocation_lists",
    metadata,
    _key(),
    _ref("party", "parties"),
    Column("number", BigInteger, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("accepted_at", BigInteger, nullable=False),
    UniqueConstraint("party", "number"),
)

enrolments = Table(
    "enrolments",
    metadata,
    Column("lookup", Id16, primary_key=True),
    _ref("party", "parties", index=True),
    Column("device", String(256), nullable=False),
    Column("state", String(16), nullable=False),
    Column("invited_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("sealed_request", LargeBinary),
    Column("sealed_reply", LargeBinary),
)

devices = Table(
    "devices",
    metadata,
    _key(),
    Column("name", String(256), nullable=False, unique=True),
    Column("endpoint", String(192), nullable=False, index=True),
    _ref("party", "parties", index=True),
    Column("registered_at", BigInteger, nullable=False),
    Column("state_version", BigInteger, nullable=False, server_default=text("0")),
)

certificates = Table(
    "certificates",
    metadata,
    _key(),
    _ref("device", "devices"),
    Column("scheme", String(32), nullable=False),
    Column("key_fingerprint", Digest, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("serial", String(64), nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    UniqueConstraint("device", "key_fingerprint", "serial"),
)

agreements = Table(
    "agreements",
    metadata,
    _key(),
    Column("id", String(200), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("digest", Digest, nullable=False, unique=True),
    Column("envelope", LargeBinary, nullable=False),
    Column("admitted_at", BigInteger, nullable=False),
    UniqueConstraint("id", "version"),
)

agreement_parties = Table(
    "agreement_parties",
    metadata,
    Column("agreement", Key, ForeignKey("agreements.key"), primary_key=True),
    Column("party", Key, ForeignKey("parties.key"), primary_key=True, index=True),
)

# One row for each agreement with an admitted version: counts its versions, statements and
# exclusions. Whoever judges by them compares the number; whoever changes them locks the row.
agreement_changes = Table(
    "agreement_changes",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("changes", BigInteger, nullable=False),
    # Unix seconds up to which what time alone changes was brought into the channels.
    Column("enforced_at", BigInteger, nullable=False, server_default=text("0")),
)

# What parties have said of their participation. Number 0 is the others' word: an exclusion.
statements = Table(
    "statements",
    metadata,
    _key(),
    Column("agreement", String(200), nullable=False),
    _ref("party", "parties"),
    Column("number", BigInteger, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("accepted_at", BigInteger, nullable=False),
    UniqueConstraint("agreement", "party", "number"),
)

# Exclusions that wait for signatures; the one that has them becomes a statement.
exclusions = Table(
    "exclusions",
    metadata,
    _key(),
    Column("agreement", String(200), nullable=False),
    _ref("party", "parties"),
    _ref("proposer", "parties", index=True),
    Column("digest", Digest, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("proposed_at", BigInteger, nullable=False),
    UniqueConstraint("agreement", "digest"),
)

# Versions of agreements that wait for signatures, or for the operator.
proposals = Table(
    "proposals",
    metadata,
    _key(),
    Column("agreement", String(200), nullable=False, index=True),
    Column("version", BigInteger, nullable=False),
    Column("digest", Digest, nullable=False, unique=True),
    _ref("proposer", "parties", index=True),
    Column("envelope", LargeBinary, nullable=False),
    Column("proposed_at", BigInteger, nullable=False),
)

proposal_parties = Table(
    "proposal_parties",
    metadata,
    Column("proposal", Key, ForeignKey("proposals.key"), primary_key=True),
    Column("party", Key, ForeignKey("parties.key"), primary_key=True, index=True),
)

key_packages = Table(
    "key_packages",
    metadata,
    _key(),
    _ref("device", "devices"),
    _ref("certificate", "certificates", nullable=True, index=True),
    Column("suite", Integer, nullable=False),
    Column("ref", LargeBinary, nullable=False, unique=True),
    Column("last_resort", Boolean, nullable=False, server_default=false()),
    Column("not_after", BigInteger, nullable=False, index=True),
    Column("data", LargeBinary, nullable=False),
    Index("ix_key_packages_device_suite", "device", "suite", "last_resort", "key"),
)

channels = Table(
    "channels",
    metadata,
    _key(),
    Column("id", Id16, nullable=False, unique=True),
    Column("group_id", LargeBinary(255), nullable=False),
    _ref("agreement", "agreements", index=True),
    Column("policy", String(200), nullable=False),
    Column("suite", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    # Messages of earlier epochs are refused: the members or the agreement changed since.
    Column("oldest_epoch", BigInteger, nullable=False),
    # Members keep the keys of so many past epochs (from the policy, for the delivery's order).
    Column("past_epochs", Integer, nullable=False),
    Column("head", BigInteger, nullable=False),
    # Leaves that a revocation, a statement or the agreement excludes and no commit has removed yet.
    Column("removals_pending", Integer, nullable=False, server_default=text("0")),
    # Compare-and-swap of the public group: counts each change of it, proposals included, and
    # each change of who has to go, because commits are judged by that.
    Column("group_version", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    _partial(
        "ix_channels_removals_pending",
        "removals_pending",
        where="removals_pending > 0",
    ),
)

groups = Table(
    "groups",
    metadata,
    Column("channel", Key, ForeignKey("channels.key"), primary_key=True, autoincrement=False),
    Column("snapshot", LargeBinary, nullable=False),
    Column("group_info", LargeBinary, nullable=False),
)

removals = Table(
    "removals",
    metadata,
    Column("channel", Key, ForeignKey("channels.key"), primary_key=True),
    Column("leaf", BigInteger, primary_key=True, autoincrement=False),
)

# One row for each time that a device was a member: it reads (joined_seq, left_seq] and nothing
# else. `cursor` is acknowledged without a hole; the few beyond it are in `beyond`.
members = Table(
    "members",
    metadata,
    _key(),
    _ref("channel", "channels"),
    _ref("device", "devices"),
    Column("leaf", BigInteger, nullable=False),
    # Of the certificate in that leaf; a revocation finds the leaf by it.
    Column("serial", String(64), nullable=False),
    Column("joined_seq", BigInteger, nullable=False),
    Column("joined_epoch", BigInteger, nullable=False),
    Column("left_seq", BigInteger),
    Column("cursor", BigInteger, nullable=False),
    # The last number that an entry of the log has told as delivered.
    Column("logged", BigInteger, nullable=False, server_default=text("0")),
    Index("ix_members_device", "device", "channel"),
    _partial(
        "uq_members_present",
        "channel",
        "device",
        unique=True,
        where="left_seq IS NULL",
    ),
)

beyond = Table(
    "beyond",
    metadata,
    Column("member", Key, ForeignKey("members.key"), primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
)

items = Table(
    "items",
    metadata,
    Column("channel", Key, ForeignKey("channels.key"), primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("precedence", SmallInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    _ref("sender", "devices", nullable=True),
    # The envelope's id for messages, the start of the digest for handshakes.
    Column("message_id", Id16, nullable=False),
    Column("accepted_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("size", Integer, nullable=False),
    Column("digest", Digest, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    UniqueConstraint("channel", "sender", "message_id"),
    Index("ix_items_channel_lane_seq", "channel", "lane", "seq"),
    _partial(
        "ix_items_expires_at",
        "expires_at",
        where="expires_at IS NOT NULL",
    ),
)

# What the devices added by one commit need: kept while one of them has not got its Welcome.
joins = Table(
    "joins",
    metadata,
    Column("channel", Key, ForeignKey("channels.key"), primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("accepted_at", BigInteger, nullable=False),
    Column("tree", LargeBinary, nullable=False),
    Column("welcome", LargeBinary, nullable=False),
)

welcomes = Table(
    "welcomes",
    metadata,
    Column("member", Key, ForeignKey("members.key"), primary_key=True, autoincrement=False),
    Column("channel", Key, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    ForeignKeyConstraint(["channel", "epoch"], ["joins.channel", "joins.epoch"]),
    Index("ix_welcomes_channel_epoch", "channel", "epoch"),
)

blobs = Table(
    "blobs",
    metadata,
    _key(),
    _ref("channel", "channels"),
    Column("id", Id16, nullable=False),
    _ref("uploader", "devices"),
    Column("digest", Digest, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("complete", Boolean, nullable=False, server_default=false()),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    _partial(
        "uq_blobs_complete",
        "channel",
        "id",
        unique=True,
        where="complete = 1",
        postgresql="complete",
    ),
    Index("ix_blobs_complete_created_at", "complete", "created_at"),
    _partial(
        "ix_blobs_expires_at",
        "expires_at",
        where="expires_at IS NOT NULL",
    ),
)

blob_chunks = Table(
    "blob_chunks",
    metadata,
    Column("blob", Key, ForeignKey("blobs.key"), primary_key=True, autoincrement=False),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

# --- the log ----------------------------------------------------------------------------

# One row for each log: those of partnerships, by agreement and generation, and the relay's own.
# `state` is the sequencer's; whoever appends compares `size` and swaps both.
logs = Table(
    "logs",
    metadata,
    _key(),
    Column("origin", String(512), nullable=False, unique=True),
    Column("agreement", String(200)),
    Column("generation", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
    # The newest signed checkpoint, and the newest that a quorum has cosigned.
    Column("published_size", BigInteger, nullable=False, server_default=text("0")),
    Column("published", LargeBinary),
    Column("cosigned_size", BigInteger, nullable=False, server_default=text("0")),
    Column("cosigned", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("agreement", "generation"),
)

# Entries as they stand in the log; whoever appends has the log's row, so nothing checks it for
# each of them. `channel`, `seq` and `mark` are how the relay finds them.
log_entries = Table(
    "log_entries",
    metadata,
    Column("log", Key, primary_key=True, autoincrement=False),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("type", String(16), nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("channel", Key),
    Column("seq", BigInteger),
    # What an entry without a place in a channel is found by, such as a certificate's digest.
    Column("mark", Digest),
    Column("data", LargeBinary, nullable=False),
    _partial(
        "uq_log_entries_seq",
        "channel",
        "seq",
        unique=True,
        where="seq IS NOT NULL",
    ),
    _partial(
        "ix_log_entries_type",
        "log",
        "type",
        "index",
        where="seq IS NULL",
    ),
    _partial(
        "ix_log_entries_mark",
        "log",
        "mark",
        where="mark IS NOT NULL",
    ),
    # Rows come in the order of the key: the table is its own index.
    sqlite_with_rowid=False,
)

# What opens an entry's commitments, and who may be shown it. Erasing the row leaves the entry.
log_openings = Table(
    "log_openings",
    metadata,
    Column("log", Key, primary_key=True, autoincrement=False),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    # Codes of parties, each between commas: `,DEU,NOR,`. None is every party of the agreement.
    Column("audience", String),
    Column("data", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# Cosigned checkpoints that are kept: the first of each hour.
log_checkpoints = Table(
    "log_checkpoints",
    metadata,
    Column("log", Key, ForeignKey("logs.key"), primary_key=True, autoincrement=False),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False),
)

# Agreements of which nothing is erased, whatever its age. One hold at a time is in force.
holds = Table(
    "holds",
    metadata,
    _key(),
    Column("agreement", String(200), nullable=False),
    Column("reason", String(1000), nullable=False),
    Column("set_at", BigInteger, nullable=False),
    Column("released_at", BigInteger),
    _partial(
        "uq_holds_in_force",
        "agreement",
        unique=True,
        where="released_at IS NULL",
    ),
)

# Signed reports of what was erased; the log has their digests.
erasures = Table(
    "erasures",
    metadata,
    _key(),
    Column("agreement", String(200), nullable=False),
    Column("digest", Digest, nullable=False),
    Column("report", LargeBinary, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    UniqueConstraint("agreement", "digest"),
)
