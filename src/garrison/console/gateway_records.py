"""What the gateway reads and writes in the database; blocking, for worker threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from sqlalchemy import Connection

from garrison.database import Database, defenders, registries, scans
from garrison.database.ids import new_id
from garrison.database.keys import SEAL_REGISTRY
from garrison.database.scans import ScanRow
from garrison.errors import GarrisonError
from garrison.fleet.authority import Authority, defender_id, fingerprint
from garrison.fleet.errors import FleetError
from garrison.fleet.join_token import token_hash
from garrison.fleet.messages import (
    Contact,
    ContactStep,
    Enrolled,
    EnrolRequest,
    Hello,
    RegistryAccess,
)
from garrison.images import ImageReference

MAX_TEXT = 255
_MAX_MESSAGE = 1000
_MAX_STEPS = 20
_MAX_MS = 1e9
"""Characters of a name, version or platform that a Defender sends."""

_MANY_QUEUED = 200


class UnknownDefenderError(FleetError):
    """A certificate of ours for a Defender that the database does not know."""

    code = "fleet.defender_unknown"

    def __init__(self) -> None:
        super().__init__("the Console does not know this Defender")

    @property
    def hint(self) -> str:
        return (
            "The Console was restored from an older backup, or the node from an older disk. With "
            "a join token set the Defender enrols again by itself."
        )


class RemovedDefenderError(FleetError):
    """Somebody removed this Defender on purpose."""

    code = "fleet.defender_removed"

    def __init__(self) -> None:
        super().__init__("this Defender was removed from the Console")

    @property
    def hint(self) -> str:
        return "To have it back, set a join token that it did not enrol with before."


@dataclass(frozen=True, slots=True)
class Contacted:
    """A contact as the database takes it."""

    host: str
    port: int
    purpose: str
    route: str
    ok: bool
    at: datetime
    code: str
    who: str
    hop: str
    message: str
    hint: str
    steps: tuple[ContactStep, ...]
    test: bool
    opened: bool
    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class Queued:
    """targets: Defenders that have a scan of their own waiting. anybody: others may wait too."""

    targets: frozenset[str]
    anybody: bool


def enrol(db: Database, authority: Authority, request: EnrolRequest, now: datetime) -> Enrolled:
    """Use the join token, add the Defender and issue its certificate: all or nothing.

    Raises:
        JoinTokenError: the token lets nobody in.
        InvalidRequestError: the certificate request cannot be signed.
    """
    with db.write() as c:
        token = defenders.consume_join_token(c, token_hash(request.token), now)
        new = new_id(now)
        pem = authority.issue_defender(request.csr, new, now)
        certificate = x509.load_pem_x509_certificate(pem.encode())
        defenders.add(
            c,
            name=request.name[:MAX_TEXT],
            group=token.group,
            labels={},
            fingerprint=fingerprint(pem),
            serial=_serial(certificate),
            not_after=certificate.not_valid_after_utc,
            version=request.version[:MAX_TEXT],
            platform=request.platform[:MAX_TEXT],
            join_token_id=token.id,
            now=now,
            defender_id=new,
        )
    return Enrolled(defender_id=new, certificate=pem, ca=authority.certificate_pem)


def admit(db: Database, certificate: bytes) -> str:
    """The Defender whose certificate (DER) this is; the inner TLS has verified its signature.

    A renewed certificate replaces the older one when it is used first, so that a Defender that
    never got it, or lost it, still has one that is good.

    Raises:
        UnknownDefenderError, RemovedDefenderError
    """
    with db.read() as c:
        row = defenders.by_fingerprint(c, fingerprint(certificate))
        named = row or defenders.by_id(c, defender_id(certificate) or "")
    if named is None:
        raise UnknownDefenderError
    if named.state == "removed":
        raise RemovedDefenderError
    if row is None:
        parsed = x509.load_der_x509_certificate(certificate)
        if parsed.not_valid_after_utc <= named.not_after:
            raise UnknownDefenderError
        with db.write() as c:
            defenders.renewed(
                c,
                named.id,
                fingerprint=fingerprint(certificate),
                serial=_serial(parsed),
                not_after=parsed.not_valid_after_utc,
            )
    return named.id


def connected(c: Connection, defender: str, hello: Hello, now: datetime) -> None:
    """A session has begun."""
    defenders.connected(
        c,
        defender,
        name=hello.name[:MAX_TEXT],
        version=hello.version[:MAX_TEXT],
        platform=hello.platform[:MAX_TEXT],
        settings_revision=_small(hello.settings_revision),
        proxy=hello.proxy[:MAX_TEXT],
        route=hello.route[:MAX_TEXT],
        now=now,
    )


def running(db: Database) -> dict[str, set[str]]:
    """Scans in work by the Defender that has them."""
    found: dict[str, set[str]] = {}
    cursor: str | None = None
    while True:
        with db.read() as c:
            page = scans.page(c, 1000, cursor, state="running")
        for row in page.items:
            if row.claimed_by is not None:
                found.setdefault(row.claimed_by, set()).add(row.id)
        cursor = page.next_cursor
        if cursor is None:
            return found


def queued(db: Database) -> Queued | None:
    """What waits, or None when nothing does."""
    with db.read() as c:
        page = scans.page(c, _MANY_QUEUED, state="queued")
    if not page.items:
        return None
    return Queued(
        frozenset(row.defender_id for row in page.items if row.defender_id is not None),
        # Older ones than this page shows may be anybody's.
        page.next_cursor is not None or any(row.defender_id is None for row in page.items),
    )


def claim(
    db: Database, defender: str, *, limit: int, lease: timedelta, now: datetime
) -> list[tuple[ScanRow, RegistryAccess | None]]:
    """Scans for this Defender, each with what its registry asks for.

    A scan whose registry's password cannot be opened fails at once.
    """
    taken: list[tuple[ScanRow, RegistryAccess | None]] = []
    with db.write() as c:
        for row in scans.claim(c, defender, limit=limit, lease_until=now + lease, now=now):
            try:
                taken.append((row, _access(db, c, row.reference)))
            except GarrisonError as error:
                scans.fail(
                    c,
                    row.id,
                    {
                        "code": error.code,
                        "message": error.message,
                        "hint": error.hint,
                        "who": "you",
                    },
                    now,
                )
    return taken


def _access(db: Database, c: Connection, reference: str) -> RegistryAccess | None:
    try:
        parsed = ImageReference.parse(reference)
    except GarrisonError:
        # A local engine's image, or text that the Defender will refuse with a reason.
        return None
    row = registries.by_host(c, parsed.domain) or registries.by_host(c, parsed.registry)
    if row is None:
        return None
    password = db.key.open(SEAL_REGISTRY, row.password).reveal() if row.password else ""
    return RegistryAccess(
        host=row.host, user=row.user, password=password, plain_http=row.plain_http, ca=row.ca
    )


def give_up(db: Database, defender: str, scan_ids: Iterable[str], now: datetime) -> None:
    """The Defender no longer has these: queue them again."""
    with db.write() as c:
        for scan_id in scan_ids:
            scans.progress(
                c, scan_id, defender_id=defender, done=0, total=0, step="", lease_until=now
            )
        scans.requeue_lost(c, now)


def requeue_lost(db: Database, now: datetime) -> bool:
    """Queue again what nobody works on any more; whether there was something."""
    with db.write() as c:
        return bool(scans.requeue_lost(c, now))


def contacted(records: Iterable[Contact], now: datetime) -> list[Contacted]:
    """Whom a Defender contacted; its clock is not believed beyond ours, nor texts without end."""
    return [
        Contacted(
            host=each.host[:MAX_TEXT],
            port=each.port if 0 < each.port < 65536 else 0,
            purpose=each.purpose[:MAX_TEXT],
            route=each.route[:MAX_TEXT],
            ok=each.ok,
            at=_moment(each.at, now),
            code=each.code[:MAX_TEXT],
            who=each.who[:MAX_TEXT],
            hop=each.hop[:MAX_TEXT],
            message=each.message[:_MAX_MESSAGE],
            hint=each.hint[:_MAX_MESSAGE],
            steps=tuple(
                ContactStep(
                    step.hop[:MAX_TEXT],
                    step.target[:MAX_TEXT],
                    step.ok,
                    min(max(step.ms, 0.0), _MAX_MS),
                    step.detail[:_MAX_MESSAGE],
                )
                for step in each.steps[:_MAX_STEPS]
            ),
            test=each.test,
            opened=each.opened,
            sent=_size(each.sent),
            received=_size(each.received),
        )
        for each in records
    ]


def all_disconnected(db: Database, now: datetime) -> None:
    with db.write() as c:
        defenders.all_disconnected(c, now)


def run(db: Database, changes: Iterable[Callable[[Connection], None]]) -> None:
    """Several small changes in one transaction."""
    with db.write() as c:
        for change in changes:
            change(c)


def _serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def _size(number: int) -> int:
    return number if 0 <= number < 1 << 48 else 0


def _small(number: int) -> int:
    return number if 0 <= number < 1 << 31 else 0


def _moment(at: float, now: datetime) -> datetime:
    try:
        return min(datetime.fromtimestamp(at, UTC), now)
    except (ValueError, OverflowError, OSError):
        return now
