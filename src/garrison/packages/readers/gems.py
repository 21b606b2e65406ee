"""Ruby gems: the `.gemspec` that RubyGems writes beside each installed gem.

It is Ruby code, and never run: what RubyGems itself wrote has a comment with name, version and
platform; what people wrote is read by the assignments that stand in it as plain texts.

Source: rubygems/specification.rb, `to_ruby` and `StubSpecification`; guides.rubygems.org,
"Specification Reference".
"""

from __future__ import annotations

import re

from garrison.images import FileError
from garrison.packages.readers.facts import Component, Contents, checked

MAX = 1 << 20

_STUB = re.compile(r"^# stub: (\S+) (\S+) (\S+) (\S.*)$", re.MULTILINE)
_ASSIGNED = re.compile(
    r"^[ \t]*\w+\.(name|version)[ \t]*=[ \t]*"
    r"(?:Gem::Version\.new[ \t]*\(?[ \t]*)?"
    r"(?:\"([^\"#\\\n]*)\"|'([^'\\\n]*)'|%q\{([^{}\n]*)\})",
    re.MULTILINE,
)
_FOLDER = re.compile(r"(?:^|/)(?:specifications(?:/default)?|bundler/gems/[^/]+)$")


def read_gemspec(data: bytes) -> Contents | None:
    """Name and version; None: computed by Ruby, as in sources. Raises FileError."""
    if len(data) > MAX:
        raise FileError(f"a gem specification of {len(data)} bytes")
    text = data.decode("utf-8", "replace")
    stub = _STUB.search(text[:4096])
    if stub is not None:
        name, version = stub[1], stub[2]
    else:
        found: dict[str, str] = {}
        for key, *texts in _ASSIGNED.findall(text):
            found.setdefault(key, "".join(texts))
        name, version = found.get("name", ""), found.get("version", "")
        if not name or not version:
            return None
    name = checked(name, "name")
    version = checked(version, f"version of {name}")
    return Contents((Component("gem", "", name, version),))


def is_installed(folder: str) -> bool:
    """Whether a gemspec in `folder` is of an installed gem: where RubyGems writes it, or in a
    checkout of Bundler's. Gems often carry their source's, which says nothing new."""
    return _FOLDER.search(folder) is not None
