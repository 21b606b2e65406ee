"""Nothing joins the namespaces but the proxy."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab.network import ETC, NAMESPACES, NETNS, ROOT, STATE, Network, Owner

pytestmark = pytest.mark.network


def test_only_the_proxy_knows_the_names(net: Network) -> None:
    assert net.call("proxy", socket.gethostbyname, "registry.test") == net.address("registry.test")
    assert net.call("console", socket.gethostbyname, "proxy.test") == net.proxy_address("console")
    assert net.call("remote", socket.gethostbyname, "proxy.test") == net.proxy_address("remote")
    for namespace in ("console", "remote"):
        with pytest.raises(socket.gaierror):
            net.call(namespace, socket.gethostbyname, "registry.test")
    with pytest.raises(socket.gaierror):
        net.call("outside", socket.gethostbyname, "console.test")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("console", "registry.test"),
        ("remote", "registry.test"),
        ("remote", "console.test"),
        ("outside", "console.test"),
    ],
)
def test_no_route_leads_past_the_proxy(net: Network, source: str, target: str) -> None:
    """By address: without names alone a client could still get out."""
    with pytest.raises(OSError, match="unreachable"):
        net.connect(source, target, 443, timeout=2)  # type: ignore[arg-type]


def test_the_proxy_forwards_nothing(net: Network) -> None:
    text = net.run("proxy", ["cat", "/proc/sys/net/ipv4/ip_forward"]).stdout
    assert text.strip() == "0"


def test_namespaces_trust_the_public_authority(net: Network) -> None:
    """So that a certificate outside is verified like any on the internet."""
    assert net.public_ca is not None
    argv = ["openssl", "verify", str(net.public_ca)]
    assert net.run("console", argv).stdout.endswith("OK\n")


def test_a_function_runs_inside_and_its_error_comes_out(net: Network) -> None:
    assert net.call("console", os.path.exists, "/etc/resolv.conf")
    with pytest.raises(ZeroDivisionError):
        net.call("console", divmod, 1, 0)


def test_removes_what_a_dead_run_left() -> None:
    """A run that was killed could not remove its namespaces; the next one does."""
    code = """
import os, signal
from lab.network import Network
net = Network().__enter__()
print(net.number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    number = int(done.stdout)
    left = [NETNS / f"glab{number}-{each}" for each in NAMESPACES]
    assert all(path.exists() for path in left)

    with Network() as fresh:
        owner = Owner(**json.loads((STATE / f"{fresh.number}.json").read_text()))
        assert owner == Owner.of(os.getpid())
        if fresh.number != number:
            assert not any(path.exists() for path in left)

    assert not any((NETNS / fresh.name(each)).exists() for each in NAMESPACES)
    assert not any((ETC / fresh.name(each)).exists() for each in NAMESPACES)


def test_two_networks_at_once_do_not_collide(net: Network) -> None:
    with Network() as other:
        assert other.number != net.number
        assert other.call("proxy", socket.gethostbyname, "feed.test") != net.address("feed.test")


def test_a_script_enters_for_a_program_started_by_path(net: Network, tmp_path: Path) -> None:
    file = net.script("console", ["getent", "hosts"], tmp_path / "lookup")
    assert net.proxy_address("console") in subprocess.check_output([file, "proxy.test"], text=True)
