"""The first schema.

Rules: it must work while the previous release is running on the same database; a
column goes one release after the code stopped using it; a change that an older
program can't live with raises `schema_compat` in `meta`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only where the column is called INTEGER.
Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "agreements",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("admitted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_agreements")),
        sa.UniqueConstraint("digest", name=op.f("uq_agreements_digest")),
        sa.UniqueConstraint("id", "version", name=op.f("uq_agreements_id_version")),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_meta")),
    )
    op.create_table(
        "parties",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("code", sa.String(length=67), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("admitted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_parties")),
        sa.UniqueConstraint("code", name=op.f("uq_parties_code")),
    )
    op.create_table(
        "agreement_parties",
        sa.Column("agreement", Key, nullable=False),
        sa.Column("party", Key, nullable=False),
        sa.ForeignKeyConstraint(
            ["agreement"], ["agreements.key"], name=op.f("fk_agreement_parties_agreement")
        ),
        sa.ForeignKeyConstraint(
            ["party"], ["parties.key"], name=op.f("fk_agreement_parties_party")
        ),
        sa.PrimaryKeyConstraint("agreement", "party", name=op.f("pk_agreement_parties")),
    )
    with op.batch_alter_table("agreement_parties", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_agreement_parties_party"), ["party"], unique=False)

    op.create_table(
        "channels",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("group_id", sa.LargeBinary(length=255), nullable=False),
        sa.Column("agreement", Key, nullable=False),
        sa.Column("policy", sa.String(length=200), nullable=False),
        sa.Column("suite", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("oldest_epoch", sa.BigInteger(), nullable=False),
        sa.Column("past_epochs", sa.Integer(), nullable=False),
        sa.Column("head", sa.BigInteger(), nullable=False),
        sa.Column("removals_pending", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("group_version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["agreement"], ["agreements.key"], name=op.f("fk_channels_agreement")
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_channels")),
        sa.UniqueConstraint("id", name=op.f("uq_channels_id")),
    )
    with op.batch_alter_table("channels", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_channels_agreement"), ["agreement"], unique=False)
        batch_op.create_index(
            "ix_channels_removals_pending",
            ["removals_pending"],
            unique=False,
            sqlite_where=sa.text("removals_pending > 0"),
            postgresql_where=sa.text("removals_pending > 0"),
        )

    op.create_table(
        "devices",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("endpoint", sa.String(length=192), nullable=False),
        sa.Column("party", Key, nullable=False),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.Column("state_version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["party"], ["parties.key"], name=op.f("fk_devices_party")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_devices")),
        sa.UniqueConstraint("name", name=op.f("uq_devices_name")),
    )
    with op.batch_alter_table("devices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_devices_endpoint"), ["endpoint"], unique=False)
        batch_op.create_index(batch_op.f("ix_devices_party"), ["party"], unique=False)

    op.create_table(
        "enrolments",
        sa.Column("lookup", sa.LargeBinary(length=16), nullable=False),
        sa.Column("party", Key, nullable=False),
        sa.Column("device", sa.String(length=256), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("invited_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("sealed_request", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_reply", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["party"], ["parties.key"], name=op.f("fk_enrolments_party")),
        sa.PrimaryKeyConstraint("lookup", name=op.f("pk_enrolments")),
    )
    with op.batch_alter_table("enrolments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_enrolments_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_enrolments_party"), ["party"], unique=False)

    op.create_table(
        "revocation_lists",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("party", Key, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["party"], ["parties.key"], name=op.f("fk_revocation_lists_party")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_revocation_lists")),
        sa.UniqueConstraint("party", "number", name=op.f("uq_revocation_lists_party_number")),
    )
    op.create_table(
        "blobs",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("channel", Key, nullable=False),
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("uploader", Key, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("complete", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["channel"], ["channels.key"], name=op.f("fk_blobs_channel")),
        sa.ForeignKeyConstraint(["uploader"], ["devices.key"], name=op.f("fk_blobs_uploader")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_blobs")),
    )
    with op.batch_alter_table("blobs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_blobs_complete_created_at", ["complete", "created_at"], unique=False
        )
        batch_op.create_index(
            "ix_blobs_expires_at",
            ["expires_at"],
            unique=False,
            sqlite_where=sa.text("expires_at IS NOT NULL"),
            postgresql_where=sa.text("expires_at IS NOT NULL"),
        )
        batch_op.create_index(
            "uq_blobs_complete",
            ["channel", "id"],
            unique=True,
            sqlite_where=sa.text("complete = 1"),
            postgresql_where=sa.text("complete"),
        )

    op.create_table(
        "certificates",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("device", Key, nullable=False),
        sa.Column("scheme", sa.String(length=32), nullable=False),
        sa.Column("key_fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["device"], ["devices.key"], name=op.f("fk_certificates_device")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_certificates")),
        sa.UniqueConstraint(
            "device",
            "key_fingerprint",
            "serial",
            name=op.f("uq_certificates_device_key_fingerprint_serial"),
        ),
    )
    op.create_table(
        "groups",
        sa.Column("channel", Key, autoincrement=False, nullable=False),
        sa.Column("snapshot", sa.LargeBinary(), nullable=False),
        sa.Column("group_info", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["channel"], ["channels.key"], name=op.f("fk_groups_channel")),
        sa.PrimaryKeyConstraint("channel", name=op.f("pk_groups")),
    )
    op.create_table(
        "items",
        sa.Column("channel", Key, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("precedence", sa.SmallInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("sender", Key, nullable=True),
        sa.Column("message_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["channel"], ["channels.key"], name=op.f("fk_items_channel")),
        sa.ForeignKeyConstraint(["sender"], ["devices.key"], name=op.f("fk_items_sender")),
        sa.PrimaryKeyConstraint("channel", "seq", name=op.f("pk_items")),
        sa.UniqueConstraint(
            "channel", "sender", "message_id", name=op.f("uq_items_channel_sender_message_id")
        ),
    )
    with op.batch_alter_table("items", schema=None) as batch_op:
        batch_op.create_index("ix_items_channel_lane_seq", ["channel", "lane", "seq"], unique=False)
        batch_op.create_index(
            "ix_items_expires_at",
            ["expires_at"],
            unique=False,
            sqlite_where=sa.text("expires_at IS NOT NULL"),
            postgresql_where=sa.text("expires_at IS NOT NULL"),
        )

    op.create_table(
        "joins",
        sa.Column("channel", Key, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.Column("tree", sa.LargeBinary(), nullable=False),
        sa.Column("welcome", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["channel"], ["channels.key"], name=op.f("fk_joins_channel")),
        sa.PrimaryKeyConstraint("channel", "epoch", name=op.f("pk_joins")),
    )
    op.create_table(
        "members",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("channel", Key, nullable=False),
        sa.Column("device", Key, nullable=False),
        sa.Column("leaf", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("joined_seq", sa.BigInteger(), nullable=False),
        sa.Column("joined_epoch", sa.BigInteger(), nullable=False),
        sa.Column("left_seq", sa.BigInteger(), nullable=True),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["channel"], ["channels.key"], name=op.f("fk_members_channel")),
        sa.ForeignKeyConstraint(["device"], ["devices.key"], name=op.f("fk_members_device")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_members")),
    )
    with op.batch_alter_table("members", schema=None) as batch_op:
        batch_op.create_index("ix_members_device", ["device", "channel"], unique=False)
        batch_op.create_index(
            "uq_members_present",
            ["channel", "device"],
            unique=True,
            sqlite_where=sa.text("left_seq IS NULL"),
            postgresql_where=sa.text("left_seq IS NULL"),
        )

    op.create_table(
        "removals",
        sa.Column("channel", Key, nullable=False),
        sa.Column("leaf", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["channel"], ["channels.key"], name=op.f("fk_removals_channel")),
        sa.PrimaryKeyConstraint("channel", "leaf", name=op.f("pk_removals")),
    )
    op.create_table(
        "beyond",
        sa.Column("member", Key, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["member"], ["members.key"], name=op.f("fk_beyond_member")),
        sa.PrimaryKeyConstraint("member", "seq", name=op.f("pk_beyond")),
    )
    op.create_table(
        "blob_chunks",
        sa.Column("blob", Key, autoincrement=False, nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["blob"], ["blobs.key"], name=op.f("fk_blob_chunks_blob")),
        sa.PrimaryKeyConstraint("blob", "index", name=op.f("pk_blob_chunks")),
    )
    op.create_table(
        "key_packages",
        sa.Column("key", Key, autoincrement=True, nullable=False),
        sa.Column("device", Key, nullable=False),
        sa.Column("certificate", Key, nullable=True),
        sa.Column("suite", sa.Integer(), nullable=False),
        sa.Column("ref", sa.LargeBinary(), nullable=False),
        sa.Column("last_resort", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["certificate"], ["certificates.key"], name=op.f("fk_key_packages_certificate")
        ),
        sa.ForeignKeyConstraint(["device"], ["devices.key"], name=op.f("fk_key_packages_device")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_key_packages")),
        sa.UniqueConstraint("ref", name=op.f("uq_key_packages_ref")),
    )
    with op.batch_alter_table("key_packages", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_key_packages_certificate"), ["certificate"], unique=False
        )
        batch_op.create_index(
            "ix_key_packages_device_suite", ["device", "suite", "last_resort", "key"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_key_packages_not_after"), ["not_after"], unique=False)

    op.create_table(
        "welcomes",
        sa.Column("member", Key, autoincrement=False, nullable=False),
        sa.Column("channel", Key, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel", "epoch"], ["joins.channel", "joins.epoch"], name=op.f("fk_welcomes_channel")
        ),
        sa.ForeignKeyConstraint(["member"], ["members.key"], name=op.f("fk_welcomes_member")),
        sa.PrimaryKeyConstraint("member", name=op.f("pk_welcomes")),
    )
    with op.batch_alter_table("welcomes", schema=None) as batch_op:
        batch_op.create_index("ix_welcomes_channel_epoch", ["channel", "epoch"], unique=False)
    meta = sa.table("meta", sa.column("name", sa.String), sa.column("value", sa.BigInteger))
    op.bulk_insert(
        meta,
        [
            {"name": "schema_version", "value": 1},
            {"name": "schema_compat", "value": 1},
            {"name": "revocations", "value": 0},
        ],
    )
