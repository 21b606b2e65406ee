"""Which files of a distribution package other readers would take for packages of their own.

Programs have no ending that shows them, so what stands where programs are kept counts.
"""

from __future__ import annotations

from collections.abc import Iterable

_ENDINGS = (
    "/METADATA",
    "/PKG-INFO",
    ".egg-info",
    "/package.json",
    ".gemspec",
    ".jar",
    ".war",
    ".ear",
    ".par",
    ".hpi",
    ".jpi",
)
_PROGRAM_FOLDERS = ("usr/lib/", "usr/libexec/", "usr/local/", "opt/")
_OTHER_FOLDERS = ("usr/lib/locale/", "usr/lib/python", "usr/lib/modules/", "usr/lib/firmware/")


def of_interest(paths: Iterable[str]) -> list[str]:
    """Those of `paths`, without leading slash, in which another reader may find a package."""
    return [
        path
        for path in paths
        if path.endswith(_ENDINGS)
        or (
            ("bin/" in path or path.startswith(_PROGRAM_FOLDERS))
            and "." not in path[path.rfind("/") :]
            and not path.startswith(_OTHER_FOLDERS)
        )
    ]
