"""Fills a Console's database with a fleet such as one meets, by the product's own functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from garrison.console import accounts, alerting, fleet, proxy, registries, scans, waivers
from garrison.console import contacts as network
from garrison.console.alerting import ProfileForm
from garrison.console.pages.picture import route_id
from garrison.console.proxy import ProxyForm
from garrison.console.registries import RegistryForm
from garrison.console.state import AppState
from garrison.console.waivers import WaiverForm
from garrison.database import alerts as alert_rows
from garrison.database import contacts, defenders, intel
from garrison.database import scans as scan_rows
from garrison.egress import ConnectionRecord, Step
from garrison.findings import Severity
from garrison.packages import Inventory, Layer, OperatingSystem, Package, Skipped
from garrison.secret import Secret
from tests.browser import advisories

ADMIN = "mira.okafor"
PASSWORD = "correct horse battery"
DEBIAN = OperatingSystem("debian", "12", "Debian GNU/Linux 12 (bookworm)", "bookworm")
ALPINE = OperatingSystem("alpine", "3.20.3", "Alpine Linux v3.20")
WOLFI = OperatingSystem("wolfi", "20230201", "Wolfi")

REFUSED = {
    "code": "egress.proxy_auth_refused",
    "message": "proxy.corp.test:8080 refused the user svc-garrison (407)",
    "hint": "Enter the password again, as it is, in Manage > System > Proxy.",
    "who": "you",
    "hop": "proxy-auth",
}
TRACE = [
    {"hop": "resolve", "target": "proxy.corp.test", "ok": True, "ms": 1.2,
     "detail": "proxy.corp.test is 10.20.0.8"},
    {"hop": "tcp", "target": "10.20.0.8:8080", "ok": True, "ms": 0.8,
     "detail": "10.20.0.8:8080 accepts"},
    {"hop": "proxy-auth", "target": "proxy.corp.test:8080", "ok": False, "ms": 4.1,
     "detail": "407: refused user svc-garrison"},
]  # fmt: skip
NO_SPACE = {
    "code": "images.not_found",
    "message": "registry-1.docker.test has no image team/typo:latest",
    "hint": "Look at the spelling of repository and tag.",
    "who": "you",
    "hop": "",
}


@dataclass(frozen=True, slots=True)
class Filled:
    """What pages are opened by."""

    image: str
    clean: str
    incomplete: str
    scan_failed: str
    scan_running: str
    profile: str
    delivery: str
    route: str


def fill(state: AppState, now: datetime) -> Filled:
    """A fleet with findings, failures, work under way, and an image nothing is known about."""
    advisories.write(state.data, now - timedelta(minutes=6))
    with state.db.write() as c:
        intel.start(c, lease_until=now + timedelta(minutes=1), now=now - timedelta(minutes=6))
        intel.succeeded(c, now - timedelta(minutes=6))
    settings(state)
    ids = nodes(state, now)
    profile = profiles(state)
    digests = images(state, ids, now)
    failed = scan(state, "registry-1.docker.test/team/typo:latest", ids[0], now)
    with state.db.write() as c:
        scan_rows.fail(c, failed, NO_SPACE, now - timedelta(minutes=3))
    refused = scan(state, "gcr.test/acme-ml/tokenizer:0.21.0", ids[1], now)
    with state.db.write() as c:
        scan_rows.fail(c, refused, REFUSED, now - timedelta(minutes=12))
    running = scan(
        state,
        "harbor.corp.test/search/indexer-with-a-rather-long-name:main-20261121-1904",
        ids[0],
        now,
    )
    with state.db.write() as c:
        scan_rows.progress(
            c, running, defender_id=ids[0], done=91_000_000, total=246_000_000,
            step="Reading layers", lease_until=now + timedelta(minutes=5),
        )  # fmt: skip
    scans.request_scan(state, "debian:13-slim", platform="linux/arm64", actor=ADMIN, now=now)
    delivery = deliveries(state, now)
    waived(state)
    access(state, now)
    hosts(state, ids, now)
    route = route_id(network.health(state, now).routes[0])
    return Filled(digests[0], digests[4], digests[5], refused, running, profile, delivery, route)


def settings(state: AppState) -> None:
    """Three revisions of proxy settings. Nothing answers there, and nothing is asked."""
    form = ProxyForm("http://proxy.corp.test:8080", ".corp.test, 10.0.0.0/8", "", "")
    proxy.save(state, form, ADMIN)
    form = replace(form, no_proxy=".corp.test, 10.0.0.0/8, 192.168.0.0/16, jira.corp.test")
    proxy.save(state, form, "jun.sato")
    form = replace(form, ca=state.authority.certificate_pem, user="svc-garrison")
    more = {
        "proxies": [
            {"name": "leipzig", "address": "socks5h://gw.leipzig.test:1080"},
            {"name": "second", "address": "https://proxy2.corp.test:8443", "user": "svc",
             "password": Secret("x"), "auth": "basic"},
        ],
        "failover": ["second"],
        "rules": [
            {"name": "Leipzig by its own gateway", "use": "proxy",
             "proxies": ["leipzig", "default"], "groups": ["plant-leipzig"],
             "purposes": ["registry", "secrets"]},
            {"name": "Harbor", "use": "direct", "destinations": ["harbor.corp.test:443"]},
        ],
        "destination_ca": [{"destinations": ["harbor.corp.test"],
                            "ca": state.authority.certificate_pem}],
        "allowed": ["*.corp.test"],
    }  # fmt: skip
    proxy.save(state, replace(form, password=Secret("p@ss:w/rd%"), more=more), ADMIN)


def nodes(state: AppState, now: datetime) -> list[str]:
    """Defenders that are connected, silent, behind, and never were."""
    revision = proxy.current(state).revision
    made = []
    for number, (name, group, route) in enumerate(
        [
            ("node-eu-001", "eu-west-prod", "direct"),
            ("node-eu-002", "eu-west-prod", "direct"),
            ("node-lei-07", "plant-leipzig", "http://gw.leipzig.test:1080"),
            ("runner-19", "build-runners", "http://proxy.corp.test:8080"),
            ("runner-20", "", ""),
        ]
    ):
        with state.db.write() as c:
            row = defenders.add(
                c, name=name, group=group, labels={}, fingerprint=f"{number:064x}",
                serial=f"{number:x}", not_after=now + timedelta(days=30), version="0.1.0",
                platform="linux/amd64", join_token_id=None, now=now - timedelta(hours=2),
            )  # fmt: skip
            made.append(row.id)
            if route:
                defenders.connected(
                    c, row.id, name=name, version="0.1.0" if number != 3 else "0.0.9",
                    platform="linux/amd64", settings_revision=revision if number < 2 else 2,
                    proxy="", route=route, now=now - timedelta(seconds=number * 7),
                )  # fmt: skip
            if number == 2:
                defenders.disconnected(c, row.id, now - timedelta(minutes=87))
    fleet.create_join_token(state, group="eu-west-prod", uses=10, actor=ADMIN)
    spent = fleet.create_join_token(state, uses=1, expires_at=now + timedelta(hours=1), actor=ADMIN)
    fleet.revoke_join_token(state, spent.row.id, ADMIN)
    return made


def profiles(state: AppState) -> str:
    """One profile that is on, one that is off."""
    hook = Secret("https://hooks.slack.test/services/T02/B7/x")
    on = alerting.create_profile(
        state, ProfileForm("Security channel", Severity.CRITICAL, hook), ADMIN
    )
    alerting.create_profile(
        state, ProfileForm("Platform team", Severity.MEDIUM, hook, enabled=False), ADMIN
    )
    return on.id


def scan(state: AppState, reference: str, defender: str, now: datetime) -> str:
    """A scan that `defender` works on."""
    row = scans.request_scan(
        state, reference, defender_id=defender, actor=ADMIN, now=now - timedelta(minutes=2)
    )
    with state.db.write() as c:
        scan_rows.claim(
            c, defender, limit=10, lease_until=now + timedelta(minutes=5),
            now=now - timedelta(seconds=80),
        )  # fmt: skip
    return row.id


def images(state: AppState, ids: list[str], now: datetime) -> list[str]:
    """Scans that are done, and their images' digests."""
    inventories = fleet_images()
    for number, inventory in enumerate(inventories):
        done = scan(state, inventory.reference, ids[number % 2], now)
        scans.ingest(state, ids[number % 2], done, inventory)
    return [inventory.digest for inventory in inventories]


