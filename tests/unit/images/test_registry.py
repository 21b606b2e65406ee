"""The registry client against a server that follows a script."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from garrison.egress import ConnectionRecord, EgressError, ProxySettings, open_body
from garrison.images import (
    Access,
    BadManifestError,
    DigestMismatchError,
    ForbiddenError,
    ImageContent,
    ImageReference,
    InsecureError,
    NotFoundError,
    Platform,
    PlatformMissingError,
    RateLimitedError,
    RegistryError,
    UnauthorizedError,
    UnsupportedManifestError,
)
from garrison.images import registry as module
from garrison.images.challenge import parse_challenges, parse_token
from garrison.images.registry import RegistrySource
from tests.unit.images.fake_registry import Content, Request, Server, basic, serve_blob, sha
from tests.unit.images.samples import Text, tar_of

DIRECT = ProxySettings.build()
PLAIN = Access(plain_http=True)
LAYER = gzip.compress(tar_of([("a/keep", b"hello"), ("noise", bytes(range(256)) * 4000)]), 0)
IMAGE = Content([LAYER])
FILES = {"a/keep": "hello"}
HTML = b"<html>Please sign in</html>"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.001)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        running.rules.append(IMAGE.serve)
        yield running


def read(
    server: Server,
    access: Access = PLAIN,
    *,
    name: str = "team/shop:1.0",
    platform: str = "",
    observer: Any = None,
    timeout: float = 5.0,
) -> ImageContent:
    reference = ImageReference.parse(f"{server.host}/{name}")
    wanted = Platform.parse(platform) if platform else None
    source = RegistrySource(reference, DIRECT, wanted, access, timeout, observer)
    return source.read(Text(), threads=2)


def first(server: Server, rule: Any) -> None:
    server.rules.insert(0, rule)


def on(part: str, *answer: Any, times: int = 1_000_000, **headers: str) -> Any:
    """A rule: requests whose path holds `part` get this answer, the first `times` of them."""
    left = [times]

    def rule(request: Request) -> bool:
        if part not in request.path or not left[0]:
            return False
        left[0] -= 1
        request.answer(*answer, **headers)
        return True

    return rule


def test_an_anonymous_image(server: Server) -> None:
    records: list[ConnectionRecord] = []
    content = read(server, observer=records.append)
    assert content.contents[0].files == FILES
    assert content.digest == IMAGE.digest
    assert content.reference == f"{server.host}/team/shop:1.0"
    assert content.layers[0].digest == sha(LAYER)
    assert content.platform == "linux/amd64"
    assert {record.purpose for record in records} == {"registry"}
    assert all("authorization" not in request.headers for request in server.requests)
    assert "application/vnd.oci.image.index.v1+json" in server.requests[0].headers["accept"]


def test_by_digest(server: Server) -> None:
    assert read(server, name=f"team/shop@{IMAGE.digest}").contents[0].files == FILES


def test_loopback_may_be_plain_without_asking(server: Server) -> None:
    """As for docker: TLS is tried first."""
    assert read(server, Access()).contents[0].files == FILES


def test_elsewhere_only_tls(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_is_loopback", lambda host: False)
    with pytest.raises(EgressError):
        read(server, Access())
    assert not server.seen("manifests")


# Digests


def test_a_manifest_that_is_not_its_digest(server: Server) -> None:
    other = Content([b""])
    first(server, on("manifests", 200, other.manifest))
    with pytest.raises(DigestMismatchError):
        read(server, name=f"team/shop@{IMAGE.digest}")


def test_a_manifest_that_is_not_what_the_registry_says(server: Server) -> None:
    first(
        server,
        on("manifests", 200, IMAGE.manifest, Docker_Content_Digest=sha(b"another")),
    )
    with pytest.raises(DigestMismatchError, match="the registry said"):
        read(server)


@pytest.mark.parametrize("which", ["layer", "config"])
def test_a_blob_that_is_not_its_digest(server: Server, which: str) -> None:
    digest = sha(LAYER) if which == "layer" else json.loads(IMAGE.manifest)["config"]["digest"]
    data = bytearray(IMAGE.blobs[digest])
    data[-1] ^= 1
    first(server, on(digest, 200, bytes(data)))
    with pytest.raises(DigestMismatchError):
        read(server)


def test_a_longer_blob_than_announced_is_not_read_to_its_end(server: Server) -> None:
    first(server, on(sha(LAYER), 200, LAYER + bytes(50 << 20)))
    with pytest.raises(DigestMismatchError, match="larger"):
        read(server)


# Cuts


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_blob_goes_on_where_it_stopped(server: Server, ranges: bool) -> None:
    """Proxies cut long downloads; not every registry knows ranges."""
    cuts = [1000, 1, 5000]
    asked: list[str] = []

    def rule(request: Request) -> bool:
        if sha(LAYER) not in request.path:
            return False
        asked.append(request.headers.get("range", ""))
        cut = cuts.pop() if cuts else None
        if ranges:
            serve_blob(request, LAYER, cut)
        else:
            request.answer(200, LAYER, None if cut is None else 6000 + cut)
        return True

    first(server, rule)
    seen: list[int] = []
    reference = ImageReference.parse(f"{server.host}/team/shop:1.0")
    source = RegistrySource(reference, DIRECT, None, PLAIN, 5.0)
    content = source.read(Text(), progress=lambda done, total, step: seen.append(done))
    assert content.contents[0].files == FILES
    assert seen[-1] == len(LAYER)
    assert asked[0] == ""
    if ranges:
        assert asked[1:] == ["bytes=5000-", "bytes=5001-", "bytes=6001-"]


def test_a_blob_that_is_always_cut_fails_with_the_cause(server: Server) -> None:
    def rule(request: Request) -> bool:
        if sha(LAYER) not in request.path:
            return False
        if request.headers.get("range"):
            request.answer(503)
        else:
            request.answer(200, LAYER, 1000)
        return True

    first(server, rule)
    with pytest.raises((EgressError, RegistryError)):
        read(server)
    assert len(server.seen(sha(LAYER))) <= module.MAX_TRIES + 2


def test_one_byte_at_a_time_does_not_go_on_for_ever(server: Server) -> None:
    def rule(request: Request) -> bool:
        if sha(LAYER) in request.path:
            serve_blob(request, LAYER, 1)
            return True
        return False

    first(server, rule)
    with pytest.raises((EgressError, RegistryError)):
        read(server)
    assert len(server.seen(sha(LAYER))) <= module.MAX_CUTS + 2


def test_a_wrong_range_is_not_believed(server: Server) -> None:
    def rule(request: Request) -> bool:
        if sha(LAYER) not in request.path:
            return False
        if request.headers.get("range"):
            request.answer(206, LAYER[:100], Content_Range="bytes 0-99/100")
        else:
            request.answer(200, LAYER, 1000)
        return True

    first(server, rule)
    with pytest.raises(RegistryError):
        read(server)


# Redirects


def test_storage_gets_no_credentials(server: Server) -> None:
    with Server() as storage:
        storage.rules.append(on("/blob", 200, LAYER))
        first(server, on(sha(LAYER), 307, Location=f"http://{storage.host}/blob?sig=1"))
        first(server, _basic_only("ci", "s3cret"))
        content = read(server, Access("ci", "s3cret", plain_http=True))
        assert content.contents[0].files == FILES
        assert len(storage.requests) == 1
        assert "authorization" not in storage.requests[0].headers
    assert server.seen(sha(LAYER))[-1].headers["authorization"] == basic("ci", "s3cret")


def test_the_same_registry_keeps_them(server: Server) -> None:
    first(server, on("/elsewhere", 200, LAYER))
    first(server, on(sha(LAYER), 302, Location="/elsewhere"))
    first(server, _basic_only("ci", "s3cret"))
    assert read(server, Access("ci", "s3cret", plain_http=True)).contents[0].files == FILES
    assert server.seen("/elsewhere")[-1].headers["authorization"] == basic("ci", "s3cret")


def test_a_cut_from_storage_asks_the_registry_again(server: Server) -> None:
    """Its signed addresses run out."""
    cuts = [2000]

    def blob(request: Request) -> bool:
        serve_blob(request, LAYER, cuts.pop() if cuts else None)
        return True

    with Server() as storage:
        storage.rules.append(blob)
        first(server, on(sha(LAYER), 307, Location=f"http://{storage.host}/x"))
        assert read(server).contents[0].files == FILES
        assert [r.headers.get("range") for r in storage.requests] == [None, "bytes=2000-"]
    assert len(server.seen(sha(LAYER))) == 2


@pytest.mark.parametrize("location", ["", "ftp://x.test/", "javascript:1", "file:///etc/passwd"])
def test_redirects_to_nowhere(server: Server, location: str) -> None:
    first(server, on(sha(LAYER), 307, Location=location))
    with pytest.raises(RegistryError):
        read(server)


def test_redirects_in_circles(server: Server) -> None:
    first(server, on(sha(LAYER), 307, Location=f"/v2/team/shop/blobs/{sha(LAYER)}"))
    with pytest.raises(RegistryError, match="more than"):
        read(server)


def test_tls_is_not_left(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing plain is asked after a redirect from https."""
    asked: list[str] = []
    real = open_body

    def redirecting(url: str, settings: ProxySettings, **given: Any) -> Any:
        asked.append(url)
        return real(url.replace("https:", "http:"), settings, **given)

    monkeypatch.setattr(module, "open_body", redirecting)
    monkeypatch.setattr(module, "_is_loopback", lambda host: False)
    first(server, on(sha(LAYER), 307, Location="http://storage.test/x"))
    with pytest.raises(InsecureError):
        read(server, Access())
    assert not [url for url in asked if "storage.test" in url]


