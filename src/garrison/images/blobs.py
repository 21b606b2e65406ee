"""Images kept as blobs under their digests: registries and OCI layouts read alike."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from garrison.images import limits
from garrison.images.content import Wanted
from garrison.images.errors import BadManifestError, DigestMismatchError, PlatformMissingError
from garrison.images.manifest import (
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    choose,
    parse_config,
    parse_manifest,
)
from garrison.images.read import (
    ImageContent,
    LayerCache,
    LayerInfo,
    LayerJob,
    OpenBlob,
    Progress,
    read_layers,
)
from garrison.images.reference import Digest
from garrison.images.stream import Guard, VerifiedBlob


class BlobStore(Protocol):
    """Where manifests and blobs come from. Nothing it gives is believed before it is verified."""

    def manifest(self, descriptor: Descriptor) -> bytes: ...

    def open(self, digest: Digest, size: int) -> OpenBlob: ...


def verified(data: bytes, digest: Digest) -> bytes:
    """`data`. Raises DigestMismatchError: it is other data than `digest` names."""
    found = Digest.of(data, digest.algorithm)
    if found != digest:
        raise DigestMismatchError(
            f"what was sent for {digest} has the digest {found}",
            "Something on the way changed the answer, or the registry is damaged.",
        )
    return data


def find_manifest(
    store: BlobStore, data: bytes, media_type: str, digest: Digest, platform: Platform
) -> tuple[Manifest, Digest]:
    """The manifest for `platform`, starting from the verified bytes of one or of an index."""
    for _ in range(limits.MAX_INDEX_DEPTH + 1):
        document = parse_manifest(data, media_type)
        if not isinstance(document, Index):
            return document, digest
        descriptor = choose(document, platform)
        data = verified(store.manifest(descriptor), descriptor.digest)
        media_type, digest = descriptor.media_type, descriptor.digest
    raise BadManifestError(f"indexes are nested more than {limits.MAX_INDEX_DEPTH} deep")


def read_config(store: BlobStore, manifest: Manifest) -> ImageConfig:
    """The verified config of an image."""
    size = manifest.config.size
    if size > limits.MAX_CONFIG:
        raise BadManifestError(f"the image's config has {size} bytes")
    blob = store.open(manifest.config.digest, size)
    try:
        reader = VerifiedBlob(blob, manifest.config.digest, size)
        parts = []
        while part := reader.read():
            parts.append(part)
    finally:
        blob.close()
    return parse_config(b"".join(parts), len(manifest.layers))


class BlobImage:
    """An image in a `BlobStore`.

    data, media_type, digest: of the manifest or index it begins with, verified.
    platform: what was asked for; None: this node's, if there is a choice.
    """

    def __init__(
        self,
        reference: str,
        store: BlobStore,
        data: bytes,
        media_type: str,
        digest: Digest,
        platform: Platform | None,
    ) -> None:
        self.reference = reference
        self._store = store
        self._platform = platform
        self._manifest, self.digest = find_manifest(
            store, data, media_type, digest, platform or Platform.of_this_node()
        )

    @property
    def identity(self) -> str:
        """Equal for equal images asked for in the same way."""
        return f"{self.digest} {self._platform}" if self._platform else str(self.digest)

    def read(
        self,
        wanted: Wanted,
        *,
        threads: int,
        progress: Progress | None,
        guard: Guard,
        cache: LayerCache | None = None,
    ) -> ImageContent:
        """Config and layers, all verified."""
        manifest = self._manifest
        config = read_config(self._store, manifest)
        self._check_platform(config)
        contents = read_layers(
            [
                LayerJob(
                    partial(self._store.open, layer.digest, layer.size), layer.digest, layer.size
                )
                for layer in manifest.layers
            ],
            wanted,
            threads=threads,
            progress=progress,
            guard=guard,
            cache=cache,
        )
        return ImageContent(
            self.reference,
            str(self.digest),
            str(config.platform),
            tuple(
                LayerInfo(str(layer.digest), diff_id, layer.size, created_by)
                for layer, diff_id, created_by in zip(
                    manifest.layers, config.diff_ids, config.created_by, strict=True
                )
            ),
            contents,
            config.labels,
        )

    def _check_platform(self, config: ImageConfig) -> None:
        """An image without an index is for one platform: another one may not be asked for."""
        if self._platform and config.platform.rank(self._platform) is None:
            raise PlatformMissingError(
                f"the image is for {config.platform}, not for {self._platform}"
            )
