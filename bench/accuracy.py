"""Which packages Garrison lists in real images, beside the native tools, Trivy and Syft.

`python -m bench.accuracy` prints the tables of `docs/reference/accuracy.md`; `--write` puts them
into it. Every difference needs a reason: one without ends the run with 1. Trivy and Syft take
part when they are on PATH. `--large` adds the largest image of `bench.images`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from bench import images
from lab import distributions
from lab.image import Image, real
from lab.oci import decompress
from lab.process import program
from lab.truth import NpmPackage, Truth, look

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "accuracy.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_REMOVED = "removed"
TYPES = ("deb", "apk", "rpm", "pypi", "npm", "maven", "golang", "gem", "cargo")


class Key(NamedTuple):
    """A package as all tools can name it."""

    type: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Case:
    """An image. truth: what the native tools say, by type, and under `removed` what they keep
    only settings of."""

    title: str
    made: str
    layout: Path
    truth: Callable[[], Mapping[str, frozenset[Key]]]


@dataclass(slots=True)
class Found:
    """What a tool lists. positions: of Garrison's packages alone."""

    keys: set[Key] = field(default_factory=set)
    positions: dict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))


def cases(large: bool) -> list[Case]:
    """All images, built where they are missing."""
    debian, slim = images.image("a"), real()
    found = [
        Case(
            "Debian 12",
            "debootstrap, minbase",
            debian.oci,
            lambda: _debian_truth(_unpacked(debian)),
        ),
        Case(
            "Debian 12 with Python and npm",
            "five layers: apt, pip, npm, then removals and upgrades (`lab/image.py`)",
            slim.oci,
            lambda: _debian_truth(slim.truth),
        ),
        _made(
            "Distroless",
            "Debian packages unpacked, `status.d` alone; one without md5sums",
            distributions.distroless(),
        ),
        _made(
            "Alpine 3.20",
            "apk's database written by its documented form; apk-tools cannot be had on Debian",
            distributions.alpine(),
        ),
        _made("Rocky Linux 9, sqlite", "rpmbuild, rpm --root", distributions.rocky("sqlite")),
        _made(
            "Rocky Linux 9, Berkeley DB",
            "the same headers, written by `db5.3_load`",
            distributions.rocky("bdb"),
        ),
    ]
    if large:
        big = images.image("c")
        found.append(
            Case(
                "Debian 12, large",
                "nine layers of `bench/images.py`: 270 packages of PyPI, 3,000 of npm, jars, a Go"
                " program",
                big.oci,
                lambda: _debian_truth(_unpacked(big)),
            )
        )
    return found


def _made(title: str, made: str, image: Image) -> Case:
    def listed() -> Mapping[str, frozenset[Key]]:
        return _by_type(Key(p.type, p.name, p.version) for p in distributions.truth(image))

    return Case(title, made, image.oci, listed)


def _debian_truth(truth: Truth) -> Mapping[str, frozenset[Key]]:
    listed = _by_type(
        [
            *(Key("deb", p.name, p.version) for p in truth.debian),
            *(Key("pypi", _pypi(p.name), p.version) for p in truth.python),
            *(Key("npm", p.name, p.version) for p in truth.npm),
        ]
    )
    return {**listed, _REMOVED: frozenset(Key("deb", p.name, p.version) for p in truth.removed)}


def _by_type(keys: Iterable[Key]) -> Mapping[str, frozenset[Key]]:
    found: dict[str, set[Key]] = defaultdict(set)
    for key in keys:
        found[key.type].add(key)
    return {type: frozenset(each) for type, each in found.items()}


def _unpacked(image: Image) -> Truth:
    """The native tools' word on an image whose truth was not kept: its layers are unpacked."""
    with tempfile.TemporaryDirectory(dir=image.directory) as scratch:
        root = Path(scratch).resolve() / "root"  # npm prints real paths
        root.mkdir()
        manifest = _manifest(image.oci)
        for layer in manifest["layers"]:
            blob = image.oci / "blobs" / layer["digest"].replace(":", "/")
            tar = Path(scratch) / "layer.tar"
            kind = "zstd" if "zstd" in layer["mediaType"] else "gzip"
            with blob.open("rb") as packed, tar.open("wb") as out:
                shutil.copyfileobj(decompress(packed, kind), out, 1 << 20)  # type: ignore[arg-type]
            _apply(tar, root)
        seen = look(root)
        return replace(seen, npm=tuple(_npm_everywhere(root)))


