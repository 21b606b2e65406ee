"""Images in a registry, read through `egress`.

Source: OCI distribution spec 1.1; distribution's docs/spec/auth/token.md; RFC 9110 sections 14
(ranges) and 15.4 (redirects).
"""

from __future__ import annotations

import base64
import ipaddress
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from garrison.egress import EgressError, Kept, Led, open_body
from garrison.images import limits
from garrison.images.blobs import BlobImage, verified
from garrison.images.challenge import Challenge, Token, parse_challenges, parse_token
from garrison.images.content import Wanted
from garrison.images.errors import (
    BadManifestError,
    DigestMismatchError,
    ForbiddenError,
    ImageError,
    InsecureError,
    NotFoundError,
    RateLimitedError,
    RegistryError,
    UnauthorizedError,
)
from garrison.images.manifest import ACCEPTED, Descriptor, Platform
from garrison.images.read import ImageContent, LayerCache, OpenBlob, Progress
from garrison.images.reference import Digest, ImageReference
from garrison.images.source import IDENTITY_TOKEN_USER, RegistryAccess
from garrison.images.stream import Guard

if TYPE_CHECKING:
    from garrison.egress import Body, ConnectionRecord, ProxySettings

Observer: TypeAlias = "Callable[[ConnectionRecord], None]"

MAX_REDIRECTS = 5
MAX_ANSWER = 1 << 20
"""Bytes of a token or an error."""

MAX_TRIES = 4
"""Attempts in a row to go on with a blob, none of which brought a byte."""

MAX_CUTS = 64
"""Attempts to go on with one blob, all in all."""

