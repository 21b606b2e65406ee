"""Which files of a distribution package other readers would take for packages of their own.

Programs have no ending that shows them, so what stands where programs are kept counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from garrison.images import FileError

_ENDINGS = (
    "/METADATA",
    "/PKG-INFO",
    ".egg-info",
    ".egg",
    "/package.json",
    ".gemspec",
    ".jar",
    ".war",
    ".ear",
    ".par",
    ".hpi",
    ".jpi",
    ".so",
)
_PROGRAM_FOLDERS = ("usr/lib/", "usr/libexec/", "usr/local/", "opt/")
_OTHER_FOLDERS = ("usr/lib/locale/", "usr/lib/python", "usr/lib/modules/", "usr/lib/firmware/")


MAX_GROWTH = 16
"""Characters of the paths that one byte of a database may stand for; real ones reach 4."""


def joined(parts: Iterable[tuple[str, str]], size: int) -> Iterator[str]:
    """Folder and name of each file put together.

    size: bytes that they were read from: a long folder with many names in it would become far
        more text than anybody has memory for. Raises FileError then.
    """
    left = MAX_GROWTH * size
    for folder, name in parts:
        left -= len(folder) + len(name)
        if left < 0:
            raise FileError("files of a package are named in far more text than is there")
        yield folder + name


def of_interest(paths: Iterable[str]) -> list[str]:
    """Those of `paths`, without leading slash, in which another reader may find a package."""
    return [
        path
        for path in paths
        if path.endswith(_ENDINGS)
        or "bin/" in path
        or ".so." in path
        or (
            path.startswith(_PROGRAM_FOLDERS)
            and "." not in path[path.rfind("/") :]
            and not path.startswith(_OTHER_FOLDERS)
        )
    ]
