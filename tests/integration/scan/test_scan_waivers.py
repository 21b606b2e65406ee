"""`garrison scan --ignore-file`: what is accepted does not fail a build, and is not hidden."""

from __future__ import annotations

from pathlib import Path

from lab.image import Image
from tests.integration.scan.conftest import Garrison
from tests.integration.scan.test_scan_cli import advisory, scan
from tests.unit.advisories.records import load

CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


def advisories(folder: Path) -> Path:
    load(
        folder,
        PyPI=[advisory("PYSEC-1", "PyPI", "jinja2", CRITICAL)],
        npm=[advisory("GHSA-1", "npm", "lodash", fixed="")],
        Debian=[advisory("DSA-1", "Debian:12", "expat")],
    )
    return folder


def test_waivers_decide_the_exit_code(
    garrison: Garrison, tiny_image: Image, tmp_path: Path
) -> None:
    data, waivers = advisories(tmp_path / "data"), tmp_path / "waivers.toml"
    waiver = "[[waiver]]\nid = 'PYSEC-1'\nreason = 'not reachable'\nexpires = {}\n"
    options = ("--json", "--fail-on", "critical", "--ignore-file", str(waivers))

    waivers.write_text(waiver.format("2999-12-31"))
    done = scan(garrison, tiny_image, data, *options)
    assert done.exit_code == 0
    assert sorted(f["id"] for f in done.json["findings"]) == ["DSA-1", "GHSA-1"]
    [waived] = done.json["suppressed"]
    assert (waived["id"], waived["decision"]["reason"]) == ("PYSEC-1", "not reachable")
    assert done.json["summary"]["critical"] == 0

    waivers.write_text(waiver.format("2020-12-31"))
    done = scan(garrison, tiny_image, data, *options)
    assert done.exit_code == 1
    assert any("expired on 2020-12-31" in warning for warning in done.json["warnings"])

    waivers.write_text("nonsense")
    done = scan(garrison, tiny_image, data, *options)
    assert done.exit_code == 2
    assert "waivers.toml, line 1" in done.err
