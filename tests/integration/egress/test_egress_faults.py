"""Every fault is told by its own code, at its hop, by both drivers alike."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from garrison.egress import ProxySettings, TestResult
from garrison.egress.body import check_connection
from garrison.egress.http import EgressClient
from lab import faults as bad
from lab.authority import Authority
from lab.faults import answers, full_backlog, scripted
from lab.squid import Squid
from tests.integration.egress.conftest import HOST, USER, settings, signed_in
from tests.integration.egress.destination import Destination, serve

Look = Callable[..., TestResult]


async def run(
    url: str, found: ProxySettings, *, timeout: float = 5.0, origin: str = "console"
) -> TestResult:
    """Test by both drivers; they must agree on everything but the times."""
    client = EgressClient(found)
    try:
        first, second = await asyncio.gather(
            client.test(url, purpose="registry", timeout=timeout),
            asyncio.to_thread(check_connection, url, found, purpose="registry", timeout=timeout),
        )
    finally:
        await client.aclose()
    assert _timeless(first) == _timeless(second)
    return first


def _timeless(result: TestResult) -> object:
    document = result.as_dict()
    if document["answer"]:
        del document["answer"]["body"]  # proxies date their pages
    for step in document["trace"]:
        del step["ms"]
    text = re.sub(r"\d+\.\d s", "N s", str(document))
    return re.sub(r"only \d+ bytes", "only N bytes", text)


def told(result: TestResult) -> tuple[str, str, str]:
    assert result.error is not None, result.as_dict()
    assert result.error["hint"]
    assert not result.steps[-1].ok
    assert result.steps[-1].hop == result.error["hop"]
    return result.error["code"], result.error["hop"], result.error["who"]


# --- reaching the proxy ---------------------------------------------------------------------


async def test_proxy_name_unknown() -> None:
    result = await run(f"https://{HOST}/", settings("http://nosuch.invalid:3128"))
    assert told(result) in (
        ("egress.proxy_unknown", "resolve", "you"),
        # Where no name server answers at all, that is what there is to say.
        ("egress.name_server", "resolve", "network"),
    )


async def test_destination_name_unknown_directly() -> None:
    result = await run("https://nosuch.invalid/", ProxySettings())
    assert result.error is not None
    assert result.error["code"] in ("egress.destination_unknown", "egress.name_server")
    assert [step.hop for step in result.steps] == ["resolve"]


async def test_connection_refused() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        proxied = await run(f"https://{HOST}/", settings(f"http://127.0.0.1:{port}"))
        direct = await run(f"https://127.0.0.1:{port}/", ProxySettings())

    assert told(proxied) == ("egress.proxy_connection_refused", "tcp", "you")
    assert told(direct) == ("egress.connection_refused", "tcp", "destination")


async def test_packets_are_dropped() -> None:
    with full_backlog() as port:
        proxied = await run(f"https://{HOST}/", settings(f"http://127.0.0.1:{port}"), timeout=0.5)
        direct = await run(f"https://127.0.0.1:{port}/", ProxySettings(), timeout=0.5)

    assert told(proxied) == ("egress.proxy_connect_timeout", "tcp", "network")
    assert told(direct) == ("egress.connect_timeout", "tcp", "network")


async def test_proxy_by_ipv6_literal(secure: Destination, outside_ca: Authority) -> None:
    with scripted(bad.tunnel_to(secure.port), address="::1") as port:
        result = await run(secure.url, settings(f"http://[::1]:{port}", outside_ca))

    assert result.ok


async def test_broken_address_family_costs_one_try(
    secure: Destination, outside_ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`localhost` has two addresses here, and the proxy listens at one."""
    with scripted(bad.tunnel_to(secure.port)) as port:
        v6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
        v4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [v6, v4])
        result = await run(secure.url, settings(f"http://proxy.test:{port}", outside_ca))

    assert result.ok
    assert result.steps[0].detail == "::1, 127.0.0.1"
    assert result.steps[1].detail == "127.0.0.1"


# --- TLS to the proxy -----------------------------------------------------------------------


