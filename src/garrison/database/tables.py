"""The tables, once for both databases. `docs/decisions/0002-database.md` says why these.

Findings are in no table: `image_layer` → `set_package` → `match` is joined when somebody asks,
and only counters per image are kept (`image_stat`).
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    UniqueConstraint,
)

from garrison.database.types import Blob, Id, Json, String, UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# The value sealed at the first start: whether DATA/key belongs to this database.
key_check = Table(
    "key_check",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sealed", Blob, nullable=False),
)

# One row per save; the highest revision is in force, the others are its history.
proxy_settings = Table(
    "proxy_settings",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("http_proxy", String, nullable=False),
    Column("no_proxy", Json, nullable=False),
    Column("ca", String, nullable=False),
    Column("user", String, nullable=False),
    Column("password", Blob),
    # What goes beyond these five, in its plain form; passwords in it are sealed, in Base64.
    Column("more", Json, nullable=False, server_default="{}"),
    Column("saved_at", UtcDateTime, nullable=False),
    Column("saved_by", String, nullable=False),
)

# Triggers refuse UPDATE and DELETE.
audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("target", String, nullable=False),
    Column("detail", Json, nullable=False),
    sqlite_autoincrement=True,
)

user_account = Table(
    "user_account",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String, nullable=False),
    Column("name_key", String, nullable=False, unique=True),
    Column("password_hash", String, nullable=False),
    Column("role", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("disabled_at", UtcDateTime),
)

user_session = Table(
    "user_session",
    metadata,
    Column("id", Id, primary_key=True),
    Column("token_hash", Blob, nullable=False, unique=True),
    Column("user_id", ForeignKey("user_account.id", ondelete="CASCADE"), nullable=False),
    Column("csrf", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "user_id"),
    Index(None, "expires_at"),
)

api_token = Table(
    "api_token",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("token_hash", Blob, nullable=False, unique=True),
    Column("role", String, nullable=False),
    Column("created_by", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)

# At most one row: the set-up link that was printed last.
setup = Table(
    "setup",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("token_hash", Blob, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

authority = Table(
    "authority",
    metadata,
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("certificate", String, nullable=False),
    Column("key", Blob, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

join_token = Table(
    "join_token",
    metadata,
    Column("id", String, primary_key=True),
    Column("token_hash", Blob, nullable=False, unique=True),
    Column("group_name", String, nullable=False),
    Column("created_by", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("uses_left", Integer),
    Column("revoked_at", UtcDateTime),
)

defender = Table(
    "defender",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("group_name", String, nullable=False),
    Column("labels", Json, nullable=False),
    Column("fingerprint", String, nullable=False, unique=True),
    Column("serial", String, nullable=False),
    Column("not_after", UtcDateTime, nullable=False),
    Column("join_token_id", ForeignKey("join_token.id", ondelete="SET NULL")),
    Column("version", String, nullable=False),
    Column("platform", String, nullable=False),
    Column("settings_revision", Integer, nullable=False),
    Column("proxy", String, nullable=False),
    Column("route", String, nullable=False),
    Column("enrolled_at", UtcDateTime, nullable=False),
    Column("connected_at", UtcDateTime),
    Column("last_seen", UtcDateTime),
    Column("disconnected_at", UtcDateTime),
    Column("removed_at", UtcDateTime),
    Index(None, "name", "id"),
)

# Interned: a package version has one row for the whole fleet. `key` is the SHA-256 of the nine
# fields that make it what it is.
package = Table(
    "package",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", Blob, nullable=False, unique=True),
    Column("type", String, nullable=False),
    Column("namespace", String, nullable=False),
    Column("name", String, nullable=False),
    Column("version", String, nullable=False),
    Column("arch", String, nullable=False),
    Column("distro", String, nullable=False),
    Column("source", String, nullable=False),
    Column("source_version", String, nullable=False),
    Column("purl", String, nullable=False),
    Index(None, "name", "type"),
    Index(None, "source", "type"),
)

# The packages that one layer shows in an image; images that show the same share the set.
package_set = Table(
    "package_set",
    metadata,
    Column("id", Id, primary_key=True),
    Column("digest", Blob, nullable=False, unique=True),
)

# n: place in the set's sorted content, so that the path need not be in an index.
# counted: whether matches of the package are findings here. A Python or npm package, or the like,
# that a distribution package owns is the distribution's to fix: its findings are that package's.
set_package = Table(
    "set_package",
    metadata,
    Column("set_id", ForeignKey("package_set.id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("package_id", ForeignKey("package.id"), nullable=False),
    Column("counted", Boolean, nullable=False),
    Column("path", String, nullable=False),
    Column("position", String, nullable=False),
    Column("owner", String, nullable=False),
    Index(None, "package_id", "set_id"),
    sqlite_with_rowid=False,
)

image = Table(
    "image",
    metadata,
    Column("id", Id, primary_key=True),
    Column("digest", String, nullable=False, unique=True),
    Column("reference", String, nullable=False),
    Column("platform", String, nullable=False),
    Column("os_id", String, nullable=False),
    Column("os_version", String, nullable=False),
    Column("os_name", String, nullable=False),
    Column("os_codename", String, nullable=False),
    Column("size", Id, nullable=False),
    Column("packages", Integer, nullable=False),
    Column("ecosystems", Json, nullable=False),
    Column("unreadable", Json, nullable=False),
    Column("skipped", Json, nullable=False),
    Column("labels", Json, nullable=False),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("scanned_at", UtcDateTime, nullable=False),
    Column("scan_seconds", Float, nullable=False),
    Index(None, "scanned_at", "id"),
    Index(None, "reference", "id"),
)

# moved_at: when the reference was first seen naming another image.
image_ref = Table(
    "image_ref",
    metadata,
    Column("id", Id, primary_key=True),
    Column("reference", String, nullable=False),
    Column("image_id", ForeignKey("image.id", ondelete="CASCADE"), nullable=False),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
    Column("moved_at", UtcDateTime),
    UniqueConstraint("reference", "image_id"),
    Index(None, "image_id"),
)

# Interned like packages: key is the SHA-256 of the other columns.
layer = Table(
    "layer",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", Blob, nullable=False, unique=True),
    Column("digest", String, nullable=False),
    Column("diff_id", String, nullable=False),
    Column("size", Id, nullable=False),
    Column("created_by", String, nullable=False),
    Index(None, "digest"),
)

# position: oldest layer 0; -1 holds packages of images that have no layers (a root file system).
image_layer = Table(
    "image_layer",
    metadata,
    Column("image_id", ForeignKey("image.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("layer_id", ForeignKey("layer.id")),
    Column("set_id", ForeignKey("package_set.id")),
    Index(None, "set_id", "image_id"),
    sqlite_with_rowid=False,
)

# Up to which advisories a package was matched; digest: of its matches, to see a change cheaply.
evaluation = Table(
    "evaluation",
    metadata,
    Column("package_id", ForeignKey("package.id"), primary_key=True, autoincrement=False),
    Column("revision", String, nullable=False),
    Column("digest", Blob, nullable=False),
)

# "match" is a reserved word in SQLite.
advisory_match = Table(
    "advisory_match",
    metadata,
    Column("package_id", ForeignKey("package.id"), primary_key=True, autoincrement=False),
    Column("advisory", String, primary_key=True),
    Column("severity", SmallInteger, nullable=False),
    Column("fixed_in", String, nullable=False),
    Column("detail", Json, nullable=False),
    Index(None, "severity", "advisory", "package_id"),
    Index(None, "advisory", "package_id"),
)

# The other names of a match, for questions by alias or record id.
match_alias = Table(
    "match_alias",
    metadata,
    Column("alias", String, primary_key=True),
    Column("package_id", ForeignKey("package.id"), primary_key=True, autoincrement=False),
    Column("advisory", String, primary_key=True),
    Index(None, "package_id"),
    sqlite_with_rowid=False,
)

# What is known of exploitation, by the id that matches have. It changes daily and matches nothing,
# so it is joined when somebody asks. kev: whether it is in the catalogue; null: none is loaded.
exploitation = Table(
    "exploitation",
    metadata,
    Column("advisory", String, primary_key=True),
    Column("epss", Float),
    Column("percentile", Float),
    Column("kev", Boolean),
    Column("kev_added", String, nullable=False),
    Column("kev_due", String, nullable=False),
    Column("ransomware", Boolean, nullable=False),
)

# Findings that somebody accepts. The patterns stand beside them as LIKE reads them. in_force: taken
# back when it is ended, or by the Console's clock when it expires; what is waived follows from it.
waiver = Table(
    "waiver",
    metadata,
    Column("id", String, primary_key=True),
    Column("advisory", String, nullable=False),
    Column("package", String, nullable=False),
    Column("package_like", String, nullable=False),
    Column("image", String, nullable=False),
    Column("image_like", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("created_by", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("in_force", Boolean, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("ended_by", String, nullable=False),
    Index(None, "in_force", "expires_at"),
)

# Which findings the waivers in force cover: found anew with every count of the image.
waived = Table(
    "waived",
    metadata,
    Column(
        "image_id",
        ForeignKey("image.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("package_id", ForeignKey("package.id"), primary_key=True, autoincrement=False),
    Column("advisory", String, primary_key=True),
    Column("waiver_id", ForeignKey("waiver.id"), nullable=False),
    Index(None, "waiver_id"),
    sqlite_with_rowid=False,
)

# Findings by severity, without waived ones; fixable: those with a fixed version; exploited: those
# known to be; waived: how many are; pending: packages not matched yet.
image_stat = Table(
    "image_stat",
    metadata,
    Column(
        "image_id",
        ForeignKey("image.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("critical", Integer, nullable=False),
    Column("high", Integer, nullable=False),
    Column("medium", Integer, nullable=False),
    Column("low", Integer, nullable=False),
    Column("unknown", Integer, nullable=False),
    Column("fixable", Integer, nullable=False),
    Column("exploited", Integer, nullable=False, server_default="0"),
    Column("waived", Integer, nullable=False, server_default="0"),
    Column("pending", Integer, nullable=False),
    Index(
        "ix_image_stat_severity",
        "critical",
        "high",
        "medium",
        "low",
        "unknown",
        "image_id",
    ),
)

scan = Table(
    "scan",
    metadata,
    Column("id", String, primary_key=True),
    Column("reference", String, nullable=False),
    Column("platform", String, nullable=False),
    Column("state", String, nullable=False),
    Column("defender_id", ForeignKey("defender.id", ondelete="SET NULL")),
    Column("claimed_by", ForeignKey("defender.id", ondelete="SET NULL")),
    Column("requested_by", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("lease_until", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("done", Id, nullable=False),
    Column("total", Id, nullable=False),
    Column("step", String, nullable=False),
    Column("error", Json),
    Column("image_id", ForeignKey("image.id", ondelete="SET NULL")),
    # Who scanned: a Defender that the Console asked, or a build that reports what it found.
    Column("origin", String, nullable=False, server_default="defender"),
    Column("labels", Json, nullable=False, server_default="{}"),
    Index(None, "state", "id"),
    Index(None, "image_id"),
)

registry = Table(
    "registry",
    metadata,
    Column("host", String, primary_key=True),
    Column("user", String, nullable=False),
    Column("password", Blob),
    Column("plain_http", Boolean, nullable=False),
    Column("ca", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

alert_profile = Table(
    "alert_profile",
    metadata,
    Column("id", Id, primary_key=True),
    Column("uuid", String, nullable=False, unique=True),
    Column("name", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("config", Json, nullable=False),
    Column("webhook", Blob, nullable=False),
    Column("threshold", SmallInteger, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

# What a profile was told already: it is told once.
alerted = Table(
    "alerted",
    metadata,
    Column(
        "profile_id",
        ForeignKey("alert_profile.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column(
        "image_id",
        ForeignKey("image.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("package_id", ForeignKey("package.id"), primary_key=True, autoincrement=False),
    Column("advisory", String, primary_key=True),
    Column("delivery_id", String, nullable=False),
    Index(None, "image_id"),
    sqlite_with_rowid=False,
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", String, primary_key=True),
    Column("key", String, nullable=False, unique=True),
    Column("profile_id", ForeignKey("alert_profile.id", ondelete="SET NULL")),
    Column("profile_name", String, nullable=False),
    Column("image_id", ForeignKey("image.id", ondelete="SET NULL")),
    Column("findings", Integer, nullable=False),
    Column("payload", Json, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("next_at", UtcDateTime, nullable=False),
    Column("lease_until", UtcDateTime),
    Column("sent_at", UtcDateTime),
    Column("error", Json),
    Index(None, "state", "next_at"),
    Index(None, "profile_id"),
    Index(None, "image_id"),
)

delivery_attempt = Table(
    "delivery_attempt",
    metadata,
    Column("delivery_id", ForeignKey("delivery.id", ondelete="CASCADE"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("error", Json),
    Column("trace", Json),
)

# Outside hosts that were contacted. source: `console` or a Defender's id. fail_*, failure: of the
# last failure, kept after later successes. trace: of the last success. last_ms, usual_ms: how long
# it took to open the last one, and how long it takes on the whole.
contact = Table(
    "contact",
    metadata,
    Column("id", Id, primary_key=True),
    Column("host", String, nullable=False),
    Column("port", Integer, nullable=False),
    Column("source", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("route", String, nullable=False),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
    Column("succeeded", Id, nullable=False),
    Column("failed", Id, nullable=False),
    Column("last_ok", Boolean, nullable=False),
    Column("last_code", String, nullable=False),
    Column("last_ok_at", UtcDateTime),
    Column("last_failed_at", UtcDateTime),
    Column("fail_code", String, nullable=False, server_default=""),
    Column("fail_hop", String, nullable=False, server_default=""),
    Column("fail_who", String, nullable=False, server_default=""),
    Column("failure", Json),
    Column("trace", Json),
    Column("last_ms", Float),
    Column("usual_ms", Float),
    Column("sent", Id, nullable=False, server_default="0"),
    Column("received", Id, nullable=False, server_default="0"),
    UniqueConstraint("host", "port", "source", "purpose", "route"),
)

# One row. matched_revision: the advisories that every package has been matched with.
# exploitation: the scores and catalogue that are in the table of that name.
intel = Table(
    "intel",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("matched_revision", String, nullable=False),
    Column("exploitation", String, nullable=False, server_default=""),
    Column("running_until", UtcDateTime),
    Column("done", Id, nullable=False),
    Column("total", Id, nullable=False),
    Column("step", String, nullable=False),
    Column("last_attempt_at", UtcDateTime),
    Column("last_success_at", UtcDateTime),
    Column("last_error", Json),
)
