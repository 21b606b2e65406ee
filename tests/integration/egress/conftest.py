"""Real Squids on loopback, and destinations whose names only they know."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from garrison.egress import ProxySettings
from garrison.egress.interception import SIGHTINGS
from garrison.secret import Secret
from lab.authority import Authority
from lab.errors import MissingProgramError
from lab.process import program
from lab.squid import Squid
from tests.integration.egress.destination import Destination, serve

HOST = "dest.test"
USER, PASSWORD = "agent", "p@ss:w/rd%20ü"


@pytest.fixture(autouse=True)
def nothing_seen_before() -> Iterator[None]:
    """What one test saw of CAs must not judge another's."""
    SIGHTINGS.forget()
    yield
    SIGHTINGS.forget()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("egress")


@pytest.fixture(scope="session")
def outside_ca(folder: Path) -> Authority:
    """Signs destinations."""
    return Authority(folder / "outside", "Outside CA")


@pytest.fixture(scope="session")
def proxy_ca(folder: Path) -> Authority:
    """Signs what intercepting and TLS proxies show."""
    return Authority(folder / "proxy", "ACME TLS Inspection CA", algorithm="rsa")


@pytest.fixture(scope="session")
def other_ca(folder: Path) -> Authority:
    """Signs nothing."""
    return Authority(folder / "other", "Another CA")


@pytest.fixture
def secure(outside_ca: Authority) -> Iterator[Destination]:
    with serve(HOST, outside_ca.server_context(HOST)) as destination:
        yield destination


@pytest.fixture
def plain() -> Iterator[Destination]:
    with serve(HOST, None) as destination:
        yield destination


@pytest.fixture(scope="session")
def hosts_file() -> Iterator[Path]:
    """Names for Squid alone. Not below pytest's folder, which only its owner may enter."""
    with tempfile.TemporaryDirectory(prefix="egress-hosts-") as name:
        Path(name).chmod(0o755)
        file = Path(name) / "hosts"
        file.write_text("127.0.0.1 localhost dest.test other.test\n")
        file.chmod(0o644)
        yield file


@pytest.fixture(scope="session")
def start_squid(hosts_file: Path) -> Callable[..., Squid]:
    """Makes a Squid that knows `dest.test` and `other.test`, which the system's resolver does
    not: so no test can pass by a direct connection."""
    try:
        program("squid")
    except MissingProgramError as error:
        pytest.skip(str(error))

    def start(**options: Any) -> Squid:
        directives = [f"hosts_file {hosts_file}", *options.pop("directives", ())]
        return Squid(directives=directives, **options)

    return start


@pytest.fixture(scope="session")
def squid(start_squid: Callable[..., Squid]) -> Iterator[Squid]:
    """Open to all."""
    with start_squid(name="open") as squid:
        yield squid


@pytest.fixture(scope="session")
def basic_squid(start_squid: Callable[..., Squid]) -> Iterator[Squid]:
    """Asks for USER and PASSWORD."""
    with start_squid(name="basic", users={USER: PASSWORD}) as squid:
        yield squid


@pytest.fixture(scope="session")
def tls_squid(start_squid: Callable[..., Squid], proxy_ca: Authority) -> Iterator[Squid]:
    """Spoken to over TLS, and asks for USER and PASSWORD."""
    pair = proxy_ca.issue("127.0.0.1")
    with start_squid(name="tls", tls=pair, users={USER: PASSWORD}) as squid:
        yield squid


@pytest.fixture(scope="session")
def bump_squid(
    start_squid: Callable[..., Squid], proxy_ca: Authority, outside_ca: Authority
) -> Iterator[Squid]:
    """Opens TLS with `proxy_ca`."""
    with start_squid(name="bump", bump=proxy_ca, trust=[outside_ca.certificate]) as squid:
        yield squid


def settings(proxy: Squid | str, *cas: Authority, **more: Any) -> ProxySettings:
    """Settings as an operator enters them; credentials by `user` and `password`."""
    url = proxy if isinstance(proxy, str) else proxy.url
    password = more.pop("password", None)
    return ProxySettings.build(
        http_proxy=url,
        ca="".join(one.pem for one in cas),
        password=None if password is None else Secret(password),
        **more,
    )


def signed_in(proxy: Squid, *cas: Authority, **more: Any) -> ProxySettings:
    return settings(proxy, *cas, user=USER, password=PASSWORD, **more)
