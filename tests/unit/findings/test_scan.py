"""A scan from its source to its report."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from garrison.egress import ProxySettings
from garrison.findings.scan import scan_image
from garrison.images import open_image

TODAY = date(2026, 11, 24)


@pytest.mark.parametrize(
    ("id", "version", "state", "warned"),
    [
        ("debian", "13", "supported", False),
        ("debian", "12", "extended", False),
        ("debian", "11", "paid", True),
        ("debian", "8", "ended", True),
        ("nimbus", "7", "unknown", False),
    ],
)
def test_a_release_without_updates_for_everyone_is_a_warning(
    tmp_path: Path, id: str, version: str, state: str, warned: bool
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(f"ID={id}\nVERSION_ID={version}\n")
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text("Package: a\nStatus: install ok installed\nVersion: 1\n")
    source = open_image(f"rootfs:{tmp_path}", ProxySettings.build())
    report = scan_image(source, None, today=TODAY)
    assert report.support is not None
    assert report.support.state == state
    assert any(f"{id} {version} gets" in warning for warning in report.warnings) == warned
