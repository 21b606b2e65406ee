"""Coverage-guided fuzzing of all readers of packages, and of the order of versions.

`python -m tests.fuzz.readers TARGET SECONDS [FOLDER]` keeps what it learned in FOLDER. A reader
may answer or refuse with FileError; anything else ends the run with the bytes that did it.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["garrison.packages"]):
    from garrison.images import FileError
    from garrison.packages.readers.apk import read_installed
    from garrison.packages.readers.dpkg import read_list, read_md5sums, read_status
    from garrison.packages.readers.osrelease import read_os_release
    from garrison.packages.readers.python import read_egg, read_egg_link, read_metadata
    from garrison.packages.readers.rpm import read_bdb, read_ndb, read_sqlite, read_wal
    from garrison.packages.readers.rpm.header import read_header
    from garrison.packages.versions import SCHEMES, InvalidVersionError
    from tests.property.test_language_readers import ELF_AND_MORE, READERS, read_program

from tests.unit.packages.readers.rpm_samples import bdb_of, header, ndb_of, sqlite_of

HEADER = header(
    {
        1000: "bash",
        1001: "5.1",
        1002: "1.el9",
        1003: [4],
        1022: "x86_64",
        1044: "bash-5.1-1.el9.src.rpm",
        5096: "a:1:2:3",
        1029: b"\0\0",
        1116: [0, 0],
        1117: ["a.egg-info", "METADATA"],
        1118: ["/usr/lib/x.dist-info/"],
    }
)


def _version(data: bytes) -> None:
    a, _, b = data.decode("utf-8", "replace").partition("\n")
    for scheme in SCHEMES:
        with contextlib.suppress(InvalidVersionError):
            SCHEMES[scheme].parse(a)
        assert SCHEMES[scheme].compare(a, b) == -SCHEMES[scheme].compare(b, a)


def _egg() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("EGG-INFO/PKG-INFO", "Name: a\nVersion: 1\n")
    return out.getvalue()


TARGETS: dict[str, tuple[Callable[[bytes], object], Sequence[bytes]]] = {
    "rpm-header": (read_header, [HEADER]),
    "rpm-sqlite": (read_sqlite, [sqlite_of([HEADER] * 3)]),
    "rpm-ndb": (read_ndb, [ndb_of([HEADER] * 3)]),
    "rpm-bdb": (read_bdb, [bdb_of([HEADER] * 3), bdb_of([HEADER], order=">")]),
    "rpm-wal": (read_wal, [b"\x37\x7f\x06\x82" + bytes(80)]),
    "dpkg": (read_status, [b"Package: a\nStatus: install ok installed\nVersion: 1\n\n"]),
    "dpkg-list": (read_list, [b"/usr/lib/python3/a.egg-info\n"]),
    "dpkg-sums": (read_md5sums, [b"0" * 32 + b"  usr/lib/python3/a.egg-info\n"]),
    "apk": (read_installed, [b"P:a\nV:1\nA:x86_64\no:b\nF:usr/lib\nR:x.egg-info\n\n"]),
    "python": (read_metadata, [b"Metadata-Version: 2.1\nName: a\nVersion: 1\n\n"]),
    "python-egg": (read_egg, [_egg()]),
    "python-link": (read_egg_link, [b"/srv/app\n.\n"]),
    "os-release": (read_os_release, [b'ID=debian\nVERSION_ID="12"\n']),
    **READERS,
    "program": (read_program, [seed for seed in ELF_AND_MORE if len(seed) < 100_000]),
    "version": (_version, [b"1:2.0~rc1-1\n1:2.0-1"]),
}


def main() -> None:
    """Run one target."""
    name, seconds, *given = sys.argv[1:]
    read, seeds = TARGETS[name]
    folder = Path(given[0] if given else tempfile.mkdtemp())
    for number, seed in enumerate(seeds):
        (folder / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        try:
            read(data)
        except FileError:
            return

    limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=8192"]
    # libFuzzer leaves the input that failed beside the others.
    atheris.Setup([sys.argv[0], str(folder), *limits, f"-artifact_prefix={folder}/"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
