"""Go modules.

Source: go.dev/ref/mod, "go.mod files", "go.sum files".
"""

from __future__ import annotations

import re

from garrison.images import FileError
from garrison.packages.readers.facts import Component, Contents
from garrison.packages.readers.golang import module
from garrison.packages.readers.locks.building import Building, text_of

_WORDS = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|\S+')
_FULL_SINCE = (1, 17)
"""From this version on go.mod names all modules that are built in, and go.sum still more."""


def read_go_mod(data: bytes) -> Contents:
    """`go.mod`: required modules, replaced ones as what replaces them."""
    required: dict[str, str] = {}
    replaced: dict[tuple[str, str], tuple[str, str]] = {}
    version = (0, 0)
    block = ""
    for raw in text_of(data).splitlines():
        words = [word.strip('"`') for word in _WORDS.findall(raw.partition("//")[0])]
        if not words:
            continue
        if block:
            if words == [")"]:
                block = ""
                continue
            verb = block
        else:
            verb, words = words[0], words[1:]
            if words == ["("]:
                block = verb
                continue
        if verb == "require" and len(words) >= 2:
            required[words[0]] = words[1]
        elif verb == "replace" and "=>" in words:
            at = words.index("=>")
            old, new = words[:at], words[at + 1 :]
            if old and new:
                key = (old[0], old[1] if len(old) > 1 else "")
                replaced[key] = (new[0], new[1] if len(new) > 1 else "")
        elif verb == "go" and words and (match := re.match(r"(\d+)\.(\d+)", words[0])):
            version = (int(match[1]), int(match[2]))
    found = Building("golang")
    for path, wanted in required.items():
        new_path, new_version = replaced.get((path, wanted)) or replaced.get(
            (path, "")
        ) or (path, wanted)  # fmt: skip
        if not new_version:
            found.skip(path, "it is replaced by a folder")
        else:
            _add(found, new_path, new_version)
    return found.contents(("go.sum",) if version >= _FULL_SINCE else ())


def read_go_sum(data: bytes) -> Contents:
    """`go.sum`: only where `go.mod` does not name everything by itself."""
    found = Building("golang")
    latest: dict[str, str] = {}
    for line in text_of(data).splitlines():
        words = line.split()
        if len(words) == 3 and words[2].startswith("h1:") and not words[1].endswith("/go.mod"):
            # Several versions of a module: the last, which is the highest, is the one selected.
            latest[words[0]] = words[1]
    for path, version in latest.items():
        _add(found, path, version)
    return found.contents()


def _add(found: Building, path: str, version: str) -> None:
    try:
        one: Component = module(path, version)
    except FileError as error:
        found.skip("", error.message)
    else:
        found.add(one.namespace, one.name, one.version)
