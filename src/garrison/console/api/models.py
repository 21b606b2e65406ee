"""What the API takes and gives; the OpenAPI document is made from these types.

Requests refuse unknown fields: a misspelt one would otherwise be lost without a word.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from garrison.egress import MORE_FIELDS
from garrison.secret import Secret

T = TypeVar("T")

ProxyAuth = Literal["auto", "basic", "digest", "ntlm", "negotiate", "none"]
Purpose = Literal["intel", "alerts", "registry", "secrets", "fleet", "sso"]
SeverityName = Literal["unknown", "low", "medium", "high", "critical"]
RoleName = Literal["admin", "operator", "auditor", "ci"]
Who = Literal["you", "proxy", "destination", "network", ""]
Text = Annotated[str, Field(max_length=1024)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
# Write only: never part of an answer.
Password = Annotated[str, Field(max_length=4096, json_schema_extra={"writeOnly": True})]


class Out(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class In(BaseModel):
    """A request body.

    READ_ONLY: fields of the answer that may be sent back unchanged and are ignored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    READ_ONLY: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _without_read_only(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: v for k, v in value.items() if k not in cls.READ_ONLY}
        return value


class ItemList(Out, Generic[T]):
    """One page of a list. next_cursor: send it as `cursor` for the next one; null on the last."""

    items: list[T]
    next_cursor: str | None = None


class FieldError(Out):
    field: str
    code: str
    message: str
    hint: str


class ProblemOut(Out):
    """An error (RFC 9457). `code` is stable; `hint` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str
    errors: list[FieldError] | None = None


class CertificateOut(Out):
    """names: of a server's certificate, for whom it is."""

    subject: str
    issuer: str
    sha256: str
    not_before: datetime
    not_after: datetime
    names: list[str]
    is_ca: bool


class ChainOut(Out):
    """verified: what verification used, the root last; else what was presented."""

    verified: bool
    chain: list[CertificateOut] = Field(description="The peer's own first")


class StepOut(Out):
    hop: str
    target: str
    ok: bool
    ms: float
    detail: str
    negotiated: dict[str, str] = Field(
        default={}, description="What both sides agreed on: `tls`, `cipher`, `alpn`, `auth`, `http`"
    )
    certificates: ChainOut | None = None
    via: str = Field("", description="The route that was tried: `direct`, or a proxy's HOST:PORT")


class AnswerOut(Out):
    status: int
    headers: dict[str, str]
    body: str


class EvidenceOut(Out):
    """How far a connection that failed came. target: HOST:PORT."""

    target: str
    proxy: str | None
    because: str
    trace: list[StepOut]
    answer: AnswerOut | None


class Failure(Out):
    """What went wrong. who: who has to act. evidence: where one item is asked for."""

    code: str
    message: str
    hint: str = ""
    who: Who = ""
    hop: str = ""
    evidence: EvidenceOut | None = None


# Proxy and egress


class CaCertificate(Out):
    subject: str
    sha256: str
    not_after: datetime


class BuiltinOut(Out):
    """Reached directly without being listed, and why."""

    entry: str
    note: str


class ProxyOut(Out):
    """A further proxy."""

    name: str
    address: str
    auth: ProxyAuth
    user: str
    password_set: bool


class ProxyIn(In):
    """Without `password` the one that is stored under this name stays; null removes it."""

    READ_ONLY: ClassVar[frozenset[str]] = frozenset({"password_set"})

    name: Name = Field(examples=["backup"])
    address: Text = Field(examples=["https://proxy2.corp.test:3129"])
    auth: ProxyAuth = "auto"
    user: Text = ""
    password: Password | None = None


class RuleShape(In):
    """What matches all that is named here is reached by `use`; what is empty matches everything."""

    name: Name
    use: Literal["default", "direct", "pac", "proxy"] = Field(
        description="`default`: as if there were no rules"
    )
    proxies: list[Name] = Field([], max_length=100, description="In order; `default`: HTTP Proxy")
    purposes: list[Purpose] = []
    destinations: list[Text] = Field([], max_length=1000, description="As entries of No Proxy")
    groups: list[Name] = Field(
        [], max_length=100, description="Of Defenders; `console` is the Console"
    )


