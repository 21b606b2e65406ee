"""A private PostgreSQL: a cluster in a temporary folder, reached over a socket or loopback."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from lab.errors import LabError, MissingProgramError
from lab.process import Process, program, run
from lab.wait import until

USER = "postgres"


class Postgres:
    """A running server, from entering to leaving; its only user needs no password."""

    def __init__(self) -> None:
        self.port = 0
        self._stack = contextlib.ExitStack()
        self._folder: Path | None = None
        self._process: Process | None = None
        self._numbers = itertools.count(1)

    def url(self, database: str = USER) -> str:
        """`postgresql://…` over TCP on 127.0.0.1."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = USER) -> str:
        """The same over the Unix socket, which programs in a network namespace reach too."""
        host = quote(str(self.folder), safe="")
        return f"postgresql://{USER}@/{database}?host={host}&port={self.port}"

    def new_database(self) -> str:
        """The name of a new, empty database."""
        name = f"test{next(self._numbers)}"
        run([_binary("createdb"), "-h", self.folder, "-p", str(self.port), "-U", USER, name])
        return name

    @property
    def folder(self) -> Path:
        if self._folder is None:
            raise LabError("PostgreSQL was not started")
        return self._folder

    @property
    def process(self) -> Process:
        if self._process is None:
            raise LabError("PostgreSQL was not started")
        return self._process

    def __enter__(self) -> Self:
        with self._stack:
            # Short: a socket's path may have about 100 characters.
            self._folder = Path(tempfile.mkdtemp(prefix="lab-pg-", dir="/tmp"))
            self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = int(probe.getsockname()[1])
            data = self._folder / "data"
            _give(self._folder)
            options = ["--auth=trust", f"--username={USER}", "--encoding=UTF8", "--no-sync"]
            run(_as_postgres([_binary("initdb"), f"--pgdata={data}", "--locale=C", *options]))
            argv = [_binary("postgres"), "-D", str(data), "-F", "-p", str(self.port)]
            argv += ["-k", str(self._folder), "-h", "127.0.0.1", "-c", "max_connections=200"]
            argv += ["-c", "full_page_writes=off", "-c", "synchronous_commit=off"]
            logs = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-pg-")))
            self._process = Process.start(_as_postgres(argv), directory=logs, name="postgres")
            self._stack.callback(self._end)
            until(
                lambda: "ready to accept connections" in self.process.text(),
                timeout=30,
                what="PostgreSQL to accept connections",
                alive=self.process.check,
                detail=self.process.tail,
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

    def _end(self) -> None:
        """Stop without waiting for clients: PostgreSQL's "fast shutdown"."""
        self.process.send(signal.SIGINT)
        self.process.stop()


def _binary(name: str) -> str:
    """Debian keeps servers beside their version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    try:
        return program(name, *map(str, folders))
    except MissingProgramError:
        raise MissingProgramError(f"PostgreSQL's {name}") from None


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())


def _as_postgres(argv: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return argv
    return [program("setpriv"), f"--reuid={USER}", f"--regid={USER}", "--init-groups", *argv]


def _give(folder: Path) -> None:
    if os.geteuid() == 0:
        owner = pwd.getpwnam(USER)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
