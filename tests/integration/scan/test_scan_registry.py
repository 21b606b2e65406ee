"""`garrison sbom` against Debian's docker-registry, in each way a registry asks who you are."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.authority import Authority
from lab.image import Image
from lab.network import Network
from lab.registry import Auth, Basic, Registry
from lab.token_server import TokenServer
from lab.truth import Truth
from tests.integration.scan.conftest import Done, Garrison

pytestmark = pytest.mark.network

USER, PASSWORD = "ci", "s3cret/%"


def check(done: Done, truth: Truth) -> None:
    assert done.exit_code == 0, done.err
    assert {(p["type"], p["name"], p["version"]) for p in done.json["packages"]} == {
        *(("deb", p.name, p.version) for p in truth.debian),
        *(("pypi", p.name, p.version) for p in truth.python),
        *(("npm", p.name, p.version) for p in truth.npm),
    }
    digests = {layer.digest for layer in truth.layers}
    assert {p["layer"] for p in done.json["packages"]} <= digests


def failed(done: Done, code: str) -> None:
    assert (done.exit_code, done.out) == (3, ""), done.out + done.err
    assert f"code:  {code}" in done.err
    assert "hint:" in done.err


def running(
    net: Network, authority: Authority, image: Image, auth: Auth = None, **given: Any
) -> Iterator[Registry]:
    with Registry(net, authority, auth=auth, **given) as registry:
        registry.push(image.oci, "team/shop", "1.0")
        registry.push(image.docker, "team/shop", "docker")
        yield registry


@pytest.fixture(scope="module")
def open_registry(net: Network, public_ca: Authority, tiny_image: Image) -> Iterator[Registry]:
    yield from running(net, public_ca, tiny_image, port=5443)


@pytest.fixture(scope="module")
def plain_registry(net: Network, public_ca: Authority, tiny_image: Image) -> Iterator[Registry]:
    yield from running(net, public_ca, tiny_image, port=5080, tls=False)


@pytest.fixture(scope="module")
def basic_registry(net: Network, public_ca: Authority, tiny_image: Image) -> Iterator[Registry]:
    yield from running(net, public_ca, tiny_image, Basic({USER: PASSWORD}), port=5444)


@pytest.fixture(scope="module")
def token_registry(net: Network, public_ca: Authority, tiny_image: Image) -> Iterator[Registry]:
    server = TokenServer(
        net, public_ca, users={USER: PASSWORD}, pushers=[USER], public=["team/open"]
    )
    with server:
        for registry in running(net, public_ca, tiny_image, server, port=5445):
            registry.push(tiny_image.oci, "team/open", "1.0")
            yield registry


@pytest.mark.parametrize("tag", ["1.0", "docker"])
def test_tls(
    garrison: Garrison, net: Network, open_registry: Registry, tiny_image: Image, tag: str
) -> None:
    """The registry's authority is in the system's trust store there."""
    done = garrison("sbom", "--json", f"{open_registry.name}/team/shop:{tag}", net=net)
    check(done, tiny_image.truth)
    image = done.json["image"]
    assert image["reference"] == f"{open_registry.name}/team/shop:{tag}"
    by_digest = garrison(
        "sbom", "--json", f"{open_registry.name}/team/shop@{image['digest']}", net=net
    )
    check(by_digest, tiny_image.truth)
    assert by_digest.json["image"]["digest"] == image["digest"]


def test_another_platform(garrison: Garrison, net: Network, open_registry: Registry) -> None:
    reference = f"{open_registry.name}/team/shop:1.0"
    done = garrison("sbom", "--json", "--platform", "linux/arm64", reference, net=net)
    assert done.json["image"]["platform"] == "linux/arm64"
    missing = garrison("sbom", "--platform", "linux/s390x", reference, net=net)
    failed(missing, "images.platform_missing")
    assert "linux/arm64" in missing.err


def test_an_authority_nobody_knows(
    garrison: Garrison, net: Network, tiny_image: Image, tmp_path: Path
) -> None:
    private = Authority(tmp_path / "ca", "ACME Registry CA")
    for registry in running(net, private, tiny_image, port=5446):
        reference = f"{registry.name}/team/shop:1.0"
        failed(garrison("sbom", reference, net=net), "egress.tls_unknown_ca")
        done = garrison("sbom", "--json", "--ca-file", private.certificate, reference, net=net)
        check(done, tiny_image.truth)


def test_plain_http_only_when_told(
    garrison: Garrison, net: Network, plain_registry: Registry, tiny_image: Image
) -> None:
    reference = f"{plain_registry.name}/team/shop:1.0"
    refused = garrison("sbom", reference, net=net)
    assert refused.exit_code == 3
    assert "code:  egress." in refused.err
    done = garrison("sbom", "--json", "--plain-http", reference, net=net)
    check(done, tiny_image.truth)


def test_basic(
    garrison: Garrison, net: Network, basic_registry: Registry, tiny_image: Image
) -> None:
    reference = f"{basic_registry.name}/team/shop:1.0"
    login = ("--username", USER, "--password-stdin")
    check(
        garrison("sbom", "--json", *login, reference, net=net, stdin=f"{PASSWORD}\n"),
        tiny_image.truth,
    )
    wrong = garrison("sbom", *login, reference, net=net, stdin="wrong-one\n")
    failed(wrong, "images.unauthorized")
    assert "wrong-one" not in wrong.err
    failed(garrison("sbom", reference, net=net), "images.unauthorized")


@pytest.mark.parametrize("kind", ["auths", "helper"])
def test_what_docker_login_stored(
    garrison: Garrison, net: Network, token_registry: Registry, tiny_image: Image, kind: str
) -> None:
    config = garrison.home / ".docker" / "config.json"
    config.parent.mkdir()
    env: dict[str, str] = {}
    if kind == "auths":
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        config.write_text(json.dumps({"auths": {token_registry.name: {"auth": auth}}}))
    else:
        config.write_text(json.dumps({"credHelpers": {token_registry.name: "test"}}))
        helper = garrison.home / "docker-credential-test"
        answer = json.dumps({"Username": USER, "Secret": PASSWORD})
        helper.write_text(f"#!/bin/sh\n[ \"$(cat)\" = {token_registry.name} ] && echo '{answer}'\n")
        helper.chmod(0o755)
        env["PATH"] = f"{garrison.home}:/usr/sbin:/usr/bin:/sbin:/bin"
    done = garrison("sbom", "--json", f"{token_registry.name}/team/shop:1.0", net=net, env=env)
    check(done, tiny_image.truth)


def test_tokens(
    garrison: Garrison, net: Network, token_registry: Registry, tiny_image: Image
) -> None:
    """Docker Hub's way: anybody reads what is public, others what they may."""
    public = f"{token_registry.name}/team/open:1.0"
    check(garrison("sbom", "--json", public, net=net), tiny_image.truth)
    private = f"{token_registry.name}/team/shop:1.0"
    failed(garrison("sbom", private, net=net), "images.unauthorized")
    login = ("--username", USER, "--password-stdin")
    wrong = garrison("sbom", *login, private, net=net, stdin="wrong\n")
    failed(wrong, "images.unauthorized")
    assert "incorrect username or password" in wrong.err


def test_unknown_names(garrison: Garrison, net: Network, open_registry: Registry) -> None:
    for name in ("team/shop:2.0", "team/nothing:1.0", "team/shop@sha256:" + "0" * 64):
        failed(garrison("sbom", f"{open_registry.name}/{name}", net=net), "images.not_found")


def test_damaged_storage(
    garrison: Garrison, net: Network, public_ca: Authority, tiny_image: Image
) -> None:
    """Wrong bytes under a digest: exit 3, whatever can be unpacked of them."""
    for registry in running(net, public_ca, tiny_image, port=5447):
        victim = tiny_image.truth.layers[-1].digest.removeprefix("sha256:")
        blob = next(registry.process.out.parent.glob(f"data/**/{victim}/data"))
        data = bytearray(blob.read_bytes())
        data[-6] ^= 1  # in gzip's checksum, after the last byte of the tar
        blob.write_bytes(bytes(data))
        failed(
            garrison("sbom", f"{registry.name}/team/shop:1.0", net=net), "images.digest_mismatch"
        )
