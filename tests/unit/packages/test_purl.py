"""Package URLs, against packageurl-python."""

from __future__ import annotations

import pytest
from packageurl import PackageURL

from garrison.packages.purl import purl, pypi_name


@pytest.mark.parametrize(
    ("type", "namespace", "name", "version", "qualifiers"),
    [
        (
            "deb",
            "debian",
            "libstdc++6",
            "12.2.0-14+deb12u1",
            {"arch": "amd64", "distro": "debian-12"},
        ),
        ("deb", "debian", "vim", "2:9.0.1378-2~x", {"arch": "all"}),
        ("apk", "alpine", "musl", "1.2.5-r1", {"arch": "", "distro": "alpine-3.20"}),
        ("npm", "@types", "node", "20.1.0", {}),
        ("npm", "", "lodash", "4.17.15-rc.1+build/5", {}),
        ("npm", "", "a b%c@d", "1?2#3", {}),
        ("pypi", "", "Flask_SQLAlchemy", "1!2.0+local", {}),
        ("pypi", "", "café", "1", {}),
    ],
)
def test_as_the_library_writes_them(
    type: str, namespace: str, name: str, version: str, qualifiers: dict[str, str]
) -> None:
    expected = PackageURL(type, namespace, name, version, qualifiers)
    found = purl(type, namespace, name, version, qualifiers)
    assert PackageURL.from_string(found) == expected
    if "/" not in version and name.isascii():
        # There the library is not as the specification says.
        assert found == expected.to_string()


@pytest.mark.parametrize("name", ["ruamel.yaml", "Ruamel_YAML", "ruamel--yaml", "RUAMEL-_.YAML"])
def test_python_names_are_normalised(name: str) -> None:
    assert pypi_name(name) == "ruamel-yaml"
    assert purl("pypi", "", name, "1") == "pkg:pypi/ruamel-yaml@1"
