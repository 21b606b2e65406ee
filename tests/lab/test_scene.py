"""A whole scene: every kind of proxy joins the network, and only it."""

import json
import sys
from pathlib import Path

import pytest

from lab.network import Namespace, dial
from lab.relay import Relay
from lab.scene import PROXY_PASSWORD, PROXY_USER, Kind, Scene
from tests.lab.conftest import Curl

pytestmark = pytest.mark.network


@pytest.fixture
def advisories(tmp_path: Path) -> Path:
    (tmp_path / "ecosystems.txt").write_text("PyPI\n")
    return tmp_path


@pytest.mark.parametrize("kind", ["plain", "basic", "tls", "intercept"])
def test_what_the_scene_says_to_enter_works(kind: Kind, advisories: Path) -> None:
    with Scene(kind, login="token", image="tiny", advisories=advisories) as scene:
        settings = scene.settings
        user = f"{settings.user}:{settings.password}" if settings.user else None
        ca = scene.inspection_ca.certificate if kind == "intercept" else None
        proxy_ca = scene.proxy_ca.certificate if kind == "tls" else None
        curl = Curl(scene.net)
        clients: tuple[Namespace, ...] = ("console", "remote")
        for namespace in clients:
            fetched = curl(
                scene.feed.url + "/ecosystems.txt",
                proxy=settings.http_proxy,
                user=user,
                ca=ca,
                proxy_ca=proxy_ca,
                namespace=namespace,
            )
            assert (fetched.exit_code, fetched.body) == (0, "PyPI\n")
        assert len(scene.feed.requests) == 2
        assert scene.reference == "registry.test/team/shop:1.0"
        assert PROXY_USER not in scene.squid.url
        assert PROXY_PASSWORD not in scene.squid.url


def test_records_what_an_intercepting_squid_reads(advisories: Path) -> None:
    with Scene("intercept", image="tiny", record=True, advisories=advisories) as scene:
        fetched = Curl(scene.net)(
            scene.slack.webhook,
            "-H",
            "Content-Type: application/json",
            "-d",
            json.dumps({"text": "the secret word"}),
            proxy=scene.settings.http_proxy,
            ca=scene.inspection_ca.certificate,
        )
        assert fetched.body == "ok"
        assert b"the secret word" in scene.recorder.decrypted()


def test_a_program_of_the_product_starts_in_a_clean_environment(advisories: Path) -> None:
    code = "import os, time; print(sorted(os.environ), flush=True); time.sleep(60)"
    with Scene(image="tiny", advisories=advisories) as scene:
        process = scene.start("console", [sys.executable, "-c", code], name="console")
        line = process.wait_line(r"^\[.*\]$")[0]
        assert "proxy" not in line.lower()
    assert process.returncode is not None


def test_a_relay_leads_a_browser_in(advisories: Path) -> None:
    """A person's browser is outside all namespaces."""
    with (
        Scene(image="tiny", advisories=advisories) as scene,
        Relay(scene.net, "outside", scene.slack.name, 443) as relay,
    ):
        context = scene.public_ca.client_context()
        with (
            dial("127.0.0.1", relay.port) as plain,
            context.wrap_socket(plain, server_hostname=scene.slack.name) as browser,
        ):
            browser.sendall(b"GET / HTTP/1.0\r\nHost: hooks.slack.test\r\n\r\n")
            assert browser.recv(4096).startswith(b"HTTP/1.1 200 OK")
