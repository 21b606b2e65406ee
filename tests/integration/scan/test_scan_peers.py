"""Bills of materials read by Trivy and Syft, and theirs by us; where they are on PATH."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lab.image import Image
from lab.process import run
from tests.integration.scan.conftest import Garrison

pytestmark = pytest.mark.long


def peer(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on PATH")
    return path


def bom(garrison: Garrison, image: Image, format: str, file: Path) -> Counter[str]:
    """Write ours to `file`; how many packages of each type it has."""
    done = garrison("sbom", f"oci:{image.oci}", "--format", f"json,{format}={file}")
    assert done.exit_code == 0
    return Counter(package["type"] for package in done.json["packages"])


@pytest.mark.parametrize("format", ["cyclonedx", "spdx"])
def test_trivy_finds_every_package(
    garrison: Garrison, real_image: Image, tmp_path: Path, format: str
) -> None:
    trivy, file = peer("trivy"), tmp_path / "bom.json"
    ours = bom(garrison, real_image, format, file)
    words = ["sbom", "--quiet", "--scanners", "license", "--list-all-pkgs", "--format", "json"]
    found = json.loads(run([trivy, *words, str(file)]).stdout)
    assert found["Metadata"]["OS"]["Family"] == "debian"
    theirs: Counter[str] = Counter()
    names = {"debian": "deb", "node-pkg": "npm", "python-pkg": "pypi"}
    sources = {}
    for result in found["Results"]:
        for package in result.get("Packages", []):
            theirs[names[result["Type"]]] += 1
            sources[package["Name"]] = package.get("SrcName")
    assert theirs == ours
    assert sources["libexpat1"] == "expat"


@pytest.mark.parametrize("format", ["cyclonedx", "spdx"])
def test_syft_finds_every_package(
    garrison: Garrison, real_image: Image, tmp_path: Path, format: str
) -> None:
    syft, file = peer("syft"), tmp_path / "bom.json"
    ours = bom(garrison, real_image, format, file)
    found: Any = json.loads(run([syft, "convert", str(file), "-o", "json"]).stdout)
    assert (found["distro"]["id"], found["distro"]["versionID"]) == ("debian", "12")
    # The same package at two places is one for it.
    purls = {artifact["purl"] for artifact in found["artifacts"]}
    assert len(purls) <= sum(ours.values())
    mine = garrison("sbom", f"sbom:{file}", "--json").json["packages"]
    assert {package["purl"] for package in mine} <= purls


@pytest.mark.parametrize("format", ["cyclonedx-json", "spdx-json", "spdx-tag-value"])
def test_a_bill_of_syft_has_our_packages(
    garrison: Garrison, real_image: Image, tmp_path: Path, format: str
) -> None:
    syft, file = peer("syft"), tmp_path / "theirs"
    root = single(real_image, tmp_path / "layout")
    file.write_text(run([syft, "scan", "--quiet", f"oci-dir:{root}", "-o", format]).stdout)
    ours = packages(garrison, f"oci:{real_image.oci}")
    theirs = packages(garrison, f"sbom:{file}")
    assert ours - theirs == set()
    # A package that was removed and left its settings: dpkg does not call it installed.
    assert {name for _, name, *_ in theirs - ours} <= {"wget"}


def packages(garrison: Garrison, image: str) -> set[tuple[str, ...]]:
    listed = garrison("sbom", image, "--json").json["packages"]
    return {
        (
            p["type"],
            p["name"].lower(),
            p["version"],
            p.get("source", ""),
            p.get("source_version", ""),
        )
        for p in listed
    }


def single(image: Image, folder: Path) -> Path:
    """The layout with one manifest at its root: Syft reads no index inside an index."""
    shutil.copytree(image.oci, folder)
    index = json.loads((folder / "index.json").read_text())
    blob = folder / "blobs" / index["manifests"][0]["digest"].replace(":", "/")
    manifests = json.loads(blob.read_text()).get("manifests")
    if manifests:
        index["manifests"] = [{k: v for k, v in manifests[0].items() if k != "platform"}]
        (folder / "index.json").write_text(json.dumps(index))
    return folder
