"""Proxy settings, registries, accounts, authority, contacts, intel."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection

from garrison.database import (
    Database,
    accounts,
    audit,
    authority,
    contacts,
    defenders,
    intel,
    proxy,
    registries,
)
from garrison.database.errors import (
    InvalidCursorError,
    NameTakenError,
    NotFoundError,
    StaleRevisionError,
)
from garrison.database.keys import SEAL_PROXY, token_hash
from garrison.egress import Step
from garrison.secret import Secret
from tests.integration.database.samples import NOW, later


def save(c: Connection, **changes: Any) -> int:
    values: dict[str, Any] = {
        "http_proxy": "http://proxy.test:8080",
        "no_proxy": ["10.0.0.0/8", ".corp.test"],
        "ca": "",
        "user": "",
        "password": None,
        "more": {},
        "expected_revision": None,
        "actor": "anna",
        "now": NOW,
    }
    return proxy.save(c, **(values | changes))


def actions(db: Database) -> list[str]:
    with db.read() as c:
        return [row.action for row in reversed(audit.page(c, 100).items)]


def test_proxy_settings_keep_every_revision(db: Database) -> None:
    with db.read() as c:
        assert proxy.current(c) is None
    sealed = db.key.seal(SEAL_PROXY, Secret("p@ss:w/rd%"))
    with db.write() as c:
        assert save(c, expected_revision=0) == 1
        assert save(c, expected_revision=1, user="agent", password=sealed, now=later(1)) == 2

    with db.read() as c:
        now = proxy.current(c)
        history = proxy.history(c)
        entries = audit.page(c, action="proxy").items
    assert now is not None
    assert (now.revision, now.no_proxy, now.saved_at) == (
        2,
        ("10.0.0.0/8", ".corp.test"),
        later(1),
    )
    assert db.key.open(SEAL_PROXY, now.password or b"").reveal() == "p@ss:w/rd%"
    assert [row.revision for row in history.items] == [2, 1]
    assert entries[0].detail == {
        "revision": 2,
        "changed": {"user": ["", "agent"], "password": "set"},
    }
    assert "p@ss" not in str(entries)


def test_stale_revision_is_refused(db: Database) -> None:
    with db.write() as c:
        save(c)
    with pytest.raises(StaleRevisionError) as caught, db.write() as c:
        save(c, expected_revision=0)
    assert caught.value.code == "settings.stale"
    assert caught.value.current == 1
    assert actions(db) == ["proxy.save"]


def test_registry_is_put_found_and_removed(db: Database) -> None:
    def put(c: Connection, user: str, at: datetime) -> None:
        registries.put(
            c,
            host="registry.test:5000",
            user=user,
            password=b"sealed",
            plain_http=False,
            ca="",
            actor="anna",
            now=at,
        )

    with db.write() as c:
        put(c, "one", NOW)
        put(c, "two", later(5))
    with db.read() as c:
        found = registries.by_host(c, "registry.test:5000")
        assert registries.by_host(c, "other.test") is None
        assert [row.host for row in registries.page(c).items] == ["registry.test:5000"]
    assert found is not None
    assert (found.user, found.password, found.created_at, found.updated_at) == (
        "two",
        b"sealed",
        NOW,
        later(5),
    )
    with db.write() as c:
        assert registries.remove(c, "registry.test:5000", actor="anna", now=NOW)
        assert not registries.remove(c, "registry.test:5000", actor="anna", now=NOW)
    assert actions(db) == ["registry.put", "registry.put", "registry.remove"]


def add_user(c: Connection, name: str) -> accounts.UserRow:
    return accounts.create_user(
        c, name=name, password_hash="$argon2$", role="admin", actor="set-up", now=NOW
    )


def test_names_of_users_are_unique_whatever_their_case(db: Database) -> None:
    with db.write() as c:
        add_user(c, "Änna")
    with pytest.raises(NameTakenError), db.write() as c:
        add_user(c, "änna")
    with db.read() as c:
        found = accounts.user_by_name(c, "ÄNNA")
        assert accounts.count_users(c) == 1
        assert accounts.user_by_name(c, "otto") is None
    assert found is not None
    assert found.name == "Änna"
    assert "argon2" not in repr(found)


def test_session_lives_until_it_expires_or_the_password_changes(db: Database) -> None:
    with db.write() as c:
        user = add_user(c, "anna")
        for token in ("one", "two"):
            accounts.create_session(
                c,
                token_hash=token_hash(token),
                user_id=user.id,
                csrf="csrf",
                expires_at=later(60),
                now=NOW,
            )
    with db.read() as c:
        session = accounts.session_by_hash(c, token_hash("one"), NOW)
        assert accounts.session_by_hash(c, token_hash("other"), NOW) is None
        assert accounts.session_by_hash(c, token_hash("one"), later(60)) is None
    assert session is not None
    assert (session.user, session.csrf, session.created_at) == (user, "csrf", NOW)

    with db.write() as c:
        accounts.touch_session(c, session.id, expires_at=later(120), now=later(30))
        assert accounts.delete_expired_sessions(c, later(61)) == 1
    with db.read() as c:
        assert accounts.session_by_hash(c, token_hash("one"), later(61)) is not None
        assert accounts.session_by_hash(c, token_hash("two"), NOW) is None
    with db.write() as c:
        accounts.set_password(c, user.id, "$new$", actor="anna", now=later(62))
    with db.read() as c:
        assert accounts.session_by_hash(c, token_hash("one"), later(62)) is None
    with pytest.raises(NotFoundError), db.write() as c:
        accounts.set_password(c, 999, "$new$", actor="anna", now=NOW)


def test_api_token_ends_when_revoked_or_expired(db: Database) -> None:
    with db.write() as c:
        lasting, short = (
            accounts.create_api_token(
                c,
                name=name,
                token_hash=token_hash(name),
                role="ci",
                expires_at=expires,
                actor="anna",
                now=NOW,
            )
            for name, expires in (("lasting", None), ("short", later(10)))
        )
        accounts.touch_api_token(c, lasting.id, later(3))
    with db.read() as c:
        found = accounts.api_token_by_hash(c, token_hash("lasting"), later(99))
        assert accounts.api_token_by_hash(c, token_hash("short"), later(9)) == short
        assert accounts.api_token_by_hash(c, token_hash("short"), later(10)) is None
        assert {row.name for row in accounts.api_tokens(c).items} == {"lasting", "short"}
    assert found is not None
    assert found.last_used_at == later(3)
    with db.write() as c:
        assert accounts.revoke_api_token(c, lasting.id, actor="anna", now=NOW)
        assert not accounts.revoke_api_token(c, lasting.id, actor="anna", now=NOW)
    with db.read() as c:
        assert accounts.api_token_by_hash(c, token_hash("lasting"), NOW) is None


def test_set_up_link_works_once_and_only_the_newest(db: Database) -> None:
    with db.write() as c:
        accounts.set_setup_token(c, token_hash("old"), NOW)
        accounts.set_setup_token(c, token_hash("new"), NOW)
        assert not accounts.setup_token_valid(c, token_hash("old"))
        assert accounts.setup_token_valid(c, token_hash("new"))
        assert not accounts.consume_setup_token(c, token_hash("old"))
        assert accounts.consume_setup_token(c, token_hash("new"))
        assert not accounts.consume_setup_token(c, token_hash("new"))


def test_two_consoles_agree_on_one_authority(db: Database) -> None:
    with db.read() as c:
        assert authority.current(c) is None
    with db.write() as c:
        first = authority.ensure(c, certificate="PEM 1", key=b"1", now=NOW)
    with db.write() as c:
        second = authority.ensure(c, certificate="PEM 2", key=b"2", now=later(1))
    assert first == second
    assert second.certificate == "PEM 1"


@dataclass(frozen=True)
class Record:
    host: str
    port: int = 443
    purpose: str = "registry"
    route: str = "direct"
    ok: bool = True
    at: datetime = NOW
    code: str = ""
    who: str = ""
    hop: str = ""
    message: str = ""
    hint: str = ""
    steps: tuple[Step, ...] = ()
    test: bool = False
    opened: bool = True
    sent: int = 0
    received: int = 0


def test_contacts_are_counted(db: Database) -> None:
    with db.write() as c:
        contacts.add(
            c,
            "console",
            [
                Record("b.test"),
                Record("a.test", ok=False, code="egress.refused", at=later(2)),
                Record("a.test", at=later(1)),
            ],
        )
        contacts.add(c, "console", [Record("a.test", at=later(-5))])
        contacts.add(c, "other", [Record("a.test", route="proxy.test:3128")])
    with db.read() as c:
        rows = contacts.page(c).items
        assert [row.host for row in contacts.page(c, wanted=contacts.Wanted("B.T")).items] == [
            "b.test"
        ]
    assert [(row.host, row.source, row.succeeded, row.failed) for row in rows] == [
        ("a.test", "console", 2, 1),
        ("a.test", "other", 1, 0),
        ("b.test", "console", 1, 0),
    ]
    first = rows[0]
    assert (first.first_seen, first.last_seen) == (later(-5), later(2))
    assert (first.last_ok, first.last_code) == (False, "egress.refused")
    assert (first.last_ok_at, first.last_failed_at) == (later(1), later(2))


def flows(db: Database, *, each: bool = False, hours: float = 0) -> dict[str, contacts.Flow]:
    with db.read() as c:
        found = contacts.flows(c, later(hours * 3600), since=later(-1000), each=each)
    return {f"{flow.node_name or flow.node} {flow.host} {flow.route}": flow for flow in found}


def test_last_failure_is_kept_after_a_success(db: Database) -> None:
    steps = (Step("resolve", "a.test", False, 12.0, "no such name"),)
    failed = Record(
        "a.test", ok=False, code="egress.x", hop="tcp", who="you", message="m\0", steps=steps
    )
    good = Record("a.test", at=later(60), steps=(Step("tcp", "a.test", True, 4.0, ""),))
    slow = Record("a.test", at=later(90), steps=(Step("tcp", "a.test", True, 2004.0, ""),))
    with db.write() as c:
        contacts.add(c, "console", [failed])
    assert flows(db)["console a.test direct"].failing == 1
    with db.write() as c:
        contacts.add(c, "console", [good])
        contacts.add(c, "console", [slow])
        (row,) = contacts.page(c).items
    assert (row.last_ok, row.fail_code, row.fail_hop, row.fail_who) == (
        True,
        "egress.x",
        "tcp",
        "you",
    )
    assert row.failure is not None
    assert row.failure["message"] == "m\ufffd"
    assert row.failure["trace"][0]["hop"] == "resolve"
    assert (row.last_ms, row.usual_ms) == (2004.0, 404.0)
    flow = flows(db)["console a.test direct"]
    assert (flow.failing, flow.slow, flow.slow_ms, flow.code) == (0, 1, 2004.0, "")
    assert flow.past_code == "egress.x"


def test_failures_retire_by_themselves(db: Database) -> None:
    """By another route that is taken since, and when nobody comes by for a day."""
    with db.write() as c:
        for host in ("left.test", "old.test"):
            contacts.add(
                c, "console", [Record(host, route="p.test:1", ok=False, code="x", hop="tcp")]
            )
        contacts.add(c, "console", [Record("left.test", at=later(5))])
    now = flows(db)
    assert (
        now["console left.test p.test:1"].failing,
        now["console left.test p.test:1"].proxy_down,
    ) == (0, 1)
    assert now["console old.test p.test:1"].at_proxy == 1
    assert flows(db, hours=23)["console old.test p.test:1"].failing == 1
    assert flows(db, hours=25)["console old.test p.test:1"].failing == 0


def test_defenders_are_grouped_and_removed_ones_forgotten(db: Database) -> None:
    ids = []
    for number in range(3):
        with db.write() as c:
            row = defenders.add(
                c, name=f"n{number}", group="leipzig", labels={}, fingerprint=f"{number:064x}",
                serial="1", not_after=later(999), version="1", platform="x", join_token_id=None,
                now=NOW,
            )  # fmt: skip
            contacts.add(c, row.id, [Record("a.test", ok=number != 1, code="x", hop="tls")])
            ids.append(row.id)
    flow = flows(db)["leipzig a.test direct"]
    assert (flow.sources, flow.failing, flow.at_proxy, flow.connections) == (3, 1, 0, 3)
    assert sorted(flows(db, each=True)) == [f"n{n} a.test direct" for n in range(3)]
    with db.write() as c:
        defenders.remove(c, ids[1], actor="anna", now=NOW)
        assert contacts.by_source(c, 10) == [("n0", "leipzig", 1, 0), ("n2", "leipzig", 1, 0)]
        assert contacts.count(c, contacts.Wanted(failing=True)) == 1
    assert flows(db)["leipzig a.test direct"].failing == 0


def test_tests_count_where_the_host_is_contacted_anyway(db: Database) -> None:
    """A good test ends an alarm; a mistyped address never starts one."""
    with db.write() as c:
        contacts.add(c, "console", [Record("a.test", ok=False, code="x")])
        contacts.add(c, "console", [Record("a.test", at=later(1), test=True)])
        contacts.add(c, "console", [Record("typo.test", ok=False, code="x", test=True)])
        rows = contacts.page(c).items
    assert [(row.host, row.purpose, row.last_ok) for row in rows] == [
        ("a.test", "registry", True),
        ("typo.test", "test", False),
    ]
    assert list(flows(db)) == ["console a.test direct"]


def test_bytes_are_added_to_what_was_opened(db: Database) -> None:
    moved = Record("a.test", opened=False, sent=3, received=2**40, at=later(9))
    with db.write() as c:
        contacts.add(c, "console", [Record("a.test"), moved])
        contacts.add(c, "console", [moved, Record("never-opened.test", opened=False, sent=1)])
        (row,) = contacts.page(c).items
    assert (row.sent, row.received, row.succeeded, row.last_seen) == (6, 2**41, 1, later(9))


def test_new_since(db: Database) -> None:
    with db.write() as c:
        contacts.add(c, "console", [Record("old.test"), Record("new.test", at=later(10))])
        contacts.add(c, "console", [Record("old.test", at=later(20))])
        new = list(contacts.every(c, contacts.Wanted(since=later(5))))
        fleet = contacts.count(c, contacts.Wanted(purposes=("fleet",)))
    assert ([row.host for row in new], fleet) == (["new.test"], 0)


def test_one_update_of_the_advisories_at_a_time(db: Database) -> None:
    with db.read() as c:
        assert intel.state(c) == intel.IntelRow()
    with db.write() as c:
        assert intel.start(c, lease_until=later(30), now=NOW)
        assert not intel.start(c, lease_until=later(30), now=later(1))
        intel.progress(c, done=5, total=9, step="PyPI", lease_until=later(60))
        state = intel.state(c)
        assert state.running(later(59))
        assert not state.running(later(60))
        assert (state.done, state.total, state.step) == (5, 9, "PyPI")
        intel.failed(c, {"code": "egress.refused"})
        assert intel.start(c, lease_until=later(90), now=later(2))
        intel.succeeded(c, later(3))
        intel.matched(c, "r7")
    with db.read() as c:
        state = intel.state(c)
    assert (state.matched_revision, state.last_success_at, state.last_error) == (
        "r7",
        later(3),
        None,
    )
    assert not state.running(later(4))


def test_audit_is_paged_newest_first(db: Database) -> None:
    with db.write() as c:
        for n in range(7):
            audit.record(c, actor="a", action=f"x.{n % 2}", target=str(n), detail={}, now=NOW)
    seen: list[str] = []
    cursor = None
    with db.read() as c:
        while True:
            page = audit.page(c, 3, cursor)
            seen += [row.target for row in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        odd = audit.page(c, action="x.1").items
        with pytest.raises(InvalidCursorError):
            proxy.history(c, 3, audit.page(c, 3).next_cursor)
    assert seen == list("6543210")
    assert [row.target for row in odd] == ["5", "3", "1"]
