"""Signing in at real Squids and at a strict proxy, by every scheme and every face."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from garrison.egress import EgressError, ProxySettings, check_connection, fetch, open_body
from garrison.egress.http import EgressClient
from garrison.egress.signin import MEMORY
from lab.authority import Authority
from lab.squid import Squid
from lab.strict import StrictProxy
from tests.integration.egress.conftest import HOST, settings
from tests.integration.egress.destination import Destination, pattern

USER, PASSWORD = "agent", 'p@ss:w/rd%20ü "\\€'


@pytest.fixture(autouse=True)
def _forget() -> None:
    """Each test meets its proxy for the first time."""
    MEMORY.clear()


@asynccontextmanager
async def client(found: ProxySettings) -> AsyncIterator[EgressClient]:
    egress = EgressClient(found)
    try:
        yield egress
    finally:
        await egress.aclose()


def signed_in(proxy: Squid | StrictProxy, *cas: Authority, **more: str) -> ProxySettings:
    given = {"user": USER, "password": PASSWORD, **more}
    return settings(proxy.url, *cas, **given)


async def every_face(found: ProxySettings, destination: Destination) -> None:
    async with client(found) as egress:
        for n in range(3):
            answer = await egress.request("POST", f"{destination.url}/echo?x={n}", purpose="alerts",
                                          json={"a": n})  # fmt: skip
            assert answer.json()["path"] == f"/echo?x={n}"
            assert answer.json()["body"] == f'{{"a": {n}}}'
        async with egress.stream("GET", f"{destination.url}/bytes/300000", purpose="intel") as got:
            assert b"".join([chunk async for chunk in got.chunks()]) == pattern(300_000)
        found_many = await asyncio.gather(
            *(
                egress.request("GET", f"{destination.url}/bytes/{n}", purpose="registry")
                for n in range(1, 9)
            )
        )
        assert [len(one.body) for one in found_many] == list(range(1, 9))
        websocket = await egress.websocket(destination.ws, purpose="fleet")
        await websocket.send(b"hello")
        assert await websocket.receive() == b"hello"
        await websocket.close()
    for data in (None, b"body"):
        with open_body(
            f"{destination.url}/echo",
            found,
            purpose="registry",
            method="POST" if data else "GET",
            data=data,
        ) as body:
            assert (data or b"").decode() in body.read().decode()
    assert check_connection(destination.url, found, purpose="registry").ok
    assert "proxy-authorization" not in destination.headers_seen.lower()


# --- Squid's own helpers --------------------------------------------------------------------


@pytest.fixture(scope="module")
def squids(start_squid: Callable[..., Squid]) -> Iterator[Callable[[str], Squid]]:
    """Squids by scheme, each started when it is first needed."""
    running: dict[str, Squid] = {}

    def get(schemes: str) -> Squid:
        if schemes not in running:
            running[schemes] = start_squid(
                name=schemes.replace("+", ""), users={USER: PASSWORD}, schemes=schemes.split("+")
            ).__enter__()
        return running[schemes]

    yield get
    for squid in running.values():
        squid.__exit__(None, None, None)


@pytest.mark.parametrize("kind", ["secure", "plain"])
@pytest.mark.parametrize("scheme", ["digest", "ntlm", "basic"])
async def test_every_face_signs_in_at_squid(
    scheme: str,
    kind: str,
    squids: Callable[[str], Squid],
    outside_ca: Authority,
    request: pytest.FixtureRequest,
) -> None:
    squid, destination = squids(scheme), request.getfixturevalue(kind)
    mark = squid.mark()
    await every_face(signed_in(squid, outside_ca), destination)

    passed = [one for one in squid.entries_since(mark) if one.status != 407]
    # Squid's NTLM helper takes the two bytes of a letter for two letters.
    assert {one.user for one in passed} == {"a\\a" if scheme == "ntlm" else USER}
    # Learned once, not for each connection: NTLM asks in every one, the others never again.
    asked = [one for one in squid.entries_since(mark) if one.status == 407]
    # (Squid calls a nonce stale whose counts arrive out of order; those requests have a user.)
    if scheme != "ntlm":
        assert [one.user for one in asked].count(None) == 1, asked


async def test_squids_digest_takes_any_password(squids: Callable[[str], Squid]) -> None:
    found = signed_in(squids("digest"), password="wrong")
    for result in (
        check_connection(f"https://{HOST}:9/", found, purpose="intel"),
        check_connection(f"http://{HOST}:9/", found, purpose="intel"),
    ):
        assert result.error is not None
        assert result.error["code"] == "egress.proxy_auth_refused"
        assert "Digest" in result.error["message"]


async def test_strongest_of_squids_offers(
    squids: Callable[[str], Squid], outside_ca: Authority, secure: Destination
) -> None:
    squid = squids("basic+digest")
    result = check_connection(secure.url, signed_in(squid, outside_ca), purpose="intel")
    (step,) = [step for step in result.steps if step.hop == "proxy-auth"]
    assert step.detail == f'Digest (MD5), user "{USER}"'


# --- the strict proxy -----------------------------------------------------------------------


def strict(**options: object) -> StrictProxy:
    return StrictProxy(users={USER: PASSWORD}, names=[HOST], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["secure", "plain"])
@pytest.mark.parametrize("scheme", ["ntlm", "digest", "basic"])
@pytest.mark.parametrize("closes", ["", "always"])
async def test_every_face_signs_in_at_the_strict_proxy(
    scheme: str, kind: str, closes: str, outside_ca: Authority, request: pytest.FixtureRequest
) -> None:
    """It checks NTLM's proofs and Digest's counts, and hangs up after a 407 if told to."""
    if scheme == "ntlm" and closes:
        return  # cannot work, and is a test of its own below
    destination: Destination = request.getfixturevalue(kind)
    with strict(schemes=[scheme], closes=closes) as proxy:
        await every_face(signed_in(proxy, outside_ca), destination)
    assert proxy.seen[0].scheme == ""
    assert {one.user for one in proxy.seen if one.status == 200} == {USER}
    if scheme != "ntlm":
        assert [status for _, status in proxy.statuses()].count(407) == 1


@pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256"])
async def test_digest_algorithms(
    algorithm: str, outside_ca: Authority, secure: Destination
) -> None:
    with strict(schemes=["digest"], algorithms=[algorithm]) as proxy:
        found = signed_in(proxy, outside_ca)
        results = [check_connection(secure.url, found, purpose="intel") for _ in range(3)]
    assert all(result.ok for result in results)
    assert proxy.statuses() == [("", 407), ("digest", 200), ("digest", 200), ("digest", 200)]


async def test_stale_nonces_are_renewed(outside_ca: Authority, plain: Destination) -> None:
    with strict(schemes=["digest"], nonce_uses=2) as proxy:
        found = signed_in(proxy, outside_ca)
        async with client(found) as egress:
            for _ in range(5):
                assert (await egress.request("GET", plain.url, purpose="intel")).status == 200
        for _ in range(3):
            assert fetch(plain.url, found, purpose="intel").status == 200
    statuses = [status for _, status in proxy.statuses()]
    assert statuses.count(200) == 8
    assert statuses.count(407) == 4


@pytest.mark.parametrize("kind", ["secure", "plain"])
async def test_refused_schemes_give_way(
    kind: str, outside_ca: Authority, request: pytest.FixtureRequest
) -> None:
    """The choice and what was refused are shown; the next connection begins with what worked."""
    destination: Destination = request.getfixturevalue(kind)
    with strict(schemes=["ntlm", "digest", "basic"], refuses=["ntlm", "digest"]) as proxy:
        found = signed_in(proxy, outside_ca)
        result = check_connection(destination.url, found, purpose="intel")
        assert result.ok, result.as_dict()
        (step,) = [step for step in result.steps if step.hop == "proxy-auth"]
        assert step.detail == f'Basic, user "{USER}"; refused: NTLM, Digest'
        before = len(proxy.seen)
        assert check_connection(destination.url, found, purpose="intel").ok
        assert [one.scheme for one in proxy.seen[before:]] == ["basic"]
        MEMORY.clear()
        async with client(found) as egress:
            assert (await egress.request("GET", destination.url, purpose="intel")).status == 200


async def test_ntlm_keeps_its_connection(plain: Destination) -> None:
    """Plain requests: three rounds for the first, none for those that follow it."""
    with strict(schemes=["ntlm"]) as proxy:
        async with client(signed_in(proxy)) as egress:
            for n in range(5):
                url = f"{plain.url}/echo?n={n}"
                answer = await egress.request("POST", url, purpose="alerts", data=b"x" * 1000)
                assert answer.json()["body"] == "x" * 1000
    tokens = [one for one in proxy.seen if one.scheme == "ntlm"]
    assert len(tokens) == 2
    assert len({one.connection for one in tokens}) == 1
    assert [one.status for one in proxy.seen[-4:]] == [200] * 4
    # Nothing but the five requests came to the destination.
    assert len(plain.seen) == 5


@pytest.mark.parametrize("kind", ["secure", "plain"])
async def test_ntlm_that_is_cut_is_told_or_gives_way(
    kind: str, outside_ca: Authority, request: pytest.FixtureRequest
) -> None:
    destination: Destination = request.getfixturevalue(kind)
    with strict(schemes=["ntlm"], closes="ntlm") as proxy:
        result = check_connection(destination.url, signed_in(proxy, outside_ca), purpose="intel")
    assert result.error is not None
    assert (result.error["code"], result.error["hop"]) == (
        "egress.proxy_auth_broken", "proxy-auth")  # fmt: skip
    with strict(schemes=["ntlm", "basic"], closes="ntlm") as proxy:
        result = check_connection(destination.url, signed_in(proxy, outside_ca), purpose="intel")
        assert result.ok, result.as_dict()


# --- secrets --------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ntlm", "digest", "basic"])
@pytest.mark.parametrize("url", ["http", "https"])
async def test_nothing_of_signing_in_is_told(
    scheme: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A canary as password, refused by a proxy that got all our tokens."""
    caplog.set_level(logging.DEBUG)
    canary = "canary-7Qx%zz"
    heads: list[str] = []
    with strict(schemes=[scheme]) as proxy:
        found = settings(proxy.url, user=USER, password=canary)
        said = [repr(found), str(found.as_view())]
        async with client(found) as egress:
            result = await egress.test(f"{url}://{HOST}/", purpose="intel", timeout=5)
            said += [repr(result), str(result.as_dict()), repr(vars(egress))]
            address = f"{url}://{HOST}/"
            for one in (
                egress.request("GET", address, purpose="intel", timeout=5),
                asyncio.to_thread(fetch, address, found, purpose="intel"),
            ):
                with pytest.raises(EgressError) as error:
                    await one
                assert error.value.code == "egress.proxy_auth_refused"
                said += [repr(error.value), error.value.hint, repr(error.value.answer)]
                said += traceback.format_exception(error.value)
    heads = proxy.credentials
    assert heads
    told = "\n".join([*said, caplog.text])
    assert canary not in told
    for head in heads:
        for piece in head.replace('"', " ").replace(",", " ").split()[1:]:
            secret = piece.partition("=")[2] or piece
            if len(secret) > 12 and secret not in ("MD5", "SHA-256") and "dest.test" not in secret:
                assert secret not in told, piece[:20]
