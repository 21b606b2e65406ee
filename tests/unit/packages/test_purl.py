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
        ("composer", "Symfony", "Console", "v6.0.1", {}),
        ("maven", "org.apache.commons", "commons-io", "1.3.4", {"type": "pom"}),
        ("gem", "", "jruby-launcher", "1.1.2", {"platform": "java"}),
        ("cargo", "", "Rand_core", "0.7.2", {}),
        ("nuget", "", "EnterpriseLibrary.Common", "6.0.1304", {}),
        ("golang", "google.golang.org", "genproto", "v0.0.0-20230101+incompatible", {}),
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


@pytest.mark.parametrize(
    ("type", "namespace", "name", "version", "expected"),
    [
        # purl-spec: types/*-definition.json, "examples" and notes on case.
        ("golang", "github.com/Masterminds", "Semver", "v3.0.0",
         "pkg:golang/github.com/masterminds/semver@v3.0.0"),
        ("golang", "github.com/gorilla", "context", "234fd47e07d1004f0aed9c",
         "pkg:golang/github.com/gorilla/context@234fd47e07d1004f0aed9c"),
        ("npm", "@angular", "animation", "12.3.1", "pkg:npm/%40angular/animation@12.3.1"),
        ("npm", "", "JSONStream", "1.3.5", "pkg:npm/jsonstream@1.3.5"),
        ("maven", "org.apache.xmlgraphics", "batik-anim", "1.9.1",
         "pkg:maven/org.apache.xmlgraphics/batik-anim@1.9.1"),
        ("gem", "", "ruby-advisory-db-check", "0.12.4", "pkg:gem/ruby-advisory-db-check@0.12.4"),
        ("cargo", "", "rand", "0.7.2", "pkg:cargo/rand@0.7.2"),
        ("composer", "guzzlehttp", "promises", "2.0.2", "pkg:composer/guzzlehttp/promises@2.0.2"),
        ("nuget", "", "EnterpriseLibrary.Common", "6.0.1304",
         "pkg:nuget/EnterpriseLibrary.Common@6.0.1304"),
        ("pypi", "", "django-allauth", "12.23", "pkg:pypi/django-allauth@12.23"),
    ],
)  # fmt: skip
def test_as_the_specification_writes_them(
    type: str, namespace: str, name: str, version: str, expected: str
) -> None:
    assert purl(type, namespace, name, version) == expected
