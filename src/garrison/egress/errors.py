"""Why a connection failed: one class per cause, each with its hop, who must act, and what to do.

Codes come from what was seen (errno, verify codes, alert names, status, first bytes), never from
an exception's text. Texts hold hosts and ports, no paths (webhooks keep secrets there), no
credentials.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from garrison.egress.trace import Answer, Hop, Trace, Who
from garrison.egress.trust import issuing_ca
from garrison.errors import GarrisonError

if TYPE_CHECKING:
    from garrison.egress.endpoint import Endpoint, ProxyAddress
    from garrison.egress.interception import Interception
    from garrison.egress.route import Route
    from garrison.egress.trust import Certificate

_PAGE = "Manage > System > Proxy"


class EgressError(GarrisonError):
    """A connection that failed.

    hop: where. who: must act. route, trace: the way and its steps. answer: what a peer said.
    """

    code = "egress.failed"
    at: ClassVar[Hop] = "tcp"
    actor: ClassVar[Who] = "network"
    advice: ClassVar[str] = ""

    def __init__(self, text: str, *, answer: Answer | None = None) -> None:
        super().__init__(text)
        self.hop: Hop = self.at
        self.who: Who = self.actor
        self.answer = answer
        self.trace: Trace | None = None
        self.route: Route | None = None
        self.intercepted_by: str | None = None
        """The CA that opens TLS on the way, where that was seen."""
        self.interception: Interception | None = None
        """How that is known."""

    @property
    def hint(self) -> str:
        return self.advice

    def as_failure(self) -> dict[str, str]:
        """`code`, `message`, `hint`, `who`, `hop`."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "who": self.who,
            "hop": self.hop,
        }

    def evidence(self) -> dict[str, Any]:
        """What is kept with a failure: `target`, `proxy` (or None), `because`, `trace`, and
        what was answered (or None)."""
        proxy = getattr(self.route, "proxy", None)
        return {
            "target": self.trace.target if self.trace else "",
            "proxy": None if proxy is None else str(proxy),
            "because": self.route.because if self.route else "",
            "trace": self.trace.as_list() if self.trace else [],
            "answer": None if self.answer is None else self.answer.as_dict(),
        }


# --- before anything is opened ----------------------------------------------------------------


class NotAllowedError(EgressError):
    """Strict mode: the destination is not among those that are allowed."""

    code, at, actor = "egress.not_allowed", "resolve", "you"
    advice = f"If it is to be reached, add it to the allowed destinations in {_PAGE}."

    def __init__(self, destination: Endpoint) -> None:
        super().__init__(f"strict mode allows no connection to {destination}")


class PacUnavailableError(EgressError):
    """There is a PAC file to ask, and no way to evaluate it."""

    code, at, actor = "egress.pac_unavailable", "resolve", "you"
    advice = "Install garrison with its extra `defender` or `cli`, which bring QuickJS."

    def __init__(self) -> None:
        super().__init__("this installation cannot evaluate PAC files")


class PacFetchError(EgressError):
    """The PAC file was never fetched, and cannot be now. cause: of a connection to its server."""

    code, at, actor = "egress.pac_unreachable", "resolve", "you"
    advice = (
        f"Let this machine reach the PAC file without a proxy, or correct its address in {_PAGE};"
        " nothing is reached meanwhile."
    )

    def __init__(self, cause: EgressError | None, text: str = "") -> None:
        if cause is not None:
            text = f"{cause.message} ({cause.code}). {cause.hint}".strip()
        super().__init__(f"the PAC file cannot be fetched: {text}")
        self.cause = cause


class _PacError(EgressError):
    at: ClassVar[Hop] = "resolve"
    actor: ClassVar[Who] = "you"
    what: ClassVar[str]

    def __init__(self, line: int | None) -> None:
        where = "" if line is None else f", line {line}"
        super().__init__(f"{self.what}{where}")
        self.line = line


class PacScriptError(_PacError):
    """The PAC file is no script, has no FindProxyForURL, or fails."""

    code = "egress.pac_script"
    advice = "Correct the PAC file in that line, or ask its owner; nothing is reached meanwhile."

    def __init__(self, problem: str, line: int | None) -> None:
        self.what = f"the PAC file fails: {problem}"  # type: ignore[misc]
        super().__init__(line)


class PacTimeoutError(_PacError):
    """The PAC file does not come to an end."""

    code, what = "egress.pac_timeout", "the PAC file was stopped after 1 s of computing"
    advice = "Look for a loop in the function that begins in that line."


class PacMemoryError(_PacError):
    """The PAC file takes more memory than it may."""

    code, what = "egress.pac_memory", "the PAC file was stopped at 32 MiB of memory"
    advice = "Look for a list or text that grows in that line."


class PacAnswerError(EgressError):
    """The PAC file returned nothing that names a route."""

    code, at, actor = "egress.pac_answer", "resolve", "you"
    advice = (
        "FindProxyForURL returns a text such as PROXY host:port; DIRECT. HTTPS, SOCKS and SOCKS5"
        " are understood too; SOCKS4 is not."
    )

    def __init__(self, said: str) -> None:
        super().__init__(f"the PAC file's answer cannot be used: {said}")


class LedAstrayError(EgressError):
    """A registry's redirect or token service leads where strangers may not lead us."""

    code, at, actor = "egress.led_astray", "resolve", "destination"

    def __init__(self, by: str, destination: Endpoint, what: str) -> None:
        super().__init__(f"{by} sends us to {destination}, which is {what}")
        self.by = by

    @property
    def hint(self) -> str:
        return (
            f"Only a server at such a place itself may lead there. If {self.by} is right and the"
            f" address is a private one of yours, add a rule in {_PAGE} that names its host, the"
            " purpose registry, and the use direct."
        )


# --- names and TCP --------------------------------------------------------------------------


class ProxyUnknownError(EgressError):
    """The proxy's name has no address here."""

    code, at, actor = "egress.proxy_unknown", "resolve", "you"
    advice = f"Correct the proxy's name in {_PAGE}, or have it added to this machine's DNS."

    def __init__(self, proxy: Endpoint) -> None:
        super().__init__(f"cannot resolve the proxy's name {proxy.host} on this machine")