# Signing in


def _basic_only(user: str, password: str) -> Any:
    def rule(request: Request) -> bool:
        if request.headers.get("authorization") == basic(user, password):
            return False
        request.answer(401, WWW_Authenticate='Basic realm="ACME, Inc."')
        return True

    return rule


class Tokens:
    """A token server and the registry's side of it."""

    def __init__(self, server: Server, *, life: float | None = 300) -> None:
        self.server = server
        self.life = life
        self.issued = 0
        self.asked: list[Request] = []
        self.valid: set[str] = set()
        first(server, self.registry)
        first(server, self.tokens)

    def tokens(self, request: Request) -> bool:
        if request.path != "/token":
            return False
        self.asked.append(request)
        self.issued += 1
        token = f"token-{self.issued}"
        self.valid.add(token)
        answer: dict[str, Any] = {"token": token}
        if self.life is not None:
            answer["expires_in"] = self.life
        request.answer(200, json.dumps(answer).encode())
        return True

    def registry(self, request: Request) -> bool:
        if request.headers.get("authorization", "").removeprefix("Bearer ") in self.valid:
            return False
        realm = f'realm="http://{self.server.host}/token"'
        scope = 'scope="repository:team/shop:pull,push"'
        request.answer(401, WWW_Authenticate=f'Bearer {realm},service="the, registry",{scope}')
        return True


