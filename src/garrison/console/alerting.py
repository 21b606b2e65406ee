"""Alert profiles, and the service that sends what they ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from garrison.console.state import AppState
from garrison.findings.finding import Severity
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.database import Database
    from garrison.database.alerts import DeliveryRow, ProfileRow
    from garrison.database.page import Page
    from garrison.egress import EgressClient


@dataclass(frozen=True, slots=True)
class ProfileForm:
    """What a person typed. webhook: None keeps the stored one (not for a new profile)."""

    name: str
    threshold: Severity
    webhook: Secret | None = None
    enabled: bool = True
    kind: str = "slack"


def profiles(state: AppState) -> list[ProfileRow]:
    """All profiles, by name. Webhook addresses are secrets and never shown."""
    raise NotImplementedError


def profile(state: AppState, profile_id: str) -> ProfileRow:
    """One profile. Raises NotFoundError."""
    raise NotImplementedError


def create_profile(state: AppState, form: ProfileForm, actor: str) -> ProfileRow:
    """A new profile. Raises InvalidFieldsError (fields `name`, `webhook`, `kind`)."""
    raise NotImplementedError


def update_profile(state: AppState, profile_id: str, form: ProfileForm, actor: str) -> ProfileRow:
    """Change a profile. Raises NotFoundError, InvalidFieldsError."""
    raise NotImplementedError


def delete_profile(state: AppState, profile_id: str, actor: str) -> None:
    """Remove a profile; what it sent stays listed. Raises NotFoundError."""
    raise NotImplementedError


async def send_test(state: AppState, profile_id: str, actor: str) -> dict[str, Any]:
    """Send a test message now: `{"ok", "status", "error": null or code, message, hint, who, hop}`.

    Raises NotFoundError.
    """
    raise NotImplementedError


def deliveries(state: AppState, limit: int = 50, cursor: str | None = None) -> Page[DeliveryRow]:
    """Messages sent, waiting and given up, newest first."""
    raise NotImplementedError


def retry_delivery(state: AppState, delivery_id: str, actor: str) -> DeliveryRow:
    """Try again now. Raises NotFoundError, ConflictError (already sent)."""
    raise NotImplementedError


class DeliveryService:
    """Sends deliveries that the database holds; a slow destination delays only its own."""

    def __init__(
        self, db: Database, egress: EgressClient, *, clock: Callable[[], datetime]
    ) -> None:
        raise NotImplementedError

    def wake(self) -> None:
        """Look at the table now. Any thread; call it after a commit that wrote deliveries."""
        raise NotImplementedError

    async def run(self) -> None:
        """Send until cancelled."""
        raise NotImplementedError
