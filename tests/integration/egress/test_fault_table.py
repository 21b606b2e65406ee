"""The faults of proxies and networks, each over a socket: once from the Console, once from a
Defender through its session.

All cases run at the same time, since most of them wait; the tests below look at what came out.
A fault's row says where it is found, its code, who must act, and the facts without which nobody
could act on the message.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from garrison.console import proxy
from garrison.console.api import models
from garrison.console.assemble import build_state, open_database
from garrison.console.contacts import ContactLog
from garrison.console.gateway import Gateway
from garrison.console.settings import ConsoleSettings
from garrison.console.state import AppState
from garrison.database import defenders
from garrison.egress import BypassList, ProxySettings
from garrison.egress.http import EgressClient
from garrison.egress.interception import SIGHTINGS
from garrison.fleet.join_token import JoinToken
from lab import faults as bad
from lab.authority import Authority
from lab.faults import answers, scripted
from lab.nginx import nginx
from lab.squid import Squid
from lab.tinyproxy import Tinyproxy
from tests.integration.egress.conftest import HOST, PASSWORD, USER, settings
from tests.integration.egress.destination import Destination, serve
from tests.integration.fleet.harness import Defender

FINGERPRINT = r"([0-9A-F]{2}:){31}[0-9A-F]{2}"
INSPECTION = "ACME TLS Inspection CA"


@dataclass
class World:
    """What cases share: real proxies, authorities, destinations."""

    squid: Squid
    basic: Squid
    tls: Squid
    bump: Squid
    strict: Squid
    stripping: Squid
    ports: Squid
    tiny: Tinyproxy
    outside: Authority
    inspection: Authority
    secure: Destination
    plain: Destination
    folder: Path


@dataclass(frozen=True)
class Setup:
    """What is tested: by which settings, and where to."""

    settings: ProxySettings
    url: str = f"https://{HOST}/"
    timeout: float = 10.0


Making: TypeAlias = Callable[[World], AbstractContextManager[Setup]]


@dataclass(frozen=True)
class Fault:
    """One row. code: None where nothing is wrong. note: told although it works."""

    name: str
    making: Making
    code: str | None = None
    hop: str = ""
    who: str = ""
    facts: tuple[str, ...] = ()
    note: str = ""


FAULTS: list[Fault] = []


def fault(
    name: str,
    code: str | None = None,
    hop: str = "",
    who: str = "",
    *facts: str,
    note: str = "",
) -> Callable[[Callable[[World], Iterator[Setup]]], Making]:
    """Make a row of the function below. facts: regular expressions for message and hint."""

    def add(make: Callable[[World], Iterator[Setup]]) -> Making:
        making = contextlib.contextmanager(make)
        FAULTS.append(Fault(name, making, code, hop, who, facts, note))
        return making

    return add


def by(port: int, scheme: str = "http", *cas: Authority, **more: Any) -> ProxySettings:
    return settings(f"{scheme}://127.0.0.1:{port}", *cas, **more)


def peer(
    name: str,
    script: bad.Script,
    code: str,
    hop: str,
    who: str,
    *facts: str,
    scheme: str = "http",
    url: str = f"https://{HOST}/",
    timeout: float = 10.0,
) -> None:
    """A row with a scripted peer in the proxy's place."""

    def make(world: World) -> Iterator[Setup]:
        with scripted(script) as port:
            yield Setup(by(port, scheme), url, timeout)

    fault(name, code, hop, who, *facts)(make)


# --- reaching the proxy ---------------------------------------------------------------------


@fault("1 proxy name unknown", "egress.proxy_unknown", "resolve", "you",
       r"nosuch\.corp\.test", "Correct the proxy's name")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings("http://nosuch.corp.test:3128"))


@fault("1b no name server", "egress.name_server", "resolve", "network",
       r"nodns\.corp\.test", "DNS servers")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings("http://nodns.corp.test:3128"))


@fault("1c destination unknown, no proxy", "egress.destination_unknown", "resolve", "you",
       r"nosuch\.corp\.test", "set the proxy")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(ProxySettings.build(), "https://nosuch.corp.test/")


@fault("2 refused", "egress.proxy_connection_refused", "tcp", "you", r"127\.0\.0\.1:\d+",
       "Check the port")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with bad.closed_port() as port:
        yield Setup(by(port))


