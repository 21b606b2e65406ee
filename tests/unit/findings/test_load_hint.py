"""What a scan says to do about ecosystems that nothing is loaded for."""

from __future__ import annotations

from garrison.cli.scan import load_hint


def test_what_can_be_loaded_is_named_as_it_is_typed() -> None:
    assert load_hint(["Red Hat:enterprise_linux:9", "PyPI", "CentOS:9"]) == (
        "Load them: garrison intel update --ecosystem 'Red Hat' --ecosystem PyPI"
        " (or GARRISON_INTEL_ECOSYSTEMS)."
    )


def test_what_nobody_publishes_cannot_be_loaded() -> None:
    assert "cannot be judged" in load_hint(["CentOS:9", "rpm packages of an unknown release"])
