"""Legal holds, and the signed reports of what the retention has erased.

A program of the previous release works on this schema, but erases what is held: it must be gone
before the first hold is set.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only where the column is called INTEGER.
Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "holds",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("agreement", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_holds")),
    )
    op.create_index(
        "uq_holds_in_force",
        "holds",
        ["agreement"],
        unique=True,
        sqlite_where=sa.text("released_at IS NULL"),
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_table(
        "erasures",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("agreement", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_erasures")),
        sa.UniqueConstraint("agreement", "digest", name=op.f("uq_erasures_agreement_digest")),
    )
    op.execute("UPDATE meta SET value = 4 WHERE name = 'schema_version'")