class DestinationCaShape(In):
    """CAs that are trusted for these destinations alone."""

    destinations: list[Text] = Field(max_length=1000)
    ca: Annotated[str, Field(max_length=1 << 20, description="PEM")]


class ProxySettingsOut(Out):
    """The settings in force. sources: where each value came from."""

    http_proxy: str
    no_proxy: list[str]
    ca: str = Field(description="PEM")
    ca_certificates: list[CaCertificate]
    user: str
    password_set: bool
    revision: int = Field(description="0 while none were saved")
    sources: dict[str, str]
    saved_at: datetime | None
    saved_by: str
    warnings: list[str]
    builtin: list[BuiltinOut]
    auth: ProxyAuth
    failover: list[str]
    proxies: list[ProxyOut]
    pac_url: str
    pac_dns: bool
    rules: list[RuleShape]
    destination_ca: list[DestinationCaShape]
    strict: bool
    allowed: list[str]
    direct_in_cluster: bool


class ProxySettingsIn(In):
    """The first five are replaced, except that an absent password keeps the stored one and null
    removes it. Of what follows `revision`, what is absent stays as it is."""

    READ_ONLY: ClassVar[frozenset[str]] = frozenset(
        {
            "ca_certificates",
            "password_set",
            "sources",
            "saved_at",
            "saved_by",
            "warnings",
            "builtin",
        }
    )

    http_proxy: Text = Field("", examples=["http://proxy.corp.test:8080"])
    no_proxy: list[Text] = Field([], max_length=1000, examples=[[".corp.test", "10.0.0.0/8"]])
    ca: Annotated[str, Field(max_length=1 << 20, description="PEM")] = ""
    user: Text = ""
    password: Password | None = None
    revision: int | None = Field(
        None, description="The revision that was read; 409 when another was saved since"
    )
    auth: ProxyAuth = Field("auto", description="How to sign in at HTTP Proxy")
    failover: list[Name] = Field([], max_length=100, description="Proxies after HTTP Proxy")
    proxies: list[ProxyIn] = Field([], max_length=500)
    pac_url: Text = Field("", examples=["http://wpad.corp.test/proxy.pac"])
    pac_dns: bool = Field(False, description="Whether the PAC file may resolve names")
    rules: list[RuleShape] = Field([], max_length=500, description="The first that matches decides")
    destination_ca: list[DestinationCaShape] = Field([], max_length=500)
    strict: bool = Field(False, description="Refuse every destination that is not allowed")
    allowed: list[Text] = Field([], max_length=5000, description="As entries of No Proxy")
    direct_in_cluster: bool = Field(True, description="Reach names of the cluster directly")

    def more(self) -> dict[str, Any]:
        """What was given of what goes beyond the five."""
        given = self.model_dump(exclude_unset=True)
        for proxy in given.get("proxies", ()):
            if proxy.get("password") is not None:
                proxy["password"] = Secret(proxy["password"])
        return {name: given[name] for name in MORE_FIELDS if name in given}


class EgressIn(In):
    url: Annotated[str, Field(min_length=1, max_length=2048)]
    purpose: Purpose = "registry"
    from_: Name = Field(
        "console", alias="from", description="`console`, or a Defender's id or name"
    )


class TestIn(EgressIn):
    timeout: Annotated[float, Field(ge=0.1, le=60, description="Seconds for the whole test")] = 15.0


class ExplainIn(EgressIn):
    group: Name | None = Field(
        None, description="As a Defender of this group would go with the settings of now"
    )


class CandidateOut(Out):
    """name: of the proxy in the settings."""

    route: Literal["direct", "proxy"]
    proxy: str | None
    name: str


class RouteOut(Out):
    """Which way a connection takes. because: the rule that decided. proxy, route: the first of
    `candidates`, which are tried in order, or the one that was used."""

    url: str
    route: Literal["direct", "proxy", "refused", "unknown"] = Field(
        description="`refused`: by strict mode. `unknown`: nothing is known of the PAC file yet"
    )
    proxy: str | None
    because: str
    purpose: str
    decided_by: Literal["builtin", "bypass", "rule", "pac", "default", "strict"] | None = None
    rule: str = Field("", description="Name of the rule, or the bypass entry")
    candidates: list[CandidateOut] = []
    note: str = ""