def test_the_token_dance_anonymously(server: Server) -> None:
    tokens = Tokens(server)
    assert read(server).contents[0].files == FILES
    assert tokens.issued == 1
    asked = tokens.asked[0]
    assert asked.query == {"scope": ["repository:team/shop:pull"], "service": ["the, registry"]}
    assert "authorization" not in asked.headers


def test_the_token_dance_with_a_user(server: Server) -> None:
    tokens = Tokens(server)
    read(server, Access("ci", "p@ss:w/rd%", plain_http=True))
    assert tokens.asked[0].headers["authorization"] == basic("ci", "p@ss:w/rd%")
    assert all(
        request.headers.get("authorization", "Bearer").startswith("Bearer")
        for request in server.seen("/v2/")
    )


def test_an_identity_token_is_exchanged(server: Server) -> None:
    """What `docker login` keeps for Azure and others."""
    tokens = Tokens(server)
    read(server, Access("<token>", "refresh-me", plain_http=True))
    assert tokens.asked[0].method == "POST"
    form = parse_qs(tokens.asked[0].body.decode())
    assert form["grant_type"] == ["refresh_token"]
    assert form["refresh_token"] == ["refresh-me"]


def test_a_token_that_ran_out_is_renewed(server: Server) -> None:
    tokens = Tokens(server, life=0)
    assert read(server).contents[0].files == FILES
    assert tokens.issued >= 3


def test_a_token_refused_early_is_renewed(server: Server) -> None:
    """Clocks differ, and tokens are revoked."""
    tokens = Tokens(server)
    revoked: list[bool] = []

    def revoke(request: Request) -> bool:
        if "/blobs/" in request.path and not revoked:
            revoked.append(True)
            tokens.valid.clear()
        return False

    first(server, revoke)
    assert read(server).contents[0].files == FILES
    assert tokens.issued == 2


def test_a_fresh_token_that_is_refused_is_an_answer(server: Server) -> None:
    tokens = Tokens(server)
    realm = f'Bearer realm="http://{server.host}/token"'
    denied = errors("UNAUTHORIZED", "authentication required")
    first(server, on("/blobs/", 401, denied, WWW_Authenticate=realm))
    with pytest.raises(UnauthorizedError, match="authentication required"):
        read(server)
    assert tokens.issued <= 3