@fault("2b refused, no proxy", "egress.connection_refused", "tcp", "destination",
       r"127\.0\.0\.1:\d+", "No proxy was used")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with bad.closed_port() as port:
        yield Setup(ProxySettings.build(), f"https://127.0.0.1:{port}/")


@fault("3 packets dropped", "egress.proxy_connect_timeout", "tcp", "network",
       r"within \d", "firewall drops")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with bad.full_backlog() as port:
        yield Setup(by(port), timeout=2.5)


@fault("3b packets dropped, no proxy", "egress.connect_timeout", "tcp", "network",
       "firewall drops")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with bad.full_backlog() as port:
        yield Setup(ProxySettings.build(), f"https://127.0.0.1:{port}/", 1.0)


@fault("4 proxy by IPv6 literal")
def _(world: World) -> Iterator[Setup]:
    with scripted(bad.tunnel_to(world.secure.port), address="::1") as port:
        yield Setup(settings(f"http://[::1]:{port}", world.outside), world.secure.url)


# --- signing in -----------------------------------------------------------------------------


@fault("5 407, no credentials", "egress.proxy_auth_required", "proxy-auth", "you",
       r"127\.0\.0\.1:\d+ wants a user and password \(Basic", "none are set",
       "Set User and Password")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.basic))


@fault("6 407, wrong password", "egress.proxy_auth_refused", "proxy-auth", "you",
       'user "agent"', "Correct User and Password")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.basic, user=USER, password="wrong"))


@fault("39 407 in absolute form", "egress.proxy_auth_required", "proxy-auth", "you",
       "none are set")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.basic), f"http://{HOST}/")


@fault("39b 403 in absolute form", "egress.proxy_denied", "tunnel", "proxy",
       r"allow denied\.test:80")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.squid), "http://denied.test/")


@fault("7 password entered percent-encoded", "egress.proxy_auth_encoded", "proxy-auth", "you",
       'user "agent"', "as it is, not percent-encoded")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.basic, user=USER, password="p%40ss"))


@fault("7b password beyond ASCII", "egress.proxy_auth_charset", "proxy-auth", "you",
       'user "agent"', "UTF-8")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.basic, user=USER, password="pässword"))


def asking(*challenges: str) -> bad.Script:
    fields = "".join(f"Proxy-Authenticate: {one}\n" for one in challenges)
    return answers(f"HTTP/1.1 407 Proxy Authentication Required\n{fields}Content-Length: 0\n\n")


DIGEST = 'Digest realm="ACME", nonce="n", qop="auth", algorithm=SHA-256'
peer("8 only Negotiate and NTLM, no credentials", asking("Negotiate", "NTLM"),
     "egress.proxy_auth_required", "proxy-auth", "you", "Negotiate, NTLM",
     "none are set")  # fmt: skip
peer("8b nothing that we know", asking('Token realm="x"'), "egress.proxy_auth_scheme",
     "proxy-auth", "proxy", "offers Token", "accept Negotiate, NTLM, Digest or Basic")  # fmt: skip
peer("9 only Digest, no credentials", asking(DIGEST), "egress.proxy_auth_required", "proxy-auth",
     "you", r"\(Digest\)")  # fmt: skip


@fault("9b Digest, wrong password", "egress.proxy_auth_refused", "proxy-auth", "you",
       r'user "agent" \(Digest\)')  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with scripted(asking(DIGEST)) as port:
        yield Setup(by(port, user=USER, password="wrong"))


@fault("9c NTLM behind a load balancer", "egress.proxy_auth_broken", "proxy-auth", "proxy",
       "in the middle of NTLM", "bound to the client")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with scripted(bad.balanced) as port:
        yield Setup(by(port, user=USER, password="right"))


# --- SOCKS ----------------------------------------------------------------------------------


peer("30 http:// to a SOCKS port", bad.socks(0), "egress.proxy_speaks_socks", "tunnel", "you",
     r"Write socks5h://127\.0\.0\.1:\d+")  # fmt: skip


@fault("30b socks5h:// to an HTTP port", "egress.proxy_speaks_http", "tunnel", "you",
       r"Write http://127\.0\.0\.1:\d+")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(f"socks5h://127.0.0.1:{world.squid.port}"), timeout=8.0)


@fault("30c socks5h:// to a TLS port", "egress.proxy_speaks_tls", "tunnel", "you",
       r"Write https://127\.0\.0\.1:\d+")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(f"socks5h://127.0.0.1:{world.tls.port}"), timeout=8.0)


