"""What the lab's own HTTPS servers share: TLS, keep-alive, a request log, scripted faults.

`Service` is the test's side: it starts `python -m lab.NAME` in a namespace. `Handler` and
`serve` are the server's side.
"""

import argparse
import contextlib
import http.server
import json
import os
import re
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from lab.authority import Authority
from lab.network import Namespace, Network
from lab.process import Process
from lab.wait import until

ROOT = Path(__file__).resolve().parent.parent
BODY_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens once, to the first request whose path matches, instead of the usual.

    status: answer this; None lets the request through, to be cut.
    cut_after: drop the connection after so many bytes of the body.
    """

    path: str = ".*"
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    cut_after: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was answered; header names are in lower case, `sent` counts body bytes."""

    time: float
    client: str
    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    sent: int


class Service:
    """One of the lab's own servers, in `outside` under a name of its own.

    It shows a certificate of `authority` for its name.
    """

    module: ClassVar[str]
    host: ClassVar[str]

    def __init__(
        self,
        net: Network,
        authority: Authority,
        *,
        host: str | None = None,
        port: int = 443,
        namespace: Namespace = "outside",
    ) -> None:
        self.net, self.authority, self.namespace = net, authority, namespace
        self.name, self.port = host or self.host, port
        self._stack = contextlib.ExitStack()
        self._folder: Path | None = None
        self._process: Process | None = None
        self._faults = 0

    @property
    def url(self) -> str:
        return f"https://{self.name}{'' if self.port == 443 else f':{self.port}'}"

    @property
    def folder(self) -> Path:
        """Holds its logs and what it was told."""
        if self._folder is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._folder

    @property
    def process(self) -> Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    @property
    def requests(self) -> list[Request]:
        """Every request answered so far, oldest first."""
        return [Request(**each) for each in read_lines(self.folder / "requests.jsonl")]

    def wait_request(
        self, match: Callable[[Request], bool] = lambda request: True, *, timeout: float = 10
    ) -> Request:
        """The first request that matches, now or within `timeout` seconds."""
        return until(
            lambda: next(filter(match, self.requests), None),
            timeout=timeout,
            what=f"a request to {self.name}",
            alive=self.process.check,
            detail=lambda: "\n".join(map(str, self.requests)),
        )

    def fault(self, fault: Fault, *, times: int = 1) -> None:
        """Have the next `times` matching requests go wrong."""
        for _ in range(times):
            self._faults += 1
            file = self.folder / "faults" / f"{self._faults:06}.json"
            # Written whole before it has a name the server looks at.
            part = file.with_suffix(".part")
            part.write_text(json.dumps(asdict(fault)))
            part.rename(file)

    def answer(
        self,
        status: int,
        *,
        path: str = ".*",
        times: int = 1,
        body: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer `status` to the next `times` requests for paths matching the expression."""
        self.fault(Fault(path, status, dict(headers or {}), body), times=times)

    def cut(self, path: str, *, after: int, times: int = 1) -> None:
        """Drop the connection after `after` bytes of the body of such a response."""
        self.fault(Fault(path, cut_after=after), times=times)

    def forget_faults(self) -> None:
        """Behave from now on."""
        for file in (self.folder / "faults").glob("*.json"):
            file.unlink(missing_ok=True)

    def arguments(self) -> Sequence[str]:
        """Further arguments of the server; `self.folder` exists."""
        return []

    def __enter__(self) -> Self:
        with self._stack:
            folder = tempfile.TemporaryDirectory(prefix=f"lab-{self.module}-")
            self._folder = Path(self._stack.enter_context(folder))
            (self.folder / "faults").mkdir()
            pair = self.authority.issue(self.name)
            argv = [sys.executable, "-m", f"lab.{self.module}", f"--folder={self.folder}"]
            argv += [f"--address={self.net.addresses.get(self.name, '0.0.0.0')}"]
            argv += [f"--port={self.port}", f"--certificate={pair.certificate}"]
            argv += [f"--key={pair.key}", *self.arguments()]
            self._process = self.net.popen(
                self.namespace, argv, directory=self.folder, name=self.module, cwd=ROOT
            )
            self._stack.enter_context(self._process)
            self._process.wait_line("^listening$")
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file that may still be written to."""
    if not file.exists():
        return []
    lines = file.read_text().rpartition("\n")[0].splitlines()
    return [json.loads(line) for line in lines]


class Journal:
    """Appends JSON lines from several threads."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", buffering=1)
        self._lock = threading.Lock()

    def write(self, value: Mapping[str, object]) -> None:
        with self._lock:
            self._file.write(json.dumps(value) + "\n")


class Server(http.server.ThreadingHTTPServer):
    """Shared by the handlers of all connections."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: "type[Handler]", arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.folder: Path = arguments.folder
        self.journal = Journal(self.folder / "requests.jsonl")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(arguments.certificate, arguments.key)
        super().__init__((arguments.address, arguments.port), handler)

    def take_fault(self, path: str) -> Fault | None:
        """The first scripted fault for `path`, which is used up by this."""
        for file in sorted((self.folder / "faults").glob("*.json")):
            try:
                fault = Fault(**json.loads(file.read_text()))
                if re.search(fault.path, path):
                    file.unlink()
                    return fault
            except FileNotFoundError:
                continue
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        print(f"{client_address}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection. Subclasses define `respond`, called for every method."""

    protocol_version = "HTTP/1.1"
    server_version = "lab"
    timeout = 300
    disable_nagle_algorithm = True
    server: Server
    fault: Fault | None = None

    def setup(self) -> None:
        # Here and not in the accept loop, so that a silent client keeps nobody waiting.
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.request.close()

    def respond(self) -> None:
        raise NotImplementedError

    def handle_method(self) -> None:
        self.fault = self.server.take_fault(self.path)
        if self.fault and self.fault.status is not None:
            self.read_body()
            self.reply(self.fault.status, self.fault.body.encode(), self.fault.headers)
        else:
            self.respond()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_method

    def read_body(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_LIMIT:
            raise ValueError(f"a body of {length} bytes")
        return self.rfile.read(length)

    def reply(
        self,
        status: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        content_type: str = "text/plain; charset=utf-8",
    ) -> None:
        """Send a whole response, unless the scripted fault cuts it."""
        given = dict(headers or {})
        given.setdefault("Content-Type", content_type)
        if status != 304:
            given["Content-Length"] = str(len(body))
        self.send_response(status)
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        sent = b"" if self.command == "HEAD" or status == 304 else body
        cut = self.fault.cut_after if self.fault else None
        if cut is not None and cut < len(sent):
            self.wfile.write(sent[:cut])
            self.close_connection = True
            sent = sent[:cut]
        else:
            self.wfile.write(sent)
        self.server.journal.write(
            asdict(
                Request(
                    time=time.time(),
                    client=str(self.client_address[0]),
                    method=self.command,
                    path=self.path,
                    status=status,
                    headers={name.lower(): value for name, value in self.headers.items()},
                    sent=len(sent),
                )
            )
        )

    def log_message(self, format: str, *args: object) -> None:
        print(format % args, file=sys.stderr, flush=True)


def arguments() -> argparse.ArgumentParser:
    """The parser with what every server takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    return parser


def serve(handler: type[Handler], given: argparse.Namespace, server: type[Server] = Server) -> None:
    """Serve until killed."""
    listener = server(handler, given)
    print("listening", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        listener.serve_forever(poll_interval=0.2)
    os._exit(0)
