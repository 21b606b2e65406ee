"""The distribution an image is made of: `os-release`, and OSV's name for it.

Source: os-release(5); ossf.github.io/osv-schema, "Defined ecosystems".
"""

from __future__ import annotations

import re
import shlex

from garrison.images import FileError
from garrison.packages.package import OperatingSystem

_MAX = 64 << 10
_MAX_FIELD = 200
_DEBIAN_CODENAMES = {
    "buster": "10",
    "bullseye": "11",
    "bookworm": "12",
    "trixie": "13",
    "forky": "14",
    "duke": "15",
}


def read_os_release(data: bytes) -> OperatingSystem:
    """Raises FileError: it names no distribution."""
    if len(data) > _MAX or b"\0" in data:
        raise FileError("not an os-release file")
    fields: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            fields[key.strip()] = _value(value)
    if not fields.get("ID"):
        raise FileError("os-release has no ID")
    return OperatingSystem(
        fields["ID"].lower(),
        fields.get("VERSION_ID", ""),
        fields.get("PRETTY_NAME", ""),
        fields.get("VERSION_CODENAME", ""),
    )


def distro(os: OperatingSystem | None) -> str:
    """The release in OSV's spelling (`Debian:12`, `Ubuntu:22.04:LTS`), or empty if it has none."""
    if os is None:
        return ""
    match os.id:
        case "debian":
            return _debian(os)
        case "ubuntu":
            return _ubuntu(os.version_id)
        case "alpine":
            found = re.match(r"(\d+\.\d+)(?![\d_])", os.version_id)
            return f"Alpine:v{found[1]}" if found else ""
        case "wolfi":
            return "Wolfi"
        case "chainguard":
            return "Chainguard"
    return ""


def _debian(os: OperatingSystem) -> str:
    release = os.version_id.partition(".")[0]
    if not release:
        # testing and unstable carry a codename and no number.
        release = _DEBIAN_CODENAMES.get(os.codename, "")
    return f"Debian:{release}" if release.isdigit() else ""


def _ubuntu(version: str) -> str:
    found = re.fullmatch(r"(\d\d)\.(\d\d)(?:\.\d+)?", version)
    if not found:
        return ""
    long_term = int(found[1]) % 2 == 0 and found[2] == "04"
    return f"Ubuntu:{found[1]}.{found[2]}{':LTS' if long_term else ''}"


def _value(text: str) -> str:
    try:
        value = " ".join(shlex.split(text))
    except ValueError:
        value = text.strip("\"'")
    return "".join(char for char in value[:_MAX_FIELD] if char.isprintable())
