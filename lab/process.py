"""A child process with its logs in files: start, wait for a line, stop."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from lab.errors import LabError, MissingProgramError
from lab.wait import until

Stream = Literal["out", "err", "any"]


class ProcessDiedError(LabError):
    """A process ended that was expected to run; the text holds the end of its log."""


def program(name: str, *also: str) -> str:
    """Return the path of `name`, looking beside `PATH` where Debian keeps daemons and in `also`.

    Raises:
        MissingProgramError: it is in none of them.
    """
    places = [*os.get_exec_path(), "/usr/local/sbin", "/usr/sbin", "/sbin", *also]
    if found := shutil.which(name, path=os.pathsep.join(places)):
        return found
    raise MissingProgramError(name)


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | bytes | None = None,
    check: bool = True,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run `argv` to its end and return its text output.

    timeout: seconds.

    Raises:
        LabError: the program failed and `check` is set; the text holds what it printed.
    """
    data = stdin.decode() if isinstance(stdin, bytes) else stdin
    done = subprocess.run(
        [os.fspath(word) for word in argv],
        env=None if env is None else dict(env),
        cwd=cwd,
        input=data if data is not None else "",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    if check and done.returncode != 0:
        shown = " ".join(os.fspath(word) for word in argv)
        raise LabError(f"{shown}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done


class Process:
    """A running program, in a session of its own, whose output goes to two files.

    `with Process.start(…) as process:` stops it at the end; `stop` may be called earlier.
    """

    def __init__(self, name: str, popen: "subprocess.Popen[bytes]", out: Path, err: Path) -> None:
        self.name, self.popen, self.out, self.err = name, popen, out, err

    @classmethod
    def start(
        cls,
        argv: Sequence[str | os.PathLike[str]],
        *,
        directory: Path,
        name: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Self:
        """Start `argv`; its output goes to `directory`/`name`.out and .err, appended.

        env: the whole environment; the caller's when None.
        """
        directory.mkdir(parents=True, exist_ok=True)
        out, err = directory / f"{name}.out", directory / f"{name}.err"
        with out.open("ab") as out_file, err.open("ab") as err_file:
            popen = subprocess.Popen(
                [os.fspath(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        return cls(name, popen, out, err)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, or None while it runs."""
        return self.popen.poll()

    def text(self, stream: Stream = "any") -> str:
        """Everything printed so far."""
        files = {"out": [self.out], "err": [self.err], "any": [self.out, self.err]}[stream]
        return "".join(file.read_text(errors="replace") for file in files)

    def tail(self, lines: int = 40) -> str:
        """The end of both logs, for an error message."""
        parts = []
        for file in (self.out, self.err):
            last = file.read_text(errors="replace").splitlines()[-lines:]
            parts += [f"--- {file.name}", *last]
        return "\n".join(parts)

    def check(self) -> None:
        """Do nothing while it runs.

        Raises:
            ProcessDiedError: it ended.
        """
        if self.returncode is not None:
            raise ProcessDiedError(f"{self.name} ended with {self.returncode}\n{self.tail()}")

    def wait_line(
        self, pattern: str, *, timeout: float = 30, stream: Stream = "out", since: int = 0
    ) -> re.Match[str]:
        """Return the first match of `pattern` in a printed line.

        timeout: seconds.
        since: characters of the log to skip: `len(process.text(stream))` from an earlier time.

        Raises:
            ProcessDiedError: it ended first.
            LabError: `timeout` passed.
        """
        expression = re.compile(pattern, re.MULTILINE)
        return until(
            lambda: expression.search(self.text(stream), since),
            timeout=timeout,
            what=f"{self.name} to print {pattern!r}",
            alive=self.check,
            detail=self.tail,
        )

    def wait(self, timeout: float = 60) -> int:
        """Return the exit status of a program that ends by itself.

        Raises:
            LabError: `timeout` seconds passed.
        """
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} still runs after {timeout:g} s\n{self.tail()}") from None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, if it still runs."""
        if self.returncode is None:
            self.popen.send_signal(number)

    def stop(self, timeout: float = 10) -> int:
        """End it and all it started: SIGTERM, then after `timeout` seconds SIGKILL."""
        self.send(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(timeout)
        return self.kill()

    def kill(self) -> int:
        """End it and all it started at once, and return the exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        return self.popen.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
