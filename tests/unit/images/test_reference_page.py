"""docs/reference/scanning.md names every code that a scan can end with."""

from __future__ import annotations

from pathlib import Path

from garrison.cli import scan
from garrison.errors import GarrisonError
from garrison.images import FileError, ImageError
from garrison.packages.wire import InventoryUnreadableError

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "scanning.md"


def below(cls: type[GarrisonError]) -> list[type[GarrisonError]]:
    return [cls, *(found for each in cls.__subclasses__() for found in below(each))]


def test_every_code_is_documented() -> None:
    text = PAGE.read_text()
    classes: list[type[GarrisonError]] = [*below(ImageError), FileError, InventoryUnreadableError]
    classes += [scan.IncompleteReportError, scan.NoAdvisoriesError, scan.UnreadableDatabaseError]
    assert [cls.code for cls in classes if f"`{cls.code}`" not in text] == []


def test_every_option_is_documented() -> None:
    import typer
    from typer.main import get_command

    app = typer.Typer()
    scan.register(app)
    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = PAGE.read_text()
    for command in commands.values():
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert option in text, option
