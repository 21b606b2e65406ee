"""What is exported for Squid is what Squid takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from garrison.console import allow_list
from lab.process import program


def test_squid_reads_the_exported_rules(tmp_path: Path) -> None:
    listed = [
        {"host": host, "port": port}
        for host, port in (
            ("hooks.slack.test", 443),
            ("a.hooks.slack.test", 8443),
            ("10.1.2.3", 443),
            ("fd00::1", 5000),
            ("xn--bcher-kva.test", 443),
        )
    ]
    rules = tmp_path / "squid.conf"
    rules.write_text(
        f"http_port 127.0.0.1:3128\n{allow_list.render(listed, 'squid')}http_access deny all\n"
    )
    checked = subprocess.run(
        [program("squid"), "-k", "parse", "-f", str(rules)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = checked.stdout + checked.stderr
    assert checked.returncode == 0, said
    assert "ERROR" not in said
    assert "WARNING" not in said