class DestinationUnknownError(EgressError):
    """The destination's name has no address here, and no proxy was asked."""

    code, at, actor = "egress.destination_unknown", "resolve", "you"

    def __init__(self, destination: Endpoint, because: str) -> None:
        super().__init__(f"cannot resolve {destination.host} on this machine")
        self.destination, self.because = destination, because

    @property
    def hint(self) -> str:
        return (
            f"{self.destination.host} is reached directly ({self.because}). Correct the name;"
            f" if only the proxy can resolve it, set the proxy in {_PAGE}."
        )


class NameServerError(EgressError):
    """The name server did not answer, or answered with an error of its own."""

    code, at, actor = "egress.name_server", "resolve", "network"
    advice = "Check this machine's DNS servers (/etc/resolv.conf); the name itself may be right."

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(f"the name server gave no answer for {endpoint.host}")


class _TcpError(EgressError):
    at: ClassVar[Hop] = "tcp"
    what: ClassVar[str]

    def __init__(self, endpoint: Endpoint, seconds: float | None = None) -> None:
        within = "" if seconds is None else f" within {seconds:.1f} s"
        super().__init__(f"{self.what} {endpoint}{within}")
        self.endpoint = endpoint


class ProxyConnectionRefusedError(_TcpError):
    """Nothing listens at the proxy's port, or a firewall rejects."""

    code, actor = "egress.proxy_connection_refused", "you"
    what = "connection refused by the proxy"
    advice = f"Check the port in {_PAGE}, and that the proxy runs and accepts this machine."


class ConnectionRefusedDirectError(_TcpError):
    """Nothing listens at the destination's port."""

    code, actor = "egress.connection_refused", "destination"
    what = "connection refused by"
    advice = "Check the port, and that the service runs. No proxy was used for this destination."


class ProxyConnectTimeoutError(_TcpError):
    """The proxy's machine does not answer at all."""

    code, actor = "egress.proxy_connect_timeout", "network"
    what = "no connection to the proxy"
    advice = f"A firewall drops the packets, or the address in {_PAGE} is wrong."


class ConnectTimeoutError(_TcpError):
    """The destination's machine does not answer at all."""

    code, actor = "egress.connect_timeout", "network"
    what = "no connection to"
    advice = (
        "A firewall drops the packets. If this network is left through a proxy only, set it in"
        f" {_PAGE}, or remove the bypass entry."
    )


class ProxyUnreachableError(_TcpError):
    """No route to the proxy."""

    code, actor = "egress.proxy_unreachable", "network"
    what = "this machine has no route to the proxy"
    advice = f"Check this machine's network, and the proxy's address in {_PAGE}."


class UnreachableError(_TcpError):
    """No route to the destination."""

    code, actor = "egress.unreachable", "network"
    what = "this machine has no route to"
    advice = f"If this network is left through a proxy only, set it in {_PAGE}."


class ConnectFailedError(_TcpError):
    """The system refused to connect, for a reason of its own."""

    code, actor = "egress.connect_failed", "you"
    what = "cannot connect to"

    def __init__(self, endpoint: Endpoint, errno_name: str) -> None:
        super().__init__(endpoint)
        self.errno_name = errno_name

    @property
    def hint(self) -> str:
        return f"The operating system said {self.errno_name}: check its limits and firewall."


# --- TLS to the proxy -----------------------------------------------------------------------


class _ProxyTlsError(EgressError):
    at: ClassVar[Hop] = "proxy-tls"
    actor: ClassVar[Who] = "you"


class ProxySpeaksHttpError(_ProxyTlsError):
    """`https://` or `socks5://` to a port that speaks plain HTTP."""

    code = "egress.proxy_speaks_http"

    def __init__(self, proxy: ProxyAddress) -> None:
        what = "SOCKS5" if proxy.socks else "TLS"
        super().__init__(f"the proxy at {proxy.endpoint} does not speak {what}, but plain HTTP")
        self.proxy = proxy

    @property
    def hint(self) -> str:
        return f"Write http://{self.proxy.endpoint} in {_PAGE}."


class ProxyTlsFailedError(_ProxyTlsError):
    """The handshake with the proxy failed for another reason; `alert` names it."""

    code, actor = "egress.proxy_tls_failed", "proxy"
    advice = "Ask the proxy's owner which TLS versions and ciphers it accepts (we offer 1.2, 1.3)."

    def __init__(self, proxy: Endpoint, alert: str) -> None:
        super().__init__(f"no TLS connection to the proxy {proxy}: {alert}")


class ProxyTlsClosedError(_ProxyTlsError):
    """The proxy hung up during the handshake."""

    code, actor = "egress.proxy_tls_closed", "proxy"
    advice = (
        f"Check that this port is the proxy's TLS port (else write http:// in {_PAGE}), and that"
        " the proxy accepts this machine's address."
    )

    def __init__(self, proxy: Endpoint) -> None:
        super().__init__(f"the proxy {proxy} closed the connection during the TLS handshake")


class ProxyTlsTimeoutError(_ProxyTlsError):
    """The proxy took the connection and did not finish the handshake."""

    code, actor = "egress.proxy_tls_timeout", "proxy"
    advice = f"Check that this port is the proxy's TLS port; a plain one wants http:// in {_PAGE}."

    def __init__(self, proxy: Endpoint, seconds: float) -> None:
        super().__init__(f"no TLS handshake with the proxy {proxy} within {seconds:.1f} s")


class ProxyClientCertificateError(_ProxyTlsError):
    """The proxy wants a certificate from us; there is none."""

    code, actor = "egress.proxy_client_certificate", "proxy"
    advice = (
        "Client certificates for proxies are not supported: ask the proxy's owner for a port that"
        " takes a user and password."
    )

    def __init__(self, proxy: Endpoint) -> None:
        super().__init__(f"the proxy {proxy} asks for a client certificate; none is set")


# --- certificates, of the proxy and of destinations -----------------------------------------


