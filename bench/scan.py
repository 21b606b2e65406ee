"""How long a scan takes, what it costs, and how far that is from the least possible.

`python -m bench.scan` reads the images of `bench.images` from Debian's docker-registry on
loopback, plain HTTP, and through a link of 1 Gbit/s. Every round runs each program once, in turn,
each a process of its own; what counts is the kernel's accounting of it. "drain" is the limit: the
same bytes fetched, hashed and decompressed by the same libraries in as many threads, and nothing
read in them. Trivy and Syft take part when they are on PATH; both only list packages, where
`garrison scan` matches all advisories of `../shared/data` as well. "again" is a second scan of
the same image with what the first one remembered.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import http.client
import http.server
import json
import os
import shutil
import socket
import sqlite3
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

from bench import images
from lab.image import CACHE, Image
from lab.process import Process, program, run
from lab.wait import until

CHUNK = 1 << 20
READ = 256 << 10
REPOSITORY = "bench/image"
ADVISORIES = Path(__file__).resolve().parents[2] / "shared" / "data" / "advisories"


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
    # 3: what was found is printed, but advisories for some of it are not in the sample.
    if process.returncode not in (0, 3):
        raise RuntimeError(f"{' '.join(argv)}: exit {process.returncode}: {errors.decode()}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": tempfile.gettempdir(),
        "SYFT_CHECK_FOR_APP_UPDATE": "false",
        "SYFT_REGISTRY_INSECURE_USE_HTTP": "true",
    }


def contenders(reference: str, threads: int, folder: Path, data: Path) -> list[Contender]:
    """Who takes part in reading `reference`, HOST/REPOSITORY:TAG.

    folder: for caches. data: a data directory with advisories.
    """
    scan = [sys.executable, "-m", "garrison", "scan", "--json", "--data", str(data)]
    scan += ["--plain-http", reference]
    drain = [sys.executable, "-m", "bench.scan", "--drain", reference, "--threads", str(threads)]
    found = [
        Contender("garrison", _cold(data / "cache", scan)),
        Contender("drain", drain),
        Contender("again", scan),
    ]
    if trivy := shutil.which("trivy"):
        cache = folder / "trivy"
        argv = [trivy, "image", "--cache-dir", str(cache), "--quiet", "--offline-scan"]
        argv += ["--skip-java-db-update", "--format", "cyclonedx", "--insecure"]
        argv += ["--image-src", "remote", reference]
        _java_database(folder / "java-db")
        found.append(Contender("trivy", _cold(cache, argv, folder / "java-db")))
        found.append(Contender("trivy again", argv))
    if syft := shutil.which("syft"):
        argv = [syft, "scan", f"registry:{reference}", "-q", "-o", "syft-json"]
        found.append(Contender("syft", argv))
    return found


def _cold(cache: Path, argv: Sequence[str], keep: Path | None = None) -> list[str]:
    """`argv` with an empty cache folder, but for `keep`."""
    script = 'rm -rf "$1"; [ -z "$2" ] || { mkdir -p "$1" && cp -r "$2" "$1"; }; '
    script += 'shift 2; exec "$@"'
    return ["sh", "-c", script, "sh", str(cache), str(keep or ""), *argv]


def _java_database(folder: Path) -> None:
    """What Trivy wants before it looks at a jar: here an empty one, as none can be fetched."""
    folder.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "trivy-java.db")) as database:
        database.executescript(
            "CREATE TABLE IF NOT EXISTS artifacts(id INTEGER PRIMARY KEY, group_id TEXT,"
            " artifact_id TEXT);"
            "CREATE TABLE IF NOT EXISTS indices(artifact_id INTEGER, version TEXT, sha1 BLOB,"
            " archive_type TEXT);"
        )
    far = "2099-01-01T00:00:00Z"
    metadata = {"Version": 1, "NextUpdate": far, "UpdatedAt": far, "DownloadedAt": far}
    (folder / "metadata.json").write_text(json.dumps(metadata))


@contextlib.contextmanager
def advisories(folder: Path) -> Iterator[Path]:
    """A data directory with all of `../shared/data/advisories`."""
    data = folder / "data"
    handler = functools.partial(_Quiet, directory=str(ADVISORIES))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {**_environment(), "GARRISON_DATA": str(data)}
        environment["GARRISON_INTEL_URL"] = f"http://127.0.0.1:{server.server_address[1]}"
        argv = [sys.executable, "-m", "garrison", "intel", "update"]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        server.shutdown()
    if done.returncode:
        raise RuntimeError(f"garrison intel update: {done.stderr}")
    yield data


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


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
        f"{'':12} {'wall s':>8} {'CPU s':>8} {'peak MiB':>9} {'garrison x wall':>16} {'x CPU':>7}"
    )
    base = _medians(runs["garrison"])
    for name, finished in runs.items():
        median = _medians(finished)
        ratios = f"{base.wall / median.wall:16.2f} {base.cpu / median.cpu:7.2f}"
        print(f"{name:12} {median.wall:8.3f} {median.cpu:8.3f} {median.peak:9.0f} {ratios}")


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


# The registry


@contextlib.contextmanager
def registry(image: Image, link: Link | None = None) -> Iterator[str]:
    """Debian's docker-registry with `image`, on loopback or behind `link`: its reference."""
    with tempfile.TemporaryDirectory(prefix="bench-registry-") as name:
        folder = Path(name)
        address, inside = (link.address, link.inside) if link else ("127.0.0.1", [])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            host = f"{address}:{probe.getsockname()[1]}"
        settings = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": host},
        }
        (folder / "config.yml").write_text(json.dumps(settings))
        argv = [*inside, program("docker-registry"), "serve", str(folder / "config.yml")]
        with Process.start(argv, directory=folder, name="registry") as process:
            until(lambda: _answers(host), timeout=20, what="docker-registry", alive=process.check)
            _push(host, image.oci)
            if link:
                link.limit()
            yield f"{host}/{REPOSITORY}:1"


