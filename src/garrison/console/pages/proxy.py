"""/manage/system/proxy: how the Console and new Defenders get out."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from garrison.console import fleet
from garrison.console import proxy as operations
from garrison.console.accounts import ADMINS
from garrison.console.pages import text, trace
from garrison.console.pages.view import Choice, Crumb, choices, crumbs
from garrison.console.pages.visit import Form, Visit, go, page
from garrison.console.proxy import CONSOLE, KEEP, Keep, ProxyForm, SavedProxy
from garrison.errors import GarrisonError
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.console.fleet import DefenderView
    from garrison.egress import ProxySettings, Purpose
    from garrison.errors import InvalidSettingError

PATH = "/manage/system/proxy"
CRUMBS = crumbs("Manage", "System", "Proxy")
NAMES = {
    "http_proxy": "HTTP Proxy",
    "no_proxy": "No Proxy",
    "ca": "CA certificates",
    "user": "User",
    "password": "Password",
}
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
MANY = 1000
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Fields:
    """What stands in the form: what is saved, or what was typed and refused."""

    http_proxy: str = ""
    no_proxy: str = ""
    user: str = ""
    ca_add: str = ""
    password_remove: bool = False


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate of the list. removed: its box is ticked."""

    subject: str
    sha256: str
    not_after: str
    expired: bool = False
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Explained:
    """The route of an address. stops: Console or Defender, the proxy if any, the destination.

    head: the verdict in two words. others: what is tried after it. typed: with what stands in the
    form, which is not saved.
    """

    url: str = ""
    stops: tuple[str, ...] = ()
    proxied: bool = False
    because: str = ""
    error: str = ""
    head: str = ""
    others: tuple[str, ...] = ()
    typed: bool = False


@dataclass(frozen=True, slots=True)
class TestPanel:
    """The connection test: the form, and what came of it. trusted: what was trusted just now."""

    url: str
    sources: tuple[Choice, ...]
    known: tuple[str, ...] = ()
    view: trace.TraceView | None = None
    error: str = ""
    source: str = CONSOLE
    may_trust: bool = False
    typed: bool = False
    trusted: str = ""
    trusted_note: str = ""


@dataclass(frozen=True, slots=True)
class Stale:
    """Somebody else saved while this form was open."""

    head: str
    body: str


@dataclass(frozen=True, slots=True)
class OutdatedGroup:
    """Defenders of one group that run the same older settings."""

    name: str
    revision: int
    count: int
    names: tuple[str, ...]

    @property
    def more(self) -> int:
        return self.count - len(self.names)


@dataclass(frozen=True, slots=True)
class Effect:
    """What saving would do. changed: names of the fields that differ from what is in force."""

    changed: tuple[str, ...] = ()
    behind: int = 0
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """The form as it stands, looked at while somebody types."""

    effect: Effect
    errors: Mapping[str, tuple[str, ...]]
    warnings: Mapping[str, tuple[str, ...]]
    fields: tuple[str, ...] = tuple(NAMES)


@dataclass(frozen=True, slots=True)
class Further:
    """What there is beyond the five fields: a page each, and what is set there."""

    name: str
    href: str
    state: str


@dataclass(frozen=True, slots=True)
class ProxyPage:
    """errors, warnings, origins: by field. builtin: entries that are always direct.

    outdated: groups among the first `MANY` Defenders; behind: how many there are in all.
    """

    crumbs: tuple[Crumb, ...]
    fields: Fields
    certificates: tuple[Certificate, ...]
    origins: Mapping[str, tuple[str, ...]]
    revision: int
    saved_at: datetime | None
    saved_by: str
    password_set: bool
    may_change: bool
    test: TestPanel
    explained: Explained = field(default_factory=Explained)
    purposes: tuple[Choice, ...] = ()
    groups: tuple[Choice, ...] = ()
    builtin: tuple[str, ...] = ()
    further: tuple[Further, ...] = ()
    effect: Effect = field(default_factory=Effect)
    errors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stale: Stale | None = None
    outdated: tuple[OutdatedGroup, ...] = ()
    behind: int = 0
    fleet_size: int = 0

    unsaved: bool = False

    @property
    def error_summary(self) -> str:
        """Which fields are to be corrected, in words."""
        wrong = [name for key, name in NAMES.items() if self.errors.get(key)]
        again = " Type the password again: it is never sent back." if self.password_typed else ""
        return f"See {text.words(wrong)}.{again}"

    password_typed: bool = False