peer("30d socks5h:// to an SSH port", bad.ssh, "egress.proxy_not_socks", "tunnel", "you",
     "SSH server", "Check host and port", scheme="socks5h")  # fmt: skip
peer("30e https:// to a SOCKS port", bad.socks(0), "egress.proxy_speaks_socks", "proxy-tls", "you",
     r"Write socks5h://127\.0\.0\.1:\d+", scheme="https")  # fmt: skip
for number, code, who, fact in (
    (1, "egress.socks_failed", "proxy", "reply 1"),
    (2, "egress.proxy_denied", "proxy", f"allow {HOST}:443"),
    (3, "egress.proxy_no_route", "proxy", f"no route to the network of {HOST}:443"),
    (4, "egress.proxy_cannot_forward", "you", f"cannot resolve or reach {HOST}"),
    (5, "egress.proxy_cannot_connect", "destination", f"cannot connect to {HOST}:443"),
    (6, "egress.proxy_upstream_timeout", "destination", f"no answer from {HOST}:443"),
    (7, "egress.socks_no_connect", "proxy", "does not support CONNECT"),
    (8, "egress.socks_names", "you", "Write socks5://"),
):
    peer(f"13 SOCKS reply {number}", bad.socks(number), code, "tunnel", who, fact,
         scheme="socks5h")  # fmt: skip
peer("4b IPv6 destination, SOCKS proxy without IPv6", bad.socks(3), "egress.proxy_no_ipv6",
     "tunnel", "you", r"\[2001:db8::1\]:443", "IPv4 alone", scheme="socks5h",
     url="https://[2001:db8::1]/")  # fmt: skip
peer("4c IPv6 destination, HTTP proxy without IPv6",
     answers("HTTP/1.1 503 Service Unavailable\nX-Squid-Error: ERR_CONNECT_FAIL 101\n"
             "Content-Length: 0\n\n"),
     "egress.proxy_no_ipv6", "tunnel", "you", r"\[2001:db8::1\]:443", "IPv4 alone",
     url="https://[2001:db8::1]/")  # fmt: skip
peer("4d destination of which the resolver here knows nothing", bad.socks(0),
     "egress.socks_unresolved", "resolve", "you", r"nosuch\.corp\.test", "Write socks5h://",
     scheme="socks5", url="https://nosuch.corp.test/")  # fmt: skip


# --- the proxy's answer ---------------------------------------------------------------------


@fault("10 403 by rule", "egress.proxy_denied", "tunnel", "proxy", r"forbids denied\.test:443",
       "Ask the proxy's owner to allow")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.squid), "https://denied.test/")


@fault("13 destination refused at the proxy", "egress.proxy_cannot_connect", "tunnel",
       "destination", rf"cannot connect to {HOST}:\d+", "way to the proxy is fine")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with bad.closed_port() as port:
        yield Setup(settings(world.squid), f"https://{HOST}:{port}/")


@fault("11 port not allowed for CONNECT", "egress.proxy_port_denied", "tunnel", "proxy",
       rf"port 443 of {HOST}, but not to port 8443", "SSL_ports")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    """Squid finds no destination at port 443, and says so: that is not forbidden."""
    yield Setup(settings(world.ports), f"https://{HOST}:8443/")


@fault("11d strict mode asks for no other port", "egress.proxy_denied", "tunnel", "proxy")
def _(world: World) -> Iterator[Setup]:
    """Only the port that is allowed is ever named to the proxy, so it cannot be told apart."""
    found = settings(world.ports)
    more = replace(found.more, strict=True, allowed=BypassList.of(f"{HOST}:8443"))
    yield Setup(replace(found, more=more), f"https://{HOST}:8443/")


@fault("11b neither the port nor the host is allowed", "egress.proxy_denied", "tunnel", "proxy",
       r"allow denied\.test:8443")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.squid), "https://denied.test:8443/")


peer("12 destination unknown at the proxy",
     answers("HTTP/1.1 503 Service Unavailable\nX-Squid-Error: ERR_DNS_FAIL 0\n"
             "Content-Length: 0\n\n"),
     "egress.proxy_cannot_resolve", "tunnel", "you", rf"cannot resolve {HOST}",
     "No Proxy")  # fmt: skip
peer("14 504 with Proxy-Status",
     answers("HTTP/1.1 504 Gateway Timeout\nProxy-Status: gw; error=connection_timeout\n"
             "Content-Length: 0\n\n"),
     "egress.proxy_upstream_timeout", "tunnel", "destination", rf"no answer from {HOST}:443",
     "way to the proxy is fine")  # fmt: skip