class Link:
    """A network namespace behind a veth pair, whose way here carries RATE."""

    RATE = "1gbit"

    def __init__(self) -> None:
        self.name = f"bench-{os.getpid()}"
        self.address = f"10.213.{os.getpid() % 250}.2"
        self.inside = ["ip", "netns", "exec", self.name]
        self._here = f"bg{os.getpid()}"

    def __enter__(self) -> Link:
        gateway = self.address[:-1] + "1/24"
        run(["ip", "netns", "add", self.name])
        run(["ip", "link", "add", self._here, "type", "veth", "peer", "eth0", "netns", self.name])
        run(["ip", "address", "add", gateway, "dev", self._here])
        run(["ip", "link", "set", self._here, "up"])
        run([*self.inside, "ip", "address", "add", f"{self.address}/24", "dev", "eth0"])
        run([*self.inside, "ip", "link", "set", "eth0", "up"])
        return self

    def limit(self) -> None:
        """From now on the namespace sends no faster than RATE."""
        shape = ["tbf", "rate", self.RATE, "burst", "512kb", "latency", "50ms"]
        run([*self.inside, "tc", "qdisc", "add", "dev", "eth0", "root", *shape])

    def __exit__(self, *_: object) -> None:
        run(["ip", "netns", "delete", self.name], check=False)


def downloads(reference: str) -> Contender:
    """curl, fetching the same blobs two at a time and throwing them away."""
    host, _, rest = reference.partition("/")
    base = f"http://{host}/v2/{rest.partition(':')[0]}/blobs"
    argv = [program("curl"), "--silent", "--fail", "--parallel", "--parallel-max", "2"]
    for digest, _ in _layers(reference):
        argv += ["--output", "/dev/null", f"{base}/{digest}"]
    return Contender("curl", argv)


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
    parser.add_argument("--images", default="abc", help="which of a, b and c")
    parser.add_argument("--drain", metavar="IMAGE", help="only read IMAGE to its end")
    given = parser.parse_args()
    if given.drain:
        drain(given.drain, given.threads)
        return
    with tempfile.TemporaryDirectory(prefix="bench-", dir=CACHE) as name:
        folder = Path(name)
        with advisories(folder) as data:
            for each in given.images:
                image = images.image(each)
                with registry(image) as reference:
                    sized = sum(size for _, size in _layers(reference)) / 1e6
                    there = contenders(reference, given.threads, folder, data)
                    title = f"image {each}, {sized:.0f} MB, registry on loopback"
                    compare(title, there, given.rounds)
                if each == "b":
                    with Link() as link, registry(image, link) as reference:
                        there = contenders(reference, given.threads, folder, data)[:1]
                        title = f"image {each} through a link of {link.RATE}"
                        compare(title, [*there, downloads(reference)], given.rounds)


if __name__ == "__main__":
    main()
