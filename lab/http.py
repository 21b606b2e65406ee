"""A plain HTTP client in a namespace, for setting the scene and for looking from inside.

Not the product's: it knows no proxy.
"""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from lab.network import Namespace, Network


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def request(
    net: Network,
    namespace: Namespace,
    method: str,
    url: str,
    *,
    trust: Path | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | IO[bytes] | None = None,
    timeout: float = 60,
) -> Answer:
    """Send one request from a namespace, over a connection of its own.

    trust: PEM file of the only authority to accept.
    timeout: seconds for each step.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    sock = net.connect(namespace, host, port, timeout=timeout)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=None if trust is None else str(trust))
        sock = context.wrap_socket(sock, server_hostname=host)
    connection = HTTPConnection(host, port)
    connection.sock = sock
    try:
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        sent = {"Host": parts.netloc, **(headers or {})}
        connection.request(method, target, body=body, headers=sent)
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, received, response.read())
    finally:
        connection.close()
