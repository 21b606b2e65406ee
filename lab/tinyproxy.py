"""Debian's tinyproxy: small, answers in HTTP/1.0, knows Basic alone."""

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.private import with_files
from lab.process import Process, program
from lab.wait import until


class Tinyproxy:
    """A running tinyproxy on loopback, from entering to leaving.

    user: name and password that it asks for. names: it resolves these to 127.0.0.1. ports:
    CONNECT is allowed to these alone. idle_seconds: it closes tunnels that are silent so long.
    """

    def __init__(
        self,
        *,
        user: tuple[str, str] | None = None,
        names: Iterable[str] = (),
        ports: Iterable[int] = (),
        idle_seconds: int = 600,
    ) -> None:
        self.user, self.names, self.ports = user, list(names), list(ports)
        self.idle_seconds, self.port = idle_seconds, 0
        self._stack = contextlib.ExitStack()
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        assert self._process is not None
        return self._process.text()

    def __enter__(self) -> Self:
        with self._stack:
            folder = Path(tempfile.mkdtemp(prefix="lab-tinyproxy-"))
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.chmod(0o755)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            (folder / "hosts").write_text(f"127.0.0.1 localhost {' '.join(self.names)}\n")
            (folder / "tinyproxy.conf").write_text(self._configuration())
            argv = [program("tinyproxy"), "-d", "-c", str(folder / "tinyproxy.conf")]
            self._process = Process.start(
                with_files(argv, {"/etc/hosts": folder / "hosts"}),
                directory=folder,
                name="tinyproxy",
            )
            self._stack.callback(self._process.kill)
            until(
                self._listens,
                timeout=20,
                what="tinyproxy to listen",
                alive=self._process.check,
                detail=self._process.tail,
            )
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _configuration(self) -> str:
        lines = [
            f"Port {self.port}",
            "Listen 127.0.0.1",
            f"Timeout {self.idle_seconds}",
            "MaxClients 100",
            "LogLevel Connect",
            "Allow 127.0.0.1",
            *(f"ConnectPort {port}" for port in self.ports),
        ]
        if self.user:
            lines.append(f"BasicAuth {self.user[0]} {self.user[1]}")
        return "\n".join(lines) + "\n"