class CertificateError(EgressError):
    """A certificate that was refused. chain: what was presented, its own first; may be empty."""

    at: ClassVar[Hop] = "tls"
    actor: ClassVar[Who] = "destination"

    def __init__(self, peer: str, text: str, chain: Sequence[Certificate] = ()) -> None:
        super().__init__(f"the certificate of {peer} {text}")
        self.chain = tuple(chain)

    @property
    def issuer(self) -> Certificate | None:
        """What would have to be trusted: the last CA up the chain's signatures, or a certificate
        that signed itself."""
        return issuing_ca(self.chain)

    @property
    def issuer_name(self) -> str:
        """Who signed the last certificate that was presented; empty when none could be read."""
        issuer = self.issuer
        if issuer is not None:
            return issuer.subject
        return self.chain[0].issuer if self.chain else ""

    def _add_ca(self) -> str:
        issuer = self.issuer
        if issuer is None:
            name = f' "{self.issuer_name}"' if self.issuer_name else ""
            return f"add the certificate of the CA{name} under CA certificates in {_PAGE}"
        what = "CA" if issuer.is_ca else "certificate"
        return (
            f'add the {what} "{issuer.subject}" under CA certificates in {_PAGE}, after comparing'
            f" its SHA-256 fingerprint {issuer.fingerprint}"
        )


def _issued_by(chain: Sequence[Certificate]) -> str:
    """Why an unknown CA is unknown, as far as the chain tells."""
    if not chain:
        return "was issued by a CA that is not trusted"
    issuer = issuing_ca(chain)
    if issuer is not None and issuer.sha256 == chain[0].sha256:
        return f'is signed by itself ("{chain[0].subject}") and not trusted'
    top = issuer.subject if issuer else chain[0].issuer
    return f'was issued by "{top}", which is not trusted'


class UnknownCaError(CertificateError):
    """The destination's certificate comes from a CA that nobody told us to trust."""

    code, actor = "egress.tls_unknown_ca", "you"

    def __init__(self, destination: Endpoint, chain: Sequence[Certificate], proxied: bool) -> None:
        super().__init__(str(destination), _issued_by(chain), chain)
        self.proxied = proxied

    @property
    def hint(self) -> str:
        either = "either the proxy inspects TLS or this is a private CA. " if self.proxied else ""
        whose = "If it is your organisation's, "
        return f"{either}{whose}{self._add_ca()}.".replace("either", "Either", 1)


class InterceptedError(CertificateError):
    """TLS is opened on the way, and its CA is not trusted. found: how that is known."""

    code, actor = "egress.tls_intercepted", "you"

    def __init__(
        self,
        destination: Endpoint,
        chain: Sequence[Certificate],
        proxied: bool,
        found: Interception,
    ) -> None:
        by = "the proxy" if proxied else "a device on the way, although no proxy is used,"
        does = "inspects" if found.certainty == "certain" else "probably inspects"
        super().__init__(
            str(destination), f"{_issued_by(chain)}: {by} {does} TLS ({found.evidence})", chain
        )
        self.intercepted_by = self.issuer_name
        self.interception = found

    @property
    def hint(self) -> str:
        add = self._add_ca()
        return f"{add[:1].upper()}{add[1:]}; or have the destination exempted from inspection."


class ExpiredError(CertificateError):
    """The destination's certificate has expired."""

    code = "egress.tls_expired"
    advice = "The destination's owner must renew it. If it is new, check this machine's clock."

    def __init__(self, destination: Endpoint, chain: Sequence[Certificate]) -> None:
        super().__init__(str(destination), _dated("expired", chain, expired=True), chain)


class NotYetValidError(CertificateError):
    """The certificate begins in the future: mostly this machine's clock."""

    code, actor = "egress.tls_not_yet_valid", "you"
    advice = "Check this machine's clock."

    def __init__(self, peer: Endpoint, chain: Sequence[Certificate], hop: Hop = "tls") -> None:
        super().__init__(str(peer), _dated("is not valid yet", chain, expired=False), chain)
        self.hop = hop


class WrongNameError(CertificateError):
    """The destination's certificate is for other names."""

    code = "egress.tls_wrong_name"
    advice = "Use a name that the certificate has, or have it issued for this one."

    def __init__(self, destination: Endpoint, chain: Sequence[Certificate]) -> None:
        super().__init__(str(destination), _named(destination, chain), chain)


class BadCertificateChainError(CertificateError):
    """OpenSSL refused the certificate for a rarer reason; `reason` is OpenSSL's."""

    code = "egress.tls_bad_certificate"
    advice = "The destination's owner must replace the certificate."

    def __init__(self, destination: Endpoint, reason: str, chain: Sequence[Certificate]) -> None:
        super().__init__(str(destination), f"was refused: {reason}", chain)


class ProxyUnknownCaError(CertificateError):
    """The proxy's own certificate comes from a CA that nobody told us to trust."""

    code, at, actor = "egress.proxy_tls_unknown_ca", "proxy-tls", "you"

    def __init__(self, proxy: Endpoint, chain: Sequence[Certificate]) -> None:
        super().__init__(f"the proxy {proxy}", _issued_by(chain), chain)

    @property
    def hint(self) -> str:
        return f"If it is your organisation's, {self._add_ca()}."


class ProxyExpiredError(CertificateError):
    """The proxy's own certificate has expired."""

    code, at, actor = "egress.proxy_tls_expired", "proxy-tls", "proxy"
    advice = "The proxy's owner must renew it. If it is new, check this machine's clock."

    def __init__(self, proxy: Endpoint, chain: Sequence[Certificate]) -> None:
        super().__init__(f"the proxy {proxy}", _dated("expired", chain, expired=True), chain)


class ProxyWrongNameError(CertificateError):
    """The proxy's own certificate is for other names."""

    code, at, actor = "egress.proxy_tls_wrong_name", "proxy-tls", "you"
    advice = f"Write the proxy in {_PAGE} by a name that its certificate has."

    def __init__(self, proxy: Endpoint, chain: Sequence[Certificate]) -> None:
        super().__init__(f"the proxy {proxy}", _named(proxy, chain), chain)


