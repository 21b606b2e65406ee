"""`make demo` starts, says what to click, and leaves nothing behind."""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lab.demo import SMALL_FEED
from lab.scene import PROXY_PASSWORD, PROXY_USER

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.network
@pytest.mark.timeout(60)
def test_starts_and_says_what_to_click() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab.demo", "--check", "--small-feed"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for wanted in (
        "/setup?token=",
        "http://proxy.test:",
        PROXY_USER,
        PROXY_PASSWORD,
        "https://hooks.slack.test/services/",
        "registry.test/team/shop:1.0",
        "is connected through the same proxy",
        str(SMALL_FEED),
        "/healthz: ",
    ):
        assert wanted in done.stdout
    logs = next(line for line in done.stdout.splitlines() if line.startswith("  Logs: "))
    assert not Path(logs.removeprefix("  Logs: ")).exists()


@pytest.mark.parametrize("ecosystem", ["Debian", "PyPI", "npm"])
def test_the_shipped_feed_has_the_layout_of_the_export(ecosystem: str) -> None:
    folder = SMALL_FEED / ecosystem
    listed = list(csv.reader(io.StringIO((folder / "modified_id.csv").read_text())))
    assert listed == sorted(listed, reverse=True)
    with zipfile.ZipFile(folder / "all.zip") as archive:
        records = {name: json.loads(archive.read(name)) for name in archive.namelist()}
    assert {(each["modified"], each["id"]) for each in records.values()} == {
        (modified, name) for modified, name in listed
    }
    assert all(f"{each['id']}.json" == name for name, each in records.items())
