"""Composer.

Source: getcomposer.org, "composer.lock - The lock file".
"""

from __future__ import annotations

from garrison.packages.readers.facts import Contents
from garrison.packages.readers.locks.building import Building, json_of, mappings


def read_composer_lock(data: bytes) -> Contents:
    """`composer.lock`."""
    document = json_of(data)
    found = Building("composer")
    for section in ("packages", "packages-dev"):
        for package in mappings(document.get(section)):
            name, version = package.get("name"), package.get("version")
            if isinstance(version, str) and version.startswith("dev-"):
                found.skip(str(name), f"{version} is a branch, not a version")
            elif isinstance(name, str):
                namespace, _, rest = name.rpartition("/")
                found.add(namespace, rest, version, section == "packages-dev")
            else:
                found.skip("", "an entry without a name")
    return found.contents()
