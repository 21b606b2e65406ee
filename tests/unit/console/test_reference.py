"""The reference is complete: settings, commands and error codes of the code are in it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import garrison
from garrison.errors import GarrisonError

DOCS = Path(__file__).parents[3] / "docs" / "reference"
SOURCE = Path(garrison.__file__).parent


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def errors(root: type[GarrisonError] = GarrisonError) -> Iterator[type[GarrisonError]]:
    yield root
    for each in root.__subclasses__():
        yield from errors(each)


def test_every_error_code_is_explained() -> None:
    for module in pkgutil.walk_packages(garrison.__path__, "garrison."):
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            importlib.import_module(module.name)
    known = set(re.findall(r"^\| `([a-z0-9_.]+)`", page("errors.md") + page("egress.md"), re.M))
    ours = {e.code for e in errors() if e.__module__.startswith("garrison.")}

    assert ours - known == set()


def test_every_setting_is_explained() -> None:
    """Every GARRISON_ name in the source is one that the page has, and the other way round."""
    found = {
        name.removesuffix("_")
        for path in SOURCE.rglob("*.py")
        for name in re.findall(r"GARRISON_[A-Z_]+", path.read_text(encoding="utf-8"))
    } - {"GARRISON", "GARRISON_NAME"}
    text = page("settings.md")
    listed = set(re.findall(r"`(GARRISON_[A-Z_]+)`", text))
    filed = {f"{name}_FILE" for name in re.findall(r"`(GARRISON_[A-Z_]+)` \(`_FILE`\)", text)}

    assert found - listed - filed == set()
    assert listed - found == set()


def test_every_command_is_explained() -> None:
    from garrison.cli.main import COMMANDS

    text = page("cli.md")
    for command in COMMANDS:
        assert f"`garrison {command}" in text, command
