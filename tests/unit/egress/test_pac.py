"""PAC files: what they may answer, their limits, and that nothing goes direct when they fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from garrison.egress import EgressError, ProxySettings, Target, explain
from garrison.egress.endpoint import Endpoint
from garrison.egress.errors import (
    ConnectFailedError,
    PacAnswerError,
    PacFetchError,
    PacMemoryError,
    PacScriptError,
    PacTimeoutError,
)
from garrison.egress.explain import NOT_FETCHED
from garrison.egress.pac import PacFiles, Sandbox, read_answer
from garrison.egress.rules import More

TARGET = Target.parse("https://a.corp.test/secret/path?token=canary")


def function(body: str) -> str:
    return "function FindProxyForURL(url, host) {\n" + body + "\n}"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("DIRECT", ["None"]),
        ("", ["None"]),
        (" ; ", ["None"]),
        ("PROXY p.test:8080", ["http://p.test:8080"]),
        ("proxy p.test:8080; direct", ["http://p.test:8080", "None"]),
        ("PROXY p.test", ["http://p.test:80"]),
        ("HTTP p.test:1;HTTPS q.test", ["http://p.test:1", "https://q.test:443"]),
        ("SOCKS s.test", ["socks5h://s.test:1080"]),
        ("SOCKS5 [fd00::1]:9;PROXY [fd00::2]", ["socks5h://[fd00::1]:9", "http://[fd00::2]:80"]),
        ("SOCKS4 s.test:1; PROXY p.test:1", ["http://p.test:1"]),
        ("PROXY p.test:1; PROXY p.test:1", ["http://p.test:1"]),
    ],
)
def test_answers(said: str, expected: list[str]) -> None:
    assert [str(one) for one in read_answer("string", said)] == expected


def test_null_means_direct() -> None:
    assert read_answer("null", "") == (None,)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("undefined", ""), ("number", ""), ("object", ""), ("string", "SOCKS4 s:1"),
     ("string", "PROXY"), ("string", "PROXY p:99999"), ("string", "nonsense")],
)  # fmt: skip
def test_answers_without_a_route_are_errors(kind: str, said: str) -> None:
    with pytest.raises(PacAnswerError):
        read_answer(kind, said)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox()
    yield made
    made.close()


def test_a_script_sees_neither_path_nor_query(sandbox: Sandbox) -> None:
    script = function('return "PROXY " + (url === "https://a.corp.test/" ? host : "wrong") + ":1";')
    assert str(sandbox.find(script, TARGET, dns=False).answer[0]) == "http://a.corp.test:1"
    script = function('return "PROXY p:" + url.split(":")[2].replace("/", "");')
    target = Target.parse("wss://a.test:8443/x")
    assert str(sandbox.find(script, target, dns=False).answer[0]) == "http://p:8443"


@pytest.mark.parametrize(
    ("script", "kind", "line"),
    [
        (function("\nif ("), PacScriptError, 4),
        (function("var x;\nreturn x.y.z;"), PacScriptError, 3),
        ("var nothing = 1;", PacScriptError, None),
        ("FindProxyForURL = 5;", PacScriptError, None),
        (function("return f();") + "\nfunction f() { return f() + 1; }", PacScriptError, 4),
        (function("throw 'canary'"), PacScriptError, None),
        (function("var a = [];\nwhile (true) a.push(new Array(999).fill(1));"), PacMemoryError, 3),
        (function("return 5;"), PacAnswerError, None),
        (function("alert('x');"), PacAnswerError, None),
    ],
)
def test_a_script_that_fails_is_an_error_with_its_line(
    sandbox: Sandbox, script: str, kind: type[EgressError], line: int | None
) -> None:
    with pytest.raises(kind) as error:
        sandbox.find(script, TARGET, dns=False)
    assert getattr(error.value, "line", None) == line
    if line is not None:
        assert f"line {line}" in error.value.message
    # And the next one is answered.
    assert sandbox.find(function("return 'DIRECT'"), TARGET, dns=False).answer == (None,)


@pytest.mark.parametrize("where", ["load", "call"])
def test_a_loop_is_stopped(sandbox: Sandbox, where: str) -> None:
    loop = "\nwhile (true) {}"
    script = function(loop) if where == "call" else function("return 'DIRECT'") + loop
    with pytest.raises(PacTimeoutError):
        sandbox.find(script, TARGET, dns=False)


def test_a_process_that_hangs_is_killed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit inside counts processor time; this one is the clock's."""
    from garrison.egress import pac

    sandbox.find(function("return 'DIRECT'"), TARGET, dns=False)
    monkeypatch.setattr(pac, "WALL_SECONDS", 0.05)
    with pytest.raises(PacTimeoutError):
        sandbox.find(function("while (true) {}"), TARGET, dns=False)
    monkeypatch.undo()
    assert sandbox.find(function("return 'DIRECT'"), TARGET, dns=False).answer == (None,)


def test_a_killed_process_is_an_error_and_replaced(sandbox: Sandbox) -> None:
    script = function("return 'PROXY p:1'")
    sandbox.find(script, TARGET, dns=False)
    assert sandbox._process is not None
    sandbox._process.kill()
    sandbox._process.wait()
    assert str(sandbox.find(script, TARGET, dns=False).answer[0]) == "http://p:1"


