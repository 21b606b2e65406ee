"""A whole company network, ready to put Garrison into.

`Scene("basic")` is a network with a registry that holds an image, an advisory feed and Slack
outside, and a Squid of one kind as the only way there. What an operator would type on the
proxy page is `scene.settings`.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from lab.authority import Authority
from lab.errors import LabError
from lab.feed import Feed
from lab.image import Image, real, tiny
from lab.interceptor import Interceptor
from lab.network import CONSOLE_NAME, PROXY_NAME, Namespace, Network
from lab.process import Process
from lab.registry import Auth, Basic, Registry
from lab.slack import Slack
from lab.squid import Squid
from lab.token_server import TokenServer

Kind = Literal["plain", "basic", "tls", "intercept"]
Login = Literal["anonymous", "basic", "token"]

ROOT = Path(__file__).resolve().parent.parent
ADVISORIES = ROOT.parent / "shared" / "data" / "advisories"

PROGRAM = [sys.executable, "-m", "garrison"]
DEFENDER_NAME = "far"
GATEWAY_PORT = 8084
GATEWAY = f"wss://{CONSOLE_NAME}:{GATEWAY_PORT}"

PROXY_USER = "agent"
PROXY_PASSWORD = "p@ss:w/rd%"
"""Holds what breaks in URLs and in percent-decoding."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is entered on the proxy page for a proxy to work; empty means left alone."""

    http_proxy: str
    user: str = ""
    password: str = ""
    ca: str = ""


