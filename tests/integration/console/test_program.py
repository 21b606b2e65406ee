"""The program as people start it: addresses, set-up, restarts, stopping, other processes."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
import stat
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.console.program import (
    PASSWORD,
    Browser,
    Program,
    clean_environment,
    free_port,
    garrison,
    until,
)

CANARY = "c4n4ry-p@ss:w/rd%"


def set_up(program: Program) -> Browser:
    """Open the set-up link and choose a password, as a person does."""
    link = program.setup_link
    assert link
    browser = Browser(program.url)
    parts = urlsplit(link)
    page = browser.call("GET", f"{parts.path}?{parts.query}")
    assert page.status == 200, page.text
    done = browser.call(
        "POST",
        "/setup",
        form={
            "token": parts.query.partition("=")[2],
            "name": "ada",
            "password": PASSWORD,
            "repeat": PASSWORD,
            "again": PASSWORD,
            "password_again": PASSWORD,
        },
    )
    assert done.status == 303, done.text
    assert "garrison_session" in browser.cookies
    return browser


def test_up_prints_two_lines_and_enrols_its_defender(tmp_path: Path) -> None:
    with Program("up", tmp_path / "data") as program:
        assert [line.partition(": ")[0] for line in program.lines] == ["Console", "Set-up"]
        link = program.setup_link
        assert link
        assert link.startswith(f"{program.url}/setup?token=")
        program.wait_event("Defender connected")

        api = Browser(program.url, token=program.token())
        (defender,) = api.call("GET", "/api/v1/defenders").json["items"]
        assert defender["connected"]
        assert defender["group"] == "local"
        assert Browser(program.url).call("GET", "/readyz").status == 200
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700

    # A secret is printed once, for the person at the terminal, and logged nowhere.
    assert link.partition("token=")[2] not in "\n".join(program.log)


def test_everything_is_kept_over_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Program("up", data) as program:
        browser = set_up(program)
        program.wait_event("Defender connected")
        token = program.token()
        api = Browser(program.url, token=token)
        before = api.call("GET", "/api/v1/defenders").json["items"]
        port = urlsplit(program.url).port

    with Program("up", data, listen=f"127.0.0.1:{port}") as program:
        assert program.setup_link is None
        program.wait_event("Defender connected")
        api = Browser(program.url, token=token)
        after = api.call("GET", "/api/v1/defenders").json["items"]
        assert [d["id"] for d in after] == [d["id"] for d in before]
        assert browser.call("GET", "/manage/system/proxy").status == 200
        assert len(api.call("GET", "/api/v1/join-tokens").json["items"]) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_seconds_whatever_is_open(tmp_path: Path, number: int) -> None:
    """An idle kept-alive connection, a half-sent request, and a Defender's session."""
    with Program("up", tmp_path / "data") as program:
        program.wait_event("Defender connected")
        parts = urlsplit(program.url)
        idle = http.client.HTTPConnection(str(parts.hostname), parts.port)
        idle.request("GET", "/healthz")
        idle.getresponse().read()
        with socket.create_connection((parts.hostname, parts.port)) as half:
            half.sendall(b"POST /api/v1/scans HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            seconds = program.stop(number)
        idle.close()

    assert seconds < 6
    assert program.process.returncode == 0
    assert not any("Traceback" in line for line in program.log)


@pytest.mark.parametrize("which", ["--listen", "--gateway-listen"])
def test_a_taken_port_is_said_plainly(tmp_path: Path, which: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = "--gateway-listen" if which == "--listen" else "--listen"
        done = garrison("up", "--data", tmp_path, which, address, other, "127.0.0.1:0")

    assert done.returncode == 3
    assert done.stdout == ""
    assert address in done.stderr
    assert "console.listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_setting_that_cannot_work_is_exit_2(tmp_path: Path) -> None:
    done = garrison("console", "--data", tmp_path, GARRISON_HTTP_PROXY="proxy")

    assert done.returncode == 2
    assert "GARRISON_HTTP_PROXY" in done.stderr


def test_the_wrong_key_is_exit_3(tmp_path: Path) -> None:
    """The database alone is not enough to read credentials, or to start with."""
    garrison("egress", "set", "--data", tmp_path, "--http-proxy", "http://a.test:1")
    (tmp_path / "key").unlink()

    done = garrison("console", "--data", tmp_path, "--listen", "127.0.0.1:0")

    assert done.returncode == 3
    assert "key.mismatch" in done.stderr


def test_a_password_file_sets_up(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    environ = {"GARRISON_ADMIN_PASSWORD_FILE": str(password)}
    with Program("console", tmp_path / "data", environ) as program:
        assert program.setup_link is None
        browser = Browser(program.url)
        done = browser.call("POST", "/sign-in", form={"name": "admin", "password": PASSWORD})
        assert done.status == 303
        assert browser.call("GET", "/images").status == 200


def test_https_with_our_own_ca_where_others_can_reach_it(tmp_path: Path) -> None:
    environ = {"GARRISON_PUBLIC_URL": "https://localhost"}
    with Program("console", tmp_path / "data", environ, listen="0.0.0.0:0") as program:
        port = program.wait_event("console started")["port"]
        from garrison.cli.target import Local

        with Local(tmp_path / "data", {}).state() as state:
            trust = ssl.create_default_context(cadata=state.authority.certificate_pem)
        answer = Browser(f"https://localhost:{port}", trust=trust).call("GET", "/sign-in")

        assert answer.status in {200, 303}
        assert "max-age" in answer.headers["strict-transport-security"]
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert not plain.recv(100).startswith(b"HTTP/1.1 2")


def test_settings_of_another_process_are_used_within_seconds(tmp_path: Path) -> None:
    data = tmp_path / "data"
    early = garrison("egress", "set", "--data", data, "--no-proxy", ".corp.test", "--json")
    assert early.returncode == 0
    assert json.loads(early.stdout)["revision"] == 1

    with Program("up", data) as program:
        program.wait_event("Defender connected")
        api = Browser(program.url, token=program.token())
        assert api.call("GET", "/api/v1/settings/proxy").json["no_proxy"] == [".corp.test"]

        done = garrison(
            "egress", "set", "--data", data, "--http-proxy", "http://127.0.0.1:9",
            "--user", "svc", "--password-stdin",
            stdin=CANARY,
        )  # fmt: skip
        assert done.returncode == 0

        def explained() -> bool:
            body = {"url": "https://hub.test/"}
            route = api.call("POST", "/api/v1/egress/explain", body).json
            return bool(route["proxy"] == "http://127.0.0.1:9")

        until(explained, "the new proxy in force", program)

        def followed() -> bool:
            (defender,) = api.call("GET", "/api/v1/defenders").json["items"]
            return bool(defender["connected"] and defender["settings_revision"] == 2)

        until(followed, "the local Defender with revision 2", program)
        for path in ("settings/proxy", "audit", "defenders", "egress/connections"):
            assert CANARY not in api.call("GET", f"/api/v1/{path}").text

    assert CANARY not in "\n".join(program.log) + done.stdout + done.stderr


def test_the_command_line_speaks_to_a_running_console(tmp_path: Path) -> None:
    with Program("up", tmp_path / "data") as program:
        program.wait_event("Defender connected")
        environ = {"GARRISON_CONSOLE": program.url, "GARRISON_TOKEN": program.token()}

        saved = garrison(
            "egress", "set", "--http-proxy", "http://127.0.0.1:9", "--user", "svc",
            "--password-stdin", "--json",
            stdin=CANARY, **environ,
        )  # fmt: skip
        assert saved.returncode == 0, saved.stderr
        assert json.loads(saved.stdout)["password_set"]
        cleared = garrison("egress", "set", "--no-proxy", ".corp.test", "--json", **environ)
        assert json.loads(cleared.stdout)["http_proxy"] == "http://127.0.0.1:9"
        assert json.loads(cleared.stdout)["password_set"]

        bad = garrison("egress", "set", "--http-proxy", "nonsense", **environ)
        assert bad.returncode == 2
        assert "HTTP Proxy" in bad.stderr

        name = json.loads(garrison("defenders", "--json", **environ).stdout)["items"][0]["name"]
        time.sleep(1.5)
        route = garrison(
            "egress", "explain", "https://hub.test/", "--from", name, "--json", **environ
        )
        assert route.returncode == 0, route.stderr
        assert json.loads(route.stdout)["route"] == "proxy"
        tested = garrison(
            "egress", "test", "https://hub.test/", "--from", name, "--json", **environ
        )
        assert tested.returncode == 1
        assert json.loads(tested.stdout)["trace"][-1]["ok"] is False
        scheme = garrison("egress", "explain", "ftp://hub.test/", **environ)
        assert (scheme.returncode, "egress.bad_url" in scheme.stderr) == (2, True)
        nobody = garrison("egress", "test", "https://a.test", "--from", "nobody", **environ)
        assert (nobody.returncode, "not_found" in nobody.stderr) == (3, True)

        wrong = garrison("images", **{**environ, "GARRISON_TOKEN": "grt_wrong"})
        assert (wrong.returncode, "access.token" in wrong.stderr) == (3, True)
        for words in (["images"], ["findings"], ["alerts"], ["join-tokens", "list"]):
            done = garrison(*words, "--json", **environ)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout) is not None
        everything = saved.stdout + saved.stderr + tested.stdout + route.stdout

    assert CANARY not in "\n".join(program.log) + everything


def test_without_a_console_the_command_line_says_so(tmp_path: Path) -> None:
    none = garrison("images", "--data", tmp_path / "nothing")
    assert (none.returncode, "console.no_data" in none.stderr) == (3, True)
    dead = garrison("images", "--console", f"http://127.0.0.1:{free_port()}", GARRISON_TOKEN="x")
    assert (dead.returncode, "egress.connection_refused" in dead.stderr) == (3, True)
    both = garrison("images", "--console", "http://a.test", "--data", tmp_path)
    assert both.returncode == 2
    untold = garrison("images", "--console", "http://a.test")
    assert untold.returncode == 2


def test_egress_without_a_console_reads_the_environment(tmp_path: Path) -> None:
    data = tmp_path / "nothing"
    environ = {"HTTPS_PROXY": "http://svc:p%40ss@proxy.test:3128", "NO_PROXY": ".corp.test"}

    shown = garrison("egress", "show", "--data", data, "--json", **environ)
    document = json.loads(shown.stdout)
    assert document["http_proxy"] == "http://proxy.test:3128"
    assert document["sources"]["http_proxy"] == "HTTPS_PROXY"
    assert document["user"] == "svc"
    assert "p@ss" not in shown.stdout
    assert not data.exists()

    own = garrison(
        "egress", "show", "--data", data, "--json",
        **environ, GARRISON_HTTP_PROXY="http://own.test:1",
    )  # fmt: skip
    assert json.loads(own.stdout)["http_proxy"] == "http://own.test:1"

    # A shell's own proxy is not the Console's: a save does not take it over.
    saved = garrison("egress", "set", "--data", data, "--user", "x", "--json", **environ)
    assert json.loads(saved.stdout)["http_proxy"] == ""


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (["--http-proxy", "proxy.test"], ""),
        (["--no-proxy", "http://a/b"], ""),
        (["--ca-file", "/does/not/exist"], ""),
        (["--user", "a:b"], ""),
        (["--password-stdin"], ""),
        ([], ""),
    ],
)
def test_refused_settings_change_nothing(tmp_path: Path, words: list[str], stdin: str) -> None:
    garrison("egress", "set", "--data", tmp_path, "--http-proxy", "http://a.test:1")

    done = garrison("egress", "set", "--data", tmp_path, *words, stdin=stdin)

    assert done.returncode == 2
    shown = json.loads(garrison("egress", "show", "--data", tmp_path, "--json").stdout)
    assert (shown["revision"], shown["http_proxy"]) == (1, "http://a.test:1")


