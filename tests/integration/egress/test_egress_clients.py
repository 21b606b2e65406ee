"""What holds for every client of `docs/reference/connections.md`: certificates are verified, and
no library reads the environment behind our back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from garrison.advisories import feeds
from garrison.advisories.sources import Sources
from garrison.advisories.state import read_state
from garrison.advisories.store import snapshot_path
from garrison.alerts.deliver import Retry, send_slack
from garrison.cli.main import build
from garrison.cli.target import Remote
from garrison.defender.work import read_image
from garrison.egress import ProxySettings, check_connection, fetch
from garrison.egress.errors import PacFetchError
from garrison.egress.http import EgressClient
from garrison.errors import GarrisonError
from garrison.fleet import Authority as FleetAuthority
from garrison.fleet.join_token import JoinToken
from garrison.fleet.messages import RegistryAccess, ScanRequest
from garrison.secret import Secret
from lab.authority import Authority
from lab.faults import answers, scripted
from tests.integration.egress.conftest import HOST
from tests.integration.egress.destination import Destination, serve
from tests.integration.fleet.harness import Defender

CONNECTIONS = Path(__file__).parents[3] / "docs" / "reference" / "connections.md"


@dataclass(frozen=True)
class Way:
    """How a client gets out, and a folder of its own."""

    settings: ProxySettings
    ca_file: Path
    folder: Path
    environ: Mapping[str, str]


Run: TypeAlias = Callable[[str, Way], Awaitable[str]]
"""Connects to HOST:PORT by TLS; the code of what went wrong, or empty."""


@contextlib.asynccontextmanager
async def client(way: Way) -> Any:
    found = EgressClient(way.settings)
    try:
        yield found
    finally:
        await found.aclose()


def code_of(function: Callable[[], object]) -> str:
    try:
        function()
    except GarrisonError as error:
        return error.code
    return ""


async def intel(address: str, way: Way) -> str:
    async with client(way) as egress:
        try:
            found = await feeds.update(
                egress, way.folder, url=f"https://{address}", ecosystems=["npm"]
            )
        except GarrisonError as error:
            return error.code
    return found.failures[0].code


def other_feed(name: str) -> Run:
    """Scores, exploited vulnerabilities, ratings: each alone."""

    async def run(address: str, way: Way) -> str:
        url = f"https://{address}/file"
        sources = Sources(
            epss=url if name == "EPSS" else "",
            kev=url if name == "KEV" else "",
            cve=(url,) if name == "CVE" else (),
        )
        with serve("127.0.0.1", None) as nothing_else:
            async with client(way) as egress:
                with contextlib.suppress(GarrisonError):
                    await feeds.update(
                        egress,
                        way.folder,
                        url=nothing_else.url,
                        ecosystems=["npm"],
                        sources=sources,
                    )
        failures = read_state(snapshot_path(way.folder).parent).failures
        return next(one.code for one in failures if one.ecosystem == name)

    return run


async def slack(address: str, way: Way) -> str:
    async with client(way) as egress:
        url = Secret(f"https://{address}/services/x")
        found = await send_slack(egress, url, {"text": "x"}, datetime.now(UTC))
    return found.failure["code"] if isinstance(found, Retry) else ""


def scan(reference: str, way: Way, access: RegistryAccess | None = None) -> str:
    request = ScanRequest("1", reference, access=access)
    return code_of(lambda: read_image(request, way.settings, lambda *_: None, lambda _: None))


async def registry(address: str, way: Way) -> str:
    return await asyncio.to_thread(scan, f"{address}/app:1", way)


async def token_service(address: str, way: Way) -> str:
    """A registry that names the address as its realm."""
    challenge = f'Bearer realm="https://{address}/token",service="x"'
    text = f"HTTP/1.1 401 Unauthorized\nWWW-Authenticate: {challenge}\nContent-Length: 0\n\n"
    with scripted(answers(text)) as port:
        host = f"127.0.0.1:{port}"
        access = RegistryAccess(host, plain_http=True)
        return await asyncio.to_thread(scan, f"{host}/app:1", way, access)


async def sbom(address: str, way: Way) -> str:
    """The command line, which has no Console's settings; `GARRISON_*` decide."""
    argv = ["sbom", f"{address}/app:1", "--ca-file", str(way.ca_file)]
    return await asyncio.to_thread(code_of, lambda: build("sbom")(argv, standalone_mode=False))