class ProxyBadCertificateError(CertificateError):
    """OpenSSL refused the proxy's certificate for a rarer reason."""

    code, at, actor = "egress.proxy_tls_bad_certificate", "proxy-tls", "proxy"
    advice = "The proxy's owner must replace the certificate."

    def __init__(self, proxy: Endpoint, reason: str, chain: Sequence[Certificate]) -> None:
        super().__init__(f"the proxy {proxy}", f"was refused: {reason}", chain)


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _dated(text: str, chain: Sequence[Certificate], *, expired: bool) -> str:
    """`text` with the date of the certificate that is out of its time the most."""
    if not chain:
        return text
    if expired:
        one = min(chain, key=lambda certificate: certificate.not_after)
        return f'{text} on {_day(one.not_after)} (issued by "{chain[0].issuer}")'
    one = max(chain, key=lambda certificate: certificate.not_before)
    return f'{text}, but from {_day(one.not_before)} (issued by "{chain[0].issuer}")'


def _named(endpoint: Endpoint, chain: Sequence[Certificate]) -> str:
    if not chain:
        return f"is not for {endpoint.host}"
    names = ", ".join(chain[0].names[:8]) or chain[0].subject
    more = " …" if len(chain[0].names) > 8 else ""
    return f'is for {names}{more}, not for {endpoint.host} (issued by "{chain[0].issuer}")'


# --- the proxy's answer ---------------------------------------------------------------------


class ProxyAnswerError(EgressError):
    """The proxy answered, and the answer is no."""

    at: ClassVar[Hop] = "tunnel"
    actor: ClassVar[Who] = "proxy"

    def __init__(
        self, text: str, proxy: Endpoint, destination: Endpoint, answer: Answer | None
    ) -> None:
        """answer: None from a SOCKS proxy, whose number stands in the text."""
        super().__init__(text, answer=answer)
        self.proxy, self.destination = proxy, destination
        self.status = answer.status if answer else None


class ProxyAuthRequiredError(ProxyAnswerError):
    """407, and no user is set."""

    code, at, actor = "egress.proxy_auth_required", "proxy-auth", "you"
    advice = f"Set User and Password in {_PAGE}."

    def __init__(
        self,
        proxy: Endpoint,
        destination: Endpoint,
        answer: Answer | None,
        offered: Sequence[str],
    ) -> None:
        wants = f" ({', '.join(offered)})" if offered else ""
        super().__init__(
            f"the proxy {proxy} wants a user and password{wants}; none are set",
            proxy,
            destination,
            answer,
        )


class ProxyAuthRefusedError(ProxyAnswerError):
    """Refused, although we signed in. tried: the schemes, in this order."""

    code, at, actor = "egress.proxy_auth_refused", "proxy-auth", "you"
    advice = f"Correct User and Password in {_PAGE}."

    def __init__(
        self,
        proxy: Endpoint,
        destination: Endpoint,
        answer: Answer | None,
        user: str,
        tried: Sequence[str] = (),
    ) -> None:
        by = f" ({', '.join(tried)})" if tried else ""
        what = f'the password of user "{user}"' if user else "the ticket of this process"
        super().__init__(f"the proxy {proxy} refused {what}{by}", proxy, destination, answer)
        self.user, self.tried = user, tuple(tried)


class ProxyAuthEncodedError(ProxyAuthRefusedError):
    """Refused, and the password looks as if it had been encoded for an address (`%40`)."""

    code = "egress.proxy_auth_encoded"
    advice = (
        f'The password holds "%" and two digits: enter it in {_PAGE} as it is, not'
        " percent-encoded. If it is right so, correct User and Password."
    )


class ProxyAuthCharsetError(ProxyAuthRefusedError):
    """Refused, and user or password have characters that not every proxy reads as UTF-8."""

    code = "egress.proxy_auth_charset"
    advice = (
        "User and Password are sent as UTF-8 (RFC 7617). If they are right, the proxy may read"
        " another encoding: use an account with letters of ASCII alone, or ask its owner."
    )


class ProxyTicketRefusedError(ProxyAuthRefusedError):
    """Refused, with the ticket of this process: no user is set."""

    code = "egress.proxy_auth_ticket_refused"
    advice = (
        "Ask the proxy's owner whether this machine's principal may sign in, or set User and"
        f" Password in {_PAGE}."
    )


class ProxyAuthSchemeError(ProxyAnswerError):
    """407, and nothing we can do is among what the proxy offers."""

    code, at, actor = "egress.proxy_auth_scheme", "proxy-auth", "proxy"
    advice = "Ask the proxy's owner to accept Negotiate, NTLM, Digest or Basic from this machine."

    def __init__(
        self,
        proxy: Endpoint,
        destination: Endpoint,
        answer: Answer | None,
        offered: Sequence[str],
    ) -> None:
        names = ", ".join(offered) or "no scheme"
        super().__init__(
            f"the proxy {proxy} offers {names} and nothing that can be used",
            proxy,
            destination,
            answer,
        )


class ProxyAuthChoiceError(ProxyAnswerError):
    """407, and the scheme that was chosen for this proxy is not offered. chosen: its name."""

    code, at, actor = "egress.proxy_auth_choice", "proxy-auth", "you"
    advice = f"Choose automatic authentication for this proxy in {_PAGE}, or one that it offers."

    def __init__(
        self,
        proxy: Endpoint,
        destination: Endpoint,
        answer: Answer | None,
        offered: Sequence[str],
        chosen: str,
    ) -> None:
        but = "none is to be used" if chosen == "none" else f"not {chosen}, which is chosen"
        super().__init__(
            f"the proxy {proxy} offers {', '.join(offered) or 'no scheme'} but {but}",
            proxy,
            destination,
            answer,
        )
        self.chosen = chosen


class ProxyAuthLibraryError(ProxyAnswerError):
    """407 with Negotiate alone, and the Kerberos libraries are not installed here."""

    code, at, actor = "egress.proxy_auth_library", "proxy-auth", "you"
    advice = (
        "Install the Kerberos libraries beside Garrison: apt install gcc libkrb5-dev, then"
        " pip install 'garrison[kerberos]'."
    )

    def __init__(
        self,
        proxy: Endpoint,
        destination: Endpoint,
        answer: Answer | None,
        offered: Sequence[str],
    ) -> None:
        super().__init__(
            f"the proxy {proxy} wants {', '.join(offered)}, for which this installation lacks"
            " Kerberos",
            proxy,
            destination,
            answer,
        )


