"""Which files of a distribution package other readers would take for packages of their own."""

from __future__ import annotations

import re

ENDINGS = ("/METADATA", "/PKG-INFO", ".egg-info", "/package.json")

_ENDINGS = rb"(?:/METADATA|/PKG-INFO|\.egg-info|/package\.json)"
OWNED_LINE = re.compile(rb"^/(?:\./)?([^\n]*" + _ENDINGS + rb")$", re.MULTILINE)
OWNED_MD5 = re.compile(rb"^[0-9a-f]{32} [ *](?:\./|/)?([^\n]*" + _ENDINGS + rb")$", re.MULTILINE)
