"""Debian's Squid as a company would run it: open, with passwords, over TLS, opening TLS.

The kinds combine: `Squid(net=net, users={"agent": "p@ss:w/rd%"}, bump=authority)` asks for a
password and opens TLS. Several run at once, each on its own port.
"""

import contextlib
import grp
import hashlib
import os
import pwd
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.authority import Authority, KeyPair
from lab.errors import LabError
from lab.network import PROXY_NAME, Namespace, Network, dial
from lab.process import Process, program, run
from lab.wait import until

USER = "proxy"
"""Who Debian's Squid becomes when root starts it."""

REALM = "ACME egress"
HELPERS = Path("/usr/lib/squid")

# Own format: one space between fields, nothing that holds one but the time in front.
_LOGFORMAT = "%ts.%03tu %>a %rm %ru %>Hs %Ss %un %ssl::bump_mode %ssl::>sni"
_FIELDS = len(_LOGFORMAT.split())


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """A line of Squid's access log.

    target: as the client asked for it: `host:port` for CONNECT, else the whole URL.
    user: None when nobody signed in.
    result: Squid's own word, such as TCP_TUNNEL or TCP_DENIED.
    """

    time: float
    client: str
    method: str
    target: str
    status: int
    result: str
    user: str | None
    bump: str | None
    sni: str | None

    @classmethod
    def parse(cls, line: str) -> "AccessEntry":
        """Read a line.

        Raises:
            ValueError: it is not one of ours.
        """
        fields = line.split(" ")
        if len(fields) != _FIELDS:
            raise ValueError(f"not an access log line: {line!r}")
        time, client, method, target, status, result, *rest = fields
        user, bump, sni = (None if word == "-" else word for word in rest)
        return cls(float(time), client, method, target, int(status), result, user, bump, sni)


