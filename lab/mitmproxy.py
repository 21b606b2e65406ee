"""mitmproxy: an inspecting proxy of another family than Squid, in an environment of its own.

Its dependencies are pinned too tightly for ours, so it is installed once under .cache/lab.
"""

import contextlib
import fcntl
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.kerberos import CACHE
from lab.private import with_files
from lab.process import Process, run
from lab.wait import until

PINNED = "mitmproxy==11.0.2"


def installed() -> Path:
    """`mitmdump`, installed when it is not yet."""
    folder = CACHE / PINNED.replace("==", "-")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "mitmproxy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            run([sys.executable, "-m", "venv", folder])
            pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
            run([*pip, PINNED], env=dict(os.environ), timeout=900)
            (folder / "done").touch()
    return folder / "bin/mitmdump"


class Mitmproxy:
    """A running mitmdump on loopback. names: it resolves these to 127.0.0.1. trust: PEM file of
    the CA it verifies destinations with."""

    def __init__(self, *, names: Iterable[str] = (), trust: Path) -> None:
        self.names, self.trust, self.port = list(names), trust, 0
        self._stack = contextlib.ExitStack()
        self._folder: Path | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ca(self) -> str:
        """The CA it signs with, PEM."""
        assert self._folder is not None
        return (self._folder / "mitmproxy-ca-cert.pem").read_text()

    def __enter__(self) -> Self:
        with self._stack:
            folder = self._folder = Path(tempfile.mkdtemp(prefix="lab-mitmproxy-"))
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            (folder / "hosts").write_text(f"127.0.0.1 localhost {' '.join(self.names)}\n")
            argv = [str(installed()), "--listen-host", "127.0.0.1", "-p", str(self.port)]
            argv += ["--set", f"confdir={folder}"]
            argv += ["--set", f"ssl_verify_upstream_trusted_ca={self.trust}"]
            process = Process.start(
                with_files(argv, {"/etc/hosts": folder / "hosts"}),
                directory=folder,
                name="mitmproxy",
            )
            self._stack.callback(process.kill)

            def listens() -> bool:
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", self.port)) == 0

            until(
                listens,
                timeout=60,
                what="mitmproxy to listen",
                alive=process.check,
                detail=process.tail,
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