class InterceptionOut(Out):
    """Who opens TLS on the way, and how that is known."""

    by: str
    certainty: Literal["certain", "likely", "possible"]
    evidence: str


class OfferOut(CertificateOut):
    """A CA that would have to be trusted, as it was presented."""

    fingerprint: str = Field(description="SHA-256, as `POST /egress/trust` takes it")
    pem: str


class NoteOut(Out):
    """Worth knowing, though the connection works."""

    code: str
    message: str
    hint: str


class TestOut(Out):
    """A connection that was tried. intercepted_by: issuer of a certificate put in between."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    ok: bool
    url: str
    from_: str = Field(alias="from")
    route: RouteOut
    intercepted_by: str | None
    error: Failure | None
    answer: AnswerOut | None = Field(None, description="What the peer said")
    interception: InterceptionOut | None = None
    trust: OfferOut | None = Field(None, description="Where trusting a CA is the remedy")
    notes: list[NoteOut] = []
    trace: list[StepOut]


class TrustIn(TestIn):
    """fingerprint: the `sha256` or `fingerprint` that a test showed, compared by a person."""

    fingerprint: Annotated[
        str, Field(pattern=r"^\s*[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}\s*$", max_length=128)
    ]


class TrustOut(Out):
    """revision: of the proxy settings that hold the CA. test: the same test, with it."""

    certificate: CertificateOut
    revision: int
    test: TestOut


class ConnectionOut(Out):
    """An outside host that was contacted. source: `console` or the id of a Defender."""

    host: str
    port: int
    purpose: str
    route: str = Field(description="`direct`, or the proxy's HOST:PORT")
    source: str
    source_name: str
    first_at: datetime
    last_at: datetime
    succeeded: int
    failed: int
    last_ok: bool
    last_code: str
    last_ok_at: datetime | None
    last_failed_at: datetime | None
    sent: int = Field(description="Bytes of bodies and messages")
    received: int = Field(description="Bytes of bodies and messages")


class AllowListEntryOut(Out):
    """One host and port that Garrison contacts. result: `ok`, or the last error's code."""

    host: str
    port: int
    purposes: list[str]
    from_: list[str] = Field(alias="from", description="Console and Defenders; groups where many")
    routes: list[str] = Field(description="`direct`, or a proxy's HOST:PORT")
    first_at: datetime
    last_at: datetime
    result: str


class AllowListOut(Out):
    items: list[AllowListEntryOut]


RouteState = Literal["works", "slow", "partly", "fails", "unused"]


class PurposeHealthOut(Out):
    """How one purpose does. `last_failure` may be older than `last_ok_at`: then it is over."""

    purpose: Purpose
    state: RouteState
    routes: int
    failing: int = Field(description="Routes that fail, at least for some")
    last_ok_at: datetime | None
    last_failed_at: datetime | None
    last_failure: Failure | None


class ProxyHealthOut(Out):
    """Whether connections come through a proxy. proxy: HOST:PORT."""

    proxy: str
    state: RouteState
    last_ok_at: datetime | None
    last_failed_at: datetime | None
    code: str


class RouteHealthOut(Out):
    """How one route does for the Console or a group of Defenders."""

    source: str = Field(description="`Console`, a group's name, or a Defender's where few are")
    sources: int = Field(description="How many Defenders")
    failing: int = Field(description="For how many of them it fails")
    purpose: str
    host: str
    port: int
    route: str = Field(description="`direct`, or the proxy's HOST:PORT")
    state: RouteState
    stopped: Literal["", "proxy", "destination"] = Field(description="Where failing ones stop")
    code: str
    hop: str
    first_at: datetime
    last_at: datetime
    last_ok_at: datetime | None
    last_failed_at: datetime | None
    connections: int
    bytes: int


class HealthOut(Out):
    """partly: for some of those who use it. unused: by nobody within 24 hours."""

    at: datetime
    purposes: list[PurposeHealthOut]
    proxies: list[ProxyHealthOut]
    routes: list[RouteHealthOut] = Field(description="Failing ones first")