class Squid:
    """A running Squid, from entering to leaving.

    net: the network in whose `namespace` it runs; without one, on 127.0.0.1.
    users: names and passwords it asks for; none asked when None.
    schemes: how it asks, in the order of its offer: `negotiate` (with `keytab`), `ntlm` (Debian's
        ntlm_fake_auth: the dialogue is checked, the password is not), `digest`, `basic`.
    tls: its own certificate: clients speak TLS to the proxy (`https://`).
    bump: the authority it opens TLS with. Not together with `tls`: Squid cannot.
    trust: PEM files of the authorities it verifies destinations with when it opens TLS.
    upstream: (address, port) of an `Interceptor` that gets all decrypted requests.
    intercept: take redirected connections too, at `intercept_port` and, opening TLS with `bump`,
        at `intercept_tls_port`.
    directives: further lines of squid.conf, put before the access rules.
    """

    def __init__(
        self,
        *,
        net: Network | None = None,
        namespace: Namespace = "proxy",
        name: str = "squid",
        port: int = 0,
        users: Mapping[str, str] | None = None,
        schemes: Sequence[str] = ("basic",),
        keytab: Path | None = None,
        tls: KeyPair | None = None,
        bump: Authority | None = None,
        trust: Sequence[Path] = (),
        upstream: tuple[str, int] | None = None,
        intercept: bool = False,
        directives: Sequence[str] = (),
    ) -> None:
        if tls and bump:
            raise ValueError("Squid opens TLS only on a plain port: give tls or bump, not both")
        self.net, self.namespace, self.name, self.port = net, namespace, name, port
        self.users = None if users is None else dict(users)
        self.schemes, self.keytab = tuple(schemes), keytab
        self.intercept, self.intercept_port, self.intercept_tls_port = intercept, 0, 0
        self.tls, self.bump, self.upstream = tls, bump, upstream
        self.trust, self.directives = list(trust), list(directives)
        self.denied_ports: set[int] = set()
        self.denied_hosts: set[str] = set()
        self.allowed_hosts: set[str] | None = None
        self._stack = contextlib.ExitStack()
        self._manager_port = 0
        self._process: Process | None = None
        self._directory: Path | None = None

    # What a test asks

    @property
    def host(self) -> str:
        """The name clients in the network's `console` and `remote` know it by."""
        return PROXY_NAME if self.net else "127.0.0.1"

    @property
    def url(self) -> str:
        """Its address for *HTTP Proxy*, without credentials."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    @property
    def process(self) -> Process:
        if self._process is None:
            raise LabError(f"{self.name} is not running")
        return self._process

    @property
    def directory(self) -> Path:
        if self._directory is None:
            raise LabError(f"{self.name} was not started")
        return self._directory

    @property
    def log(self) -> list[AccessEntry]:
        """Every finished request, oldest first. A tunnel is written when it closes."""
        file = self.directory / "access.log"
        if not file.exists():
            return []
        # The last line may be half written.
        lines = file.read_text(errors="replace").rpartition("\n")[0].splitlines()
        return [AccessEntry.parse(line) for line in lines]

    def mark(self) -> int:
        """A place in the log for `entries_since`."""
        return len(self.log)

    def entries_since(self, mark: int) -> list[AccessEntry]:
        return self.log[mark:]

    def wait_for(
        self,
        match: Callable[[AccessEntry], bool],
        *,
        timeout: float = 10,
        since: int = 0,
    ) -> AccessEntry:
        """The first entry that matches, now or within `timeout` seconds.

        Raises:
            LabError: none came; the text holds the log.
        """
        return until(
            lambda: next((entry for entry in self.entries_since(since) if match(entry)), None),
            timeout=timeout,
            what=f"an entry in the access log of {self.name}",
            alive=self.process.check,
            detail=lambda: "\n".join(map(str, self.log)),
        )

    def wait_entries(self, count: int, *, since: int, timeout: float = 10) -> list[AccessEntry]:
        """The entries since a mark, once there are `count`: Squid writes one after its answer."""
        return until(
            lambda: found if len(found := self.entries_since(since)) >= count else None,
            timeout=timeout,
            what=f"{count} entries in the access log of {self.name}",
            alive=self.process.check,
            detail=lambda: "\n".join(map(str, self.entries_since(since))),
        )

    def tunnels(self, since: int = 0) -> list[str]:
        """`host:port` of every CONNECT it answered with 200, finished ones only."""
        return [
            entry.target
            for entry in self.entries_since(since)
            if entry.method == "CONNECT" and entry.status == 200
        ]

    def open_tunnels(self) -> list[str]:
        """What is open now, by Squid's own report: `host:port`, or a URL where it opens TLS."""
        request = f"GET /squid-internal-mgr/active_requests HTTP/1.0\r\nHost: {PROXY_NAME}\r\n\r\n"
        report = b""
        with self._dial_manager() as connection:
            connection.sendall(request.encode())
            while data := connection.recv(1 << 16):
                report += data
        uris = re.findall(r"^uri (\S+)$", report.decode(errors="replace"), re.MULTILINE)
        return [uri for uri in uris if "squid-internal-mgr" not in uri]

    # What a test changes; each takes effect before it returns

    def require_basic(self, user: str, password: str) -> None:
        """Ask for this user, and no other, from now on."""
        self.users = {user: password}
        self.reconfigure()

    def require_nothing(self) -> None:
        self.users = None
        self.reconfigure()

    def deny_ports(self, ports: Iterable[int]) -> None:
        """Answer 403 to requests for these destination ports; none when empty."""
        self.denied_ports = set(ports)
        self.reconfigure()

    def deny_hosts(self, hosts: Iterable[str]) -> None:
        """Answer 403 to requests for these names."""
        self.denied_hosts = set(hosts)
        self.reconfigure()

    def allow_only(self, hosts: Iterable[str] | None) -> None:
        """Answer 403 to requests for any other name; None allows all again."""
        self.allowed_hosts = None if hosts is None else set(hosts)
        self.reconfigure()

    def trust_also(self, *certificates: Path) -> None:
        """Verify destinations with these PEM files too when it opens TLS."""
        self.trust += certificates
        self.reconfigure()

    def reconfigure(self) -> None:
        """Have Squid read its settings again, and wait until it listens again."""
        cache_log = self.directory / "cache.log"
        mark = len(cache_log.read_text(errors="replace"))
        self._write()
        self.process.send(signal.SIGHUP)
        self._wait_listening(mark)

    def restart(self) -> None:
        """Stop it, cutting every tunnel, and start it on the same port."""
        self._end()
        self._start()

    def __enter__(self) -> Self:
        with self._stack:
            self._directory = Path(tempfile.mkdtemp(prefix=f"lab-{self.name}-"))
            self._stack.callback(shutil.rmtree, self._directory, ignore_errors=True)
            self._own(self._directory)
            self.port = self.port or self._free_port()
            self._manager_port = self._free_port()
            if self.intercept:
                self.intercept_port, self.intercept_tls_port = self._free_port(), self._free_port()
            if self.bump:
                certificates = str(self._directory / "certs")
                run([HELPERS / "security_file_certgen", "-c", "-s", certificates, "-M", "4MB"])
                self._own(self._directory / "certs")
            self._stack.callback(self._end)
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        self._write()
        cache_log = self.directory / "cache.log"
        mark = len(cache_log.read_text(errors="replace")) if cache_log.exists() else 0
        argv = [program("squid"), "-N", "-n", self._service]
        argv += ["-f", str(self.directory / "squid.conf")]
        if self.net:
            argv = list(map(str, self.net.wrap(self.namespace, argv)))
        self._process = Process.start(argv, directory=self.directory, name=self.name)
        self._wait_listening(mark)

    @property
    def _service(self) -> str:
        """Names the shared memory, so each Squid needs its own."""
        return re.sub(r"[^A-Za-z0-9]", "", f"{self.name}{self.directory.name[-8:]}")

    def _end(self) -> None:
        """Kill it: asked politely, Squid takes two seconds."""
        if self._process is not None:
            self._process.kill()
        for segment in Path("/dev/shm").glob(f"{self._service}-*"):
            segment.unlink(missing_ok=True)

    def _wait_listening(self, mark: int) -> None:
        cache_log = self.directory / "cache.log"

        def look() -> bool:
            text = cache_log.read_text(errors="replace")[mark:] if cache_log.exists() else ""
            return bool(re.search(r"Accepting .*(HTTP|HTTPS) Socket connections", text, re.I))

        def tail() -> str:
            text = cache_log.read_text(errors="replace") if cache_log.exists() else ""
            return "\n".join([self.process.tail(), *text.splitlines()[-20:]])

        until(
            look,
            timeout=30,
            what=f"{self.name} to listen",
            alive=self.process.check,
            detail=tail,
        )

    def _write(self) -> None:
        if self.users is not None:
            lines = [f"{user}:{_hashed(password)}\n" for user, password in self.users.items()]
            self._put("users", "".join(lines))
            lines = [f"{user}:{REALM}:{_ha1(user, password)}\n" for user, password in
                     self.users.items()]  # fmt: skip
            self._put("digest", "".join(lines))
        if self.keytab:
            shutil.copy(self.keytab, self.directory / "keytab")
            self._own(self.directory / "keytab")
        self._put("trust.pem", "".join(file.read_text() for file in self.trust))
        if self.tls:
            self._put("own.pem", self.tls.certificate.read_text())
            self._put("own.key", self.tls.key.read_text())
        if self.bump:
            self._put("bump.pem", self.bump.pair.certificate.read_text())
            self._put("bump.key", self.bump.pair.key.read_text())
        self._put("squid.conf", "\n".join(self._configuration()) + "\n")

    def _configuration(self) -> list[str]:
        folder = self.directory
        lines = [
            self._listener(),
            *self._intercepting(),
            f"http_port 127.0.0.1:{self._manager_port}",
            f"pid_filename {folder}/squid.pid",
            f"logformat lab {_LOGFORMAT}",
            f"access_log stdio:{folder}/access.log lab",
            f"cache_log {folder}/cache.log",
            f"coredump_dir {folder}",
            "buffered_logs off",
            "cache deny all",
            "cache_mem 8 MB",
            "pinger_enable off",
            "shutdown_lifetime 0 seconds",
            "hosts_file /etc/hosts",
            f"visible_hostname {PROXY_NAME}",
            "via on",
            "forwarded_for on",
            "http_upgrade_request_protocols websocket allow all",
            *self.directives,
        ]
        if self.bump:
            lines += [
                f"sslcrtd_program {HELPERS}/security_file_certgen -s {folder}/certs -M 4MB",
                "sslcrtd_children 2 startup=1 idle=1",
                # Redirected connections tell the name in their greeting alone.
                *(["acl greeting at_step SslBump1", "ssl_bump peek greeting"] * self.intercept),
                "ssl_bump bump all",
                f"tls_outgoing_options cafile={folder}/trust.pem default-ca=off",
            ]
        if self.upstream:
            host, port = self.upstream
            lines += [
                f"cache_peer {host} parent {port} 0 originserver no-query no-digest no-delay "
                f"tls tls-cafile={folder}/trust.pem tls-default-ca=off ssldomain=localhost",
                "never_direct allow all",
            ]
        return lines + self._access_rules()

    def _listener(self) -> str:
        address = "" if self.net else "127.0.0.1:"
        folder = self.directory
        if self.tls:
            return (
                f"https_port {address}{self.port} tls-cert={folder}/own.pem "
                f"tls-key={folder}/own.key"
            )
        if self.bump:
            return (
                f"http_port {address}{self.port} ssl-bump tls-cert={folder}/bump.pem "
                f"tls-key={folder}/bump.key generate-host-certificates=on "
                "dynamic_cert_mem_cache_size=4MB"
            )
        return f"http_port {address}{self.port}"

    def _intercepting(self) -> list[str]:
        if not self.intercept:
            return []
        folder = self.directory
        return [
            f"http_port {self.intercept_port} intercept",
            f"https_port {self.intercept_tls_port} intercept ssl-bump"
            f" tls-cert={folder}/bump.pem tls-key={folder}/bump.key"
            " generate-host-certificates=on dynamic_cert_mem_cache_size=4MB",
        ]

    def _access_rules(self) -> list[str]:
        lines = ["http_access allow localhost manager", "http_access deny manager"]
        if self.users is not None:
            for scheme in self.schemes:
                lines += self._scheme(scheme)
            lines.append("acl signed_in proxy_auth REQUIRED")
        if self.denied_ports:
            lines += [
                f"acl denied_ports port {' '.join(map(str, sorted(self.denied_ports)))}",
                "http_access deny denied_ports",
            ]
        if self.denied_hosts:
            lines += [
                f"acl denied_hosts dstdomain {' '.join(sorted(self.denied_hosts))}",
                "http_access deny denied_hosts",
            ]
        if self.allowed_hosts is not None:
            names = " ".join(sorted(self.allowed_hosts)) or "none.invalid"
            lines += [f"acl allowed_hosts dstdomain {names}", "http_access deny !allowed_hosts"]
        if self.users is not None:
            lines.append("http_access deny !signed_in")
        return [*lines, "http_access allow all"]

    def _scheme(self, scheme: str) -> list[str]:
        programs = {
            "negotiate": f"negotiate_kerberos_auth -k {self.directory}/keytab -s GSS_C_NO_NAME",
            "ntlm": "ntlm_fake_auth",
            "digest": f"digest_file_auth -c {self.directory}/digest",
            "basic": f"basic_ncsa_auth {self.directory}/users",
        }
        lines = [
            f"auth_param {scheme} program {HELPERS}/{programs[scheme]}",
            f"auth_param {scheme} children 2 startup=1 idle=1",
        ]
        if scheme in ("basic", "digest"):
            lines.append(f"auth_param {scheme} realm {REALM}")
        if scheme == "basic":
            lines += [
                "auth_param basic credentialsttl 1 second",
                "auth_param basic casesensitive on",
            ]
        return lines

    def _put(self, name: str, text: str) -> None:
        file = self.directory / name
        file.write_text(text)
        self._own(file)

    def _own(self, path: Path) -> None:
        """Give `path` to the user Squid becomes."""
        if os.geteuid() != 0:
            return
        owner, group = pwd.getpwnam(USER).pw_uid, grp.getgrnam(USER).gr_gid
        for each in (path, *path.rglob("*")) if path.is_dir() else (path,):
            os.chown(each, owner, group)

    def _dial_manager(self) -> socket.socket:
        if self.net:
            return self.net.connect(self.namespace, "127.0.0.1", self._manager_port)
        return dial("127.0.0.1", self._manager_port)

    def _free_port(self) -> int:
        if self.net:
            return self.net.free_port(self.namespace)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])


def _ha1(user: str, password: str) -> str:
    """What Digest's helper keeps of a password."""
    text = f"{user}:{REALM}:{password}".encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def _hashed(password: str) -> str:
    """SHA-512 crypt: Squid's helper asks crypt(3), which knows it."""
    done = run([program("openssl"), "passwd", "-6", "-stdin"], stdin=password + "\n")
    return done.stdout.strip()