def routes() -> list[Route]:
    return [
        page(PATH, show),
        page(PATH, save, methods=("POST",), roles=ADMINS),
        page(f"{PATH}/explain", explain),
        page(f"{PATH}/explain", explain, methods=("POST",)),
        page(f"{PATH}/check", check, methods=("POST",)),
        page(f"{PATH}/test-typed", test_typed, methods=("POST",), roles=ADMINS),
        page(f"{PATH}/test", test, methods=("POST",)),
        page(f"{PATH}/trust", trust, methods=("POST",), roles=ADMINS),
    ]


async def show(visit: Visit) -> Response:
    """The settings in force; with `?explain=URL` the route of that address too."""
    context = await run_in_threadpool(_context, visit)
    if url := visit.query.get("explain", ""):
        purpose, group = visit.query.get("purpose", ""), visit.query.get("group", "")
        found = await _explained(visit, url, purpose, group=group)
        context = replace(context, explained=found)
    if url := visit.query.get("test", ""):
        source = visit.query.get("source", CONSOLE)
        context = replace(context, test=await run_in_threadpool(_panel, visit, url, source))
    return _answer(visit, context)


def save(visit: Visit) -> Response:
    """Store what was typed and use it from the next connection on."""
    from garrison.database.errors import StaleRevisionError
    from garrison.egress import InvalidSettings

    saved = operations.current(visit.state)
    form = visit.form
    try:
        done = operations.save(visit.state, _typed(form, saved.settings.as_view()), visit.actor)
    except InvalidSettings as error:
        wrong = errors_of(error.problems)
        return _answer(visit, _refused(visit, saved, errors=wrong), status=422)
    except StaleRevisionError:
        saved = operations.current(visit.state)
        stale = Stale(
            f"{saved.saved_by} saved revision {saved.revision} while this form was open. "
            "Nothing was saved.",
            "The fields hold what you typed; what is in force now stands under each. "
            "Save again to replace it.",
        )
        return _answer(visit, _refused(visit, saved, stale=stale), status=409)
    return go(PATH, say=f"Saved revision {done.revision}. The Console uses it now.")


async def explain(visit: Visit) -> Response:
    """The route of `explain`, alone; with what stands in the form, where that can be used."""
    typed = visit.request.method == "POST"
    given = visit.form if typed else Form(visit.query)
    settings = await run_in_threadpool(_candidate, visit) if typed else None
    url, purpose, group = given.text("explain"), given.text("purpose"), given.text("group")
    found = await _explained(visit, url, purpose, settings, group)
    return visit.part("_explain.html", view=found)


def check(visit: Visit) -> Response:
    """What stands in the form: errors and warnings at their fields, and what saving would do."""
    from garrison.egress import InvalidSettings

    saved = operations.current(visit.state)
    shown = saved.settings.as_view()
    try:
        settings = operations.preview(visit.state, _typed(visit.form, shown))
    except InvalidSettings as error:
        wrong = errors_of(error.problems)
        names = tuple(NAMES.get(key, "the further settings") for key in wrong)
        found = Check(Effect(wrong=names), wrong, {})
    else:
        effect = Effect(changed_fields(saved.settings, settings), _behind(visit))
        found = Check(effect, {}, by_field(settings.warnings))
    return visit.part("_proxy_check.html", check=found)


async def test_typed(visit: Visit) -> Response:
    """Connect with what stands in the form, before it is saved."""
    from garrison.egress import InvalidSettings

    saved = await run_in_threadpool(operations.current, visit.state)
    url = visit.form.text("url") or visit.state.settings.intel_url
    panel = await run_in_threadpool(_panel, visit, url, CONSOLE)
    wrong: dict[str, tuple[str, ...]] = {}
    try:
        form = _typed(visit.form, saved.settings.as_view())
        settings = await run_in_threadpool(operations.preview, visit.state, form)
        purpose = purpose_of(visit, url)
        result = await operations.test_with(visit.state, settings, url, purpose)
        panel = replace(panel, view=trace.trace_view(result, datetime.now(UTC)), typed=True)
    except InvalidSettings as error:
        wrong = errors_of(error.problems)
        names = text.words(NAMES.get(key, "the further settings") for key in wrong)
        panel = replace(panel, error=f"Nothing was tried: {names} cannot be used as typed.")
    except GarrisonError as error:
        panel = replace(panel, error=f"{text.sentence(error.message)} {error.hint}".strip())
    if visit.partial:
        return visit.part("_test.html", page=_Only(panel))
    context = await run_in_threadpool(_refused, visit, saved, errors=wrong, kept=True)
    return _answer(visit, replace(context, test=panel))


