"""What egress relies on without a promise: private names, and imports that must stay light."""

from __future__ import annotations

import inspect
import ssl
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from garrison.egress import Certificate, TrustBundle
from garrison.egress.answer import Headers
from garrison.egress.redirect import redirected
from garrison.egress.trust import (
    context_for,
    looking_context,
    pinned_certificate,
    pinned_context,
    presented_chain,
    signs_with_own_key,
    system_store,
    verified_chain,
)
from lab.authority import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "Some CA")


def test_import_is_light() -> None:
    """`garrison scan` starts without any of these."""
    code = (
        "import sys, garrison.egress as e\n"
        "heavy = {'aiohttp', 'asyncio', 'cryptography', 'sqlalchemy', 'yarl'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import garrison.egress.http\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_aiohttps_connector_hook() -> None:
    """`_create_connection(req, traces, timeout) -> ResponseHandler`, called by `connect`, and
    `_factory` makes the protocol."""
    hook = aiohttp.BaseConnector._create_connection
    assert list(inspect.signature(hook).parameters) == ["self", "req", "traces", "timeout"]
    assert inspect.iscoroutinefunction(hook)
    assert "await self._create_connection(req, traces, timeout)" in inspect.getsource(
        aiohttp.BaseConnector.connect
    )
    assert "self._factory" in inspect.getsource(aiohttp.BaseConnector.__init__)
    assert hasattr(ResponseHandler, "connection_made")
    # Requests go without its session: `egress.connections`.
    parameters = inspect.signature(ResponseHandler.set_response_params).parameters
    used = {"skip_payload", "read_until_eof", "auto_decompress", "read_timeout", "read_bufsize"}
    assert used <= set(parameters)
    for name in ("read", "start_timeout", "is_connected", "should_close", "close", "abort"):
        assert hasattr(ResponseHandler, name), name
    assert hasattr(aiohttp.StreamReader, "read_nowait")
    # Ours reads the page that comes in place of a WebSocket.
    assert list(inspect.signature(aiohttp.ClientResponse.start).parameters) == [
        "self",
        "connection",
    ]


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """TLS in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=name)
    two = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for side in (one, two):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
    return one, two


def test_chains(authority: Authority) -> None:
    """Private before Python 3.13, so this test is what holds them."""
    trust = TrustBundle.parse(authority.pem)
    client, _ = handshake(authority.server_context("a.test"), context_for(trust), "a.test")
    assert len(presented_chain(client)) == 2
    assert verified_chain(client)[-1] == trust.ders[0]
    shown = tuple(map(Certificate.read, presented_chain(client)))
    assert [one.subject for one in shown] == ["ACME Corp, a.test", "ACME Corp, Some CA"]
    assert (shown[0].names, shown[0].is_ca, shown[1].is_ca) == (("a.test",), False, True)
    assert shown[1].fingerprint.replace(":", "").lower() == shown[1].sha256
    assert not signs_with_own_key(shown)
    assert pinned_certificate(shown, shown[1].spki_sha256) == shown[1]
    assert pinned_certificate(shown, shown[0].spki_sha256) is None  # no CA


def test_looking_context_sees_what_others_refuse(authority: Authority) -> None:
    server = authority.server_context("a.test")
    client, _ = handshake(server, looking_context(), "other.test")
    assert len(presented_chain(client)) == 2
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, context_for(TrustBundle()), "a.test")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, context_for(TrustBundle(), authority.pem), "other.test")


def test_pinned_context_trusts_one_ca_and_still_verifies(
    authority: Authority, tmp_path: Path
) -> None:
    ca = Certificate.read(TrustBundle.parse(authority.pem).ders[0])
    handshake(authority.server_context("a.test"), pinned_context(ca), "a.test")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority.server_context("a.test"), pinned_context(ca), "b.test")
    other = Authority(tmp_path, "Other CA")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(other.server_context("a.test"), pinned_context(ca), "a.test")


def test_contexts_verify_and_are_kept(authority: Authority) -> None:
    """Loading a store costs more than a handshake."""
    trust = TrustBundle.parse(authority.pem)
    context = context_for(trust)
    assert context is context_for(TrustBundle.parse(authority.pem))
    assert context is not context_for(trust, authority.pem)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_system_store_is_added(authority: Authority) -> None:
    store = system_store()
    if not (store.file or store.directory):
        pytest.skip("no system store")
    context = context_for(TrustBundle.parse(authority.pem))
    # A directory is read by need and so not counted.
    assert context.cert_store_stats()["x509_ca"] == 1 or store.file


@pytest.mark.parametrize(
    ("url", "location", "kept"),
    [
        ("https://a.test/x", "/y", True),
        ("https://a.test/x", "https://a.test/y", True),
        ("https://a.test/x", "https://b.test/y", False),
        ("https://a.test/x", "https://a.test:444/y", False),
        ("https://a.test/x", "http://a.test/y", False),
    ],
)
def test_redirects_keep_authorization_for_its_host(url: str, location: str, kept: bool) -> None:
    headers = {"Authorization": "Bearer x", "Accept": "y"}
    step = redirected(url, 302, Headers([("Location", location)]), "GET", headers)
    assert step is not None
    assert ("Authorization" in step[2]) is kept
    assert step[2]["Accept"] == "y"


@pytest.mark.parametrize(
    ("status", "method", "after"),
    [(303, "POST", "GET"), (302, "POST", "GET"), (307, "POST", "POST"), (308, "PUT", "PUT"),
     (302, "HEAD", "HEAD")],
)  # fmt: skip
def test_method_after_a_redirect(status: int, method: str, after: str) -> None:
    step = redirected("https://a.test/", status, Headers([("location", "/x")]), method, {})
    assert step is not None
    assert step[1] == after


def test_headers_compare_without_case() -> None:
    headers = Headers([("Set-Cookie", "secret"), ("X", "1"), ("x", "2")])
    assert headers["X"] == "1, 2"
    assert headers.all("X") == ("1", "2")
    assert "set-cookie" in headers
    assert "secret" not in repr(headers)
