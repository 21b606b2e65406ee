"""What a connection through a proxy costs, beside curl: `python -m bench.egress`.

One Squid, one nginx (TLS 1.3), both Debian's, on loopback. Each round measures everybody once, in
turn, the order changing from round to round; a ratio is the median of the rounds' own ratios, so
that what disturbs a round disturbs both sides of it. curl's time is that of its process less what
curl takes to start and end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from garrison.egress import EgressError, Kept, ProxySettings, open_body
from garrison.egress.http import EgressClient
from lab.authority import Authority
from lab.process import Process, program
from lab.squid import Squid
from lab.wait import until

NAME = "origin.test"
BIG = 200 << 20
SMALL = 1400
CONNECTIONS, REQUESTS, AT_ONCE = 100, 2000, 20

LIMITS = {"200 MB": 1.05, "new connection": 1.3, "2,000 requests": 1.5, "20 at a time": 1.6}
"""Our time over curl's, at most."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where everybody goes. ca: PEM file. sink: a folder in memory."""

    proxy: str
    origin: str
    ca: Path
    sink: Path

    @property
    def settings(self) -> ProxySettings:
        return ProxySettings.build(http_proxy=self.proxy, ca=self.ca.read_text())


# --- curl -----------------------------------------------------------------------------------


def curl(place: Place, *more: str) -> float:
    """Seconds of a curl process. Raises RuntimeError: it failed."""
    argv = [program("curl"), "--silent", "--show-error", "--fail", "--http1.1"]
    argv += ["--no-sessionid", "--proxy", place.proxy, "--cacert", str(place.ca), *more]
    began = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"curl: {done.returncode}: {done.stderr}")
    return took


def curl_start() -> float:
    began = time.perf_counter()
    subprocess.run([program("curl"), "--version"], capture_output=True, check=True)
    return time.perf_counter() - began


def curl_big(place: Place) -> float:
    out = place.sink / "curl"
    took = curl(place, "--output", str(out), f"{place.origin}/big") - curl_start()
    assert out.stat().st_size == BIG
    out.unlink()
    return took


def curl_new(place: Place) -> float:
    urls = f"{place.origin}/small?[1-{CONNECTIONS}]"
    return (
        curl(place, "--header", "Connection: close", "--output", "/dev/null", urls) - curl_start()
    ) / CONNECTIONS


def curl_small(place: Place) -> float:
    urls = f"{place.origin}/small?[1-{REQUESTS}]"
    return curl(place, "--output", "/dev/null", urls) - curl_start()


def curl_parallel(place: Place) -> float:
    urls = f"{place.origin}/small?[1-{REQUESTS}]"
    parallel = ["--parallel", "--parallel-immediate", "--parallel-max", str(AT_ONCE)]
    return curl(place, *parallel, "--output", "/dev/null", urls) - curl_start()


# --- ours -----------------------------------------------------------------------------------


def timed(work: Callable[[EgressClient, Place], Awaitable[None]]) -> Callable[[Place], float]:
    """Seconds of `work` on uvloop, as the Console and a Defender run it."""

    def run(place: Place) -> float:
        async def main() -> float:
            client = EgressClient(place.settings)
            try:
                began = time.perf_counter()
                await work(client, place)
                return time.perf_counter() - began
            finally:
                await client.aclose()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())

    return run


async def big(client: EgressClient, place: Place) -> None:
    out = place.sink / "ours"
    with out.open("wb", buffering=0) as file:
        async with client.stream("GET", f"{place.origin}/big", purpose="intel") as answer:
            async for chunk in answer.chunks():
                file.write(chunk)
    assert out.stat().st_size == BIG
    out.unlink()


async def new(client: EgressClient, place: Place) -> None:
    for n in range(CONNECTIONS):
        answer = await client.request(
            "GET", f"{place.origin}/small?{n}", purpose="intel", headers={"Connection": "close"}
        )
        assert len(answer.body) == SMALL


async def small(client: EgressClient, place: Place) -> None:
    for n in range(REQUESTS):
        answer = await client.request("GET", f"{place.origin}/small?{n}", purpose="intel")
        assert len(answer.body) == SMALL


async def parallel(client: EgressClient, place: Place) -> None:
    numbers = iter(range(REQUESTS))

    async def worker() -> None:
        for n in numbers:
            answer = await client.request("GET", f"{place.origin}/small?{n}", purpose="intel")
            assert len(answer.body) == SMALL

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def blocking_big(place: Place) -> float:
    out, buffer = place.sink / "blocking", bytearray(256 << 10)
    began = time.perf_counter()
    with (
        out.open("wb", buffering=0) as file,
        open_body(f"{place.origin}/big", place.settings, purpose="registry") as body,
    ):
        view = memoryview(buffer)
        while n := body.readinto(buffer):
            file.write(view[:n])
    took = time.perf_counter() - began
    assert out.stat().st_size == BIG
    out.unlink()
    return took


def blocking_new(place: Place) -> float:
    found = place.settings
    began = time.perf_counter()
    for n in range(CONNECTIONS):
        url = f"{place.origin}/small?{n}"
        headers = {"Connection": "close"}
        with open_body(url, found, purpose="registry", headers=headers) as body:
            assert len(body.read()) == SMALL
    return (time.perf_counter() - began) / CONNECTIONS


