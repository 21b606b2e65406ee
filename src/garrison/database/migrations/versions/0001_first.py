"""The first tables.

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from garrison.database.types import Blob, Id, Json, String, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_APPEND_ONLY_SQLITE = (
    """
    CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END
    """,
    """
    CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END
    """,
    # INSERT OR REPLACE deletes without asking the trigger above.
    """
    CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit
    WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END
    """,
)
_APPEND_ONLY_POSTGRESQL = (
    """
    CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the audit table is append-only'; END $$
    """,
    """
    CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_append_only()
    """,
    """
    CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()
    """,
)


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def upgrade() -> None:
    op.create_table(
        "alert_profile",
        sa.Column("id", Id, nullable=False),
        sa.Column("uuid", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("kind", String, nullable=False),
        sa.Column("config", Json, nullable=False),
        sa.Column("webhook", Blob, nullable=False),
        sa.Column("threshold", sa.SmallInteger(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_profile")),
        sa.UniqueConstraint("name", name=op.f("uq_alert_profile_name")),
        sa.UniqueConstraint("uuid", name=op.f("uq_alert_profile_uuid")),
    )
    op.create_table(
        "api_token",
        sa.Column("id", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("token_hash", Blob, nullable=False),
        sa.Column("role", String, nullable=False),
        sa.Column("created_by", String, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_token_token_hash")),
    )
    op.create_table(
        "audit",
        sa.Column("id", Id, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", String, nullable=False),
        sa.Column("action", String, nullable=False),
        sa.Column("target", String, nullable=False),
        sa.Column("detail", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "authority",
        sa.Column("generation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("certificate", String, nullable=False),
        sa.Column("key", Blob, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("generation", name=op.f("pk_authority")),
    )
    op.create_table(
        "contact",
        sa.Column("id", Id, nullable=False),
        sa.Column("host", String, nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("source", String, nullable=False),
        sa.Column("purpose", String, nullable=False),
        sa.Column("route", String, nullable=False),
        sa.Column("first_seen", UtcDateTime(), nullable=False),
        sa.Column("last_seen", UtcDateTime(), nullable=False),
        sa.Column("succeeded", Id, nullable=False),
        sa.Column("failed", Id, nullable=False),
        sa.Column("last_ok", sa.Boolean(), nullable=False),
        sa.Column("last_code", String, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact")),
        sa.UniqueConstraint(
            "host",
            "port",
            "source",
            "purpose",
            "route",
            name=op.f("uq_contact_host_port_source_purpose_route"),
        ),
    )
    op.create_table(
        "image",
        sa.Column("id", Id, nullable=False),
        sa.Column("digest", String, nullable=False),
        sa.Column("reference", String, nullable=False),
        sa.Column("platform", String, nullable=False),
        sa.Column("os_id", String, nullable=False),
        sa.Column("os_version", String, nullable=False),
        sa.Column("os_name", String, nullable=False),
        sa.Column("os_codename", String, nullable=False),
        sa.Column("size", Id, nullable=False),
        sa.Column("packages", sa.Integer(), nullable=False),
        sa.Column("ecosystems", Json, nullable=False),
        sa.Column("unreadable", Json, nullable=False),
        sa.Column("skipped", Json, nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("first_seen", UtcDateTime(), nullable=False),
        sa.Column("scanned_at", UtcDateTime(), nullable=False),
        sa.Column("scan_seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image")),
        sa.UniqueConstraint("digest", name=op.f("uq_image_digest")),
    )
    op.create_index(op.f("ix_image_reference_id"), "image", ["reference", "id"], unique=False)
    op.create_index(op.f("ix_image_scanned_at_id"), "image", ["scanned_at", "id"], unique=False)
    op.create_table(
        "intel",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("matched_revision", String, nullable=False),
        sa.Column("running_until", UtcDateTime(), nullable=True),
        sa.Column("done", Id, nullable=False),
        sa.Column("total", Id, nullable=False),
        sa.Column("step", String, nullable=False),
        sa.Column("last_attempt_at", UtcDateTime(), nullable=True),
        sa.Column("last_success_at", UtcDateTime(), nullable=True),
        sa.Column("last_error", Json, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intel")),
    )
    op.create_table(
        "join_token",
        sa.Column("id", String, nullable=False),
        sa.Column("token_hash", Blob, nullable=False),
        sa.Column("group_name", String, nullable=False),
        sa.Column("created_by", String, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("uses_left", sa.Integer(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_join_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_join_token_token_hash")),
    )
    op.create_table(
        "key_check",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sealed", Blob, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_check")),
    )
    op.create_table(
        "layer",
        sa.Column("id", Id, nullable=False),
        sa.Column("key", Blob, nullable=False),
        sa.Column("digest", String, nullable=False),
        sa.Column("diff_id", String, nullable=False),
        sa.Column("size", Id, nullable=False),
        sa.Column("created_by", String, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_layer")),
        sa.UniqueConstraint("key", name=op.f("uq_layer_key")),
    )
    op.create_index(op.f("ix_layer_digest"), "layer", ["digest"], unique=False)
    op.create_table(
        "package",
        sa.Column("id", Id, nullable=False),
        sa.Column("key", Blob, nullable=False),
        sa.Column("type", String, nullable=False),
        sa.Column("namespace", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("version", String, nullable=False),
        sa.Column("arch", String, nullable=False),
        sa.Column("distro", String, nullable=False),
        sa.Column("source", String, nullable=False),
        sa.Column("source_version", String, nullable=False),
        sa.Column("purl", String, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package")),
        sa.UniqueConstraint("key", name=op.f("uq_package_key")),
    )
    op.create_index(op.f("ix_package_name_type"), "package", ["name", "type"], unique=False)
    op.create_index(op.f("ix_package_source_type"), "package", ["source", "type"], unique=False)
    op.create_table(
        "package_set",
        sa.Column("id", Id, nullable=False),
        sa.Column("digest", Blob, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_set")),
        sa.UniqueConstraint("digest", name=op.f("uq_package_set_digest")),
    )
    op.create_table(
        "proxy_settings",
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("http_proxy", String, nullable=False),
        sa.Column("no_proxy", Json, nullable=False),
        sa.Column("ca", String, nullable=False),
        sa.Column("user", String, nullable=False),
        sa.Column("password", Blob, nullable=True),
        sa.Column("saved_at", UtcDateTime(), nullable=False),
        sa.Column("saved_by", String, nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_proxy_settings")),
    )
    op.create_table(
        "registry",
        sa.Column("host", String, nullable=False),
        sa.Column("user", String, nullable=False),
        sa.Column("password", Blob, nullable=True),
        sa.Column("plain_http", sa.Boolean(), nullable=False),
        sa.Column("ca", String, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("host", name=op.f("pk_registry")),
    )
    op.create_table(
        "setup",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("token_hash", Blob, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_setup")),
    )
    op.create_table(
        "user_account",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("name_key", String, nullable=False),
        sa.Column("password_hash", String, nullable=False),
        sa.Column("role", String, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("disabled_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_account")),
        sa.UniqueConstraint("name_key", name=op.f("uq_user_account_name_key")),
    )
    op.create_table(
        "advisory_match",
        sa.Column("package_id", Id, autoincrement=False, nullable=False),
        sa.Column("advisory", String, nullable=False),
        sa.Column("severity", sa.SmallInteger(), nullable=False),
        sa.Column("fixed_in", String, nullable=False),
        sa.Column("detail", Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["package_id"], ["package.id"], name=op.f("fk_advisory_match_package_id")
        ),
        sa.PrimaryKeyConstraint("package_id", "advisory", name=op.f("pk_advisory_match")),
    )
    op.create_index(
        op.f("ix_advisory_match_advisory_package_id"),
        "advisory_match",
        ["advisory", "package_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_advisory_match_severity_advisory_package_id"),
        "advisory_match",
        ["severity", "advisory", "package_id"],
        unique=False,
    )
    op.create_table(
        "alerted",
        sa.Column("profile_id", Id, autoincrement=False, nullable=False),
        sa.Column("image_id", Id, autoincrement=False, nullable=False),
        sa.Column("package_id", Id, autoincrement=False, nullable=False),
        sa.Column("advisory", String, nullable=False),
        sa.Column("delivery_id", String, nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_alerted_image_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["package_id"], ["package.id"], name=op.f("fk_alerted_package_id")),
        sa.ForeignKeyConstraint(
            ["profile_id"],
            ["alert_profile.id"],
            name=op.f("fk_alerted_profile_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "profile_id", "image_id", "package_id", "advisory", name=op.f("pk_alerted")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_alerted_image_id"), "alerted", ["image_id"], unique=False)
    op.create_table(
        "defender",
        sa.Column("id", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("group_name", String, nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("fingerprint", String, nullable=False),
        sa.Column("serial", String, nullable=False),
        sa.Column("not_after", UtcDateTime(), nullable=False),
        sa.Column("join_token_id", String, nullable=True),
        sa.Column("version", String, nullable=False),
        sa.Column("platform", String, nullable=False),
        sa.Column("settings_revision", sa.Integer(), nullable=False),
        sa.Column("proxy", String, nullable=False),
        sa.Column("route", String, nullable=False),
        sa.Column("enrolled_at", UtcDateTime(), nullable=False),
        sa.Column("connected_at", UtcDateTime(), nullable=True),
        sa.Column("last_seen", UtcDateTime(), nullable=True),
        sa.Column("disconnected_at", UtcDateTime(), nullable=True),
        sa.Column("removed_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["join_token_id"],
            ["join_token.id"],
            name=op.f("fk_defender_join_token_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_defender")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_defender_fingerprint")),
    )
    op.create_index(op.f("ix_defender_name_id"), "defender", ["name", "id"], unique=False)
    op.create_table(
        "delivery",
        sa.Column("id", String, nullable=False),
        sa.Column("key", String, nullable=False),
        sa.Column("profile_id", Id, nullable=True),
        sa.Column("profile_name", String, nullable=False),
        sa.Column("image_id", Id, nullable=True),
        sa.Column("findings", sa.Integer(), nullable=False),
        sa.Column("payload", Json, nullable=False),
        sa.Column("state", String, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("error", Json, nullable=True),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_delivery_image_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["profile_id"],
            ["alert_profile.id"],
            name=op.f("fk_delivery_profile_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("key", name=op.f("uq_delivery_key")),
    )
    op.create_index(op.f("ix_delivery_image_id"), "delivery", ["image_id"], unique=False)
    op.create_index(op.f("ix_delivery_profile_id"), "delivery", ["profile_id"], unique=False)
    op.create_index(
        op.f("ix_delivery_state_next_at"), "delivery", ["state", "next_at"], unique=False
    )
    op.create_table(
        "evaluation",
        sa.Column("package_id", Id, autoincrement=False, nullable=False),
        sa.Column("revision", String, nullable=False),
        sa.Column("digest", Blob, nullable=False),
        sa.ForeignKeyConstraint(
            ["package_id"], ["package.id"], name=op.f("fk_evaluation_package_id")
        ),
        sa.PrimaryKeyConstraint("package_id", name=op.f("pk_evaluation")),
    )
    op.create_table(
        "image_layer",
        sa.Column("image_id", Id, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("layer_id", Id, nullable=True),
        sa.Column("set_id", Id, nullable=True),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_image_layer_image_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["layer_id"], ["layer.id"], name=op.f("fk_image_layer_layer_id")),
        sa.ForeignKeyConstraint(["set_id"], ["package_set.id"], name=op.f("fk_image_layer_set_id")),
        sa.PrimaryKeyConstraint("image_id", "position", name=op.f("pk_image_layer")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_image_layer_set_id_image_id"), "image_layer", ["set_id", "image_id"], unique=False
    )
    op.create_table(
        "image_ref",
        sa.Column("id", Id, nullable=False),
        sa.Column("reference", String, nullable=False),
        sa.Column("image_id", Id, nullable=False),
        sa.Column("first_seen", UtcDateTime(), nullable=False),
        sa.Column("last_seen", UtcDateTime(), nullable=False),
        sa.Column("moved_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_image_ref_image_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image_ref")),
        sa.UniqueConstraint("reference", "image_id", name=op.f("uq_image_ref_reference_image_id")),
    )
    op.create_index(op.f("ix_image_ref_image_id"), "image_ref", ["image_id"], unique=False)
    op.create_table(
        "image_stat",
        sa.Column("image_id", Id, autoincrement=False, nullable=False),
        sa.Column("critical", sa.Integer(), nullable=False),
        sa.Column("high", sa.Integer(), nullable=False),
        sa.Column("medium", sa.Integer(), nullable=False),
        sa.Column("low", sa.Integer(), nullable=False),
        sa.Column("unknown", sa.Integer(), nullable=False),
        sa.Column("fixable", sa.Integer(), nullable=False),
        sa.Column("pending", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_image_stat_image_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_image_stat")),
    )
    op.create_index(
        "ix_image_stat_severity",
        "image_stat",
        ["critical", "high", "medium", "low", "unknown", "image_id"],
        unique=False,
    )
    op.create_table(
        "match_alias",
        sa.Column("alias", String, nullable=False),
        sa.Column("package_id", Id, autoincrement=False, nullable=False),
        sa.Column("advisory", String, nullable=False),
        sa.ForeignKeyConstraint(
            ["package_id"], ["package.id"], name=op.f("fk_match_alias_package_id")
        ),
        sa.PrimaryKeyConstraint("alias", "package_id", "advisory", name=op.f("pk_match_alias")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_match_alias_package_id"), "match_alias", ["package_id"], unique=False)
    op.create_table(
        "set_package",
        sa.Column("set_id", Id, nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("package_id", Id, nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("path", String, nullable=False),
        sa.Column("position", String, nullable=False),
        sa.Column("owner", String, nullable=False),
        sa.ForeignKeyConstraint(
            ["package_id"], ["package.id"], name=op.f("fk_set_package_package_id")
        ),
        sa.ForeignKeyConstraint(["set_id"], ["package_set.id"], name=op.f("fk_set_package_set_id")),
        sa.PrimaryKeyConstraint("set_id", "n", name=op.f("pk_set_package")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_set_package_package_id_set_id"),
        "set_package",
        ["package_id", "set_id"],
        unique=False,
    )
    op.create_table(
        "user_session",
        sa.Column("id", Id, nullable=False),
        sa.Column("token_hash", Blob, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("csrf", String, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_seen", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["user_account.id"],
            name=op.f("fk_user_session_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_session")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_user_session_token_hash")),
    )
    op.create_index(
        op.f("ix_user_session_expires_at"), "user_session", ["expires_at"], unique=False
    )
    op.create_index(op.f("ix_user_session_user_id"), "user_session", ["user_id"], unique=False)
    op.create_table(
        "delivery_attempt",
        sa.Column("delivery_id", String, nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("error", Json, nullable=True),
        sa.Column("trace", Json, nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["delivery.id"],
            name=op.f("fk_delivery_attempt_delivery_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", "n", name=op.f("pk_delivery_attempt")),
    )
    op.create_table(
        "scan",
        sa.Column("id", String, nullable=False),
        sa.Column("reference", String, nullable=False),
        sa.Column("platform", String, nullable=False),
        sa.Column("state", String, nullable=False),
        sa.Column("defender_id", String, nullable=True),
        sa.Column("claimed_by", String, nullable=True),
        sa.Column("requested_by", String, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("done", Id, nullable=False),
        sa.Column("total", Id, nullable=False),
        sa.Column("step", String, nullable=False),
        sa.Column("error", Json, nullable=True),
        sa.Column("image_id", Id, nullable=True),
        sa.ForeignKeyConstraint(
            ["claimed_by"], ["defender.id"], name=op.f("fk_scan_claimed_by"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["defender_id"], ["defender.id"], name=op.f("fk_scan_defender_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_scan_image_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scan")),
    )
    op.create_index(op.f("ix_scan_image_id"), "scan", ["image_id"], unique=False)
    op.create_index(op.f("ix_scan_state_id"), "scan", ["state", "id"], unique=False)
    for statement in _APPEND_ONLY_POSTGRESQL if _on_postgresql() else _APPEND_ONLY_SQLITE:
        op.execute(statement)


def downgrade() -> None:
    op.drop_index(op.f("ix_scan_state_id"), table_name="scan")
    op.drop_index(op.f("ix_scan_image_id"), table_name="scan")
    op.drop_table("scan")
    op.drop_table("delivery_attempt")
    op.drop_index(op.f("ix_user_session_user_id"), table_name="user_session")
    op.drop_index(op.f("ix_user_session_expires_at"), table_name="user_session")
    op.drop_table("user_session")
    op.drop_index(op.f("ix_set_package_package_id_set_id"), table_name="set_package")
    op.drop_table("set_package")
    op.drop_index(op.f("ix_match_alias_package_id"), table_name="match_alias")
    op.drop_table("match_alias")
    op.drop_index("ix_image_stat_severity", table_name="image_stat")
    op.drop_table("image_stat")
    op.drop_index(op.f("ix_image_ref_image_id"), table_name="image_ref")
    op.drop_table("image_ref")
    op.drop_index(op.f("ix_image_layer_set_id_image_id"), table_name="image_layer")
    op.drop_table("image_layer")
    op.drop_table("evaluation")
    op.drop_index(op.f("ix_delivery_state_next_at"), table_name="delivery")
    op.drop_index(op.f("ix_delivery_profile_id"), table_name="delivery")
    op.drop_index(op.f("ix_delivery_image_id"), table_name="delivery")
    op.drop_table("delivery")
    op.drop_index(op.f("ix_defender_name_id"), table_name="defender")
    op.drop_table("defender")
    op.drop_index(op.f("ix_alerted_image_id"), table_name="alerted")
    op.drop_table("alerted")
    op.drop_index(
        op.f("ix_advisory_match_severity_advisory_package_id"), table_name="advisory_match"
    )
    op.drop_index(op.f("ix_advisory_match_advisory_package_id"), table_name="advisory_match")
    op.drop_table("advisory_match")
    op.drop_table("user_account")
    op.drop_table("setup")
    op.drop_table("registry")
    op.drop_table("proxy_settings")
    op.drop_table("package_set")
    op.drop_index(op.f("ix_package_source_type"), table_name="package")
    op.drop_index(op.f("ix_package_name_type"), table_name="package")
    op.drop_table("package")
    op.drop_index(op.f("ix_layer_digest"), table_name="layer")
    op.drop_table("layer")
    op.drop_table("key_check")
    op.drop_table("join_token")
    op.drop_table("intel")
    op.drop_index(op.f("ix_image_scanned_at_id"), table_name="image")
    op.drop_index(op.f("ix_image_reference_id"), table_name="image")
    op.drop_table("image")
    op.drop_table("contact")
    op.drop_table("authority")
    op.drop_table("audit")
    op.drop_table("api_token")
    op.drop_table("alert_profile")
    if _on_postgresql():
        op.execute("DROP FUNCTION audit_append_only()")
