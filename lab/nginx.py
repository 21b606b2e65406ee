"""Debian's nginx as a destination, or as a web server where a proxy should be."""

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab.authority import KeyPair
from lab.process import Process, program
from lab.wait import until


@contextlib.contextmanager
def nginx(pair: KeyPair | None = None, *, client_ca: Path | None = None) -> Iterator[int]:
    """Serve an empty folder on loopback; gives the port.

    pair: speak TLS with it. client_ca: want a client's certificate of this authority, and answer
    400 to whoever has none.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="lab-nginx-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "nginx.conf").write_text(_configuration(folder, port, pair, client_ca))
        argv = [program("nginx"), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
        with Process.start(argv, directory=folder, name="nginx") as process:
            until(lambda: _listens(port), timeout=20, what="nginx", alive=process.check)
            yield port


def _configuration(folder: Path, port: int, pair: KeyPair | None, client_ca: Path | None) -> str:
    server = [f"listen 127.0.0.1:{port}{' ssl' if pair else ''};", f"root {folder};"]
    if pair:
        server += [f"ssl_certificate {pair.certificate};", f"ssl_certificate_key {pair.key};"]
    if client_ca:
        server += [f"ssl_client_certificate {client_ca};", "ssl_verify_client on;"]
    places = [
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    return "\n".join(
        [
            f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;",
            "events { worker_connections 64; }",
            "http {",
            "access_log off;",
            *places,
            "server {",
            *server,
            "}",
            "}",
            "",
        ]
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
