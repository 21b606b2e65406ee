"""The list of hosts as firewalls and proxies take it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from garrison.console import allow_list
from garrison.database.contacts import ContactRow
from tests.unit.console.harness import NOW

ROW = ContactRow(
    id=1, host="hooks.slack.test", port=443, source="console", source_name="console", group="",
    purpose="alerts", route="proxy.test:8080", first_seen=NOW - timedelta(days=1), last_seen=NOW,
    succeeded=1, failed=0, last_ok=True, last_code="", last_ok_at=NOW, last_failed_at=None,
    fail_code="", fail_hop="", fail_who="", failure=None, trace=None, last_ms=None, usual_ms=None,
    sent=0, received=0,
)  # fmt: skip
NODE = replace(ROW, source="d1", source_name="node-1", group="eu", purpose="registry")


def test_each_host_and_port_stands_once() -> None:
    newer = replace(NODE, last_seen=NOW + timedelta(1), last_ok=False, last_code="egress.x",
                    route="direct")  # fmt: skip
    (entry,) = allow_list.entries([ROW, newer])
    assert entry.purposes == ("alerts", "registry")
    assert entry.sources == ("Console", "node-1")
    assert entry.routes == ("direct", "proxy.test:8080")
    assert entry.result == "egress.x"


def test_only_one_way_and_nothing_that_stays_here() -> None:
    rows = [
        ROW,
        replace(NODE, host="inside.test", route="direct"),
        replace(ROW, host="127.0.0.1"),
        replace(ROW, host="::1"),
        replace(ROW, host="typo.test", purpose="test"),
    ]
    assert [e.host for e in allow_list.entries(rows)] == ["hooks.slack.test", "inside.test"]
    assert [e.host for e in allow_list.entries(rows, "direct")] == ["inside.test"]
    assert [e.host for e in allow_list.entries(rows, "proxy")] == ["hooks.slack.test"]


def test_many_defenders_are_named_by_group() -> None:
    rows = [replace(NODE, source=f"d{n}", source_name=f"n{n}") for n in range(9)]
    assert allow_list.entries(rows)[0].sources == ("eu (9 Defenders)",)


def listed(*rows: ContactRow) -> list[dict[str, object]]:
    return [entry.as_dict() for entry in allow_list.entries(rows)]


def test_plain_hosts_stand_once() -> None:
    found = listed(ROW, replace(ROW, port=8443), replace(ROW, host="a.test"))
    assert allow_list.render(found, "hosts") == "a.test\nhooks.slack.test\n"


def test_csv_runs_no_formula() -> None:
    """A group's name comes from whoever made the join token; spreadsheets run `=…`."""
    text = allow_list.render(listed(replace(NODE, source_name="=cmd()")), "csv")
    head, line, end = text.split("\r\n")
    assert head == "host,port,purposes,from,routes,first_at,last_at,result"
    assert line.startswith("hooks.slack.test,443,registry,'=cmd(),proxy.test:8080,2026-05-03")
    assert end == ""


def test_squid_gets_names_and_addresses_apart() -> None:
    found = listed(ROW, replace(ROW, host="10.1.2.3", port=8443), replace(ROW, port=8443))
    assert allow_list.render(found, "squid").splitlines()[1:] == [
        "acl garrison_hosts dstdomain hooks.slack.test",
        "acl garrison_addresses dst 10.1.2.3",
        "acl garrison_ports port 443 8443",
        "http_access allow garrison_hosts garrison_ports",
        "http_access allow garrison_addresses garrison_ports",
    ]
    assert allow_list.render([], "squid").count("\n") == 1
