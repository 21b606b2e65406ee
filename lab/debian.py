"""The Debian packages the lab needs, installed when we may.

`python -m lab.debian` installs all of them.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

POLICY = Path("/usr/sbin/policy-rc.d")
LOCK = Path("/run/lock/garrison-lab-apt.lock")
LOCK_SECONDS = 300
"""How long apt waits for another apt."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package and the programs by which it is known to be there.

    Programs and not only dpkg's word, since Node.js often comes from elsewhere. Any one of
    them is enough.
    """

    name: str
    programs: tuple[str, ...]

    def installed(self) -> bool:
        return any(_exists(program) for program in self.programs)


PACKAGES = (
    Package("apache2-utils", ("htpasswd",)),
    Package("ca-certificates", ("/etc/ssl/certs/ca-certificates.crt",)),
    Package("chromium", ("chromium", "google-chrome")),
    Package("curl", ("curl",)),
    Package("dante-server", ("danted",)),
    Package("db5.3-util", ("db5.3_load",)),
    Package("debootstrap", ("debootstrap",)),
    Package("docker-registry", ("docker-registry",)),
    Package("dpkg", ("dpkg",)),
    Package("iproute2", ("ip",)),
    Package("krb5-admin-server", ("kadmin.local",)),
    Package("krb5-kdc", ("krb5kdc",)),
    Package("krb5-user", ("kinit",)),
    Package("libkrb5-dev", ("krb5-config",)),
    Package("libcommons-io-java", ("/usr/share/maven-repo/commons-io/commons-io/*/*.jar",)),
    Package(
        "libcommons-lang3-java",
        ("/usr/share/maven-repo/org/apache/commons/commons-lang3/*/*.jar",),
    ),
    Package("nginx-light", ("nginx",)),
    Package("node-semver", ("semver",)),
    Package("nodejs", ("node", "nodejs")),
    Package("npm", ("npm",)),
    Package("openssl", ("openssl",)),
    Package("nftables", ("nft",)),
    Package("postgresql", ("/usr/lib/postgresql/*/bin/initdb",)),
    Package("rpm", ("rpmbuild",)),
    Package("ruby", ("gem",)),
    Package("squid-openssl", ("/usr/lib/squid/security_file_certgen",)),
    Package("tinyproxy-bin", ("tinyproxy",)),
    Package("util-linux", ("setpriv",)),
)


def ensure(packages: Iterable[Package] = PACKAGES) -> None:
    """Have `packages` installed; does nothing when they are.

    Their services are not started: each test starts its own.

    Raises:
        LabError: they are missing and we are not root, or apt failed; the text has the line to
            type.
    """
    missing = sorted(package.name for package in packages if not package.installed())
    if not missing:
        return
    line = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise LabError(f"missing packages; as root: {' '.join(line)}")
    with _alone(), _no_services():
        _apt(["apt-get", "update", "-q"])
        _apt([*line, "-q", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}"])


def _exists(program: str) -> bool:
    if program.startswith("/"):
        return any(Path("/").glob(program[1:]))
    places = [*os.get_exec_path(), "/usr/sbin", "/sbin"]
    return shutil.which(program, path=os.pathsep.join(places)) is not None


def _apt(argv: list[str]) -> None:
    done = subprocess.run(
        argv,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Forbid service starts by maintainer scripts, as Debian's policy-rc.d(8) describes."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        ensure()
    except LabError as error:
        sys.exit(str(error))
