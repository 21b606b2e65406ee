"""npm packages: every `package.json` with a name and a version.

Source: docs.npmjs.com, package.json and folders; pnpm.io/symlinked-node-modules-structure.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec

from garrison.images import FileError
from garrison.packages.package import Position
from garrison.packages.readers.facts import Named, checked

_BOM = b"\xef\xbb\xbf"


class _PackageJson(msgspec.Struct):
    name: Any = None
    version: Any = None


_decoder = msgspec.json.Decoder(_PackageJson)


def read_package_json(data: bytes) -> Named | None:
    """Name and version; None for settings files of that name. Raises FileError: no JSON."""
    try:
        document = _decoder.decode(data.removeprefix(_BOM))
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise FileError(f"not JSON: {error}") from None
    name, version = document.name, document.version
    if not isinstance(name, str) or not isinstance(version, str) or not name or not version:
        return None
    return Named(checked(name, "name"), checked(version, "version"))


def position(path: str) -> Position:
    """Whether `path` is where npm installs: `node_modules/NAME` or `node_modules/@SCOPE/NAME`.

    A `node_modules` deep inside a package is a fixture or a copy that npm knows nothing of.
    """
    parts = path.split("/")[:-1]
    roots = [number for number, part in enumerate(parts) if part == "node_modules"]
    if not roots or not _is_package(parts[roots[-1] + 1 :]):
        return "loose"
    between = [parts[one + 1 : two] for one, two in pairwise(roots)]
    return "installed" if all(map(_is_package_or_store, between)) else "vendored"


def split_scope(name: str) -> tuple[str, str]:
    """Scope (`@types`, or empty) and the rest of a package's name."""
    if name.startswith("@"):
        scope, slash, rest = name.partition("/")
        if slash and rest:
            return scope, rest
    return "", name


def _is_package(parts: list[str]) -> bool:
    return len(parts) == 1 or (len(parts) == 2 and parts[0].startswith("@"))


def _is_package_or_store(parts: list[str]) -> bool:
    """pnpm, Yarn and npm's linked strategy keep packages in `node_modules/.NAME/ID`."""
    return _is_package(parts) or (len(parts) == 2 and parts[0].startswith("."))