class ProxyAuthTicketError(ProxyAnswerError):
    """407, and no ticket could be had for it. reason: of the library."""

    code, at, actor = "egress.proxy_auth_ticket", "proxy-auth", "you"
    advice = (
        f"Set User (name@REALM) and Password in {_PAGE}, or give this process a ticket cache"
        " (KRB5CCNAME) or keytab (KRB5_CLIENT_KTNAME); write the proxy by its name, not its"
        " address, and check /etc/krb5.conf."
    )

    def __init__(
        self,
        proxy: Endpoint,
        destination: Endpoint,
        answer: Answer | None,
        scheme: str,
        reason: str,
    ) -> None:
        super().__init__(
            f"no {scheme} token for the proxy {proxy}: {reason}", proxy, destination, answer
        )
        self.reason = reason


class ProxyAuthBrokenError(ProxyAnswerError):
    """The proxy closed the connection in the middle of NTLM or Negotiate, which need it whole."""

    code, at, actor = "egress.proxy_auth_broken", "proxy-auth", "proxy"
    advice = (
        "Ask the proxy's owner to keep connections open while a client signs in (a load balancer in"
        " front must be bound to the client), or to offer Digest or Basic."
    )

    def __init__(self, proxy: Endpoint, destination: Endpoint, scheme: str) -> None:
        super().__init__(
            f"the proxy {proxy} closed the connection in the middle of {scheme}",
            proxy,
            destination,
            None,
        )
        self.scheme = scheme


class ProxyDeniedError(ProxyAnswerError):
    """403: a rule of the proxy."""

    code = "egress.proxy_denied"

    def __init__(self, proxy: Endpoint, destination: Endpoint, answer: Answer | None) -> None:
        super().__init__(f"the proxy {proxy} forbids {destination}", proxy, destination, answer)

    @property
    def hint(self) -> str:
        return f"Ask the proxy's owner to allow {self.destination}."


class ProxyPortDeniedError(ProxyAnswerError):
    """403 for this port; a tunnel to port 443 of the same host would be opened."""

    code = "egress.proxy_port_denied"

    def __init__(self, proxy: Endpoint, destination: Endpoint, answer: Answer) -> None:
        super().__init__(
            f"the proxy {proxy} allows tunnels to port 443 of {destination.host}, but not to"
            f" port {destination.port}",
            proxy,
            destination,
            answer,
        )

    @property
    def hint(self) -> str:
        return (
            f"Ask the proxy's owner to allow CONNECT to port {self.destination.port} (Squid:"
            " SSL_ports; tinyproxy: ConnectPort), or offer the service at port 443."
        )


class ProxyCannotResolveError(ProxyAnswerError):
    """The proxy does not know the destination's name."""

    code, actor = "egress.proxy_cannot_resolve", "you"

    def __init__(self, proxy: Endpoint, destination: Endpoint, answer: Answer) -> None:
        super().__init__(
            f"the proxy {proxy} cannot resolve {destination.host}", proxy, destination, answer
        )

    @property
    def hint(self) -> str:
        return (
            f"Correct the name; if only this network knows {self.destination.host}, add it to"
            f" No Proxy in {_PAGE}."
        )


class ProxyCannotForwardError(ProxyAnswerError):
    """The proxy found no way to the destination: mostly no address (Squid 5 and tinyproxy say no
    more)."""

    code, actor = "egress.proxy_cannot_forward", "you"

    def __init__(self, proxy: Endpoint, destination: Endpoint, answer: Answer | None) -> None:
        super().__init__(
            f"the proxy {proxy} cannot resolve or reach {destination.host}",
            proxy,
            destination,
            answer,
        )

    @property
    def hint(self) -> str:
        return (
            f"Check the name {self.destination.host}; if only this network knows it, add it to No"
            f" Proxy in {_PAGE}. If it is right, ask the proxy's owner: the proxy finds no way."
        )


class ProxyCannotConnectError(ProxyAnswerError):
    """The proxy could not reach the destination."""

    code, actor = "egress.proxy_cannot_connect", "destination"

    def __init__(self, proxy: Endpoint, destination: Endpoint, answer: Answer | None) -> None:
        said = f" ({answer.status})" if answer else ": connection refused"
        super().__init__(
            f"the proxy {proxy} cannot connect to {destination}{said}",
            proxy,
            destination,
            answer,
        )

    @property
    def hint(self) -> str:
        return (
            f"The way to the proxy is fine. Check that {self.destination} runs and is reachable"
            " from the proxy."
        )


class ProxyUpstreamTimeoutError(ProxyAnswerError):
    """The proxy waited for the destination in vain."""

    code, actor = "egress.proxy_upstream_timeout", "destination"

    def __init__(self, proxy: Endpoint, destination: Endpoint, answer: Answer | None) -> None:
        super().__init__(
            f"the proxy {proxy} got no answer from {destination} in time",
            proxy,
            destination,
            answer,
        )

    @property
    def hint(self) -> str:
        return (
            f"The way to the proxy is fine. Check that {self.destination} runs, and that a"
            " firewall behind the proxy lets it through."
        )


class ProxyRateLimitError(ProxyAnswerError):
    """429: the proxy limits how often we may ask. retry_after: seconds, if it said."""

    code = "egress.proxy_rate_limited"

    def __init__(self, proxy: Endpoint, destination: Endpoint, answer: Answer) -> None:
        super().__init__(f"the proxy {proxy} limits the rate of connections", proxy, destination,
                         answer)  # fmt: skip
        wait = answer.headers.get("retry-after", "")
        self.retry_after = int(wait) if wait.isascii() and wait.isdigit() else None

    @property
    def hint(self) -> str:
        wait = "" if self.retry_after is None else f" It asks to wait {self.retry_after} s."
        return f"Ask the proxy's owner for a higher limit.{wait}"


