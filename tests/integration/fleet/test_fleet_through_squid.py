"""A Defender far away: only Squid joins it with its Console, and in one case Squid reads along."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from garrison.console.listeners import tls_context
from garrison.database import registries
from garrison.database.keys import SEAL_REGISTRY
from garrison.fleet import messages
from garrison.fleet.identity import Authority as FleetAuthority
from garrison.fleet.identity import DefenderIdentity
from garrison.fleet.join_token import JoinToken
from garrison.secret import Secret
from lab.authority import Authority
from lab.errors import LabError, MissingProgramError
from lab.interceptor import Interceptor
from lab.network import CONSOLE_NAME, Network
from lab.process import Process
from lab.scene import Scene
from lab.squid import Squid
from tests.integration.fleet.harness import Console, running_console, utc_now

pytestmark = pytest.mark.network

USER, PASSWORD = "agent", "p@ss:w/rd%"
SECRET_PASSWORD = "a registry's password"


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    try:
        with Network() as network:
            yield network
    except (MissingProgramError, LabError) as error:
        if os.geteuid() == 0 and not isinstance(error, MissingProgramError):
            raise
        pytest.skip(str(error))


@contextlib.asynccontextmanager
async def console_in(net: Network, data: Path) -> AsyncIterator[Console]:
    """A gateway at wss://console.test:PORT, with a certificate of the Console's own authority."""

    def bind() -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", 0))
        return listener

    async with running_console(data, listener=net.within("console", bind), tls=outer_tls) as it:
        it.host = CONSOLE_NAME
        yield it


def outer_tls(console: Console) -> object:
    return tls_context(console.authority, [CONSOLE_NAME], console.data / "tls", utc_now())


class Remote:
    """`garrison defender` in the network's `remote`."""

    def __init__(
        self,
        net: Network,
        console: Console,
        data: Path,
        *,
        proxy: str,
        token: JoinToken | None = None,
        user: str = "",
        password: str = "",
        ca: Path | None = None,
    ) -> None:
        data.mkdir(exist_ok=True)
        self.net, self.data = net, data
        self.env = {
            "PATH": os.environ["PATH"],
            "GARRISON_DATA": str(data),
            "GARRISON_CONSOLE": console.url,
            "GARRISON_HTTP_PROXY": proxy,
            "GARRISON_HEALTH_LISTEN": "off",
        }
        if token is not None:
            file = data / "token"
            file.write_text(token.reveal())
            self.env["GARRISON_JOIN_TOKEN_FILE"] = str(file)
        if user:
            secret = data / "password"
            secret.write_text(password)
            self.env["GARRISON_PROXY_USER"] = user
            self.env["GARRISON_PROXY_PASSWORD_FILE"] = str(secret)
        if ca is not None:
            self.env["GARRISON_CA_FILE"] = str(ca)

    def __enter__(self) -> Process:
        argv = [sys.executable, "-c", "from garrison.cli import main; main()", "defender"]
        self.process = self.net.popen(
            "remote", argv, directory=self.data, name="defender", env=self.env
        )
        return self.process

    def __exit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.send(signal.SIGTERM)
            with contextlib.suppress(Exception):
                self.process.popen.wait(15)
        self.process.kill()


async def line(process: Process, pattern: str) -> None:
    await asyncio.to_thread(process.wait_line, pattern, timeout=30, stream="err")


async def connected(console: Console) -> str:
    await console.until_row(lambda: bool(console.gateway.connected()), timeout=30)
    (defender,) = console.gateway.connected()
    return defender


async def test_a_defender_enrols_and_stays_through_squid_with_a_password(
    net: Network, tmp_path: Path
) -> None:
    """Outer TLS by the token's pin, then by the authority in the identity; all through CONNECT."""
    async with console_in(net, tmp_path / "console") as console:
        with Squid(net=net, users={USER: PASSWORD}) as squid:
            token = console.join_token(uses=1)
            remote = Remote(
                net,
                console,
                tmp_path / "node",
                proxy=squid.url,
                token=token,
                user=USER,
                password=PASSWORD,
            )
            with remote as process:
                defender = await connected(console)
                route = await console.gateway.ask(
                    defender, messages.ExplainRequest("q", "https://registry.test/"), 10
                )
                (row,) = console.defenders()
                target = f"{CONSOLE_NAME}:{console.port}"
                # The first look at the certificates, and the enrolment; the session is open.
                assert set(squid.tunnels()) == {target}
                assert squid.open_tunnels() == [target]

            assert route["proxy"] == squid.url
            assert row.id == defender
            assert process.returncode == 0
            shown = process.text()
            assert PASSWORD not in shown
            assert token.secret_text not in shown
            tunnels = [entry for entry in squid.log if entry.method == "CONNECT"]
            assert {entry.user for entry in tunnels if entry.status == 200} == {USER}


async def test_a_wrong_proxy_password_is_named(net: Network, tmp_path: Path) -> None:
    async with console_in(net, tmp_path / "console") as console:
        with Squid(net=net, users={USER: PASSWORD}) as squid:
            remote = Remote(
                net,
                console,
                tmp_path / "node",
                proxy=squid.url,
                token=console.join_token(),
                user=USER,
                password="wrong",
            )
            with remote as process:
                await line(process, r'"hop": "proxy-auth"')

        assert "egress.proxy_" in process.text()
        assert console.defenders() == []


