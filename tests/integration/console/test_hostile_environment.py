"""The running product in an environment that leads libraries astray: saved settings alone count."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.authority import Authority
from tests.integration.console.program import Browser, Program, garrison, until
from tests.integration.egress.destination import serve
from tests.integration.egress.test_egress_clients import hostile


@pytest.mark.long
def test_console_and_defender_obey_saved_settings_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The feed, a scan, and tests from both; none of them asks the proxy of the environment."""
    right, wrong = Authority(tmp_path / "right", "Right CA"), Authority(tmp_path / "wrong", "Wrong")
    data = tmp_path / "data"
    with (
        hostile(tmp_path, right.certificate, wrong, monkeypatch) as trap,
        serve("127.0.0.1", right.server_context("127.0.0.1")) as good,
        serve("127.0.0.1", wrong.server_context("127.0.0.1")) as evil,
    ):
        saved = garrison("egress", "set", "--ca-file", right.certificate, "--data", data)
        assert saved.returncode == 0, saved.stderr
        # What the harness takes out of the environment is put back.
        environ = {name: os.environ[name] for name in os.environ if name.lower().endswith("_proxy")}
        environ["GARRISON_INTEL_URL"] = good.url
        with Program("up", data, environ) as program:
            program.wait_event("Defender connected")
            api = Browser(program.url, token=program.token())
            (defender,) = api.call("GET", "/api/v1/defenders").json["items"]
            for source in ("console", defender["id"]):
                for destination, works in ((good, True), (evil, False)):
                    body = {"url": destination.url, "from": source}
                    found = api.call("POST", "/api/v1/egress/test", body).json
                    assert found["ok"] is works, found
                    assert found["route"]["route"] == "direct"
            scan = api.call("POST", "/api/v1/scans", {"reference": f"{good.address}/app:1"}).json
            until(
                lambda: api.call("GET", f"/api/v1/scans/{scan['id']}").json["state"] == "failed",
                "the end of the scan",
                program,
            )
            program.wait_event("intelligence stream update failed")
        paths = [str(each["path"]) for each in good.seen]
        assert any(path.startswith("/v2/app/") for path in paths)
        assert any(path.endswith("/all.zip") for path in paths)
        assert evil.seen == []
    assert trap.asked == []
    assert not (tmp_path / "keys.log").exists()
