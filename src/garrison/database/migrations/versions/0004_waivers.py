"""Waivers, and what is known of exploitation.

Revision: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from garrison.database.types import Id, String, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "exploitation",
        sa.Column("advisory", String, primary_key=True),
        sa.Column("epss", sa.Float()),
        sa.Column("percentile", sa.Float()),
        sa.Column("kev", sa.Boolean()),
        sa.Column("kev_added", String, nullable=False),
        sa.Column("kev_due", String, nullable=False),
        sa.Column("ransomware", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "waiver",
        sa.Column("id", String, primary_key=True),
        sa.Column("advisory", String, nullable=False),
        sa.Column("package", String, nullable=False),
        sa.Column("package_like", String, nullable=False),
        sa.Column("image", String, nullable=False),
        sa.Column("image_like", String, nullable=False),
        sa.Column("reason", String, nullable=False),
        sa.Column("created_by", String, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("in_force", sa.Boolean(), nullable=False),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("ended_by", String, nullable=False),
    )
    op.create_index("ix_waiver_in_force_expires_at", "waiver", ["in_force", "expires_at"])
    op.create_table(
        "waived",
        sa.Column(
            "image_id",
            Id,
            sa.ForeignKey("image.id", ondelete="CASCADE", name="fk_waived_image_id"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column(
            "package_id",
            Id,
            sa.ForeignKey("package.id", name="fk_waived_package_id"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("advisory", String, primary_key=True),
        sa.Column(
            "waiver_id",
            String,
            sa.ForeignKey("waiver.id", name="fk_waived_waiver_id"),
            nullable=False,
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_waived_waiver_id", "waived", ["waiver_id"])
    with op.batch_alter_table("image_stat") as table:
        table.add_column(sa.Column("exploited", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("waived", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("intel") as table:
        table.add_column(sa.Column("exploitation", String, nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("intel") as table:
        table.drop_column("exploitation")
    with op.batch_alter_table("image_stat") as table:
        table.drop_column("waived")
        table.drop_column("exploited")
    op.drop_table("waived")
    op.drop_table("waiver")
    op.drop_table("exploitation")
