"""The advisory feed: a folder in the layout of the public OSV bulk export, over HTTPS.

Answers `/ecosystems.txt`, `/modified_id.csv`, `/ECOSYSTEM/all.zip`,
`/ECOSYSTEM/modified_id.csv` and single records `/ECOSYSTEM/ID.json`, with validators and ranges
as the real one does. Under `/beside/` it has what stands beside advisories: EPSS and KEV.
"""

import argparse
import email.utils
import hashlib
import re
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from lab.authority import Authority
from lab.network import Network
from lab.web import Handler, Server, Service, arguments, serve

BESIDE = Path(__file__).resolve().parent / "data" / "beside"
_TYPES = {".zip": "application/zip", ".csv": "text/csv", ".json": "application/json"}


class Feed(Service):
    """The feed of the folder `data`; what is changed there is served from then on.

    `GARRISON_INTEL_URL` is its `url`. `answer` and `cut` script what goes wrong.
    """

    module: ClassVar[str] = "feed"
    host: ClassVar[str] = "feed.test"

    def __init__(
        self,
        net: Network,
        authority: Authority,
        data: Path,
        *,
        host: str | None = None,
        port: int = 443,
    ) -> None:
        super().__init__(net, authority, host=host, port=port)
        self.data = data

    def arguments(self) -> Sequence[str]:
        return [f"--data={self.data.resolve()}"]


class _Server(Server):
    def __init__(self, handler: type[Handler], given: argparse.Namespace) -> None:
        super().__init__(handler, given)
        self.data: Path = given.data
        self._digests: dict[tuple[Path, int, int], str] = {}
        self._lock = threading.Lock()

    def digest(self, file: Path) -> str:
        """Of the content, so that a touched but equal file keeps its ETag."""
        state = file.stat()
        key = (file, state.st_mtime_ns, state.st_size)
        with self._lock:
            if key not in self._digests:
                self._digests[key] = hashlib.sha256(file.read_bytes()).hexdigest()[:32]
            return self._digests[key]


class _Handler(Handler):
    server: _Server

    def respond(self) -> None:
        self.read_body()
        if self.command not in ("GET", "HEAD"):
            self.reply(405, b"method not allowed\n", {"Allow": "GET, HEAD"})
            return
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
        if any(part in ("", ".", "..") or "/" in part for part in parts) or len(parts) > 2:
            self.reply(404, b"no such object\n")
            return
        file = self.server.data.joinpath(*parts)
        if parts[0] == "beside":
            file = BESIDE.joinpath(*parts[1:])
            if file.is_file():
                self._file(file)
            else:
                self.reply(404, b"no such object\n")
        elif file.is_file() and file.suffix in (".txt", ".csv", ".zip"):
            self._file(file)
        elif len(parts) == 2 and file.suffix == ".json":
            self._record(file.with_name("all.zip"), file.name)
        else:
            self.reply(404, b"no such object\n")

    def _record(self, archive: Path, name: str) -> None:
        try:
            with zipfile.ZipFile(archive) as records:
                body = records.read(name)
        except (FileNotFoundError, KeyError):
            self.reply(404, b"no such object\n")
            return
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        self._validated(body, tag, archive.stat().st_mtime, ".json")

    def _file(self, file: Path) -> None:
        tag = f'"{self.server.digest(file)}"'
        self._validated(file.read_bytes(), tag, file.stat().st_mtime, file.suffix)

    def _validated(self, body: bytes, tag: str, modified: float, suffix: str) -> None:
        """Answer conditions and ranges: RFC 9110 sections 13 and 14."""
        date = email.utils.formatdate(int(modified), usegmt=True)
        headers = {"ETag": tag, "Last-Modified": date, "Accept-Ranges": "bytes"}
        kind = _TYPES.get(suffix, "text/plain; charset=utf-8")
        if self._unchanged(tag, int(modified)):
            self.reply(304, b"", headers)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if wanted is None or condition not in (None, tag, date):
            self.reply(200, body, headers, content_type=kind)
            return
        first, last = int(wanted[1]), int(wanted[2] or len(body) - 1)
        if first >= len(body) or last < first:
            headers["Content-Range"] = f"bytes */{len(body)}"
            self.reply(416, b"", headers)
            return
        last = min(last, len(body) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        self.reply(206, body[first : last + 1], headers, content_type=kind)

    def _unchanged(self, tag: str, modified: int) -> bool:
        if known := self.headers.get("If-None-Match"):
            return known == "*" or tag in [each.strip() for each in known.split(",")]
        if since := self.headers.get("If-Modified-Since"):
            return email.utils.parsedate_to_datetime(since).timestamp() >= modified
        return False


if __name__ == "__main__":
    parser = arguments()
    parser.add_argument("--data", type=Path, required=True)
    serve(_Handler, parser.parse_args(), _Server)