PAUSE = 0.5
"""Seconds before the first attempt; doubled for each that follows."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_USER_AGENT = "garrison"
_PASSING = frozenset({429, 500, 502, 503, 504})


class RegistrySource:
    """An image in a registry; each `read` asks the registry anew, but one after `identify`."""

    def __init__(
        self,
        reference: ImageReference,
        settings: ProxySettings,
        platform: Platform | None,
        access: RegistryAccess,
        timeout: float,
        observer: Observer | None = None,
    ) -> None:
        self._image = reference
        self._observer = observer
        self._settings = settings
        self._platform = platform
        self._access = access
        self._timeout = timeout
        self._found: BlobImage | None = None
        self._kept = Kept()

    @property
    def reference(self) -> str:
        return str(self._image)

    def identify(self) -> str:
        self._kept.close()
        self._kept = Kept()
        registry = Registry(
            self._image,
            self._settings,
            self._access,
            self._timeout,
            observer=self._observer,
            kept=self._kept,
        )
        data, media_type, digest = registry.top()
        self._found = BlobImage(self.reference, registry, data, media_type, digest, self._platform)
        return self._found.identity

    def read(
        self,
        wanted: Wanted,
        *,
        threads: int = 2,
        progress: Progress | None = None,
        seconds: float = limits.MAX_SECONDS,
        cache: LayerCache | None = None,
    ) -> ImageContent:
        guard = Guard(seconds)
        if progress is not None:
            progress(0, 0, "manifest")
        if self._found is None:
            self.identify()
        image, self._found = self._found, None
        assert image is not None
        try:
            return image.read(wanted, threads=threads, progress=progress, guard=guard, cache=cache)
        finally:
            self._kept.close()


class Registry:
    """A client for one repository: a `BlobStore`. Safe to use from several threads.

    clock, sleep: for the life of tokens and the pauses between attempts.
    """

    def __init__(
        self,
        image: ImageReference,
        settings: ProxySettings,
        access: RegistryAccess,
        timeout: float,
        *,
        observer: Observer | None = None,
        kept: Kept | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.image = image
        self.sleep = sleep
        self._settings = settings
        self._access = access
        self._timeout = timeout
        self._observer = observer
        self._kept = kept
        self._clock = clock
        self._lock = threading.Lock()
        self._base = ""
        self._led: Led | None = None
        self._basic = False
        self._bearer: Challenge | None = None
        self._token: Token | None = None

    def top(self) -> tuple[bytes, str, Digest]:
        """What the reference names, manifest or index: bytes, media type, verified digest."""
        data, media_type, said = self._manifest(self.image.target)
        digest = self.image.digest
        if digest is None:
            digest = Digest.of(data)
            # A registry that names the digest must mean these bytes.
            if said and said.algorithm == digest.algorithm and said != digest:
                raise DigestMismatchError(
                    f"the manifest has the digest {digest}, the registry said {said}",
                    "Something on the way changed the answer.",
                )
        return verified(data, digest), media_type, digest

    def manifest(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > limits.MAX_MANIFEST:
            raise BadManifestError(f"a manifest has {descriptor.size} bytes")
        return self._manifest(str(descriptor.digest))[0]

    def open(self, digest: Digest, size: int) -> OpenBlob:
        return _Blob(self, digest, size)

    def get(self, path: str, *, accept: str = "", start: int = 0) -> Body:
        """GET below the repository: signed in where the registry asks for it, redirects
        followed. Any other status is the caller's."""
        url = f"{self._base_url()}/{path}"
        headers = {"Accept": accept or "*/*", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        authorization = self._authorization()
        body = self._follow(url, headers, authorization)
        if body.status != 401:
            return body
        challenges = parse_challenges(body.headers.all("WWW-Authenticate"))
        body.close()
        self._answer(challenges, authorization)
        return self._follow(url, headers, self._authorization())

    def failure(self, body: Body, what: str) -> ImageError:
        """The error for an answer that is not what was asked for; closes `body`."""
        status, headers = body.status, body.headers
        said = _said(body)
        place = f"{self.image.domain}/{self.image.repository}"
        if status == 401:
            return self._refused(said)
        if status == 403:
            return ForbiddenError(
                f"{self.image.domain} forbids to read {what} of {place}{said}",
                "Check what this user may pull; a filter on the way may refuse as well.",
            )
        if status == 404:
            return NotFoundError(
                f"{self.image.domain} has no {what} of {self.image.repository}{said}",
                "Check the name and the tag.",
            )
        if status == 429:
            wait = headers.get("Retry-After", "")
            return RateLimitedError(
                f"{self.image.domain} limits how much may be pulled{said}",
                (f"It asks to wait {wait} s. " if wait.isdigit() else "")
                + "Signed-in users usually have a higher limit.",
            )
        return RegistryError(
            f"{self.image.domain} answered {status} to the request for {what} of {place}{said}",
            "The registry itself failed: try again later." if status >= 500 else "",
        )

    def _manifest(self, target: str) -> tuple[bytes, str, Digest | None]:
        body = self._steady(
            lambda: self.get(f"manifests/{quote(target, safe=':')}", accept=", ".join(ACCEPTED))
        )
        if body.status != 200:
            raise self.failure(body, f"manifest {target}")
        with body:
            media_type = body.headers.get("Content-Type", "")
            data = body.read(limit=limits.MAX_MANIFEST)
            said = body.headers.get("Docker-Content-Digest", "")
        if media_type.startswith("text/html"):
            raise BadManifestError(
                f"{self.image.domain} sent a web page instead of a manifest",
                "Check the registry's name; a proxy or portal on the way may have answered.",
            )
        try:
            return data, media_type, Digest.parse(said) if said else None
        except ValueError:
            return data, media_type, None

    def _steady(self, ask: Callable[[], Body]) -> Body:
        """Ask again where the registry is only out of breath."""
        for attempt in range(MAX_TRIES - 1):
            body = ask()
            if body.status not in _PASSING:
                return body
            pause = _retry_after(body.headers, PAUSE * 2**attempt)
            if pause > 10:
                return body
            body.close()
            self.sleep(pause)
        return ask()

    # The address

    def _base_url(self) -> str:
        with self._lock:
            if not self._base:
                host = self.image.registry
                scheme = "http" if self._access.plain_http else "https"
                if scheme == "https" and _is_loopback(host):
                    scheme = self._loopback_scheme(host)
                self._base = f"{scheme}://{host}/v2/{self.image.repository}"
            return self._base

    def _loopback_scheme(self, host: str) -> str:
        """On this machine a registry may be plain, as for docker: TLS first, then without."""
        try:
            self._open(f"https://{host}/v2/", {}).close()
        except EgressError as refused:
            try:
                with self._open(f"http://{host}/v2/", {}) as body:
                    if body.status in (200, 401, 403, 404):
                        return "http"
            except EgressError:
                pass
            raise refused from None
        return "https"

    def _follow(self, url: str, headers: dict[str, str], authorization: str) -> Body:
        """GET with redirects: credentials stay with the registry, `https` stays `https`."""
        origin = _origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            send = headers
            if authorization and _origin(url) == origin:
                send = {**headers, "Authorization": authorization}
            body = self._open(url, send)
            if body.status not in _REDIRECTS:
                if body.status == 401 and _origin(url) != origin:
                    # Storage has no business asking for the registry's credentials.
                    body.close()
                    raise RegistryError(
                        f"{urlsplit(url).hostname} refuses what {origin[1]} sent us to"
                    )
                return body
            location = body.headers.get("Location", "")
            body.close()
            target = urljoin(url, location)
            scheme = urlsplit(target).scheme
            if not location or scheme not in ("https", "http"):
                raise RegistryError(f"{urlsplit(url).hostname} redirects to nowhere")
            if scheme == "http" and url.startswith("https:"):
                raise InsecureError(
                    f"{urlsplit(url).hostname} redirects from https to http",
                    "The registry's storage must be reachable over TLS.",
                )
            url = target
        raise RegistryError(f"{origin[1]} redirects more than {MAX_REDIRECTS} times")

    def _open(self, url: str, headers: Mapping[str, str], data: bytes | None = None) -> Body:
        """The first answer tells where the registry is: nothing it says leads further inside."""
        body = open_body(
            url,
            self._settings,
            purpose="registry",
            method="GET" if data is None else "POST",
            headers={"User-Agent": _USER_AGENT, **headers},
            data=data,
            timeout=self._timeout,
            observer=self._observer,
            extra_ca=self._access.ca,
            led=self._led,
            kept=self._kept,
        )
        self._led = self._led or Led(self.image.domain, body.place)
        return body

    # Signing in

    def _authorization(self) -> str:
        with self._lock:
            if self._basic:
                return _basic(self._access)
            if self._bearer is None:
                return ""
            if self._token is None or self._clock() >= self._token.until:
                self._token = self._fetch_token(self._bearer)
            return f"Bearer {self._token.value}"

    def _answer(self, challenges: list[Challenge], failed: str) -> None:
        """Do what a 401 asks for. failed: the Authorization that was not enough.

        Raises: UnauthorizedError: there is nothing more to offer.
        """
        with self._lock:
            bearer = next((c for c in challenges if c.scheme == "bearer"), None)
            if bearer is not None:
                if self._token and failed != f"Bearer {self._token.value}":
                    return  # another thread has a newer one
                self._bearer, self._token = bearer, None
                return
            offered = any(c.scheme == "basic" for c in challenges)
            if offered and self._access.user and not self._basic:
                self._basic = True
                return
            raise self._refused("")

    def _fetch_token(self, challenge: Challenge) -> Token:
        url = challenge.token_url(self.image.repository)
        if url.startswith("http:") and not self._base.startswith("http:"):
            raise InsecureError(
                f"{self.image.domain} wants credentials to be sent without TLS to {_host(url)}",
                "The registry's token server must be reachable over TLS.",
            )
        headers: dict[str, str] = {"Accept": "application/json"}
        data = None
        if self._access.user == IDENTITY_TOKEN_USER:
            url, data = challenge.parameters["realm"], self._refresh_form(challenge)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif self._access.user:
            headers["Authorization"] = _basic(self._access)
        with self._open(url, headers, data) as body:
            if body.status in (400, 401, 403):
                raise self._refused(_said(body))
            if body.status != 200:
                raise RegistryError(
                    f"the token server {_host(url)} answered {body.status}{_said(body)}"
                )
            return parse_token(body.read(limit=MAX_ANSWER), self._clock())

    def _refresh_form(self, challenge: Challenge) -> bytes:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self._access.password,
            "client_id": "garrison",
            **challenge.query(self.image.repository),
        }
        return urlencode(form).encode()

    def _refused(self, said: str) -> UnauthorizedError:
        place = f"{self.image.domain}/{self.image.repository}"
        if self._access.user:
            user = (
                "this identity token"
                if self._access.user == IDENTITY_TOKEN_USER
                else (f"user {self._access.user!r}")
            )
            return UnauthorizedError(
                f"{self.image.domain} does not let {user} read {place}{said}",
                "Check user and password, and that this user may pull this repository.",
            )
        return UnauthorizedError(
            f"{self.image.domain} wants credentials for {place}, or has no such repository{said}",
            "Check the name; sign in with docker login, or give --username and --password-stdin.",
        )


