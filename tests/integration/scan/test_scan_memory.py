"""Layers stream: memory stays flat and nothing is written, however large the image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import LabError, MissingProgramError
from lab.image import big

MEGABYTE = 1 << 20
LIMIT = 120 * MEGABYTE
# The kernel charges a page to whoever reads a file whose access time is due (relatime).
ACCESS_TIMES = 1 * MEGABYTE

PROBE = """
import json, sys
from garrison.cli import main

def written():
    fields = dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())
    return int(fields["write_bytes"]), int(fields["wchar"])

def peak():
    # Unlike getrusage() it does not count what our parent had before the exec.
    return next(int(line.split()[1]) for line in open("/proc/self/status")
                if line.startswith("VmHWM")) * 1024

before = written()
sys.argv = ["garrison", "sbom", "--json", "--no-cache", sys.argv[1]]
try:
    main()
except SystemExit as done:
    code = done.code
after = written()
print(json.dumps({
    "code": code or 0,
    "peak": peak(),
    "blocks": after[0] - before[0],
    "wchar": after[1] - before[1],
}), file=sys.stderr)
"""


def test_a_gigabyte_in_120_megabytes_without_a_byte_on_disk(tmp_path: Path) -> None:
    try:
        image = big(1024)
    except (MissingProgramError, LabError) as error:
        pytest.skip(str(error))
    folder = tmp_path / "tmp"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROBE, f"oci:{image.oci}"],
        env={"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    measured = json.loads(done.stderr.splitlines()[-1])
    assert measured["code"] == 0, done.stderr
    names = {package["name"] for package in json.loads(done.stdout)["packages"]}
    assert names == {package.name for package in image.truth.debian}
    assert measured["peak"] < LIMIT, f"{measured['peak'] / MEGABYTE:.0f} MB"
    assert list(folder.iterdir()) == []
    assert measured["blocks"] <= ACCESS_TIMES
    # Its own output and nothing else, temporary files that are gone included.
    assert measured["wchar"] <= len(done.stdout.encode()) + 1024
