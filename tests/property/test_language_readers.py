"""Whatever bytes stand where a language's packages are described: an answer or a refusal."""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from garrison.images import Again, FileError
from garrison.packages.readers import java
from garrison.packages.readers.executable import ExecutableSieve
from garrison.packages.readers.facts import Contents
from garrison.packages.readers.gems import read_gemspec
from garrison.packages.readers.locks import reader_for
from garrison.packages.readers.npm import read_package_json
from garrison.packages.readers.rust import read_list

DATA = Path(__file__).parents[1] / "data"


def jar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


PROPERTIES = b"groupId=g\nartifactId=a\nversion=1\n"
SMALL = jar({"META-INF/maven/g/a/pom.properties": PROPERTIES})
JAR = jar({"META-INF/MANIFEST.MF": b"Implementation-Version: 1\n", "lib/b-1.jar": SMALL})
CRATES = zlib.compress(json.dumps({"packages": [{"name": "a", "version": "1"}]}).encode())


def program(name: str) -> bytes:
    return lzma.decompress((DATA / "executables" / f"{name}.xz").read_bytes())


def through(sieve: java.JavaSieve | ExecutableSieve, data: bytes, chunk: int) -> object:
    for start in range(0, len(data), chunk):
        piece = bytearray(data[start : start + chunk])
        sieve.feed(piece, 0, len(piece))
    return sieve.facts()


def read_jar(data: bytes) -> object:
    return through(java.JavaSieve("a/x-1.jar", len(data)), data, 1000)


def read_large_jar(data: bytes) -> object:
    sieve = java.JavaSieve("a/x-1.jar", len(data))
    sieve._whole = None
    return through(sieve, data, 1000)


def read_program(data: bytes) -> object:
    facts = through(ExecutableSieve(len(data)), data, 50_000)
    if not isinstance(facts, Again):
        return facts
    again = facts.sieve()
    again.feed(bytearray(data), 0, len(data))
    return again.facts()


def lock(name: str) -> Callable[[bytes], object]:
    reader = reader_for(name)
    assert reader is not None
    return reader


def sample(path: str) -> bytes:
    return (DATA / "locks" / path).read_bytes()


READERS: dict[str, tuple[Callable[[bytes], object], Sequence[bytes]]] = {
    "jar": (read_jar, [JAR, SMALL]),
    "large-jar": (read_large_jar, [JAR, SMALL]),
    "gemspec": (read_gemspec, [b"# stub: a 1.0 ruby lib\n", b's.name = "a"\ns.version = "1"\n']),
    "package-json": (read_package_json, [b'{"name": "a", "version": "1.0.0"}']),
    "crates": (read_list, [CRATES]),
    "package-lock.json": (
        lock("package-lock.json"),
        [sample("node/package-lock.v1.json"), sample("node/package-lock.v3.json")],
    ),
    "yarn.lock": (
        lock("yarn.lock"), [sample("node/yarn.v1.lock"), sample("node/yarn.berry.lock")]
    ),
    "pnpm-lock.yaml": (
        lock("pnpm-lock.yaml"),
        [sample(f"node/pnpm-lock.v{version}.yaml") for version in (5, 6, 9)],
    ),
    "bun.lock": (lock("bun.lock"), [sample("node/bun.lock")]),
    "requirements.txt": (lock("requirements.txt"), [sample("python/requirements.txt")]),
    "uv.lock": (lock("uv.lock"), [sample("python/uv.lock")]),
    "poetry.lock": (lock("poetry.lock"), [b'[[package]]\nname = "a"\nversion = "1"\n']),
    "pdm.lock": (lock("pdm.lock"), [b'[[package]]\nname = "a"\nversion = "1"\ngroups = ["x"]\n']),
    "Pipfile.lock": (lock("Pipfile.lock"), [b'{"default": {"a": {"version": "==1"}}}']),
    "pylock.toml": (lock("pylock.toml"), [sample("python/pylock.toml")]),
    "Gemfile.lock": (lock("Gemfile.lock"), [b"GEM\n  specs:\n    a (1.0)\n      b (~> 1)\n"]),
    "go.mod": (lock("go.mod"), [sample("go.mod")]),
    "go.sum": (lock("go.sum"), [sample("go.sum")]),
    "Cargo.lock": (lock("Cargo.lock"), [sample("Cargo.lock")]),
    "gradle.lockfile": (lock("gradle.lockfile"), [b"a:b:1=compileClasspath\nempty=\n"]),
    "pom.xml": (
        lock("pom.xml"),
        [b"<project><properties><v>1</v></properties><dependencies><dependency>"
         b"<groupId>g</groupId><artifactId>a</artifactId><version>${v}</version>"
         b"</dependency></dependencies></project>"],
    ),
    "composer.lock": (lock("composer.lock"), [b'{"packages": [{"name": "a/b", "version": "1"}]}']),
    "packages.lock.json": (
        lock("packages.lock.json"), [b'{"dependencies": {"n": {"A": {"resolved": "1.0"}}}}']
    ),
}  # fmt: skip


def answers(read: Callable[[bytes], object], data: bytes) -> None:
    """A result that could be shown, or FileError."""
    with contextlib.suppress(FileError):
        facts = read(data)
        if isinstance(facts, Contents):
            for one in facts.packages:
                shown = (one.namespace, one.name, one.version, one.inside)
                assert all(text.isprintable() for text in shown), shown
                assert one.name


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A real file with some bytes changed, cut out or put in twice."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 40)))
        piece = draw(st.binary(max_size=8) | st.just(bytes(data[start:end]) * 2))
        data[start:end] = piece
    return bytes(data)


@pytest.mark.parametrize("name", sorted(READERS))
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_damaged_files_are_read_or_refused(name: str, data: st.DataObject) -> None:
    read, seeds = READERS[name]
    answers(read, data.draw(damaged(seeds) | st.binary(max_size=200)))


HEAD = program("go1.26-linux-amd64")[:70_000]
ELF_AND_MORE = (
    program("rust-linux-amd64"), HEAD, program("go1.26-windows-amd64")[:9000],
    program("go1.26-darwin-arm64")[:9000],
)  # fmt: skip


@given(
    number=st.integers(0, len(ELF_AND_MORE) - 1),
    changes=st.lists(
        st.tuples(st.integers(0, 700), st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF])), max_size=8
    ),
    tail=st.lists(st.tuples(st.integers(1, 2500), st.integers(0, 255)), max_size=4),
)
@settings(max_examples=40, deadline=None)
@example(number=0, changes=[], tail=[])
def test_programs_with_damaged_headers(
    number: int, changes: list[tuple[int, int]], tail: list[tuple[int, int]]
) -> None:
    """Headers that lie about sizes, places and counts; ELF's table is at the end."""
    data = bytearray(ELF_AND_MORE[number])
    for at, value in changes:
        data[at] = value
    for at, value in tail:
        data[-at] = value
    answers(read_program, bytes(data))
