"""Debian's docker-registry: anonymous, with Basic, or with a token server."""

import base64
import contextlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeAlias
from urllib.parse import urljoin

from lab.authority import Authority
from lab.errors import LabError
from lab.http import Answer, request
from lab.network import Namespace, Network
from lab.oci import DOCKER_INDEX, OCI_INDEX
from lab.process import Process, program, run
from lab.token_server import ISSUER, TokenServer

INDEXES = (OCI_INDEX, DOCKER_INDEX)
_ACCESS = re.compile(r'"[A-Z]+ \S+ HTTP/')


@dataclass(frozen=True, slots=True)
class Basic:
    """A registry that asks for one of these users; the first one pushes."""

    users: Mapping[str, str] = field(default_factory=lambda: {"ci": "s3cret/%"})
    realm: str = "ACME registry"


Auth: TypeAlias = Basic | TokenServer | None
"""How a registry asks who you are; a token server must be entered before the registry."""


class Registry:
    """A running docker-registry, in `outside` under the name `host`.

    tls: without it the registry speaks plain HTTP, as some in-house ones do.
    """

    def __init__(
        self,
        net: Network,
        authority: Authority,
        *,
        auth: Auth = None,
        host: str = "registry.test",
        port: int = 443,
        tls: bool = True,
        namespace: Namespace = "outside",
    ) -> None:
        self.net, self.authority, self.auth = net, authority, auth
        self.host, self.port, self.tls, self.namespace = host, port, tls, namespace
        self._stack = contextlib.ExitStack()
        self._process: Process | None = None
        self._tokens: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The registry part of an image reference."""
        standard = 443 if self.tls else 80
        return self.host if self.port == standard else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.name}"

    @property
    def process(self) -> Process:
        if self._process is None:
            raise LabError(f"{self.host} was not started")
        return self._process

    @property
    def users(self) -> Mapping[str, str]:
        """Names and passwords it knows."""
        return self.auth.users if self.auth else {}

    @property
    def requests(self) -> list[str]:
        """Its access log: one line per request, in the combined format."""
        return [line for line in self.process.text().splitlines() if _ACCESS.search(line)]

    def push(self, layout: Path, repository: str, tag: str) -> str:
        """Upload what an image layout holds and return its reference, `HOST/REPOSITORY:TAG`.

        layout: a folder with index.json, whose first entry is pushed with all it names.
        """
        top = json.loads((layout / "index.json").read_text())["manifests"][0]
        self._push_manifest(layout, repository, top, tag)
        return f"{self.name}/{repository}:{tag}"

    def request(
        self,
        method: str,
        path: str,
        *,
        scope: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | IO[bytes] | None = None,
    ) -> Answer:
        """One request from inside, signed in as whoever may push."""
        return request(
            self.net,
            self.namespace,
            method,
            urljoin(self.url, path),
            trust=self.authority.certificate,
            headers={**self._authorization(scope), **(headers or {})},
            body=body,
        )

    def __enter__(self) -> Self:
        with self._stack:
            directory = tempfile.TemporaryDirectory(prefix="lab-registry-")
            folder = Path(self._stack.enter_context(directory))
            settings = folder / "config.yml"
            # JSON is YAML.
            settings.write_text(json.dumps(self._settings(folder)))
            argv = [program("docker-registry"), "serve", str(settings)]
            self._process = self.net.popen(
                self.namespace, argv, directory=folder, name="registry", env={"HOME": str(folder)}
            )
            self._stack.enter_context(self._process)
            self.net.wait_port(self.namespace, self.host, self.port, self._process)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _settings(self, folder: Path) -> dict[str, Any]:
        address = self.net.addresses.get(self.host, "0.0.0.0")
        http: dict[str, Any] = {"addr": f"{address}:{self.port}", "host": self.url}
        if self.tls:
            pair = self.authority.issue(self.host)
            http["tls"] = {"certificate": str(pair.certificate), "key": str(pair.key)}
        settings: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(folder / "data")},
                "delete": {"enabled": True},
            },
            "http": http,
        }
        if isinstance(self.auth, Basic):
            file = folder / "htpasswd"
            file.write_text(
                "".join(_bcrypt(user, word) + "\n" for user, word in self.auth.users.items())
            )
            settings["auth"] = {"htpasswd": {"realm": self.auth.realm, "path": str(file)}}
        elif isinstance(self.auth, TokenServer):
            settings["auth"] = {
                "token": {
                    "realm": self.auth.realm,
                    "service": self.host,
                    "issuer": ISSUER,
                    "rootcertbundle": str(self.auth.signer.certificate),
                }
            }
        return settings

    # Pushing: distribution's docs/spec/api.md

    def _push_manifest(
        self, layout: Path, repository: str, descriptor: Mapping[str, Any], reference: str
    ) -> None:
        body = _blob(layout, descriptor["digest"]).read_bytes()
        manifest = json.loads(body)
        if descriptor["mediaType"] in INDEXES:
            for child in manifest["manifests"]:
                self._push_manifest(layout, repository, child, child["digest"])
        else:
            for blob in [manifest["config"], *manifest["layers"]]:
                self._push_blob(layout, repository, blob["digest"])
        answer = self.request(
            "PUT",
            f"/v2/{repository}/manifests/{reference}",
            scope=f"repository:{repository}:pull,push",
            headers={"Content-Type": descriptor["mediaType"]},
            body=body,
        )
        _expect(answer, 201, f"manifest {reference}")

    def _push_blob(self, layout: Path, repository: str, digest: str) -> None:
        scope = f"repository:{repository}:pull,push"
        path = f"/v2/{repository}/blobs"
        if self.request("HEAD", f"{path}/{digest}", scope=scope).status == 200:
            return
        started = self.request("POST", f"{path}/uploads/", scope=scope)
        _expect(started, 202, "upload")
        place = started.headers["location"]
        file = _blob(layout, digest)
        with file.open("rb") as content:
            answer = self.request(
                "PUT",
                f"{place}{'&' if '?' in place else '?'}digest={digest}",
                scope=scope,
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(file.stat().st_size),
                },
                body=content,
            )
        _expect(answer, 201, f"blob {digest}")

    def _authorization(self, scope: str) -> Mapping[str, str]:
        if isinstance(self.auth, Basic):
            user, password = next(iter(self.auth.users.items()))
            return {"Authorization": _basic(user, password)}
        if isinstance(self.auth, TokenServer):
            if scope not in self._tokens:
                self._tokens[scope] = self._token(self.auth, scope)
            return {"Authorization": f"Bearer {self._tokens[scope]}"}
        return {}

    def _token(self, server: TokenServer, scope: str) -> str:
        user = next(iter(server.pushers or server.users))
        answer = request(
            self.net,
            self.namespace,
            "GET",
            f"{server.realm}?service={self.host}&scope={scope}",
            trust=self.authority.certificate,
            headers={"Authorization": _basic(user, server.users[user])},
        )
        _expect(answer, 200, "token")
        return str(answer.json()["token"])


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _expect(answer: Answer, status: int, what: str) -> None:
    if answer.status != status:
        text = answer.body.decode(errors="replace")
        raise LabError(f"the registry answered {answer.status} to a {what}: {text}")


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _bcrypt(user: str, password: str) -> str:
    """A line of an htpasswd file; docker-registry takes bcrypt only."""
    argv = [program("htpasswd"), "-niB", "-C", "5", user]
    return run(argv, stdin=password + "\n").stdout.strip()