async def test(visit: Visit) -> Response:
    """Connect, and show every hop."""
    url, source = visit.form.text("url"), visit.form.text("from") or CONSOLE
    panel = await run_in_threadpool(_panel, visit, url, source)
    try:
        result = await operations.test(visit.state, url, purpose_of(visit, url), source)
        panel = replace(panel, view=trace.trace_view(result, datetime.now(UTC)))
    except GarrisonError as error:
        panel = replace(panel, error=f"{text.sentence(error.message)} {error.hint}".strip())
    return await _tested(visit, panel)


async def trust(visit: Visit) -> Response:
    """Trust the CA of a test whose fingerprint was shown, and test again."""
    from garrison.console import trust as trusting

    url, source = visit.form.text("url"), visit.form.text("from") or CONSOLE
    panel = await run_in_threadpool(_panel, visit, url, source)
    shown = visit.form.text("fingerprint")
    try:
        done = await trusting.trust_ca(
            visit.state, url, purpose_of(visit, url), source, shown, visit.actor
        )
    except GarrisonError as error:
        return await _tested(
            visit, replace(panel, error=f"{text.sentence(error.message)} {error.hint}".strip())
        )
    behind = (await run_in_threadpool(fleet.counts, visit.state)).out_of_date
    panel = replace(
        panel,
        view=trace.trace_view(done.test, datetime.now(UTC)),
        trusted=f"{done.certificate['subject']} is trusted now.",
        trusted_note=f"Saved as revision {done.revision} of the proxy settings."
        + (
            f" {text.plural(behind, 'Defender')} must be redeployed to trust it too."
            if behind
            else ""
        ),
    )
    return await _tested(visit, panel)


async def _tested(visit: Visit, panel: TestPanel) -> Response:
    if visit.partial:
        return visit.part("_test.html", page=_Only(panel))
    context = await run_in_threadpool(_context, visit)
    return _answer(visit, replace(context, test=panel))


@dataclass(frozen=True, slots=True)
class _Only:
    test: TestPanel


def purpose_of(visit: Visit, url: str) -> Purpose:
    """What a connection to `url` would be made for, judged by its host."""
    host = urlsplit(url).hostname or ""
    if host and host == urlsplit(visit.state.settings.intel_url).hostname:
        return "intel"
    if url.startswith(("ws:", "wss:")):
        return "fleet"
    if "slack" in host or "jira" in host or "/services/" in url:
        return "alerts"
    if "vault" in host:
        return "secrets"
    return "registry"


def _answer(visit: Visit, context: ProxyPage, *, status: int = 200) -> Response:
    return visit.page("proxy.html", context, title="Proxy", here="proxy", status=status)


def _context(visit: Visit) -> ProxyPage:
    saved = operations.current(visit.state)
    shown = saved.settings.as_view()
    fields = Fields(
        http_proxy=shown["http_proxy"] or "",
        no_proxy=", ".join(shown["no_proxy"]),
        user=shown["user"] or "",
    )
    return _page(visit, saved, fields)


def _page(
    visit: Visit, saved: SavedProxy, fields: Fields, removed: frozenset[str] = frozenset()
) -> ProxyPage:
    shown = saved.settings.as_view()
    views = fleet.defenders(visit.state, limit=MANY).items
    counts = fleet.counts(visit.state)
    return ProxyPage(
        crumbs=CRUMBS,
        fields=fields,
        certificates=certificates(shown, removed, visit.now),
        origins=origins(shown),
        revision=saved.revision,
        saved_at=saved.saved_at,
        saved_by=saved.saved_by,
        password_set=bool(shown["password_set"]),
        may_change=visit.may(*ADMINS),
        test=_panel(visit, visit.state.settings.intel_url, CONSOLE, views),
        purposes=purposes(visit.query.get("purpose", "")),
        groups=choices(
            [("", "From Console"), *((g, f"From {g}") for g in groups(views))],
            visit.query.get("group", ""),
        ),
        builtin=tuple(one["entry"] for one in shown["builtin"]),
        further=further(shown),
        effect=Effect(behind=_behind(visit)),
        warnings=by_field(saved.settings.warnings),
        outdated=outdated(views),
        behind=counts.out_of_date,
        fleet_size=counts.total,
    )


