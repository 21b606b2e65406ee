"""Credentials that `docker login` or `podman login` stored.

Source: docs.docker.com, "docker login", credential stores; docker-credential-helpers protocol.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from garrison.images.errors import CredentialsError
from garrison.images.reference import DOCKER_HUB, DOCKER_HUB_HOST
from garrison.images.source import IDENTITY_TOKEN_USER
from garrison.secret import Secret

HELPER_SECONDS = 30.0
MAX_CONFIG = 4 << 20
"""Bytes of a `config.json`."""

_HUB_KEY = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class RegistryCredentials:
    """User and password for a registry; user `<token>`: the password is an identity token."""

    user: str
    password: Secret


def docker_credentials(host: str, environ: Mapping[str, str]) -> RegistryCredentials | None:
    """What was stored for `host` (`docker.io`, `ghcr.io`, `127.0.0.1:5000`), or None.

    Looks in `$DOCKER_CONFIG` or `~/.docker`, then where podman keeps its own.

    Raises:
        CredentialsError: a file or credential helper is there and does not work: going on
            without would end in a misleading refusal.
    """
    for path in _config_files(environ):
        if path.is_file():
            found = _from_config(_load(path), host, environ, path)
            if found is not None:
                return found
    return None


def _config_files(environ: Mapping[str, str]) -> list[Path]:
    home = environ.get("HOME", "")
    docker = environ.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    files = [f"{docker}/config.json"] if docker else []
    if environ.get("REGISTRY_AUTH_FILE"):
        files.append(environ["REGISTRY_AUTH_FILE"])
    elif runtime:
        files.append(f"{runtime}/containers/auth.json")
    return [Path(name) for name in files]


def _from_config(
    config: dict[str, Any], host: str, environ: Mapping[str, str], path: Path
) -> RegistryCredentials | None:
    keys = _keys(host)
    helpers = _table(config, "credHelpers")
    for key in keys:
        program = helpers.get(key)
        if isinstance(program, str) and program:
            return _from_helper(program, key, environ)
    auths = _table(config, "auths")
    entry = next((auths[key] for key in keys if isinstance(auths.get(key), dict)), None)
    store = config.get("credsStore")
    if isinstance(store, str) and store:
        stored = _from_helper(store, keys[0], environ)
        if stored is not None:
            return stored
    return _from_entry(entry, path) if entry else None


def _keys(host: str) -> list[str]:
    if host in (DOCKER_HUB, DOCKER_HUB_HOST):
        return [_HUB_KEY, "docker.io", "index.docker.io", DOCKER_HUB_HOST, f"https://{DOCKER_HUB}"]
    return [host, f"https://{host}", f"https://{host}/", f"https://{host}/v1/", f"http://{host}"]


def _from_entry(entry: dict[str, Any], path: Path) -> RegistryCredentials | None:
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return RegistryCredentials(IDENTITY_TOKEN_USER, Secret(token))
    auth = entry.get("auth")
    if isinstance(auth, str) and auth:
        try:
            text = base64.b64decode(auth, validate=True).decode()
        except (binascii.Error, ValueError):
            raise CredentialsError(
                f"{path} has broken credentials", "Sign in again with docker login."
            ) from None
        user, _, password = text.partition(":")
        return RegistryCredentials(user, Secret(password.rstrip("\0")))
    name, word = entry.get("username"), entry.get("password")
    if isinstance(name, str) and name and isinstance(word, str):
        return RegistryCredentials(name, Secret(word))
    return None


def _from_helper(helper: str, key: str, environ: Mapping[str, str]) -> RegistryCredentials | None:
    import subprocess

    program = shutil.which(f"docker-credential-{helper}", path=environ.get("PATH"))
    if not _HELPER.fullmatch(helper) or program is None:
        raise CredentialsError(
            f"the credential helper docker-credential-{helper[:64]} is not installed",
            "Install it, or take it out of docker's config.json.",
        )
    try:
        done = subprocess.run(
            [program, "get"],
            input=key.encode(),
            capture_output=True,
            timeout=HELPER_SECONDS,
            env=dict(environ),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CredentialsError(f"docker-credential-{helper} failed: {error}") from None
    if done.returncode != 0:
        if b"not found" in (done.stdout + done.stderr).lower():
            return None
        raise CredentialsError(
            f"docker-credential-{helper} ended with {done.returncode}",
            "Try it by hand: echo REGISTRY | docker-credential-NAME get",
        )
    return _from_helper_output(helper, done.stdout)


def _from_helper_output(helper: str, output: bytes) -> RegistryCredentials | None:
    try:
        answer = json.loads(output)
        user, password = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError):
        raise CredentialsError(f"docker-credential-{helper} answered no credentials") from None
    if not isinstance(user, str) or not isinstance(password, str):
        raise CredentialsError(f"docker-credential-{helper} answered no credentials")
    return RegistryCredentials(user, Secret(password)) if user else None


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(MAX_CONFIG))
    except (OSError, ValueError, RecursionError) as error:
        raise CredentialsError(f"{path} cannot be read: {type(error).__name__}") from None
    if not isinstance(document, dict):
        raise CredentialsError(f"{path} is not a settings file of docker")
    return document


def _table(config: dict[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}
