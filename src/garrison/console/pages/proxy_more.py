"""/manage/system/proxy/…: what goes beyond one proxy. A page for each kind of setting; every
save is a revision of its own, and nothing here needs script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import allow_list, contacts, fleet
from garrison.console import proxy as operations
from garrison.console.accounts import ADMINS
from garrison.console.pages import text
from garrison.console.pages.egress_map import PURPOSES as WORDS
from garrison.console.pages.proxy import (
    MANY,
    Certificate,
    common_name,
    errors_of,
    further,
)
from garrison.console.pages.proxy import PATH as PROXY
from garrison.console.pages.proxy import groups as groups_of
from garrison.console.pages.view import Choice, Crumb, choices, crumbs, segment
from garrison.console.pages.visit import Visit, go, page
from garrison.console.problems import NotFoundError
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.console.proxy import SavedProxy

Errors: TypeAlias = Mapping[str, tuple[str, ...]]
Kind: TypeAlias = Literal["proxies", "rules", "pac", "authorities", "strict", "defaults"]
TITLES: Mapping[Kind, str] = {
    "proxies": "More proxies and failover",
    "rules": "Rules",
    "pac": "PAC file",
    "authorities": "CAs per destination",
    "strict": "Strict mode",
    "defaults": "Always direct",
}
_AUTHS = (
    ("auto", "The best it offers"),
    ("negotiate", "Negotiate (Kerberos)"),
    ("ntlm", "NTLM"),
    ("digest", "Digest"),
    ("basic", "Basic"),
    ("none", "None"),
)
_USES = (
    ("proxy", "By these proxies, in this order"),
    ("direct", "Directly"),
    ("pac", "As the PAC file says"),
    ("default", "As everything else"),
)


@dataclass(frozen=True, slots=True)
class Frame:
    """What all these pages have. head, body: why nothing was saved."""

    crumbs: tuple[Crumb, ...]
    title: str
    tabs: tuple[Choice, ...]
    revision: int
    may_change: bool
    affected: int
    head: str = ""
    body: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProxyLine:
    name: str
    address: str
    auth: str
    user: str
    used: str
    href: str


@dataclass(frozen=True, slots=True)
class ProxiesPage:
    frame: Frame
    lines: tuple[ProxyLine, ...]
    http_proxy: str
    failover: str
    auths: tuple[Choice, ...]
    errors: Errors = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProxyEditPage:
    """known: the name under which it is saved; empty for a new one."""

    frame: Frame
    known: str
    name: str
    address: str
    user: str
    password_set: bool
    auths: tuple[Choice, ...]
    errors: Errors = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleLine:
    """when: conditions, all of which hold; then: what is done."""

    place: int
    name: str
    when: tuple[str, ...]
    then: str
    href: str
    first: bool
    last: bool


@dataclass(frozen=True, slots=True)
class RulesPage:
    frame: Frame
    lines: tuple[RuleLine, ...]
    otherwise: str


@dataclass(frozen=True, slots=True)
class RuleEditPage:
    """place: of the rule in the list, from 1; 0 for a new one."""

    frame: Frame
    place: int
    name: str
    purposes: tuple[Choice, ...]
    destinations: str
    groups: str
    uses: tuple[Choice, ...]
    proxies: str
    known_groups: tuple[str, ...]
    known_proxies: tuple[str, ...]
    errors: Errors = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PacPage:
    frame: Frame
    url: str
    dns: bool
    errors: Errors = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuthorityLine:
    place: int
    destinations: tuple[str, ...]
    certificates: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class AuthoritiesPage:
    frame: Frame
    lines: tuple[AuthorityLine, ...]
    destinations: str = ""
    ca: str = ""
    errors: Errors = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StrictPage:
    """contacted: hosts that were contacted; missing: those of them that the list leaves out."""

    frame: Frame
    strict: bool
    allowed: str
    contacted: int
    missing: tuple[str, ...]
    filled: bool = False
    errors: Errors = field(default_factory=dict)

    @property
    def more_missing(self) -> int:
        return max(0, len(self.missing) - 8)


@dataclass(frozen=True, slots=True)
class DefaultsPage:
    frame: Frame
    in_cluster: bool
    builtin: tuple[tuple[str, str], ...]


def routes() -> list[Route]:
    def changing(path: str, handler: Callable[[Visit], Response]) -> Route:
        return page(path, handler, methods=("POST",), roles=ADMINS)

    return [
        page(f"{PROXY}/proxies", show_proxies),
        changing(f"{PROXY}/proxies", save_failover),
        page(f"{PROXY}/proxies/new", show_proxy, roles=ADMINS),
        changing(f"{PROXY}/proxies/new", save_proxy),
        page(f"{PROXY}/proxies/{{name}}", show_proxy, roles=ADMINS),
        changing(f"{PROXY}/proxies/{{name}}", save_proxy),
        changing(f"{PROXY}/proxies/{{name}}/remove", remove_proxy),
        page(f"{PROXY}/rules", show_rules),
        page(f"{PROXY}/rules/new", show_rule, roles=ADMINS),
        changing(f"{PROXY}/rules/new", save_rule),
        page(f"{PROXY}/rules/{{place:int}}", show_rule, roles=ADMINS),
        changing(f"{PROXY}/rules/{{place:int}}", save_rule),
        changing(f"{PROXY}/rules/{{place:int}}/move", move_rule),
        changing(f"{PROXY}/rules/{{place:int}}/remove", remove_rule),
        page(f"{PROXY}/pac", show_pac),
        changing(f"{PROXY}/pac", save_pac),
        page(f"{PROXY}/authorities", show_authorities),
        changing(f"{PROXY}/authorities", add_authority),
        changing(f"{PROXY}/authorities/{{place:int}}/remove", remove_authority),
        page(f"{PROXY}/strict", show_strict),
        changing(f"{PROXY}/strict", save_strict),
        page(f"{PROXY}/defaults", show_defaults),
        changing(f"{PROXY}/defaults", save_defaults),
    ]


# --- proxies -------------------------------------------------------------------------------------


def show_proxies(visit: Visit) -> Response:
    """Further proxies, and the order in which they are tried."""
    return _proxies(visit)


def save_failover(visit: Visit) -> Response:
    """Which proxies follow HTTP Proxy, and how we sign in there."""
    form = visit.form
    more = {"failover": _words(form.text("failover")), "auth": form.text("auth") or "auto"}
    return _save(visit, more, "proxies", lambda wrong, why: _proxies(visit, wrong, why))


def show_proxy(visit: Visit) -> Response:
    """The form of one proxy."""
    return _proxy_form(visit)


def save_proxy(visit: Visit) -> Response:
    """Add a proxy, or change one. A new name follows into failover and rules."""
    form, known = visit.form, visit.request.path_params.get("name", "")
    shown = operations.current(visit.state).settings.as_view()
    one: dict[str, Any] = {
        "name": form.text("name"),
        "address": form.text("address"),
        "auth": form.text("auth") or "auto",
        "user": form.text("user"),
    }
    if typed := form.raw("password"):
        one["password"] = Secret(typed)
    elif form.checked("password_remove"):
        one["password"] = None
    elif known and known != one["name"]:
        one["password"] = _password_of(visit, known)
    before = [_as_given(each) for each in shown["proxies"]]
    names = [each["name"] for each in before]
    if known and known not in names:
        raise NotFoundError(f"there is no proxy {known}")
    place = names.index(known) if known else len(names)
    proxies = [*before[:place], one, *before[place + 1 :]]
    more: dict[str, Any] = {"proxies": proxies}
    if known and known != one["name"]:
        more |= _renamed(shown, known, one["name"])

    def again(wrong: Errors, why: str) -> Response:
        return _proxy_form(visit, _of_item(wrong, f"proxies[{place}]."), why)

    return _save(visit, more, "proxies", again)


def remove_proxy(visit: Visit) -> Response:
    """Forget a proxy; refused while a rule or failover names it."""
    name = visit.path("name")
    shown = operations.current(visit.state).settings.as_view()
    kept = [_as_given(each) for each in shown["proxies"] if each["name"] != name]
    used = _users(shown, name)

    def again(wrong: Errors, why: str) -> Response:
        return _proxies(visit, {}, f"{name} is still used by {text.words(used)}.")

    return _save(visit, {"proxies": kept}, "proxies", again)


def _proxies(visit: Visit, errors: Errors | None = None, why: str = "") -> Response:
    saved = operations.current(visit.state)
    shown = saved.settings.as_view()
    typed = visit.form.raw("failover") if errors else ", ".join(shown["failover"])
    context = ProxiesPage(
        frame=_frame(visit, saved, "proxies", why),
        lines=tuple(
            ProxyLine(
                name=each["name"],
                address=each["address"],
                auth=dict(_AUTHS).get(each["auth"], each["auth"]),
                user=each["user"],
                used=text.words(_users(shown, each["name"])),
                href=f"{PROXY}/proxies/{segment(each['name'])}",
            )
            for each in shown["proxies"]
        ),
        http_proxy=shown["http_proxy"],
        failover=typed,
        auths=choices(_AUTHS, visit.form.text("auth") or shown["auth"]),
        errors=errors or {},
    )
    return _answer(visit, "proxy-proxies.html", context, "proxies", errors, why)


def _proxy_form(visit: Visit, errors: Errors | None = None, why: str = "") -> Response:
    saved = operations.current(visit.state)
    known, form = visit.request.path_params.get("name", ""), visit.form
    found = next((p for p in saved.settings.as_view()["proxies"] if p["name"] == known), None)
    if known and found is None:
        raise NotFoundError(f"there is no proxy {known}")
    values = found or {"name": "", "address": "", "user": "", "auth": "auto", "password_set": False}
    typed = visit.request.method == "POST"
    context = ProxyEditPage(
        frame=_frame(visit, saved, "proxies", why, known or "New proxy"),
        known=known,
        name=form.text("name") if typed else values["name"],
        address=form.text("address") if typed else values["address"],
        user=form.text("user") if typed else values["user"],
        password_set=values["password_set"],
        auths=choices(_AUTHS, (form.text("auth") if typed else values["auth"]) or "auto"),
        errors=errors or {},
    )
    return _answer(visit, "proxy-proxy.html", context, "proxies", errors, why)


def _as_given(shown: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shown.items() if key != "password_set"}


def _password_of(visit: Visit, name: str) -> Secret | None:
    found = operations.current(visit.state).settings.named(name)
    return found.credentials.password if found and found.credentials else None


def _renamed(shown: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    def swap(names: Sequence[str]) -> list[str]:
        return [new if name == old else name for name in names]

    rules = [{**rule, "proxies": swap(rule["proxies"])} for rule in shown["rules"]]
    return {"failover": swap(shown["failover"]), "rules": rules}


def _users(shown: Mapping[str, Any], name: str) -> list[str]:
    """What names a proxy, in words."""
    found = ["failover"] if name in shown["failover"] else []
    return found + [f"rule {r['name']}" for r in shown["rules"] if name in r["proxies"]]


# --- rules ---------------------------------------------------------------------------------------


def show_rules(visit: Visit) -> Response:
    """The rules, in the order in which they are asked."""
    return _rules(visit)


def show_rule(visit: Visit) -> Response:
    """The form of one rule."""
    return _rule_form(visit)


def save_rule(visit: Visit) -> Response:
    """Add a rule at the end, or change one."""
    form, place = visit.form, int(visit.request.path_params.get("place", 0))
    rules = _rules_of(visit, place)
    use = form.text("use") or "proxy"
    one = {
        "name": form.text("name"),
        "use": use,
        "proxies": _words(form.text("proxies")) if use == "proxy" else [],
        "purposes": form.all("purposes"),
        "destinations": _words(form.raw("destinations")),
        "groups": [part.strip() for part in form.text("groups").split(",") if part.strip()],
    }
    index = place - 1 if place else len(rules)
    changed = [*rules[:index], one, *rules[index + 1 :]]

    def again(wrong: Errors, why: str) -> Response:
        return _rule_form(visit, _of_item(wrong, f"rules[{index}]."), why)

    return _save(visit, {"rules": changed}, "rules", again)


def move_rule(visit: Visit) -> Response:
    """Ask a rule earlier or later."""
    place = int(visit.path("place"))
    rules = _rules_of(visit, place)
    other = place - 1 if visit.form.text("to") == "up" else place + 1
    if not 1 <= other <= len(rules):
        return go(f"{PROXY}/rules")
    rules[place - 1], rules[other - 1] = rules[other - 1], rules[place - 1]
    return _save(visit, {"rules": rules}, "rules", lambda wrong, why: _rules(visit, why))


def remove_rule(visit: Visit) -> Response:
    place = int(visit.path("place"))
    rules = _rules_of(visit, place)
    kept = [*rules[: place - 1], *rules[place:]]
    return _save(visit, {"rules": kept}, "rules", lambda wrong, why: _rules(visit, why))


def _rules_of(visit: Visit, place: int) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = list(operations.current(visit.state).settings.as_view()["rules"])
    if place > len(rules):
        raise NotFoundError(f"there is no rule {place}")
    return rules


def _rules(visit: Visit, why: str = "") -> Response:
    saved = operations.current(visit.state)
    shown = saved.settings.as_view()
    rules = shown["rules"]
    otherwise = "directly"
    if shown["pac_url"]:
        otherwise = "as the PAC file says"
    elif shown["http_proxy"]:
        otherwise = f"by `{shown['http_proxy']}`"
    context = RulesPage(
        frame=_frame(visit, saved, "rules", why),
        lines=tuple(
            RuleLine(
                place=number,
                name=rule["name"],
                when=_when(rule),
                then=_then(rule),
                href=f"{PROXY}/rules/{number}",
                first=number == 1,
                last=number == len(rules),
            )
            for number, rule in enumerate(rules, 1)
        ),
        otherwise=otherwise,
    )
    return _answer(visit, "proxy-rules.html", context, "rules", None, why)


def _rule_form(visit: Visit, errors: Errors | None = None, why: str = "") -> Response:
    saved = operations.current(visit.state)
    place, form = int(visit.request.path_params.get("place", 0)), visit.form
    shown = saved.settings.as_view()
    rule: Mapping[str, Any] = {
        "name": "", "use": "proxy", "proxies": [], "purposes": [], "destinations": [], "groups": [],
    }  # fmt: skip
    if place:
        rule = _rules_of(visit, place)[place - 1]
    typed = visit.request.method == "POST"

    def value(name: str, saved_value: str) -> str:
        return form.raw(name).strip() if typed else saved_value

    purposes = form.all("purposes") if typed else rule["purposes"]
    views = fleet.defenders(visit.state, limit=MANY).items
    groups = groups_of(views)
    known = [*(["default"] if shown["http_proxy"] else []), *(p["name"] for p in shown["proxies"])]
    context = RuleEditPage(
        frame=_frame(visit, saved, "rules", why, rule["name"] or "New rule"),
        place=place,
        name=value("name", rule["name"]),
        purposes=tuple(
            Choice(key, WORDS[key], key in purposes)
            for key in ("intel", "alerts", "registry", "secrets", "fleet", "sso")
        ),
        destinations=value("destinations", ", ".join(rule["destinations"])),
        groups=value("groups", ", ".join(rule["groups"])),
        uses=choices(_USES, value("use", rule["use"]) or "proxy"),
        proxies=value("proxies", ", ".join(rule["proxies"])),
        known_groups=("console", *groups),
        known_proxies=tuple(known),
        errors=errors or {},
    )
    return _answer(visit, "proxy-rule.html", context, "rules", errors, why)


def _when(rule: Mapping[str, Any]) -> tuple[str, ...]:
    found = []
    if rule["purposes"]:
        found.append(f"for {text.words((WORDS[p] for p in rule['purposes']), 'or')}")
    if rule["destinations"]:
        found.append(f"to {text.words((f'`{d}`' for d in rule['destinations']), 'or')}")
    if rule["groups"]:
        found.append(f"from {text.words(rule['groups'], 'or')}")
    return tuple(found) or ("everything",)


def _then(rule: Mapping[str, Any]) -> str:
    if rule["use"] == "proxy":
        return f"by {text.words((f'`{name}`' for name in rule['proxies']), 'then')}"
    return {"direct": "directly", "pac": "as the PAC file says"}.get(
        rule["use"], "as everything else"
    )


# --- PAC, CAs, strict mode, defaults -------------------------------------------------------------


def show_pac(visit: Visit) -> Response:
    """The address of the PAC file."""
    return _pac(visit)


def save_pac(visit: Visit) -> Response:
    more = {"pac_url": visit.form.text("pac_url"), "pac_dns": visit.form.checked("pac_dns")}
    return _save(visit, more, "pac", lambda wrong, why: _pac(visit, wrong, why))


def _pac(visit: Visit, errors: Errors | None = None, why: str = "") -> Response:
    saved = operations.current(visit.state)
    shown, typed = saved.settings.as_view(), visit.request.method == "POST"
    context = PacPage(
        frame=_frame(visit, saved, "pac", why),
        url=visit.form.text("pac_url") if typed else shown["pac_url"],
        dns=visit.form.checked("pac_dns") if typed else shown["pac_dns"],
        errors=errors or {},
    )
    return _answer(visit, "proxy-pac.html", context, "pac", errors, why)


def show_authorities(visit: Visit) -> Response:
    """CAs that are trusted for some destinations alone."""
    return _authorities(visit)


def add_authority(visit: Visit) -> Response:
    form = visit.form
    held = operations.current(visit.state).settings.as_view()["destination_ca"]
    one = {"destinations": _words(form.raw("destinations")), "ca": form.raw("ca")}

    def again(wrong: Errors, why: str) -> Response:
        return _authorities(visit, _of_item(wrong, f"destination_ca[{len(held)}]."), why)

    return _save(visit, {"destination_ca": [*held, one]}, "authorities", again)


def remove_authority(visit: Visit) -> Response:
    place = int(visit.path("place"))
    held = operations.current(visit.state).settings.as_view()["destination_ca"]
    kept = [one for number, one in enumerate(held, 1) if number != place]
    return _save(
        visit, {"destination_ca": kept}, "authorities", lambda wrong, why: _authorities(visit)
    )


def _authorities(visit: Visit, errors: Errors | None = None, why: str = "") -> Response:
    saved = operations.current(visit.state)
    context = AuthoritiesPage(
        frame=_frame(visit, saved, "authorities", why),
        lines=tuple(
            AuthorityLine(
                number,
                tuple(entry.text for entry in one.destinations.entries),
                tuple(
                    Certificate(
                        common_name(each.subject),
                        each.sha256,
                        text.day(each.not_after),
                        expired=each.not_after < visit.now,
                    )
                    for each in one.trust.certificates
                ),
            )
            for number, one in enumerate(saved.settings.more.destination_ca, 1)
        ),
        destinations=visit.form.raw("destinations").strip() if errors else "",
        ca=visit.form.raw("ca").replace("\r\n", "\n") if errors else "",
        errors=errors or {},
    )
    return _answer(visit, "proxy-authorities.html", context, "authorities", errors, why)


def show_strict(visit: Visit) -> Response:
    """Whether hosts outside a list are refused. `?fill=contacted` proposes the list."""
    return _strict(visit)


def save_strict(visit: Visit) -> Response:
    more = {
        "strict": visit.form.checked("strict"),
        "allowed": _words(visit.form.raw("allowed")),
    }
    return _save(visit, more, "strict", lambda wrong, why: _strict(visit, wrong, why))


def _strict(visit: Visit, errors: Errors | None = None, why: str = "") -> Response:
    from garrison.egress import BypassList, Endpoint

    saved = operations.current(visit.state)
    typed = visit.request.method == "POST"
    more = saved.settings.more
    allowed = [entry.text for entry in more.allowed.entries]
    if typed:
        allowed = _words(visit.form.raw("allowed"))
    hosts = _contacted(visit)
    filled = visit.query.get("fill") == "contacted"
    listed, _ = BypassList.parse(allowed, direct=False)
    missing = tuple(
        f"{host}:{port}" for host, port in hosts if listed.find(Endpoint(host, port)) is None
    )
    if filled:
        allowed = [
            *allowed,
            *(_entry(*host) for host in hosts if f"{host[0]}:{host[1]}" in missing),
        ]
    context = StrictPage(
        frame=_frame(visit, saved, "strict", why),
        strict=visit.form.checked("strict") if typed else more.strict,
        allowed=visit.form.raw("allowed").strip() if typed else "\n".join(allowed),
        contacted=len(hosts),
        missing=missing,
        filled=filled and bool(missing),
        errors=errors or {},
    )
    return _answer(visit, "proxy-strict.html", context, "strict", errors, why)


def _contacted(visit: Visit) -> list[tuple[str, int]]:
    """Outside hosts, but for the Defenders' way to this Console, which is always open."""
    rows = [row for row in contacts.every(visit.state) if row.purpose != "fleet" and row.port]
    return [(entry.host, entry.port) for entry in allow_list.entries(rows)]


