"""Manifests, indexes, configs and the choice of a platform."""

from __future__ import annotations

import json
from typing import Any

import pytest

from garrison.images import (
    BadManifestError,
    BadReferenceError,
    Digest,
    Platform,
    PlatformMissingError,
    UnsupportedManifestError,
)
from garrison.images.manifest import (
    DOCKER_LIST,
    OCI_INDEX,
    Descriptor,
    Index,
    Manifest,
    choose,
    parse_config,
    parse_manifest,
)

DIGEST = str(Digest.of(b"x"))
BLOB = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": DIGEST, "size": 1}


def parse(document: Any, media_type: str = "") -> Manifest | Index:
    return parse_manifest(json.dumps(document).encode(), media_type)


def index(*platforms: str) -> Index:
    """An index whose manifests are told apart by size."""
    return Index(
        tuple(
            Descriptor("", Digest.of(name.encode()), size, Platform.parse(name))
            for size, name in enumerate(platforms)
        )
    )


@pytest.mark.parametrize("media_type", ["", OCI_INDEX, DOCKER_LIST, "text/plain"])
def test_an_index_is_known_by_what_it_holds(media_type: str) -> None:
    """Registries and proxies send wrong content types."""
    found = parse({"manifests": [{**BLOB, "platform": {"os": "linux", "architecture": "arm64"}}]})
    assert isinstance(found, Index)
    assert found.manifests[0].platform == Platform("linux", "arm64")


def test_manifest() -> None:
    found = parse({"schemaVersion": 2, "config": BLOB, "layers": [BLOB, BLOB], "extra": [1]})
    assert isinstance(found, Manifest)
    assert len(found.layers) == 2
    assert str(found.config.digest) == DIGEST


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"schemaVersion": 2},
        {"config": BLOB},
        {"layers": [BLOB]},
        {"config": BLOB, "layers": [{**BLOB, "size": -1}]},
        {"config": BLOB, "layers": [{**BLOB, "digest": "sha256:../../etc/passwd"}]},
        {"config": BLOB, "layers": [BLOB] * 2000},
        {"manifests": [BLOB], "config": BLOB, "layers": [BLOB]},
    ],
)
def test_broken_manifests_are_refused(document: Any) -> None:
    with pytest.raises(BadManifestError):
        parse(document)


@pytest.mark.parametrize("data", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000])
def test_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(BadManifestError):
        parse_manifest(data)


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, ""),
        ({"schemaVersion": 1}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        ({}, "application/vnd.docker.distribution.manifest.v1+json; charset=utf-8"),
    ],
)
def test_schema_1_is_named(document: Any, media_type: str) -> None:
    with pytest.raises(UnsupportedManifestError, match="schema 1"):
        parse(document, media_type)


def test_encrypted_layers_are_named() -> None:
    layer = {**BLOB, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"}
    with pytest.raises(UnsupportedManifestError, match="encrypted"):
        parse({"config": BLOB, "layers": [layer]})


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["windows/amd64", "linux/amd64"], "linux/amd64"),
        ("linux/x86_64", ["linux/amd64"], "linux/amd64"),
        ("amd64", ["linux/amd64"], "linux/amd64"),
        ("linux/arm64", ["linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64/v8", ["linux/arm64"], "linux/arm64"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], "linux/arm/v6"),
        ("linux/arm", ["linux/arm/v5", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], "linux/amd64"),
    ],
)
def test_choice_of_platform(wanted: str, there: list[str], chosen: str) -> None:
    assert str(choose(index(*there), Platform.parse(wanted)).platform) == chosen


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("linux/s390x", ["linux/amd64", "linux/arm64"]),
        ("linux/arm/v6", ["linux/arm/v7"]),
        ("linux/amd64", ["linux/amd64/v2"]),
        ("linux/amd64", ["unknown/unknown"]),
        ("windows/amd64", ["linux/amd64"]),
    ],
)
def test_no_platform_serves(wanted: str, there: list[str]) -> None:
    with pytest.raises(PlatformMissingError) as caught:
        choose(index(*there), Platform.parse(wanted))
    assert "unknown/unknown" not in caught.value.hint
    if there[0] != "unknown/unknown":
        assert there[0] in caught.value.hint


@pytest.mark.parametrize("text", ["", "linux/", "a/b/c/d", "linux/amd 64", "linux/" + "a" * 40])
def test_bad_platforms(text: str) -> None:
    with pytest.raises(BadReferenceError):
        Platform.parse(text)


def config(**changes: Any) -> bytes:
    document: dict[str, Any] = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [DIGEST, DIGEST]},
        "history": [
            {"created_by": "ADD rootfs"},
            {"created_by": "ENV X=1", "empty_layer": True},
            {"comment": "buildkit"},
        ],
        "config": {"Labels": {"a": "b"}},
    }
    return json.dumps({**document, **changes}).encode()


def test_config_gives_each_layer_its_step() -> None:
    found = parse_config(config(), 2)
    assert found.created_by == ("ADD rootfs", "buildkit")
    assert found.labels == {"a": "b"}
    assert str(found.platform) == "linux/amd64"


@pytest.mark.parametrize("history", [None, [], [{"created_by": "squashed"}]])
def test_a_history_that_does_not_fit_is_left_out(history: Any) -> None:
    assert parse_config(config(history=history), 2).created_by == ("", "")


def test_labels_may_be_missing() -> None:
    assert parse_config(config(config=None), 2).labels == {}


def test_a_config_of_another_image_is_refused() -> None:
    with pytest.raises(BadManifestError):
        parse_config(config(), 3)


def test_artifacts_are_no_images() -> None:
    """A Helm chart has a manifest with layers, too."""
    with pytest.raises(UnsupportedManifestError, match="not a container image"):
        parse_config(b"{}", 1)


def test_a_diff_id_must_be_a_digest() -> None:
    with pytest.raises(BadManifestError):
        parse_config(config(rootfs={"diff_ids": ["../x", "y"]}), 2)
