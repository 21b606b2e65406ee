"""Programs, archives and projects made by the real tools, listed as those tools list them.

They fetch modules, crates and jars, so they are long.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from garrison.egress import ProxySettings
from garrison.findings.scan import read_image
from garrison.images import Digest, LayerInfo, merge, open_image
from garrison.images.archive import FileBlob
from garrison.images.read import LayerJob, read_layers
from garrison.images.stream import Guard
from garrison.packages import Inventory, Package
from garrison.packages.readers import PackageFiles, assemble

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"no {program}")


def run(*argv: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [os.fspath(word) for word in argv],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def inventory(text: str) -> Inventory:
    return read_image(open_image(text, ProxySettings.build()))


def names(packages: list[Package] | tuple[Package, ...]) -> set[tuple[str, str]]:
    return {
        (f"{p.namespace}{':' if p.type == 'maven' else '/'}{p.name}".lstrip("/:"), p.version)
        for p in packages
    }


GO_MOD = """module example.test/shop
go 1.22
require (
\tgithub.com/google/uuid v1.3.0
\tgolang.org/x/text v0.3.7
)
replace golang.org/x/text => golang.org/x/text v0.14.0
"""
GO_MAIN = """package main
import ("os"; "github.com/google/uuid"; "golang.org/x/text/language")
func main() { os.Stdout.WriteString(uuid.New().String() + language.English.String()) }
"""
TARGETS = ("linux/amd64", "linux/s390x", "linux/386", "windows/amd64", "darwin/arm64")


def test_go_programs_of_many_machines(tmp_path: Path) -> None:
    needs("go")
    source = tmp_path / "source"
    source.mkdir()
    (source / "go.mod").write_text(GO_MOD)
    (source / "main.go").write_text(GO_MAIN)
    run("go", "mod", "tidy", cwd=source)
    root = tmp_path / "root"
    root.mkdir()
    for target in TARGETS:
        system, machine = target.split("/")
        for flags, kind in (("", "whole"), ("-s -w", "stripped")):
            output = root / f"{system}-{machine}-{kind}"
            run("go", "build", f"-ldflags={flags}", "-o", output, ".", cwd=source,
                GOOS=system, GOARCH=machine, CGO_ENABLED="0")  # fmt: skip
    scanned = inventory(f"rootfs:{root}")
    assert scanned.skipped == ()
    for program in root.iterdir():
        told = run("go", "version", "-m", program, cwd=root)
        expected = {("stdlib", told.splitlines()[0].rpartition(" go")[2])}
        last = ("", "")
        for line in told.splitlines()[1:]:
            kind, *fields = line.strip().split("\t")
            if kind == "=>":
                expected.discard(last)
            if kind in ("mod", "dep", "=>"):
                last = (fields[0], "" if fields[1] == "(devel)" else fields[1])
                expected.add(last)
        assert names([p for p in scanned.packages if p.path == program.name]) == expected


def test_rust_programs(tmp_path: Path) -> None:
    needs("cargo")
    tools = tmp_path / "tools"
    run("cargo", "install", "--quiet", "--root", tools, "cargo-auditable", cwd=tmp_path)
    path = f"{tools}/bin{os.pathsep}{os.environ['PATH']}"
    run("cargo", "new", "--quiet", "--name", "shop", "shop", cwd=tmp_path)
    shop = tmp_path / "shop"
    with (shop / "Cargo.toml").open("a") as file:
        file.write('itoa = "1.0"\nlog = "=0.4.20"\n[build-dependencies]\ncfg-if = "1"\n')
    (shop / "build.rs").write_text("fn main() {}\n")
    root = tmp_path / "root"
    root.mkdir()
    for number, options in enumerate((["--release"], [])):
        run("cargo", "auditable", "build", "--quiet", *options, cwd=shop, PATH=path)
        built = shop / "target" / ("release" if options else "debug") / "shop"
        shutil.copy(built, root / f"shop{number}")
        shutil.copy(built, root / f"shop{number}-stripped")
        run("strip", root / f"shop{number}-stripped", cwd=root)
    metadata = json.loads(run("cargo", "metadata", "--format-version=1", cwd=shop))
    expected = {(p["name"], p["version"]) for p in metadata["packages"]}
    scanned = inventory(f"rootfs:{root}")
    assert scanned.skipped == ()
    for program in root.iterdir():
        found = [p for p in scanned.packages if p.path == program.name]
        assert names(found) == expected, program
        assert {p.name for p in found if p.development} == {"cfg-if"}


JARS = (
    "org.springframework.boot:spring-boot-starter-web:2.6.6",
    "org.apache.logging.log4j:log4j-core:2.14.1",
    "io.netty:netty-all:4.1.70.Final",
    "com.squareup.okhttp3:okhttp:4.9.0",
    "com.h2database:h2:1.4.200",
    "mysql:mysql-connector-java:8.0.27",
    "commons-fileupload:commons-fileupload:1.3.1",
    "org.bouncycastle:bcprov-jdk15on:1.60",
    "org.eclipse.jetty:jetty-server:9.4.30.v20200611",
    "org.apache.velocity:velocity:1.7",
    "io.grpc:grpc-netty:1.40.0",
)


def test_jars_of_maven_central(tmp_path: Path) -> None:
    """Many of them without Maven's own files; group and artifact as Maven resolved them."""
    needs("mvn")
    wanted = "".join(
        "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>"
        "</dependency>".format(*jar.split(":"))
        for jar in JARS
    )
    (tmp_path / "pom.xml").write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>x</groupId><artifactId>y</artifactId><version>1</version>"
        f"<dependencies>{wanted}</dependencies></project>"
    )
    run("mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", cwd=tmp_path)
    listed = run("mvn", "-B", "dependency:list", "-DincludeScope=runtime", cwd=tmp_path)
    expected = {
        (f"{group}:{name}", version)
        for group, name, version in re.findall(
            r"\s([\w.-]+):([\w.-]+):jar:(?:[\w.-]+:)?([\w.-]+):(?:compile|runtime)", listed
        )
    }
    assert len(expected) > 60
    scanned = inventory(f"rootfs:{tmp_path}/target/dependency")
    assert names([p for p in scanned.packages if p.position == "installed"]) == expected