peer("15 429",
     answers("HTTP/1.1 429 Too Many Requests\nRetry-After: 30\nContent-Length: 0\n\n"),
     "egress.proxy_rate_limited", "tunnel", "proxy", "limits the rate", "wait 30 s")  # fmt: skip
peer("16 web server, 405",
     answers("HTTP/1.1 405 Method Not Allowed\nServer: nginx\nContent-Length: 0\n\n"),
     "egress.not_a_proxy", "tunnel", "you", "answered 405", "web server")  # fmt: skip
peer("16b web server, 401",
     answers('HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Basic realm="x"\n'
             "Content-Length: 0\n\n"),
     "egress.not_a_proxy", "tunnel", "you", "answered 401")  # fmt: skip


@fault("16c web server, nginx", "egress.not_a_proxy", "tunnel", "you", "web server")
def _(world: World) -> Iterator[Setup]:
    with nginx() as port:
        yield Setup(by(port))


@fault("11c port not allowed by tinyproxy", "egress.proxy_port_denied", "tunnel", "proxy",
       "ConnectPort")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.tiny.url), f"https://{HOST}:8443/")


@fault("12b destination unknown to tinyproxy", "egress.proxy_cannot_forward", "tunnel", "you",
       r"cannot resolve or reach nosuch\.test", "No Proxy")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.tiny.url), "https://nosuch.test/")


@fault("26 HTTP/1.0 answer")
def _(world: World) -> Iterator[Setup]:
    head = "HTTP/1.0 200 Connection established"
    with scripted(bad.tunnel_to(world.secure.port, head)) as port:
        yield Setup(by(port, "http", world.outside), world.secure.url)


@fault("26b 200 with Transfer-Encoding and Content-Length")
def _(world: World) -> Iterator[Setup]:
    head = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Length: 12"
    with scripted(bad.tunnel_to(world.secure.port, head)) as port:
        yield Setup(by(port, "http", world.outside), world.secure.url)


# --- TLS to the proxy -----------------------------------------------------------------------


@fault("17 proxy certificate of an unknown CA", "egress.proxy_tls_unknown_ca", "proxy-tls", "you",
       INSPECTION, FINGERPRINT)  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.tls, user=USER, password=PASSWORD))


@fault("18 proxy certificate for another name", "egress.proxy_tls_wrong_name", "proxy-tls", "you",
       r"is for other\.test, not for 127\.0\.0\.1")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    context = world.inspection.server_context("other.test")
    with scripted(answers("HTTP/1.1 200 OK\n\n"), context=context) as port:
        yield Setup(by(port, "https", world.inspection))


def dated(world: World, name: str, since: int, until: int) -> ssl.SSLContext:
    """A certificate of the inspection CA, valid from and until so many days from now."""
    now, folder = datetime.now(UTC), world.folder / f"dated{since}{until}"
    folder.mkdir(exist_ok=True)
    pair = world.inspection.issue(
        name, since=now + timedelta(days=since), until=now + timedelta(days=until), directory=folder
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


@fault("18b proxy certificate expired", "egress.proxy_tls_expired", "proxy-tls", "proxy",
       r"expired on 20\d\d-", "must renew")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with scripted(
        answers("HTTP/1.1 200 OK\n\n"), context=dated(world, "127.0.0.1", -20, -1)
    ) as port:
        yield Setup(by(port, "https", world.inspection))


@fault("19 https:// to a plain port", "egress.proxy_speaks_http", "proxy-tls", "you",
       r"Write http://127\.0\.0\.1:\d+")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(f"https://127.0.0.1:{world.squid.port}"))


@fault("20 http:// to a TLS port", "egress.proxy_speaks_tls", "tunnel", "you",
       r"Write https://127\.0\.0\.1:\d+")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(f"http://127.0.0.1:{world.tls.port}"))


@fault("20b http:// to a TLS port, http destination", "egress.proxy_speaks_tls", "tunnel", "you",
       r"Write https://127\.0\.0\.1:\d+")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(f"http://127.0.0.1:{world.tls.port}"), f"http://{HOST}/")