# Intelligence Stream


class ProgressOut(Out):
    done: int
    total: int
    step: str


class EcosystemOut(Out):
    name: str
    records: int
    withdrawn: int
    skipped: int
    updated_at: str


class SourceOut(Out):
    """What is loaded beside advisories: `EPSS`, `KEV`, `CVE`. version: its publisher's word."""

    name: str
    records: int
    skipped: int
    version: str
    updated_at: str


class SkippedRecordOut(Out):
    ecosystem: str
    id: str
    reason: str


class IntelOut(Out):
    """State of the feed. matching: packages still to be matched with this revision."""

    revision: str
    updated_at: datetime | None
    url: str
    running: bool
    progress: ProgressOut | None
    ecosystems: list[EcosystemOut]
    sources: list[SourceOut]
    skipped: list[SkippedRecordOut] = Field(description="At most 100 of `skipped_total`")
    skipped_total: int
    last_attempt_at: datetime | None
    last_success_at: datetime | None
    last_error: Failure | None
    next_update_at: datetime | None
    matching: int


class UpdateOut(Out):
    """started: false when an update was under way already."""

    started: bool


# Waivers

WaiverStateName = Literal["active", "expired", "ended"]


class WaiverOut(Out):
    """state: `expired` by the clock, `ended` by somebody. findings: how many it covers now."""

    id: str
    advisory: str
    package: str
    image: str
    reason: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    state: WaiverStateName
    ended_at: datetime | None
    ended_by: str
    findings: int


_WAIVER_FACTS = frozenset(
    {"id", "created_by", "created_at", "state", "ended_at", "ended_by", "findings"}
)
Reason = Annotated[str, Field(min_length=1, max_length=1000)]
Until = Annotated[
    str,
    Field(max_length=40, description="A date, whose whole day it holds (UTC), or a moment",
          examples=["2026-12-31"]),
]  # fmt: skip


class WaiverIn(In):
    """One of `advisory` and `package` at least; `*` and `?` stand for text and one character."""

    READ_ONLY: ClassVar[frozenset[str]] = _WAIVER_FACTS

    advisory: Annotated[str, Field(max_length=300, description="Id or alias, exact")] = ""
    package: Annotated[str, Field(max_length=300, description="Name or package URL")] = ""
    image: Annotated[str, Field(max_length=300, description="Reference or digest")] = ""
    reason: Reason
    expires_at: Until


class WaiverChange(In):
    READ_ONLY: ClassVar[frozenset[str]] = _WAIVER_FACTS | {"advisory", "package", "image"}

    reason: Reason
    expires_at: Until


# Registries, scans, images


class RegistryOut(Out):
    host: str
    user: str
    password_set: bool
    plain_http: bool
    ca: str
    created_at: datetime
    updated_at: datetime


class RegistryIn(In):
    """An absent password keeps the stored one, null removes it."""

    READ_ONLY: ClassVar[frozenset[str]] = frozenset({"password_set", "created_at", "updated_at"})

    host: Annotated[str, Field(min_length=1, max_length=300)]
    user: Text = ""
    password: Password | None = None
    plain_http: bool = False
    ca: Annotated[str, Field(max_length=1 << 20, description="PEM")] = ""


class RegistryChange(In):
    """As when it is added; the host is in the path."""

    READ_ONLY: ClassVar[frozenset[str]] = frozenset(
        {"host", "password_set", "created_at", "updated_at"}
    )

    user: Text = ""
    password: Password | None = None
    plain_http: bool = False
    ca: Annotated[str, Field(max_length=1 << 20, description="PEM")] = ""


class ScanIn(In):
    reference: Annotated[str, Field(min_length=1, max_length=1024)] = Field(examples=["debian:12"])
    platform: Annotated[str, Field(max_length=100)] = Field("", examples=["linux/amd64"])
    defender: Name | None = Field(None, description="Id or name; absent: any")


