"""What can go wrong between the Console and its database."""

from __future__ import annotations

from garrison.errors import GarrisonError


class DatabaseError(GarrisonError):
    """The root of this package's errors."""

    code = "database.failed"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self._hint = hint

    @property
    def hint(self) -> str:
        return self._hint


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached or opened."""

    code = "database.unavailable"


class DatabaseBusyError(DatabaseError):
    """Another process held the write lock for too long."""

    code = "database.busy"


class DatabaseFullError(DatabaseError):
    """The disk below the database is full, or refused to write."""

    code = "database.disk"


class DatabaseTooNewError(DatabaseError):
    """A newer Garrison has changed this database; this one does not know its tables."""

    code = "database.too_new"

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"the database was made by a newer Garrison (its schema is {revision})",
            "Start the newer version, or restore a backup made before the upgrade.",
        )
        self.revision = revision


class DatabaseNotMigratedError(DatabaseError):
    """The tables are missing or older than this program needs."""

    code = "database.not_migrated"


class DatabaseUrlError(DatabaseError):
    """GARRISON_DATABASE_URL is not one of `sqlite:///FILE` and `postgresql://…`."""

    code = "database.bad_url"


class KeyFileError(DatabaseError):
    """The key file cannot be used: readable by others, or not a key."""

    code = "key.unusable"


class KeyMismatchError(DatabaseError):
    """The key in the data directory is not the one that sealed these values."""

    code = "key.mismatch"


class SealBrokenError(DatabaseError):
    """A sealed value was changed or belongs to another purpose."""

    code = "key.seal_broken"


class InvalidCursorError(DatabaseError):
    """A cursor that this list did not give out."""

    code = "request.bad_cursor"

    def __init__(self) -> None:
        super().__init__(
            "the cursor does not belong to this list",
            "Start again without a cursor, with the same filter and order on every page.",
        )


class StaleRevisionError(DatabaseError):
    """Somebody else saved the settings in between."""

    code = "settings.stale"

    def __init__(self, expected: int, current: int) -> None:
        super().__init__(
            f"the settings were changed meanwhile: revision {current}, not {expected}",
            "Load the current settings, look at the difference, and save again.",
        )
        self.expected, self.current = expected, current


class NameTakenError(DatabaseError):
    """The name is in use."""

    code = "name.taken"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is already a {kind} named {name!r}", "Choose another name.")
        self.kind, self.name = kind, name


class NotFoundError(DatabaseError):
    """No such row."""

    code = "not_found"

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"there is no {kind} {key!r}")
        self.kind, self.key = kind, key


class JoinTokenError(DatabaseError):
    """A join token that lets nobody in; the subclass says why."""

    code = "fleet.join_token"


class JoinTokenUnknownError(JoinTokenError):
    code = "fleet.join_token_unknown"

    def __init__(self) -> None:
        super().__init__("the join token is not known here", "Create one in Manage > Defenders.")


class JoinTokenExpiredError(JoinTokenError):
    code = "fleet.join_token_expired"

    def __init__(self) -> None:
        super().__init__("the join token has expired", "Create another in Manage > Defenders.")


class JoinTokenUsedError(JoinTokenError):
    code = "fleet.join_token_used"

    def __init__(self) -> None:
        super().__init__(
            "the join token was used as often as it may be",
            "Create another in Manage > Defenders.",
        )


class JoinTokenRevokedError(JoinTokenError):
    code = "fleet.join_token_revoked"

    def __init__(self) -> None:
        super().__init__("the join token was revoked", "Create another in Manage > Defenders.")
