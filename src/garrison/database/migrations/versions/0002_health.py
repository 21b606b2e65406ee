"""How connections went last, for the health of routes; what they carried.

Revision: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from garrison.database.types import Id, Json, String, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TEXTS = ("fail_code", "fail_hop", "fail_who")
_COUNTS = ("sent", "received")


def upgrade() -> None:
    with op.batch_alter_table("contact") as table:
        table.add_column(sa.Column("last_ok_at", UtcDateTime()))
        table.add_column(sa.Column("last_failed_at", UtcDateTime()))
        for name in _TEXTS:
            table.add_column(sa.Column(name, String, nullable=False, server_default=""))
        table.add_column(sa.Column("failure", Json))
        table.add_column(sa.Column("trace", Json))
        table.add_column(sa.Column("last_ms", sa.Float()))
        table.add_column(sa.Column("usual_ms", sa.Float()))
        for name in _COUNTS:
            table.add_column(sa.Column(name, Id, nullable=False, server_default="0"))
    op.execute("UPDATE contact SET last_ok_at = last_seen WHERE last_ok")
    op.execute(
        "UPDATE contact SET last_failed_at = last_seen, fail_code = last_code WHERE NOT last_ok"
    )


def downgrade() -> None:
    with op.batch_alter_table("contact") as table:
        for name in ("last_ok_at", "last_failed_at", *_TEXTS, "failure", "trace", "last_ms"):
            table.drop_column(name)
        for name in ("usual_ms", *_COUNTS):
            table.drop_column(name)