class ScanOut(Out):
    id: str
    state: Literal["queued", "running", "done", "failed"]
    reference: str
    platform: str
    defender: str | None = Field(description="Id of the Defender that has or had it")
    defender_name: str
    requested_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    progress: ProgressOut | None
    digest: str | None = Field(description="Of the image, when done")
    error: Failure | None
    origin: Literal["defender", "ci"] = Field(description="`ci`: a build reported it")
    labels: dict[str, str] = Field(description="What the build says of itself")


class ReportIn(In):
    """What a build found: one of the two, and what the build says of itself."""

    inventory: dict[str, Any] | None = Field(
        None, description="As `garrison scan --console` sends it"
    )
    sbom: dict[str, Any] | None = Field(
        None, description="CycloneDX or SPDX 2 as JSON, of an image with its digest"
    )
    labels: dict[str, str] = Field({}, examples=[{"branch": "main", "commit": "4f06ab1"}])


class ReportOut(Out):
    """What the Console's advisories say; the shape of `garrison scan --json`, without packages."""

    id: str = Field(description="Of the scan")
    page: str = Field(description="Address of the image's page")
    complete: bool
    warnings: list[str]
    intel: dict[str, Any]
    image: dict[str, Any]
    summary: dict[str, int]
    findings: list[dict[str, Any]]
    suppressed: list[dict[str, Any]]


class CountsOut(Out):
    """Findings by severity."""

    critical: int
    high: int
    medium: int
    low: int
    unknown: int


class SupportOut(Out):
    """How long a release gets updates; `paid`: subscribers alone.

    phase, until: what is in force, and its last day. ended: when updates for everyone ended.
    as_of: how old the list of these days is. Empty where there is nothing to say.
    """

    state: Literal["supported", "extended", "paid", "ended", "rolling", "development", "unknown"]
    phase: str
    until: str
    ended: str
    as_of: str


class OsOut(Out):
    id: str
    version_id: str
    pretty_name: str
    codename: str
    support: SupportOut


class ImageOut(Out):
    """pending: packages not matched yet with the loaded advisories."""

    digest: str
    reference: str
    platform: str
    os: OsOut | None
    packages: int
    findings: CountsOut
    fixable: int
    exploited: int = Field(description="Findings that are known to be exploited")
    waived: int = Field(description="Findings that waivers take out of `findings`")
    pending: int
    size: int
    first_seen: datetime
    scanned_at: datetime


class LayerOut(Out):
    digest: str
    diff_id: str
    size: int
    created_by: str
    packages: int


class SkippedFileOut(Out):
    path: str
    layer: str
    code: str
    reason: str


class ImageReportOut(Out):
    """A scan that a build did and reported."""

    scan: str
    at: datetime
    by: str
    labels: dict[str, str]


class ImageDetailOut(ImageOut):
    """complete: whether having no findings would mean anything; `warnings` say why not."""

    references: list[str]
    labels: dict[str, str]
    layers: list[LayerOut]
    ecosystems: list[str]
    missing_ecosystems: list[str]
    unreadable: list[str]
    skipped: list[SkippedFileOut]
    scan_seconds: float
    complete: bool
    warnings: list[str]
    report: ImageReportOut | None = Field(description="The newest that a build sent")
    links: dict[str, str]


class PackageOut(Out):
    type: str
    name: str
    version: str
    purl: str
    path: str
    arch: str
    source: str
    source_version: str
    position: str
    owner: str
    layer: str
    diff_id: str


class CvssOut(Out):
    vector: str
    score: float


class FindingPackageOut(Out):
    type: str
    name: str
    version: str
    purl: str
    path: str
    source: str
    source_version: str


class FindingImageOut(Out):
    digest: str
    reference: str


class FindingWaiverOut(Out):
    """What takes the finding out of the count."""

    id: str
    reason: str
    expires_at: str


class FindingOut(Out):
    """One advisory applying to one package in one image."""

    id: str
    aliases: list[str]
    image: FindingImageOut
    package: FindingPackageOut
    severity: SeverityName
    severity_source: str
    cvss: list[CvssOut]
    fixed_in: str | None
    layer: str
    diff_id: str
    evidence: str
    records: list[str]
    epss: float | None = Field(None, description="How likely exploitation is, 0 to 1")
    epss_percentile: float | None = None
    kev: bool | None = Field(
        None, description="Known to be exploited; null while no catalogue is loaded"
    )
    kev_added: str | None = None
    kev_due: str | None = None
    rank: list[str] = Field(description="Why it stands where it does, in the order that decides")
    waiver: FindingWaiverOut | None = None
    url: str
    summary: str
    published: str


