"""Contexts of every page, made up: what templates are tried with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from garrison.console.pages import proxy, setup, sign_in, trace
from garrison.console.pages.view import Flash, Mark, Shell, choices

NOW = datetime(2026, 11, 24, 10, 18, 4, tzinfo=UTC)

SHELL = Shell(
    user="mira.okafor",
    role="admin",
    csrf="token",
    theme="",
    here="",
    intel=Mark("ok", "Intelligence Stream 6 min old", "/manage/system/intelligence"),
    now=NOW,
    images=2318,
    defenders=412,
    flash=Flash("Saved revision 42. The Console uses it now."),
)

SQUID_ANSWER = """HTTP/1.1 407 Proxy Authentication Required
Server: squid/6.6
Proxy-Authenticate: Basic realm="ACME egress"
X-Squid-Error: ERR_CACHE_ACCESS_DENIED 0"""

REFUSED = {
    "ok": False,
    "url": "https://hooks.slack.test/services/T02/B7",
    "from": "console",
    "route": {
        "url": "https://hooks.slack.test/services/T02/B7",
        "route": "proxy",
        "proxy": "http://proxy.corp.test:8080",
        "because": "default proxy",
        "purpose": "alerts",
    },
    "intercepted_by": None,
    "error": {
        "code": "egress.proxy_auth_refused",
        "message": "proxy.corp.test:8080 refused svc-garrison (407 Basic, realm “ACME egress”)",
        "hint": "Enter the password again, as it is: `%40` in an address is `@`.",
        "who": "you",
        "hop": "proxy-auth",
        "answer": SQUID_ANSWER,
    },
    "trace": [
        {
            "hop": "resolve",
            "target": "proxy.corp.test",
            "ok": True,
            "ms": 1.2,
            "detail": "proxy.corp.test is 10.20.0.8",
        },
        {
            "hop": "tcp",
            "target": "10.20.0.8:8080",
            "ok": True,
            "ms": 0.8,
            "detail": "10.20.0.8:8080 accepts",
        },
        {
            "hop": "proxy-auth",
            "target": "proxy.corp.test:8080",
            "ok": False,
            "ms": 4.1,
            "detail": "407: refused user “svc-garrison”",
        },
    ],
}

FINE = {
    **REFUSED,
    "ok": True,
    "error": None,
    "intercepted_by": "ACME TLS Inspection CA 2",
    "trace": [
        *REFUSED["trace"][:2],  # type: ignore[index]
        {
            "hop": "tunnel",
            "target": "hooks.slack.test:443",
            "ok": True,
            "ms": 11.0,
            "detail": "hooks.slack.test:443",
        },
        {
            "hop": "tls",
            "target": "hooks.slack.test",
            "ok": True,
            "ms": 24.0,
            "detail": "TLS 1.3, inspected by “ACME TLS Inspection CA 2”",
        },
        {"hop": "http", "target": "/", "ok": True, "ms": 38.0, "detail": "200"},
    ],
}

SOURCES = choices([("console", "From Console"), ("d1", "From node-eu-017")], "console")


def proxy_page(**changes: object) -> proxy.ProxyPage:
    values: dict[str, object] = {
        "crumbs": proxy.CRUMBS,
        "fields": proxy.Fields(
            http_proxy="http://proxy.corp.test:8080",
            no_proxy=".corp.test, 10.0.0.0/8, 192.168.0.0/16, "
            "vault.corp.test:8200, *.svc.cluster.local, jira.corp.test",
            user="svc-garrison",
        ),
        "certificates": (
            proxy.Certificate(
                "ACME TLS Inspection CA 2", "4f9a31c2" * 7 + "aaaa0b7e", "2031-03-02"
            ),
        ),
        "origins": proxy.origins(
            {
                "http_proxy": "http://proxy.corp.test:8080",
                "no_proxy": ["a", "b", "c", "d", "e", "f"],
                "ca_certificates": [1],
                "user": "svc-garrison",
                "password_set": True,
                "sources": {
                    "http_proxy": "saved",
                    "no_proxy": "saved",
                    "ca": "saved",
                    "user": "GARRISON_PROXY_USER",
                    "password": "saved",
                },
            },
        ),
        "revision": 41,
        "saved_at": NOW - timedelta(minutes=38),
        "saved_by": "mira.okafor",
        "password_set": True,
        "may_change": True,
        "test": proxy.TestPanel(
            "https://hooks.slack.test/services/T02/B7",
            SOURCES,
            view=trace.trace_view(REFUSED, NOW),
        ),
        "explained": proxy.explained(
            "https://hooks.slack.test/services/T02/B7",
            {
                "url": "https://hooks.slack.test/services/T02/B7",
                "proxy": "http://proxy.corp.test:8080",
                "because": "no entry of No Proxy matches hooks.slack.test",
                "purpose": "alerts",
            },
        ),
        "warnings": {"no_proxy": ("`jira.corp.test` is redundant: `.corp.test` covers it.",)},
        "outdated": (
            proxy.OutdatedGroup(
                "eu-west-prod", 40, 184, ("node-eu-001", "node-eu-002", "node-eu-003")
            ),
            proxy.OutdatedGroup("", 0, 2, ("runner-19", "runner-20")),
        ),
        "fleet_size": 412,
    }
    return proxy.ProxyPage(**{**values, **changes})  # type: ignore[arg-type]


PAGES: dict[str, tuple[str, object, str, str]] = {
    "proxy": ("proxy.html", proxy_page(), "Proxy", "proxy"),
    "proxy-errors": (
        "proxy.html",
        proxy_page(
            errors={
                "http_proxy": ("The protocol is missing. Write `http://proxy.corp.test:8080`.",),
                "ca": ("Line 12: this block is not a certificate (its base64 is cut off).",),
            },
            fields=proxy.Fields(
                "proxy.corp.test:8080", ".corp.test", "svc", "-----BEGIN CERTIFICATE-----\nMIIB"
            ),
            password_typed=True,
            test=proxy.TestPanel("https://osv.test", SOURCES, view=trace.trace_view(FINE, NOW)),
        ),
        "Proxy",
        "proxy",
    ),
}

BARE: dict[str, tuple[str, object, str]] = {
    "sign-in": (
        "sign-in.html",
        sign_in.SignInPage(
            "console.corp.test", name="mira.okafor", error="Name or password is wrong."
        ),
        "Sign in",
    ),
    "setup": (
        "setup.html",
        setup.SetupPage(True, "t", errors={"password": "It has 4 characters; 12 are needed."}),
        "Set-up",
    ),
    "setup-bad": ("setup.html", setup.BAD_LINK, "Set-up"),
}
