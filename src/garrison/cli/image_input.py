"""What `scan` and `sbom` read: options of the command line → the packages of an image.

The way out is what the environment says (GARRISON_HTTP_PROXY, …): the Console's database is not
read here, so that a scan starts without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from garrison.errors import InvalidSettingError

if TYPE_CHECKING:
    from garrison.images import ImageSource, Progress
    from garrison.packages import Inventory

MAX_FILE = 4 << 20
"""Bytes of a CA file or a password."""
TIMEOUT = 3600.0
_LOCAL = ("oci:", "docker-archive:", "rootfs:", "dir:", "docker:")
_SBOM = "sbom:"
_WAIT = 30.0
"""Seconds of one wait for the network, of a scan that may take longer."""

Image = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="debian:12, or oci:DIR, docker-archive:FILE, rootfs:DIR, dir:DIR (a project), "
        "docker:NAME (local engine), sbom:FILE.",
    ),
]
Platform = Annotated[
    str, typer.Option(metavar="OS/ARCH", help="For example linux/arm64; else this machine's.")
]
User = Annotated[
    str, typer.Option("--username", metavar="USER", help="At the registry; else docker's own.")
]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read from standard input.")]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="The registry speaks no TLS.")]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", metavar="PEM", help="Trusted for the registry alone.")
]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", help="For the whole scan.", min=0.1)]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", envvar="GARRISON_DATA", help="Where the advisories are."),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Read every layer, and remember nothing.")
]


@dataclass(frozen=True, slots=True)
class ImageAccess:
    """How an image is reached. cache: folder of what was read before, None: read everything."""

    platform: str
    user: str
    password_stdin: bool
    plain_http: bool
    ca_file: Path | None
    timeout: float
    cache: Path | None


def read(image: str, access: ImageAccess) -> Inventory:
    """The packages of what `image` names; a bar shows how far it is, on a terminal.

    Raises: InvalidSettingError, ImageError, EgressError, SbomUnreadableError.
    """
    if image.startswith(_SBOM):
        return _read_sbom(image)
    from garrison.findings.cache import ScanCache
    from garrison.findings.scan import read_image

    source = _open(image, access)
    cache = ScanCache(access.cache) if access.cache is not None else None
    with _progress() as progress:
        return read_image(source, progress=progress, seconds=access.timeout, cache=cache)


def read_bytes(path: Path, limit: int, option: str) -> bytes:
    """A file that an option names; `-` is standard input.

    Raises: InvalidSettingError: unreadable, or longer than `limit`.
    """
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with path.open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise InvalidSettingError(option, f"cannot read {path}: {error.strerror}") from error
    if len(data) > limit:
        raise InvalidSettingError(option, f"{path} has more than {limit} bytes")
    return data


def _read_sbom(image: str) -> Inventory:
    import time

    from garrison.packages.sbom import MAX_BYTES, read_sbom

    began = time.monotonic()
    path = image.removeprefix(_SBOM)
    if not path:
        raise InvalidSettingError("image", f"{image!r} names nothing after the colon")
    inventory = read_sbom(read_bytes(Path(path), MAX_BYTES, "image"), image)
    from dataclasses import replace

    return replace(inventory, duration=time.monotonic() - began)


def _open(image: str, access: ImageAccess) -> ImageSource:
    from garrison.egress import settings_from_environment
    from garrison.images import Access, ImageReference, docker_credentials, open_image

    user, password = access.user, ""
    if access.password_stdin != bool(user):
        raise InvalidSettingError(
            "username", "--username and --password-stdin belong together", "Give both, or none."
        )
    if access.password_stdin:
        password = sys.stdin.readline(MAX_FILE).rstrip("\r\n")
    elif not image.startswith(_LOCAL):
        found = docker_credentials(ImageReference.parse(image).domain, os.environ)
        if found is not None:
            user, password = found.user, found.password.reveal()
    return open_image(
        image,
        settings_from_environment(os.environ),
        platform=access.platform,
        access=Access(user, password, access.plain_http, _pem(access.ca_file)),
        timeout=min(_WAIT, access.timeout),
        engine=_engine(os.environ),
    )


def _engine(environ: Mapping[str, str]) -> Path:
    """The socket of the local engine: DOCKER_HOST as docker reads it, else the first there is."""
    from garrison.images import ENGINE_SOCKET

    host = environ.get("DOCKER_HOST", "")
    if host:
        kind, _, path = host.partition("://")
        if kind != "unix" or not path.startswith("/"):
            raise InvalidSettingError(
                "DOCKER_HOST",
                "DOCKER_HOST is not a Unix socket",
                "Use unix:///PATH, or a registry.",
            )
        return Path(path)
    own = environ.get("XDG_RUNTIME_DIR", "")
    rootless = [Path(own, "docker.sock"), Path(own, "podman/podman.sock")] if own else []
    found = [ENGINE_SOCKET, *rootless, Path("/run/podman/podman.sock")]
    return next((path for path in found if path.is_socket()), ENGINE_SOCKET)


def _pem(path: Path | None) -> str:
    if path is None:
        return ""
    from garrison.egress import BadCertificateError, TrustBundle

    text = read_bytes(path, MAX_FILE, "ca_file").decode("utf-8", "replace")
    try:
        found = TrustBundle.parse(text)
    except BadCertificateError as error:
        raise InvalidSettingError("ca_file", f"{path}: {error}") from None
    if not found:
        raise InvalidSettingError(
            "ca_file", f"{path} has no certificate", "It begins with -----BEGIN CERTIFICATE-----."
        )
    return text


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("layers", total=None)

        def moved(done: int, total: int, step: str) -> None:
            if total:
                bar.update(task, completed=done, total=total, description=step)
            else:
                bar.update(task, description=step)

        yield moved
