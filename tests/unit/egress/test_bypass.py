"""The bypass dialect: what each form matches, and what is refused at save."""

from __future__ import annotations

import pytest

from garrison.egress import BypassEntry, BypassEntryError, BypassList, Endpoint

MATCHES = [
    # entry, host, port, matches
    ("example.test", "example.test", 443, True),
    ("example.test", "a.example.test", 443, True),
    ("example.test", "a.b.example.test", 443, True),
    ("example.test", "notexample.test", 443, False),
    ("example.test", "example.test.evil.test", 443, False),
    (".example.test", "a.example.test", 443, True),
    (".example.test", "example.test", 443, False),
    ("*.example.test", "a.example.test", 443, True),
    ("*.example.test", "example.test", 443, False),
    ("example.test.", "example.test", 443, True),
    ("example.test", "example.test.", 443, True),
    ("EXAMPLE.test", "example.TEST", 443, True),
    ("bücher.test", "xn--bcher-kva.test", 443, True),
    ("xn--bcher-kva.test", "bücher.test", 443, True),
    ("10.1.2.3", "10.1.2.3", 443, True),
    ("10.1.2.3", "10.1.2.4", 443, False),
    ("10.0.0.0/8", "10.1.2.3", 443, True),
    ("10.0.0.0/8", "11.1.2.3", 443, False),
    ("10.0.0.0/255.0.0.0", "10.1.2.3", 443, True),
    ("10.0.0.0/8", "ten.example.test", 443, False),
    ("10.0.0.0/8", "::ffff:10.1.2.3", 443, True),
    ("fd00::/8", "fd00::1", 443, True),
    ("fd00::/8", "fe00::1", 443, False),
    ("[fd00::1]", "fd00::1", 443, True),
    ("fd00::1", "fd00:0::1", 443, True),
    ("[fd00::1]:8443", "fd00::1", 8443, True),
    ("[fd00::1]:8443", "fd00::1", 443, False),
    ("host.test:8443", "host.test", 8443, True),
    ("host.test:8443", "a.host.test", 8443, True),
    ("host.test:8443", "host.test", 443, False),
    (".host.test:8443", "a.host.test", 8443, True),
    ("10.1.2.3:8443", "10.1.2.3", 8443, True),
    ("10.1.2.3:8443", "10.1.2.3", 443, False),
    ("*", "anything.test", 1, True),
    ("*", "10.1.2.3", 1, True),
    ("<local>", "intranet", 80, True),
    ("<local>", "intranet.test", 80, False),
    ("<local>", "10.1.2.3", 80, False),
    ("a_b.test", "a_b.test", 80, True),
]


@pytest.mark.parametrize(("entry", "host", "port", "matches"), MATCHES)
def test_entry_matches(entry: str, host: str, port: int, matches: bool) -> None:
    parsed = BypassEntry.parse(entry)
    assert parsed.matches(Endpoint(host, port)) is matches
    assert BypassEntry.parse(str(parsed)) == parsed


REFUSED = [
    ("10.*", "10.0.0.0/8"),
    ("10.", "10.0.0.0/8"),
    ("10", "10.0.0.0/8"),
    ("10.1.*.*", "10.1.0.0/16"),
    ("10.1.2.", "10.1.2.0/24"),
    ("10.1.2", "10.1.2.0/24"),
    ("300.1.2.3", ""),
    ("*example.test", ".example.test"),
    ("a.*.example.test", ".example.test"),
    ("ex*", "the name, or .name for all below it"),
    ("http://example.test:80/x", "example.test:80"),
    ("http://u:secret@example.test", "example.test"),
    ("example.test/path", "example.test"),
    ("10.0.0.0/33", "10.0.0.0/8"),
    ("example.test:0", ""),
    ("example.test:99999", ""),
    ("example.test:http", ""),
    ("-bad.test", ""),
    ("a..b", ""),
    (".", ""),
    ("[10.1.2.3]", ""),
]


@pytest.mark.parametrize(("entry", "instead"), REFUSED)
def test_entry_that_can_never_match_is_refused(entry: str, instead: str) -> None:
    with pytest.raises(BypassEntryError) as error:
        BypassEntry.parse(entry)
    assert error.value.instead == instead
    assert "secret" not in str(error.value)


def test_list_takes_commas_spaces_and_lines() -> None:
    bypass, errors = BypassList.parse("a.test, b.test;c.test\n10.0.0.0/8  10.*,")
    assert [str(entry) for entry in bypass.entries] == ["a.test", "b.test", "c.test", "10.0.0.0/8"]
    assert [error.entry for error in errors] == ["10.*"]
    assert BypassList.of(str(bypass)) == bypass


WARNINGS = [
    ("a.test a.test", ["a.test is there twice"]),
    ("a.test x.a.test", ["x.a.test is not needed: a.test covers it"]),
    (".a.test a.test", [".a.test is not needed: a.test covers it"]),
    ("a.test:80 a.test", ["a.test:80 is not needed: a.test covers it"]),
    ("10.0.0.0/8 10.1.0.0/16 a.test", ["10.1.0.0/16 is not needed: 10.0.0.0/8 covers it"]),
    ("10.1.2.3/8 a.test", ["10.1.2.3/8 means 10.0.0.0/8"]),
    ("127.0.0.1", ["127.0.0.1 is not needed: 127.0.0.0/8 is always direct"]),
    ("localhost", ["localhost is not needed: localhost is always direct"]),
    ("10.0.0.0/8:443 10.0.0.0/8 a.test", ["10.0.0.0/8:443 is not needed: 10.0.0.0/8 covers it"]),
    (".svc", [".svc is not needed: .svc is always direct"]),
    ("x.cluster.local", ["x.cluster.local is not needed: .cluster.local is always direct"]),
    ("8.8.0.0/16", []),
    (
        "10.0.0.0/8",
        [
            "10.0.0.0/8 matches what is written as an address; a name such as registry.corp.test is"
            " not resolved for it: list names too, if there are any"
        ],
    ),
    ("* a.test", ["a.test is not needed: * covers it"]),
    ("a.test .b.test 10.0.0.0/8 fd00::/8 c.test:80", []),
]


@pytest.mark.parametrize(("text", "warnings"), WARNINGS)
def test_redundant_entries_are_named(text: str, warnings: list[str]) -> None:
    assert list(BypassList.of(text).warnings) == warnings


@pytest.mark.parametrize(
    ("host", "builtin"),
    [
        ("localhost", "localhost"),
        ("app.localhost", "localhost"),
        ("127.9.9.9", "127.0.0.0/8"),
        ("::1", "::1"),
        ("169.254.169.254", "169.254.0.0/16"),
        ("::ffff:169.254.169.254", "169.254.0.0/16"),
        ("fe80::1", "fe80::/10"),
        ("fe80::1%eth0", "fe80::/10"),
    ],
)
def test_loopback_and_link_local_are_always_direct(host: str, builtin: str) -> None:
    entry = BypassList().match(Endpoint(host, 80))
    assert entry is not None
    assert str(entry) == builtin
    assert entry.note
    assert entry in BypassList().builtin