def fleet_images() -> list[Inventory]:
    """Seven images: with many findings, with few, clean, and two that nothing is known about."""
    base = [layer(1, 122_400_000, "/bin/sh -c #(nop) ADD file:5f1a2c3d4e5f in / ")]
    python = [
        *base,
        layer(2, 41_200_000, "RUN /bin/sh -c apt-get install -y krb5-user curl # buildkit"),
    ]
    checkout = [
        *python,
        layer(3, 9_000, "COPY requirements.txt package.json ./ # buildkit"),
        layer(4, 58_100_000, "RUN /bin/sh -c pip install -r requirements.txt # buildkit"),
        layer(5, 21_300_000, "RUN /bin/sh -c npm ci --omit=dev # buildkit"),
        layer(6, 4_100_000, "COPY ./checkout /srv/checkout # buildkit"),
        layer(7, 0, 'CMD ["gunicorn", "checkout:app"]'),
    ]
    debian, kerberos = debs(base[0]), kerberos_debs(python[1])
    app = [*pypi(checkout[3]), *npm(checkout[4])]
    alpine = [layer(20, 3_600_000, "ADD alpine-minirootfs-3.20.3-x86_64.tar.gz / # buildkit")]
    return [
        image(1, "harbor.corp.test/pay/checkout:4.12.0", DEBIAN, checkout,
              [*debian, *kerberos, *app], skipped=(Skipped(
                  "srv/checkout/node_modules/broken/package.json", checkout[4].digest,
                  "packages.bad_json", "the file is cut off at byte 512"),)),
        image(2, "harbor.corp.test/base/python:3.11-slim-r41", DEBIAN, python,
              [*debian, *kerberos]),
        image(3, "registry-1.docker.test/library/postgres:16.4-bookworm", DEBIAN, base, debian),
        image(4, "harbor.corp.test/web/storefront:7f3c21e", ALPINE, alpine, apks(alpine[0])),
        image(5, "harbor.corp.test/base/static:2026.11", ALPINE, alpine,
              [apk("musl", "1.2.5-r0", alpine[0])]),
        image(6, "harbor.corp.test/web/assets:7f3c21e", WOLFI,
              [layer(30, 5_100_000, "copy wolfi base")],
              [replace(apk("wolfi-baselayout", "20230201-r15", alpine[0]), distro="Wolfi")],
              unreadable=("usr/lib/apk/db/installed",)),
        image(7, "gcr.test/acme-ml/feature-server-with-a-rather-long-name:1.9.3-cuda12-20261121",
              DEBIAN, [*base, layer(40, 1_900_000_000, "COPY /opt/cuda /opt/cuda # buildkit")],
              [*debian[:4], *pypi(base[0])]),
    ]  # fmt: skip