async def test_a_proxy_that_refuses_the_port_is_named(net: Network, tmp_path: Path) -> None:
    async with console_in(net, tmp_path / "console") as console:
        with Squid(net=net) as squid:
            squid.deny_ports([console.port])
            remote = Remote(
                net, console, tmp_path / "node", proxy=squid.url, token=console.join_token()
            )
            with remote as process:
                await line(process, r'"hop": "tunnel"')
                squid.deny_ports([])
                await connected(console)


@pytest.mark.parametrize("kind", ["squid", "interceptor"])
async def test_a_proxy_that_opens_tls_reads_neither_token_nor_message(
    net: Network, tmp_path: Path, kind: str
) -> None:
    """It sees the WebSocket, but what is in it belongs to Console and Defender alone."""
    inspection = Authority(tmp_path / "inspection", "ACME TLS Inspection CA", algorithm="rsa")
    async with console_in(net, tmp_path / "console") as console:
        own = tmp_path / "console.pem"
        own.write_text(console.authority.certificate_pem)
        with contextlib.ExitStack() as stack:
            interceptor = stack.enter_context(
                Interceptor(
                    net,
                    authority=inspection,
                    trust=[own],
                    mode="origin" if kind == "squid" else "connect",
                )
            )
            proxy = interceptor.url
            if kind == "squid":
                squid = stack.enter_context(
                    Squid(
                        net=net,
                        bump=inspection,
                        trust=[own, inspection.certificate],
                        upstream=interceptor.address,
                    )
                )
                proxy = squid.url
            token = console.join_token()
            remote = Remote(
                net,
                console,
                tmp_path / "node",
                proxy=proxy,
                token=token,
                ca=inspection.certificate,
            )
            with remote:
                defender = await connected(console)
                await console.gateway.ask(
                    defender, messages.ExplainRequest("q", "https://hidden.test/"), 10
                )
                scan = console.request_scan("nowhere.test/hidden:1")
                await console.until(lambda: bool(console.failed), timeout=60)
            seen = interceptor.decrypted()
            frames = sum(len(each.messages) for each in interceptor.connections)
            identity = DefenderIdentity.load(tmp_path / "node/defender")

        assert identity is not None
        assert console.scan(scan).state == "failed"
        # It did read: both connections, their requests and their frames.
        assert seen.count(b"GET /v1/fleet HTTP/1.1") >= 2
        assert frames > 10
        hidden = [
            token.secret_text.encode(),
            token.secret,
            token.reveal().encode(),
            defender.encode(),
            b"hidden",
            b"nowhere.test",
            b'"type"',
            b"BEGIN CERTIFICATE",
            identity.certificate.encode()[100:200],
        ]
        assert [each for each in hidden if each in seen] == []


async def test_an_intercepting_proxy_in_the_consoles_place_gets_no_token(
    net: Network, tmp_path: Path
) -> None:
    """A Console of somebody else behind a proxy that the node trusts: the outer TLS is fine."""
    inspection = Authority(tmp_path / "inspection", "ACME TLS Inspection CA", algorithm="rsa")
    async with console_in(net, tmp_path / "impostor") as impostor:
        own = tmp_path / "console.pem"
        own.write_text(impostor.authority.certificate_pem)
        token = JoinToken.create(FleetAuthority.create(utc_now()))
        with Interceptor(net, authority=inspection, trust=[own]) as interceptor:
            remote = Remote(
                net,
                impostor,
                tmp_path / "node",
                proxy=interceptor.url,
                token=token,
                ca=inspection.certificate,
            )
            with remote as process:
                await line(process, r"fleet\.console_not_in_join_token")

        assert impostor.gateway.counters.enrolments == 0
        assert token.secret_text not in process.text()


async def test_squid_restarts_and_the_defender_comes_back(net: Network, tmp_path: Path) -> None:
    async with console_in(net, tmp_path / "console") as console:
        with Squid(net=net) as squid:
            remote = Remote(
                net, console, tmp_path / "node", proxy=squid.url, token=console.join_token()
            )
            with remote:
                await connected(console)
                before = console.gateway.counters.sessions
                squid.restart()
                await console.until_row(
                    lambda: console.gateway.counters.sessions > before, timeout=40
                )
                assert len(console.gateway.connected()) == 1


async def test_a_far_defender_scans_a_real_registry_through_squid(tmp_path: Path) -> None:
    """The whole of a Defender's work: its session and the layers both leave through Squid."""
    with Scene("basic", image="tiny", login="basic") as scene:
        async with console_in(scene.net, tmp_path / "console") as console:
            with console.db.write() as c:
                ((user, password),) = scene.registry.users.items()
                registries.put(
                    c,
                    host=scene.registry.name,
                    user=user,
                    password=console.db.key.seal(SEAL_REGISTRY, Secret(password)),
                    plain_http=False,
                    ca="",
                    actor="test",
                    now=utc_now(),
                )
            remote = Remote(
                scene.net,
                console,
                tmp_path / "node",
                proxy=scene.settings.http_proxy,
                token=console.join_token(),
                user=scene.settings.user,
                password=scene.settings.password,
            )
            with remote as process:
                defender = await connected(console)
                scan = console.request_scan(scene.reference)
                await console.until(lambda: bool(console.taken or console.failed), timeout=60)
            assert console.failed == []
            ((by, done, inventory),) = console.taken

        assert (by, done) == (defender, scan)
        assert inventory.packages
        assert inventory.layers[0].digest.startswith("sha256:")
        host = scene.registry.name.partition(":")[0]
        scene.squid.wait_for(lambda entry: entry.target.startswith(host))
        assert password not in process.text()
