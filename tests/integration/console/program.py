"""`garrison up` and `garrison console` as real processes on free ports of loopback."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

PROGRAM = [sys.executable, "-m", "garrison"]
PASSWORD = "correct horse battery"
WAIT = 30.0


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without proxies and settings of whoever runs the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("GARRISON_")
    }
    # Nothing listens there: an update fails at once instead of looking for the internet.
    return {**kept, "GARRISON_INTEL_URL": "http://127.0.0.1:9", **more}


def garrison(
    *words: str | Path, stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*PROGRAM, *map(str, words)],
        env=clean_environment(**environ),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


@dataclass
class Program:
    """A running Console; `lines` of stdout, `log` of stderr as they come."""

    command: str
    data: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    listen: str = "127.0.0.1:0"
    gateway_listen: str = "127.0.0.1:0"

    def __enter__(self) -> Self:
        self.lines: list[str] = []
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [
                *PROGRAM,
                self.command,
                "--data",
                str(self.data),
                "--listen",
                self.listen,
                "--gateway-listen",
                self.gateway_listen,
            ],
            env=clean_environment(**self.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream, kept), daemon=True)
            for stream, kept in (
                (self.process.stdout, self.lines),
                (self.process.stderr, self.log),
            )
        ]
        for reader in self._readers:
            reader.start()
        until(lambda: self._line("Console: "), "the Console's address", self)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Ask it to stop; seconds until it has."""
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        for reader in self._readers:
            reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return time.monotonic() - started

    @property
    def url(self) -> str:
        found = self._line("Console: ")
        assert found
        return found

    @property
    def setup_link(self) -> str | None:
        return self._line("Set-up: ")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's events of that name."""
        found = [json.loads(line) for line in list(self.log) if line.startswith("{")]
        return [event for event in found if event.get("event") == name]

    def wait_event(self, name: str) -> dict[str, Any]:
        until(lambda: self.events(name), f"the event {name!r}", self)
        return self.events(name)[-1]

    def token(self, role: str = "admin") -> str:
        done = garrison("tokens", "create", "--role", role, "--data", self.data)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _line(self, start: str) -> str | None:
        return next((x.removeprefix(start) for x in list(self.lines) if x.startswith(start)), None)

    def _read(self, stream: Any, kept: list[str]) -> None:
        for line in stream:
            kept.append(line.rstrip("\n"))


def until(condition: Callable[[], Any], what: str, program: Program | None = None) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        dead = program is not None and program.process.poll() is not None
        if dead or time.monotonic() > end:
            log = "\n".join(program.log[-30:]) if program else ""
            raise AssertionError(f"{'died before' if dead else 'no'} {what}\n{log}")
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Browser:
    """A client with cookies that follows nothing by itself."""

    def __init__(self, url: str, *, token: str = "", trust: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self.host, self.port = parts.hostname, parts.port or 443
        self.tls = trust if parts.scheme == "https" else None
        self.cookies: dict[str, str] = {}
        self.token = token

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        from urllib.parse import urlencode

        connection = (
            http.client.HTTPSConnection(self.host, self.port, timeout=20, context=self.tls)
            if self.tls
            else http.client.HTTPConnection(self.host, self.port, timeout=20)
        )
        sent = {"Sec-Fetch-Site": "same-origin", **(headers or {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        content = None
        if form is not None:
            content = urlencode(form).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        elif body is not None:
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            self._keep(answer)
            return Answer(
                answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
            )
        finally:
            connection.close()

    def _keep(self, answer: http.client.HTTPResponse) -> None:
        for line in answer.headers.get_all("set-cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')

    def csrf(self, page: str) -> str:
        """The token in a form of `page`."""
        text = self.call("GET", page).text
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', text) or re.search(
            r'value="([^"]+)"[^>]*name="csrf_token"', text
        )
        assert found, text[:2000]
        return found[1]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
