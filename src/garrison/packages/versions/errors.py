"""The error of every version parser."""

from __future__ import annotations

LIMIT = 1024
"""Characters of a version at most. Real ones stay below 100; longer text is an attack on the
parser (quadratic integers, deep nesting) or not a version."""


class InvalidVersionError(ValueError):
    """The text is not a version of the scheme."""

    def __init__(self, scheme: str, text: str, why: str = "") -> None:
        shown = text if len(text) <= 80 else text[:77] + "…"
        super().__init__(f"not a {scheme} version: {shown!r}" + (f" ({why})" if why else ""))
        self.scheme = scheme
        self.text = text