class _Blob:
    """A blob that flows, and goes on where it was cut."""

    def __init__(self, registry: Registry, digest: Digest, size: int) -> None:
        self._registry = registry
        self._digest = digest
        self._size = size
        self._position = 0
        self._tries = 0
        self._cuts = 0
        self._failure: EgressError | None = None
        self._body: Body | None = self._start()

    def readinto(self, buffer: memoryview) -> int:
        while True:
            try:
                count = self._body.readinto(buffer) if self._body else 0
            except EgressError as error:
                count, self._failure = 0, error
            if count:
                self._position += count
                self._tries, self._failure = 0, None
                return count
            if self._position >= self._size:
                return 0
            self._resume()

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _start(self) -> Body:
        registry = self._registry
        body = registry._steady(lambda: registry.get(f"blobs/{self._digest}"))
        if body.status != 200:
            raise registry.failure(body, f"blob {self._digest}")
        return body

    def _resume(self) -> None:
        """Open the blob again at the present position; leaves no body when that failed."""
        self.close()
        self._tries += 1
        self._cuts += 1
        if self._tries > MAX_TRIES or self._cuts > MAX_CUTS:
            raise self._failure or RegistryError(
                f"{self._registry.image.domain} sent {self._position} of {self._size} bytes "
                f"of blob {self._digest} and no more",
                "A proxy on the way may cut long downloads.",
            )
        self._registry.sleep(PAUSE * 2 ** (self._tries - 1))
        try:
            body = self._registry.get(f"blobs/{self._digest}", start=self._position)
        except EgressError as error:
            self._failure = error
            return
        if body.status == 206 and _range_start(body.headers) == self._position:
            self._body = body
        elif body.status == 200:
            # Ranges are optional for a server: what is known already passes by.
            self._body = body
            self._skip(self._position)
        elif body.status in _PASSING and self._tries < MAX_TRIES:
            body.close()
        else:
            raise self._registry.failure(body, f"the rest of blob {self._digest}")

    def _skip(self, count: int) -> None:
        rest = memoryview(bytearray(256 << 10))
        try:
            while count and self._body:
                done = self._body.readinto(rest[: min(len(rest), count)])
                if not done:
                    break
                count -= done
        except EgressError:
            pass
        if count:
            self.close()