def _npm_everywhere(root: Path) -> Iterator[NpmPackage]:
    """`npm ls` in every folder in which npm installed, not only in the lab's own project."""
    for folder in sorted(root.rglob("node_modules")):
        project = folder.parent
        if "node_modules" not in project.parts and (project / "package.json").exists():
            argv = [program("npm"), "ls", "--all", "--parseable", "--long"]
            done = subprocess.run(
                argv, cwd=project, capture_output=True, text=True, check=False, timeout=600
            )
            for line in done.stdout.splitlines():
                path, _, rest = line.partition(":")
                name, _, version = rest.partition(":")[0].rpartition("@")
                yield NpmPackage(name, version, path)


def _apply(tar: Path, root: Path) -> None:
    """GNU tar knows no whiteouts: they go first."""
    names = subprocess.run(
        ["tar", "-tf", tar], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for mark in (Path(name) for name in names):
        if not mark.name.startswith(".wh."):
            continue
        folder = root / mark.parent
        if mark.name == ".wh..wh..opq":
            victims = list(folder.iterdir()) if folder.is_dir() else []
        else:
            victims = [folder / mark.name.removeprefix(".wh.")]
        for victim in victims:
            if victim.is_dir() and not victim.is_symlink():
                shutil.rmtree(victim)
            else:
                victim.unlink(missing_ok=True)
    subprocess.run(
        ["tar", "-xf", tar, "-C", root, "--exclude=.wh.*", "--keep-directory-symlink"], check=True
    )


# The tools


def garrison(layout: Path) -> Found:
    """What `garrison sbom` lists; what it calls not installed is told by its position."""
    argv = [sys.executable, "-m", "garrison", "sbom", "--json", "--no-cache", f"oci:{layout}"]
    document = json.loads(_run([*argv, "--platform", "linux/amd64"]))
    found = Found()
    for package in document["packages"]:
        key = _key(package["type"], package["name"], package["version"])
        found.keys.add(key)
        found.positions[key].add(package["position"])
    return found


def trivy(layout: Path) -> Found:
    """What `trivy image` lists, with no database touched."""
    with tempfile.TemporaryDirectory() as cache:
        _empty_java_database(Path(cache))
        argv = ["trivy", "image", "--cache-dir", cache, "--quiet", "--offline-scan"]
        argv += ["--skip-java-db-update", "--format", "cyclonedx", "--input", str(layout)]
        document = json.loads(_run(argv))
    found = Found()
    for component in document.get("components", []):
        properties = {
            each["name"].rpartition(":")[2]: each["value"]
            for each in component.get("properties", [])
        }
        kind = _TRIVY_TYPES.get(properties.get("PkgType", ""))
        if kind:
            group = component.get("group", "")
            joint = ":" if kind == "maven" else "/"
            name = f"{group}{joint}{component['name']}" if group else component["name"]
            found.keys.add(_key(kind, name, component.get("version", "")))
    return found


def syft(layout: Path) -> Found:
    """What `syft scan` lists."""
    document = json.loads(_run(["syft", "scan", f"oci-dir:{layout}", "-q", "-o", "syft-json"]))
    found = Found()
    for artifact in document["artifacts"]:
        kind = _SYFT_TYPES.get(artifact["type"], artifact["type"])
        name = artifact["name"]
        if kind == "maven":
            group = (artifact.get("metadata") or {}).get("pomProperties", {}).get("groupId", "")
            name = f"{group}:{name}" if group else name
        found.keys.add(_key(kind, name, artifact["version"]))
    return found


_TRIVY_TYPES = {
    **dict.fromkeys(("debian", "ubuntu"), "deb"),
    **dict.fromkeys(("alpine", "wolfi", "chainguard"), "apk"),
    **dict.fromkeys(("rocky", "redhat", "alma", "centos", "fedora"), "rpm"),
    "python-pkg": "pypi",
    "node-pkg": "npm",
    "jar": "maven",
    "gobinary": "golang",
    "gemspec": "gem",
    "rustbinary": "cargo",
}
_SYFT_TYPES = {
    "python": "pypi",
    "java-archive": "maven",
    "go-module": "golang",
    "rust-crate": "cargo",
}


def _key(type: str, name: str, version: str) -> Key:
    """Spelled alike: `v1.19.8` and `go1.19.8`, epochs of 0, names of PyPI, jars by their name."""
    if type == "pypi":
        name = _pypi(name)
    elif type == "rpm":
        version = version.removeprefix("0:")
    elif type == "golang":
        version = version.removeprefix("go").removeprefix("v")
    elif type == "maven":
        name = name.rpartition(":")[2]
    return Key(type, name, version)


def _pypi(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _empty_java_database(cache: Path) -> None:
    """Without one Trivy stops at the first jar."""
    import sqlite3

    folder = cache / "java-db"
    folder.mkdir()
    connection = sqlite3.connect(folder / "trivy-java.db")
    connection.execute("CREATE TABLE artifacts(id INTEGER, group_id TEXT, artifact_id TEXT)")
    connection.execute(
        "CREATE TABLE indices(artifact_id INTEGER, version TEXT, sha1 BLOB, archive_type TEXT)"
    )
    connection.commit()
    connection.close()
    (folder / "metadata.json").write_text(
        '{"Version": 1, "NextUpdate": "2099-01-01T00:00:00Z", "UpdatedAt":'
        ' "2026-01-01T00:00:00Z", "DownloadedAt": "2026-01-01T00:00:00Z"}'
    )


def _run(argv: Sequence[str]) -> str:
    environment = {**os.environ, "SYFT_CHECK_FOR_APP_UPDATE": "false"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def _manifest(layout: Path) -> dict[str, Any]:
    def read(digest: str) -> dict[str, Any]:
        text = (layout / "blobs" / digest.replace(":", "/")).read_text()
        document: dict[str, Any] = json.loads(text)
        return document

    document = read(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])
    return read(document["manifests"][0]["digest"]) if "manifests" in document else document


def flat(layout: Path, target: Path) -> Path:
    """The same layout with one manifest on top and no index in between, which Syft cannot read."""
    shutil.copytree(layout, target, copy_function=os.link)
    file = target / "index.json"
    index = json.loads(file.read_text())
    digest = index["manifests"][0]["digest"]
    document = json.loads((layout / "blobs" / digest.replace(":", "/")).read_text())
    if "manifests" in document:
        file.unlink()
        file.write_text(json.dumps({**index, "manifests": [document["manifests"][0]]}))
    return target


# What differs, and why


def reason(
    key: Key, tool: str, missing: bool, listed: Found, removed: frozenset[Key] = frozenset()
) -> str:
    """Why `tool` lists what the native tool does not, or leaves out what it lists; "" if unknown.

    listed: Garrison's answer, which says where each package lies. removed: see `Case`.
    """
    positions = listed.positions.get(key, set())
    if missing:
        if tool == "Trivy" and "owned" in positions:
            return "files of a distribution package, which Trivy leaves out"
        return ""
    if key in removed and tool != "Garrison":
        return "removed: dpkg keeps only its settings (state `config-files`)"
    if tool == "Syft" and (not key.version or key.version == "UNKNOWN"):
        return "a `package.json` without a version"
    if tool == "Syft" and key.type == "binary":
        return "guessed from a program's text; the distribution's package is listed as well"
    if tool == "Syft" and key.type not in TYPES:
        return f"of a kind that Garrison does not read (`{key.type}`)"
    for position, why in _POSITIONS.items():
        if position in positions:
            return why if tool == "Garrison" else why.partition(":")[0]
    return ""


_POSITIONS = {
    "owned": "files of a distribution package: listed as `owned`, matched as that package alone",
    "vendored": "inside another package, with metadata of its own: listed as `vendored`",
    "loose": "where no package manager installs: listed as `loose`",
    "installed": "installed, in a place or by a manager that the native tool was not asked about",
}


def compare(case: Case, tools: Mapping[str, Callable[[Path], Found]]) -> tuple[str, int]:
    """A section of the page, and how many differences nobody can explain."""
    truth = case.truth()
    with tempfile.TemporaryDirectory(dir=case.layout.parent) as scratch:
        layout = flat(case.layout, Path(scratch) / "oci")
        found = {name: tool(layout) for name, tool in tools.items()}
    types = [
        t for t in TYPES if t in truth or any(k.type == t for f in found.values() for k in f.keys)
    ]
    lines = [f"### {case.title}", "", f"Made by: {case.made}.", ""]
    lines.append(f"| | native | {' | '.join(found)} |")
    lines.append("|---|---|" + "---|" * len(found))
    why: Counter[tuple[str, str, str, bool]] = Counter()
    examples: dict[tuple[str, str, str, bool], Key] = {}
    unknown: list[str] = []
    for type in types:
        cells = []
        expected = truth.get(type)
        for name, answer in found.items():
            own = {key for key in answer.keys if key.type == type}
            if expected is None:
                cells.append(str(len(own)))
                continue
            missing, more = expected - own, own - expected
            cells.append(_cell(len(own), len(missing), len(more)))
            for key, lacks in [*((k, True) for k in missing), *((k, False) for k in more)]:
                text = reason(key, name, lacks, found["Garrison"], truth.get(_REMOVED, frozenset()))
                if not text:
                    unknown.append(f"{name} {'lacks' if lacks else 'has'} {' '.join(key)}")
                slot = (name, type, text, lacks)
                why[slot] += 1
                examples[slot] = min(key, examples.get(slot, key))
        count = "-" if expected is None else str(len(expected))
        lines.append(f"| {type} | {count} | {' | '.join(cells)} |")
    others = _others(found, types)
    lines.append("")
    for (name, type, text, lacks), number in sorted(why.items()):
        verb = "leaves out" if lacks else "adds"
        example = examples[(name, type, text, lacks)]
        lines.append(
            f"- {name} {verb} {number} {type}: {text or 'NOT EXPLAINED'}"
            f" (`{example.name} {example.version}`)"
        )
    lines += _peers(found, [t for t in types if t not in truth], unknown)
    lines += others
    for each in unknown:
        print(f"not explained: {case.title}: {each}", file=sys.stderr)
    return "\n".join([*lines, ""]), len(unknown)


def _peers(found: Mapping[str, Found], types: Sequence[str], unknown: list[str]) -> list[str]:
    """For types without a native tool: what only one of Garrison and a peer lists."""
    lines = []
    own = found["Garrison"]
    for name, answer in found.items():
        if name == "Garrison":
            continue
        for type in types:
            why: dict[str, list[Key]] = defaultdict(list)
            for key in sorted(k for k in own.keys - answer.keys if k.type == type):
                why[reason(key, name, True, own) or _ONLY_OURS.get((name, type), "")].append(key)
            for text, keys in why.items():
                if not text:
                    unknown += [f"{name} lacks {' '.join(key)}" for key in keys]
                shown = ", ".join(f"`{k.name} {k.version}`" for k in keys[:3])
                lines.append(f"- {name} leaves out {len(keys)} {type}: {text or '?'} ({shown})")
            lacking = sorted(k for k in answer.keys - own.keys if k.type == type)
            theirs: dict[str, list[Key]] = defaultdict(list)
            for key in lacking:
                unnamed = name == "Syft" and key.version in ("", "UNKNOWN")
                theirs[_UNVERSIONED if unnamed else _ONLY_THEIRS.get((name, type), "")].append(key)
            for text, keys in theirs.items():
                if not text:
                    unknown += [f"only {name} has {' '.join(key)}" for key in keys]
                shown = ", ".join(f"`{k.name} {k.version}`" for k in keys[:3])
                lines.append(f"- {name} alone lists {len(keys)} {type}: {text or '?'} ({shown})")
    return lines


_UNVERSIONED = "without a version, so that nothing can be said of it"
_ONLY_THEIRS = {
    ("Syft", "maven"): "named by the manifest's title; Garrison goes by the files' names",
    ("Syft", "golang"): "a program built without modules, named by its folder; its version is"
    " guessed from the linker's flags",
}
_ONLY_OURS = {
    ("Trivy", "maven"): "jars without `pom.properties`: Trivy knows them by a database of sums"
    " alone, which is left out here; Garrison goes by the manifest and the file's name",
    ("Syft", "maven"): "named by the manifest's title; Garrison goes by the files' names",
}


def _others(found: Mapping[str, Found], types: Sequence[str]) -> list[str]:
    lines = []
    for name, answer in found.items():
        rest = Counter(key.type for key in answer.keys if key.type not in types)
        for type, number in sorted(rest.items()):
            example = min(key for key in answer.keys if key.type == type)
            text = reason(example, name, False, found["Garrison"])
            lines.append(
                f"- {name} adds {number} {type}: {text} (`{example.name} {example.version}`)"
            )
    return lines


def _cell(count: int, missing: int, more: int) -> str:
    marks = [f"{sign}{number}" for sign, number in (("−", missing), ("+", more)) if number]
    return f"{count} ({', '.join(marks)})" if marks else str(count)


def _versions(tools: Iterable[str]) -> str:
    """What took part, each with its version."""
    found = [f"Garrison {importlib.metadata.version('garrison')}"]
    for name in tools:
        if name != "Garrison":
            number = re.search(r"\d+\.\d+\.\d+", _run([name.lower(), "--version"]))
            found.append(f"{name} {number[0] if number else ''}".strip())
    return ", ".join(found)


def main() -> None:
    """Compare, print, and end with 1 where a difference has no reason."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    parser.add_argument("--large", action="store_true")
    given = parser.parse_args()
    tools: dict[str, Callable[[Path], Found]] = {"Garrison": garrison}
    for name, tool in (("Trivy", trivy), ("Syft", syft)):
        if shutil.which(name.lower()):
            tools[name] = tool
        else:
            print(f"{name} is not on PATH", file=sys.stderr)
    sections, unknown = [], 0
    for case in cases(given.large):
        section, number = compare(case, tools)
        print(section)
        sections.append(section)
        unknown += number
    if given.write:
        text = PAGE.read_text()
        head, _, rest = text.partition(BEGIN)
        tail = rest.partition(END)[2]
        sections.insert(0, f"Measured with {_versions(tools)}.\n")
        PAGE.write_text(f"{head}{BEGIN}\n\n{chr(10).join(sections)}\n{END}{tail}")
    sys.exit(1 if unknown else 0)


if __name__ == "__main__":
    main()
