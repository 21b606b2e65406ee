"""What is known to be vulnerable: advisories in OSV's form, kept in one local SQLite snapshot.

`AdvisoryStore` reads it, `garrison.advisories.feeds` (which opens connections) updates it, and
`check` says whether an entry applies to a version.
"""

from garrison.advisories.advisory import (
    Advisory,
    Affected,
    AffectedRow,
    Event,
    Range,
    Rating,
    Reference,
    normalize_name,
)
from garrison.advisories.errors import (
    BadFeedError,
    FeedNotFoundError,
    FeedStatusError,
    IntelError,
    NoAdvisoriesError,
    SnapshotError,
    UpdateRunningError,
)
from garrison.advisories.facts import CveFacts, Epss, Kev
from garrison.advisories.ranges import Verdict, check, fixes
from garrison.advisories.state import FeedFailure, UpdateState
from garrison.advisories.store import (
    AdvisoryStore,
    EcosystemState,
    SkippedRecord,
    SourceState,
    snapshot_path,
)

__all__ = [
    "Advisory",
    "AdvisoryStore",
    "Affected",
    "AffectedRow",
    "BadFeedError",
    "CveFacts",
    "EcosystemState",
    "Epss",
    "Event",
    "FeedFailure",
    "FeedNotFoundError",
    "FeedStatusError",
    "IntelError",
    "Kev",
    "NoAdvisoriesError",
    "Range",
    "Rating",
    "Reference",
    "SkippedRecord",
    "SnapshotError",
    "SourceState",
    "UpdateRunningError",
    "UpdateState",
    "Verdict",
    "check",
    "fixes",
    "normalize_name",
    "snapshot_path",
]
