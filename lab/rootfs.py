"""A root file system in layers: each step runs over the ones below, in an overlay mount."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab.errors import LabError
from lab.process import program, run

CHROOT_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "HOME": "/root",
}
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")


class Tree:
    """Upper folders stacked in `directory`, lowest first.

    `with tree.step() as root:` mounts all of them under a new empty one and gives the place;
    what is changed there ends up in `tree.uppers[-1]`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.uppers: list[Path] = []

    @contextlib.contextmanager
    def step(self) -> Iterator[Path]:
        upper = self._folder(f"upper{len(self.uppers)}")
        with self._mounted(upper) as root:
            yield root
        self.uppers.append(upper)

    @contextlib.contextmanager
    def merged(self) -> Iterator[Path]:
        """All steps mounted together, for reading; changes are thrown away."""
        upper = self._folder("scratch")
        with self._mounted(upper) as root:
            yield root
        shutil.rmtree(upper)

    @contextlib.contextmanager
    def _mounted(self, upper: Path) -> Iterator[Path]:
        if not self.uppers:
            yield upper
            return
        root, work = self._folder("merged"), self._folder("work")
        lower = ":".join(str(folder) for folder in reversed(self.uppers))
        # Without these options renames and chmods could leave marks that no layer can express.
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        options += ",redirect_dir=off,index=off,metacopy=off"
        run(["mount", "-t", "overlay", "overlay", "-o", options, root])
        try:
            yield root
        finally:
            run(["umount", "--recursive", root])
            shutil.rmtree(work)

    def _folder(self, name: str) -> Path:
        folder = self.directory / name
        folder.mkdir(mode=0o755, exist_ok=True)
        return folder


def discard(directory: Path) -> None:
    """Remove a folder in which trees were built, after unmounting what is still in it.

    Raises:
        LabError: something stayed mounted; nothing was removed then.
    """
    for _ in range(2):
        for place in reversed(_mounts_below(directory)):
            run(["umount", "--lazy", place], check=False)
    if left := _mounts_below(directory):
        raise LabError(f"still mounted: {', '.join(left)}")
    shutil.rmtree(directory, ignore_errors=True)


def _mounts_below(directory: Path) -> list[str]:
    """In the order they were made. Source: proc_pid_mountinfo(5)."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [place for line in lines if (place := line.split()[4]).startswith(f"{directory}/")]


def bootstrap(root: Path, *, suite: str, include: Sequence[str]) -> None:
    """Install Debian's `suite` into `root`: main alone, without updates or security."""
    argv = [program("debootstrap"), "--variant=minbase", f"--include={','.join(include)}"]
    argv += [suite, str(root)]
    if mirror := _mirror(suite):
        argv.append(mirror)
    done = run(argv, env={**os.environ, **_proxies()}, check=False, timeout=600)
    if done.returncode != 0:
        raise LabError(f"debootstrap: exit {done.returncode}\n{done.stdout[-3000:]}")
    # Made from this machine's own; names nothing and is the same everywhere.
    (root / "etc/resolv.conf").write_text("")
    (root / "etc/hostname").write_text("localhost\n")
    forget_downloads(root)


def forget_downloads(root: Path) -> None:
    """Remove what apt and debootstrap leave behind."""
    for pattern in (
        "var/cache/apt/archives/*.deb",
        "var/cache/apt/*.bin",
        "var/lib/apt/lists/*",
        "var/cache/ldconfig/aux-cache",
        "var/log/*.log",
        "var/log/apt/*",
    ):
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def chroot(root: Path, *argv: str, timeout: float = 300) -> str:
    """Run a program in `root` and return what it printed."""
    env = {**CHROOT_ENV, **_proxies()}
    return run(["chroot", str(root), *argv], env=env, timeout=timeout).stdout


@contextlib.contextmanager
def with_network(root: Path) -> Iterator[None]:
    """Let programs in `root` use this machine's names, and let none of them start a service."""
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    proxies = _apt_proxies()
    settings = root / "etc/apt/apt.conf.d/99lab"
    settings.write_text("".join(f'{name} "{value}";\n' for name, value in proxies.items()))
    run(["mount", "-t", "proc", "proc", root / "proc"])
    run(["mount", "--bind", "/etc/resolv.conf", root / "etc/resolv.conf"])
    hosts = root / "etc/hosts"
    if not hosts.exists():
        hosts.write_text("127.0.0.1 localhost\n")
    run(["mount", "--bind", "/etc/hosts", hosts])
    try:
        yield
    finally:
        for name in ("etc/hosts", "etc/resolv.conf", "proc"):
            run(["umount", root / name])
        policy.unlink()
        settings.unlink()


def _mirror(suite: str) -> str | None:
    """The address this machine's apt takes `suite` from, or None to let debootstrap choose."""
    if shutil.which("apt-get") is None:
        return None
    filters = [f"Codename: {suite}", "Origin: Debian", "Component: main"]
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", *filters],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return next((line for line in listing.splitlines() if line.startswith("http")), None)


def _apt_proxies() -> dict[str, str]:
    names = ("Acquire::http::Proxy", "Acquire::https::Proxy")
    found = {}
    for name in names:
        done = subprocess.run(
            ["apt-config", "shell", "VALUE", name], capture_output=True, text=True, check=False
        )
        if value := done.stdout.strip().removeprefix("VALUE=").strip("'"):
            found[name] = value
    return found


def _proxies() -> dict[str, str]:
    """The proxy that apt uses, for programs that only know the environment."""
    env = {name: os.environ[name] for name in PROXY_VARIABLES if name in os.environ}
    if value := _apt_proxies().get("Acquire::http::Proxy"):
        env.setdefault("http_proxy", value)
    return env
