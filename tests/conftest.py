"""What holds for every test: no inherited proxy, no test skipped in CI."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

# A busy machine is no slow parser: what must be quick is measured by tests of its own.
settings.register_profile("garrison", deadline=None)
settings.load_profile("garrison")

for _name in list(os.environ):
    if _name.lower() in {"http_proxy", "https_proxy", "all_proxy", "no_proxy"} or (
        _name.startswith("GARRISON_")
    ):
        del os.environ[_name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test is a failure where CI is set: a missing program must not hide."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
