"""Child processes: lines, deaths, ends."""

import sys
from pathlib import Path

import pytest

from lab.errors import LabError, MissingProgramError
from lab.process import Process, ProcessDiedError, program
from lab.wait import until


def python(code: str, directory: Path) -> Process:
    return Process.start([sys.executable, "-uc", code], directory=directory, name="child")


def test_waits_for_a_line_and_stops(tmp_path: Path) -> None:
    with python("import time; print('port 17'); time.sleep(60)", tmp_path) as process:
        assert process.wait_line(r"port (\d+)")[1] == "17"
        assert process.returncode is None
    assert process.returncode == -15


def test_shows_the_log_of_a_process_that_died(tmp_path: Path) -> None:
    """Else a server that refuses its configuration is a mere timeout."""
    with (
        python("import sys; sys.exit('no such option')", tmp_path) as process,
        pytest.raises(ProcessDiedError, match="no such option"),
    ):
        process.wait_line("never")


def test_kills_what_ignores_sigterm_and_what_it_started(tmp_path: Path) -> None:
    code = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid)
child.wait()
"""
    with python(code, tmp_path) as process:
        pid = process.wait_line(r"child (\d+)")[1]
        process.stop(timeout=0.1)
    until(lambda: _is_gone(Path(f"/proc/{pid}/stat")), timeout=10, what="the child to be gone")


def _is_gone(stat: Path) -> bool:
    """Killed processes stay for a moment, and as zombies until somebody asks for them."""
    try:
        return stat.read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_says_what_it_waited_for(tmp_path: Path) -> None:
    with (
        python("print('hello'); import time; time.sleep(60)", tmp_path) as process,
        pytest.raises(LabError, match="to print 'goodbye'"),
    ):
        process.wait_line("goodbye", timeout=0.2)


def test_names_a_missing_program() -> None:
    with pytest.raises(MissingProgramError, match="no-such-program"):
        program("no-such-program")
