"""Credentials that `docker login` left behind."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from garrison.images import CredentialsError, RegistryCredentials, docker_credentials


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PATH": str(tmp_path / "bin") + os.pathsep + os.defpath}


def write(environ: Mapping[str, str], config: Any) -> Path:
    path = Path(environ["HOME"]) / ".docker" / "config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def helper(environ: Mapping[str, str], name: str, script: str) -> None:
    folder = Path(environ["HOME"]) / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def found(host: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    credentials = docker_credentials(host, environ)
    return None if credentials is None else (credentials.user, credentials.password.reveal())


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("https://index.docker.io/v1/", "registry-1.docker.io"),
        ("docker.io", "docker.io"),
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
    ],
)
def test_auths(environ: dict[str, str], key: str, host: str) -> None:
    write(environ, {"auths": {key: auth("ci", "p@ss:w/rd%")}})
    assert found(host, environ) == ("ci", "p@ss:w/rd%")
    assert found("other.test", environ) is None


def test_no_file(environ: dict[str, str]) -> None:
    assert found("ghcr.io", environ) is None
    assert found("ghcr.io", {}) is None


def test_docker_config_names_the_folder(environ: dict[str, str], tmp_path: Path) -> None:
    write(environ, {"auths": {"ghcr.io": auth("wrong", "x")}})
    folder = tmp_path / "else"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {"ghcr.io": auth("ci", "x")}}))
    assert found("ghcr.io", {**environ, "DOCKER_CONFIG": str(folder)}) == ("ci", "x")


def test_podmans_file_comes_second(environ: dict[str, str], tmp_path: Path) -> None:
    write(environ, {"auths": {"ghcr.io": auth("docker", "x")}})
    podman = tmp_path / "containers" / "auth.json"
    podman.parent.mkdir()
    podman.write_text(
        json.dumps({"auths": {"ghcr.io": auth("podman", "x"), "quay.io": auth("podman", "y")}})
    )
    given = {**environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    assert found("ghcr.io", given) == ("docker", "x")
    assert found("quay.io", given) == ("podman", "y")


def test_identity_tokens(environ: dict[str, str]) -> None:
    write(environ, {"auths": {"x.azurecr.io": {**auth("0", ""), "identitytoken": "refresh"}}})
    assert found("x.azurecr.io", environ) == ("<token>", "refresh")


def test_helper_of_one_registry(environ: dict[str, str]) -> None:
    helper(
        environ,
        "ecr",
        """[ "$1" = get ] && [ "$(cat)" = 1.ecr.test ] &&
           echo '{"ServerURL":"","Username":"AWS","Secret":"s3cret"}'""",
    )
    write(environ, {"credHelpers": {"1.ecr.test": "ecr"}, "credsStore": "missing"})
    assert found("1.ecr.test", environ) == ("AWS", "s3cret")


def test_store_of_all_registries(environ: dict[str, str]) -> None:
    """Its file keeps an empty entry for each."""
    helper(environ, "pass", """echo '{"Username":"ci","Secret":"from the store"}'""")
    write(environ, {"auths": {"ghcr.io": {}}, "credsStore": "pass"})
    assert found("ghcr.io", environ) == ("ci", "from the store")


def test_what_a_store_does_not_have_may_be_in_the_file(environ: dict[str, str]) -> None:
    helper(environ, "pass", "echo 'credentials not found in native keychain'; exit 1")
    write(environ, {"auths": {"ghcr.io": auth("ci", "file")}, "credsStore": "pass"})
    assert found("ghcr.io", environ) == ("ci", "file")
    assert found("quay.io", environ) is None


@pytest.mark.parametrize(
    "script", ["exit 3", "echo nonsense", "echo '[]'", """echo '{"Username":1,"Secret":"x"}'"""]
)
def test_a_broken_helper_is_said(environ: dict[str, str], script: str) -> None:
    helper(environ, "bad", script)
    write(environ, {"credHelpers": {"ghcr.io": "bad"}})
    with pytest.raises(CredentialsError, match="docker-credential-bad"):
        docker_credentials("ghcr.io", environ)


@pytest.mark.parametrize("name", ["missing", "../../bin/sh", "a b"])
def test_a_helper_that_is_not_there(environ: dict[str, str], name: str) -> None:
    write(environ, {"credHelpers": {"ghcr.io": name}})
    with pytest.raises(CredentialsError, match="not installed"):
        docker_credentials("ghcr.io", environ)


@pytest.mark.parametrize("config", ["{", "[]", '"x"'])
def test_a_broken_file_is_said(environ: dict[str, str], config: str) -> None:
    """Going on anonymously would end in a misleading refusal."""
    write(environ, config)
    with pytest.raises(CredentialsError):
        docker_credentials("ghcr.io", environ)


def test_broken_credentials_are_said_and_not_shown(environ: dict[str, str]) -> None:
    write(environ, {"auths": {"ghcr.io": {"auth": "s3cret!!"}}})
    with pytest.raises(CredentialsError) as caught:
        docker_credentials("ghcr.io", environ)
    assert "s3cret" not in str(caught.value)


def test_printing_shows_no_password(environ: dict[str, str]) -> None:
    write(environ, {"auths": {"ghcr.io": auth("ci", "s3cret")}})
    assert isinstance(docker_credentials("ghcr.io", environ), RegistryCredentials)
    assert "s3cret" not in repr(docker_credentials("ghcr.io", environ))