def _said(body: Body) -> str:
    """What a registry says about an error: `: CODE message`, or nothing. Closes `body`."""
    with body:
        try:
            answer = msgspec.json.decode(body.read(4096, limit=4096), type=_ErrorsJson)
        except (EgressError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return ""
    if not answer.errors:
        return f": {_clean(answer.details)}" if answer.details else ""
    first = answer.errors[0]
    text = _clean(f"{first.code} {first.message}".strip())
    return f": {text}" if text else ""


class _ErrorJson(msgspec.Struct):
    code: str = ""
    message: str = ""


class _ErrorsJson(msgspec.Struct):
    errors: list[_ErrorJson] = []
    details: str = ""


def _clean(text: str) -> str:
    return "".join(char for char in text[:200] if char.isprintable())


def _basic(access: RegistryAccess) -> str:
    pair = f"{access.user}:{access.password}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, f"{(parts.hostname or '').lower()}:{port}"


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _retry_after(headers: Mapping[str, str], otherwise: float) -> float:
    wait = headers.get("Retry-After", "")
    return float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 6 else otherwise


def _range_start(headers: Mapping[str, str]) -> int | None:
    unit, _, rest = headers.get("Content-Range", "").partition(" ")
    start = rest.partition("-")[0]
    return int(start) if unit == "bytes" and start.isascii() and start.isdigit() else None
