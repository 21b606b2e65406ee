"""A network with a registry outside, and `garrison` run as a program in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.authority import Authority
from lab.errors import LabError, MissingProgramError
from lab.image import Image, real, tiny
from lab.network import Namespace, Network

GARRISON = [sys.executable, "-m", "garrison"]
ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Done:
    """A finished command."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Garrison:
    """The command line with an environment of its own."""

    home: Path

    def __call__(
        self,
        *argv: str | Path,
        net: Network | None = None,
        namespace: Namespace = "outside",
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> Done:
        command: list[str | os.PathLike[str]] = [*GARRISON, *argv]
        if net is not None:
            command = net.wrap(namespace, command)
        done = subprocess.run(
            [os.fspath(word) for word in command],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "LANG": "C.UTF-8",
                **(env or {}),
            },
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=ROOT,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def garrison(tmp_path: Path) -> Garrison:
    home = tmp_path / "home"
    home.mkdir()
    return Garrison(home)


@pytest.fixture(scope="session")
def public_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("scan-ca"), "Lab Public CA")


@pytest.fixture(scope="module")
def net(public_ca: Authority) -> Iterator[Network]:
    try:
        with Network(public_ca=public_ca.certificate) as network:
            yield network
    except (MissingProgramError, LabError) as error:
        if os.geteuid() == 0 and not isinstance(error, MissingProgramError):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def real_image() -> Image:
    """Built on first use; minutes then."""
    try:
        return real()
    except (MissingProgramError, LabError) as error:
        if os.geteuid() == 0 and not isinstance(error, MissingProgramError):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tiny_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return tiny(tmp_path_factory.mktemp("tiny"))