class ProxyPortalError(ProxyAnswerError):
    """A page for people instead of a tunnel."""

    code = "egress.proxy_portal"

    def __init__(self, proxy: Endpoint, destination: Endpoint, answer: Answer, said: str) -> None:
        super().__init__(
            f"the proxy {proxy} {said} instead of opening a tunnel to {destination}",
            proxy,
            destination,
            answer,
        )

    @property
    def hint(self) -> str:
        return (
            "A person must sign in there first, or a filter refuses: ask the proxy's owner to"
            f" let this machine through to {self.destination}, or use another proxy."
        )


class NotAProxyError(ProxyAnswerError):
    """A web server that knows no CONNECT."""

    code, actor = "egress.not_a_proxy", "you"
    advice = f"Check host and port in {_PAGE}: this is a web server."

    def __init__(self, proxy: Endpoint, destination: Endpoint, answer: Answer) -> None:
        super().__init__(
            f"{proxy} is no proxy: it answered {answer.status} to a request for a tunnel",
            proxy,
            destination,
            answer,
        )


class ProxyRefusedError(ProxyAnswerError):
    """The proxy refused with a status that has no class of its own."""

    code = "egress.proxy_refused"

    def __init__(self, proxy: Endpoint, destination: Endpoint, answer: Answer) -> None:
        super().__init__(
            f"the proxy {proxy} refused {destination} with status {answer.status}",
            proxy,
            destination,
            answer,
        )

    @property
    def hint(self) -> str:
        return f"Ask the proxy's owner why {self.destination} is refused; its answer is kept."


class ProxyNoRouteError(ProxyAnswerError):
    """The proxy has no route to the destination's network."""

    code = "egress.proxy_no_route"

    def __init__(self, proxy: Endpoint, destination: Endpoint, answer: Answer | None) -> None:
        super().__init__(
            f"the proxy {proxy} has no route to the network of {destination}",
            proxy,
            destination,
            answer,
        )

    @property
    def hint(self) -> str:
        return f"Ask the proxy's owner whether the proxy may leave towards {self.destination}."


class ProxyNoIpv6Error(ProxyAnswerError):
    """The destination is an IPv6 address, and the proxy has no way there."""

    code, actor = "egress.proxy_no_ipv6", "you"
    advice = (
        "The proxy may leave by IPv4 alone: use the destination's name or its IPv4 address, or ask"
        " the proxy's owner for IPv6."
    )

    def __init__(self, proxy: Endpoint, destination: Endpoint, answer: Answer | None) -> None:
        super().__init__(
            f"the proxy {proxy} has no route to the IPv6 address {destination}",
            proxy,
            destination,
            answer,
        )


class SocksUnresolvedError(EgressError):
    """`socks5://`: the destination's name has no address here."""

    code, at, actor = "egress.socks_unresolved", "resolve", "you"
    advice = f"Write socks5h:// in {_PAGE}, so that the proxy resolves names itself."

    def __init__(self, destination: Endpoint, proxy: Endpoint) -> None:
        super().__init__(
            f"cannot resolve {destination.host} on this machine, which socks5:// leaves to it"
        )
        self.proxy, self.destination = proxy, destination


class SocksFailedError(ProxyAnswerError):
    """A SOCKS proxy refused without saying why (reply 1, or a number of its own)."""

    code = "egress.socks_failed"

    def __init__(self, proxy: Endpoint, destination: Endpoint, reply: int, meaning: str) -> None:
        super().__init__(
            f"the SOCKS proxy {proxy} could not open a tunnel to {destination}"
            f" (reply {reply}: {meaning})",
            proxy,
            destination,
            None,
        )
        self.reply = reply

    @property
    def hint(self) -> str:
        return f"Ask the proxy's owner to look for {self.destination} in the proxy's log."


class SocksCommandError(ProxyAnswerError):
    """A SOCKS proxy that opens no tunnels (reply 7)."""

    code = "egress.socks_no_connect"

    def __init__(self, proxy: Endpoint, destination: Endpoint) -> None:
        super().__init__(
            f"the SOCKS proxy {proxy} does not support CONNECT", proxy, destination, None
        )

    @property
    def hint(self) -> str:
        return "Ask the proxy's owner to allow the command CONNECT for this machine."


class SocksAddressError(ProxyAnswerError):
    """A SOCKS proxy does not take addresses of this kind (reply 8). kind: `IPv6 addresses`."""

    code, actor = "egress.socks_address_type", "you"
    advice = f"Write socks5h:// in {_PAGE}, so that the proxy resolves names itself."

    def __init__(self, proxy: Endpoint, destination: Endpoint, kind: str) -> None:
        super().__init__(
            f"the SOCKS proxy {proxy} takes no {kind} (for {destination})", proxy, destination, None
        )


class SocksNamesError(ProxyAnswerError):
    """A SOCKS proxy takes no names (reply 8)."""

    code, actor = "egress.socks_names", "you"
    advice = f"Write socks5:// instead of socks5h:// in {_PAGE}: names are then resolved here."

    def __init__(self, proxy: Endpoint, destination: Endpoint) -> None:
        super().__init__(
            f"the SOCKS proxy {proxy} takes no names (for {destination})", proxy, destination, None
        )


class SocksSignInError(ProxyAnswerError):
    """A SOCKS proxy takes neither no user at all nor user and password."""

    code, at, actor = "egress.socks_sign_in", "proxy-auth", "proxy"
    advice = "Ask the proxy's owner for an account with user and password (RFC 1929)."

    def __init__(self, proxy: Endpoint, destination: Endpoint) -> None:
        super().__init__(
            f"the SOCKS proxy {proxy} accepts neither user and password nor an unknown user",
            proxy,
            destination,
            None,
        )


class SocksCredentialsError(ProxyAnswerError):
    """User or password do not fit into SOCKS."""

    code, at, actor = "egress.socks_credentials", "proxy-auth", "you"
    advice = f"SOCKS carries 1 to 255 bytes of each: correct User and Password in {_PAGE}."

    def __init__(self, proxy: Endpoint, destination: Endpoint) -> None:
        super().__init__(
            f"user or password are empty or too long for the SOCKS proxy {proxy}",
            proxy,
            destination,
            None,
        )


