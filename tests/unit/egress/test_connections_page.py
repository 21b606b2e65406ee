"""docs/reference/connections.md names every outside host that the program knows by itself, and
every purpose for which it connects; and nothing that it does not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import garrison
from garrison.egress import PURPOSES

SOURCE = Path(garrison.__file__).parent
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "connections.md"

NEVER_OPENED = {
    # Names of formats and schemas, and links for the reader's own browser.
    "cyclonedx.org",
    "json.schemastore.org",
    "openvex.dev",
    "osv.dev",
    "github.com",
    "spdx.org",
    # The key of Docker Hub's entry in ~/.docker/config.json.
    "index.docker.io",
}


def constants() -> Iterator[str]:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def known_hosts() -> set[str]:
    """Hosts of the addresses in the source; reserved names are examples in hints."""
    found = set()
    for text in constants():
        found |= set(re.findall(r"https?://([a-z0-9.-]+\.[a-z]{2,})", text))
    return {host for host in found if not host.endswith((".test", ".example", ".invalid"))}


def rows() -> list[list[str]]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def test_every_host_of_the_source_is_listed() -> None:
    listed = " ".join(row[2] for row in rows())
    missing = {host for host in known_hosts() - NEVER_OPENED if f"`{host}" not in listed}
    assert missing == set()


def test_every_listed_host_is_one_of_the_source() -> None:
    text = "\n".join(constants())
    for row in rows():
        for host in re.findall(r"`([a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::\d+)?`", row[2]):
            assert host in text, f"{host} is nowhere in the source"


def test_every_purpose_that_connects_has_a_row() -> None:
    """A keyword `purpose="…"` in a call of the source is a connection."""
    used = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                used |= {
                    word.value.value
                    for word in node.keywords
                    if word.arg == "purpose"
                    and isinstance(word.value, ast.Constant)
                    and word.value.value in PURPOSES
                }
    listed = {purpose for row in rows() for purpose in re.findall(r"`(\w+)`", row[0])}
    assert used == listed


def test_the_exceptions_are_still_there() -> None:
    assert NEVER_OPENED - known_hosts() == set()