def wanting(world: World, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = world.inspection.server_context("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(world.inspection.certificate)
    context.maximum_version = version
    return context


@fault("21 proxy wants a client certificate", "egress.proxy_client_certificate", "proxy-tls",
       "proxy", "asks for a client certificate")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    """TLS 1.3 tells only at the first read, and the fault is still TLS's."""
    context = wanting(world, ssl.TLSVersion.TLSv1_3)
    with scripted(answers("HTTP/1.1 200 OK\n\n"), context=context) as port:
        yield Setup(by(port, "https", world.inspection))


peer("22 closes on accept", bad.closes_at_once, "egress.proxy_closed", "tunnel", "proxy",
     "closed the connection without an answer", "may not accept this machine")  # fmt: skip
peer("22b closes after the request", bad.closes, "egress.proxy_closed", "tunnel", "proxy")
peer("22c resets", bad.resets, "egress.proxy_closed", "tunnel", "proxy")
peer("22d closes in TLS", bad.closes_at_once, "egress.proxy_tls_closed", "proxy-tls", "proxy",
     "during the TLS handshake", scheme="https")  # fmt: skip
peer("23 hangs", bad.hangs, "egress.proxy_silent", "tunnel", "proxy", r"no answer within \d",
     timeout=2.5)  # fmt: skip
peer("23b hangs in TLS", bad.hangs, "egress.proxy_tls_timeout", "proxy-tls", "proxy",
     "no TLS handshake", scheme="https", timeout=2.5)  # fmt: skip
peer("24 slow drip", bad.drips, "egress.proxy_silent", "tunnel", "proxy",
     r"only \d+ bytes of an answer within \d", timeout=3.0)  # fmt: skip
peer("25 huge head", bad.huge_head, "egress.proxy_head_too_large", "tunnel", "proxy",
     "exceeds 64 KiB of headers")  # fmt: skip
peer("27 captive portal, 200 with a page", bad.portal_at_once, "egress.proxy_portal", "tunnel",
     "proxy", "ACME Guest WiFi", "sign in")  # fmt: skip
peer("27b captive portal, the page comes late", bad.portal_later, "egress.proxy_portal", "tunnel",
     "proxy", "ACME Guest WiFi")  # fmt: skip
peer("28 captive portal, 302",
     answers("HTTP/1.1 302 Found\nLocation: https://login.intranet.test/sso?token=x\n"
             "Content-Length: 0\n\n"),
     "egress.proxy_portal", "tunnel", "proxy", r"redirects to login\.intranet\.test",
     "another proxy")  # fmt: skip
peer("29 SSH server", bad.ssh, "egress.proxy_not_http", "tunnel", "you", "SSH server",
     "Check host and port")  # fmt: skip
peer("29b SSH server by https://", bad.ssh, "egress.proxy_not_http", "proxy-tls", "you",
     "SSH server", scheme="https")  # fmt: skip
peer("31 closes in the TLS handshake", bad.closes_in_tls, "egress.tls_closed", "tls", "network",
     "the tunnel opened", rf"blocks {HOST}")  # fmt: skip
peer("31b hangs in the TLS handshake", bad.hangs_in_tls, "egress.tls_timeout", "tls", "network",
     "MTU", timeout=2.5)  # fmt: skip


# --- TLS to the destination -----------------------------------------------------------------


@fault("31c large packets are lost", "egress.tls_timeout", "tls", "network", "MTU")
def _(world: World) -> Iterator[Setup]:
    with scripted(bad.shrinking(world.secure.port, 500)) as port:
        yield Setup(by(port, "http", world.outside), world.secure.url, 2.5)


@fault("32 interception, CA missing", "egress.tls_intercepted", "tls", "you", INSPECTION,
       FINGERPRINT, "inspects TLS", "exempted")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.bump), world.secure.url)


@fault("33 interception, CA set", note="egress.inspected")
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.bump, world.inspection), world.secure.url)


@fault("34 destination expired", "egress.tls_expired", "tls", "destination", r"expired on 20\d\d-",
       INSPECTION, "clock")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with serve(HOST, dated(world, HOST, -20, -1)) as destination:
        yield Setup(settings(world.squid, world.inspection), destination.url)


@fault("34b destination of another name", "egress.tls_wrong_name", "tls", "destination",
       r"is for m\.test, n\.test, not for dest\.test")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with serve(HOST, world.outside.server_context("m.test", "n.test")) as destination:
        yield Setup(settings(world.squid, world.outside), destination.url)


