"""A proxy's refusal -> the error that says who must do what."""

from __future__ import annotations

import errno

from garrison.egress.endpoint import Endpoint
from garrison.egress.errors import (
    NotAProxyError,
    ProxyAnswerError,
    ProxyAuthRefusedError,
    ProxyAuthRequiredError,
    ProxyAuthSchemeError,
    ProxyCannotConnectError,
    ProxyCannotForwardError,
    ProxyCannotResolveError,
    ProxyDeniedError,
    ProxyPortalError,
    ProxyRateLimitError,
    ProxyRefusedError,
    ProxyUpstreamTimeoutError,
)
from garrison.egress.handshake import (
    is_proxys_own,
    offered_schemes,
    page_title,
    proxy_status_error,
    squid_error,
)
from garrison.egress.settings import Credentials
from garrison.egress.trace import Answer

# What Squid and RFC 9209 call the same thing.
_RESOLVE = {"ERR_DNS_FAIL", "dns_error", "dns_timeout", "destination_not_found"}
_TIMEOUT = {"ERR_READ_TIMEOUT", "ERR_LIFETIME_EXP", "connection_timeout", "connection_read_timeout"}
_FORWARD = {"ERR_CANNOT_FORWARD", "destination_ip_unroutable"}
_CONNECT = {
    "ERR_CONNECT_FAIL",
    "ERR_SECURE_CONNECT_FAIL",
    "ERR_SOCKET_FAILURE",
    "ERR_ZERO_SIZE_OBJECT",
    "ERR_READ_ERROR",
    "connection_refused",
    "connection_terminated",
    "destination_unavailable",
    "tls_certificate_error",
    "tls_protocol_error",
}
_DENIED = {"ERR_ACCESS_DENIED", "destination_ip_prohibited", "http_request_denied"}


def refusal(
    proxy: Endpoint, destination: Endpoint, answer: Answer, credentials: Credentials | None
) -> ProxyAnswerError:
    """The error for a proxy's answer other than 2xx."""
    if answer.status == 407:
        return _authentication(proxy, destination, answer, credentials)
    if answer.status == 511 or 300 <= answer.status < 400:
        return ProxyPortalError(proxy, destination, answer, _redirects(answer))
    if answer.status == 429:
        return ProxyRateLimitError(proxy, destination, answer)
    words = {squid_error(answer), proxy_status_error(answer)}
    if answer.headers.get("x-squid-error", "").endswith(f" {errno.ETIMEDOUT}"):
        words = {"connection_timeout"}
    for named, kind in (
        (_RESOLVE, ProxyCannotResolveError),
        (_TIMEOUT, ProxyUpstreamTimeoutError),
        (_FORWARD, ProxyCannotForwardError),
        (_CONNECT, ProxyCannotConnectError),
        (_DENIED, ProxyDeniedError),
    ):
        if words & named:
            return kind(proxy, destination, answer)
    return _by_status(proxy, destination, answer)


def is_refusal(answer: Answer) -> bool:
    """Whether a request in absolute form was answered by the proxy itself, and with no."""
    return answer.status == 511 or is_proxys_own(answer)


def _by_status(proxy: Endpoint, destination: Endpoint, answer: Answer) -> ProxyAnswerError:
    if answer.status == 403:
        return ProxyDeniedError(proxy, destination, answer)
    if answer.status == 504:
        return ProxyUpstreamTimeoutError(proxy, destination, answer)
    if answer.status in (502, 503):
        return ProxyCannotConnectError(proxy, destination, answer)
    if answer.status in (400, 401, 404, 405, 501):
        return NotAProxyError(proxy, destination, answer)
    return ProxyRefusedError(proxy, destination, answer)


def _authentication(
    proxy: Endpoint, destination: Endpoint, answer: Answer, credentials: Credentials | None
) -> ProxyAnswerError:
    offered = offered_schemes(answer)
    if offered and "basic" not in (scheme.lower() for scheme in offered):
        return ProxyAuthSchemeError(proxy, destination, answer, offered)
    if credentials is None:
        return ProxyAuthRequiredError(proxy, destination, answer, offered)
    encoded = "%" in credentials.password.reveal()
    return ProxyAuthRefusedError(proxy, destination, answer, credentials.user, encoded)


def _redirects(answer: Answer) -> str:
    host = answer.headers.get("location", "").partition("://")[2].partition("/")[0]
    return f"redirects to {host.rpartition('@')[2]}" if host else "asks to sign in"


def portal(proxy: Endpoint, destination: Endpoint, status: int, page: str) -> ProxyPortalError:
    """The error for a page that came behind a 2xx to CONNECT, where silence belongs."""
    title = page_title(page)
    said = f'sent a page "{title}"' if title else "sent a page"
    return ProxyPortalError(proxy, destination, Answer(status, body=page[:4096]), said)