def test_tokens_are_kept_for_their_life(server: Server) -> None:
    tokens = Tokens(server, life=None)
    many = Content([gzip.compress(tar_of([(f"{n}/keep", b"x")]), 0) for n in range(8)])
    server.rules.append(many.serve)
    read(server, name=f"team/shop@{many.digest}")
    assert tokens.issued == 1


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_token_server_that_refuses(server: Server, status: int) -> None:
    Tokens(server)
    body = b'{"details": "incorrect username or password"}'
    first(server, on("/token", status, body))
    with pytest.raises(UnauthorizedError, match="incorrect username") as caught:
        read(server, Access("ci", "wrong-password", plain_http=True))
    assert "wrong-password" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", HTML, b'{"token": "a\\nb"}', b'{"token": 1}'])
def test_a_token_server_that_answers_nonsense(server: Server, body: bytes) -> None:
    Tokens(server)
    first(server, on("/token", 200, body))
    with pytest.raises(RegistryError):
        read(server)


def test_wrong_password_with_basic(server: Server) -> None:
    first(server, _basic_only("ci", "right"))
    with pytest.raises(UnauthorizedError) as caught:
        read(server, Access("ci", "wrong", plain_http=True))
    assert "'ci'" in str(caught.value)
    assert caught.value.hint


def test_credentials_are_missing(server: Server) -> None:
    first(server, _basic_only("ci", "right"))
    with pytest.raises(UnauthorizedError) as caught:
        read(server)
    assert "docker login" in caught.value.hint


def test_credentials_wait_for_the_question(server: Server) -> None:
    """They are not sent to a registry that does not ask."""
    read(server, Access("ci", "s3cret", plain_http=True))
    assert all("authorization" not in request.headers for request in server.requests)


def test_a_plain_token_server_of_a_tls_registry(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = open_body

    def downgraded(url: str, settings: ProxySettings, **given: Any) -> Any:
        return real(url.replace("https:", "http:"), settings, **given)

    monkeypatch.setattr(module, "open_body", downgraded)
    monkeypatch.setattr(module, "_is_loopback", lambda host: False)
    tokens = Tokens(server)
    with pytest.raises(InsecureError):
        read(server, Access("ci", "s3cret"))
    assert not tokens.asked


# Other answers


def errors(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def test_unknown_images(server: Server) -> None:
    first(server, on("manifests", 404, errors("MANIFEST_UNKNOWN", "manifest unknown")))
    with pytest.raises(NotFoundError, match="MANIFEST_UNKNOWN manifest unknown"):
        read(server)


def test_forbidden(server: Server) -> None:
    first(server, on("manifests", 403, errors("DENIED", "no \x1b[31mway")))
    with pytest.raises(ForbiddenError) as caught:
        read(server)
    assert "\x1b" not in str(caught.value)


def test_rate_limits(server: Server) -> None:
    first(server, on("manifests", 429, errors("TOOMANYREQUESTS", "slow"), Retry_After="3600"))
    with pytest.raises(RateLimitedError) as caught:
        read(server)
    assert "3600" in caught.value.hint
    assert len(server.seen("manifests")) == 1


def test_a_registry_out_of_breath_is_asked_again(server: Server) -> None:
    first(server, on("manifests", 503, times=2))
    first(server, on("blobs", 502, times=2))
    assert read(server).contents[0].files == FILES


def test_a_registry_that_stays_broken(server: Server) -> None:
    first(server, on("manifests", 500, b"oops"))
    with pytest.raises(RegistryError, match="500"):
        read(server)
    assert len(server.seen("manifests")) == module.MAX_TRIES


def test_a_web_page_instead_of_a_manifest(server: Server) -> None:
    first(server, on("manifests", 200, HTML, Content_Type="text/html; charset=utf-8"))
    with pytest.raises(BadManifestError) as caught:
        read(server)
    assert "proxy" in caught.value.hint


def test_an_endless_manifest(server: Server) -> None:
    first(server, on("manifests", 200, b"[" * (5 << 20)))
    with pytest.raises((BadManifestError, EgressError)):
        read(server)


def test_schema_1(server: Server) -> None:
    first(
        server,
        on(
            "manifests",
            200,
            b'{"schemaVersion": 1, "fsLayers": []}',
            Content_Type="application/vnd.docker.distribution.manifest.v1+prettyjws",
        ),
    )
    with pytest.raises(UnsupportedManifestError):
        read(server)


def index_of(*entries: tuple[bytes, str]) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [
                {
                    "digest": sha(data),
                    "size": len(data),
                    "platform": {
                        "os": platform.split("/")[0],
                        "architecture": platform.split("/")[1],
                    },
                }
                for data, platform in entries
            ],
        }
    ).encode()