class _ProxySilenceError(EgressError):
    at: ClassVar[Hop] = "tunnel"
    actor: ClassVar[Who] = "proxy"


class ProxySpeaksTlsError(_ProxySilenceError):
    """`http://` or `socks5://` to a port that speaks TLS."""

    code, actor = "egress.proxy_speaks_tls", "you"

    def __init__(self, proxy: Endpoint) -> None:
        super().__init__(f"{proxy} speaks TLS, and the address does not say so")
        self.proxy = proxy

    @property
    def hint(self) -> str:
        return f"Write https://{self.proxy} in {_PAGE}."


class ProxyNotHttpError(_ProxySilenceError):
    """Another service at that port. banner: its first bytes, printable."""

    code, actor = "egress.proxy_not_http", "you"
    advice = f"Check host and port in {_PAGE}."

    def __init__(self, proxy: Endpoint, service: str, banner: str) -> None:
        super().__init__(f"{proxy} is {service}, not an HTTP proxy")
        self.banner = banner


class ProxyNotSocksError(_ProxySilenceError):
    """A `socks5://` address, and the port speaks nothing we know. banner: its first bytes."""

    code, actor = "egress.proxy_not_socks", "you"
    advice = f"Check host and port in {_PAGE}."

    def __init__(self, proxy: Endpoint, service: str, banner: str = "") -> None:
        name = "an SSH server" if service == "ssh" else "another service"
        super().__init__(f"{proxy} is {name}, not a SOCKS5 proxy")
        self.banner = banner


class ProxySpeaksSocksError(_ProxySilenceError):
    """An `http://` address, and the port speaks SOCKS5."""

    code, actor = "egress.proxy_speaks_socks", "you"

    def __init__(self, proxy: Endpoint) -> None:
        super().__init__(f"{proxy} speaks SOCKS5, not HTTP")
        self.proxy = proxy

    @property
    def hint(self) -> str:
        return f"Write socks5h://{self.proxy} in {_PAGE}."


class ProxyClosedError(_ProxySilenceError):
    """The proxy hung up before it answered."""

    code = "egress.proxy_closed"
    advice = (
        "The proxy may not accept this machine's address, or the port is not a proxy's: ask its"
        f" owner, and check host and port in {_PAGE}."
    )

    def __init__(self, proxy: Endpoint) -> None:
        super().__init__(f"the proxy {proxy} closed the connection without an answer")


class ProxySilentError(_ProxySilenceError):
    """The proxy took the request and said nothing, or not enough, until the deadline."""

    code = "egress.proxy_silent"
    advice = "The proxy is overloaded or waits for the destination: ask its owner."

    def __init__(self, proxy: Endpoint, seconds: float, received: int) -> None:
        said = f"only {received} bytes of an answer" if received else "no answer"
        super().__init__(f"the proxy {proxy} gave {said} within {seconds:.1f} s")
        self.received = received


class ProxyHeadTooLargeError(_ProxySilenceError):
    """More than 64 KiB of headers."""

    code = "egress.proxy_head_too_large"
    advice = "Ask the proxy's owner what it sends: an answer to CONNECT has a few lines."

    def __init__(self, proxy: Endpoint) -> None:
        super().__init__(f"the answer of the proxy {proxy} exceeds 64 KiB of headers")


class ProxyBadAnswerError(_ProxySilenceError):
    """Something like HTTP that is not HTTP."""

    code = "egress.proxy_bad_answer"
    advice = f"Check host and port in {_PAGE}; this may not be a proxy."

    def __init__(self, proxy: Endpoint) -> None:
        super().__init__(f"the answer of the proxy {proxy} is not valid HTTP")


# --- TLS to the destination -----------------------------------------------------------------


class _TlsError(EgressError):
    at: ClassVar[Hop] = "tls"
    actor: ClassVar[Who] = "destination"

    def __init__(self, text: str, proxied: bool = False) -> None:
        super().__init__(text)
        self.proxied = proxied


class TlsClosedError(_TlsError):
    """The connection ended during the handshake."""

    code, actor = "egress.tls_closed", "network"

    def __init__(self, destination: Endpoint, proxied: bool) -> None:
        after = "the tunnel opened, but " if proxied else ""
        super().__init__(
            f"{after}the connection to {destination} was closed during the TLS handshake", proxied
        )
        self.destination = destination

    @property
    def hint(self) -> str:
        who = "the proxy's owner" if self.proxied else "the network's owner"
        return f"Ask {who} whether a filter blocks {self.destination.host} by its name in TLS."


class TlsTimeoutError(_TlsError):
    """The connection stands, the handshake does not end."""

    code, actor = "egress.tls_timeout", "network"
    advice = "A filter may hold the connection, or large packets get lost on the way (MTU)."

    def __init__(self, destination: Endpoint, seconds: float, proxied: bool) -> None:
        super().__init__(f"no TLS handshake with {destination} within {seconds:.1f} s", proxied)


class NotTlsError(_TlsError):
    """The destination, reached directly, does not speak TLS."""

    code, actor = "egress.not_tls", "you"

    def __init__(self, destination: Endpoint, service: str) -> None:
        super().__init__(f"{destination} does not speak TLS but is {service}")
        self.destination = destination

    @property
    def hint(self) -> str:
        return f"Check the port, or use http://{self.destination} if plain HTTP is meant."


class TlsFailedError(_TlsError):
    """The handshake failed for another reason; `alert` is OpenSSL's name for it."""

    code = "egress.tls_failed"
    advice = "The destination must offer TLS 1.2 or 1.3 with a current cipher."

    def __init__(self, destination: Endpoint, alert: str) -> None:
        super().__init__(f"no TLS connection to {destination}: {alert}")


class ClientCertificateError(_TlsError):
    """The destination wants a certificate from us."""

    code = "egress.tls_client_certificate"
    advice = (
        "Client certificates are not supported for this destination: ask its owner for an address"
        " that takes a password or token."
    )

    def __init__(self, destination: Endpoint, answer: Answer | None = None) -> None:
        super().__init__(f"{destination} asks for a client certificate")
        self.answer = answer