def layer(number: int, size: int, created_by: str) -> Layer:
    return Layer(f"sha256:{number:064x}", f"sha256:{number + 4096:064x}", size, created_by)


def image(
    number: int,
    reference: str,
    system: OperatingSystem,
    layers: Iterable[Layer],
    packages: Iterable[Package],
    *,
    skipped: tuple[Skipped, ...] = (),
    unreadable: tuple[str, ...] = (),
) -> Inventory:
    digest = f"{number:02x}9c41d7a0b3" * 6
    return Inventory(
        reference=reference,
        digest=f"sha256:{digest[:60]}e20b",
        platform="linux/amd64",
        os=system,
        layers=tuple(layers),
        packages=tuple(packages),
        skipped=skipped,
        unreadable=unreadable,
        duration=1.4,
    )


def debs(at: Layer) -> list[Package]:
    return [
        deb("openssl", "3.0.11-1~deb12u2", at),
        deb("libssl3", "3.0.11-1~deb12u2", at, source="openssl"),
        deb("libexpat1", "2.5.0-1", at, source="expat"),
        deb("zlib1g", "1:1.2.13.dfsg-1", at, source="zlib"),
        deb("libc6", "2.36-9+deb12u8", at, source="glibc"),
        deb("libc-bin", "2.36-9+deb12u8", at, source="glibc"),
        deb("perl-base", "5.36.0-7+deb12u1", at, source="perl"),
        deb("libgnutls30", "3.7.9-2", at, source="gnutls28"),
        deb("libsystemd0", "252.22-1~deb12u1", at, source="systemd"),
        deb("coreutils", "9.1-1", at),
        deb("tzdata", "2024a-0+deb12u1", at),
        deb("bash", "5.2.15-2+b7", at),
    ]


def kerberos_debs(at: Layer) -> list[Package]:
    return [
        deb("krb5-user", "1.20.1-2+deb12u1", at, source="krb5"),
        deb("libkrb5-3", "1.20.1-2+deb12u1", at, source="krb5"),
        deb("curl", "7.88.1-10+deb12u8", at),
    ]


def deb(name: str, version: str, at: Layer, *, source: str = "") -> Package:
    return Package(
        type="deb", namespace="debian", name=name, version=version,
        purl=f"pkg:deb/debian/{name}@{version}?arch=amd64", path="var/lib/dpkg/status",
        arch="amd64", distro="Debian:12", source=source or name, source_version=version,
        layer=at.digest, diff_id=at.diff_id,
    )  # fmt: skip