def test_an_index_leads_to_the_platform(server: Server) -> None:
    arm = Content([gzip.compress(tar_of([("arm/keep", b"arm")]), 0)])
    index = index_of((b"{}", "unknown/unknown"), (arm.manifest, "linux/arm64"))
    first(server, on("manifests/1.0", 200, index))
    server.rules.append(arm.serve)
    with pytest.raises(PlatformMissingError):
        read(server, platform="linux/s390x")
    with pytest.raises(PlatformMissingError):
        # Its config says amd64.
        read(server, platform="linux/arm64")


def test_nested_indexes_are_followed_and_bounded(server: Server) -> None:
    data = IMAGE.manifest
    for _ in range(3):
        known = data
        first(server, on(f"manifests/{sha(known)}", 200, known))
        data = index_of((known, "linux/amd64"))
    first(server, on("manifests/1.0", 200, data))
    content = read(server, platform="linux/amd64")
    assert content.digest == IMAGE.digest
    for _ in range(2):
        known = data
        first(server, on(f"manifests/{sha(known)}", 200, known))
        data = index_of((known, "linux/amd64"))
    first(server, on("manifests/1.0", 200, data))
    with pytest.raises(BadManifestError, match="nested"):
        read(server, platform="linux/amd64")


def test_a_manifest_in_an_index_must_have_its_digest(server: Server) -> None:
    index = index_of((IMAGE.manifest, "linux/amd64"))
    first(server, on("manifests", 200, Content([b""]).manifest))
    first(server, on("manifests/1.0", 200, index))
    with pytest.raises(DigestMismatchError):
        read(server, platform="linux/amd64")


def test_a_server_that_hangs(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        source = RegistrySource(ImageReference.parse(f"{host}/team/shop"), DIRECT, None, PLAIN, 0.3)
        with pytest.raises(EgressError):
            source.read(Text())


# Pure parts


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Basic", [("basic", {})]),
        ('Basic realm="a, b=c"', [("basic", {"realm": "a, b=c"})]),
        (
            'Bearer realm="https://a/t",service=reg , scope="x:y:pull,push"',
            [("bearer", {"realm": "https://a/t", "service": "reg", "scope": "x:y:pull,push"})],
        ),
        (
            'Negotiate, Basic realm="x", Bearer realm="y"',
            [("negotiate", {}), ("basic", {"realm": "x"}), ("bearer", {"realm": "y"})],
        ),
        (r'Basic realm="a \"b\" \\"', [("basic", {"realm": r'a "b" \\'[:-1]})]),
        ("", []),
        ("===", []),
        ('Bearer realm="unfinished', [("bearer", {})]),
    ],
)
def test_challenges(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert [(c.scheme, c.parameters) for c in parse_challenges([header])] == found


def test_tokens_hide_themselves() -> None:
    token = parse_token(b'{"access_token": "abc", "expires_in": 100}', now=1000.0)
    assert token.value == "abc"
    assert token.until == 1090.0
    assert "abc" not in repr(token)


def test_a_token_for_ever_is_not_believed() -> None:
    assert parse_token(b'{"token": "abc", "expires_in": 1e300}', now=0.0).until <= 3600


@pytest.mark.parametrize("way", ["realm", "blob", "manifest"])
def test_a_registry_leads_to_no_metadata_service(server: Server, way: str) -> None:
    """On this machine it may lead to this machine, and nowhere that only the node can reach."""
    bait = "http://169.254.169.254/latest/meta-data/"
    if way == "realm":
        first(server, on("/v2/", 401, WWW_Authenticate=f'Bearer realm="{bait}"'))
    else:
        part = sha(LAYER) if way == "blob" else "/manifests/"
        first(server, on(part, 307, Location=bait))
    with pytest.raises(EgressError) as error:
        read(server)
    assert error.value.code == "egress.led_astray"
    assert error.value.trace is not None
    assert [step.hop for step in error.value.trace.steps] == ["resolve"]
