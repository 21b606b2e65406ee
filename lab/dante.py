"""Debian's Dante, a SOCKS5 server: open, or with users of its own.

Names are those of a hosts file that it alone sees, so a client that resolves them itself fails.
"""

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.private import with_files
from lab.process import Process, program, run
from lab.wait import until


class Dante:
    """A running Dante on loopback, from entering to leaving.

    users: names and passwords it asks for (RFC 1929); none asked when None. names: it resolves
    these to 127.0.0.1. denied_ports: destination ports that its rules refuse. address: it listens
    there, `::1` for version 6.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        names: Iterable[str] = (),
        denied_ports: Iterable[int] = (),
        address: str = "127.0.0.1",
    ) -> None:
        self.users = None if users is None else dict(users)
        self.names, self.denied_ports = list(names), list(denied_ports)
        self.address, self.port = address, 0
        self._stack = contextlib.ExitStack()
        self._process: Process | None = None

    @property
    def where(self) -> str:
        """Its `HOST:PORT`."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else (
            f"{self.address}:{self.port}"
        )  # fmt: skip

    @property
    def log(self) -> str:
        """What it wrote: a line for each connection, with the user."""
        assert self._process is not None
        return self._process.text()

    def wait_log(self, text: str, timeout: float = 10) -> None:
        """Wait until its log holds `text`."""
        assert self._process is not None
        until(
            lambda: text in self.log,
            timeout=timeout,
            what=f"{text!r} in Dante's log",
            alive=self._process.check,
            detail=lambda: self.log,
        )

    def __enter__(self) -> Self:
        with self._stack:
            folder = Path(tempfile.mkdtemp(prefix="lab-dante-"))
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.chmod(0o755)
            family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
            with socket.socket(family) as probe:
                probe.bind((self.address, 0))
                self.port = probe.getsockname()[1]
            argv = [program("danted"), "-f", str(folder / "danted.conf")]
            self._process = Process.start(
                with_files(argv, self._files(folder)), directory=folder, name="dante"
            )
            self._stack.callback(self._process.kill)
            until(
                self._listens,
                timeout=20,
                what="Dante to listen",
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
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        with socket.socket(family) as probe:
            probe.settimeout(1)
            return probe.connect_ex((self.address, self.port)) == 0

    def _files(self, folder: Path) -> dict[str, Path]:
        names = " ".join(["localhost", *self.names])
        texts = {
            "hosts": f"127.0.0.1 {names}\n::1 localhost\n",
            "nsswitch.conf": "passwd: files\nshadow: files\ngroup: files\nhosts: files\n",
        }
        if self.users is not None:
            passwd = Path("/etc/passwd").read_text()
            shadow = Path("/etc/shadow").read_text()
            for number, (user, password) in enumerate(self.users.items(), start=40_000):
                hashed = run(["openssl", "passwd", "-6", "-stdin"], stdin=password + "\n").stdout
                passwd += f"{user}:x:{number}:65534::/nonexistent:/bin/false\n"
                shadow += f"{user}:{hashed.strip()}:19000:0:99999:7:::\n"
            texts |= {"passwd": passwd, "shadow": shadow}
        for name, text in texts.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o600 if name == "shadow" else 0o644)
        (folder / "danted.conf").write_text(self._configuration())
        return {f"/etc/{name}": folder / name for name in texts}

    def _configuration(self) -> str:
        method = "none" if self.users is None else "username"
        all_ = "0/0" if ":" not in self.address else "::/0"
        lines = [
            "logoutput: stdout",
            f"internal: {self.address} port = {self.port}",
            "external.protocol: ipv4 ipv6",
            "external: lo",
            "clientmethod: none",
            f"socksmethod: {method}",
            "user.privileged: root",
            "user.unprivileged: nobody",
            f"client pass {{ from: {all_} to: {all_} }}",
        ]
        for port in self.denied_ports:
            lines += [f"socks block {{ from: 0/0 to: 0/0 port = {port} log: connect }}"]
        for family in ("0/0", "::/0"):
            lines += [f"socks pass {{ from: {all_} to: {family} log: connect disconnect }}"]
        return "\n".join(lines) + "\n"
