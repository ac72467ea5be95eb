"""The life of agreements: proposals, statements of participation, exclusions.

A program of the previous release works on this schema: it takes no statements, so
it has none to heed. It must be gone before the first one is accepted.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only where the column is called INTEGER.
Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Bring the schema forward."""
    _make_changes()
    _make_statements()
    _make_exclusions()
    _make_proposals()
    op.execute("UPDATE meta SET value = 2 WHERE name = 'schema_version'")


def _make_changes() -> None:
    op.create_table(
        "agreement_changes",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.Column("enforced_at", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agreement_changes")),
    )
    op.execute(
        "INSERT INTO agreement_changes (id, changes) SELECT id, MAX(version) FROM agreements GROUP BY id"
    )


def _make_statements() -> None:
    op.create_table(
        "statements",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("agreement", sa.String(length=200), nullable=False),
        sa.Column("party", Key, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["party"], ["parties.key"], name=op.f("fk_statements_party")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_statements")),
        sa.UniqueConstraint(
            "agreement", "party", "number", name=op.f("uq_statements_agreement_party_number")
        ),
    )


def _make_exclusions() -> None:
    op.create_table(
        "exclusions",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("agreement", sa.String(length=200), nullable=False),
        sa.Column("party", Key, nullable=False),
        sa.Column("proposer", Key, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("proposed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["party"], ["parties.key"], name=op.f("fk_exclusions_party")),
        sa.ForeignKeyConstraint(["proposer"], ["parties.key"], name=op.f("fk_exclusions_proposer")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_exclusions")),
        sa.UniqueConstraint("agreement", "digest", name=op.f("uq_exclusions_agreement_digest")),
    )
    with op.batch_alter_table("exclusions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_exclusions_proposer"), ["proposer"], unique=False)


def _make_proposals() -> None:
    op.create_table(
        "proposals",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("agreement", sa.String(length=200), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("proposer", Key, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("proposed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["proposer"], ["parties.key"], name=op.f("fk_proposals_proposer")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_proposals")),
        sa.UniqueConstraint("digest", name=op.f("uq_proposals_digest")),
    )
    with op.batch_alter_table("proposals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_proposals_agreement"), ["agreement"], unique=False)
        batch_op.create_index(batch_op.f("ix_proposals_proposer"), ["proposer"], unique=False)
    op.create_table(
        "proposal_parties",
        sa.Column("proposal", Key, nullable=False),
        sa.Column("party", Key, nullable=False),
        sa.ForeignKeyConstraint(["party"], ["parties.key"], name=op.f("fk_proposal_parties_party")),
        sa.ForeignKeyConstraint(
            ["proposal"], ["proposals.key"], name=op.f("fk_proposal_parties_proposal")
        ),
        sa.PrimaryKeyConstraint("proposal", "party", name=op.f("pk_proposal_parties")),
    )
    with op.batch_alter_table("proposal_parties", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_proposal_parties_party"), ["party"], unique=False)