def _refused(
    visit: Visit,
    saved: SavedProxy,
    *,
    errors: Mapping[str, tuple[str, ...]] | None = None,
    stale: Stale | None = None,
    kept: bool = False,
) -> ProxyPage:
    """The page with what was typed. kept: nothing was to be saved."""
    form = visit.form
    fields = Fields(
        http_proxy=form.text("http_proxy"),
        no_proxy=form.raw("no_proxy").strip(),
        user=form.text("user"),
        ca_add=form.raw("ca_add").replace("\r\n", "\n"),
        password_remove=form.checked("password_remove"),
    )
    context = _page(visit, saved, fields, frozenset(form.all("ca_remove")))
    return replace(
        context,
        errors=errors or {},
        warnings={},
        stale=stale,
        unsaved=kept,
        password_typed=bool(form.raw("password")),
    )


def _typed(form: Form, shown: Mapping[str, Any]) -> ProxyForm:
    password: Secret | Keep | None = KEEP
    if typed := form.raw("password"):
        password = Secret(typed)
    elif form.checked("password_remove"):
        password = None
    revision = form.text("revision")
    return ProxyForm(
        http_proxy=form.text("http_proxy"),
        no_proxy=form.raw("no_proxy"),
        ca=bundle(form.raw("ca_add"), shown["ca"], frozenset(form.all("ca_remove"))),
        user=form.text("user"),
        password=password,
        revision=int(revision) if revision.isdecimal() else None,
    )


def bundle(added: str, kept: str, removed: frozenset[str]) -> str:
    """The certificates to save. What was typed comes first, so that its line numbers hold."""
    blocks = [block for block in _PEM.findall(kept) if fingerprint(block) not in removed]
    added = added.replace("\r\n", "\n").rstrip()
    return "\n".join(part for part in (added, *blocks) if part)


def fingerprint(block: str) -> str:
    """SHA-256 of a PEM block's certificate, in lower-case hexadecimal."""
    lines = block.strip().splitlines()[1:-1]
    try:
        return hashlib.sha256(base64.b64decode("".join(lines))).hexdigest()
    except binascii.Error:
        return ""


def certificates(
    shown: Mapping[str, Any], removed: frozenset[str], now: datetime
) -> tuple[Certificate, ...]:
    """The list of certificates, from the settings' view."""
    result = []
    for entry in shown["ca_certificates"]:
        until = entry["not_after"]
        end = datetime.fromisoformat(until) if isinstance(until, str) else until
        end = end if end.tzinfo else end.replace(tzinfo=UTC)
        sha256 = str(entry["sha256"]).replace(":", "").lower()
        result.append(
            Certificate(
                subject=common_name(str(entry["subject"])),
                sha256=sha256,
                not_after=text.day(end),
                expired=end < now,
                removed=sha256 in removed,
            )
        )
    return tuple(result)


def common_name(subject: str) -> str:
    """The name people call it by: its CN, else all of it."""
    found = re.search(r"(?:^|,\s*)CN=((?:[^,\\]|\\.)+)", subject)
    return re.sub(r"\\(.)", r"\1", found.group(1)).strip() if found else subject


