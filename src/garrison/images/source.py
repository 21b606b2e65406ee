"""From what a user typed to something that can be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from garrison.images.errors import BadReferenceError
from garrison.images.manifest import Platform
from garrison.images.read import ImageSource
from garrison.images.reference import ImageReference

if TYPE_CHECKING:
    from collections.abc import Callable

    from garrison.egress import ConnectionRecord, ProxySettings

ENGINE_SOCKET = Path("/var/run/docker.sock")
DEFAULT_TIMEOUT = 30.0
"""Seconds of each wait for the network."""

IDENTITY_TOKEN_USER = "<token>"  # noqa: S105 - docker's marker, no secret
"""The user that says: the password is an identity token, to be exchanged for access tokens."""


class RegistryAccess(Protocol):
    """How to reach one registry. ca: PEM, trusted for this registry alone.

    user: empty for anonymous; `<token>` where password is an identity token.
    """

    @property
    def user(self) -> str: ...

    @property
    def password(self) -> str: ...

    @property
    def plain_http(self) -> bool: ...

    @property
    def ca(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Access:
    """A `RegistryAccess` of plain values."""

    user: str = ""
    password: str = field(default="", repr=False)
    plain_http: bool = False
    ca: str = field(default="", repr=False)


def open_image(
    text: str,
    settings: ProxySettings,
    *,
    platform: str = "",
    access: RegistryAccess | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    engine: Path = ENGINE_SOCKET,
    observer: Callable[[ConnectionRecord], None] | None = None,
) -> ImageSource:
    """What `text` names: `oci:DIR`, `docker-archive:FILE`, `rootfs:DIR`, `dir:DIR`,
    `docker:NAME`, or an image in a registry.

    Opens nothing yet but looks at folders. platform: `linux/arm64`; empty for this node's.
    timeout: seconds of each wait for the network. engine: the socket of the local engine.
    observer: told of every connection: to the registry, its token server, its storage.

    Raises:
        BadReferenceError: it names nothing.
        NotFoundError: a folder or file that does not exist.
    """
    wanted = Platform.parse(platform) if platform else None
    kind, colon, rest = text.partition(":")
    if colon and not rest and kind in ("oci", "docker-archive", "rootfs", "dir", "docker"):
        raise BadReferenceError(f"{text!r} names nothing after the colon")
    if colon and kind in ("oci", "rootfs", "dir"):
        from garrison.images.archive import DirectorySource, LayoutSource, RootfsSource

        if kind == "oci":
            return LayoutSource(rest, wanted)
        return RootfsSource(Path(rest)) if kind == "rootfs" else DirectorySource(Path(rest))
    if colon and kind == "docker-archive":
        from garrison.images.saved import ArchiveSource

        return ArchiveSource(rest)
    if colon and kind == "docker":
        from garrison.images.engine import EngineSource

        return EngineSource(rest, engine, timeout)
    from garrison.images.registry import RegistrySource

    reference = ImageReference.parse(text)
    return RegistrySource(reference, settings, wanted, access or Access(), timeout, observer)
