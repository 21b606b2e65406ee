"""Cargo.

Source: doc.rust-lang.org/cargo, "Cargo.toml vs Cargo.lock"; cargo's resolver/encode.rs.
"""

from __future__ import annotations

from garrison.packages.readers.facts import Contents
from garrison.packages.readers.locks.building import Building, mappings, toml_of


def read_cargo_lock(data: bytes) -> Contents:
    """`Cargo.lock`: it does not tell what is for development."""
    found = Building("cargo")
    for package in mappings(toml_of(data).get("package")):
        if package.get("source") is not None:  # else it is the project's own
            found.add("", package.get("name"), package.get("version"))
    return found.contents()
