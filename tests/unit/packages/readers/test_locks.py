"""Lock files of projects: what the tools that wrote them list, in every version of the formats."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from garrison.egress import ProxySettings
from garrison.images import FileError, merge, open_image
from garrison.packages import Package
from garrison.packages.readers import Assembled, PackageFiles, assemble
from garrison.packages.readers.facts import Contents
from garrison.packages.readers.locks import reader_for

DATA = Path(__file__).parents[3] / "data" / "locks"
ALIASES = {"old-ms": "ms", "string-width-cjs": "string-width", "strip-ansi-cjs": "strip-ansi",
           "wrap-ansi-cjs": "wrap-ansi"}  # fmt: skip


def read(path: str, data: bytes | str) -> Contents:
    reader = reader_for(path)
    assert reader is not None, path
    facts = reader(data.encode() if isinstance(data, str) else data)
    assert isinstance(facts, Contents)
    return facts


def full(contents: Contents, *, development: bool | None = None) -> set[tuple[str, str]]:
    joint = {"maven": ":"}
    return {
        (f"{c.namespace}{joint.get(c.type, '/')}{c.name}" if c.namespace else c.name, c.version)
        for c in contents.packages
        if development is None or c.development == development
    }


def reasons(contents: Contents) -> list[str]:
    return [unread.reason for unread in contents.unread]


NPM_LS = {
    kind: {(ALIASES.get(name, name), version) for name, version in listed}
    for kind, listed in json.loads((DATA / "node" / "npm-ls.json").read_text()).items()
}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("package-lock.v1.json", "package-lock.json"),
        ("package-lock.v2.json", "package-lock.json"),
        ("package-lock.v3.json", "npm-shrinkwrap.json"),
        ("pnpm-lock.v5.yaml", "pnpm-lock.yaml"),
        ("pnpm-lock.v6.yaml", "pnpm-lock.yaml"),
        ("pnpm-lock.v9.yaml", "pnpm-lock.yaml"),
        ("bun.lock", "bun.lock"),
        ("yarn.v1.lock", "yarn.lock"),
        ("yarn.berry.lock", "yarn.lock"),
    ],
)
def test_node_projects_as_npm_lists_them(file: str, name: str) -> None:
    """The same project, locked by each program; aliases count as what they stand for."""
    found = read(name, (DATA / "node" / file).read_bytes())
    assert reasons(found) == []
    assert {c.position for c in found.packages} == {"locked"}
    assert len(NPM_LS["runtime"]) == 20
    if name == "yarn.lock":  # it does not tell what is for development
        assert full(found) == NPM_LS["runtime"] | NPM_LS["development"]
    else:
        assert full(found, development=False) == NPM_LS["runtime"]
        assert full(found, development=True) == NPM_LS["development"]


def exported(name: str) -> set[tuple[str, str]]:
    lines = (DATA / "python" / f"uv-export-{name}.txt").read_text().split()
    return {(line.split("==")[0], line.split("==")[1]) for line in lines}


def test_uv_projects_as_uv_exports_them() -> None:
    found = read("uv.lock", (DATA / "python/uv.lock").read_bytes())
    assert full(found) == exported("all")
    assert full(found, development=False) == exported("runtime")
    assert full(found, development=True) == {("colorama", "0.4.6")}
    standard = read("pylock.toml", (DATA / "python/pylock.toml").read_bytes())
    assert exported("runtime") <= full(standard)


def test_compiled_requirements() -> None:
    """Hashes, comments and continued lines; extras are not compiled in."""
    found = read("requirements.txt", (DATA / "python/requirements.txt").read_bytes())
    assert {name for name, _ in full(found)} == {
        "certifi", "charset-normalizer", "idna", "requests", "urllib3",
    }  # fmt: skip
    assert reasons(found) == []


def test_pipenv() -> None:
    found = read("Pipfile.lock", (DATA / "python/Pipfile.lock").read_bytes())
    assert ("requests", "2.31.0") in full(found, development=False)
    assert full(found, development=True) == {("colorama", "0.4.6")}


def test_go_and_cargo() -> None:
    found = read("go.mod", (DATA / "go.mod").read_bytes())
    assert full(found) == {
        ("github.com/google/uuid", "v1.3.0"),
        ("golang.org/x/text", "v0.14.0"),
    }
    assert reasons(found) == ["example.test/local: it is replaced by a folder"]
    assert found.supersedes == ("go.sum",)
    sums = read("go.sum", (DATA / "go.sum").read_bytes())
    assert full(sums) >= full(found)
    crates = read("Cargo.lock", (DATA / "Cargo.lock").read_bytes())
    assert full(crates) == {("cfg-if", "1.0.5"), ("itoa", "1.0.19"), ("log", "0.4.20")}


REQUIREMENTS = """
# comment
-r other.txt
--index-url https://index.test/
Flask[async]==2.0.1 ; python_version > "3"  # why
a-b.c === 1.0+local
late==1.0 --hash=sha256:00
paren (==1.5)
loose>=1
star==1.*
bare
url @ https://index.test/x.whl
git+https://index.test/y.git#egg=y
./here
two==1,<2
"""
GO_OLD = """module m
go 1.16
require a.test/b v1.0.0 // indirect
require (
\t"c.test/d/v2" v2.0.0-20200101000000-abcdefabcdef
\te.test/f v1.0.0+incompatible
)
exclude x.test/y v1.0.0
replace (
\te.test/f => g.test/h v3.0.0
)
"""
GEMFILE = """GIT
  remote: https://index.test/rack.git
  revision: abc
  specs:
    rack (3.0.0)

