"""Which readers these are: what others found is not believed."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import garrison
from garrison import images, packages


@cache
def readers_version() -> str:
    """Differs whenever code differs that decides what is found in a layer or an image.

    Taken from the code itself, since a number that people raise is forgotten one day.
    """
    digest = hashlib.sha256(garrison.__version__.encode())
    for package in (images, packages):
        folder = Path(str(package.__file__)).parent
        for file in sorted(folder.rglob("*.py")) + sorted(folder.rglob("*.json")):
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]
