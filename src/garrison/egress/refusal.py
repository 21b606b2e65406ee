"""A proxy's refusal -> the error that says who must do what."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence

from garrison.egress.credentials import Credentials
from garrison.egress.endpoint import Endpoint
from garrison.egress.errors import (
    NotAProxyError,
    ProxyAnswerError,
    ProxyAuthCharsetError,
    ProxyAuthChoiceError,
    ProxyAuthEncodedError,
    ProxyAuthLibraryError,
    ProxyAuthRefusedError,
    ProxyAuthRequiredError,
    ProxyAuthSchemeError,
    ProxyAuthTicketError,
    ProxyCannotConnectError,
    ProxyCannotForwardError,
    ProxyCannotResolveError,
    ProxyDeniedError,
    ProxyNoIpv6Error,
    ProxyNoRouteError,
    ProxyPortalError,
    ProxyRateLimitError,
    ProxyRefusedError,
    ProxyTicketRefusedError,
    ProxyUpstreamTimeoutError,
    SocksAddressError,
    SocksCommandError,
    SocksFailedError,
    SocksNamesError,
)
from garrison.egress.handshake import (
    is_proxys_own,
    page_title,
    proxy_status_error,
    squid_error,
)
from garrison.egress.signin import NAMES, STRONGEST_FIRST, SignIn
from garrison.egress.socks import REPLIES
from garrison.egress.trace import Answer

# What Squid and RFC 9209 call the same thing.
_RESOLVE = {"ERR_DNS_FAIL", "dns_error", "dns_timeout", "destination_not_found"}
_TIMEOUT = {"ERR_READ_TIMEOUT", "ERR_LIFETIME_EXP", "connection_timeout", "connection_read_timeout"}
_FORWARD = {"ERR_CANNOT_FORWARD"}
_ROUTE = {"destination_ip_unroutable"}
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


def refusal(proxy: Endpoint, destination: Endpoint, answer: Answer) -> ProxyAnswerError:
    """The error for a proxy's answer other than 2xx and 407."""
    if answer.status == 511 or 300 <= answer.status < 400:
        return ProxyPortalError(proxy, destination, answer, _redirects(answer))
    if answer.status == 429:
        return ProxyRateLimitError(proxy, destination, answer)
    words = {squid_error(answer), proxy_status_error(answer)}
    number = answer.headers.get("x-squid-error", "").rpartition(" ")[2]
    if number == str(errno.ETIMEDOUT):
        words = {"connection_timeout"}
    if words & _ROUTE or number in (str(errno.ENETUNREACH), str(errno.EHOSTUNREACH)):
        return _no_route(proxy, destination, answer)
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
    if answer.status == 500 and answer.headers.get("server", "").lower().startswith("tinyproxy"):
        # All that tinyproxy says, whether the name or the service is not there.
        return ProxyCannotForwardError(proxy, destination, answer)
    if answer.status == 504:
        return ProxyUpstreamTimeoutError(proxy, destination, answer)
    if answer.status in (502, 503):
        return ProxyCannotConnectError(proxy, destination, answer)
    if answer.status in (400, 401, 404, 405, 501):
        return NotAProxyError(proxy, destination, answer)
    return ProxyRefusedError(proxy, destination, answer)


def unauthorised(
    proxy: Endpoint, destination: Endpoint, answer: Answer | None, sign_in: SignIn
) -> ProxyAnswerError:
    """The error for a 407 that nothing is left to answer with."""
    credentials, offered = sign_in.credentials, sign_in.offered
    if sign_in.refused and (credentials is not None or not sign_in.unavailable):
        tried = tuple(NAMES[scheme] for scheme in sign_in.refused)
        return sign_in_refused(proxy, destination, answer, credentials, tried)
    usable = {NAMES[scheme] for scheme in STRONGEST_FIRST} & set(offered)
    if sign_in.choice not in ("auto", "none"):
        chosen = NAMES[sign_in.choice]
        if offered and chosen not in offered:
            return ProxyAuthChoiceError(proxy, destination, answer, offered, chosen)
    if sign_in.choice == "none":
        return ProxyAuthChoiceError(proxy, destination, answer, offered, "none")
    if offered and not usable:
        return ProxyAuthSchemeError(proxy, destination, answer, offered)
    if credentials is None and usable != {"Negotiate"}:
        return ProxyAuthRequiredError(proxy, destination, answer, offered)
    for scheme, reason in sign_in.unavailable.items():
        if reason.kind == "library":
            return ProxyAuthLibraryError(proxy, destination, answer, offered)
        return ProxyAuthTicketError(proxy, destination, answer, NAMES[scheme], reason.reason)
    return ProxyAuthSchemeError(proxy, destination, answer, offered)


def sign_in_refused(
    proxy: Endpoint,
    destination: Endpoint,
    answer: Answer | None,
    credentials: Credentials | None,
    tried: Sequence[str] = (),
) -> ProxyAuthRefusedError:
    """The error for credentials that the proxy did not take: what may be wrong with them."""
    kind = ProxyAuthRefusedError
    if credentials is None:
        kind = ProxyTicketRefusedError
    elif re.search(r"%[0-9A-Fa-f]{2}", credentials.password.reveal()):
        kind = ProxyAuthEncodedError
    elif not f"{credentials.user}{credentials.password.reveal()}".isascii():
        kind = ProxyAuthCharsetError
    user = credentials.user if credentials else ""
    return kind(proxy, destination, answer, user, tried)


def _no_route(proxy: Endpoint, destination: Endpoint, answer: Answer | None) -> ProxyAnswerError:
    six = destination.ip is not None and destination.ip.version == 6
    return (ProxyNoIpv6Error if six else ProxyNoRouteError)(proxy, destination, answer)


def socks_refusal(proxy: Endpoint, destination: Endpoint, reply: int) -> ProxyAnswerError:
    """The error for a SOCKS proxy's reply other than 0."""
    match reply:
        case 2:
            return ProxyDeniedError(proxy, destination, None)
        case 3:
            return _no_route(proxy, destination, None)
        case 4:
            return ProxyCannotForwardError(proxy, destination, None)
        case 5:
            return ProxyCannotConnectError(proxy, destination, None)
        case 6:
            return ProxyUpstreamTimeoutError(proxy, destination, None)
        case 7:
            return SocksCommandError(proxy, destination)
        case 8:
            if destination.ip is None:
                return SocksNamesError(proxy, destination)
            kind = f"IPv{destination.ip.version} addresses"
            return SocksAddressError(proxy, destination, kind)
    meaning = REPLIES.get(reply, "none of RFC 1928")
    return SocksFailedError(proxy, destination, reply, meaning)


def _redirects(answer: Answer) -> str:
    host = answer.headers.get("location", "").partition("://")[2].partition("/")[0]
    return f"redirects to {host.rpartition('@')[2]}" if host else "asks to sign in"


def portal(proxy: Endpoint, destination: Endpoint, status: int, page: str) -> ProxyPortalError:
    """The error for a page that came behind a 2xx to CONNECT, where silence belongs."""
    title = page_title(page)
    said = f'sent a page "{title}"' if title else "sent a page"
    return ProxyPortalError(proxy, destination, Answer(status, body=page[:4096]), said)