class Scene:
    """Everything outside Garrison itself, from entering to leaving.

    kind: how the proxy behaves. `plain`; `basic` asks for `PROXY_USER`; `tls` is reached over
        TLS, with a certificate of `proxy_ca`; `intercept` opens TLS with `inspection_ca`.
    login: how the registry asks who you are.
    image: what the registry holds as `team/shop:1.0` (OCI) and `team/shop:docker`.
    record: for `intercept`: keep all that Squid decrypted in `recorder`.
    advisories: the folder the feed serves.

    Certificates outside are of `public_ca`, which every namespace's system store has.
    """

    def __init__(
        self,
        kind: Kind = "plain",
        *,
        login: Login = "anonymous",
        image: Literal["real", "tiny"] = "real",
        record: bool = False,
        advisories: Path = ADVISORIES,
    ) -> None:
        if record and kind != "intercept":
            raise ValueError("only an intercepting proxy has something to record")
        self.kind, self.login, self.image_kind = kind, login, image
        self.record, self.advisories = record, advisories
        self._stack = contextlib.ExitStack()
        self._parts: _Parts | None = None

    @property
    def parts(self) -> "_Parts":
        if self._parts is None:
            raise LabError("the scene was not entered")
        return self._parts

    @property
    def directory(self) -> Path:
        """For data and logs; gone afterwards."""
        return self.parts.directory

    @property
    def net(self) -> Network:
        return self.parts.net

    @property
    def squid(self) -> Squid:
        return self.parts.squid

    @property
    def registry(self) -> Registry:
        return self.parts.registry

    @property
    def feed(self) -> Feed:
        return self.parts.feed

    @property
    def slack(self) -> Slack:
        return self.parts.slack

    @property
    def image(self) -> Image:
        return self.parts.image

    @property
    def recorder(self) -> Interceptor:
        """What Squid decrypted; with `record` only."""
        if self.parts.recorder is None:
            raise LabError("the scene records nothing: Scene('intercept', record=True)")
        return self.parts.recorder

    @property
    def public_ca(self) -> Authority:
        return self.parts.public_ca

    @property
    def inspection_ca(self) -> Authority:
        return self.parts.inspection_ca

    @property
    def proxy_ca(self) -> Authority:
        return self.parts.proxy_ca

    @property
    def reference(self) -> str:
        """The image with OCI manifests; `docker_reference` is the same with Docker's."""
        return f"{self.registry.name}/team/shop:1.0"

    @property
    def docker_reference(self) -> str:
        return f"{self.registry.name}/team/shop:docker"

    @property
    def settings(self) -> Settings:
        """What makes the proxy work."""
        ca = {"tls": self.proxy_ca.pem, "intercept": self.inspection_ca.pem}.get(self.kind, "")
        if self.kind == "basic":
            return Settings(self.squid.url, PROXY_USER, PROXY_PASSWORD)
        return Settings(self.squid.url, ca=ca)

    @property
    def console_settings(self) -> dict[str, str]:
        """Environment of a Console in `console`: this scene's feed, and a gateway for all."""
        return {
            "GARRISON_GATEWAY_LISTEN": f"0.0.0.0:{GATEWAY_PORT}",
            "GARRISON_GATEWAY_URL": GATEWAY,
            "GARRISON_INTEL_URL": self.feed.url,
            "GARRISON_INTEL_ECOSYSTEMS": "PyPI,npm,Debian",
        }

    def defender_settings(self, join_token: str) -> dict[str, str]:
        """Environment of a Defender in `remote`, as a deployment that knows the proxy says it."""
        settings = {
            "GARRISON_CONSOLE": GATEWAY,
            "GARRISON_JOIN_TOKEN": join_token,
            "GARRISON_DEFENDER_NAME": DEFENDER_NAME,
            "GARRISON_HTTP_PROXY": self.settings.http_proxy,
        }
        if self.settings.user:
            password = self.directory / "proxy-password"
            password.write_text(self.settings.password)
            settings["GARRISON_PROXY_USER"] = self.settings.user
            settings["GARRISON_PROXY_PASSWORD_FILE"] = str(password)
        if self.settings.ca:
            authority = self.directory / "proxy-ca.pem"
            authority.write_text(self.settings.ca)
            settings["GARRISON_CA_FILE"] = str(authority)
        return settings

    def trust_console(self, certificate: Path) -> None:
        """Have an intercepting proxy accept the Console, whose authority is in a PEM file."""
        shutil.copy(certificate, self.directory / "console-ca.pem")
        if self.kind == "intercept" and not self.record:
            self.squid.trust_also(self.directory / "console-ca.pem")

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """An environment with nothing of this machine's in it: no proxy, no settings."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            **(extra or {}),
        }

    def start(
        self,
        namespace: Namespace,
        argv: Sequence[str | os.PathLike[str]],
        *,
        name: str,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a program of the product in a namespace, with `environment(env)`.

        It is stopped with the scene at the latest.
        """
        process = self.net.popen(
            namespace,
            argv,
            directory=self.directory / "logs",
            name=name,
            env=self.environment(env),
            cwd=ROOT,
        )
        self._stack.callback(process.stop)
        return process

    def __enter__(self) -> Self:
        with self._stack:
            self._parts = self._build()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _build(self) -> "_Parts":
        enter = self._stack.enter_context
        directory = Path(enter(tempfile.TemporaryDirectory(prefix="lab-scene-")))
        # Before the network: the first build of the image takes minutes.
        image = real() if self.image_kind == "real" else tiny(directory / "image")
        public_ca = Authority(directory / "public", "Lab Public CA")
        inspection_ca = Authority(
            directory / "inspection", "ACME TLS Inspection CA", algorithm="rsa"
        )
        proxy_ca = Authority(directory / "proxy", "ACME Internal CA")
        net = enter(Network(public_ca=public_ca.certificate))
        recorder, trust, upstream = None, [public_ca.certificate], None
        if self.record:
            recorder_ca = Authority(directory / "recorder", "Lab recorder")
            known = [public_ca.certificate, directory / "console-ca.pem"]
            recorder = enter(Interceptor(net, authority=recorder_ca, trust=known, mode="origin"))
            trust, upstream = [recorder_ca.certificate], recorder.address
        intercept = self.kind == "intercept"
        squid = enter(
            Squid(
                net=net,
                users={PROXY_USER: PROXY_PASSWORD} if self.kind == "basic" else None,
                tls=proxy_ca.issue(PROXY_NAME) if self.kind == "tls" else None,
                bump=inspection_ca if intercept else None,
                trust=trust if intercept else [],
                upstream=upstream,
            )
        )
        registry = enter(Registry(net, public_ca, auth=self._auth(net, public_ca)))
        registry.push(image.oci, "team/shop", "1.0")
        registry.push(image.docker, "team/shop", "docker")
        return _Parts(
            directory=directory,
            image=image,
            public_ca=public_ca,
            inspection_ca=inspection_ca,
            proxy_ca=proxy_ca,
            net=net,
            recorder=recorder,
            squid=squid,
            registry=registry,
            feed=enter(Feed(net, public_ca, self.advisories)),
            slack=enter(Slack(net, public_ca)),
        )

    def _auth(self, net: Network, authority: Authority) -> Auth:
        if self.login == "basic":
            return Basic()
        if self.login == "token":
            users = dict(Basic().users)
            server = TokenServer(net, authority, users=users, pushers=list(users))
            return self._stack.enter_context(server)
        return None


@dataclass(frozen=True, slots=True)
class _Parts:
    directory: Path
    image: Image
    public_ca: Authority
    inspection_ca: Authority
    proxy_ca: Authority
    net: Network
    recorder: Interceptor | None
    squid: Squid
    registry: Registry
    feed: Feed
    slack: Slack