def apks(at: Layer) -> list[Package]:
    return [
        apk("libssl3", "3.3.0-r2", at, source="openssl"),
        apk("busybox", "1.36.1-r28", at),
        apk("musl", "1.2.5-r0", at),
    ]


def apk(name: str, version: str, at: Layer, *, source: str = "") -> Package:
    return Package(
        type="apk", namespace="alpine", name=name, version=version,
        purl=f"pkg:apk/alpine/{name}@{version}?arch=x86_64", path="lib/apk/db/installed",
        arch="x86_64", distro="Alpine:v3.20", source=source or name, source_version=version,
        layer=at.digest, diff_id=at.diff_id,
    )  # fmt: skip


def pypi(at: Layer) -> list[Package]:
    versions = {
        "requests": "2.30.0", "urllib3": "1.26.15", "certifi": "2023.5.7", "jinja2": "3.1.2",
        "gunicorn": "20.1.0", "idna": "3.4", "markupsafe": "2.1.2",
    }  # fmt: skip
    folder = "usr/local/lib/python3.11/site-packages"
    return [
        Package(
            type="pypi",
            namespace="",
            name=name,
            version=version,
            purl=f"pkg:pypi/{name}@{version}",
            layer=at.digest,
            diff_id=at.diff_id,
            path=f"{folder}/{name}-{version}.dist-info/METADATA",
        )
        for name, version in versions.items()
    ]


def npm(at: Layer) -> list[Package]:
    versions = {
        "axios": "1.6.2", "follow-redirects": "1.15.3", "semver": "7.3.8", "@types/node": "20.1.0"
    }  # fmt: skip
    made = []
    for full, version in versions.items():
        scope, slash, name = full.rpartition("/")
        made.append(
            Package(
                type="npm",
                namespace=scope if slash else "",
                name=name,
                version=version,
                purl=f"pkg:npm/{full.replace('@', '%40')}@{version}",
                layer=at.digest,
                diff_id=at.diff_id,
                path=f"srv/checkout/node_modules/{full}/package.json",
            )
        )
    return made


def waived(state: AppState) -> None:
    """Waivers of every kind: for one image, about to end, and ended."""
    reason = "chroot is not used by anything in this image, and the terminal is never shared."
    for form in (
        WaiverForm("CVE-2016-2781", "coreutils", "", reason, "2999-12-31"),
        WaiverForm("CVE-2011-4116", "", "harbor.corp.test/*", "No File::Temp here.", "2999-06-30"),
        WaiverForm("", "gnutls28", "", "Replaced in the next release.", _in_days(3)),
    ):
        waivers.create(state, form, ADMIN)
    gone = WaiverForm("CVE-2019-1010022", "glibc", "", "Upstream says it is none.", "2999-12-31")
    waivers.end(state, waivers.create(state, gone, ADMIN).id, ADMIN)


def _in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


def deliveries(state: AppState, now: datetime) -> str:
    """What the scans raised: one sent, one given up, the others tried again."""
    with state.db.write() as c:
        due = alert_rows.claim(
            c, limit=20, lease_until=now + timedelta(hours=1), now=now + timedelta(hours=1)
        )
        assert len(due) >= 3
        alert_rows.sent(c, due[0].id, now=now, trace=[])
        alert_rows.failed(c, due[1].id, error=REFUSED, now=now, trace=TRACE)
        for row in due[2:]:
            alert_rows.retry(
                c, row.id, error=REFUSED, next_at=now + timedelta(hours=1), now=now, trace=TRACE
            )
    return due[1].id


def access(state: AppState, now: datetime) -> None:
    """API tokens and a registry."""
    end = now + timedelta(days=90)
    accounts.create_token(state, "ci-pipeline", "ci", expires_at=end, actor=ADMIN, now=now)
    old = accounts.create_token(
        state, "grafana", "auditor", expires_at=None, actor="jun.sato", now=now
    )
    accounts.revoke_token(state, old.row.id, actor=ADMIN, now=now)
    registries.put_registry(
        state,
        RegistryForm(
            "harbor.corp.test", "robot$garrison", Secret("x"), ca=state.authority.certificate_pem
        ),
        ADMIN,
    )
    registries.put_registry(
        state, RegistryForm("registry.lab.test:5000", plain_http=True), "jun.sato"
    )