class ClientCertificateLostError(_TlsError):
    """The destination wants a client certificate, and TLS is opened on the way: whatever is shown
    to the proxy never arrives."""

    code, at, actor = "egress.client_certificate_lost", "http", "you"

    def __init__(self, destination: Endpoint, answer: Answer) -> None:
        super().__init__(
            f"{destination} asks for a client certificate, which none can show while TLS is"
            " inspected on the way"
        )
        self.destination, self.answer = destination, answer

    @property
    def hint(self) -> str:
        return f"Have {self.destination.host} exempted from inspection."


# --- HTTP and WebSocket ---------------------------------------------------------------------


class _HttpError(EgressError):
    at: ClassVar[Hop] = "http"
    actor: ClassVar[Who] = "destination"

    def __init__(self, text: str, destination: Endpoint, *, answer: Answer | None = None) -> None:
        super().__init__(text, answer=answer)
        self.destination = destination


class ClosedError(_HttpError):
    """The connection ended before the answer."""

    code = "egress.closed"
    advice = "Try again; if it stays, ask the owner of the destination, or of the proxy."

    def __init__(self, destination: Endpoint) -> None:
        super().__init__(f"{destination} closed the connection without an answer", destination)


class AnswerTimeoutError(_HttpError):
    """The connection stands, the answer does not come."""

    code = "egress.timeout"
    advice = "The destination is slow or overloaded; a longer timeout may help."

    def __init__(self, destination: Endpoint, seconds: float) -> None:
        super().__init__(f"no answer from {destination} within {seconds:.1f} s", destination)


class BadAnswerError(_HttpError):
    """An answer that is not HTTP."""

    code = "egress.bad_answer"
    advice = "Check the address: another service may listen there."

    def __init__(self, destination: Endpoint) -> None:
        super().__init__(f"the answer of {destination} is not valid HTTP", destination)


class TruncatedError(_HttpError):
    """The body ended before it was complete."""

    code = "egress.truncated"
    actor: ClassVar[Who] = "network"
    advice = "Try again; a proxy may cut long downloads."

    def __init__(self, destination: Endpoint) -> None:
        super().__init__(f"the answer of {destination} ended before it was complete", destination)


class TooLargeError(_HttpError):
    """The body is larger than the caller allows. limit: bytes."""

    code = "egress.too_large"
    advice = "This is more than such an answer should hold: check the address."

    def __init__(self, destination: Endpoint, limit: int) -> None:
        super().__init__(f"the answer of {destination} exceeds {limit} bytes", destination)


class TooManyRedirectsError(_HttpError):
    """Redirected more often than the caller allows."""

    code = "egress.too_many_redirects"
    advice = "Check the address."

    def __init__(self, destination: Endpoint) -> None:
        super().__init__(f"{destination} redirects again and again", destination)


class DestinationFailedError(_HttpError):
    """A connection test got a 5xx from the destination."""

    code = "egress.destination_failed"
    advice = "The way is fine; the destination itself fails. Ask its owner."

    def __init__(self, destination: Endpoint, answer: Answer) -> None:
        super().__init__(f"{destination} answered {answer.status}", destination, answer=answer)


class InspectorFailedError(_HttpError):
    """The inspecting proxy answered in the destination's place."""

    code = "egress.inspector_failed"
    actor: ClassVar[Who] = "proxy"
    advice = (
        "The proxy that inspects TLS could not reach the destination, or rejects its certificate:"
        " ask the proxy's owner."
    )

    def __init__(self, destination: Endpoint, answer: Answer) -> None:
        super().__init__(
            f"the inspecting proxy answered {answer.status} in place of {destination}",
            destination,
            answer=answer,
        )


class UpgradeRefusedError(_HttpError):
    """A plain answer where a WebSocket was asked for."""

    code, at = "egress.upgrade_refused", "websocket"
    advice = "Check the address: the destination does not open a WebSocket there."

    def __init__(self, destination: Endpoint, answer: Answer) -> None:
        super().__init__(
            f"{destination} answered {answer.status} instead of opening a WebSocket",
            destination,
            answer=answer,
        )


class UpgradeStrippedError(_HttpError):
    """HTTP passes, WebSocket does not: the inspecting proxy removes `Upgrade`."""

    code, at, actor = "egress.upgrade_stripped", "websocket", "proxy"

    def __init__(self, destination: Endpoint, answer: Answer) -> None:
        super().__init__(
            f"the proxy inspects TLS and does not pass the WebSocket to {destination}"
            f" (answer {answer.status})",
            destination,
            answer=answer,
        )

    @property
    def hint(self) -> str:
        return (
            f"Have {self.destination.host} exempted from inspection, or WebSocket allowed;"
            " in Squid: http_upgrade_request_protocols websocket allow all"
        )


class TunnelInspectedError(_HttpError):
    """The proxy wants TLS in the tunnel of a plain WebSocket (`ws://`), and hangs up on others."""

    code, at, actor = "egress.tunnel_inspected", "websocket", "proxy"

    def __init__(self, destination: Endpoint) -> None:
        super().__init__(
            f"the proxy expects TLS in the tunnel to {destination} and closed a plain WebSocket",
            destination,
        )

    @property
    def hint(self) -> str:
        return (
            f"Use wss:// for {self.destination}, or have it exempted from inspection; in Squid:"
            " on_unsupported_protocol tunnel all"
        )


def error_classes() -> tuple[type[EgressError], ...]:
    """Every class with a code of its own, in the order of this module."""

    def below(cls: type[EgressError]) -> list[type[EgressError]]:
        found: list[type[EgressError]] = []
        for one in cls.__subclasses__():
            if "code" in vars(one):
                found.append(one)
            found += below(one)
        return found

    return tuple(below(EgressError))


def facts_of(error: BaseException) -> dict[str, Any]:
    """The fields of a log event for `error`."""
    return error.as_failure() if isinstance(error, EgressError) else {"code": "internal"}
