"""A registry on loopback that misbehaves on demand."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Handle = Callable[["Request"], bool]


@dataclass(frozen=True)
class Request:
    """What came in, and a way to answer it."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    answer: Callable[..., None]


class Server:
    """Answers by `rules`, first match first; `requests` keeps all that came in."""

    def __init__(self) -> None:
        self.rules: list[Handle] = []
        self.requests: list[Request] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length", 0))
                request = Request(
                    self.command,
                    parts.path,
                    parse_qs(parts.query),
                    {key.lower(): value for key, value in self.headers.items()},
                    self.rfile.read(length),
                    self._answer,
                )
                outer.requests.append(request)
                for rule in list(outer.rules):
                    if rule(request):
                        return
                self._answer(404)

            do_GET = do_POST = do_HEAD = _serve

            def _answer(
                self,
                status: int,
                body: bytes = b"",
                cut_at: int | None = None,
                **headers: str,
            ) -> None:
                """Send it; with `cut_at`, hang up after so many bytes of the body."""
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                # Clients hang up on what they do not believe.
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body[:cut_at])
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def seen(self, part: str) -> list[Request]:
        return [request for request in self.requests if part in request.path]


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Content:
    """An image with `layers` as a registry keeps it."""

    layers: list[bytes]
    diff_ids: list[str] | None = None
    blobs: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids = self.diff_ids or [sha(b"%d" % n) for n in range(len(self.layers))]
        config = json.dumps(
            {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ids}}
        ).encode()
        for data in (config, *self.layers):
            self.blobs[sha(data)] = data
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"digest": sha(config), "size": len(config)},
                "layers": [{"digest": sha(data), "size": len(data)} for data in self.layers],
            }
        ).encode()

    @property
    def digest(self) -> str:
        return sha(self.manifest)

    def serve(self, request: Request) -> bool:
        """A well-behaved registry: manifests by any name, blobs with ranges."""
        kind, _, name = request.path.removeprefix("/v2/team/shop/").partition("/")
        if kind == "manifests" and name in ("1.0", self.digest):
            request.answer(
                200,
                self.manifest,
                Content_Type="application/vnd.oci.image.manifest.v1+json",
                Docker_Content_Digest=self.digest,
            )
            return True
        if kind == "blobs" and name in self.blobs:
            serve_blob(request, self.blobs[name])
            return True
        return False


def serve_blob(request: Request, data: bytes, cut_at: int | None = None) -> None:
    asked = request.headers.get("range", "")
    if not asked:
        request.answer(200, data, cut_at)
        return
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    rest = data[start:]
    request.answer(206, rest, cut_at, Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