def origins(shown: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """For each field, what is in force and who said so."""
    sources: Mapping[str, str] = shown["sources"]
    proxy, entries, count = shown["http_proxy"], shown["no_proxy"], len(shown["ca_certificates"])
    return {
        "http_proxy": _origin(
            sources.get("http_proxy", ""),
            f"In force: `{proxy}`." if proxy else "None in force: every connection is direct.",
            bool(proxy),
        ),
        "no_proxy": _origin(
            sources.get("no_proxy", ""),
            f"{text.plural(len(entries), 'entry', 'entries')} in force, reached directly."
            if entries
            else "No entry in force. Names, addresses, CIDR ranges, `*.` and ports are understood.",
            bool(entries),
        ),
        "ca": _origin(
            sources.get("ca", ""),
            f"{text.plural(count, 'authority', 'authorities')} trusted beside the system's."
            if count
            else "The system's authorities are trusted. Add the one your proxy inspects TLS with.",
            bool(count),
        ),
        "user": _origin(
            sources.get("user", ""),
            f"In force: `{shown['user']}`."
            if shown["user"]
            else "No user: the proxy is not asked by name.",
            bool(shown["user"]),
        ),
        "password": _origin(
            sources.get("password", ""),
            "Set; it is never shown." if shown["password_set"] else "",
            bool(shown["password_set"]),
        ),
    }


def _origin(source: str, fact: str, is_set: bool) -> tuple[str, ...]:
    if not is_set or not source:
        return (fact,) if fact else ()
    if source in {"saved", "console"}:
        return (fact, "Saved here.")
    return (fact, f"From `{source}`.")


def by_field(warnings: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Warnings beside the field that each names first; about No Proxy where none is named."""
    found: dict[str, tuple[str, ...]] = {}
    for warning in warnings:
        label, colon, rest = warning.partition(": ")
        key = next((key for key, name in NAMES.items() if colon and name == label), "")
        other = colon and not key and label.startswith(_FURTHER_LABELS)
        said = rest if key else warning
        key = key or ("more" if other else "no_proxy")
        found[key] = (*found.get(key, ()), text.sentence(said))
    return found


_FURTHER_LABELS = ("Rule ", "Proxy ", "Allowed ", "PAC ", "Failover", "CA ")


def errors_of(problems: Sequence[InvalidSettingError]) -> dict[str, tuple[str, ...]]:
    """By field, what is wrong and what to write instead."""
    wrong: dict[str, tuple[str, ...]] = {}
    for problem in problems:
        label = NAMES.get(problem.field, "")
        message = text.sentence(problem.message.removeprefix(f"{label}: "))
        # Some messages name the remedy themselves.
        if problem.hint and "write " not in message:
            message = f"{message} {text.sentence(problem.hint)}"
        wrong[problem.field] = (*wrong.get(problem.field, ()), message)
    return wrong


def changed_fields(before: ProxySettings, after: ProxySettings) -> tuple[str, ...]:
    """Names of the five fields that differ."""
    old, new = before.as_view(), after.as_view()
    found = [name for key, name in NAMES.items() if key in old and old[key] != new[key]]
    held = [one.credentials.password if one.credentials else None for one in (before, after)]
    if held[0] != held[1] and (held[0] or held[1]):
        found.append(NAMES["password"])
    return tuple(found)


def purposes(chosen: str) -> tuple[Choice, ...]:
    """What an address is explained for; by its host unless somebody says."""
    from garrison.console.pages.egress_map import PURPOSES as WORDS
    from garrison.egress import PURPOSES

    named = ((purpose, f"For {WORDS[purpose]}") for purpose in PURPOSES)
    return choices([("", "Purpose by host"), *named], chosen)


def groups(views: Sequence[DefenderView]) -> list[str]:
    """Names of the groups that Defenders belong to."""
    return sorted({view.row.group for view in views if view.row.group})


def further(shown: Mapping[str, Any]) -> tuple[Further, ...]:
    """The pages beyond the five fields, and what is set there."""
    proxies, rules, cas = shown["proxies"], shown["rules"], shown["destination_ca"]
    after = (
        f", {text.plural(len(shown['failover']), 'of them')} for failover"
        if shown["failover"]
        else ""
    )
    strict = f"on, {text.plural(len(shown['allowed']), 'entry', 'entries')}"
    return (
        Further(
            "More proxies and failover", f"{PATH}/proxies",
            f"{len(proxies):,}{after}" if proxies else "none",
        ),
        Further("Rules", f"{PATH}/rules", f"{len(rules):,}" if rules else "none"),
        Further("PAC file", f"{PATH}/pac", shown["pac_url"] or "none"),
        Further("CAs per destination", f"{PATH}/authorities", f"{len(cas):,}" if cas else "none"),
        Further("Strict mode", f"{PATH}/strict", strict if shown["strict"] else "off"),
        Further(
            "Always direct", f"{PATH}/defaults",
            f"{text.plural(len(shown['builtin']), 'entry', 'entries')}",
        ),
    )  # fmt: skip


def _behind(visit: Visit) -> int:
    """Defenders that a new revision leaves behind: all but the one of this machine."""
    total = fleet.counts(visit.state).total
    return max(0, total - bool(visit.state.local_defender()))


def _candidate(visit: Visit) -> ProxySettings | None:
    """What stands in the form, where it differs from what is in force and can be used."""
    from garrison.egress import InvalidSettings

    saved = operations.current(visit.state)
    if not visit.form.raw("revision"):
        return None
    try:
        settings = operations.preview(visit.state, _typed(visit.form, saved.settings.as_view()))
    except InvalidSettings:
        return None
    return settings if changed_fields(saved.settings, settings) else None


def outdated(views: Sequence[DefenderView]) -> tuple[OutdatedGroup, ...]:
    """Defenders with older settings, by group and the revision they run."""
    rows = [view.row for view in views if view.outdated]
    counts = Counter((row.group, row.settings_revision or 0) for row in rows)
    return tuple(
        OutdatedGroup(
            group,
            revision,
            count,
            tuple(
                row.name
                for row in rows
                if (row.group, row.settings_revision or 0) == (group, revision)
            )[:_SHOWN],
        )
        for (group, revision), count in sorted(counts.items())
    )


def _panel(
    visit: Visit, url: str, source: str, views: Sequence[DefenderView] | None = None
) -> TestPanel:
    if views is None:
        views = fleet.defenders(visit.state, limit=MANY).items
    options = [(CONSOLE, "From Console")]
    options += [(view.row.id, f"From {view.row.name}") for view in views if view.connected]
    known = (
        visit.state.settings.intel_url,
        "https://registry-1.docker.io/v2/",
        "https://hooks.slack.com/services/",
    )
    return TestPanel(
        url=url,
        sources=choices(options, source),
        known=known,
        source=source,
        may_trust=visit.may(*ADMINS),
    )


async def _explained(
    visit: Visit,
    url: str,
    purpose: str = "",
    settings: ProxySettings | None = None,
    group: str = "",
) -> Explained:
    """settings: of the form, else those in force. group: of Defenders, else the Console."""
    from garrison.egress import PURPOSES
    from garrison.egress import explain as decide

    url = url.strip()
    if not url:
        return Explained()
    # While an address is typed its scheme is not there yet.
    full = url if "://" in url else f"https://{url}"
    known = next((one for one in PURPOSES if one == purpose), None) or purpose_of(visit, full)
    try:
        if settings is not None:
            meant = settings.for_group(group) if group else settings
            found = (await run_in_threadpool(decide, full, meant, known)).as_dict()
        else:
            found = await operations.explain(visit.state, full, known, group=group or None)
    except GarrisonError as error:
        message = f"{text.sentence(error.message)} {error.hint}".strip()
        return Explained(url=url, error=message)
    view = explained(url, cast("Mapping[str, Any]", found), group or "Console")
    return replace(view, typed=settings is not None)


def explained(url: str, found: Mapping[str, Any], source: str = "Console") -> Explained:
    """A route, as stops on the way."""
    parts = urlsplit(str(found["url"]))
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    port = parts.port or {"https": 443, "wss": 443}.get(parts.scheme, 80)
    proxy = found.get("proxy")
    route = str(found.get("route") or ("proxy" if proxy else "direct"))
    stops = [source, f"{host}:{port}"]
    if proxy:
        stops.insert(1, urlsplit(str(proxy)).netloc or str(proxy))
    because = f"{text.sentence(str(found['because']))} Purpose: {found['purpose']}."
    if note := found.get("note"):
        because = f"{because} {text.sentence(str(note))}"
    others = tuple(
        "directly" if one["route"] == "direct" else urlsplit(str(one["proxy"])).netloc
        for one in (found.get("candidates") or ())[1:]
    )
    return Explained(
        url, tuple(stops) if route in ("proxy", "direct") else (), bool(proxy), because,
        head=_HEADS.get(route, route), others=others,
    )  # fmt: skip


_HEADS = {
    "proxy": "By proxy.",
    "direct": "Direct.",
    "refused": "Refused.",
    "unknown": "The PAC file decides.",
}
