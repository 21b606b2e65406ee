"""Alpine packages: `lib/apk/db/installed`.

Source: wiki.alpinelinux.org/wiki/Apk_spec, "Installed Database V2".
"""

from __future__ import annotations

from garrison.images import FileError
from garrison.packages.readers.facts import Database, DistributionPackage, checked
from garrison.packages.readers.owned import joined, of_interest


def read_installed(data: bytes) -> Database:
    """The packages of an apk database. Raises FileError."""
    if b"\0" in data:
        raise FileError("the apk database has NUL bytes")
    packages: list[DistributionPackage] = []
    owned: dict[str, str] = {}
    for stanza in data.decode("utf-8", "replace").split("\n\n"):
        if stanza.strip():
            package = _stanza(stanza, owned)
            packages.append(package)
    return Database(tuple(packages), owned)


def _stanza(stanza: str, owned: dict[str, str]) -> DistributionPackage:
    fields: dict[str, str] = {}
    files: list[tuple[str, str]] = []
    folder = ""
    for line in stanza.split("\n"):
        key, colon, value = line[:1], line[1:2], line[2:]
        if not line:
            continue
        if colon != ":":
            raise FileError("the apk database has a line without a field")
        if key == "F":
            folder = f"{value}/" if value else ""
        elif key == "R":
            files.append((folder, value))
        elif key in "PVAo":
            fields.setdefault(key, value)
    name = checked(fields.get("P", ""), "package name")
    version = checked(fields.get("V", ""), f"version of {name}")
    source = fields.get("o", "").strip()
    for path in of_interest(joined(files, len(stanza))):
        owned[path] = name
    return DistributionPackage(
        name,
        version,
        fields.get("A", "")[:32],
        checked(source, "origin") if source else name,
        version,
    )
