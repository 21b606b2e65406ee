"""How long a scan takes, what it costs, and how far that is from the least possible.

`python -m bench.scan` reads the lab's real image from a layout and from Debian's docker-registry
on loopback, plain HTTP. Every round runs each program once, in turn, each a process of its own;
what counts is the kernel's accounting of it. "drain" is the limit: the same bytes fetched,
hashed and decompressed by the same libraries in as many threads, and nothing read in them.
Trivy and Syft take part when they are on PATH; both only list packages then.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from lab.image import CACHE, Image, real
from lab.process import Process, program
from lab.wait import until

CHUNK = 1 << 20
READ = 256 << 10
REPOSITORY = "bench/image"


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process. Seconds and MiB."""

    wall: float
    cpu: float
    peak: float


@dataclass(frozen=True, slots=True)
class Contender:
    """A program to measure. name: as in the table."""

    name: str
    argv: Sequence[str]


def measure(argv: Sequence[str]) -> Run:
    """Run `argv` to its end. Raises RuntimeError: it failed."""
    began = time.perf_counter()
    process = subprocess.Popen(
        list(argv), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_environment()
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {process.returncode}: {errors.decode()}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": tempfile.gettempdir(),
        "SYFT_CHECK_FOR_APP_UPDATE": "false",
        "SYFT_REGISTRY_INSECURE_USE_HTTP": "true",
    }


def contenders(source: str, reference: str, threads: int, caches: Path) -> list[Contender]:
    """Who takes part in reading `reference`, a layout's folder or HOST/REPOSITORY:TAG."""
    local = source == "oci"
    text = f"oci:{reference}" if local else reference
    plain = [] if local else ["--plain-http"]
    found = [
        Contender("garrison", [sys.executable, "-m", "garrison", "sbom", "--json", *plain, text]),
        Contender(
            "drain",
            [sys.executable, "-m", "bench.scan", "--drain", text, "--threads", str(threads)],
        ),
    ]
    if trivy := shutil.which("trivy"):
        given = ["--input", reference] if local else ["--image-src", "remote", reference]
        found.append(
            Contender(
                "trivy",
                [
                    *("sh", "-c", 'rm -rf "$1"; shift; exec "$@"', "sh", str(caches / "trivy")),
                    *(trivy, "image", "--cache-dir", str(caches / "trivy"), "--quiet"),
                    *("--offline-scan", "--skip-java-db-update", "--format", "cyclonedx"),
                    *("--insecure", *given),
                ],
            )
        )
    if syft := shutil.which("syft"):
        where = f"oci-dir:{reference}" if local else f"registry:{reference}"
        found.append(Contender("syft", [syft, "scan", where, "-q", "-o", "syft-json"]))
    return found


def compare(title: str, programs: Sequence[Contender], rounds: int) -> None:
    """Run all in turn, the first round not counted, and print a table."""
    runs: dict[str, list[Run]] = {each.name: [] for each in programs}
    for number in range(rounds + 1):
        for each in programs:
            done = measure(each.argv)
            if number:
                runs[each.name].append(done)
    print(f"\n{title}: medians of {rounds}")
    print(
        f"{'':10} {'wall s':>8} {'CPU s':>8} {'peak MiB':>9} {'garrison x wall':>16} {'x CPU':>7}"
    )
    base = _medians(runs["garrison"])
    for name, finished in runs.items():
        median = _medians(finished)
        ratios = f"{base.wall / median.wall:16.2f} {base.cpu / median.cpu:7.2f}"
        print(f"{name:10} {median.wall:8.3f} {median.cpu:8.3f} {median.peak:9.0f} {ratios}")


def _medians(runs: Sequence[Run]) -> Run:
    return Run(
        *(statistics.median(getattr(run, name) for run in runs) for name in ("wall", "cpu", "peak"))
    )


# The limit


def drain(text: str, threads: int) -> None:
    """Fetch, hash and decompress every layer, and look at nothing."""
    waiting = sorted(_layers(text), key=lambda layer: layer[1])

    def work() -> None:
        while True:
            try:
                digest, _ = waiting.pop()
            except IndexError:
                return
            _drain_one(text, digest)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


class _Hashed:
    def __init__(self, source: object) -> None:
        self._readinto = source.readinto  # type: ignore[attr-defined]
        self.hash = hashlib.sha256()

    def readinto(self, buffer: memoryview) -> int:
        count: int = self._readinto(buffer)
        self.hash.update(memoryview(buffer)[:count])
        return count

    def read(self, size: int = -1) -> bytes:
        buffer = bytearray(READ if size < 0 else size)
        return bytes(buffer[: self.readinto(memoryview(buffer))])


def _drain_one(text: str, digest: str) -> None:
    with _open(text, digest) as (source, head):
        hashed = _Hashed(source)
        if head[:4] == b"\x28\xb5\x2f\xfd":
            import zstandard

            stream = zstandard.ZstdDecompressor().stream_reader(
                cast(BinaryIO, hashed), read_size=READ
            )
            readinto: Callable[[memoryview], int] = stream.readinto
        else:
            from isal.isal_zlib import _GzipReader

            readinto = _GzipReader(cast(BinaryIO, hashed), READ).readinto
        buffer = memoryview(bytearray(CHUNK))
        while readinto(buffer):
            pass
        while hashed.readinto(buffer):
            pass
    if f"sha256:{hashed.hash.hexdigest()}" != digest:
        raise SystemExit(f"wrong digest: {digest}")


