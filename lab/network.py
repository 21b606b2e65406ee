"""Four network namespaces that only a proxy joins.

`console`, `remote` and `outside` each have one cable, to `proxy`. Nothing is forwarded and
nobody has a default route, so what is seen elsewhere went through a program in `proxy`. Names
follow the same rule: `console` and `remote` know none but the proxy's.
"""

import contextlib
import ctypes
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Literal, ParamSpec, Self, TypeVar

from lab.errors import LabError
from lab.process import Process, program, run
from lab.wait import until

P = ParamSpec("P")
T = TypeVar("T")

Namespace = Literal["console", "remote", "proxy", "outside"]
NAMESPACES: tuple[Namespace, ...] = ("console", "remote", "proxy", "outside")

PROXY_NAME = "proxy.test"
CONSOLE_NAME = "console.test"
REMOTE_NAME = "remote.test"
OUTSIDE_NAMES = (
    "registry.test",
    "auth.registry.test",
    "feed.test",
    "hooks.slack.test",
    "jira.test",
    "vault.test",
)

ROOT = Path(__file__).resolve().parent.parent
STATE = Path("/run/garrison-lab")
NETNS = Path("/run/netns")
ETC = Path("/etc/netns")
RUNS = 250
"""At most so many networks at once: each has its own 10.99.N.0/24."""

# From <linux/sched.h> and <linux/mount.h>; `os.setns` exists from Python 3.12 on.
_CLONE_NEWNET, _CLONE_NEWNS = 0x40000000, 0x00020000
_MS_BIND, _MS_REC, _MS_SLAVE = 4096, 16384, 1 << 19
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Owner:
    """The process a network belongs to; the start time tells it from a later one of its pid."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Owner | None":
        """The running process `pid`, or None."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return cls(pid, int(fields[19]))

    def alive(self) -> bool:
        return Owner.of(self.pid) == self


