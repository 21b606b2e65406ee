"""Scans that builds did and reported, with what they say of themselves.

Revision: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from garrison.database.types import Json, String

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("scan") as table:
        table.add_column(sa.Column("origin", String, nullable=False, server_default="defender"))
        table.add_column(sa.Column("labels", Json, nullable=False, server_default="{}"))


def downgrade() -> None:
    with op.batch_alter_table("scan") as table:
        table.drop_column("origin")
        table.drop_column("labels")
