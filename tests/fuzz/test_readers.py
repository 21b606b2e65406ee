"""Each reader under a coverage-guided fuzzer for a while: it answers or refuses, and no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.property.test_language_readers import READERS

SECONDS = int(os.environ.get("FUZZ_SECONDS", "15"))
NAMES = (
    *("rpm-header", "rpm-sqlite", "rpm-ndb", "rpm-bdb", "rpm-wal", "dpkg", "dpkg-list"),
    *("dpkg-sums", "apk", "python", "python-egg", "python-link", "os-release", "version"),
    "program",
    *READERS,
)
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_fuzzed(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.readers", name, str(SECONDS), str(tmp_path)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS + 120,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done " in done.stderr, "the fuzzer did not come to its end"
