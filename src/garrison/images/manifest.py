"""Manifests, indexes and image configs, from their bytes.

Source: OCI image spec 1.1, manifest.md, image-index.md, config.md; Docker image manifest
version 2, schema 2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import msgspec

from garrison.images import limits
from garrison.images.errors import (
    BadManifestError,
    BadReferenceError,
    PlatformMissingError,
    UnsupportedManifestError,
)
from garrison.images.reference import Digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPTED = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)
_SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armv8l": "arm64",
    "i386": "386",
    "i686": "386",
    "armhf": "arm",
    "armel": "arm",
}
_VARIANT = re.compile(r"v?(\d{1,3})(?:\.(\d{1,3}))?")
_VARIANT_OF = {"amd64": (1, 0), "arm64": (8, 0), "arm": (7, 0)}
"""The variant meant where none is written."""


@dataclass(frozen=True, slots=True)
class Platform:
    """`linux/amd64`, `linux/arm/v7`; architectures under Go's names."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Raises BadReferenceError."""
        parts = text.strip().lower().split("/")
        if len(parts) == 1:
            parts = ["linux", *parts]
        if not 2 <= len(parts) <= 3 or not all(
            re.fullmatch(r"[a-z0-9_.-]{1,32}", p) for p in parts
        ):
            raise BadReferenceError(
                f"{text[:100]!r} is not a platform", "Write OS/ARCHITECTURE, as linux/arm64."
            )
        return cls.of(*parts)

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "") -> Platform:
        """The same, from its parts and with other names of an architecture understood."""
        architecture = architecture.lower()
        if not variant and (match := re.fullmatch(r"armv([5-7])l?", architecture)):
            architecture, variant = "arm", f"v{match[1]}"
        return cls(os.lower(), _ARCHITECTURES.get(architecture, architecture), variant.lower())

    @classmethod
    def of_this_node(cls) -> Platform:
        """Linux on this machine's architecture."""
        return cls.of("linux", os.uname().machine)

    def rank(self, wanted: Platform) -> tuple[int, int] | None:
        """How well this one serves `wanted`: more is better; None: it cannot run there."""
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return None
        if self.variant == wanted.variant:
            return (1000, 0)
        mine, theirs = self._level(), wanted._level()
        if mine is None or theirs is None or mine > theirs:
            return None
        return mine

    def _level(self) -> tuple[int, int] | None:
        if not self.variant:
            return _VARIANT_OF.get(self.architecture, (0, 0))
        match = _VARIANT.fullmatch(self.variant)
        return (int(match[1]), int(match[2] or 0)) if match else None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Content of a registry or layout: what it is, its address and its size in bytes."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform; layers oldest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests, usually one for each platform."""

    manifests: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says of itself. diff_ids, created_by: one for each layer, oldest first."""

    platform: Platform
    diff_ids: tuple[str, ...]
    created_by: tuple[str, ...]
    labels: dict[str, str]


ManifestOrIndex: TypeAlias = Manifest | Index
_T = TypeVar("_T")


class _PlatformJson(msgspec.Struct):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class _DescriptorJson(msgspec.Struct, rename={"media_type": "mediaType"}):
    digest: str
    size: int
    media_type: str = ""
    platform: _PlatformJson | None = None
    annotations: dict[str, str] | None = None


class _ManifestJson(
    msgspec.Struct, rename={"media_type": "mediaType", "schema_version": "schemaVersion"}
):
    media_type: str = ""
    schema_version: int = 0
    config: _DescriptorJson | None = None
    layers: list[_DescriptorJson] | None = None
    manifests: list[_DescriptorJson] | None = None
    fsLayers: Any = None


class _HistoryJson(msgspec.Struct):
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class _RootFsJson(msgspec.Struct):
    diff_ids: list[str] | None = None


class _ContainerConfigJson(msgspec.Struct, rename={"labels": "Labels"}):
    labels: dict[str, str] | None = None


class _ConfigJson(msgspec.Struct):
    os: str = ""
    architecture: str = ""
    variant: str = ""
    rootfs: _RootFsJson | None = None
    history: list[_HistoryJson] | None = None
    config: _ContainerConfigJson | None = None


def parse_manifest(data: bytes, media_type: str = "") -> ManifestOrIndex:
    """The manifest or index in `data`.

    media_type: what the registry or descriptor said it is, if anything.

    Raises:
        UnsupportedManifestError: schema 1.
        BadManifestError: anything else that is neither.
    """
    document = _decode(data, _ManifestJson, "manifest", limits.MAX_MANIFEST)
    said = {document.media_type, media_type.partition(";")[0].strip().lower()}
    if said & _SCHEMA_1 or (document.schema_version == 1 and document.fsLayers is not None):
        raise UnsupportedManifestError(
            "the image has a manifest of Docker's schema 1, deprecated since 2017",
            "Push the image again with a current client; registries convert nothing by themselves.",
        )
    if document.manifests is not None and document.layers is not None:
        raise BadManifestError("a manifest claims to be an index as well")
    if document.manifests is not None:
        return Index(tuple(_descriptor(item) for item in document.manifests))
    if document.layers is None or document.config is None:
        raise BadManifestError("the manifest has no config and layers")
    if len(document.layers) > limits.MAX_LAYERS:
        raise BadManifestError(f"the manifest has {len(document.layers)} layers")
    layers = tuple(_descriptor(layer) for layer in document.layers)
    for layer in layers:
        if "+encrypted" in layer.media_type:
            raise UnsupportedManifestError(
                f"layer {layer.digest} is encrypted", "Scan the image before it is encrypted."
            )
    return Manifest(_descriptor(document.config), layers)


def parse_config(data: bytes, layers: int | None = None) -> ImageConfig:
    """The image config in `data`. layers: how many the manifest has.

    Raises:
        UnsupportedManifestError: the config of something that is not a container image.
        BadManifestError: not a config, or not of this manifest.
    """
    document = _decode(data, _ConfigJson, "config", limits.MAX_CONFIG)
    if document.rootfs is None or document.rootfs.diff_ids is None:
        raise UnsupportedManifestError(
            "this is not a container image: its config names no layers",
            "Registries also hold charts, signatures and other artifacts.",
        )
    diff_ids = document.rootfs.diff_ids
    if layers is not None and len(diff_ids) != layers:
        raise BadManifestError(f"the manifest has {layers} layers, the config {len(diff_ids)}")
    for diff_id in diff_ids:
        _digest(diff_id)
    labels = document.config.labels if document.config else None
    return ImageConfig(
        Platform.of(document.os or "linux", document.architecture, document.variant),
        tuple(diff_ids),
        _created_by(document.history or [], len(diff_ids)),
        labels or {},
    )


def choose(index: Index, wanted: Platform) -> Descriptor:
    """The manifest in `index` that runs best on `wanted`.

    Raises:
        PlatformMissingError: none does; the hint names those there are.
    """
    ranked = [
        (rank, -position, descriptor)
        for position, descriptor in enumerate(index.manifests)
        if descriptor.platform and (rank := descriptor.platform.rank(wanted)) is not None
    ]
    if ranked:
        return max(ranked, key=lambda item: item[:2])[2]
    unlabelled = [d for d in index.manifests if d.platform is None]
    if len(unlabelled) == len(index.manifests) == 1:
        return unlabelled[0]
    raise PlatformMissingError(f"the image has nothing for {wanted}", _there_is(index.manifests))


def _there_is(manifests: Iterable[Descriptor]) -> str:
    names = sorted(
        {str(d.platform) for d in manifests if d.platform and d.platform.os != "unknown"}
    )
    return f"Choose with --platform: it has {', '.join(names[:20])}." if names else ""


def _created_by(history: list[_HistoryJson], layers: int) -> tuple[str, ...]:
    steps = [step.created_by or step.comment for step in history if not step.empty_layer]
    if len(steps) != layers:
        # Squashed images keep a history that no longer fits their layers.
        return ("",) * layers
    return tuple(steps)


def _descriptor(item: _DescriptorJson) -> Descriptor:
    if item.size < 0:
        raise BadManifestError("a manifest names content of negative size")
    platform = None
    if item.platform is not None and item.platform.architecture:
        platform = Platform.of(
            item.platform.os or "linux", item.platform.architecture, item.platform.variant
        )
    return Descriptor(
        item.media_type, _digest(item.digest), item.size, platform, item.annotations or {}
    )


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except ValueError as error:
        raise BadManifestError(f"the manifest is broken: {error}") from None


def _decode(data: bytes, kind: type[_T], what: str, limit: int) -> _T:
    if len(data) > limit:
        raise BadManifestError(f"the {what} has {len(data)} bytes; read are {limit}")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadManifestError(f"the {what} cannot be read: {error}") from None