class AffectedPackageOut(Out):
    type: str
    name: str
    version: str
    purl: str
    fixed_in: str | None
    images: int


class AdvisoryOut(Out):
    """An advisory, and what it hits. images: how many; `/images?advisory=ID` lists them."""

    id: str
    aliases: list[str]
    severity: SeverityName
    severity_source: str
    cvss: list[CvssOut]
    summary: str
    details: str
    published: str
    url: str
    records: list[str]
    packages: list[AffectedPackageOut]
    images: int


# Fleet


class DefenderOut(Out):
    """outdated: runs older proxy settings than the Console's."""

    id: str
    name: str
    group: str
    connected: bool
    version: str
    platform: str
    settings_revision: int
    outdated: bool
    proxy: str
    route: str
    enrolled_at: datetime
    connected_at: datetime | None
    last_seen: datetime | None
    certificate_not_after: datetime


class JoinTokenOut(Out):
    id: str
    group: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    uses_left: int | None
    revoked_at: datetime | None


class JoinTokenIn(In):
    group: Annotated[str, Field(max_length=100)] = ""
    expires_in: int | None = Field(
        None, ge=60, le=10 * 365 * 86400, description="Seconds; absent: never"
    )
    uses: int | None = Field(None, ge=1, le=1_000_000, description="How many may enrol with it")


class NewJoinTokenOut(JoinTokenOut):
    """token: shown this once."""

    token: str


# Alerts


class ProfileOut(Out):
    """webhook_host: the only part of the webhook that is shown."""

    id: str
    name: str
    kind: Literal["slack"]
    threshold: SeverityName
    enabled: bool
    webhook_host: str
    created_at: datetime
    updated_at: datetime


class ProfileIn(In):
    READ_ONLY: ClassVar[frozenset[str]] = frozenset(
        {"id", "webhook_host", "created_at", "updated_at"}
    )

    name: Name
    kind: Literal["slack"] = "slack"
    threshold: Literal["low", "medium", "high", "critical"] = "high"
    webhook: Annotated[str, Field(max_length=2048, json_schema_extra={"writeOnly": True})]
    enabled: bool = True


class ProfileChange(In):
    """An absent webhook keeps the stored one."""

    READ_ONLY: ClassVar[frozenset[str]] = ProfileIn.READ_ONLY

    name: Name
    kind: Literal["slack"] = "slack"
    threshold: Literal["low", "medium", "high", "critical"] = "high"
    webhook: (
        Annotated[str, Field(max_length=2048, json_schema_extra={"writeOnly": True})] | None
    ) = None
    enabled: bool = True


class SentOut(Out):
    """trace: the steps of the connection; empty when all went well."""

    ok: bool
    error: Failure | None
    trace: list[StepOut]


class DeliveryOut(Out):
    """A message on its way: queued (next_at says until when), sending, sent or given up."""

    id: str
    profile: str = Field(description="Name of the profile")
    profile_id: str | None
    image: str | None = Field(description="Digest of the image")
    reference: str
    findings: int
    state: Literal["queued", "sending", "sent", "failed"]
    attempts: int
    created_at: datetime
    next_at: datetime | None
    sent_at: datetime | None
    error: Failure | None


class AttemptOut(Out):
    n: int
    at: datetime
    ok: bool
    error: Failure | None
    trace: list[StepOut]


class DeliveryDetailOut(DeliveryOut):
    tries: list[AttemptOut]


# Access


class UserOut(Out):
    name: str
    role: RoleName
    created_at: datetime


class TokenOut(Out):
    id: str
    name: str
    role: RoleName
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class TokenIn(In):
    name: Name
    role: RoleName
    expires_in: int | None = Field(
        None, ge=60, le=10 * 365 * 86400, description="Seconds; absent: never"
    )


class NewTokenOut(TokenOut):
    """token: shown this once."""

    token: str


class AuditOut(Out):
    id: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]