PACKAGE = {
    "name": "shop",
    "version": "1.0.0",
    "dependencies": {"express": "4.18.2", "@babel/code-frame": "7.18.6", "npm": "9.6.7"},
}


def listed_by(tree: dict[str, object]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    dependencies = tree.get("dependencies")
    for name, entry in dependencies.items() if isinstance(dependencies, dict) else ():
        if "version" in entry:
            found.add((entry.get("name", name), entry["version"]))  # aliases have both
        found |= listed_by(entry)
    return found


def test_npm_with_bundled_packages_and_pnpm_with_links(tmp_path: Path) -> None:
    """npm brings 200 packages bundled; pnpm links everything out of a store."""
    needs("npm", "npx")
    npm, pnpm = tmp_path / "npm", tmp_path / "pnpm"
    for folder in (npm, pnpm):
        folder.mkdir()
        (folder / "package.json").write_text(json.dumps(PACKAGE))
    run("npm", "install", "--ignore-scripts", "--no-audit", cwd=npm)
    expected = listed_by(json.loads(run("npm", "ls", "--all", "--json", "--long", cwd=npm)))
    assert len(expected) > 200
    found = inventory(f"rootfs:{npm}").packages
    assert names([p for p in found if p.position == "installed"]) == expected

    tool = ("npx", "--yes", "pnpm@9")
    run(*tool, "install", "--ignore-scripts", f"--store-dir={pnpm}/.store",
        "--package-import-method=hardlink", cwd=pnpm)  # fmt: skip
    expected = listed_by(json.loads(run(*tool, "ls", "--depth=99", "--json", cwd=pnpm))[0])
    run("tar", "-cf", tmp_path / "layer.tar", "pnpm", cwd=tmp_path)
    assert len(expected) > 50
    found = packages_of_layer(tmp_path / "layer.tar")
    installed = names([p for p in found if p.position == "installed"])
    # What npm brings with itself is there as well, and pnpm does not list it.
    assert expected <= installed
    bundled = [p for p in found if "/npm/node_modules/" in p.path]
    assert installed - expected <= names(bundled)


def packages_of_layer(tar: Path) -> tuple[Package, ...]:
    """Of a layer as from a registry: read again where links made a file interesting."""
    job = LayerJob(lambda: FileBlob(tar), Digest.of(tar.read_bytes()), tar.stat().st_size)
    content = read_layers([job], PackageFiles(), threads=1, progress=None, guard=Guard(300))
    return assemble(merge(content), [LayerInfo("", "", 0)]).packages
