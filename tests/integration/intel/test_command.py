"""`garrison intel` as a script meets it: output, exit codes, a kill at a bad moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from garrison.advisories import AdvisoryStore, snapshot_path
from tests.integration.intel.server import Feed
from tests.unit.advisories.records import entry, record, until

A = record("PYSEC-a", entry("PyPI", "a", until("2.0")))
OLD = record("PYSEC-w", entry("PyPI", "a", until("2.0")), withdrawn="2026-01-01T00:00:00Z")
N = record("GHSA-n", entry("npm", "n", until("2.0.0")))


def environment(data: Path, feed: Feed, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "GARRISON_DATA": str(data),
        "GARRISON_INTEL_URL": feed.url,
        "GARRISON_INTEL_ECOSYSTEMS": "PyPI, npm",
        **more,
    }


def garrison(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "garrison", "intel", *arguments],
        env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def document(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_update_and_status(feed: Feed, tmp_path: Path) -> None:
    feed.put("PyPI", A, OLD)
    feed.put("npm", N)
    env = environment(tmp_path, feed)
    updated = garrison("update", "--json", env=env)
    assert updated.returncode == 0, updated.stderr
    assert document(updated)["changed"] is True
    assert document(updated)["failures"] == []
    shown = document(garrison("status", "--json", env=env))
    assert shown["revision"] == document(updated)["revision"]
    assert shown["updated_at"]
    assert shown["age"] < 600
    [pypi, npm] = shown["ecosystems"]
    assert {**pypi, "updated_at": ""} == {
        "name": "PyPI", "records": 2, "withdrawn": 1, "skipped": 0, "updated_at": "",
    }  # fmt: skip
    assert npm["name"] == "npm"
    text = garrison("status", env=env)
    assert text.returncode == 0
    assert shown["revision"] in text.stdout


def test_options_win_over_the_environment(feed: Feed, tmp_path: Path) -> None:
    feed.put("npm", N)
    env = environment(tmp_path / "no", feed, GARRISON_INTEL_URL="http://127.0.0.1:9")
    done = garrison(
        "update", "--data", str(tmp_path / "yes"), "--url", feed.url, "--ecosystem", "npm", env=env
    )
    assert done.returncode == 0, done.stderr
    assert [path for path, _, _ in feed.log()] == ["/npm/all.zip"]
    assert snapshot_path(tmp_path / "yes").exists()
    assert not (tmp_path / "no").exists()


def test_a_failing_ecosystem_is_exit_3_and_the_others_are_loaded(
    feed: Feed, tmp_path: Path
) -> None:
    feed.put("PyPI", A)
    env = environment(tmp_path, feed)
    done = garrison("update", "--json", env=env)
    assert done.returncode == 3
    assert "error: npm: there is no feed for npm" in done.stderr
    assert "code:  intel.not_found" in done.stderr
    assert document(done)["failures"][0]["ecosystem"] == "npm"
    shown = document(garrison("status", "--json", env=env))
    assert [item["name"] for item in shown["ecosystems"]] == ["PyPI"]
    assert shown["failures"][0]["code"] == "intel.not_found"


def test_an_unreachable_proxy_is_exit_3_with_its_code(feed: Feed, tmp_path: Path) -> None:
    """Also when HTTPS_PROXY alone says so."""
    env = environment(
        tmp_path, feed, HTTPS_PROXY="http://127.0.0.1:9", GARRISON_INTEL_URL="https://feed.test"
    )
    done = garrison("update", env=env)
    assert done.returncode == 3
    assert done.stdout == ""
    assert "127.0.0.1:9" in done.stderr
    assert "code:  egress." in done.stderr


def test_wrong_values_are_exit_2(feed: Feed, tmp_path: Path) -> None:
    env = environment(tmp_path, feed)
    assert garrison("update", "--url", "ftp://a.test", env=env).returncode == 2
    assert garrison("update", env={**env, "GARRISON_NO_PROXY": "http://a/b"}).returncode == 2


def test_saved_proxy_settings_are_used_on_a_consoles_machine(feed: Feed, tmp_path: Path) -> None:
    """They win over the environment, as on the Console itself."""
    pytest.importorskip("sqlalchemy")
    env = environment(
        tmp_path, feed, GARRISON_INTEL_URL="http://feed.test", HTTP_PROXY="http://127.0.0.1:8"
    )
    saved = subprocess.run(
        [sys.executable, "-m", "garrison", "egress", "set", "--data", str(tmp_path),
         "--http-proxy", "http://127.0.0.1:9"],
        env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert saved.returncode == 0, saved.stderr
    done = garrison("update", env=env)
    assert done.returncode == 3
    assert "127.0.0.1:9" in done.stderr


def test_status_of_nothing_and_of_a_damaged_file(feed: Feed, tmp_path: Path) -> None:
    env = environment(tmp_path, feed)
    assert document(garrison("status", "--json", env=env))["revision"] is None
    path = snapshot_path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"damaged" * 1000)
    done = garrison("status", env=env)
    assert done.returncode == 3
    assert "code:  intel.damaged" in done.stderr


def test_killed_at_any_moment_the_old_snapshot_stays(feed: Feed, tmp_path: Path) -> None:
    """Kill -9 while it downloads, reads or publishes: old or new, never anything else."""
    feed.put("PyPI", A)
    env = environment(tmp_path, feed, GARRISON_INTEL_ECOSYSTEMS="PyPI")
    assert garrison("update", env=env).returncode == 0
    rng = random.Random(7)
    big = [
        record(f"R-{at}", entry("PyPI", f"p{at}", until("1.0")), details=rng.randbytes(200).hex())
        for at in range(6000)
    ]
    known = {AdvisoryStore(snapshot_path(tmp_path)).revision}
    for wait in (0.3, 0.6, 0.8, 1.0, 1.3):
        feed.put("PyPI", A, *big, record(f"EXTRA-{wait}", entry("PyPI", "x", until("1.0"))))
        process = subprocess.Popen(
            [sys.executable, "-m", "garrison", "intel", "update"],
            env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        store = AdvisoryStore(snapshot_path(tmp_path))
        assert store.lookup("PyPI", ["a"])["a"][0].advisory.id == "PYSEC-a"
        assert store.revision in known or store.advisory(f"EXTRA-{wait}") is not None
        known.add(store.revision)
    assert garrison("update", env=env).returncode == 0
    assert AdvisoryStore(snapshot_path(tmp_path)).advisory("EXTRA-1.3") is not None
