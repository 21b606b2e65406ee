"""Codes are unique, complete and documented; texts help and hold no secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from garrison.egress import BadUrlError, Endpoint, error_classes
from garrison.egress.errors import ProxyConnectionRefusedError
from garrison.egress.trace import Hop, Trace, Who

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "egress.md"


def test_codes_are_unique_and_well_formed() -> None:
    codes = [one.code for one in error_classes()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"egress\.[a-z0-9_]+", code) for code in codes)


def test_every_class_says_where_who_and_what_to_do() -> None:
    for one in error_classes():
        assert one.at in get_args(Hop), one
        assert one.actor in get_args(Who), one
        assert (
            one.advice
            or "hint" in vars(one)
            or any("hint" in vars(base) for base in one.__mro__[1:-4])
        ), one
        assert one.__doc__


def test_documented_codes_are_those_of_the_code() -> None:
    """Each row: code, hop, who."""
    rows = re.findall(r"^\| `(egress\.[a-z0-9_]+)` \| ([a-z-]+) \| ([a-z]+) \|", DOCS.read_text(),
                      re.MULTILINE)  # fmt: skip
    expected = {(one.code, one.at, one.actor) for one in error_classes()}
    assert {row for row in rows if row[0] != BadUrlError.code} == expected
    assert BadUrlError.code in {row[0] for row in rows}


def test_trace_records_failures_under_the_errors_hop() -> None:

    now = iter([1.0, 1.5])
    trace = Trace(lambda: next(now), via="proxy.test:1")
    with pytest.raises(ProxyConnectionRefusedError) as error, trace.step("tunnel", "a.test:443"):
        raise ProxyConnectionRefusedError(Endpoint("proxy.test", 1))
    assert error.value.as_failure()["code"] == "egress.proxy_connection_refused"
    assert trace.as_list() == [
        {
            "hop": "tcp",
            "target": "a.test:443",
            "ok": False,
            "ms": 500.0,
            "detail": "connection refused by the proxy proxy.test:1",
            "via": "proxy.test:1",
        }
    ]


def test_the_guide_names_codes_that_exist() -> None:
    guide = (DOCS.parents[1] / "how-to" / "troubleshoot-egress.md").read_text()
    notes = {"egress.inspected", "egress.redirected_elsewhere"}
    named = set(re.findall(r"`(egress\.[a-z0-9_]+)`", guide))
    assert named <= {one.code for one in error_classes()} | notes
    assert len(named) > 25