class _Seen:
    """A response whose first bytes are known."""

    def __init__(self, head: bytes, rest: http.client.HTTPResponse) -> None:
        self._head, self._rest = head, rest

    def readinto(self, buffer: memoryview) -> int:
        if self._head:
            count = len(self._head)
            memoryview(buffer)[:count] = self._head
            self._head = b""
            return count
        return self._rest.readinto(buffer)


@contextlib.contextmanager
def _open(text: str, digest: str) -> Iterator[tuple[object, bytes]]:
    if text.startswith("oci:"):
        path = Path(text[4:]) / "blobs" / digest.replace(":", "/")
        with path.open("rb", buffering=0) as file:
            head = file.read(4)
            file.seek(0)
            yield file, head
        return
    host, _, rest = text.partition("/")
    connection = http.client.HTTPConnection(host)
    connection.request("GET", f"/v2/{rest.partition(':')[0]}/blobs/{digest}")
    response = connection.getresponse()
    head = response.read(4)
    yield _Seen(head, response), head
    connection.close()


def _layers(text: str) -> list[tuple[str, int]]:
    """Digest and size of each layer of the first image there."""
    if text.startswith("oci:"):
        folder = Path(text[4:])

        def get(digest: str) -> bytes:
            return (folder / "blobs" / digest.replace(":", "/")).read_bytes()

        document = json.loads((folder / "index.json").read_bytes())
    else:
        host, _, rest = text.partition("/")
        repository, _, tag = rest.partition(":")

        def get(digest: str) -> bytes:
            connection = http.client.HTTPConnection(host)
            kinds = "application/vnd.oci.image.manifest.v1+json"
            connection.request(
                "GET", f"/v2/{repository}/manifests/{digest}", headers={"Accept": kinds}
            )
            return connection.getresponse().read()

        document = json.loads(get(tag))
    while "manifests" in document:
        document = json.loads(get(document["manifests"][0]["digest"]))
    return [(layer["digest"], layer["size"]) for layer in document["layers"]]


def _flat(image: Image, folder: Path) -> Path:
    """The same layout with its first image alone: not every program finds it in an index."""
    flat = folder / "layout"
    flat.mkdir()
    (flat / "blobs").symlink_to(image.oci / "blobs")
    (flat / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    document = json.loads((image.oci / "index.json").read_text())
    while True:
        first = document["manifests"][0]
        data = (image.oci / "blobs" / first["digest"].replace(":", "/")).read_text()
        if "manifests" not in json.loads(data):
            break
        document = json.loads(data)
    (flat / "index.json").write_text(json.dumps({**document, "manifests": [first]}))
    return flat


# The registry


@contextlib.contextmanager
def registry(image: Image) -> Iterator[str]:
    """Debian's docker-registry on loopback with `image`: its reference."""
    with tempfile.TemporaryDirectory(prefix="bench-registry-") as name:
        folder = Path(name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            host = f"127.0.0.1:{probe.getsockname()[1]}"
        settings = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": host},
        }
        (folder / "config.yml").write_text(json.dumps(settings))
        argv = [program("docker-registry"), "serve", str(folder / "config.yml")]
        with Process.start(argv, directory=folder, name="registry") as process:
            until(lambda: _answers(host), timeout=20, what="docker-registry", alive=process.check)
            _push(host, image.oci)
            yield f"{host}/{REPOSITORY}:1"


def _answers(host: str) -> bool:
    try:
        connection = http.client.HTTPConnection(host, timeout=2)
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except OSError:
        return False


def _push(host: str, layout: Path) -> None:
    top = json.loads((layout / "index.json").read_text())["manifests"][0]
    blob = layout / "blobs"
    data = (blob / top["digest"].replace(":", "/")).read_bytes()
    document = json.loads(data)
    if "manifests" in document:
        top = document["manifests"][0]
        data = (blob / top["digest"].replace(":", "/")).read_bytes()
        document = json.loads(data)
    for each in (document["config"], *document["layers"]):
        place = _ask(host, "POST", f"/v2/{REPOSITORY}/blobs/uploads/").headers["Location"]
        path = place.removeprefix(f"http://{host}")
        # Not read whole: the kernel counts our own peak for every child.
        with (blob / each["digest"].replace(":", "/")).open("rb") as body:
            _ask(host, "PUT", f"{path}&digest={each['digest']}", body, "application/octet-stream")
    _ask(host, "PUT", f"/v2/{REPOSITORY}/manifests/1", data, top["mediaType"])


def _ask(
    host: str, method: str, path: str, body: bytes | BinaryIO = b"", kind: str = ""
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(host)
    headers = {"Content-Type": kind} if kind else {}
    if not isinstance(body, bytes):
        headers["Content-Length"] = str(os.fstat(body.fileno()).st_size)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"the registry answered {answer.status} to {method} {path}")
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", type=Path, help="an OCI layout instead of the lab's image")
    parser.add_argument("--drain", metavar="IMAGE", help="only read IMAGE to its end")
    given = parser.parse_args()
    if given.drain:
        drain(given.drain, given.threads)
        return
    image = Image(given.layout.parent) if given.layout else real()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=CACHE) as name:
        caches = Path(name)
        sized = sum(size for _, size in _layers(f"oci:{image.oci}")) / 1e6
        print(f"{image.oci}: {sized:.0f} MB compressed")
        there = contenders("oci", str(_flat(image, caches)), given.threads, caches)
        compare("layout", there, given.rounds)
        with registry(image) as reference:
            there = contenders("registry", reference, given.threads, caches)
            compare("registry on loopback", there, given.rounds)


if __name__ == "__main__":
    main()
