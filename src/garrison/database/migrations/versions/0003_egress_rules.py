"""Proxy settings beyond the five: further proxies, rules, PAC, CAs per destination, strict mode.

Revision: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from garrison.database.types import Json

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("proxy_settings") as table:
        table.add_column(sa.Column("more", Json, nullable=False, server_default="{}"))


def downgrade() -> None:
    with op.batch_alter_table("proxy_settings") as table:
        table.drop_column("more")
