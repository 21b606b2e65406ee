"""NuGet.

Source: learn.microsoft.com, "Enabling the lock file", packages.lock.json.
"""

from __future__ import annotations

from garrison.packages.readers.facts import Contents
from garrison.packages.readers.locks.building import Building, json_of, mapping


def read_packages_lock(data: bytes) -> Contents:
    """`packages.lock.json`, for all frameworks together."""
    found = Building("nuget")
    for framework in mapping(json_of(data).get("dependencies") or {}).values():
        for name, value in mapping(framework).items():
            entry = mapping(value)
            if entry.get("type") != "Project":
                found.add("", name, entry.get("resolved"))
    return found.contents()