PATH
  remote: .
  specs:
    shop (0.1)

GEM
  remote: https://index.test/
  specs:
    nokogiri (1.15.0-x86_64-linux)
      racc (~> 1.4)
    racc (1.7.1)

PLATFORMS
  x86_64-linux

DEPENDENCIES
  nokogiri
"""
GRADLE = """# This is a Gradle generated file
com.google.guava:guava:31.1-jre=compileClasspath,runtimeClasspath
junit:junit:4.13.2=testCompileClasspath,testRuntimeClasspath
empty=annotationProcessor
"""
POM = """<?xml version="1.0"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <parent><groupId>g</groupId><artifactId>p</artifactId><version>9</version></parent>
  <artifactId>a</artifactId>
  <properties><v.b>${v.c}</v.b><v.c>2.0</v.c><loop>${loop}</loop></properties>
  <dependencyManagement><dependencies>
    <dependency><groupId>m</groupId><artifactId>m</artifactId><version>7</version></dependency>
    <dependency><groupId>bom</groupId><artifactId>bom</artifactId><version>1</version>
      <type>pom</type><scope>import</scope></dependency>
  </dependencies></dependencyManagement>
  <dependencies>
    <dependency><groupId>x</groupId><artifactId>plain</artifactId><version>1</version></dependency>
    <dependency><groupId>x</groupId><artifactId>prop</artifactId><version>${v.b}</version></dependency>
    <dependency><groupId>${project.groupId}</groupId><artifactId>own</artifactId>
      <version>${project.version}</version></dependency>
    <dependency><groupId>m</groupId><artifactId>m</artifactId></dependency>
    <dependency><groupId>x</groupId><artifactId>t</artifactId><version>3</version>
      <scope>test</scope></dependency>
    <dependency><groupId>x</groupId><artifactId>none</artifactId></dependency>
    <dependency><groupId>x</groupId><artifactId>range</artifactId><version>[1,2)</version></dependency>
    <dependency><groupId>x</groupId><artifactId>loop</artifactId><version>${loop}</version></dependency>
  </dependencies>
  <build><plugins><plugin><dependencies>
    <dependency><groupId>no</groupId><artifactId>no</artifactId><version>1</version></dependency>
  </dependencies></plugin></plugins></build>
