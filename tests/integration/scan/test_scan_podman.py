"""An image in a real Podman: found by its socket, listed as from the layout it came from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.image import Image
from lab.process import Process, run
from lab.wait import until
from tests.integration.scan.conftest import Garrison

pytestmark = pytest.mark.long


@dataclass(frozen=True, slots=True)
class Podman:
    """Its own storage, and its service at the rootless socket of `runtime`."""

    runtime: Path
    env: dict[str, str]

    def __call__(self, *words: str) -> str:
        return run(["podman", *words], env=self.env).stdout.strip()


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    runtime = tmp_path / "run"
    socket = runtime / "podman" / "podman.sock"
    socket.parent.mkdir(parents=True)
    storage = tmp_path / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver="vfs"\nrunroot="{tmp_path / "rr"}"\ngraphroot="{tmp_path / "gr"}"\n'
    )
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(runtime),
        "CONTAINERS_STORAGE_CONF": str(storage),
    }
    command = ["podman", "system", "service", "--time=0", f"unix://{socket}"]
    with Process.start(command, directory=tmp_path / "logs", name="podman", env=env) as service:
        until(socket.is_socket, timeout=30, what="Podman's socket", alive=service.check)
        yield Podman(runtime, env)


def test_an_image_of_podman(
    garrison: Garrison, podman: Podman, tiny_image: Image, tmp_path: Path
) -> None:
    id = podman("pull", "--quiet", f"oci:{tiny_image.oci}")
    podman("tag", id, "localhost/team/shop:1")
    expected = garrison("sbom", f"oci:{tiny_image.oci}", "--json").json["packages"]
    known = [(each["purl"], each["path"]) for each in expected]
    env = {"XDG_RUNTIME_DIR": str(podman.runtime)}
    for name in ("localhost/team/shop:1", id[:12]):
        done = garrison("sbom", f"docker:{name}", "--json", env=env)
        assert done.exit_code == 0, done.err
        assert [(each["purl"], each["path"]) for each in done.json["packages"]] == known

    file = tmp_path / "saved.tar"
    podman("save", "--quiet", "--output", str(file), "localhost/team/shop:1")
    saved = garrison("sbom", f"docker-archive:{file}", "--json")
    assert [(each["purl"], each["path"]) for each in saved.json["packages"]] == known

    missing = garrison("sbom", "docker:localhost/none", env=env)
    assert (missing.exit_code, missing.out) == (3, "")
    assert "images.not_found" in missing.err
