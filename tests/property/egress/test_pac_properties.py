"""The helper functions of PAC files beside plain Python."""

from __future__ import annotations

import fnmatch
import ipaddress
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garrison.egress import pac_worker
from garrison.egress.pac_worker import Sandbox

# The host is an expression: what it says is the answer.
SCRIPT = "function FindProxyForURL(url, host) { return JSON.stringify(eval(host)); }"
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]

V4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
NAME = st.from_regex(r"[a-z0-9]{1,6}(\.[a-z0-9]{1,6}){0,3}", fullmatch=True)
MOMENT = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)).map(  # noqa: DTZ001
    lambda one: one.replace(microsecond=0, tzinfo=UTC)
)


@pytest.fixture(autouse=True, scope="module")
def _no_socket() -> Iterator[None]:
    """The machine's own address is asked of the system by a socket that sends nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pac_worker, "own_address", lambda: "10.0.0.9")
        yield


@cache
def sandbox() -> Sandbox:
    return Sandbox(SCRIPT)


def call(function: str, *args: Any, now: datetime | None = None) -> Any:
    text = f"{function}({', '.join(map(json.dumps, args))})"
    moment = None if now is None else now.timestamp() * 1000
    said = sandbox().find("", text, False, moment)
    return json.loads(said["said"]) if said["kind"] == "string" else None


@given(V4, V4, st.integers(0, 32))
def test_is_in_net(address: Any, pattern: Any, bits: int) -> None:
    network = ipaddress.ip_network(f"{pattern}/{bits}", strict=False)
    found = call("isInNet", str(address), str(pattern), str(network.netmask))
    assert found is (address in network)
    assert call("isInNet", str(pattern), str(pattern), str(network.netmask)) is True


@given(st.one_of(st.tuples(V4, V4, st.integers(0, 32)), st.tuples(V6, V6, st.integers(0, 128))))
def test_is_in_net_ex(case: Any) -> None:
    address, pattern, bits = case
    network = ipaddress.ip_network(f"{pattern}/{bits}", strict=False)
    assert call("isInNetEx", str(address), f"{pattern}/{bits}") is (address in network)
    assert call("isInNetEx", str(pattern), f"{pattern}/{bits}") is True


@given(V6)
def test_ipv6_in_every_spelling(address: Any) -> None:
    for text in (str(address), address.exploded, f"[{address}]", str(address).upper()):
        assert call("isInNetEx", text, f"{address}/128") is True


@given(st.lists(st.one_of(V4, V6), min_size=1, max_size=6))
def test_sort_ip_address_list(addresses: Any) -> None:
    said = call("sortIpAddressList", ";".join(map(str, addresses)))
    expected = sorted(addresses, key=lambda one: (one.version == 4, int(one)))
    assert said == ";".join(map(str, expected))


@given(st.text("ab.*?-", max_size=8), st.text("ab.-", max_size=8))
def test_sh_exp_match(pattern: str, text: str) -> None:
    assert call("shExpMatch", text, pattern) is fnmatch.fnmatchcase(text, pattern)


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("http://a.test/x", "*a.test/*", True),
        ("a+b", "a+b", True),
        ("b.corp", "(a|b).corp", True),
        ("c.corp", "(a|b).corp", False),
        ("x", "(", False),
    ],
)
def test_shell_expressions_as_browsers_read_them(text: str, pattern: str, expected: bool) -> None:
    assert call("shExpMatch", text, pattern) is expected


@given(NAME, NAME)
def test_names(host: str, other: str) -> None:
    assert call("isPlainHostName", host) is ("." not in host)
    assert call("dnsDomainLevels", host) == host.count(".")
    assert call("dnsDomainIs", host, other) is host.endswith(other)
    assert call("dnsDomainIs", host.upper(), host) is True
    expected = host == other or ("." not in host and other.startswith(host + "."))
    assert call("localHostOrDomainIs", host, other) is expected
    assert call("localHostOrDomainIs", host.partition(".")[0], host) is True


@given(NAME.filter(lambda one: not one.replace(".", "").isdigit()))
def test_no_name_is_resolved(host: str) -> None:
    assert call("dnsResolve", host) is None
    assert call("isResolvable", host) is False
    assert call("isInNet", host, "0.0.0.0", "0.0.0.0") is False
    assert call("isResolvableEx", host) is False


@given(MOMENT, st.sampled_from(DAYS), st.sampled_from(DAYS))
def test_weekday_range(now: datetime, first: str, last: str) -> None:
    today = (now.weekday() + 1) % 7
    span = {DAYS.index(first)}
    while DAYS.index(last) not in span:
        span.add((DAYS.index(first) + len(span)) % 7)
    assert call("weekdayRange", first, last, "GMT", now=now) is (today in span)
    assert call("weekdayRange", first, "GMT", now=now) is (today == DAYS.index(first))


def within(first: Any, now: Any, last: Any) -> bool:
    """Round the end: from November to February."""
    return bool(first <= now <= last if first <= last else now >= first or now <= last)


@given(MOMENT, st.data())
def test_date_range(now: datetime, data: st.DataObject) -> None:
    days, months, years = st.integers(1, 31), st.integers(0, 11), st.integers(1990, 2060)
    d, d2, m, m2 = data.draw(st.tuples(days, days, months, months))
    y, y2 = data.draw(st.tuples(years, years))
    today, month, year = now.day, now.month - 1, now.year

    def asked(*args: Any) -> Any:
        return call("dateRange", *args, "GMT", now=now)

    assert asked(d) is (d == today)
    assert asked(MONTHS[m]) is (m == month)
    assert asked(y) is (y == year)
    assert asked(d, d2) is within(d, today, d2)
    assert asked(MONTHS[m], MONTHS[m2]) is within(m, month, m2)
    assert asked(y, y2) is (y <= year <= y2)
    assert asked(d, MONTHS[m], d2, MONTHS[m2]) is within((m, d), (month, today), (m2, d2))
    assert asked(MONTHS[m], y, MONTHS[m2], y2) is ((y, m) <= (year, month) <= (y2, m2))
    assert asked(d, MONTHS[m], y, d2, MONTHS[m2], y2) is (
        (y, m, d) <= (year, month, today) <= (y2, m2, d2)
    )


@given(MOMENT, st.data())
def test_time_range(now: datetime, data: st.DataObject) -> None:
    hours, sixty = st.integers(0, 23), st.integers(0, 59)
    h, h2 = data.draw(st.tuples(hours, hours))
    m, m2, s, s2 = data.draw(st.tuples(sixty, sixty, sixty, sixty))
    moment = (now.hour, now.minute, now.second)

    def asked(*args: Any) -> Any:
        return call("timeRange", *args, "GMT", now=now)

    assert asked(h) is (h == now.hour)
    assert asked(h, h2) is within(h, now.hour, h2)
    assert asked(h, m, h2, m2) is within((h, m, 0), moment, (h2, m2, 59))
    assert asked(h, m, s, h2, m2, s2) is within((h, m, s), moment, (h2, m2, s2))


@given(st.sampled_from(["weekdayRange", "dateRange", "timeRange"]),
       st.lists(st.one_of(st.text(max_size=3), st.none(), st.booleans()), max_size=7))  # fmt: skip
@settings(max_examples=50)
def test_nonsense_is_no_match(function: str, args: list[Any]) -> None:
    assert call(function, *args, "x") is False


def test_local_time_without_gmt() -> None:
    now = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)
    local = now.astimezone()
    assert call("timeRange", local.hour, now=now) is True
    assert call("weekdayRange", DAYS[int(time.strftime("%w", local.timetuple()))], now=now) is True