</project>"""
POETRY = """
[[package]]
name = "django"
version = "4.2"
category = "main"
[[package]]
name = "pytest"
version = "7.0"
category = "dev"
[[package]]
name = "black"
version = "23.0"
groups = ["dev"]
[[package]]
name = "own"
version = "0.1"
groups = ["main"]
[package.source]
type = "directory"
url = "own"
"""
COMPOSER = {
    "packages": [
        {"name": "symfony/console", "version": "v6.0.1"},
        {"name": "a/b", "version": "dev-main"},
    ],
    "packages-dev": [{"name": "phpunit/phpunit", "version": "9.5.0"}],
}
NUGET = {
    "version": 1,
    "dependencies": {
        "net6.0": {
            "Newtonsoft.Json": {"type": "Direct", "requested": "[13.0.1, )", "resolved": "13.0.1"},
            "Own": {"type": "Project"},
        },
        "net7.0": {"Newtonsoft.Json": {"type": "Transitive", "resolved": "13.0.1"}},
    },
}
NPM_ODD = {
    "lockfileVersion": 1,
    "dependencies": {
        "git": {"version": "git+ssh://git@index.test/a/b.git#abc"},
        "own": {"version": "file:../own"},
        "a": {
            "version": "1.0.0",
            "dev": True,
            "dependencies": {"b": {"version": "2.0.0", "bundled": True}},
        },
    },
}
PDM = """
[[package]]
name = "a"
version = "1"
groups = ["default", "dev"]
[[package]]
name = "b"
version = "2"
groups = ["dev"]
[[package]]
name = "own"
version = "3"
path = "./own"
"""
PYLOCK = """
lock-version = "1.0"
[[packages]]
name = "a"
version = "1"
[[packages]]
name = "b"
version = "2"
marker = "'dev' in dependency_groups"
[[packages]]
name = "here"
directory = { path = "." }
[[packages]]
name = "git"
vcs = { type = "git" }
"""


@pytest.mark.parametrize(
    ("path", "data", "runtime", "development", "unread"),
    [
        ("requirements.txt", REQUIREMENTS,
         {("Flask", "2.0.1"), ("a-b.c", "1.0+local"), ("late", "1.0"), ("paren", "1.5")}, set(), 7),
        ("requirements-dev.txt", "a==1", set(), {("a", "1")}, 0),
        ("x/requirements/test.txt", "a==1", set(), {("a", "1")}, 0),
        ("requirements/base.txt", "a==1", {("a", "1")}, set(), 0),
        ("go.mod", GO_OLD,
         {("a.test/b", "v1.0.0"), ("c.test/d/v2", "v2.0.0-20200101000000-abcdefabcdef"),
          ("g.test/h", "v3.0.0")}, set(), 0),
        ("go.sum", "a.test/b v1.0.0 h1:x=\na.test/b v1.0.0/go.mod h1:x=\na.test/b v1.2.0 h1:x=\n"
                   "c.test/d v1.0.0/go.mod h1:x=\n", {("a.test/b", "v1.2.0")}, set(), 0),
        ("Gemfile.lock", GEMFILE,
         {("rack", "3.0.0"), ("nokogiri", "1.15.0"), ("racc", "1.7.1")}, set(), 0),
        ("gradle.lockfile", GRADLE, {("com.google.guava:guava", "31.1-jre")},
         {("junit:junit", "4.13.2")}, 0),
        ("gradle/dependency-locks/testCompile.lockfile", "a:b:1\n", set(), {("a:b", "1")}, 0),
        ("pom.xml", POM, {("x:plain", "1"), ("x:prop", "2.0"), ("g:own", "9"), ("m:m", "7")},
         {("x:t", "3")}, 3),
        ("poetry.lock", POETRY, {("django", "4.2")}, {("pytest", "7.0"), ("black", "23.0")}, 0),
        ("pdm.lock", PDM, {("a", "1")}, {("b", "2")}, 0),
        ("pylock.deploy.toml", PYLOCK, {("a", "1")}, {("b", "2")}, 1),
        ("composer.lock", json.dumps(COMPOSER), {("symfony/console", "v6.0.1")},
         {("phpunit/phpunit", "9.5.0")}, 1),
        ("packages.lock.json", json.dumps(NUGET), {("Newtonsoft.Json", "13.0.1")}, set(), 0),
        ("package-lock.json", json.dumps(NPM_ODD), {("b", "2.0.0")}, {("a", "1.0.0")}, 1),
        ("bun.lock", '{"packages": {"x": ["x@workspace:x"], "a": ["a@github:b/c#d", {},],},}',
         set(), set(), 1),
        ("yarn.lock", '# yarn lockfile v1\n\n"@a/b@^1", "@a/b@~1":\n  version "1.0.0"\n'
                      '  resolved "https://index.test/x"\n', {("@a/b", "1.0.0")}, set(), 0),
    ],
)  # fmt: skip
def test_the_rules_of_each_format(
    path: str,
    data: str,
    runtime: set[tuple[str, str]],
    development: set[tuple[str, str]],
    unread: int,
) -> None:
    found = read(path, data)
    assert full(found, development=False) == runtime
    assert full(found, development=True) == development
    assert len(found.unread) == unread, reasons(found)
    assert {u.code for u in found.unread} <= {"packages.not_locked"}


def test_needed_to_run_once_is_not_for_development() -> None:
    document = {"packages": {
        "node_modules/a": {"version": "1.0.0", "dev": True},
        "node_modules/b/node_modules/a": {"version": "1.0.0"},
    }}  # fmt: skip
    found = read("package-lock.json", json.dumps(document))
    assert full(found, development=False) == {("a", "1.0.0")}


BOMB = "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("package-lock.json", b"{"),
        ("package-lock.json", b"[]"),
        ("package-lock.json", b'{"packages": {"a": 1}}'),
        ("package-lock.json", b'{"dependencies":{"a":' * 100_000),
        ("package-lock.json", b'{"a":' * 150 + b"1" + b"}" * 150 + b"x"),
        ("pnpm-lock.yaml", BOMB.encode()),
        ("pnpm-lock.yaml", b"packages: [" * 10_000),
        ("pnpm-lock.yaml", b"!!python/object/apply:os.system ['id']"),
        ("poetry.lock", b"[[package"),
        ("poetry.lock", b"a = " + b"[" * 100_000),
        ("uv.lock", b'package = [{name = "a", source = 1, dependencies = [1]}]'),
        ("bun.lockb", b"#!/usr/bin/env bun\nbun-lockfile-format-v0\n"),
        ("pom.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><project/>'),
        ("pom.xml", b"<a>" * 200_000),
        ("Cargo.lock", b"\xff\xfe\x00"),
        ("requirements.txt", b"\xff\xfe\x00"),
        ("composer.lock", b'{"packages": {"a": 1}}'),
    ],
)
def test_broken_and_hostile_files_are_refused(path: str, data: bytes) -> None:
    reader = reader_for(path)
    assert reader is not None
    with pytest.raises(FileError):
        reader(data)


def test_lock_files_of_other_projects_are_left_alone() -> None:
    for path in (
        "node_modules/a/yarn.lock",
        "vendor/x/composer.lock",
        ".venv/lib/python3.11/site-packages/x/poetry.lock",
        "notes.txt",
        "x.lockfile",
        "package-lock.json.bak",
    ):
        assert reader_for(path) is None, path


def scanned(folder: Path, kind: str) -> Assembled:
    image = open_image(f"{kind}:{folder}", ProxySettings.build()).read(
        PackageFiles(lock_files=kind == "dir")
    )
    return assemble(merge(image.contents), image.layers)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "web/package-lock.json": (DATA / "node/package-lock.v3.json").read_text(),
        "web/node_modules/debug/package.json": '{"name":"debug","version":"4.3.4"}',
        "web/node_modules/more/package.json": '{"name":"more","version":"1.0.0"}',
        "other/node_modules/debug/package.json": '{"name":"debug","version":"4.3.4"}',
        "go/go.mod": (DATA / "go.mod").read_text(),
        "go/go.sum": (DATA / "go.sum").read_text(),
        "old/go.sum": (DATA / "go.sum").read_text(),
        "broken/Cargo.lock": "[[",
        ".git/requirements.txt": "no==1",
    }
    for path, text in files.items():
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return tmp_path


def at(found: Assembled, name: str) -> list[Package]:
    return [p for p in found.packages if p.name == name]


def test_a_project(project: Path) -> None:
    found = scanned(project, "dir")
    # Named by the lock file and installed below it: once. Elsewhere it is another matter.
    assert {(p.path, p.position) for p in at(found, "debug")} == {
        ("web/package-lock.json", "locked"),
        ("other/node_modules/debug/package.json", "installed"),
    }
    assert [p.position for p in at(found, "more")] == ["installed"]
    assert {p.path for p in at(found, "uuid")} == {"go/go.mod", "old/go.sum"}
    assert {p.path for p in found.packages if p.development} == {"web/package-lock.json"}
    assert at(found, "no") == []
    assert {(s.path, s.code) for s in found.skipped} == {
        ("broken/Cargo.lock", "packages.unreadable"),
        ("go/go.mod", "packages.not_locked"),
    }


def test_lock_files_in_an_image_are_not_installed_packages(project: Path) -> None:
    found = scanned(project, "rootfs")
    assert {p.position for p in found.packages} == {"installed"}
    assert found.skipped == ()


def test_scans_of_images_import_none_of_it() -> None:
    """Parsers of TOML, XML and YAML would cost every scan its first milliseconds."""
    code = (
        "import sys, garrison.packages.readers as r; r.PackageFiles();"
        "print(sorted({'tomllib', 'yaml', 'xml.etree.ElementTree'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