async def test_proxy_certificate_from_unknown_ca(tls_squid: Squid) -> None:
    result = await run(f"https://{HOST}/", signed_in(tls_squid))

    assert told(result) == ("egress.proxy_tls_unknown_ca", "proxy-tls", "you")
    assert result.error is not None
    assert "ACME TLS Inspection CA" in result.error["message"]
    assert re.search(r"fingerprint ([0-9A-F]{2}:){31}[0-9A-F]{2}", result.error["hint"])


async def test_proxy_certificate_for_another_name(proxy_ca: Authority) -> None:
    context = proxy_ca.server_context("other.test")
    with scripted(answers("HTTP/1.1 200 OK\n\n"), context=context) as port:
        result = await run(f"https://{HOST}/", settings(f"https://127.0.0.1:{port}", proxy_ca))

    assert told(result) == ("egress.proxy_tls_wrong_name", "proxy-tls", "you")
    assert result.error is not None
    assert "other.test" in result.error["message"]


async def test_https_to_a_plain_proxy(squid: Squid) -> None:
    result = await run(f"https://{HOST}/", settings(f"https://127.0.0.1:{squid.port}"))

    assert told(result) == ("egress.proxy_speaks_http", "proxy-tls", "you")
    assert result.error is not None
    assert f"http://127.0.0.1:{squid.port}" in result.error["hint"]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_http_to_a_tls_proxy(tls_squid: Squid, scheme: str) -> None:
    result = await run(f"{scheme}://{HOST}/", settings(f"http://127.0.0.1:{tls_squid.port}"))

    assert told(result) == ("egress.proxy_speaks_tls", "tunnel", "you")
    assert result.error is not None
    assert f"https://127.0.0.1:{tls_squid.port}" in result.error["hint"]


