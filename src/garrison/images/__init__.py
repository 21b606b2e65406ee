"""Where images come from: references, registries, layouts, archives, root file systems, engines.

`open_image` gives an `ImageSource` for what a user typed; its `read` streams every layer once,
in parallel, and keeps of each file what the caller's `Wanted` says. `merge` puts the layers on
top of each other. Nothing is written to disk, and what comes out was verified on the way.
"""

from garrison.images.content import Again, Broken, FileError, LayerContent, Sieve, Wanted
from garrison.images.credentials import RegistryCredentials, docker_credentials
from garrison.images.errors import (
    BadLayerError,
    BadManifestError,
    BadReferenceError,
    CredentialsError,
    DigestMismatchError,
    EngineError,
    ForbiddenError,
    ImageError,
    InsecureError,
    NotFoundError,
    PlatformMissingError,
    RateLimitedError,
    RegistryError,
    ScanTimeoutError,
    TooLargeError,
    UnauthorizedError,
    UnsupportedManifestError,
)
from garrison.images.layers import Entry, FileView, merge
from garrison.images.manifest import Platform
from garrison.images.read import ImageContent, ImageSource, LayerCache, LayerInfo, Progress
from garrison.images.reference import Digest, ImageReference
from garrison.images.source import ENGINE_SOCKET, Access, RegistryAccess, open_image

__all__ = [
    "ENGINE_SOCKET",
    "Access",
    "Again",
    "BadLayerError",
    "BadManifestError",
    "BadReferenceError",
    "Broken",
    "CredentialsError",
    "Digest",
    "DigestMismatchError",
    "EngineError",
    "Entry",
    "FileError",
    "FileView",
    "ForbiddenError",
    "ImageContent",
    "ImageError",
    "ImageReference",
    "ImageSource",
    "InsecureError",
    "LayerCache",
    "LayerContent",
    "LayerInfo",
    "NotFoundError",
    "Platform",
    "PlatformMissingError",
    "Progress",
    "RateLimitedError",
    "RegistryAccess",
    "RegistryCredentials",
    "RegistryError",
    "ScanTimeoutError",
    "Sieve",
    "TooLargeError",
    "UnauthorizedError",
    "UnsupportedManifestError",
    "Wanted",
    "docker_credentials",
    "merge",
    "open_image",
]
