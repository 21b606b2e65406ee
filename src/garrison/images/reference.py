"""Image references and digests, by the rules of `docker pull`.

Source: github.com/distribution/reference, the grammar in `reference.go`; OCI image spec,
descriptor.md, "Digests".
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

from garrison.images.errors import BadReferenceError

DOCKER_HUB = "docker.io"
DOCKER_HUB_HOST = "registry-1.docker.io"
DEFAULT_TAG = "latest"
MAX_NAME = 255
"""Characters of domain and repository together."""

_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:.]+\])(?::[0-9]{1,5})?"
)
_REPOSITORY = re.compile(
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_HEX_NAME = re.compile(r"[a-f0-9]{64}")
_LENGTHS = {"sha256": 64, "sha512": 128}


class Hasher(Protocol):
    """What `hashlib` makes."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Digest:
    """A content address: `sha256:…` or `sha512:…`, lower-case hex."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Raises ValueError: not a digest of a known algorithm."""
        algorithm, colon, value = text.partition(":")
        if not colon or len(value) != _LENGTHS.get(algorithm, -1):
            raise ValueError(f"not a digest: {text[:160]!r}")
        if not set(value) <= set("0123456789abcdef"):
            raise ValueError(f"not a digest: {text[:160]!r}")
        return cls(algorithm, value)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of `data`."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def hasher(self) -> Hasher:
        """A fresh hash of this algorithm."""
        return hashlib.new(self.algorithm)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """Where an image is: `parse(str(reference)) == reference`.

    domain: as people write it (`docker.io`, `ghcr.io`, `127.0.0.1:5000`).
    tag: empty only where a digest is given. Both may be given: then the digest decides.
    """

    domain: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """The reference `docker pull` would understand by `text`.

        Raises:
            BadReferenceError: and what is wrong with it.
        """
        name, digest = _split_digest(text)
        name, tag = _split_tag(name)
        domain, repository = _split_domain(name)
        _check_name(text, domain, repository)
        if not tag and digest is None:
            tag = DEFAULT_TAG
        return cls(domain, repository, tag, digest)

    @property
    def registry(self) -> str:
        """Host and port to dial."""
        return DOCKER_HUB_HOST if self.domain == DOCKER_HUB else self.domain

    @property
    def target(self) -> str:
        """What a manifest is asked for by: the digest if there is one, else the tag."""
        return str(self.digest) if self.digest else self.tag

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.domain}/{self.repository}{tag}{digest}"


def _split_digest(text: str) -> tuple[str, Digest | None]:
    name, at, value = text.partition("@")
    if not at:
        return name, None
    try:
        return name, Digest.parse(value)
    except ValueError as error:
        raise BadReferenceError(
            f"{text[:300]!r} is not an image reference: {error}",
            "A digest is sha256: and 64 hexadecimal characters.",
        ) from None


def _split_tag(name: str) -> tuple[str, str]:
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    if not colon:
        return name, ""
    if not slash and not last:
        raise BadReferenceError(f"{name[:300]!r} is not an image reference: it has no name")
    if not _TAG.fullmatch(tag):
        raise BadReferenceError(
            f"{name[:300]!r} is not an image reference: bad tag {tag[:160]!r}",
            "A tag has letters, digits, '_', '.', '-' and at most 128 characters.",
        )
    return f"{head}{slash}{last}", tag


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_domain = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not is_domain:
        first, rest = DOCKER_HUB, name
    elif first.lower() in _HUB_NAMES:
        first = DOCKER_HUB
    if first == DOCKER_HUB and "/" not in rest:
        rest = f"library/{rest}"
    return first, rest


def _check_name(text: str, domain: str, repository: str) -> None:
    shown = repr(text[:300])
    if not _DOMAIN.fullmatch(domain):
        raise BadReferenceError(
            f"{shown} is not an image reference: bad registry {domain[:160]!r}",
            "Write REGISTRY[:PORT]/REPOSITORY[:TAG], or oci:DIR, docker-archive:FILE, "
            "rootfs:DIR, dir:DIR or docker:NAME.",
        )
    if not _REPOSITORY.fullmatch(repository):
        upper = repository != repository.lower()
        raise BadReferenceError(
            f"{shown} is not an image reference: bad repository {repository[:160]!r}",
            "Repository names are lower case." if upper else "",
        )
    if len(domain) + 1 + len(repository) > MAX_NAME:
        raise BadReferenceError(f"{shown} is not an image reference: longer than {MAX_NAME}")
    if domain == DOCKER_HUB and _HEX_NAME.fullmatch(repository.removeprefix("library/")):
        raise BadReferenceError(
            f"{shown} is an image id, not a reference",
            "An image of the local engine is docker:ID.",
        )
