"""`garrison scan` as scripts meet it: exit codes, JSON alone on stdout, hints on stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import image as images
from lab.image import Image
from tests.integration.scan.conftest import Done, Garrison
from tests.unit.advisories.records import entry, load, record, until

CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
LOW = "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"


def advisory(id: str, ecosystem: str, name: str, vector: str = "", fixed: str = "99") -> Any:
    more = {"severity": [{"type": "CVSS_V3", "score": vector}]} if vector else {}
    ranges = until(fixed) if fixed else {"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}
    return record(id, entry(ecosystem, name, ranges), **more)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Advisories for everything in the tiny image."""
    folder = tmp_path / "data"
    load(
        folder,
        PyPI=[advisory("PYSEC-1", "PyPI", "jinja2", CRITICAL)],
        npm=[advisory("GHSA-1", "npm", "lodash", LOW, fixed="")],
        Debian=[advisory("DSA-1", "Debian:12", "expat")],
    )
    return folder


def scan(garrison: Garrison, image: Image, data: Path, *options: str) -> Done:
    return garrison("scan", f"oci:{image.oci}", "--data", data, *options)


def ids(done: Done) -> list[str]:
    return sorted(finding["id"] for finding in done.json["findings"])


def test_json(garrison: Garrison, tiny_image: Image, data: Path) -> None:
    done = scan(garrison, tiny_image, data, "--json")
    assert (done.exit_code, done.err) == (0, "")
    assert ids(done) == ["DSA-1", "GHSA-1", "PYSEC-1"]
    assert done.json["schema"] == 1
    assert done.json["image"]["reference"] == f"oci:{tiny_image.oci}"
    finding = next(f for f in done.json["findings"] if f["id"] == "PYSEC-1")
    assert finding["layer"] == tiny_image.truth.layers[1].digest
    assert finding["diff_id"] == tiny_image.truth.layers[1].diff_id
    assert {p["position"] for p in done.json["packages"]} == {"installed"}


def test_table(garrison: Garrison, tiny_image: Image, data: Path) -> None:
    done = scan(garrison, tiny_image, data)
    assert done.exit_code == 0
    for word in ("Jinja2", "PYSEC-1", "lodash", "libexpat1"):
        assert word in done.out