def blocking_small(place: Place) -> float:
    found, kept = place.settings, Kept()
    began = time.perf_counter()
    for n in range(REQUESTS):
        with open_body(f"{place.origin}/small?{n}", found, purpose="registry", kept=kept) as body:
            assert len(body.read()) == SMALL
    took = time.perf_counter() - began
    kept.close()
    return took


MEASURES: dict[str, tuple[Callable[[Place], float], dict[str, Callable[[Place], float]]]] = {
    "200 MB": (curl_big, {"garrison": timed(big), "blocking": blocking_big}),
    "new connection": (
        curl_new,
        {
            "garrison": lambda place: timed(new)(place) / CONNECTIONS,
            "blocking": blocking_new,
        },
    ),
    "2,000 requests": (curl_small, {"garrison": timed(small), "blocking": blocking_small}),
    "20 at a time": (curl_parallel, {"garrison": timed(parallel)}),
}


def compare(place: Place, name: str, rounds: int) -> dict[str, Any]:
    """The ratio of each of ours to curl, and everybody's median seconds."""
    theirs, ours = MEASURES[name]
    everybody = {"curl": theirs, **ours}
    found: dict[str, list[float]] = {who: [] for who in everybody}
    for turn in range(rounds + 1):
        order = list(everybody)
        shift = turn % len(order)
        for who in order[shift:] + order[:shift]:
            took = everybody[who](place)
            if turn:  # the first round warms up
                found[who].append(took)
    return {
        "seconds": {who: statistics.median(times) for who, times in found.items()},
        "ratio": {
            who: statistics.median(
                mine / curls for mine, curls in zip(found[who], found["curl"], strict=True)
            )
            for who in ours
        },
        "limit": LIMITS[name],
    }


# --- a proxy that drips ---------------------------------------------------------------------


def drip(deadline: float) -> float:
    """Seconds until a dial is given up whose proxy sends a byte now and then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    for byte in b"HTTP/1.1 200 Connection established and a long reason":
                        connection.sendall(bytes([byte]))
                        time.sleep(0.05)

        threading.Thread(target=serve, daemon=True).start()
        found = ProxySettings.build(http_proxy=f"http://127.0.0.1:{listener.getsockname()[1]}")
        began = time.perf_counter()
        with contextlib.suppress(EgressError):
            open_body(f"https://{NAME}/", found, purpose="registry", timeout=deadline)
        return time.perf_counter() - began


# --- the two servers ------------------------------------------------------------------------


@contextlib.contextmanager
def servers() -> Iterator[Place]:
    """Squid and nginx, files in memory."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-egress-", dir=memory))
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "www").mkdir()
        block = os.urandom(1 << 20)
        with (folder / "www/big").open("wb") as file:
            for _ in range(BIG >> 20):
                file.write(block)
        (folder / "www/small").write_bytes(os.urandom(SMALL))
        (folder / "hosts").write_text(f"127.0.0.1 localhost {NAME}\n")
        for file_ in ("www", "www/big", "www/small", "hosts"):
            (folder / file_).chmod(0o755)
        authority = Authority(folder / "ca", "Bench CA")
        port = stack.enter_context(_nginx(folder, authority))
        squid = stack.enter_context(
            Squid(
                name="bench", directives=[f"hosts_file {folder}/hosts", "cache_log /dev/null"][:1]
            )
        )
        yield Place(squid.url, f"https://{NAME}:{port}", authority.certificate, folder)


@contextlib.contextmanager
def _nginx(folder: Path, authority: Authority) -> Iterator[int]:
    pair = authority.issue(NAME)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "nginx.conf").write_text(
        f"""daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 512; }}
http {{
 access_log off; sendfile on; keepalive_requests 1000000; default_type application/octet-stream;
 client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
 uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
 server {{
  listen 127.0.0.1:{port} ssl; root {folder}/www;
  ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};
  ssl_protocols TLSv1.3; ssl_session_tickets off;
 }}
}}
"""
    )
    argv = [program("nginx"), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with Process.start(argv, directory=folder, name="nginx") as process:

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(listens, timeout=20, what="nginx to listen", alive=process.check)
        yield port


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=list(MEASURES), action="append")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    # The system's store is read once for each set of CAs, not once for each connection.
    ssl.create_default_context()
    with servers() as place:
        found = {name: compare(place, name, given.rounds) for name in given.only or list(MEASURES)}
    late = statistics.median(drip(1.0) - 1.0 for _ in range(3))
    if given.json:
        print(json.dumps({"measures": found, "drip_overrun_seconds": late}))
    else:
        print(f"Through one Squid, medians of {given.rounds} paired rounds; x: time against curl")
        for name, one in found.items():
            seconds = ", ".join(f"{who} {took:.4f} s" for who, took in one["seconds"].items())
            ratios = ", ".join(f"{who} {ratio:.2f} x" for who, ratio in one["ratio"].items())
            print(f"{name:16} {ratios} (at most {one['limit']} x); {seconds}")
        print(f"a dripping proxy is given up {late * 1000:.0f} ms after its deadline")
    over = [name for name, one in found.items() if one["ratio"]["garrison"] > one["limit"]]
    return 1 if over else 0


if __name__ == "__main__":
    assert shutil.which("curl"), "curl is missing"
    sys.exit(main())
