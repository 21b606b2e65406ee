"""An OSV bulk export on loopback: validators, ranges, and things that go wrong."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

from tests.unit.advisories.records import Json, raw

DATE = "Tue, 24 Nov 2026 12:00:00 GMT"


def archive(*records: Json) -> bytes:
    """The records as a feed's `all.zip`; compressed badly, so that it has some size."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for item in records:
            file.writestr(f"{item['id']}.json", raw(item))
    return out.getvalue()


@dataclass(slots=True)
class Asked:
    """One request. status, sent: what it got."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


@dataclass(slots=True)
class Feed:
    """files: path → content. cuts: bytes after which the next answers break off.

    validators: whether ETag and Last-Modified are sent. ranges: whether Range is honoured.
    statuses: answered instead of content, per path.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    validators: bool = True
    ranges: bool = True

    def put(self, ecosystem: str, *records: Json) -> bytes:
        content = archive(*records)
        self.files[f"/{quote(ecosystem, safe='')}/all.zip"] = content
        return content

    def log(self) -> list[tuple[str, int, int]]:
        """What was asked since the last call: path, status, bytes of the body.

        Without questions for lists of changes where there is none.
        """
        asked = [
            (item.path, item.status, item.sent)
            for item in self.asked
            if item.status != 404 or not item.path.endswith("/modified_id.csv")
        ]
        self.asked.clear()
        return asked


@contextmanager
def serve() -> Iterator[Feed]:
    feed = Feed()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = Asked(self.path, {key.lower(): value for key, value in self.headers.items()})
            feed.asked.append(asked)
            content = feed.files.get(self.path)
            if self.path in feed.statuses or content is None:
                asked.status = feed.statuses.get(self.path, 404)
                self._answer(asked.status, b"no", {})
                return
            headers = {}
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            if feed.validators:
                headers = {"ETag": tag, "Last-Modified": DATE}
                if asked.headers.get("if-none-match") == tag:
                    asked.status = 304
                    self._answer(304, b"", headers)
                    return
            first = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
            if first and feed.ranges and asked.headers.get("if-range") in {tag, DATE}:
                start = int(first[1])
                asked.status = 206
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                asked.sent = self._answer(206, content[start:], headers, feed.cuts)
                return
            asked.status = 200
            asked.sent = self._answer(200, content, headers, feed.cuts)

        def _answer(
            self, status: int, body: bytes, headers: dict[str, str], cuts: list[int] | None = None
        ) -> int:
            self.send_response(status)
            if status != 304:
                self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if cuts:
                body = body[: cuts.pop(0)]
                self.close_connection = True
            self.wfile.write(body)
            return len(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that was killed is no error of the server."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    feed.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield feed
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