def test_to_a_file(garrison: Garrison, tiny_image: Image, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    done = scan(garrison, tiny_image, data, "--format", "json", "--output", str(file))
    assert (done.exit_code, done.out) == (0, "")
    assert len(json.loads(file.read_text())["findings"]) == 3
    done = scan(garrison, tiny_image, data, "--output", str(tmp_path / "missing" / "x"))
    assert done.exit_code == 2


@pytest.mark.parametrize(
    ("options", "exit_code"),
    [
        (["--fail-on", "critical"], 1),
        (["--fail-on", "low"], 1),
        (["--fail-on", "high", "--severity", "low"], 0),
        (["--fail-on", "low", "--severity", "low", "--ignore-unfixed"], 0),
        ([], 0),
    ],
)
def test_fail_on(
    garrison: Garrison, tiny_image: Image, data: Path, options: list[str], exit_code: int
) -> None:
    done = scan(garrison, tiny_image, data, *options)
    assert done.exit_code == exit_code
    assert "Advisories: revision" in done.out, "the report is printed in any case"


def test_filters(garrison: Garrison, tiny_image: Image, data: Path) -> None:
    assert ids(scan(garrison, tiny_image, data, "--json", "--ignore-unfixed")) == [
        "DSA-1",
        "PYSEC-1",
    ]
    assert ids(scan(garrison, tiny_image, data, "--json", "--severity", "critical,unknown")) == [
        "DSA-1",
        "PYSEC-1",
    ]


@pytest.mark.parametrize(
    "options",
    [
        ["--format", "sarif9"],
        ["--fail-on", "urgent"],
        ["--severity", "urgent"],
        ["--platform", "a/b/c/d"],
        ["--username", "ci"],
        ["--password-stdin"],
        ["--ca-file", "/does/not/exist"],
        ["--timeout", "soon"],
        ["--unknown"],
    ],
)
def test_wrong_usage(garrison: Garrison, tiny_image: Image, data: Path, options: list[str]) -> None:
    done = scan(garrison, tiny_image, data, *options)
    assert (done.exit_code, done.out) == (2, "")


@pytest.mark.parametrize("text", ["Debian:12", "oci:", "docker:", "ghcr.io/Team/x", ""])
def test_references_that_are_none(garrison: Garrison, data: Path, text: str) -> None:
    done = garrison("scan", text, "--data", data)
    assert (done.exit_code, done.out) == (2, "")


def failed(done: Done, code: str) -> None:
    assert done.exit_code == 3
    assert f"code:  {code}" in done.err
    assert "hint:" in done.err


def test_no_advisories_at_all(garrison: Garrison, tiny_image: Image, tmp_path: Path) -> None:
    done = scan(garrison, tiny_image, tmp_path / "empty", "--json")
    failed(done, "scan.no_advisories")
    assert len(done.json["packages"]) == 5, "what was found is shown"
    table = scan(garrison, tiny_image, tmp_path / "empty")
    assert "no clean report" in table.out


def test_an_ecosystem_is_missing(garrison: Garrison, tiny_image: Image, tmp_path: Path) -> None:
    load(tmp_path, PyPI=[advisory("PYSEC-1", "PyPI", "jinja2")], npm=[])
    done = scan(garrison, tiny_image, tmp_path, "--json", "--fail-on", "low")
    failed(done, "scan.incomplete")
    assert "Debian" in done.err
    assert ids(done) == ["PYSEC-1"]


def test_an_unknown_distribution(garrison: Garrison, tmp_path: Path, data: Path) -> None:
    done = scan(garrison, images.unknown_os(tmp_path / "image"), data, "--json")
    failed(done, "scan.incomplete")
    assert len(done.json["packages"]) == 3


def test_a_broken_package_database(garrison: Garrison, tmp_path: Path, data: Path) -> None:
    done = scan(garrison, images.broken_db(tmp_path / "image"), data, "--json")
    failed(done, "scan.incomplete")
    assert "var/lib/dpkg/status" in done.err
    assert [s["path"] for s in done.json["skipped"]] == ["var/lib/dpkg/status"]
    assert "no clean report" in scan(garrison, images.broken_db(tmp_path / "two"), data).out


def test_an_image_without_packages(garrison: Garrison, tmp_path: Path, data: Path) -> None:
    done = scan(garrison, images.empty(tmp_path / "image"), data, "--json")
    assert done.exit_code == 0
    assert done.json["packages"] == []


def test_a_wrong_layer(garrison: Garrison, tmp_path: Path, data: Path) -> None:
    image = images.tiny(tmp_path / "image")
    blob = image.oci / "blobs" / image.truth.layers[1].digest.replace(":", "/")
    blob.chmod(0o644)
    wrong = bytearray(blob.read_bytes())
    wrong[100] ^= 1
    blob.unlink()
    blob.write_bytes(bytes(wrong))
    done = scan(garrison, image, data)
    assert (done.exit_code, done.out) == (3, "")
    assert "code:  images.digest_mismatch" in done.err


def test_a_broken_file_is_skipped(garrison: Garrison, tmp_path: Path, data: Path) -> None:
    root = tmp_path / "root" / "app" / "node_modules" / "x"
    root.mkdir(parents=True)
    (root / "package.json").write_text("{broken")
    done = garrison("scan", f"rootfs:{tmp_path / 'root'}", "--data", data, "--json")
    assert done.exit_code == 0
    (skipped,) = done.json["skipped"]
    assert skipped["path"] == "app/node_modules/x/package.json"
    assert skipped["code"] == "packages.unreadable"
    assert skipped["reason"]


def test_time_runs_out(garrison: Garrison, tiny_image: Image, data: Path) -> None:
    done = scan(garrison, tiny_image, data, "--timeout", "0.000001")
    assert done.exit_code == 2, "the least is a tenth of a second"


def test_a_proxy_that_cannot_work_is_no_direct_connection(garrison: Garrison, data: Path) -> None:
    done = garrison(
        "scan",
        "registry.test/team/shop",
        "--data",
        data,
        env={"GARRISON_HTTP_PROXY": "nonsense://proxy"},
    )
    assert done.exit_code == 2
    assert "GARRISON_HTTP_PROXY" in done.err


def test_a_scan_loads_nothing_heavy(garrison: Garrison, tiny_image: Image, data: Path) -> None:
    """SQLAlchemy and aiohttp alone would cost 0.4 s and 60 MB."""
    import subprocess
    import sys

    script = (
        "import sys; sys.argv[0] = 'garrison'\n"
        "from garrison.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'aiohttp', 'asyncio', 'sqlalchemy', 'fastapi', 'uvicorn', 'alembic', 'jinja2',"
        " 'websockets', 'cryptography', 'packageurl', 'structlog'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "scan", f"oci:{tiny_image.oci}", "--json", "--data", data],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "[]\n"


def test_several_formats_from_one_scan(
    garrison: Garrison, tiny_image: Image, data: Path, tmp_path: Path
) -> None:
    files = [f"{name}={tmp_path / name}" for name in ("sarif", "cyclonedx", "spdx", "openvex")]
    done = scan(garrison, tiny_image, data, "--format", "csv," + ",".join(files))
    assert done.exit_code == 0
    assert done.out.splitlines()[0].startswith("id,aliases,severity")
    assert json.loads((tmp_path / "sarif").read_text())["version"] == "2.1.0"
    assert json.loads((tmp_path / "cyclonedx").read_text())["specVersion"] == "1.6"
    assert json.loads((tmp_path / "spdx").read_text())["spdxVersion"] == "SPDX-2.3"
    assert len(json.loads((tmp_path / "openvex").read_text())["statements"]) == 3


@pytest.mark.parametrize(
    "options",
    [
        ["--format", "xml"],
        ["--format", "json,table"],
        ["--format", "json="],
        ["--format", "table", "--json"],
        ["--format", "json=x", "--output", "y"],
    ],
)
def test_formats_that_cannot_be(
    garrison: Garrison, tiny_image: Image, data: Path, options: list[str]
) -> None:
    done = scan(garrison, tiny_image, data, *options)
    assert (done.exit_code, done.out) == (2, "")


def test_a_bill_of_materials_gives_the_same_findings(
    garrison: Garrison, tiny_image: Image, data: Path, tmp_path: Path
) -> None:
    expected = ids(scan(garrison, tiny_image, data, "--json"))
    for format in ("cyclonedx", "spdx"):
        file = tmp_path / format
        made = garrison("sbom", f"oci:{tiny_image.oci}", "--format", f"{format}={file}")
        assert made.exit_code == 0
        done = garrison("scan", f"sbom:{file}", "--data", data, "--json")
        assert (done.exit_code, ids(done)) == (0, expected)
        piped = garrison("scan", "sbom:-", "--data", data, "--json", stdin=file.read_text())
        assert ids(piped) == expected


def test_what_is_no_bill_of_materials(garrison: Garrison, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("hello")
    done = garrison("scan", f"sbom:{file}", "--data", data)
    assert (done.exit_code, done.out) == (3, "")
    assert "packages.bad_sbom" in done.err
    assert garrison("scan", "sbom:", "--data", data).exit_code == 2
    assert garrison("scan", f"sbom:{tmp_path / 'none'}", "--data", data).exit_code == 2


def test_vex_decides_what_fails_a_build(
    garrison: Garrison, tiny_image: Image, data: Path, tmp_path: Path
) -> None:
    vex = tmp_path / "team.vex.json"
    statement = {
        "vulnerability": {"name": "PYSEC-1"},
        "products": [{"@id": "pkg:pypi/jinja2"}],
        "status": "not_affected",
        "justification": "vulnerable_code_not_in_execute_path",
    }
    vex.write_text(
        json.dumps(
            {"@context": "https://openvex.dev/ns/v0.2.0", "author": "T", "statements": [statement]}
        )
    )
    options = ["--vex", str(vex), "--fail-on", "critical"]
    assert scan(garrison, tiny_image, data, "--fail-on", "critical").exit_code == 1
    done = scan(garrison, tiny_image, data, *options, "--json")
    assert done.exit_code == 0
    assert [each["id"] for each in done.json["suppressed"]] == ["PYSEC-1"]
    assert "Not counted, by decision: 1 finding" in scan(garrison, tiny_image, data, *options).out
    hidden = scan(garrison, tiny_image, data, *options, "--hide-suppressed").out
    assert "PYSEC-1" not in hidden
    vex.write_text("{}")
    done = scan(garrison, tiny_image, data, *options)
    assert (done.exit_code, done.out) == (2, "")
    assert "findings.bad_vex" in done.err


@pytest.mark.parametrize("text", ["hello", "-----BEGIN CERTIFICATE-----\nxx\n", ""])
def test_a_ca_file_that_is_none_is_refused_before_anything_is_asked(
    garrison: Garrison, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(text)
    done = garrison("sbom", "127.0.0.1:9/app", "--ca-file", file)
    assert (done.exit_code, done.out) == (2, "")
    assert str(file) in done.err


def test_help_starts_at_once() -> None:
    """At most 0.2 s of CPU more than Python alone: other work on the machine does not count."""

    def seconds(*words: str) -> float:
        process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    more = [seconds("-m", "garrison", "scan", "--help") - seconds("-c", "pass") for _ in range(3)]
    assert min(more) < 0.2


def test_a_scan_imports_nothing_heavy(garrison: Garrison, tiny_image: Image, data: Path) -> None:
    """Each of these costs more than the scan of a small image."""
    done = garrison(
        "scan",
        f"oci:{tiny_image.oci}",
        "--data",
        data,
        "--format",
        "table,json=/dev/null,sarif=/dev/stderr",
        env={"PYTHONPROFILEIMPORTTIME": "1"},
    )
    assert done.exit_code == 0
    imported = {line.rpartition("|")[2].strip() for line in done.err.splitlines() if "|" in line}
    assert "garrison.reports.table" in imported
    heavy = {"sqlalchemy", "aiohttp", "fastapi", "pydantic", "rich", "cvss", "packageurl"}
    assert heavy & imported == {"cvss"}  # For vectors of findings alone.
