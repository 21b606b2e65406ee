"""docs/how-to/ci.md: its YAML is what GitHub and GitLab take, and its shell parts run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.image import Image
from tests.integration.scan.test_scan_cli import CRITICAL, LOW, advisory
from tests.unit.advisories.records import load

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "ci.md"


def block(language: str, title: str) -> str:
    """The first code block of that language below that heading."""
    text = PAGE.read_text()
    section = text[text.index(f"## {title}") :]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found, title
    return found[1]


def github() -> dict[str, Any]:
    return dict(yaml.safe_load(block("yaml", "GitHub Actions")))


def gitlab() -> dict[str, Any]:
    return dict(yaml.safe_load(block("yaml", "GitLab CI")))


def valid(text: str, schema: str, tmp_path: Path) -> bool:
    from check_jsonschema import main  # type: ignore[import-untyped]
    from click.testing import CliRunner

    file = tmp_path / "snippet.yml"
    file.write_text(text)
    done = CliRunner().invoke(main, ["--builtin-schema", schema, str(file)])
    assert done.exit_code in (0, 1), done.output
    return done.exit_code == 0


@pytest.mark.parametrize(
    ("title", "schema"),
    [("GitHub Actions", "vendor.github-workflows"), ("GitLab CI", "vendor.gitlab-ci")],
)
def test_yaml_is_valid_by_the_published_schemas(title: str, schema: str, tmp_path: Path) -> None:
    text = block("yaml", title)
    assert valid(text, schema, tmp_path)
    broken = text.replace("runs-on:", "runs-where:").replace("stage: test", "stage: [1]")
    assert not valid(broken, schema, tmp_path)


@dataclass(frozen=True, slots=True)
class Build:
    """A folder in which the shell of a build runs, with what it finds on PATH."""

    folder: Path
    image: Image
    fixable: bool = True

    def run(self, script: str, **more: str) -> subprocess.CompletedProcess[str]:
        programs = self.folder / "programs"
        programs.mkdir(exist_ok=True)
        # What a build has or makes elsewhere: the package is installed, the image is built.
        stub(programs / "pip", "exit 0")
        stub(programs / "docker", "exit 0")
        stub(programs / "garrison", f'{self._garrison()}exec {sys.executable} -m garrison "$@"')
        data = self.folder / "data"
        if not data.exists():
            load(
                data,
                PyPI=[advisory("PYSEC-1", "PyPI", "jinja2", CRITICAL, "99" * self.fixable)],
                npm=[advisory("GHSA-1", "npm", "lodash", LOW, fixed="")],
                Debian=[advisory("DSA-1", "Debian:12", "expat")],
            )
        return subprocess.run(
            ["sh", "-e", "-c", script],
            env={
                "PATH": f"{programs}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "LANG": "C.UTF-8",
                "GARRISON_DATA": str(data),
                "GARRISON_SOURCE": "/srv/garrison.whl",
                **more,
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def _garrison(self) -> str:
        """No feed is reached here: an update is taken for done. An engine there is none either,
        so its name stands for the layout."""
        return (
            '[ "$1" = intel ] && exit 0\n'
            f'[ "$1" = scan ] && shift && case "$1" in docker:*|registry/*) shift;'
            f' set -- oci:{self.image.oci} "$@";; esac && set -- scan "$@"\n'
        )


def stub(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_github_steps_fail_the_build_and_leave_a_report(tiny_image: Image, tmp_path: Path) -> None:
    [job] = github()["jobs"].values()
    shell = [step["run"] for step in job["steps"] if "run" in step]
    assert len(shell) == 4
    *before, scan = shell
    build = Build(tmp_path, tiny_image)
    for script in before:
        assert build.run(script, IMAGE="registry/shop:1").returncode == 0
    done = build.run(scan, IMAGE="shop:1")
    assert done.returncode == 1, done.stderr
    assert "PYSEC-1" in done.stdout
    results = json.loads((tmp_path / "garrison.sarif").read_text())["runs"][0]["results"]
    assert {result["ruleId"] for result in results} == {"PYSEC-1", "DSA-1"}
    upload = job["steps"][-1]
    assert upload["with"]["sarif_file"] == "garrison.sarif"
    assert "always()" in upload["if"]


def test_gitlab_script_passes_without_a_fix_and_leaves_its_artifacts(
    tiny_image: Image, tmp_path: Path
) -> None:
    job = gitlab()["scan"]
    build = Build(tmp_path, tiny_image, fixable=False)
    script = "\n".join(job["script"])
    done = build.run(
        script, IMAGE="registry/shop:1", CI_REGISTRY_USER="u", CI_REGISTRY_PASSWORD="s3cret"
    )
    assert done.returncode == 0, done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    bom = json.loads((tmp_path / job["artifacts"]["reports"]["cyclonedx"]).read_text())
    assert bom["bomFormat"] == "CycloneDX"
    assert (tmp_path / job["artifacts"]["paths"][0]).read_text().startswith("id,")
    assert build.run("\n".join(job["after_script"])).returncode == 0
    assert not (tmp_path / ".registry-password").exists()


def test_jenkins_shell_fails_the_build(tiny_image: Image, tmp_path: Path) -> None:
    found = re.search(r"sh '''\n(.*?)'''", block("groovy", "Jenkins"), re.DOTALL)
    assert found
    stubbed = found[1].replace("python3 -m venv .venv", "mkdir -p .venv/bin").replace(
        ". .venv/bin/activate", ":"
    )  # fmt: skip
    # Groovy joins lines where one ends in a backslash.
    done = Build(tmp_path, tiny_image).run(stubbed.replace("\\\n", ""), IMAGE="registry/shop:1")
    assert done.returncode == 1, done.stderr
    assert json.loads((tmp_path / "garrison.json").read_text())["summary"]["critical"] == 1


def test_any_system_may_label(tiny_image: Image, tmp_path: Path) -> None:
    script = block("sh", "Any other system")
    done = Build(tmp_path, tiny_image).run(script, IMAGE="registry/shop:1", BRANCH="b", BUILD="1")
    assert done.returncode == 1, done.stderr
