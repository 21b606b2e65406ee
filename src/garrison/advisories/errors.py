"""What can go wrong with advisories."""

from __future__ import annotations

from garrison.errors import GarrisonError


class IntelError(GarrisonError):
    """Root of the errors about advisories."""

    code = "intel.failed"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self._hint = hint

    @property
    def hint(self) -> str:
        return self._hint


class NoAdvisoriesError(IntelError):
    """Nothing is loaded yet."""

    code = "intel.none"


class SnapshotError(IntelError):
    """The local advisories exist but cannot be read."""

    code = "intel.damaged"


class UpdateRunningError(IntelError):
    """Another process is updating the same data directory."""

    code = "intel.busy"


class FeedNotFoundError(IntelError):
    """The feed's server has nothing under that ecosystem."""

    code = "intel.not_found"


class FeedStatusError(IntelError):
    """The feed's server answered with a status that is no success."""

    code = "intel.status"


class BadFeedError(IntelError):
    """What was downloaded is not a usable archive."""

    code = "intel.bad_feed"
