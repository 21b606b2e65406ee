"""What a client promises: settings at once, one door, no secret outside, limits, records."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from garrison.egress import (
    BadUrlError,
    ConnectionRecord,
    EgressError,
    ProxySettings,
    fetch,
    open_body,
)
from garrison.egress.errors import LedAstrayError
from garrison.egress.http import EgressClient
from lab import faults as bad
from lab.authority import Authority
from lab.faults import answers, scripted
from lab.squid import Squid
from tests.integration.egress.conftest import HOST, USER, settings, signed_in
from tests.integration.egress.destination import Destination, pattern


@asynccontextmanager
async def client(
    settings: ProxySettings, records: list[ConnectionRecord] | None = None
) -> AsyncIterator[EgressClient]:
    """records: gains one per connection; what they carry is left out."""

    def note(record: ConnectionRecord) -> None:
        if records is not None and record.opened:
            records.append(record)

    found = EgressClient(settings, observer=note)
    try:
        yield found
    finally:
        await found.aclose()


# --- settings take effect at once -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["secure", "plain"])
async def test_next_request_goes_by_the_new_proxy(
    kind: str,
    squid: Squid,
    basic_squid: Squid,
    outside_ca: Authority,
    request: pytest.FixtureRequest,
) -> None:
    """Although a kept-alive connection through the old one is open."""
    destination: Destination = request.getfixturevalue(kind)
    old, new = squid.mark(), basic_squid.mark()
    async with client(settings(squid, outside_ca)) as egress:
        await egress.request("GET", destination.url, purpose="intel")
        if kind == "secure":
            assert destination.address in squid.open_tunnels()
        egress.use(signed_in(basic_squid, outside_ca))
        await egress.request("GET", destination.url, purpose="intel")

    basic_squid.wait_for(lambda one: destination.address in one.target, since=new)
    squid.wait_for(lambda one: destination.address in one.target, since=old)
    assert len([one for one in squid.entries_since(old) if destination.address in one.target]) == 1


async def test_connections_are_kept_and_old_ones_closed(
    squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    records: list[ConnectionRecord] = []
    mark = squid.mark()
    async with client(settings(squid, outside_ca), records) as egress:
        for _ in range(3):
            await egress.request("GET", f"{secure.url}/status/404", purpose="intel")
        assert len(records) == 1
        egress.use(settings(squid, outside_ca))
        # Squid writes a tunnel down when it is closed.
        await asyncio.to_thread(squid.wait_for, lambda one: one.target == secure.address,
                                since=mark)  # fmt: skip
        await egress.request("GET", secure.url, purpose="intel")
        assert len(records) == 2


async def test_request_under_way_finishes(
    squid: Squid, basic_squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    async with client(settings(squid, outside_ca)) as egress:
        socket_ = await egress.websocket(secure.ws, purpose="fleet")
        async with egress.stream("GET", f"{secure.url}/bytes/9000000", purpose="intel") as answer:
            egress.use(signed_in(basic_squid, outside_ca))
            await egress.request("GET", secure.url, purpose="intel")
            body = b"".join([chunk async for chunk in answer.chunks()])
        await socket_.send(b"still there")
        assert await socket_.receive() == b"still there"
        await socket_.close()

    assert body == pattern(9_000_000)


async def test_use_may_be_called_from_another_thread(
    squid: Squid, basic_squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    """The Console saves settings in a worker thread."""
    new = basic_squid.mark()
    async with client(settings(squid, outside_ca)) as egress:
        await egress.request("GET", secure.url, purpose="intel")
        await asyncio.to_thread(egress.use, signed_in(basic_squid, outside_ca))
        await egress.request("GET", secure.url, purpose="intel")

    basic_squid.wait_for(lambda one: one.target == secure.address, since=new)


# --- secrets --------------------------------------------------------------------------------

CANARY = "canary-7Qx%zz"


async def everything_said(url: str, found: ProxySettings) -> str:
    """All texts that a failing connection leaves: errors, traces, results, stacks."""
    said = [repr(found), str(found.as_view())]
    async with client(found) as egress:
        result = await egress.test(url, purpose="intel", timeout=2)
        said += [repr(result), str(result.as_dict())]
        for call in (
            lambda: egress.request("GET", url, purpose="intel", timeout=2),
            lambda: egress.websocket(url.replace("http", "ws", 1), purpose="fleet", timeout=2),
        ):
            try:
                await call()
            except EgressError as error:
                said += [repr(error), str(error), str(error.as_failure()), str(error.trace)]
                said += [error.hint, repr(error.answer), *traceback.format_exception(error)]
        said.append(repr(vars(egress)))
    try:
        await asyncio.to_thread(fetch, url, found, purpose="intel", timeout=2)
    except EgressError as error:
        said += [repr(error), repr(error.answer), *traceback.format_exception(error)]
    return "\n".join(said)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_password_appears_nowhere(
    scheme: str, basic_squid: Squid, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither it, nor its encodings; a proxy that echoes our request included."""
    caplog.set_level(logging.DEBUG)

    def echoes(connection: socket.socket) -> None:
        head = bad.read_head(connection)
        reply = b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="x"\r\nX-Squid-Error: '
        lines = head.split(b"\r\n")
        line = next((one for one in lines if one.lower().startswith(b"proxy-auth")), b"")
        connection.sendall(reply + line + b"\r\nServer: " + line + b"\r\n\r\n" + head)
        connection.sendall(CANARY.encode() + b" canary-7Qx%25zz")

    import base64

    token = base64.b64encode(f"{USER}:{CANARY}".encode()).decode()
    with scripted(echoes) as port:
        for proxy in (basic_squid.url, f"http://127.0.0.1:{port}"):
            found = settings(proxy, user=USER, password=CANARY)
            said = await everything_said(f"{scheme}://{HOST}/", found)
            said += caplog.text
            assert "proxy_auth_refused" in said
            for secret in (CANARY, token, "canary-7Qx"):
                assert secret not in said


