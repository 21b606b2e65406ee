"""Bundler.

Source: github.com/rubygems/rubygems, bundler/lib/bundler/lockfile_parser.rb.
"""

from __future__ import annotations

import re

from garrison.packages.readers.facts import Contents
from garrison.packages.readers.locks.building import Building, text_of

_SPEC = re.compile(r" {4}([^\s()]+) \(([^()]+)\)")


def read_gemfile_lock(data: bytes) -> Contents:
    """`Gemfile.lock`: it does not tell groups, so nothing is marked as for development."""
    found = Building("gem")
    section = ""
    for line in text_of(data).splitlines():
        if line and not line[0].isspace():
            section = line.strip()
        elif section in ("GEM", "GIT", "PLUGIN SOURCE") and (match := _SPEC.fullmatch(line)):
            # A platform follows the version: 1.15.0-x86_64-linux.
            found.add("", match[1], match[2].partition("-")[0])
    return found.contents()