def test_a_script_has_no_machine(sandbox: Sandbox) -> None:
    script = function(
        "return 'PROXY ' + [typeof require, typeof std, typeof os, typeof fetch,"
        " typeof XMLHttpRequest, typeof process].join('-') + ':1';"
    )
    expected = "-".join(["undefined"] * 6)
    assert str(sandbox.find(script, TARGET, dns=False).answer[0]) == f"http://{expected}:1"


def test_names_are_resolved_only_where_that_is_set(sandbox: Sandbox) -> None:
    script = function("return isInNet('localhost', '127.0.0.0', '255.0.0.0') ? 'DIRECT'"
                      " : 'PROXY p:1'")  # fmt: skip
    off = sandbox.find(script, TARGET, dns=False)
    assert (str(off.answer[0]), off.unresolved) == ("http://p:1", ("localhost",))
    assert "pac_dns" in off.note
    on = sandbox.find(script, TARGET, dns=True)
    assert (on.answer, on.note) == ((None,), "")


class Server:
    """Gives a script, or fails."""

    def __init__(self, script: str) -> None:
        self.script: str | None = script
        self.asked = 0
        self.fetched = threading.Event()

    def load(self, url: str) -> str:
        self.asked += 1
        self.fetched.set()
        if self.script is None:
            raise ConnectFailedError(Endpoint("wpad.test", 80), "EIO")
        return self.script


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


MORE = More(pac_url="http://wpad.test/p.pac")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def files(clock: Clock) -> Iterator[PacFiles]:
    made = PacFiles(clock)
    yield made
    made.close()


def test_one_fetch_serves_many(files: PacFiles) -> None:
    server = Server(function("return 'PROXY p:1'"))
    for host in ("a.test", "b.test", "a.test"):
        found = files.find(MORE, Target.parse(f"https://{host}"), server.load)
        assert str(found.answer[0]) == "http://p:1"
    assert server.asked == 1


def test_an_answer_is_kept_for_its_destination(files: PacFiles, clock: Clock) -> None:
    server = Server("var n = 0;" + function("n++; return 'PROXY p:' + n"))
    ports = [str(files.find(MORE, TARGET, server.load).answer[0]) for _ in range(3)]
    other = Target.parse("https://b.test")
    ports.append(str(files.find(MORE, other, server.load).answer[0]))
    clock.now += 61
    ports.append(str(files.find(MORE, TARGET, server.load).answer[0]))
    assert ports == ["http://p:1", "http://p:1", "http://p:1", "http://p:2", "http://p:3"]


def test_the_old_file_is_used_until_a_new_one_is_there(files: PacFiles, clock: Clock) -> None:
    server = Server(function("return 'PROXY old:1'"))
    files.find(MORE, TARGET, server.load)
    server.script = None
    clock.now += 301
    server.fetched.clear()
    assert str(files.find(MORE, TARGET, server.load).answer[0]) == "http://old:1"
    assert server.fetched.wait(5)
    with files._fetching:
        server.script = function("return 'PROXY new:1'")
    clock.now += 61
    server.fetched.clear()
    files.find(MORE, TARGET, server.load)
    assert server.fetched.wait(5)
    with files._fetching:
        assert server.asked == 3
    clock.now += 61
    assert str(files.find(MORE, TARGET, server.load).answer[0]) == "http://new:1"


def test_a_file_that_was_never_fetched_is_an_error(files: PacFiles, clock: Clock) -> None:
    server = Server("")
    server.script = None
    with pytest.raises(PacFetchError) as error:
        files.find(MORE, TARGET, server.load)
    assert error.value.code == "egress.pac_unreachable"
    assert "wpad.test:80" in error.value.message
    server.script = function("return 'DIRECT'")
    clock.now += 2
    assert files.find(MORE, TARGET, server.load).answer == (None,)


def test_a_local_file_is_read_anew(files: PacFiles, tmp_path: Path) -> None:
    path = tmp_path / "proxy file.pac"
    more = More(pac_url=path.as_uri())
    server = Server("")
    with pytest.raises(PacFetchError):
        files.find(more, TARGET, server.load)
    path.write_bytes(function("return 'PROXY one:1' // \xe9").encode("latin-1"))
    assert str(files.find(more, TARGET, server.load).answer[0]) == "http://one:1"
    path.write_text("\ufeff" + function("return 'PROXY two:1'"))
    assert str(files.find(more, TARGET, server.load).answer[0]) == "http://two:1"
    assert server.asked == 0


def test_explain_evaluates_what_was_fetched(files: PacFiles) -> None:
    settings = ProxySettings.build(more={"pac_url": MORE.pac_url})
    before = explain("https://a.test", settings, "intel", files)
    assert (before.as_dict()["route"], before.note) == ("unknown", NOT_FETCHED)
    server = Server(function("if (isResolvable(host)) return 'DIRECT'; return 'PROXY p:1; DIRECT'"))
    files.find(MORE, TARGET, server.load)
    after = explain("https://a.test", settings, "intel", files).as_dict()
    assert (after["route"], after["proxy"], after["decided_by"]) == ("proxy", "http://p:1", "pac")
    assert [one["route"] for one in after["candidates"]] == ["proxy", "direct"]
    assert "a.test" in after["note"]
    server.script = function("return x;")
    broken = PacFiles()
    try:
        with pytest.raises(PacScriptError):
            broken.find(MORE, TARGET, server.load)
        told = explain("https://a.test", settings, "intel", broken)
        assert told.as_dict()["route"] == "unknown"
        assert "line 2" in told.note
    finally:
        broken.close()