@fault("34c destination of an unknown CA", "egress.tls_unknown_ca", "tls", "you", "Outside CA",
       FINGERPRINT, "Either the proxy inspects TLS or this is a private CA")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.squid), world.secure.url)


@fault("34d destination not yet valid: the clock", "egress.tls_not_yet_valid", "tls", "you",
       r"but from 20\d\d-", "this machine's clock")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with serve(HOST, dated(world, HOST, 1, 20)) as destination:
        yield Setup(settings(world.squid, world.inspection), destination.url)


@fault("34e http:// is meant", "egress.not_tls", "tls", "you", "an HTTP server",
       r"use http://127\.0\.0\.1:\d+")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(ProxySettings.build(), f"https://127.0.0.1:{world.plain.port}/")


@fault("37 destination wants a client certificate", "egress.tls_client_certificate", "tls",
       "destination", "asks for a client certificate")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    context = world.outside.server_context(HOST)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(world.outside.certificate)
    with scripted(answers("HTTP/1.1 200 OK\n\n"), context=context) as port:
        yield Setup(settings(world.squid, world.outside), f"https://{HOST}:{port}/")


@fault("37b destination wants a client certificate, nginx", "egress.tls_client_certificate",
       "http", "destination", "password or token")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with nginx(world.outside.issue(HOST), client_ca=world.outside.certificate) as port:
        yield Setup(settings(world.squid, world.outside), f"https://{HOST}:{port}/")


@fault("37c client certificate lost by inspection", "egress.client_certificate_lost", "http",
       "you", rf"Have {HOST} exempted")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    with nginx(world.outside.issue(HOST), client_ca=world.outside.certificate) as port:
        yield Setup(settings(world.bump, world.inspection), f"https://{HOST}:{port}/")


# --- HTTP and WebSocket ---------------------------------------------------------------------


@fault("35 Upgrade stripped", "egress.upgrade_stripped", "websocket", "proxy",
       "inspects TLS and does not pass the WebSocket",
       "http_upgrade_request_protocols websocket allow all")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.stripping, world.inspection), world.secure.ws)


@fault("38 redirect to another host", note="egress.redirected_elsewhere")
def _(world: World) -> Iterator[Setup]:
    url = f"{world.secure.url}/to?url=https://login.intranet.test/sso"
    yield Setup(settings(world.squid, world.outside), url)


@fault("40 bad destination behind interception", "egress.inspector_failed", "http", "proxy",
       "inspecting proxy answered", "rejects its certificate")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.strict, world.inspection), world.secure.url)


@fault("40b destination fails by itself", "egress.destination_failed", "http", "destination",
       f"{HOST}.* answered 500", "The way is fine")  # fmt: skip
def _(world: World) -> Iterator[Setup]:
    yield Setup(settings(world.squid, world.outside), f"{world.secure.url}/status/500")


# --- all of them ----------------------------------------------------------------------------


class _StrippingSquid(Squid):
    """Opens TLS, and does not let WebSocket pass: Squid's own default."""

    def _configuration(self) -> list[str]:
        return [line for line in super()._configuration() if "http_upgrade" not in line]


