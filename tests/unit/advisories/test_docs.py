"""What the documentation says about codes and schemes, compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

from garrison.advisories import errors
from garrison.packages.versions import SCHEMES

TEXT = (Path(__file__).resolve().parents[3] / "docs/reference/matching.md").read_text()


def test_every_code_is_documented() -> None:
    codes = {
        item.code
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, errors.IntelError)
    }
    assert set(re.findall(r"^\| `(intel\.\w+)`", TEXT, re.MULTILINE)) == codes


def test_every_scheme_is_documented() -> None:
    table = TEXT.split("## Order of versions")[1].split("## From records")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(SCHEMES)