async def test_credentials_never_reach_a_destination(
    basic_squid: Squid, outside_ca: Authority, secure: Destination, plain: Destination
) -> None:
    """Through the proxy, directly, and over redirects from one to the other."""
    found = signed_in(basic_squid, outside_ca)
    direct = f"http://127.0.0.1:{plain.port}"
    headers = {"Proxy-Authorization": "Basic from-a-caller", "Authorization": "Bearer mine"}
    async with client(found) as egress:
        for first, second in (
            (secure.url, plain.url),
            (plain.url, direct),
            (direct, plain.url),
            (plain.url, secure.url),
        ):
            url = f"{first}/to?url={second}/echo"
            if second == direct:
                # From behind a proxy nobody is sent to this machine.
                with pytest.raises(LedAstrayError):
                    await egress.request("GET", url, purpose="intel", headers=headers, redirects=3)
                with pytest.raises(LedAstrayError):
                    await asyncio.to_thread(
                        fetch, url, found, purpose="intel", headers=headers, redirects=3
                    )
                continue
            one = await egress.request("GET", url, purpose="intel", headers=headers, redirects=3)
            two = await asyncio.to_thread(
                fetch, url, found, purpose="intel", headers=headers, redirects=3
            )
            for answer in (one, two):
                assert answer.status == 200
                assert answer.url == f"{second}/echo"
                assert "Authorization" not in answer.json()["headers"]

    seen = (secure.headers_seen + plain.headers_seen).lower()
    assert seen.count("bearer mine") == 8  # the first host of each, which it was meant for
    assert "proxy-authorization" not in seen


