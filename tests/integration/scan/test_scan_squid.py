"""Scans from where only Squid leads out, and what is said when it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError, MissingProgramError
from lab.scene import PROXY_USER, Kind, Login, Scene
from tests.integration.scan.conftest import Done, Garrison

pytestmark = pytest.mark.network

CASES: list[tuple[Kind, Login]] = [
    ("plain", "anonymous"),
    ("basic", "token"),
    ("tls", "basic"),
    ("intercept", "token"),
]


@pytest.fixture(scope="module", params=CASES, ids=["-".join(case) for case in CASES])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    kind, login = request.param
    try:
        with Scene(kind, login=login, image="tiny") as running:
            yield running
    except (MissingProgramError, LabError) as error:
        if os.geteuid() == 0 and not isinstance(error, MissingProgramError):
            raise
        pytest.skip(str(error))


def environment(scene: Scene, folder: Path, **changes: str) -> dict[str, str]:
    """The proxy as somebody in CI would set it."""
    wanted = scene.settings
    env = {"GARRISON_HTTP_PROXY": wanted.http_proxy}
    if wanted.user:
        password = folder / "proxy-password"
        password.write_text(changes.get("password", wanted.password))
        env["GARRISON_PROXY_USER"] = wanted.user
        env["GARRISON_PROXY_PASSWORD_FILE"] = str(password)
    if wanted.ca:
        authority = folder / "proxy-ca.pem"
        authority.write_text(wanted.ca)
        env["GARRISON_CA_FILE"] = str(authority)
    return env


def sbom(garrison: Garrison, scene: Scene, env: dict[str, str], reference: str = "") -> Done:
    login: tuple[str, ...] = ()
    password = ""
    if scene.registry.users:
        user, password = next(iter(scene.registry.users.items()))
        login = ("--username", user, "--password-stdin")
    return garrison(
        "sbom",
        "--json",
        *login,
        reference or scene.reference,
        net=scene.net,
        namespace="remote",
        env=env,
        stdin=f"{password}\n",
    )


def test_a_scan_through_the_proxy(garrison: Garrison, scene: Scene, tmp_path: Path) -> None:
    mark = scene.squid.mark()
    done = sbom(garrison, scene, environment(scene, tmp_path))
    assert done.exit_code == 0, done.err
    truth = scene.image.truth
    expected = [p.name for p in truth.debian]
    expected += [p.name for p in truth.python]
    expected += [p.name for p in truth.npm]
    assert sorted(package["name"] for package in done.json["packages"]) == sorted(expected)
    scene.squid.wait_for(
        lambda entry: entry.target.removeprefix("https://").startswith("registry.test"), since=mark
    )
    if scene.login == "token":
        scene.squid.wait_for(lambda entry: "auth.registry.test" in entry.target, since=mark)
    if scene.kind == "basic":
        users = {entry.user for entry in scene.squid.entries_since(mark) if entry.status == 200}
        assert users == {PROXY_USER}


def test_without_the_proxy_there_is_no_way(garrison: Garrison, scene: Scene) -> None:
    done = sbom(garrison, scene, {})
    assert (done.exit_code, done.out) == (3, "")
    assert "code:  egress.destination_unknown" in done.err


def test_what_the_proxy_refuses_is_said(garrison: Garrison, scene: Scene, tmp_path: Path) -> None:
    """Each kind once: the wrong password, the missing CA, the denied port."""
    env = environment(scene, tmp_path, password="wrong")
    if scene.kind in ("tls", "intercept"):
        del env["GARRISON_CA_FILE"]
    if scene.kind == "plain":
        scene.squid.deny_ports([443])
    try:
        done = sbom(garrison, scene, env)
    finally:
        if scene.kind == "plain":
            scene.squid.deny_ports([])
    assert (done.exit_code, done.out) == (3, "")
    code = {
        "plain": "egress.proxy_denied",
        "basic": "egress.proxy_auth_refused",
        "tls": "egress.proxy_tls_unknown_ca",
        "intercept": "egress.tls_",
    }[scene.kind]
    assert f"code:  {code}" in done.err
    assert "hint:" in done.err
    assert "wrong" not in done.err.replace("wrong password", "")