async def fleet(address: str, way: Way) -> str:
    token = JoinToken.create(FleetAuthority.create(datetime.now(UTC)))
    defender = Defender(
        f"wss://{address}", way.folder, token=token, settings=way.settings, name="node"
    )
    defender.start()
    try:
        state = await defender.until(lambda state: state.failure is not None)
    finally:
        await defender.stop()
    assert state.failure is not None
    return state.failure.code


async def command(address: str, way: Way) -> str:
    """A command with `--console`."""
    remote = Remote(f"https://{address}", Secret("token"), way.settings)
    return await asyncio.to_thread(code_of, lambda: remote.call("GET", "/settings/proxy"))


async def connection_test(address: str, way: Way) -> str:
    url = f"https://{address}/"
    second = await asyncio.to_thread(check_connection, url, way.settings, purpose="intel")
    async with client(way) as egress:
        first = await egress.test(url, purpose="intel")
    codes = {(found.error or {}).get("code", "") for found in (first, second)}
    assert len(codes) == 1
    return str(codes.pop())


async def pac_file(address: str, way: Way) -> str:
    """Fetched before the first connection that it decides."""
    more = {"pac_url": f"https://{address}/proxy.pac"}
    settings = ProxySettings.build(ca=way.ca_file.read_text(), more=more)
    try:
        await asyncio.to_thread(fetch, "https://elsewhere.test/", settings, purpose="intel")
    except PacFetchError as error:
        return error.cause.code if error.cause else error.code
    raise AssertionError("a destination without a PAC file was reached")


REGISTRIES = ("registry", "the registry of the image, its token service")
CLIENTS: dict[str, tuple[tuple[str, str], Run]] = {
    "feed": (("intel", "`osv-vulnerabilities.storage.googleapis.com:443`"), intel),
    "scores": (("intel", "`epss.empiricalsecurity.com:443`"), other_feed("EPSS")),
    "exploited": (("intel", "`www.cisa.gov:443`"), other_feed("KEV")),
    "ratings": (("intel", "`nvd.nist.gov:443`"), other_feed("CVE")),
    "Slack": (("alerts", "host of each profile's webhook"), slack),
    "registry": (REGISTRIES, registry),
    "token service": (REGISTRIES, token_service),
    "registry, command line": (REGISTRIES, sbom),
    "fleet link": (("fleet", "the Console's gateway"), fleet),
    "command with --console": (("fleet", "the Console (port 8083)"), command),
    "PAC file": (("any", "the server of the PAC file"), pac_file),
    "connection test": (("any", "the address that was typed"), connection_test),
}
"""By the row of connections.md: its purpose, and the start of its destination."""


