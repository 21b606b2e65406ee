"""The parts of a Console put together, for the running one and for the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from garrison.console import proxy
from garrison.console.alerting import DeliveryService
from garrison.console.contacts import ContactLog
from garrison.console.intel import IntelService
from garrison.console.settings import ConsoleSettings, ListenAddress
from garrison.console.state import AppState
from garrison.console.throttle import Throttle
from garrison.database import Database
from garrison.database import authority as authority_rows
from garrison.database.keys import SEAL_AUTHORITY
from garrison.egress.http import EgressClient
from garrison.fleet import Authority
from garrison.secret import Secret


def open_database(settings: ConsoleSettings) -> Database:
    """The Console's database, made or brought up to date."""
    url = settings.database_url.reveal() if settings.database_url else None
    return Database.open(settings.data, url)


def load_authority(db: Database, now: datetime) -> Authority:
    """The certificate authority in the database; made at the first start."""
    with db.read() as c:
        row = authority_rows.current(c)
    if row is None:
        made = Authority.create(now)
        sealed = db.key.seal(SEAL_AUTHORITY, Secret(made.to_pem()))
        with db.write() as c:
            row = authority_rows.ensure(c, certificate=made.certificate_pem, key=sealed, now=now)
    return Authority.from_pem(db.key.open(SEAL_AUTHORITY, row.key).reveal())


def build_state(settings: ConsoleSettings, db: Database, contacts: ContactLog) -> AppState:
    """Everything but the listeners and the gateway; nothing runs yet."""
    saved = proxy.load(db, settings.environment_proxy)
    egress = EgressClient(saved.settings, observer=contacts.observe)
    deliveries = DeliveryService(db, egress, clock=_now)
    intel = IntelService(
        db,
        egress,
        settings.data,
        url=settings.intel_url,
        ecosystems=settings.intel_ecosystems,
        sources=settings.intel_sources,
        clock=_now,
        public_url=settings.console_url,
        alerted=deliveries.wake,
    )
    state = AppState(
        data=settings.data,
        settings=settings,
        db=db,
        egress=egress,
        authority=load_authority(db, _now()),
        intel=intel,
        deliveries=deliveries,
        throttle=Throttle(),
        meter=contacts.meter,
    )
    state.on_proxy += [intel.retry_soon, deliveries.retry_soon]
    return state


def local_gateway(settings: ConsoleSettings) -> ListenAddress:
    """Where a Defender on this machine dials the gateway."""
    listen = settings.gateway_listen
    if listen.is_wildcard:
        return ListenAddress("::1" if listen.host == "::" else "127.0.0.1", listen.port)
    return listen


def join_expiry() -> datetime:
    """When the join token of the Defender on this machine stops working, used or not."""
    return _now() + timedelta(minutes=10)


def _now() -> datetime:
    return datetime.now(UTC)
