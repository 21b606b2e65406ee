"""Static files under an address that names their content, so that browsers keep them for good."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

ROOT = Path(__file__).resolve().parent.parent / "static"
FOREVER = "public, max-age=31536000, immutable"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    type: str
    etag: str


class StaticFiles:
    """All files of one directory, held in memory: a few hundred kilobytes.

    One hash over everything stands in the address: style sheets and modules name each other by
    relative addresses, and a change of one must reach the reader with all.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._files = {
            path.relative_to(root).as_posix(): _load(path)
            for path in sorted(root.rglob("*"))
            if path.suffix in _TYPES
        }
        whole = hashlib.sha256()
        for name, file in self._files.items():
            whole.update(f"{name}\0{file.etag}\n".encode())
        self.revision = whole.hexdigest()[:12]

    def url(self, name: str) -> str:
        """Where a page finds `name`. Raises KeyError: a template names a file that is not there."""
        self._files[name]
        return f"/static/{self.revision}/{name}"

    async def serve(self, request: Request) -> Response:
        """The file at `/static/{revision}/{name}`.

        An address of another revision (a page left open over an upgrade) gets today's file, kept
        for no time.
        """
        file = self._files.get(request.path_params["name"])
        if file is None:
            return Response("Not found\n", 404, media_type="text/plain")
        current = request.path_params["revision"] == self.revision
        headers = {
            "ETag": file.etag,
            "Cache-Control": FOREVER if current else "no-cache",
            "X-Content-Type-Options": "nosniff",
        }
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers={**headers, "Content-Type": file.type})


def _load(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