class Network:
    """The namespaces of one run, made on entering and removed on leaving.

    `addresses` maps every name to its IPv4 address. From `console` the proxy is
    `net.proxy_address("console")`, or `proxy.test`; from `remote` it is another address under
    the same name.

    outside: names in `outside`, each with an address of its own.
    public_ca: PEM file of an authority that the system's trust store in every namespace gets,
        so that certificates in `outside` are as good as public ones.
    transparent: `console` knows the names in `outside` and has a default route to `proxy`, where
        `redirect` hands its connections to a program; still nothing is forwarded.
    """

    def __init__(
        self,
        outside: Sequence[str] = OUTSIDE_NAMES,
        *,
        public_ca: Path | None = None,
        transparent: bool = False,
    ) -> None:
        self.outside_names = tuple(outside)
        self.transparent = transparent
        self.public_ca = public_ca
        self.number = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or sys.platform != "linux":
            raise LabError("the lab's network needs Linux and root: it makes network namespaces")
        program("ip")
        with self._stack:
            self.number = _claim()
            self._stack.callback(_remove, self.number)
            self._build()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def name(self, namespace: Namespace) -> str:
        """The namespace's name for `ip netns`."""
        return _name(self.number, namespace)

    def address(self, name: str) -> str:
        """The IPv4 address of a name, as `proxy` sees it."""
        return self.addresses[name]

    def proxy_address(self, seen_from: Namespace) -> str:
        """The proxy's address on the cable to a namespace."""
        host = {"console": 1, "remote": 5, "outside": 129, "proxy": 1}[seen_from]
        return self._host(host)

    @property
    def addresses(self) -> Mapping[str, str]:
        """Every name and its IPv4 address, as `proxy` sees them."""
        found = {CONSOLE_NAME: self._host(2), REMOTE_NAME: self._host(6)}
        for host, name in enumerate(self.outside_names, start=130):
            found[name] = self._host(host)
        return found

    # Running things

    def wrap(
        self, namespace: Namespace, argv: Sequence[str | os.PathLike[str]]
    ) -> list[str | os.PathLike[str]]:
        """The command line that runs `argv` in a namespace."""
        return [program("ip"), "netns", "exec", self.name(namespace), *argv]

    def run(
        self,
        namespace: Namespace,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | bytes | None = None,
        check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """As `lab.process.run`, in a namespace."""
        command = self.wrap(namespace, argv)
        return run(command, env=env, cwd=cwd, stdin=stdin, check=check, timeout=timeout)

    def popen(
        self,
        namespace: Namespace,
        argv: Sequence[str | os.PathLike[str]],
        *,
        directory: Path,
        name: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """As `Process.start`, in a namespace."""
        command = self.wrap(namespace, argv)
        return Process.start(command, directory=directory, name=name, env=env, cwd=cwd)

    def script(self, namespace: Namespace, argv: Sequence[str], file: Path) -> Path:
        """Write an executable that runs `argv` and its own arguments in a namespace.

        For programs that something else starts by path, such as a browser.
        """
        words = " ".join(f"'{word}'" for word in map(str, self.wrap(namespace, argv)))
        file.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        file.chmod(0o755)
        return file

    # Python inside

    def within(self, namespace: Namespace, function: Callable[[], T]) -> T:
        """Call `function` in a thread that is in a namespace, and return its result.

        Sockets it makes stay in that namespace wherever they are used later. Names resolve as
        outside: give addresses, or use `call`.
        """
        return within(NETNS / self.name(namespace), function)

    def connect(
        self, namespace: Namespace, host: str, port: int, *, timeout: float = 10
    ) -> socket.socket:
        """A connected socket in a namespace; `host` is an address or a name of the lab."""
        address = self.addresses.get(host, host)
        return self.within(namespace, lambda: dial(address, port, timeout))

    def free_port(self, namespace: Namespace) -> int:
        """A TCP port nobody listens on in a namespace."""

        def bind() -> int:
            with socket.socket() as probe:
                probe.bind(("0.0.0.0", 0))
                return int(probe.getsockname()[1])

        return self.within(namespace, bind)

    def wait_port(
        self, namespace: Namespace, host: str, port: int, process: Process, timeout: float = 20
    ) -> None:
        """Wait until `process` accepts connections.

        Raises:
            LabError: it ended, or `timeout` seconds passed.
        """

        def look() -> bool:
            try:
                self.connect(namespace, host, port, timeout=1).close()
            except OSError:
                return False
            return True

        until(
            look,
            timeout=timeout,
            what=f"{process.name} on {host}:{port}",
            alive=process.check,
            detail=process.tail,
        )

    def call(
        self, namespace: Namespace, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `function` in a child process that is in a namespace, names included.

        Whatever it returns or raises must be picklable.
        """
        context = multiprocessing.get_context("fork")
        mine, theirs = context.Pipe(duplex=False)
        name = self.name(namespace)

        def child() -> None:
            _send(theirs, name, lambda: function(*args, **kwargs))

        process = context.Process(target=child, daemon=True)
        with warnings.catch_warnings():
            # From 3.12 on: a fork beside threads. The child takes no lock of ours.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()
        try:
            ok, value = mine.recv()
        except EOFError:
            process.join()
            raise LabError(f"the child in {name} ended with {process.exitcode}") from None
        process.join()
        if not ok:
            raise value
        return value  # type: ignore[no-any-return]

    def redirect(self, ports: Mapping[int, int]) -> None:
        """Hand what `console` sends to these ports, wherever to, to those of `proxy`."""
        rules = "\n".join(
            f'  iifname "console" tcp dport {theirs} redirect to :{ours}'
            for theirs, ours in ports.items()
        )
        table = f"""flush ruleset
table ip transparent {{
 chain incoming {{
  type nat hook prerouting priority dstnat
{rules}
 }}
}}
"""
        self.run("proxy", [program("nft"), "-f", "-"], stdin=table)

    # Making it

    def _build(self) -> None:
        for each in NAMESPACES:
            self._write_names(each)
            run(["ip", "netns", "add", self.name(each)])
        proxy = self.name("proxy")
        _batch(
            f"link add eth0 netns {self.name(to)} type veth peer name {to} netns {proxy}"
            for to in (cable.to for cable in self._cables)
        )
        at_proxy = ["link set lo up"]
        for cable in self._cables:
            far = [f"addr add {self._host(n)}/{cable.bits} dev eth0" for n in cable.far]
            _batch(["link set lo up", *far, "link set eth0 up"], self.name(cable.to))
            at_proxy.append(f"addr add {self._host(cable.near)}/{cable.bits} dev {cable.to}")
            at_proxy.append(f"link set {cable.to} up")
        _batch(at_proxy, proxy)
        if self.transparent:
            near = self.proxy_address("console")
            _batch([f"route add default via {near}"], self.name("console"))
        self.within("proxy", lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("0"))

    def _host(self, number: int) -> str:
        return f"10.99.{self.number}.{number}"

    @property
    def _cables(self) -> tuple["_Cable", ...]:
        outside = tuple(range(130, 130 + len(self.outside_names)))
        return (
            _Cable("console", 1, (2,), 30),
            _Cable("remote", 5, (6,), 30),
            _Cable("outside", 129, outside, 25),
        )

    def _write_names(self, namespace: Namespace) -> None:
        """`ip netns exec` binds these files and folders over those in /etc."""
        known = {PROXY_NAME: self.proxy_address(namespace)}
        if namespace == "proxy" or (namespace == "console" and self.transparent):
            known |= self.addresses
        elif namespace == "outside":
            known = {name: self.addresses[name] for name in self.outside_names}
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        lines += [f"{address} {name}" for name, address in known.items()]
        folder = ETC / self.name(namespace)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text("\n".join(lines) + "\n")
        (folder / "resolv.conf").write_text("")
        (folder / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
        if self.public_ca:
            _trust(self.public_ca, folder / "ssl")


@dataclass(frozen=True, slots=True)
class _Cable:
    """From `proxy`, where its address ends in `near`, to the addresses ending in `far`."""

    to: Namespace
    near: int
    far: tuple[int, ...]
    bits: int


def dial(address: str, port: int, timeout: float = 10) -> socket.socket:
    """A connected TCP socket; `timeout` in seconds stays on it."""
    sock = socket.create_connection((address, port), timeout)
    # Else the second of two small writes waits 40 ms for the other side's delayed ACK.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _trust(authority: Path, folder: Path) -> None:
    """Make `folder` this machine's /etc/ssl with one authority more.

    In the bundle for most programs, and under its hash for those that look in the folder.
    """
    shutil.copytree("/etc/ssl", folder, symlinks=True)
    bundle = folder / "certs/ca-certificates.crt"
    bundle.write_text(bundle.read_text() + authority.read_text())
    digest = run(["openssl", "x509", "-noout", "-subject_hash", "-in", authority]).stdout.strip()
    (folder / f"certs/{digest}.0").write_text(authority.read_text())


def within(path: Path, function: Callable[[], T]) -> T:
    """Call `function` in a thread that entered the network namespace at `path`."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            _set_namespace(path)
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _set_namespace(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        _checked(_libc.setns(file, _CLONE_NEWNET), f"setns {path}")
    finally:
        os.close(file)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _send(to: Connection, name: str, function: Callable[[], object]) -> None:
    """In a child process: enter the namespace, call, send what came of it."""
    try:
        _set_namespace(NETNS / name)
        _checked(_libc.unshare(_CLONE_NEWNS), "unshare")
        _checked(_libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None), "mount /")
        for file in (ETC / name).iterdir():
            target = f"/etc/{file.name}".encode()
            _checked(_libc.mount(bytes(file), target, None, _MS_BIND, None), f"mount {file}")
        answer: tuple[bool, object] = (True, function())
    except BaseException as error:
        error.add_note(traceback.format_exc())
        answer = (False, error)
    try:
        to.send(answer)
    except Exception as error:
        to.send((False, LabError(f"cannot hand over {answer[1]!r}: {error}")))


def _batch(lines: Iterable[str], namespace: str | None = None) -> None:
    where = ["-n", namespace] if namespace else []
    run(["ip", *where, "-batch", "-"], stdin="\n".join(lines) + "\n")


def _name(number: int, namespace: Namespace) -> str:
    return f"glab{number}-{namespace}"


def _claim() -> int:
    """Take a free number for this process, after removing what dead processes left."""
    mine = Owner.of(os.getpid())
    STATE.mkdir(parents=True, exist_ok=True)
    with _lock():
        taken = {}
        for file in STATE.glob("*.json"):
            owner = Owner(**json.loads(file.read_text()))
            taken[int(file.stem)] = owner
        for number, owner in list(taken.items()):
            if not owner.alive():
                _remove_namespaces(number)
                del taken[number]
        free = [number for number in range(1, RUNS) if number not in taken]
        if not free or mine is None:
            raise LabError(f"{RUNS} lab networks are in use; see {STATE}")
        (STATE / f"{free[0]}.json").write_text(json.dumps(asdict(mine)))
        return free[0]


def _remove(number: int) -> None:
    with _lock():
        _remove_namespaces(number)


def _remove_namespaces(number: int) -> None:
    """End what runs in a network, then remove its namespaces, names and claim."""
    for namespace in NAMESPACES:
        name = _name(number, namespace)
        if (NETNS / name).exists():
            for pid in run(["ip", "netns", "pids", name], check=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run(["ip", "netns", "delete", name], check=False)
        shutil.rmtree(ETC / name, ignore_errors=True)
    (STATE / f"{number}.json").unlink(missing_ok=True)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
