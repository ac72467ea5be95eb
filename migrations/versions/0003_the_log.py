"""The log: logs, their entries, what opens these, and kept checkpoints.

A program of the previous release works on this schema, but what it accepts is missing in the log:
it must be gone before the first relay of this release starts.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only where the column is called INTEGER.
Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Bring the schema forward."""
    with op.batch_alter_table("members", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("logged", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
        )
    _make_logs()
    _make_entries()
    _make_openings()
    _make_checkpoints()
    op.execute("UPDATE meta SET value = 3 WHERE name = 'schema_version'")


def _make_logs() -> None:
    op.create_table(
        "logs",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("origin", sa.String(length=512), nullable=False),
        sa.Column("agreement", sa.String(length=200), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("published_size", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("published", sa.LargeBinary(), nullable=True),
        sa.Column("cosigned_size", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cosigned", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_logs")),
        sa.UniqueConstraint("origin", name=op.f("uq_logs_origin")),
        sa.UniqueConstraint("agreement", "generation", name=op.f("uq_logs_agreement_generation")),
    )


def _make_entries() -> None:
    op.create_table(
        "log_entries",
        sa.Column("log", Key, autoincrement=False, nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("channel", Key, nullable=True),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("mark", sa.LargeBinary(length=32), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log", "index", name=op.f("pk_log_entries")),
        sqlite_with_rowid=False,
    )
    _make_index("uq_log_entries_seq", ["channel", "seq"], "seq IS NOT NULL", unique=True)
    _make_index("ix_log_entries_type", ["log", "type", "index"], "seq IS NULL")
    _make_index("ix_log_entries_mark", ["log", "mark"], "mark IS NOT NULL")


def _make_index(name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(
        name,
        "log_entries",
        columns,
        unique=unique,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def _make_openings() -> None:
    op.create_table(
        "log_openings",
        sa.Column("log", Key, autoincrement=False, nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("audience", sa.String(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log", "index", name=op.f("pk_log_openings")),
        sqlite_with_rowid=False,
    )


def _make_checkpoints() -> None:
    op.create_table(
        "log_checkpoints",
        sa.Column("log", Key, autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["log"], ["logs.key"], name=op.f("fk_log_checkpoints_log")),
        sa.PrimaryKeyConstraint("log", "size", name=op.f("pk_log_checkpoints")),
    )