def test_every_client_of_the_reference_is_here() -> None:
    lines = CONNECTIONS.read_text().splitlines()
    rows = [
        [cell.strip() for cell in line.split("|")[1:4]]
        for line in lines
        if re.match(r"\| (`\w+`|any) \|", line)
    ]
    known = {row for row, _ in CLIENTS.values()}
    documented = {
        next((row for row in known if row[0] == purpose.strip("`") and where.startswith(row[1])),
             (purpose, where))
        for purpose, _, where in rows
        # Spoken to by the Kerberos libraries, in a protocol without certificates.
        if not where.startswith("the KDC that")
    }  # fmt: skip
    assert documented == known


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dest.test` is this machine."""
    real = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if host == HOST else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def way(outside_ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Way:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("GARRISON_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Way(ProxySettings.build(ca=outside_ca.pem), outside_ca.certificate, tmp_path, os.environ)


def shows(kind: str, outside: Authority, other: Authority, folder: Path) -> ssl.SSLContext:
    now = datetime.now(UTC)
    if kind == "good":
        return outside.server_context(HOST)
    if kind == "unknown CA":
        return other.server_context(HOST)
    if kind == "wrong name":
        return outside.server_context("else.test")
    pair = outside.issue(
        HOST, since=now - timedelta(days=20), until=now - timedelta(days=1), directory=folder
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


REFUSED = {
    "unknown CA": "egress.tls_unknown_ca",
    "wrong name": "egress.tls_wrong_name",
    "expired": "egress.tls_expired",
}


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.usefixtures("names")
async def test_certificates_are_verified(
    name: str, way: Way, outside_ca: Authority, other_ca: Authority
) -> None:
    """And a good one is taken: then something else ends the attempt, as nobody is at home."""
    _, run = CLIENTS[name]
    for kind in (*REFUSED, "good"):
        with serve(HOST, shows(kind, outside_ca, other_ca, way.folder)) as destination:
            code = await run(destination.address, way)
            if kind == "good":
                assert not code.startswith(("egress.tls", "egress.connection")), code
                assert destination.seen, code
            else:
                assert code == REFUSED[kind]
                assert destination.seen == []


class Trap:
    """A proxy that nobody may ask; `asked` counts who did."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._lock = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        with self._lock:
            self.asked.append(connection.recv(4096))


@contextlib.contextmanager
def hostile(folder: Path, own: Path, other: Authority, patch: pytest.MonkeyPatch) -> Iterator[Trap]:
    """Every variable and file by which some library can be led elsewhere. own: the CA that is
    right."""
    trap = Trap()
    with scripted(trap) as port:
        for name in ("http", "https", "all", "ws", "wss", "ftp", "socks"):
            patch.setenv(f"{name}_proxy", f"http://127.0.0.1:{port}")
            patch.setenv(f"{name}_proxy".upper(), f"http://127.0.0.1:{port}")
        patch.setenv("NO_PROXY", "nothing.test")
        patch.setenv("no_proxy", "nothing.test")
        for name in (
            "SSL_CERT_FILE",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "NODE_EXTRA_CA_CERTS",
            "HTTPX_CA_BUNDLE",
            "AIOHTTP_CA_BUNDLE",
            "GIT_SSL_CAINFO",
            "PIP_CERT",
        ):
            patch.setenv(name, str(other.certificate))  # fmt: skip
        patch.setenv("SSL_CERT_DIR", str(other.directory))
        patch.setenv("SSLKEYLOGFILE", str(folder / "keys.log"))
        patch.setenv("PYTHONHTTPSVERIFY", "0")
        patch.setenv("NETRC", str(folder / ".netrc"))
        for file in (".netrc", "_netrc"):
            (folder / file).write_text(f"machine {HOST} login eve password canary\n")
            (folder / file).chmod(0o600)
        (folder / ".curlrc").write_text(f"proxy = http://127.0.0.1:{port}\ninsecure\n")
        # What a machine's own settings are for the command line, where no Console's are.
        patch.setenv("GARRISON_HTTP_PROXY", "")
        patch.setenv("GARRISON_NO_PROXY", "")
        patch.setenv("GARRISON_CA_FILE", str(own))
        yield trap


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.usefixtures("names")
async def test_a_hostile_environment_changes_nothing(
    name: str,
    way: Way,
    outside_ca: Authority,
    other_ca: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The proxy it names is never asked, its CA not trusted, its password not sent, and the keys
    of TLS are not written where it says."""
    _, run = CLIENTS[name]
    with hostile(way.folder, way.ca_file, other_ca, monkeypatch) as trap:
        with serve(HOST, other_ca.server_context(HOST)) as destination:
            assert await run(destination.address, way) == "egress.tls_unknown_ca"
            assert destination.seen == []
        with serve(HOST, outside_ca.server_context(HOST)) as destination:
            await run(destination.address, way)
            assert destination.seen
            assert "canary" not in seen_text(destination)
            assert "ZXZlOmNhbmFyeQ" not in seen_text(destination)
    assert trap.asked == []
    assert not (way.folder / "keys.log").exists()


def seen_text(destination: Destination) -> str:
    return destination.headers_seen


@pytest.mark.usefixtures("names")
async def test_the_trap_catches_what_reads_the_environment(
    way: Way, other_ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """curl does; so the test above can fail."""
    with hostile(way.folder, way.ca_file, other_ca, monkeypatch) as trap:
        process = await asyncio.create_subprocess_exec(
            "curl", "-sS", "-m", "5", f"https://{HOST}/", stderr=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() != 0
    assert trap.asked
