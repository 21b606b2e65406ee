"""References as docker reads them."""

from __future__ import annotations

import pytest

from garrison.errors import InvalidSettingError
from garrison.images import BadReferenceError, Digest, ImageReference

SHA = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag"),
    [
        ("debian", "registry-1.docker.io", "library/debian", "latest"),
        ("debian:12", "registry-1.docker.io", "library/debian", "12"),
        ("team/shop", "registry-1.docker.io", "team/shop", "latest"),
        ("docker.io/debian", "registry-1.docker.io", "library/debian", "latest"),
        ("index.docker.io/library/debian", "registry-1.docker.io", "library/debian", "latest"),
        ("ghcr.io/team/shop:1.0", "ghcr.io", "team/shop", "1.0"),
        ("localhost/shop", "localhost", "shop", "latest"),
        ("localhost:5000/shop:2", "localhost:5000", "shop", "2"),
        ("localhost:5000", "registry-1.docker.io", "library/localhost", "5000"),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000", "a/b/c", "latest"),
        ("[::1]:5000/shop", "[::1]:5000", "shop", "latest"),
        ("Registry/shop", "Registry", "shop", "latest"),
        ("registry.test/a__b/c.d-e:V_1", "registry.test", "a__b/c.d-e", "V_1"),
    ],
)
def test_references(text: str, registry: str, repository: str, tag: str) -> None:
    found = ImageReference.parse(text)
    assert (found.registry, found.repository, found.tag) == (registry, repository, tag)
    assert found.digest is None
    assert ImageReference.parse(str(found)) == found


@pytest.mark.parametrize("digest", [SHA, SHA512])
def test_a_digest_decides_and_the_tag_is_kept(digest: str) -> None:
    found = ImageReference.parse(f"ghcr.io/team/shop:1.0@{digest}")
    assert (found.tag, str(found.digest), found.target) == ("1.0", digest, digest)
    assert str(found) == f"ghcr.io/team/shop:1.0@{digest}"
    assert ImageReference.parse(f"debian@{digest}").tag == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        "/debian",
        "debian:",
        "debian:.1",
        "debian:" + "a" * 129,
        "Debian",
        "team/Shop",
        "https://ghcr.io/team/shop",
        "ghcr.io//shop",
        "ghcr.io/team/",
        "a b",
        "debian\n",
        "debian@sha256:12",
        "debian@sha256:" + "G" * 64,
        "debian@md5:" + "0" * 32,
        "-a/b.c",
        "a" * 250 + "/" + "b" * 10,
        "0" * 64,
        "debian:1\n",
        "ghcr.io:port/x",
    ],
)
def test_what_docker_refuses_is_a_wrong_argument(text: str) -> None:
    """Exit 2 on the command line, a field's error in a form."""
    with pytest.raises(BadReferenceError) as caught:
        ImageReference.parse(text)
    assert isinstance(caught.value, InvalidSettingError)
    assert caught.value.code == "images.bad_reference"
    assert caught.value.field == "reference"


def test_upper_case_is_explained() -> None:
    with pytest.raises(BadReferenceError) as caught:
        ImageReference.parse("ghcr.io/Team/shop")
    assert "lower case" in caught.value.hint


def test_digest_of_bytes() -> None:
    assert str(Digest.of(b"")).startswith("sha256:e3b0c442")
    assert Digest.parse(str(Digest.of(b"x"))) == Digest.of(b"x")
