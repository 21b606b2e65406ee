"""Every form of installed Python package, judged by importlib.metadata."""

from __future__ import annotations

import importlib.metadata
import io
import re
import zipfile
from pathlib import Path

import pytest

from garrison.egress import ProxySettings
from garrison.findings.scan import read_image
from garrison.images import FileError, open_image
from garrison.packages import Package
from garrison.packages.readers.facts import EggLink, Named
from garrison.packages.readers.python import read_egg, read_egg_link
from tests.unit.packages.readers.test_assemble import assembled, by_name

SITE = "usr/lib/python3/site-packages"


def metadata(name: str, version: str) -> str:
    return f"Metadata-Version: 1.2\nName: {name}\nVersion: {version}\nSummary: x\n\n{name}\n"


def egg(name: str, version: str, **more: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{name}/__init__.py", "")
        file.writestr("EGG-INFO/PKG-INFO", metadata(name, version))
        for path, text in more.items():
            file.writestr(path, text)
    return out.getvalue()


FILES: dict[str, str | bytes] = {
    f"{SITE}/wheel_one-1.0.dist-info/METADATA": metadata("wheel.one", "1.0"),
    f"{SITE}/egg_info-2.0-py3.11.egg-info/PKG-INFO": metadata("egg-info", "2.0"),
    f"{SITE}/distutils_one-3.0.egg-info": metadata("distutils-one", "3.0"),
    f"{SITE}/folder_egg-4.0-py3.11.egg/EGG-INFO/PKG-INFO": metadata("folder-egg", "4.0"),
    f"{SITE}/zipped_egg-5.0-py3.11.egg": egg("zipped-egg", "5.0"),
    f"{SITE}/easy-install.pth": "./folder_egg-4.0-py3.11.egg\n./zipped_egg-5.0-py3.11.egg\n"
    "/srv/app\n",
    f"{SITE}/in-development.egg-link": "/srv/app\n.\n",
    "srv/app/in_development.egg-info/PKG-INFO": metadata("in-development", "6.0"),
    "srv/other/checkout.egg-info/PKG-INFO": metadata("checkout", "7.0"),
}


def test_what_importlib_finds_is_installed(tmp_path: Path) -> None:
    """With the folders that easy-install.pth adds; what it does not find is `loose`."""
    for path, content in FILES.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    site = tmp_path / SITE
    search = [site]
    for line in (site / "easy-install.pth").read_text().splitlines():
        search.append(tmp_path / line.lstrip("/") if line.startswith("/") else site / line)
    listed = {
        (re.sub(r"[-_.]+", "-", each.metadata["Name"]), each.version)
        for each in importlib.metadata.distributions(path=[str(path) for path in search])
    }
    assert len(listed) == 6

    scanned = read_image(open_image(f"rootfs:{tmp_path}", ProxySettings.build())).packages

    def named(package: Package) -> tuple[str, str]:
        return package.purl.removeprefix("pkg:pypi/").partition("@")[0], package.version

    assert {named(p) for p in scanned if p.position == "installed"} == listed
    assert {named(p) for p in scanned if p.position != "installed"} == {("checkout", "7.0")}


def test_an_egg_of_a_distribution_package_is_owned() -> None:
    found = assembled(
        {
            f"{SITE}/x-1.egg": egg("x", "1"),
            "var/lib/dpkg/info/python3-x.list": f"/{SITE}/x-1.egg\n",
        }
    )
    assert by_name(found)["x"].owner == "python3-x"


def test_a_zipped_egg() -> None:
    assert read_egg(egg("a", "1.5")) == Named("a", "1.5")


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"not a zip at all"])
def test_other_files_that_end_so_are_left_alone(data: bytes) -> None:
    assert read_egg(data) is None


@pytest.mark.parametrize(
    "data",
    [
        egg("a", "1")[:-30],
        egg("a", "1").replace(b"EGG-INFO", b"GGE-INFO"),
        egg("", ""),
        b"PK\3\4" + bytes(2000),
    ],
)
def test_a_broken_egg(data: bytes) -> None:
    with pytest.raises(FileError):
        read_egg(data)


def test_metadata_of_an_egg_is_read_in_bounds() -> None:
    """A gigabyte of nothing, packed into a megabyte."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("EGG-INFO/PKG-INFO", metadata("a", "1") + "\0" * (64 << 20))
    assert read_egg(out.getvalue()) == Named("a", "1")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"/srv/app\n.\n", EggLink("/srv/app")),
        (b"/srv/app\r\n../\r\n", EggLink("/srv/app")),
        (b"relative\n", None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
def test_egg_links(data: bytes, found: EggLink | None) -> None:
    assert read_egg_link(data) == found
