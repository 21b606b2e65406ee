"""Defenders and gateway over real sockets and a real database."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from garrison.console.gateway import DefenderNotConnectedError, GatewayLimits
from garrison.database import audit, contacts, defenders, registries
from garrison.database.keys import SEAL_REGISTRY
from garrison.egress import ProxySettings
from garrison.errors import GarrisonError
from garrison.fleet import messages
from garrison.fleet.authority import Authority, fingerprint
from garrison.fleet.identity import DefenderIdentity
from garrison.secret import Secret
from tests.integration.fleet.harness import (
    running_console,
    running_defender,
    utc_now,
)


async def test_a_defender_enrols_and_keeps_its_identity(tmp_path: Path) -> None:
    """The token is needed once; after a restart the same Defender comes back without it."""
    async with running_console(tmp_path / "console") as console:
        token = console.join_token(uses=1)
        async with running_defender(
            console.url, tmp_path / "node", token=token, name="edge-1"
        ) as defender:
            first = await defender.connected()
            await console.until_row(lambda: console.defenders()[0].state == "connected")
        async with running_defender(console.url, tmp_path / "node") as defender:
            second = await defender.connected()

        (row,) = console.defenders()
        assert first == second == row.id
        assert (row.name, row.group) == ("edge-1", "edge")
        assert console.gateway.counters.enrolments == 1
        with console.db.read() as c:
            actions = [entry.action for entry in audit.page(c).items]
        assert "defender.enrol" in actions


async def test_nothing_is_stored_of_a_token(tmp_path: Path) -> None:
    async with running_console(tmp_path / "console") as console:
        token = console.join_token()
        async with running_defender(console.url, tmp_path / "node", token=token) as defender:
            await defender.connected()
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert token.secret_text.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ("used", "fleet.join_token_used"),
        ("unknown", "fleet.join_token_unknown"),
        ("foreign", "fleet.console_not_in_join_token"),
    ],
)
async def test_without_a_good_token_nobody_enrols(tmp_path: Path, spoil: str, code: str) -> None:
    """And the Defender says why, with something to do about it."""
    async with running_console(tmp_path / "console") as console:
        token = console.join_token(uses=1)
        if spoil == "used":
            async with running_defender(console.url, tmp_path / "first", token=token) as first:
                await first.connected()
        if spoil == "unknown":
            token = type(token)(bytes(20), token.pin)
        if spoil == "foreign":
            token = console.join_token(authority=Authority.create(utc_now()))
        before = len(console.defenders())
        async with running_defender(console.url, tmp_path / "node", token=token) as defender:
            state = await defender.failing(code)

        assert state.failure is not None
        assert state.failure.hint
        assert "not connected" in state.describe()
        assert len(console.defenders()) == before


async def test_a_scan_is_handed_out_done_and_acknowledged(tmp_path: Path) -> None:
    async with running_console(tmp_path / "console") as console:
        async with running_defender(
            console.url, tmp_path / "node", token=console.join_token()
        ) as defender:
            defender_id = await defender.connected()
            scan_id = console.request_scan("registry.test/app:1")
            await console.until(lambda: bool(console.taken))
            await console.until_row(
                lambda: not list((tmp_path / "node/defender/journal").iterdir())
            )

        assert [(d, s) for d, s, _ in console.taken] == [(defender_id, scan_id)]
        assert console.scan(scan_id).state == "done"


async def test_progress_is_shown_while_a_scan_goes_on(tmp_path: Path) -> None:
    async with (
        running_console(tmp_path / "console") as console,
        running_defender(console.url, tmp_path / "node", token=console.join_token()) as defender,
    ):
        defender.scanner.gate.clear()
        await defender.connected()
        scan_id = console.request_scan("registry.test/app:1")
        await defender.scanner.begun()
        await console.until_row(lambda: console.scan(scan_id).step == "layers")
        row = console.scan(scan_id)
        assert (row.state, row.done, row.total) == ("running", 1, 2)
        defender.scanner.gate.set()
        await console.until(lambda: bool(console.taken))


async def test_a_scan_that_fails_says_why(tmp_path: Path) -> None:
    class NoSuchImageError(GarrisonError):
        code = "images.not_found"

        @property
        def hint(self) -> str:
            return "Check the tag."

    async with running_console(tmp_path / "console") as console:
        async with running_defender(
            console.url, tmp_path / "node", token=console.join_token()
        ) as defender:
            defender.scanner.error = NoSuchImageError("no such image")
            await defender.connected()
            scan_id = console.request_scan("registry.test/app:1")
            await console.until(lambda: bool(console.failed))

        assert console.scan(scan_id).error == {
            "code": "images.not_found",
            "message": "no such image",
            "hint": "Check the tag.",
        }


async def test_an_unexpected_error_shows_no_text_of_it(tmp_path: Path) -> None:
    """It could hold a password."""
    async with running_console(tmp_path / "console") as console:
        async with running_defender(
            console.url, tmp_path / "node", token=console.join_token()
        ) as defender:
            defender.scanner.error = RuntimeError("p@ssw0rd")
            await defender.connected()
            scan_id = console.request_scan("registry.test/app:1")
            await console.until(lambda: bool(console.failed))

        error = console.scan(scan_id).error
        assert error is not None
        assert error["code"] == "internal"
        assert "p@ssw0rd" not in str(error)


async def test_a_registrys_password_goes_with_the_scan(tmp_path: Path) -> None:
    async with running_console(tmp_path / "console") as console:
        with console.db.write() as c:
            registries.put(
                c,
                host="registry.test",
                user="puller",
                password=console.db.key.seal(SEAL_REGISTRY, Secret("p@ss:w/rd%")),
                plain_http=False,
                ca="",
                actor="test",
                now=utc_now(),
            )
        async with running_defender(
            console.url, tmp_path / "node", token=console.join_token()
        ) as defender:
            await defender.connected()
            console.request_scan("registry.test/app:1")
            console.request_scan("other.test/app:1")
            await console.until(lambda: len(console.taken) == 2)

        first, second = sorted(defender.scanner.requests, key=lambda request: request.id)
        assert first.access is not None
        assert (first.access.user, first.access.password) == ("puller", "p@ss:w/rd%")
        assert second.access is None
        assert "p@ss" not in repr(first)


async def test_work_is_spread_and_bounded(tmp_path: Path) -> None:
    """Ten scans, two Defenders, two at once each: no Defender has more than it can do."""
    async with running_console(tmp_path / "console") as console:
        token = console.join_token()
        async with (
            running_defender(console.url, tmp_path / "a", token=token, name="a") as a,
            running_defender(console.url, tmp_path / "b", token=token, name="b") as b,
        ):
            a.scanner.gate.clear()
            b.scanner.gate.clear()
            await a.connected()
            await b.connected()
            for number in range(10):
                console.request_scan(f"registry.test/app:{number}")
            await a.scanner.begun(2)
            await b.scanner.begun(2)
            assert (len(a.scanner.requests), len(b.scanner.requests)) == (2, 2)
            a.scanner.gate.set()
            b.scanner.gate.set()
            await console.until(lambda: len(console.taken) == 10)

        assert len({scan for _, scan, _ in console.taken}) == 10


async def test_a_scan_for_one_defender_goes_to_no_other(tmp_path: Path) -> None:
    async with running_console(tmp_path / "console") as console:
        token = console.join_token()
        async with (
            running_defender(console.url, tmp_path / "a", token=token) as a,
            running_defender(console.url, tmp_path / "b", token=token) as b,
        ):
            await a.connected()
            wanted = await b.connected()
            for number in range(4):
                console.request_scan(f"registry.test/app:{number}", defender=wanted)
            await console.until(lambda: len(console.taken) == 4)

        assert {defender for defender, _, _ in console.taken} == {wanted}
        assert a.scanner.requests == []


async def test_a_console_restart_is_survived(tmp_path: Path) -> None:
    async with (
        running_console(tmp_path / "console") as console,
        running_defender(console.url, tmp_path / "node", token=console.join_token()) as defender,
    ):
        first = await defender.connected()
        await console.stop()
        await defender.until(lambda state: state.failure is not None)
        await console.start()
        again = await defender.connected(timeout=25)

        assert again == first
        console.request_scan("registry.test/app:1")
        await console.until(lambda: bool(console.taken))


async def test_a_result_of_a_time_without_console_arrives_once(tmp_path: Path) -> None:
    async with running_console(tmp_path / "console") as console:
        async with running_defender(
            console.url, tmp_path / "node", token=console.join_token()
        ) as defender:
            defender.scanner.gate.clear()
            await defender.connected()
            scan_id = console.request_scan("registry.test/app:1")
            await defender.scanner.begun()
            await console.stop()
            await defender.until(lambda state: not state.connected)
            defender.scanner.gate.set()
            await console.until_row(lambda: journal(tmp_path / "node") == 1)
            await console.start()
            await console.until(lambda: bool(console.taken))
            await console.until_row(lambda: journal(tmp_path / "node") == 0)

        assert [scan for _, scan, _ in console.taken] == [scan_id]
        assert len(defender.scanner.requests) == 1


async def test_a_result_survives_the_defenders_end(tmp_path: Path) -> None:
    async with running_console(tmp_path / "console") as console:
        async with running_defender(
            console.url, tmp_path / "node", token=console.join_token()
        ) as defender:
            defender.scanner.gate.clear()
            await defender.connected()
            scan_id = console.request_scan("registry.test/app:1")
            await defender.scanner.begun()
            await console.stop()
            await defender.until(lambda state: not state.connected)
            defender.scanner.gate.set()
            await console.until_row(lambda: journal(tmp_path / "node") == 1)
            await defender.kill()
        await console.start()
        async with running_defender(console.url, tmp_path / "node") as again:
            await console.until(lambda: bool(console.taken))
            await again.connected()
            await console.until_row(lambda: journal(tmp_path / "node") == 0)

        assert [scan for _, scan, _ in console.taken] == [scan_id]
        assert again.scanner.requests == []


async def test_a_result_is_acknowledged_only_when_it_is_stored(tmp_path: Path) -> None:
    """A Console that cannot write says nothing, and the Defender sends the result again."""

    def disk_full() -> None:
        raise OSError("disk full")

    async with running_console(tmp_path / "console") as console:
        console.before_ingest = disk_full
        async with running_defender(
            console.url, tmp_path / "node", token=console.join_token()
        ) as defender:
            await defender.connected()
            console.request_scan("registry.test/app:1")
            await console.until_row(lambda: journal(tmp_path / "node") == 1)
            await console.stop()
            assert console.taken == []
            console.before_ingest = lambda: None
            await console.start()
            await console.until(lambda: bool(console.taken))
            await console.until_row(lambda: journal(tmp_path / "node") == 0)


async def test_a_defender_that_lost_its_scan_gets_it_again(tmp_path: Path) -> None:
    """It says on its return what it has; what it has not is queued at once, not after a lease."""
    limits = GatewayLimits(poll=0.2, lease=3600)
    async with running_console(tmp_path / "console", limits=limits) as console:
        async with running_defender(
            console.url, tmp_path / "node", token=console.join_token()
        ) as defender:
            defender.scanner.gate.clear()
            await defender.connected()
            scan_id = console.request_scan("registry.test/app:1")
            await defender.scanner.begun()
            await defender.kill()
            (left,) = console.defenders()
            await console.until_row(lambda: left.id not in console.gateway.connected())
            async with running_defender(console.url, tmp_path / "node") as again:
                await console.until(lambda: bool(console.taken))

        assert [scan for _, scan, _ in console.taken] == [scan_id]
        assert len(again.scanner.requests) == 1


async def test_a_scan_goes_to_another_when_its_lease_ends(tmp_path: Path) -> None:
    limits = GatewayLimits(poll=0.1, lease=0.6)
    async with running_console(tmp_path / "console", limits=limits) as console:
        token = console.join_token()
        async with running_defender(console.url, tmp_path / "a", token=token) as a:
            a.scanner.gate.clear()
            await a.connected()
            scan_id = console.request_scan("registry.test/app:1")
            await a.scanner.begun()
            await a.kill()
            async with running_defender(console.url, tmp_path / "b", token=token) as b:
                other = await b.connected()
                await console.until(lambda: bool(console.taken))

        assert [(d, s) for d, s, _ in console.taken] == [(other, scan_id)]


async def test_one_session_of_a_defender_the_newer_wins(tmp_path: Path) -> None:
    async with (
        running_console(tmp_path / "console") as console,
        running_defender(console.url, tmp_path / "node", token=console.join_token()) as older,
    ):
        await older.connected()
        identity = DefenderIdentity.load(tmp_path / "node/defender")
        assert identity is not None
        identity.save(tmp_path / "clone/defender")
        async with running_defender(console.url, tmp_path / "clone") as newer:
            await newer.connected()
            state = await older.failing("fleet.session_replaced")

            assert state.failure is not None
            assert "cloned disk" in state.failure.hint
            assert len(console.gateway.connected()) == 1


async def test_a_removed_defender_stays_out(tmp_path: Path) -> None:
    """Its join token is still good; somebody removed it all the same."""
    async with running_console(tmp_path / "console") as console:
        token = console.join_token()
        async with running_defender(console.url, tmp_path / "node", token=token) as defender:
            defender_id = await defender.connected()
            with console.db.write() as c:
                defenders.remove(c, defender_id, actor="test", now=utc_now())
            console.gateway.disconnect(defender_id)
            await defender.failing("fleet.defender_removed")
            assert console.gateway.connected() == frozenset()
            assert len(console.defenders()) == 1
        async with running_defender(
            console.url, tmp_path / "node", token=console.join_token()
        ) as again:
            assert await again.connected() != defender_id


async def test_a_defender_unknown_after_data_loss_enrols_again(tmp_path: Path) -> None:
    """The Console was set up anew: another authority. A new token on the node is enough."""
    async with running_console(tmp_path / "old") as old:
        async with running_defender(old.url, tmp_path / "node", token=old.join_token()) as defender:
            await defender.connected()
        port = old.port
    async with running_console(tmp_path / "new", port=port) as new:
        async with running_defender(new.url, tmp_path / "node") as defender:
            state = await defender.failing("fleet.console_not_trusted")
            assert state.failure is not None
            assert "join token" in state.failure.hint
        async with running_defender(new.url, tmp_path / "node", token=new.join_token()) as defender:
            await defender.connected()

        assert len(new.defenders()) == 1


async def test_a_certificate_is_renewed_over_the_session(tmp_path: Path) -> None:
    """In its last third; the old one is good until the new one was used."""
    async with running_console(tmp_path / "console") as console:
        node = tmp_path / "node"
        async with running_defender(console.url, node, token=console.join_token()) as defender:
            defender_id = await defender.connected()
        old = DefenderIdentity.load(node / "defender")
        assert old is not None
        console.ahead = timedelta(minutes=30)
        async with running_defender(console.url, node, ahead=timedelta(days=70)) as defender:
            await defender.connected()
            await console.until_row(lambda: DefenderIdentity.load(node / "defender") != old)
            assert console.defenders()[0].fingerprint == fingerprint(old.certificate)
        new = DefenderIdentity.load(node / "defender")
        assert new is not None
        async with running_defender(console.url, node) as defender:
            assert await defender.connected() == defender_id
            assert console.defenders()[0].fingerprint == fingerprint(new.certificate)
        old.save(node / "defender")
        async with running_defender(console.url, node) as defender:
            await defender.failing("fleet.defender_unknown")


async def test_questions_are_answered_by_the_defender(tmp_path: Path) -> None:
    async with running_console(tmp_path / "console") as console:
        async with running_defender(
            console.url,
            tmp_path / "node",
            token=console.join_token(),
            settings=ProxySettings.build(http_proxy="http://proxy.test:3128"),
            name="edge-1",
        ) as defender:
            defender_id = await defender.connected()
            route = await console.gateway.ask(
                defender_id, messages.ExplainRequest("q1", "https://registry.test/v2/"), 10
            )
            tested = await console.gateway.ask(
                defender_id, messages.TestRequest("q2", f"http://127.0.0.1:{console.port}/"), 10
            )
            wrong = await console.gateway.ask(
                defender_id, messages.ExplainRequest("q3", "ftp://registry.test/"), 10
            )

        assert (route["route"], route["proxy"]) == ("proxy", "http://proxy.test:3128")
        assert tested["ok"]
        assert tested["from"] == "edge-1"
        assert wrong["error"]["code"] == "egress.bad_url"
        with pytest.raises(DefenderNotConnectedError):
            await console.gateway.ask(
                defender_id, messages.ExplainRequest("q4", "https://x.test/"), 10
            )


async def test_contacts_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("garrison.defender.agent.CONTACTS_SECONDS", 0.05)
    async with running_console(tmp_path / "console") as console:
        async with running_defender(
            console.url, tmp_path / "node", token=console.join_token()
        ) as defender:
            defender_id = await defender.connected()

            def rows() -> list[contacts.ContactRow]:
                with console.db.read() as c:
                    return list(contacts.page(c).items)

            await console.until_row(lambda: bool(rows()))

        (row,) = rows()
        assert (row.source, row.purpose, row.port, row.last_ok) == (
            defender_id,
            "fleet",
            console.port,
            True,
        )


async def test_changed_settings_open_the_session_again(tmp_path: Path) -> None:
    """And scans that begin later use them, without a restart."""
    async with running_console(tmp_path / "console") as console:
        async with running_defender(
            console.url, tmp_path / "node", token=console.join_token()
        ) as defender:
            await defender.connected()
            await console.until_row(lambda: console.defenders()[0].settings_revision == 0)
            defender.settings = ProxySettings.build(http_proxy="http://proxy.test:3128", revision=7)
            defender.agent.settings_changed()
            await console.until_row(lambda: console.defenders()[0].settings_revision == 7)
            await defender.connected()
            console.request_scan("registry.test/app:1")
            await console.until(lambda: bool(console.taken))

        assert console.defenders()[0].proxy == "http://proxy.test:3128"
        assert defender.scanner.settings[-1].revision == 7


def journal(data: Path) -> int:
    """Results on the Defender's disk."""
    directory = data / "defender/journal"
    return len(list(directory.iterdir())) if directory.exists() else 0
