"""The only way out: every outgoing connection of Garrison is opened here.

Settings lead to a route (`choose_route`, a pure function that says why), a route to a connection.
Two faces: `open_body` and `fetch` block and serve layers; `garrison.egress.http.EgressClient` is
asynchronous and serves everything else. Both run the same plan of hops, and a failure keeps its
trace and what the proxy answered.
"""

from garrison.egress.answer import Fetched, Headers
from garrison.egress.body import Body, check_connection, fetch, open_body
from garrison.egress.bypass import BypassEntry, BypassEntryError, BypassList
from garrison.egress.credentials import AUTHS, Credentials, ProxyAuth
from garrison.egress.endpoint import (
    PURPOSES,
    BadUrlError,
    Endpoint,
    ProxyAddress,
    Purpose,
    Target,
)
from garrison.egress.errors import (
    CertificateError,
    EgressError,
    ProxyAnswerError,
    error_classes,
)
from garrison.egress.explain import explain
from garrison.egress.kept import Kept
from garrison.egress.place import Led
from garrison.egress.route import (
    Choice,
    Direct,
    Explanation,
    Route,
    ViaProxy,
    choose_route,
)
from garrison.egress.rules import (
    CONSOLE_GROUP,
    DEFAULT_NAME,
    MORE_FIELDS,
    USES,
    DestinationCa,
    More,
    Proxy,
    Rule,
)
from garrison.egress.settings import (
    InvalidSettings,
    ProxySettings,
    settings_from_environment,
)
from garrison.egress.trace import HOPS, Answer, ConnectionRecord, Step, TestResult, Trace
from garrison.egress.trust import BadCertificateError, Certificate, TrustBundle

__all__ = [
    "AUTHS",
    "CONSOLE_GROUP",
    "DEFAULT_NAME",
    "HOPS",
    "MORE_FIELDS",
    "PURPOSES",
    "USES",
    "Answer",
    "BadCertificateError",
    "BadUrlError",
    "Body",
    "BypassEntry",
    "BypassEntryError",
    "BypassList",
    "Certificate",
    "CertificateError",
    "Choice",
    "ConnectionRecord",
    "Credentials",
    "DestinationCa",
    "Direct",
    "EgressError",
    "Endpoint",
    "Explanation",
    "Fetched",
    "Headers",
    "InvalidSettings",
    "Kept",
    "Led",
    "More",
    "Proxy",
    "ProxyAddress",
    "ProxyAnswerError",
    "ProxyAuth",
    "ProxySettings",
    "Purpose",
    "Route",
    "Rule",
    "Step",
    "Target",
    "TestResult",
    "Trace",
    "TrustBundle",
    "ViaProxy",
    "check_connection",
    "choose_route",
    "error_classes",
    "explain",
    "fetch",
    "open_body",
    "settings_from_environment",
]
