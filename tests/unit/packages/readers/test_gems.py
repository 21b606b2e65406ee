"""Ruby gems, judged by `gem list`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from garrison.egress import ProxySettings
from garrison.images import FileError, merge, open_image
from garrison.packages.readers import PackageFiles, assemble
from garrison.packages.readers.facts import Contents
from garrison.packages.readers.gems import is_installed, read_gemspec


@pytest.mark.skipif(shutil.which("gem") is None, reason="no ruby")
def test_gems_as_gem_lists_them(tmp_path: Path) -> None:
    """The gems of this machine's Ruby, the default ones too, out of a copy of its folders."""
    listed = subprocess.run(
        ["gem", "list", "--local"], capture_output=True, text=True, check=True
    ).stdout
    expected = {
        (name, version.removeprefix("default: ").split()[0])
        for name, versions in re.findall(r"^(\S+) \((.*)\)$", listed, re.MULTILINE)
        for version in versions.split(", ")
    }
    assert len(expected) > 50
    places = subprocess.run(
        ["gem", "environment", "gempath"], capture_output=True, text=True, check=True
    ).stdout
    for place in places.strip().split(":"):
        source = Path(place)
        if source.is_dir():
            for file in source.rglob("*.gemspec"):
                copy = tmp_path / file.relative_to("/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
    image = open_image(f"rootfs:{tmp_path}", ProxySettings.build()).read(PackageFiles())
    found = assemble(merge(image.contents), image.layers)
    assert found.skipped == ()
    assert {(p.name, p.version) for p in found.packages if p.type == "gem"} == expected
    assert {p.purl for p in found.packages if p.name == "json"} == {
        f"pkg:gem/json@{version}" for name, version in expected if name == "json"
    }


def spec(data: str) -> tuple[str, str] | None:
    facts = read_gemspec(data.encode())
    if facts is None:
        return None
    assert isinstance(facts, Contents)
    return facts.packages[0].name, facts.packages[0].version


def test_what_rubygems_writes() -> None:
    stub = "# -*- encoding: utf-8 -*-\n# stub: nokogiri 1.15.0 x86_64-linux lib\n\nGem::Spec"
    assert spec(stub) == ("nokogiri", "1.15.0")
    assert spec('s.name = "rack".freeze\n  s.version = "2.2.3.1"\n') == ("rack", "2.2.3.1")
    old = '  s.name = %q{old}\n  s.version = "1"\n'
    assert spec(old) == ("old", "1")
    assert spec("gem.name = 'a'\ngem.version = Gem::Version.new(\"1.0.pre\")\n") == ("a", "1.0.pre")


def test_ruby_is_never_run() -> None:
    """A version that is computed is not known; texts with code in them are not texts."""
    assert spec("s.name = 'a'\ns.version = A::VERSION\n") is None
    assert spec('s.name = "a#{`id`}"\ns.version = "1"\n') is None


@pytest.mark.parametrize("data", [b"# stub: a\x1b[31m 1 ruby lib\n", b"a" * (2 << 20)])
def test_hostile_specifications_are_refused(data: bytes) -> None:
    with pytest.raises(FileError):
        read_gemspec(data)


def test_specifications_of_sources_are_not_installed_gems() -> None:
    for folder in ("var/lib/gems/3.1.0/specifications", "specifications/default",
                   "usr/local/bundle/ruby/3.1.0/bundler/gems/rails-1a2b3c"):  # fmt: skip
        assert is_installed(folder)
    for folder in ("var/lib/gems/3.1.0/gems/rack-2.0", "app", "app/specifications/x"):
        assert not is_installed(folder)