def test_a_ca_file_is_read_and_its_bad_line_is_named(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from garrison.fleet import Authority

    pem = tmp_path / "ca.pem"
    pem.write_text(Authority.create(datetime.now(UTC)).certificate_pem)
    done = garrison("egress", "set", "--data", tmp_path / "d", "--ca-file", pem, "--json")
    assert len(json.loads(done.stdout)["ca_certificates"]) == 1

    pem.write_text(pem.read_text() + "-----BEGIN CERTIFICATE-----\nAAAA\n")
    bad = garrison("egress", "set", "--data", tmp_path / "d", "--ca-file", pem)
    assert bad.returncode == 2
    assert "line " in bad.stderr

    cleared = garrison("egress", "set", "--data", tmp_path / "d", "--ca-file", "", "--json")
    assert json.loads(cleared.stdout)["ca_certificates"] == []


def test_users_reset(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    data = tmp_path / "data"
    environ = {"GARRISON_ADMIN_PASSWORD_FILE": str(password)}
    with Program("console", data, environ) as program:
        made = garrison("users", "reset", "admin", "--data", data)
        assert made.returncode == 0
        new = made.stdout.strip()
        assert len(new) >= 12
        browser = Browser(program.url)
        old = browser.call("POST", "/sign-in", form={"name": "admin", "password": PASSWORD})
        assert old.status != 303
        done = browser.call("POST", "/sign-in", form={"name": "admin", "password": new})
        assert done.status == 303

    assert garrison("users", "reset", "nobody", "--data", data).returncode == 3
    short = garrison("users", "reset", "admin", "--data", data, "--password-stdin", stdin="short")
    assert short.returncode == 2


def test_the_environment_of_the_tests_is_clean() -> None:
    assert "GARRISON_TOKEN" not in clean_environment()


def own_addresses() -> list[str]:
    """Addresses of this machine's network cards that a listener can be bound to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # A datagram socket sends nothing when it is connected; it only chooses its address.
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return []
        return [probe.getsockname()[0]]


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", *(f"{a}:0" for a in own_addresses())])
def test_the_local_defender_reaches_its_gateway_whatever_the_proxy(
    tmp_path: Path, listen: str
) -> None:
    """No proxy may stand between two halves of one machine: nothing listens at this one."""
    environ = {"GARRISON_HTTP_PROXY": "http://127.0.0.1:9"}
    with Program("up", tmp_path / "data", environ, gateway_listen=listen) as program:
        assert program.wait_event("Defender connected")["route"] == "direct"


def test_rules_from_a_file_and_a_defenders_share_of_them(tmp_path: Path) -> None:
    """Set on the Console's machine, written out for one group, read by who has that file."""
    data, file = tmp_path / "data", tmp_path / "rules.json"
    proxies = [
        {"name": "eu", "address": "https://eu.test:2", "user": "e", "password": CANARY},
        {"name": "us", "address": "socks5h://us.test:3", "user": "u", "password": f"us-{CANARY}"},
    ]
    rules = [
        {"name": "r-eu", "use": "proxy", "proxies": ["eu"], "groups": ["eu"]},
        {"name": "r-us", "use": "proxy", "proxies": ["us"], "groups": ["us"]},
    ]
    file.write_text(json.dumps({"proxies": proxies, "rules": rules, "http_proxy": "http://x:1"}))
    done = garrison("egress", "set", "--data", data, "--file", file, "--http-proxy", "http://a:1")
    assert done.returncode == 0, done.stderr
    assert "r-eu: group eu → eu" in done.stdout
    assert CANARY not in done.stdout + done.stderr

    out = tmp_path / "defender.json"
    garrison("egress", "export", "--data", data, "--group", "eu", "--output", out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    text = out.read_text()
    assert json.dumps(CANARY) in text
    assert f"us-{CANARY}" not in text
    assert "r-us" not in text

    environ = {"GARRISON_EGRESS_FILE": str(out), "HTTPS_PROXY": "http://hostile.test:1"}
    there = garrison("egress", "explain", "https://x.test/", "--data", tmp_path / "n", "--json",
                     **environ)  # fmt: skip
    here = garrison(
        "egress", "explain", "https://x.test/", "--data", data, "--group", "eu", "--json"
    )
    for answer in (there, here):
        route = json.loads(answer.stdout)
        assert (route["proxy"], route["rule"]) == ("https://eu.test:2", "r-eu")

    file.write_text(json.dumps({"rulez": []}))
    bad = garrison("egress", "set", "--data", data, "--file", file)
    assert (bad.returncode, "rulez" in bad.stderr) == (2, True)
    out.write_text("{")
    broken = garrison("egress", "show", "--data", tmp_path / "n", **environ)
    assert (broken.returncode, "GARRISON_EGRESS_FILE" in broken.stderr) == (2, True)