@pytest.fixture(scope="module")
def world(
    squid: Squid,
    basic_squid: Squid,
    tls_squid: Squid,
    bump_squid: Squid,
    start_squid: Callable[..., Squid],
    hosts_file: Path,
    proxy_ca: Authority,
    outside_ca: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    squid.deny_hosts(["denied.test"])
    only_443 = ["acl tls_port port 443", "acl tunnel method CONNECT",
                "http_access deny tunnel !tls_port"]  # fmt: skip
    with ExitStack() as stack:
        strict = stack.enter_context(start_squid(bump=proxy_ca, name="strict"))
        stripping = stack.enter_context(
            _StrippingSquid(
                bump=proxy_ca,
                trust=[outside_ca.certificate],
                directives=[f"hosts_file {hosts_file}"],
                name="strip",
            )
        )
        ports = stack.enter_context(start_squid(directives=only_443, name="ports"))
        yield World(
            squid=squid,
            basic=basic_squid,
            tls=tls_squid,
            bump=bump_squid,
            strict=strict,
            stripping=stripping,
            ports=ports,
            tiny=stack.enter_context(Tinyproxy(names=[HOST], ports=[443])),
            outside=outside_ca,
            inspection=proxy_ca,
            secure=stack.enter_context(serve(HOST, outside_ca.server_context(HOST))),
            plain=stack.enter_context(serve(HOST, None)),
            folder=tmp_path_factory.mktemp("faults"),
        )
    squid.deny_hosts([])


def _resolver(real: Callable[..., Any]) -> Callable[..., Any]:
    """The system's resolver, which knows no name below corp.test: whether a machine that runs
    tests has a name server at all must not decide a test."""

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "nosuch.corp.test":
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        if host == "nodns.corp.test":
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return real(host, *rest, **more)

    return look_up


@dataclass(frozen=True)
class Found:
    """What the two said."""

    console: dict[str, Any]
    defender: dict[str, Any]


@pytest.fixture(scope="module")
def found(world: World) -> Iterator[dict[str, Found]]:
    SIGHTINGS.forget()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(socket, "getaddrinfo", _resolver(socket.getaddrinfo))
        setups = {one.name: stack.enter_context(one.making(world)) for one in FAULTS}
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        yield asyncio.run(_all(setups, data))


async def _all(setups: dict[str, Setup], data: Path) -> dict[str, Found]:
    database = open_database(console := ConsoleSettings.from_environment({}, data=data))
    state = build_state(console, database, ContactLog(database))
    gateway = Gateway(
        database, state.authority, host="127.0.0.1", port=0, ingest=_nothing, fail=_nothing
    )
    await gateway.start()
    state.gateway = gateway
    token = JoinToken.create(state.authority)
    with database.write() as c:
        defenders.create_join_token(
            c,
            token_hash=token.secret_hash,
            group="default",
            expires_at=None,
            uses=None,
            actor="test",
            now=datetime.now(UTC),
        )
    try:
        answers = await asyncio.gather(
            *(_one(state, one, f"node{i}", token) for i, one in enumerate(setups.values()))
        )
    finally:
        await gateway.stop()
        await state.egress.aclose()
        database.close()
    return dict(zip(setups, answers, strict=True))


def _nothing(*_: Any) -> None:
    raise AssertionError("nothing is scanned here")


async def _one(state: AppState, setup: Setup, name: str, token: JoinToken) -> Found:
    """The same test from a Console and a Defender whose settings these are."""
    assert state.gateway is not None
    client = EgressClient(setup.settings)
    own = dataclasses.replace(state, egress=client)
    defender = Defender(
        f"ws://127.0.0.1:{state.gateway.port}",
        state.data / name,
        token=token,
        settings=setup.settings,
        name=name,
    )
    defender.start()
    try:
        first = await proxy.test(own, setup.url, "registry", proxy.CONSOLE, setup.timeout)
        await defender.connected()
        second = await proxy.test(own, setup.url, "registry", name, setup.timeout)
        assert second["from"] == name
    finally:
        await defender.stop()
        await client.aclose()
    return Found(first, second)


@pytest.mark.parametrize("side", ["console", "defender"])
@pytest.mark.parametrize("row", FAULTS, ids=lambda row: row.name.replace(" ", "-"))
def test_fault_is_told(row: Fault, side: str, found: dict[str, Found]) -> None:
    result = getattr(found[row.name], side)
    models.TestOut(**result)
    error = result["error"]
    if row.code is None:
        assert error is None, error
        assert result["ok"]
        assert [note["code"] for note in result["notes"]] == ([row.note] if row.note else [])
        return
    assert error is not None, result
    assert (error["code"], error["hop"], error["who"]) == (row.code, row.hop, row.who), error
    text = f"{error['message']}\n{error['hint']}"
    for fact in row.facts:
        assert re.search(fact, text), f"{fact!r} is not in: {text}"
    assert not result["trace"][-1]["ok"]
    assert result["trace"][-1]["hop"] == row.hop
    assert "token=x" not in str(result)


def test_no_two_remedies_share_a_code(found: dict[str, Found]) -> None:
    """The remedy is the hint without its names and numbers."""
    remedies: dict[str, set[str]] = {}
    for row in FAULTS:
        error = found[row.name].console["error"]
        if error is not None:
            remedies.setdefault(error["code"], set()).add(_remedy(error["hint"]))
    assert {code: hints for code, hints in remedies.items() if len(hints) > 1} == {}


def _remedy(hint: str) -> str:
    hint = re.sub(FINGERPRINT, "FINGERPRINT", hint)
    hint = re.sub(r'"[^"]*"', "NAME", hint)
    return re.sub(r"[a-z0-9.]+\.test(:\d+)?|127\.0\.0\.1(:\d+)?|\d+", "X", hint)
