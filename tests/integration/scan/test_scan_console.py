"""A build that is judged by a Console: its exit code, its report, and what people see there."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from garrison.cli.target import Local
from garrison.console import accounts
from lab.errors import LabError, MissingProgramError
from lab.image import Image
from lab.network import CONSOLE_NAME, Network
from lab.squid import Squid
from lab.wait import until
from tests.integration.console.program import Program
from tests.integration.scan.conftest import Garrison
from tests.integration.scan.test_scan_cli import CRITICAL, LOW, advisory
from tests.unit.advisories.records import load
from tests.unit.console.harness import NOW

USER, PASSWORD = "agent", "p@ss:w%rd"


def fill(data: Path) -> None:
    """Advisories for all that is in the tiny image."""
    load(
        data,
        PyPI=[advisory("PYSEC-1", "PyPI", "jinja2", CRITICAL)],
        npm=[advisory("GHSA-1", "npm", "lodash", LOW, fixed="")],
        Debian=[advisory("DSA-1", "Debian:12", "expat")],
    )


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    data = tmp_path_factory.mktemp("console") / "data"
    fill(data)
    with Program("console", data) as running:
        yield running


@pytest.fixture(scope="module")
def token(console: Program) -> str:
    return console.token("ci")


def test_the_consoles_advisories_decide(
    garrison: Garrison, console: Program, token: str, tiny_image: Image
) -> None:
    """The build has none of its own; the exit code is decided as ever."""
    env = {"GARRISON_CONSOLE": console.url, "GARRISON_TOKEN": token}
    words = ["scan", f"oci:{tiny_image.oci}", "--label", "branch=main", "--json"]
    done = garrison(*words, "--fail-on", "critical", env=env)
    assert done.exit_code == 1, done.err
    assert sorted(each["id"] for each in done.json["findings"]) == ["DSA-1", "GHSA-1", "PYSEC-1"]
    assert f"{console.url}/images/{done.json['image']['digest']}" in done.err
    assert garrison(*words, "--severity", "low", "--fail-on", "high", env=env).exit_code == 0

    images = garrison("images", "--json", env=env).json["items"]
    assert [image["digest"] for image in images] == [done.json["image"]["digest"]]
    assert images[0]["findings"]["critical"] == 1


def test_the_option_wins_and_needs_a_token(
    garrison: Garrison, console: Program, token: str, tiny_image: Image
) -> None:
    image = f"oci:{tiny_image.oci}"
    without = garrison("scan", image, "--console", console.url)
    assert (without.exit_code, without.out) == (2, "")
    assert "GARRISON_TOKEN" in without.err
    wrong = garrison("scan", image, "--console", console.url, env={"GARRISON_TOKEN": "grt_no"})
    assert (wrong.exit_code, wrong.out) == (3, "")
    assert "access.token" in wrong.err
    elsewhere = {"GARRISON_CONSOLE": "http://127.0.0.1:9", "GARRISON_TOKEN": token}
    assert garrison("scan", image, "--console", console.url, env=elsewhere).exit_code == 0
    gone = garrison("scan", image, env=elsewhere)
    assert (gone.exit_code, gone.out) == (3, "")
    assert "code:  egress." in gone.err


def test_an_image_without_a_digest_cannot_be_reported(
    garrison: Garrison, console: Program, token: str, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    done = garrison(
        "scan",
        f"rootfs:{tmp_path / 'root'}",
        "--console",
        console.url,
        env={"GARRISON_TOKEN": token},
    )
    assert (done.exit_code, done.out) == (2, "")
    assert "digest" in done.err


@pytest.mark.network
def test_a_report_crosses_a_proxy(garrison: Garrison, tiny_image: Image, tmp_path: Path) -> None:
    """Only Squid knows console.test, and it asks for a password."""
    data, logs = tmp_path / "console", tmp_path / "logs"
    fill(data)
    with Local(data, {}).state(create=True) as state:
        (tmp_path / "ca.pem").write_text(state.authority.certificate_pem)
        made = accounts.create_token(state, "ci", "ci", expires_at=None, actor="test", now=NOW)
    (tmp_path / "password").write_text(PASSWORD)
    try:
        with (
            Network() as net,
            Squid(net=net, users={USER: PASSWORD}) as squid,
            net.popen(
                "console",
                [sys.executable, "-m", "garrison", "console", "--data", data,
                 "--listen", "0.0.0.0:8083", "--gateway-listen", "127.0.0.1:0"],
                directory=logs, name="console",
                env={"PATH": os.environ["PATH"], "GARRISON_INTEL_URL": "http://127.0.0.1:9",
                     "GARRISON_PUBLIC_URL": f"https://{CONSOLE_NAME}:8083"},
            ) as process,
        ):  # fmt: skip
            until(
                lambda: b"Console: " in process.out.read_bytes(),
                timeout=30,
                what="the Console's address",
                alive=process.check,
            )
            env = {
                "GARRISON_TOKEN": made.secret.reveal(),
                "GARRISON_HTTP_PROXY": squid.url,
                "GARRISON_PROXY_USER": USER,
                "GARRISON_PROXY_PASSWORD_FILE": str(tmp_path / "password"),
                "GARRISON_CA_FILE": str(tmp_path / "ca.pem"),
            }
            url = f"https://{CONSOLE_NAME}:8083"
            words = ["scan", f"oci:{tiny_image.oci}", "--console", url, "--fail-on", "critical"]
            done = garrison(*words, net=net, namespace="remote", env=env)
            assert done.exit_code == 1, done.err
            assert "PYSEC-1" in done.out
            squid.wait_for(lambda entry: entry.target == f"{CONSOLE_NAME}:8083")
            assert squid.tunnels() == [f"{CONSOLE_NAME}:8083"]

            refused = {**env, "GARRISON_PROXY_USER": "nobody"}
            done = garrison(*words, net=net, namespace="remote", env=refused)
            assert (done.exit_code, done.out) == (3, "")
            assert "egress.proxy_auth" in done.err
    except (MissingProgramError, LabError) as error:
        if os.geteuid() == 0 and not isinstance(error, MissingProgramError):
            raise
        pytest.skip(str(error))


def test_the_page_of_the_image_names_the_build(
    garrison: Garrison, console: Program, token: str, tiny_image: Image
) -> None:
    env = {"GARRISON_TOKEN": token, "GITHUB_ACTIONS": "true", "GITHUB_REF_NAME": "release/1"}
    done = garrison("scan", f"oci:{tiny_image.oci}", "--console", console.url, "--json", env=env)
    digest = done.json["image"]["digest"]
    asked = urllib.request.Request(
        f"{console.url}/api/v1/images/{digest}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked) as answer:
        labels = json.load(answer)["report"]["labels"]
    assert labels == {"ci": "github", "branch": "release/1"}