def _entry(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def show_defaults(visit: Visit) -> Response:
    """What is direct whatever is set."""
    return _defaults(visit)


def save_defaults(visit: Visit) -> Response:
    more = {"direct_in_cluster": visit.form.checked("in_cluster")}
    return _save(visit, more, "defaults", lambda wrong, why: _defaults(visit, why))


def _defaults(visit: Visit, why: str = "") -> Response:
    saved = operations.current(visit.state)
    shown = saved.settings.as_view()
    context = DefaultsPage(
        frame=_frame(visit, saved, "defaults", why),
        in_cluster=shown["direct_in_cluster"],
        builtin=tuple((one["entry"], text.sentence(one["note"])) for one in shown["builtin"]),
    )
    return _answer(visit, "proxy-defaults.html", context, "defaults", None, why)


# --- all of them ---------------------------------------------------------------------------------


def _save(
    visit: Visit, more: Mapping[str, Any], kind: Kind, again: Callable[[Errors, str], Response]
) -> Response:
    """Save and go back to the list; else `again` with errors by field, or a sentence."""
    from garrison.database.errors import StaleRevisionError
    from garrison.egress import InvalidSettings

    revision = visit.form.text("revision")
    try:
        done = operations.save_more(
            visit.state, more, int(revision) if revision.isdecimal() else None, visit.actor
        )
    except InvalidSettings as error:
        return again(errors_of(error.problems), "")
    except StaleRevisionError:
        saved = operations.current(visit.state)
        who = f"{saved.saved_by} saved revision {saved.revision} while this form was open."
        return again({}, f"{who} Look at what is in force now, then save again.")
    return go(f"{PROXY}/{kind}", say=f"Saved revision {done.revision}. The Console uses it now.")


def _of_item(errors: Errors, prefix: str) -> dict[str, tuple[str, ...]]:
    """Errors of one entry of a list, by its own fields; others under the empty name."""
    found: dict[str, tuple[str, ...]] = {}
    for key, messages in errors.items():
        name = key.removeprefix(prefix) if key.startswith(prefix) else ""
        found[name] = (*found.get(name, ()), *messages)
    return found


def _frame(visit: Visit, saved: SavedProxy, kind: Kind, why: str, last: str = "") -> Frame:
    here = f"{PROXY}/{kind}"
    steps: list[str | tuple[str, str]] = ["Manage", "System", ("Proxy", PROXY)]
    steps += [(TITLES[kind], here), last] if last else [TITLES[kind]]
    tabs = [Choice("", "Proxy", False, href=PROXY)]
    tabs += [
        Choice(one.href, one.name, one.href == here, href=one.href)
        for one in further(saved.settings.as_view())
    ]
    total = fleet.counts(visit.state).total
    labels = {"proxies": ("Proxy ", "Failover"), "rules": ("Rule ",), "pac": ("PAC ", "HTTP Proxy"),
              "strict": ("Allowed ",)}  # fmt: skip
    return Frame(
        crumbs=crumbs(*steps),
        title=last or TITLES[kind],
        tabs=tuple(tabs),
        revision=saved.revision,
        may_change=visit.may(*ADMINS),
        affected=max(0, total - bool(visit.state.local_defender())),
        head="Nothing was saved." if why else "",
        body=why,
        warnings=tuple(
            text.sentence(warning)
            for warning in saved.settings.warnings
            if warning.startswith(labels.get(kind, ()) or ("\0",))
        ),
    )


def _answer(
    visit: Visit, template: str, context: Any, kind: Kind, errors: Errors | None, why: str
) -> Response:
    status = 422 if errors else 409 if why else 200
    return visit.page(template, context, title=TITLES[kind], here="proxy", status=status)


def _words(given: str) -> list[str]:
    return [word for word in given.replace(",", " ").replace(";", " ").split() if word]