async def test_proxy_wants_client_certificate(proxy_ca: Authority) -> None:
    """TLS 1.3 says so only after the handshake."""
    import ssl

    context = proxy_ca.server_context("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(proxy_ca.certificate)
    with scripted(answers("HTTP/1.1 200 OK\n\n"), context=context) as port:
        result = await run(f"https://{HOST}/", settings(f"https://127.0.0.1:{port}", proxy_ca))

    assert result.error is not None
    assert result.error["code"] == "egress.proxy_client_certificate"
    assert result.error["hop"] == "proxy-tls"


async def test_proxy_ends_in_tls() -> None:
    for script, code in (
        (bad.resets, "egress.proxy_tls_closed"),
        (bad.closes_at_once, "egress.proxy_tls_closed"),
        (bad.hangs, "egress.proxy_tls_timeout"),
    ):
        with scripted(script) as port:
            result = await run(
                f"https://{HOST}/", settings(f"https://127.0.0.1:{port}"), timeout=0.6
            )
        assert told(result)[:2] == (code, "proxy-tls")


async def test_https_to_an_ssh_server() -> None:
    with scripted(bad.ssh) as port:
        result = await run(f"https://{HOST}/", settings(f"https://127.0.0.1:{port}"))

    assert told(result) == ("egress.proxy_not_http", "proxy-tls", "you")
    assert result.error is not None
    assert "SSH" in result.error["message"]


# --- the proxy's answer ---------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_authentication_by_squid(basic_squid: Squid, scheme: str) -> None:
    """The same for tunnels and for requests in absolute form."""
    mark = basic_squid.mark()
    url = f"{scheme}://{HOST}:9/"
    none = await run(url, settings(basic_squid))
    wrong = await run(url, settings(basic_squid, user=USER, password="wrong"))

    assert told(none) == ("egress.proxy_auth_required", "proxy-auth", "you")
    assert told(wrong) == ("egress.proxy_auth_refused", "proxy-auth", "you")
    assert none.answer is not None
    assert none.answer.status == 407
    assert "ACME egress" in none.answer.headers["proxy-authenticate"]
    # Both faces: once without credentials, and with them once to ask and once to sign in.
    assert [one.status for one in basic_squid.wait_entries(6, since=mark)] == [407] * 6


async def test_password_with_percent_gets_a_word(basic_squid: Squid) -> None:
    result = await run(f"https://{HOST}/", settings(basic_squid, user=USER, password="p%40ss"))

    assert result.error is not None
    assert "percent" in result.error["hint"]


async def test_no_known_scheme_is_offered() -> None:
    text = (
        "HTTP/1.1 407 Proxy Authentication Required\nProxy-Authenticate: Bearer\n"
        'Proxy-Authenticate: Hoba realm="a, Basic b", challenge="x"\nContent-Length: 0\n\n'
    )
    with scripted(answers(text)) as port:
        result = await run(f"https://{HOST}/", settings(f"http://127.0.0.1:{port}"))

    assert told(result) == ("egress.proxy_auth_scheme", "proxy-auth", "proxy")
    assert result.error is not None
    assert "Bearer, Hoba" in result.error["message"]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_denied_by_rule(squid: Squid, scheme: str) -> None:
    squid.deny_hosts(["other.test"])
    mark = squid.mark()
    try:
        result = await run(f"{scheme}://other.test:9/", settings(squid))
    finally:
        squid.deny_hosts([])

    assert told(result) == ("egress.proxy_denied", "tunnel", "proxy")
    assert result.error is not None
    assert "other.test:9" in result.error["hint"]
    assert result.answer is not None
    assert "ERR_ACCESS_DENIED" in result.answer.headers["x-squid-error"]
    assert result.answer.body
    # A tunnel is asked for twice: whether the rule is about the port.
    count = 4 if scheme == "https" else 2
    assert [one.status for one in squid.wait_entries(count, since=mark)] == [403] * count


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_proxy_cannot_reach_the_destination(squid: Squid, scheme: str) -> None:
    mark = squid.mark()
    unknown = await run(f"{scheme}://nosuch.test/", settings(squid), timeout=30)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        refused = await run(f"{scheme}://{HOST}:{held.getsockname()[1]}/", settings(squid))

    # Squid 5 says either, or of a plain request ERR_READ_ERROR, as its name server answers.
    assert told(unknown)[:2] in (
        ("egress.proxy_cannot_resolve", "tunnel"),
        ("egress.proxy_cannot_forward", "tunnel"),
        ("egress.proxy_cannot_connect", "tunnel"),
    )
    assert told(refused) == ("egress.proxy_cannot_connect", "tunnel", "destination")
    assert {one.status for one in squid.wait_entries(4, since=mark)} <= {500, 502, 503}


STATUSES = [
    ("HTTP/1.1 504 Timeout\nProxy-Status: gw; error=connection_timeout\nContent-Length: 0\n\n",
     "egress.proxy_upstream_timeout", "destination"),
    ("HTTP/1.1 502 Bad\nProxy-Status: gw; error=dns_error\nContent-Length: 0\n\n",
     "egress.proxy_cannot_resolve", "you"),
    ("HTTP/1.1 429 Slow down\nRetry-After: 30\nContent-Length: 0\n\n",
     "egress.proxy_rate_limited", "proxy"),
    ("HTTP/1.1 405 Method Not Allowed\nServer: nginx\nContent-Length: 0\n\n",
     "egress.not_a_proxy", "you"),
    ("HTTP/1.1 302 Found\nLocation: https://login.intranet.test/sso?token=x\n"
     "Content-Length: 0\n\n",
     "egress.proxy_portal", "proxy"),
    ("HTTP/1.1 511 Sign in\nContent-Length: 0\n\n", "egress.proxy_portal", "proxy"),
    ("HTTP/1.1 418 Teapot\nContent-Length: 0\n\n", "egress.proxy_refused", "proxy"),
    ("HTTP/1.0 403 Forbidden\n\n<h1>no</h1>", "egress.proxy_denied", "proxy"),
    ("HTTP/1.1 200 OK\nbroken header\n\n", "egress.proxy_bad_answer", "proxy"),
    ("hello there\n", "egress.proxy_not_http", "you"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "who"), STATUSES)
async def test_answer_of_the_proxy(text: str, code: str, who: str) -> None:
    with scripted(answers(text)) as port:
        result = await run(f"https://{HOST}/", settings(f"http://127.0.0.1:{port}"))

    assert told(result) == (code, "tunnel", who)
    assert "token" not in str(result.as_dict())


SCRIPTS = [
    (bad.closes, "egress.proxy_closed"),
    (bad.closes_at_once, "egress.proxy_closed"),
    (bad.resets, "egress.proxy_closed"),
    (bad.hangs, "egress.proxy_silent"),
    (bad.drips, "egress.proxy_silent"),
    (bad.huge_head, "egress.proxy_head_too_large"),
    (bad.ssh, "egress.proxy_not_http"),
    (bad.portal_at_once, "egress.proxy_portal"),
    (bad.portal_later, "egress.proxy_portal"),
]


@pytest.mark.parametrize(("script", "code"), SCRIPTS)
async def test_misbehaving_proxy(script: bad.Script, code: str) -> None:
    """However slowly a proxy drips, the deadline holds."""
    with scripted(script) as port:
        started = time.monotonic()
        result = await run(f"https://{HOST}/", settings(f"http://127.0.0.1:{port}"), timeout=1.0)
        assert time.monotonic() - started < 2 * 1.0 + 2

    # A page that comes late is seen in the TLS handshake, and still the tunnel's fault.
    assert result.error is not None
    assert (result.error["code"], result.error["hop"]) == (code, "tunnel")
    if "portal" in code:
        assert "ACME Guest WiFi" in result.error["message"]


async def test_refusal_with_a_lingering_body_is_told_soon() -> None:
    text = "HTTP/1.1 403 Forbidden\nContent-Length: 100000\n\nno"
    with scripted(answers(text, linger=4.5)) as port:
        started = time.monotonic()
        result = await run(f"https://{HOST}/", settings(f"http://127.0.0.1:{port}"), timeout=30)
        assert time.monotonic() - started < 2 * 2.5

    assert told(result)[0] == "egress.proxy_denied"
    assert result.answer is not None
    assert result.answer.body == "no"


HEADS = [
    "HTTP/1.0 200 Connection established",
    "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Length: 12",
    "HTTP/1.1 200",
    "HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK",
]


@pytest.mark.parametrize("head", HEADS)
async def test_odd_but_valid_answers_are_taken(
    head: str, secure: Destination, outside_ca: Authority
) -> None:
    with scripted(bad.tunnel_to(secure.port, head)) as port:
        result = await run(secure.url, settings(f"http://127.0.0.1:{port}", outside_ca))

    assert result.ok, result.as_dict()


# --- TLS to the destination -----------------------------------------------------------------


async def test_interception_without_its_ca(bump_squid: Squid, secure: Destination) -> None:
    mark = bump_squid.mark()
    result = await run(secure.url, settings(bump_squid))

    assert told(result) == ("egress.tls_intercepted", "tls", "you")
    assert result.intercepted_by == "ACME Corp, ACME TLS Inspection CA"
    assert result.error is not None
    assert "Manage > System > Proxy" in result.error["hint"]
    assert re.search(r"fingerprint ([0-9A-F]{2}:){31}[0-9A-F]{2}", result.error["hint"])
    bump_squid.wait_for(lambda one: one.target == secure.address, since=mark)
    assert secure.seen == []  # the look sent nothing


async def test_destination_of_a_private_ca(squid: Squid, secure: Destination) -> None:
    """Not called interception, although its server sends the root along."""
    proxied = await run(secure.url, settings(squid))

    assert told(proxied) == ("egress.tls_unknown_ca", "tls", "you")
    assert proxied.error is not None
    assert "Outside CA" in proxied.error["message"]
    assert secure.seen == []


@pytest.mark.parametrize(
    ("names", "since", "until", "code"),
    [
        (("x.test", "y.test"), None, None, "egress.tls_wrong_name"),
        ((HOST,), -20, -1, "egress.tls_expired"),
        ((HOST,), 1, 20, "egress.tls_not_yet_valid"),
    ],
)
async def test_bad_certificate_of_the_destination(
    names: tuple[str, ...],
    since: int | None,
    until: int | None,
    code: str,
    squid: Squid,
    outside_ca: Authority,
    tmp_path: Path,
) -> None:
    import ssl

    now = datetime.now(UTC)
    pair = outside_ca.issue(
        *names,
        since=None if since is None else now + timedelta(days=since),
        until=None if until is None else now + timedelta(days=until),
        directory=tmp_path,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with serve(HOST, context) as destination:
        result = await run(destination.url, settings(squid, outside_ca))

    assert told(result)[:2] == (code, "tls")
    assert result.error is not None
    assert "Outside CA" in result.error["message"]
    assert result.intercepted_by is None


async def test_tunnel_that_dies_in_the_handshake() -> None:
    for script, code in (
        (bad.closes_in_tls, "egress.tls_closed"),
        (bad.hangs_in_tls, "egress.tls_timeout"),
    ):
        with scripted(script) as port:
            result = await run(
                f"https://{HOST}/", settings(f"http://127.0.0.1:{port}"), timeout=0.6
            )
        assert told(result)[:2] == (code, "tls")


async def test_direct_destination_without_tls(plain: Destination) -> None:
    result = await run(f"https://127.0.0.1:{plain.port}/", ProxySettings())

    assert told(result) == ("egress.not_tls", "tls", "you")


# --- HTTP and WebSocket ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["secure", "plain"])
async def test_status_of_the_destination(
    squid: Squid, outside_ca: Authority, kind: str, request: pytest.FixtureRequest
) -> None:
    """401 and 404 are answers of somebody who was reached; 500 is a failure, and not ours."""
    destination: Destination = request.getfixturevalue(kind)
    found = settings(squid, outside_ca)
    for status in (401, 404, 429):
        result = await run(f"{destination.url}/status/{status}", found)
        assert result.ok
        assert result.steps[-1].detail == f"HTTP {status}"
    result = await run(f"{destination.url}/status/500", found)
    assert told(result) == ("egress.destination_failed", "http", "destination")


async def test_redirect_to_another_host_is_shown(
    squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    result = await run(
        f"{secure.url}/to?url=https://login.intranet.test/sso", settings(squid, outside_ca)
    )

    assert result.ok
    assert result.steps[-1].detail == "HTTP 302, redirects to login.intranet.test"


async def test_websocket_opens(squid: Squid, outside_ca: Authority, secure: Destination) -> None:
    result = await run(secure.ws, settings(squid, outside_ca))

    assert result.ok
    assert result.steps[-1].hop == "websocket"


async def test_upgrade_refused_by_the_destination(
    squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    result = await run(f"wss://{secure.address}/", settings(squid, outside_ca))

    assert told(result) == ("egress.upgrade_refused", "websocket", "destination")
    assert result.answer is not None
    assert (result.answer.status, result.answer.body) == (200, "hello")


class StrippingSquid(Squid):
    """Opens TLS, and does not let WebSocket pass: Squid's own default."""

    def _configuration(self) -> list[str]:
        return [line for line in super()._configuration() if "http_upgrade" not in line]


async def test_upgrade_stripped_by_an_interceptor(
    hosts_file: Path, proxy_ca: Authority, outside_ca: Authority, secure: Destination
) -> None:
    hosts = f"hosts_file {hosts_file}"
    with StrippingSquid(
        bump=proxy_ca, trust=[outside_ca.certificate], directives=[hosts], name="strip"
    ) as stripping:
        result = await run(secure.ws, settings(stripping, proxy_ca))

    assert told(result) == ("egress.upgrade_stripped", "websocket", "proxy")
    assert result.intercepted_by == "ACME Corp, ACME TLS Inspection CA"
    assert secure.seen  # it arrived there, without Upgrade


async def test_interceptor_rejects_the_destinations_certificate(
    start_squid: Callable[..., Squid], proxy_ca: Authority, secure: Destination
) -> None:
    with start_squid(bump=proxy_ca, name="strict") as strict:
        result = await run(secure.url, settings(strict, proxy_ca))

    assert result.error is not None
    assert result.error["who"] in ("proxy", "you")
    assert result.error["code"] in ("egress.inspector_failed", "egress.tls_intercepted")
