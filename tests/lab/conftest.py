"""One network and one authority for all tests of the lab."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import debian
from lab.authority import Authority
from lab.network import Namespace, Network
from lab.squid import Squid

SQUID_USER, SQUID_PASSWORD = "agent", "p@ss:w/rd%"


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """What the lab starts must be there."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    debian.ensure()


@pytest.fixture(scope="session")
def public_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("public"), "Lab Public CA")


@pytest.fixture(scope="session")
def inspection_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(
        tmp_path_factory.mktemp("inspection"), "ACME TLS Inspection CA", algorithm="rsa"
    )


@pytest.fixture(scope="session")
def net(public_ca: Authority, programs: None) -> Iterator[Network]:
    with Network(public_ca=public_ca.certificate) as network:
        yield network


@dataclass(frozen=True, slots=True)
class Fetched:
    """What curl saw. `exit_code` as in curl(1): 6 no name, 7 no connection, 56, 60 bad TLS."""

    exit_code: int
    status: int
    connect_status: int
    body: str


@dataclass(frozen=True, slots=True)
class Curl:
    """A client with no knowledge of the lab, in a namespace."""

    net: Network

    def __call__(
        self,
        url: str,
        *options: str,
        proxy: Squid | str | None = None,
        user: str | None = None,
        ca: Path | None = None,
        proxy_ca: Path | None = None,
        namespace: Namespace = "console",
    ) -> Fetched:
        argv = ["curl", "-sS", "--max-time", "10", "-w", "\n%{http_code} %{http_connect}"]
        if proxy:
            argv += ["-x", proxy if isinstance(proxy, str) else proxy.url]
        if user:
            argv += ["--proxy-user", user]
        if ca:
            argv += ["--cacert", str(ca)]
        if proxy_ca:
            argv += ["--proxy-cacert", str(proxy_ca)]
        done = self.net.run(namespace, [*argv, *options, url], check=False)
        body, _, codes = done.stdout.rpartition("\n")
        status, connect_status = codes.split()
        return Fetched(done.returncode, int(status), int(connect_status), body)


@pytest.fixture(scope="session")
def curl(net: Network) -> Curl:
    return Curl(net)
