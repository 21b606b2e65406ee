"""A Kerberos realm of our own: Debian's KDC on loopback, principals, keytabs, tickets.

`libraries()` builds the Python libraries for it, which have no wheels for Linux.
"""

import contextlib
import fcntl
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.process import Process, program, run
from lab.wait import until

REALM = "ACME.TEST"
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "lab"
PINNED = ("gssapi==1.12.0", "krb5==0.10.0")


class Kdc:
    """A running KDC, from entering to leaving."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._folder: Path | None = None
        self.port = 0

    @property
    def folder(self) -> Path:
        assert self._folder is not None
        return self._folder

    @property
    def environment(self) -> dict[str, str]:
        """For whoever is to be of this realm; no ticket is there yet."""
        return {
            "KRB5_CONFIG": str(self.folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{self.folder}/nobody",
            "KRB5RCACHENAME": "none:",
        }

    def principal(self, name: str, password: str | None = None) -> None:
        """Make a principal; with a random key when no password is given."""
        how = "-randkey" if password is None else f'-pw "{password}"'
        self._kadmin(f"addprinc {how} {name}@{REALM}")

    def keytab(self, name: str) -> Path:
        """A keytab of a principal, with a new key."""
        file = self.folder / f"{name.replace('/', '_')}.keytab"
        self._kadmin(f"ktadd -k {file} {name}@{REALM}")
        return file

    def ticket(self, name: str, keytab: Path) -> str:
        """Sign in by a keytab; the value of `KRB5CCNAME` for it."""
        cache = f"FILE:{self.folder}/{name}.ccache"
        run(
            [program("kinit"), "-k", "-t", keytab, "-c", cache, f"{name}@{REALM}"],
            env={**os.environ, **self.environment},
        )
        return cache

    def _kadmin(self, query: str) -> None:
        run(
            [program("kadmin.local"), "-r", REALM, "-q", query],
            env={**os.environ, **self.environment},
        )

    def __enter__(self) -> Self:
        with self._stack:
            self._folder = Path(tempfile.mkdtemp(prefix="lab-kdc-"))
            self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            (self.folder / "krb5.conf").write_text(self._client())
            (self.folder / "kdc.conf").write_text(self._server())
            env = {**os.environ, **self.environment}
            run([program("kdb5_util"), "create", "-s", "-r", REALM, "-P", "master"], env=env)
            process = Process.start(
                [program("krb5kdc"), "-n", "-r", REALM],
                directory=self.folder,
                name="krb5kdc",
                env=env,
            )
            self._stack.callback(process.kill)
            until(
                lambda: "commencing operation" in process.text(),
                timeout=20,
                what="the KDC to listen",
                alive=process.check,
                detail=process.tail,
            )
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _client(self) -> str:
        return f"""[libdefaults]
 default_realm = {REALM}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
[realms]
 {REALM} = {{
  kdc = 127.0.0.1:{self.port}
 }}
[domain_realm]
 localhost = {REALM}
 .test = {REALM}
"""

    def _server(self) -> str:
        return f"""[kdcdefaults]
 kdc_listen = 127.0.0.1:{self.port}
 kdc_tcp_listen = 127.0.0.1:{self.port}
[realms]
 {REALM} = {{
  database_name = {self.folder}/principal
  key_stash_file = {self.folder}/stash
  acl_file = {self.folder}/kadm5.acl
 }}
[logging]
 kdc = STDERR
"""


def libraries() -> Path:
    """A folder for `PYTHONPATH` with gssapi and krb5, built once for this Python."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    folder = CACHE / f"kerberos-{version}-{'-'.join(PINNED)}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "kerberos.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(part)]
            run([*pip, "--disable-pip-version-check", *PINNED], env=dict(os.environ), timeout=900)
            part.rename(folder)
    return folder