async def test_environment_is_not_looked_at(
    squid: Squid, outside_ca: Authority, secure: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hostile values in a library's favourite variables change nothing."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://evil:secret@127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    mark = squid.mark()
    async with client(settings(squid, outside_ca)) as egress:
        answer = await egress.request("GET", secure.url, purpose="intel")
        assert (await egress.test(secure.url, purpose="intel")).ok
    other = await asyncio.to_thread(fetch, secure.url, settings(squid, outside_ca), purpose="intel")

    assert (answer.body, other.body) == (b"hello", b"hello")
    squid.wait_for(lambda one: one.target == secure.address, since=mark)


# --- limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["secure", "plain"])
async def test_cut_bodies_are_errors(
    kind: str, squid: Squid, outside_ca: Authority, request: pytest.FixtureRequest
) -> None:
    destination: Destination = request.getfixturevalue(kind)
    found, url = settings(squid, outside_ca), f"{destination.url}/cut/1000"
    async with client(found) as egress:
        with pytest.raises(EgressError) as one:
            await egress.request("GET", url, purpose="intel")
        with pytest.raises(EgressError) as two:
            async with egress.stream("GET", url, purpose="intel") as answer:
                _ = [chunk async for chunk in answer.chunks()]
    with pytest.raises(EgressError) as three:
        await asyncio.to_thread(fetch, url, found, purpose="intel")

    assert [e.value.code for e in (one, two, three)] == ["egress.truncated"] * 3
    assert all(e.value.route is not None for e in (one, two, three))


async def test_stalled_bodies_time_out(
    squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    found, url = settings(squid, outside_ca), f"{secure.url}/stall"
    async with client(found) as egress:
        with pytest.raises(EgressError) as one:
            await egress.request("GET", url, purpose="intel", timeout=0.4)
        with pytest.raises(EgressError) as two:
            async with egress.stream("GET", url, purpose="intel", timeout=0.4) as answer:
                _ = [chunk async for chunk in answer.chunks()]
    with pytest.raises(EgressError) as three:
        await asyncio.to_thread(fetch, url, found, purpose="intel", timeout=0.4)

    assert [e.value.code for e in (one, two, three)] == ["egress.timeout"] * 3


async def test_large_bodies_are_refused(
    squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    found, url = settings(squid, outside_ca), f"{secure.url}/bytes/100000"
    async with client(found) as egress:
        with pytest.raises(EgressError) as one:
            await egress.request("GET", url, purpose="intel", limit=99_999)
        assert len((await egress.request("GET", url, purpose="intel", limit=100_000)).body)
    with pytest.raises(EgressError) as two:
        await asyncio.to_thread(fetch, url, found, purpose="intel", limit=99_999)

    assert [e.value.code for e in (one, two)] == ["egress.too_large"] * 2


async def test_redirects_end(squid: Squid, outside_ca: Authority, secure: Destination) -> None:
    found, url = settings(squid, outside_ca), f"{secure.url}/to?url=/to%3Furl=/to%253Furl=/"
    async with client(found) as egress:
        assert (await egress.request("GET", url, purpose="intel")).status == 302
        assert (await egress.request("GET", url, purpose="intel", redirects=3)).status == 200
        with pytest.raises(EgressError) as one:
            await egress.request("GET", url, purpose="intel", redirects=2)
    with pytest.raises(EgressError) as two:
        await asyncio.to_thread(fetch, url, found, purpose="intel", redirects=2)

    assert [e.value.code for e in (one, two)] == ["egress.too_many_redirects"] * 2


async def test_bodiless_answers(squid: Squid, outside_ca: Authority, secure: Destination) -> None:
    """HEAD announces a length and sends nothing."""
    found = settings(squid, outside_ca)
    for url, method in ((f"{secure.url}/", "HEAD"), (f"{secure.url}/status/204", "GET")):
        answer = await asyncio.to_thread(fetch, url, found, purpose="registry", method=method)
        assert answer.body == b""
        async with client(found) as egress:
            assert (await egress.request(method, url, purpose="registry")).body == b""


async def test_post_by_both_faces(squid: Squid, outside_ca: Authority, secure: Destination) -> None:
    found, url = settings(squid, outside_ca), f"{secure.url}/echo?q=%C3%BC%2F"
    async with client(found) as egress:
        one = await egress.request("POST", url, purpose="alerts", data=b"body")
    two = await asyncio.to_thread(fetch, url, found, purpose="alerts", method="POST", data=b"body")
    for answer in (one, two):
        document = answer.json()
        assert (document["method"], document["path"]) == ("POST", "/echo?q=%C3%BC%2F")
        assert document["body"] == "body"
        assert document["headers"]["User-Agent"] == "garrison"


@pytest.mark.parametrize("url", ["ftp://x/", "https://", "https://u:p@x/", "https://x:0/", "x"])
async def test_bad_urls(url: str) -> None:
    async with client(ProxySettings()) as egress:
        with pytest.raises(BadUrlError) as one:
            await egress.request("GET", url, purpose="intel")
        with pytest.raises(BadUrlError):
            await egress.test(url, purpose="intel")
    with pytest.raises(BadUrlError):
        open_body(url, ProxySettings(), purpose="intel")
    assert one.value.code == "egress.bad_url"
    assert "p@" not in str(one.value)


# --- failures of requests -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (bad.closes, "egress.proxy_closed"),
        (bad.hangs, "egress.proxy_silent"),
        (bad.ssh, "egress.proxy_not_http"),
        (bad.huge_head, "egress.proxy_head_too_large"),
        (answers("HTTP/1.1 407 No\nProxy-Authenticate: Bearer\nContent-Length: 0\n\n"),
         "egress.proxy_auth_scheme"),
        (answers("HTTP/1.1 403 No\nX-Squid-Error: ERR_ACCESS_DENIED 0\nContent-Length: 2\n\nno"),
         "egress.proxy_denied"),
    ],
)  # fmt: skip
async def test_plain_request_tells_the_proxys_faults(script: bad.Script, code: str) -> None:
    """In absolute form aiohttp reads the answer, and says less than a plan does."""
    records: list[ConnectionRecord] = []
    with scripted(script) as port:
        found = settings(f"http://127.0.0.1:{port}")
        async with client(found, records) as egress:
            with pytest.raises(EgressError) as one:
                await egress.request("GET", f"http://{HOST}/", purpose="intel", timeout=1)
        with pytest.raises(EgressError) as two:
            await asyncio.to_thread(open_body, f"http://{HOST}/", found, purpose="intel", timeout=1)

    assert one.value.code == two.value.code == code
    assert str(one.value.route) == f"127.0.0.1:{port}"


async def test_plain_request_to_a_tls_proxy(tls_squid: Squid) -> None:
    found = settings(f"http://127.0.0.1:{tls_squid.port}")
    async with client(found) as egress:
        with pytest.raises(EgressError) as error:
            await egress.request("GET", f"http://{HOST}/", purpose="intel", timeout=5)

    assert error.value.code == "egress.proxy_speaks_tls"


async def test_destinations_own_errors_are_returned(
    squid: Squid, outside_ca: Authority, secure: Destination, plain: Destination
) -> None:
    """Also in absolute form, where a proxy's 503 looks like one of the destination's."""
    async with client(settings(squid, outside_ca)) as egress:
        for destination in (secure, plain):
            for status in (401, 403, 404, 500, 503):
                url = f"{destination.url}/status/{status}"
                assert (await egress.request("GET", url, purpose="intel")).status == status


async def test_bytes_of_bodies_are_counted(
    squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    """By both faces, and by a WebSocket when it closes."""
    records: list[ConnectionRecord] = []
    found = settings(squid, outside_ca)
    egress = EgressClient(found, observer=records.append)
    try:
        await egress.request("POST", f"{secure.url}/status/404", purpose="alerts", data=b"x" * 70)
        socket = await egress.websocket(secure.ws, purpose="fleet")
        await socket.send(b"12345")
        assert await socket.receive() == b"12345"
        await socket.close()
    finally:
        await egress.aclose()
    await asyncio.to_thread(
        fetch, f"{secure.url}/status/404", found, purpose="registry", observer=records.append
    )

    told = [r for r in records if not r.opened]
    carried = {
        p: (
            sum(r.sent for r in told if r.purpose == p),
            sum(r.received for r in told if r.purpose == p),
        )
        for p in ("alerts", "fleet", "registry")
    }
    assert carried == {"alerts": (70, 23), "fleet": (5, 5), "registry": (0, 6)}
    hops = [[step.hop for step in r.steps][:3] for r in records if r.opened]
    assert hops[0] == hops[-1] == ["resolve", "tcp", "tunnel"]


async def test_failures_carry_trace_and_route(squid: Squid, secure: Destination) -> None:
    records: list[ConnectionRecord] = []
    found = settings(squid)
    async with client(found, records) as egress:
        with pytest.raises(EgressError) as one:
            await egress.request("GET", secure.url, purpose="intel")
        with pytest.raises(EgressError):
            await egress.websocket(secure.ws, purpose="fleet")
    with pytest.raises(EgressError):
        await asyncio.to_thread(fetch, secure.url, found, purpose="registry",
                                observer=records.append)  # fmt: skip

    assert one.value.trace is not None
    assert [step.hop for step in one.value.trace.steps] == ["resolve", "tcp", "tunnel", "tls"]
    assert str(one.value.route) == f"127.0.0.1:{squid.port}"
    assert [(r.purpose, r.ok, r.code, r.hop, r.who) for r in records] == [
        (purpose, False, "egress.tls_unknown_ca", "tls", "you")
        for purpose in ("intel", "fleet", "registry")
    ]


async def test_upgrade_refusal_keeps_the_answer(
    squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    async with client(settings(squid, outside_ca)) as egress:
        with pytest.raises(EgressError) as error:
            await egress.websocket(f"wss://{secure.address}/", purpose="fleet")

    assert (error.value.code, error.value.hop) == ("egress.upgrade_refused", "websocket")
    assert error.value.answer is not None
    assert (error.value.answer.status, error.value.answer.body) == (200, "hello")


async def test_cancelled_dial_leaves_nothing_open() -> None:
    with scripted(bad.hangs) as port:
        async with client(settings(f"http://127.0.0.1:{port}")) as egress:
            task = asyncio.create_task(
                egress.request("GET", f"https://{HOST}/", purpose="intel", timeout=30)
            )
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


# --- one more CA, and the pin ---------------------------------------------------------------


async def test_extra_ca_holds_for_its_requests_alone(
    squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    """A connection that trusts more is not given to a request that does not."""
    async with client(settings(squid)) as egress:
        answer = await egress.request("GET", secure.url, purpose="registry",
                                      extra_ca=outside_ca.pem)  # fmt: skip
        assert answer.status == 200
        with pytest.raises(EgressError) as error:
            await egress.request("GET", secure.url, purpose="registry")
    body = await asyncio.to_thread(
        fetch, secure.url, settings(squid), purpose="registry", extra_ca=outside_ca.pem
    )

    assert error.value.code == "egress.tls_unknown_ca"
    assert body.status == 200


def spki_of(authority: Authority) -> bytes:
    certificate = x509.load_pem_x509_certificate(authority.pem.encode())
    der = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()


async def test_pin_trusts_the_presented_ca(
    squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    """The first time by a look at the chain, then at once."""
    mark = squid.mark()
    async with client(settings(squid)) as egress:
        for _ in range(2):
            socket_ = await egress.websocket(secure.ws, purpose="fleet", pin=spki_of(outside_ca))
            await socket_.send(b"x")
            assert await socket_.receive() == b"x"
            await socket_.close()

    for _ in range(50):
        tunnels = [one for one in squid.tunnels(mark) if one == secure.address]
        if len(tunnels) >= 4:
            break
        await asyncio.sleep(0.1)
    assert len(tunnels) == 4  # refused, looked at, opened; and opened
    assert len(secure.seen) == 2


async def test_pin_of_another_ca_is_refused(
    squid: Squid, other_ca: Authority, secure: Destination
) -> None:
    async with client(settings(squid)) as egress:
        with pytest.raises(EgressError) as error:
            await egress.websocket(secure.ws, purpose="fleet", pin=spki_of(other_ca))

    assert error.value.code == "egress.tls_unknown_ca"
    assert secure.seen == []


async def test_pin_does_not_excuse_a_wrong_name(squid: Squid, outside_ca: Authority) -> None:
    from tests.integration.egress.destination import serve

    with serve(HOST, outside_ca.server_context("elsewhere.test")) as wrong:
        async with client(settings(squid)) as egress:
            with pytest.raises(EgressError) as error:
                await egress.websocket(wrong.ws, purpose="fleet", pin=spki_of(outside_ca))

    assert error.value.code == "egress.tls_wrong_name"
    assert wrong.seen == []


async def test_pin_does_not_outlive_interception(
    bump_squid: Squid, outside_ca: Authority, secure: Destination
) -> None:
    """An interceptor shows its own CA, not the pinned one."""
    async with client(settings(bump_squid)) as egress:
        with pytest.raises(EgressError) as error:
            await egress.websocket(secure.ws, purpose="fleet", pin=spki_of(outside_ca))

    assert error.value.code == "egress.tls_intercepted"


# --- other loops, threads -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["open", "tls"])
def test_uvloop(
    kind: str,
    squid: Squid,
    tls_squid: Squid,
    outside_ca: Authority,
    proxy_ca: Authority,
    secure: Destination,
    plain: Destination,
) -> None:
    """Through plain and TLS proxies, with a fault and its second look."""

    async def main() -> None:
        assert type(asyncio.get_running_loop()).__module__ == "uvloop"
        found = (
            settings(squid, outside_ca)
            if kind == "open"
            else signed_in(tls_squid, outside_ca, proxy_ca)
        )
        async with client(found) as egress:
            for destination in (secure, plain):
                url = f"{destination.url}/bytes/3000000"
                answer = await egress.request("GET", url, purpose="intel")
                assert answer.body == pattern(3_000_000)
            socket_ = await egress.websocket(secure.ws, purpose="fleet")
            await socket_.send(pattern(500_000))
            assert await socket_.receive() == pattern(500_000)
            await socket_.close()
            assert (await egress.test(secure.url, purpose="intel")).ok
            untrusting = signed_in(tls_squid, proxy_ca) if kind == "tls" else settings(squid)
            egress.use(untrusting)
            result = await egress.test(secure.url, purpose="intel")
            assert result.error is not None
            assert result.error["code"] == "egress.tls_unknown_ca"
            assert "Outside CA" in result.error["message"]
            result = await egress.test("https://127.0.0.1:1/", purpose="intel")
            assert result.error is not None
            assert result.error["code"] == "egress.connection_refused"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("script", [bad.portal_later, bad.closes_in_tls, bad.closes, bad.drips])
def test_uvloop_tells_the_same_faults(script: bad.Script) -> None:
    expected: dict[bad.Script, str] = {
        bad.portal_later: "egress.proxy_portal",
        bad.closes_in_tls: "egress.tls_closed",
        bad.closes: "egress.proxy_closed",
        bad.drips: "egress.proxy_silent",
    }

    async def main(port: int) -> None:
        async with client(settings(f"http://127.0.0.1:{port}")) as egress:
            result = await egress.test(f"https://{HOST}/", purpose="intel", timeout=1)
        assert result.error is not None
        assert result.error["code"] == expected[script]

    with scripted(script) as port, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(port))


def test_bodies_in_two_threads(
    tls_squid: Squid, outside_ca: Authority, proxy_ca: Authority, secure: Destination
) -> None:
    found = signed_in(tls_squid, outside_ca, proxy_ca)
    digests: list[str] = []

    def one(n: int) -> None:
        digest, buffer = hashlib.sha256(), bytearray(1 << 18)
        with open_body(f"{secure.url}/bytes/{n}", found, purpose="registry") as body:
            while got := body.readinto(buffer):
                digest.update(memoryview(buffer)[:got])
        digests.append(digest.hexdigest())

    sizes = [4_000_000, 4_000_001]
    threads = [threading.Thread(target=one, args=(n,)) for n in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert set(digests) == {hashlib.sha256(pattern(n)).hexdigest() for n in sizes}


async def test_dial_deadline_is_one_for_all_hops() -> None:
    """A proxy that answers each hop just in time gains nothing."""

    def slow(connection: socket.socket) -> None:
        bad.read_head(connection)
        time.sleep(0.9)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        bad.hangs(connection)

    with scripted(slow) as port:
        found = settings(f"http://127.0.0.1:{port}")
        started = time.monotonic()
        async with client(found) as egress:
            with pytest.raises(EgressError) as one:
                await egress.request("GET", f"https://{HOST}/", purpose="intel", timeout=1.0)
        assert time.monotonic() - started < 1.8
        started = time.monotonic()
        with pytest.raises(EgressError) as two:
            await asyncio.to_thread(
                open_body, f"https://{HOST}/", found, purpose="intel", timeout=1.0
            )
        assert time.monotonic() - started < 1.8

    assert one.value.code == two.value.code == "egress.tls_timeout"


async def test_websocket_that_breaks_ends_cleanly(
    outside_ca: Authority, secure: Destination, start_squid: Callable[..., Squid]
) -> None:
    with start_squid(name="cut") as squid:
        async with client(settings(squid, outside_ca)) as egress:
            socket_ = await egress.websocket(secure.ws, purpose="fleet")
            await asyncio.to_thread(squid.restart)
            assert await asyncio.wait_for(socket_.receive(), 10) is None
            assert socket_.close_code == 1006
            with pytest.raises(EgressError) as error:
                await socket_.send(b"x")
            await socket_.close()

    assert error.value.code == "egress.closed"