GOOD_STEPS = (
    Step("resolve", "proxy.corp.test", True, 1.2, "proxy.corp.test is 10.20.0.8"),
    Step("tcp", "10.20.0.8:8080", True, 0.8, "10.20.0.8:8080 accepts"),
    Step("tunnel", "feed.osv.test:443", True, 11.0, "feed.osv.test:443"),
    Step("tls", "feed.osv.test", True, 24.0, "TLS 1.3"),
)
BAD_STEPS = tuple(
    Step(step["hop"], step["target"], step["ok"], step["ms"], step["detail"])  # type: ignore[arg-type]
    for step in TRACE
)


def contact(
    host: str, purpose: str, route: str, at: datetime, code: str = "", **changes: Any
) -> ConnectionRecord:
    """A connection that was opened; with a code one that the proxy refused."""
    told: dict[str, Any] = {}
    if code:
        told = {name: REFUSED[name] for name in ("message", "hint", "who", "hop")}
    record = ConnectionRecord(
        host, 443, purpose, route, not code, at, code=code,
        steps=BAD_STEPS if code else GOOD_STEPS, **told,
    )  # fmt: skip
    return replace(record, **changes)


def hosts(state: AppState, ids: list[str], now: datetime) -> None:
    """Outside hosts that were contacted: good, failing, slow, and left alone for days."""
    proxy, code = "proxy.corp.test:8080", REFUSED["code"]
    denied = {"hop": "tunnel", "who": "proxy", "message": "proxy.corp.test:8080 answered 403"}
    slow = Step("tcp", "gw.leipzig.test", True, 1900.0, "")
    found: list[tuple[str, ConnectionRecord]] = [
        ("console", contact("feed.osv.test", "intel", proxy, now - timedelta(hours=3))),
        ("console", contact("feed.osv.test", "intel", proxy, now, code)),
        ("console", contact("hooks.slack.test", "alerts", proxy, now, code)),
        ("console", contact("typo.slack.test", "alerts", "direct", now, code, test=True)),
        (ids[1], contact("gcr.test", "registry", proxy, now, "egress.proxy_denied", **denied)),
        (ids[2], contact("console.corp.test", "fleet", "gw.leipzig.test:1080", now)),
        (ids[3], contact("registry-1.docker.io", "registry", proxy, now)),
        (ids[3], contact("vault.corp.test", "secrets", "direct", now - timedelta(days=3))),
    ]
    found += [(d, contact("harbor.corp.test", "registry", "direct", now)) for d in ids[:2]]
    found += [(d, contact("console.corp.test", "fleet", "direct", now)) for d in ids[:2]]
    late = now + timedelta(seconds=1)
    with state.db.write() as c:
        for source, record in found:
            contacts.add(c, source, [record])
            if record.ok and not record.test:
                moved = replace(record, opened=False, received=len(record.host) * 2_000_000)
                contacts.add(c, source, [moved])
        gateway = contact("console.corp.test", "fleet", "gw.leipzig.test:1080", late)
        contacts.add(c, ids[2], [replace(gateway, steps=(slow,))])


def crowd(state: AppState, now: datetime) -> None:
    """Five hundred Defenders in twelve groups behind four proxies; some of them in trouble."""
    groups = [f"{place}-{kind}" for place in ("eu-west", "us-east", "plant-leipzig", "ap-south")
              for kind in ("prod", "build", "lab")]  # fmt: skip
    proxies = ("proxy.corp.test:8080", "proxy-us.corp.test:3128", "gw.leipzig.test:1080", "direct")
    registries = ("registry-1.docker.io", "gcr.io", "harbor.corp.test", "ghcr.io")
    with state.db.write() as c:
        for number in range(500):
            group = groups[number % len(groups)]
            proxy = proxies[number % len(groups) // 3]
            row = defenders.add(
                c, name=f"node-{number:03}", group=group, labels={},
                fingerprint=f"{number + 5000:064x}", serial=f"{number + 5000:x}",
                not_after=now + timedelta(days=30), version="0.1.0", platform="linux/amd64",
                join_token_id=None, now=now - timedelta(hours=2),
            )  # fmt: skip
            defenders.connected(
                c, row.id, name=row.name, version="0.1.0", platform="linux/amd64",
                settings_revision=3, proxy="", route=proxy, now=now,
            )  # fmt: skip
            bad = REFUSED["code"] if number % 60 == 6 else ""
            records = [contact("console.corp.test", "fleet", proxy, now)]
            records += [
                contact(host, "registry", proxy if host != "harbor.corp.test" else "direct", now,
                        bad if host == "gcr.io" and proxy != "direct" else "")
                for host in registries
            ]  # fmt: skip
            records += [contact(f"mirror-{number % 30:02}.corp.test", "registry", "direct", now)]
            contacts.add(c, row.id, records)
