"""A registry takes what is pushed, and asks who you are in three ways."""

import hashlib
import json
from pathlib import Path

import pytest

from lab.authority import Authority
from lab.http import request
from lab.image import tiny
from lab.network import Network
from lab.oci import DOCKER_INDEX, OCI_INDEX
from lab.registry import Basic, Registry
from lab.token_server import TokenServer

pytestmark = pytest.mark.network


def test_an_image_comes_back_as_it_was_pushed(
    net: Network, public_ca: Authority, tmp_path: Path
) -> None:
    image = tiny(tmp_path)
    with Registry(net, public_ca) as registry:
        assert registry.push(image.oci, "team/tiny", "1.0") == "registry.test/team/tiny:1.0"
        registry.push(image.docker, "team/tiny", "docker")
        for tag, index_type in (("1.0", OCI_INDEX), ("docker", DOCKER_INDEX)):
            index = registry.request(
                "GET", f"/v2/team/tiny/manifests/{tag}", headers={"Accept": index_type}
            )
            assert index.headers["content-type"] == index_type
            platforms = [each["platform"]["architecture"] for each in index.json()["manifests"]]
            assert platforms == ["amd64", "arm64"]
            child = index.json()["manifests"][0]
            manifest = registry.request(
                "GET",
                f"/v2/team/tiny/manifests/{child['digest']}",
                headers={"Accept": child["mediaType"]},
            ).json()
            for layer in manifest["layers"]:
                blob = registry.request("GET", f"/v2/team/tiny/blobs/{layer['digest']}")
                assert f"sha256:{hashlib.sha256(blob.body).hexdigest()}" == layer["digest"]
        assert any("GET /v2/team/tiny/blobs/" in line for line in registry.requests)


def test_basic_login(net: Network, public_ca: Authority, tmp_path: Path) -> None:
    with Registry(net, public_ca, auth=Basic({"ci": "p:w"})) as registry:
        registry.push(tiny(tmp_path).oci, "tiny", "1")
        answer = request(net, "outside", "GET", registry.url + "/v2/", trust=public_ca.certificate)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Basic realm="ACME registry"'


def test_token_dance(net: Network, public_ca: Authority, tmp_path: Path) -> None:
    """Anonymous callers get a token for what is public, and one good for nothing else."""
    image = tiny(tmp_path)
    with (
        TokenServer(
            net, public_ca, users={"ci": "p:w"}, pushers=["ci"], public=["library/*"]
        ) as tokens,
        Registry(net, public_ca, auth=tokens) as registry,
    ):
        registry.push(image.oci, "library/tiny", "1")
        registry.push(image.oci, "team/tiny", "1")

        def pull(repository: str) -> int:
            url = f"{registry.url}/v2/{repository}/manifests/1"
            trust = public_ca.certificate
            asked = request(net, "outside", "GET", url, trust=trust)
            assert asked.status == 401
            challenge = asked.headers["www-authenticate"]
            assert f'realm="{tokens.realm}"' in challenge
            token = request(
                net,
                "outside",
                "GET",
                f"{tokens.realm}?service=registry.test&scope=repository:{repository}:pull",
                trust=trust,
            ).json()["token"]
            headers = {"Authorization": f"Bearer {token}", "Accept": OCI_INDEX}
            return request(net, "outside", "GET", url, trust=trust, headers=headers).status

        assert pull("library/tiny") == 200
        assert pull("team/tiny") == 401
        wrong = request(
            net,
            "outside",
            "GET",
            f"{tokens.realm}?service=registry.test",
            trust=public_ca.certificate,
            headers={"Authorization": "Basic Y2k6bm8="},
        )
        assert wrong.status == 401


def test_plain_http(net: Network, public_ca: Authority, tmp_path: Path) -> None:
    with Registry(net, public_ca, port=5000, tls=False) as registry:
        reference = registry.push(tiny(tmp_path).docker, "tiny", "1")
        assert reference == "registry.test:5000/tiny:1"
        assert json.loads(registry.request("GET", "/v2/_catalog").body) == {
            "repositories": ["tiny"]
        }
