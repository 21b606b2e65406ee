"""`garrison egress`: the proxy settings, the routes that follow from them, and connection tests."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from garrison.cli.output import note, print_json
from garrison.cli.table import print_table
from garrison.cli.target import (
    ConsoleOption,
    DataOption,
    JsonOption,
    Local,
    RefusedValueError,
    Remote,
    actor,
    all_items,
    target,
)
from garrison.errors import InvalidSettingError
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.egress import ProxySettings, Purpose

_EXIT_NO = 1
_INPUT_LIMIT = 1 << 20
_SHOWN_ONLY = {
    "builtin",
    "ca_certificates",
    "password_set",
    "revision",
    "saved_at",
    "saved_by",
    "sources",
    "warnings",
}
_LABELS = {
    "http_proxy": "HTTP Proxy",
    "no_proxy": "No Proxy",
    "ca": "CA certificates",
    "user": "User",
    "password": "Password",
}
PurposeOption = Annotated[
    str,
    typer.Option("--purpose", help="intel, alerts, registry, secrets, fleet or sso."),
]
FromOption = Annotated[
    str,
    typer.Option("--from", metavar="NAME", help="`console`, or a Defender's name or id."),
]


def register(app: typer.Typer) -> None:
    """Add `egress` with its own commands."""
    egress = typer.Typer(help="How connections leave: proxy settings.", no_args_is_help=True)
    egress.command("show")(show)
    egress.command("set")(set_)
    egress.command("explain")(explain)
    egress.command("export")(export)
    egress.command("test")(check)
    egress.command("connections")(connections)
    egress.command("health")(health)
    app.add_typer(egress, name="egress")


def show(console: ConsoleOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """Show the settings in force, and where each value came from. Passwords never."""
    document = _shown(target(console, data))
    if json:
        print_json(document)
        return
    _print_settings(document)
    for warning in document["warnings"]:
        note(f"warning: {warning}")


def set_(
    http_proxy: Annotated[
        str | None, typer.Option(metavar="URL", help="PROTOCOL://HOST:PORT; '' for none.")
    ] = None,
    no_proxy: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Names, addresses, ranges, with commas; '' for none."),
    ] = None,
    ca_file: Annotated[
        str | None,
        typer.Option(metavar="PEM", help="File of CA certificates; replaces all; '' for none."),
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="U", help="User at the proxy; '' for none.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    auth: Annotated[
        str | None,
        typer.Option(metavar="SCHEME", help="auto, basic, digest, ntlm, negotiate or none."),
    ] = None,
    failover: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Names of proxies tried after HTTP Proxy; '' for none."),
    ] = None,
    pac_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Address of a PAC file; '' for none.")
    ] = None,
    strict: Annotated[
        bool | None,
        typer.Option("--strict/--no-strict", help="Refuse destinations that are not allowed."),
    ] = None,
    allowed: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="What strict mode allows, as entries of No Proxy."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="File with any of the fields of `show --json`: proxies, rules, and so on.",
        ),
    ] = None,
    console: ConsoleOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Change settings: only those that are given. A running Console uses them at once."""
    changes = _read_file(file) if file else {}
    changes |= _changes(http_proxy, no_proxy, ca_file, user, password_stdin)
    options = {"auth": auth, "pac_url": pac_url, "strict": strict}
    lists = {"failover": failover, "allowed": allowed}
    changes |= {name: value for name, value in options.items() if value is not None}
    changes |= {name: _words(value) for name, value in lists.items() if value is not None}
    if not changes:
        raise InvalidSettingError(
            "egress", "nothing to change was given", "See garrison egress set --help."
        )
    chosen = target(console, data)
    document = (
        _set_remote(chosen, changes) if isinstance(chosen, Remote) else _set_local(chosen, changes)
    )
    if json:
        print_json(document)
    else:
        _print_settings(document)
    for warning in document["warnings"]:
        note(f"warning: {warning}")


def explain(
    url: Annotated[str, typer.Argument(metavar="URL")],
    purpose: PurposeOption = "registry",
    from_: FromOption = "console",
    group: Annotated[
        str | None,
        typer.Option(metavar="GROUP", help="As a Defender of this group would go."),
    ] = None,
    console: ConsoleOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Say which route URL would take, and why. Opens nothing."""
    checked = _purpose(purpose)
    chosen = target(console, data)
    if isinstance(chosen, Remote):
        body = {"url": url, "purpose": checked, "from": from_, "group": group}
        document = chosen.call("POST", "/egress/explain", body)
    else:
        from garrison.egress import explain as decide

        _only_console(from_)
        settings = _in_force(chosen)
        if group is not None:
            settings = settings.for_group(group)
        document = _decided(lambda: decide(url, settings, checked).as_dict())
    if json:
        print_json(document)
        return
    print(f"{document['url']}: {_way(document)}")
    print(f"because: {document['because']}")
    for other in document.get("candidates", [])[1:]:
        print(f"then:    {_way(other)}")
    if document.get("note"):
        print(f"note:    {document['note']}")


def export(
    group: Annotated[
        str, typer.Option(metavar="GROUP", help="Of Defenders: its rules alone, and their proxies.")
    ] = "",
    output: Annotated[
        str, typer.Option(metavar="FILE", help="Where to write it, with mode 0600; - prints it.")
    ] = "-",
    data: DataOption = None,
) -> None:
    """Write the settings as a Defender reads them (GARRISON_EGRESS_FILE), with passwords.

    Only on the Console's own machine.
    """
    import json

    from garrison.egress.settings import settings_document

    chosen = target(None, data)
    if isinstance(chosen, Remote):
        raise InvalidSettingError(
            "console",
            "passwords are never read over the API",
            "Run this on the Console's machine with --data.",
        )
    document = settings_document(_in_force(chosen).for_group(group))
    text = json.dumps(document, indent=2) + "\n"
    if output == "-":
        sys.stdout.write(text)
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)
            file.write(text)
    except OSError as error:
        raise InvalidSettingError("output", f"cannot write {output}: {error.strerror}") from error


def check(
    url: Annotated[str, typer.Argument(metavar="URL")],
    purpose: PurposeOption = "registry",
    from_: FromOption = "console",
    trust_ca: Annotated[
        str | None,
        typer.Option(
            "--trust-ca",
            metavar="FINGERPRINT",
            help="Trust the CA that the connection meets, if this is its SHA-256 fingerprint.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=60, help="For the whole test.")
    ] = 15.0,
    console: ConsoleOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Connect to URL and print each hop. Exit 1 when the connection fails."""
    checked = _purpose(purpose)
    chosen = target(console, data)
    if isinstance(chosen, Remote):
        body = {"url": url, "purpose": checked, "from": from_, "timeout": timeout}
        if trust_ca is None:
            document = chosen.call("POST", "/egress/test", body)
        else:
            trusted = chosen.call("POST", "/egress/trust", {**body, "fingerprint": trust_ca})
            document = _trusted(trusted["certificate"], trusted["revision"], trusted["test"])
    else:
        _only_console(from_)
        document = _tested(chosen, url, checked, timeout)
        if trust_ca is not None:
            document = _trust(chosen, url, checked, timeout, document, trust_ca)
    if json:
        print_json(document)
    else:
        _print_test(document)
    if not document["ok"]:
        raise typer.Exit(_EXIT_NO)


def _tested(chosen: Local, url: str, purpose: Purpose, timeout: float) -> dict[str, Any]:
    from garrison.egress import check_connection

    settings = _in_force(chosen)
    return _decided(
        lambda: check_connection(url, settings, purpose=purpose, timeout=timeout).as_dict()
    )


def _trust(
    chosen: Local,
    url: str,
    purpose: Purpose,
    timeout: float,
    found: dict[str, Any],
    fingerprint: str,
) -> dict[str, Any]:
    from garrison.console import trust

    certificate = trust.checked_offer(found, fingerprint)
    with chosen.state(create=True) as state:
        revision = trust.add(state, certificate, url, "console", actor())
    return _trusted(certificate, revision, _tested(chosen, url, purpose, timeout))


def _trusted(certificate: Any, revision: int, document: dict[str, Any]) -> dict[str, Any]:
    note(f"trusted: {certificate['subject']} (settings revision {revision})")
    return document


def connections(
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="New since then: 7d, 12h, or 2026-11-24.")
    ] = "",
    purpose: Annotated[str, typer.Option(help="Only this purpose.")] = "",
    search: Annotated[str, typer.Option(help="Part of the host's name.")] = "",
    failing: Annotated[
        bool, typer.Option("--failing", help="Only where the last connection failed.")
    ] = False,
    format: Annotated[
        str, typer.Option(help="table; or the allow-list as csv, hosts, squid or json.")
    ] = "table",
    via: Annotated[str, typer.Option(help="any, proxy or direct; for the allow-list.")] = "any",
    limit: Annotated[int, typer.Option(help="Rows of the table at most.", min=1)] = 1000,
    console: ConsoleOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List the outside hosts that were contacted, or what a firewall has to allow."""
    if format not in ("table", "csv", "hosts", "squid", "json"):
        raise InvalidSettingError(
            "format", f"there is no format {format}", "Use table, csv, hosts, squid or json."
        )
    if via not in ("any", "proxy", "direct"):
        raise InvalidSettingError("via", f"there is no way {via}", "Use any, proxy or direct.")
    asked = {"search": search, "purpose": purpose, "since": _moment(since), "failing": failing}
    chosen = target(console, data)
    if format == "table":
        rows = _connections(chosen, asked, limit)
        if json:
            print_json({"items": rows})
        else:
            _print_connections(rows)
        return
    listed = _allow_list(chosen, asked, via)
    if json or format == "json":
        print_json({"items": listed})
        return
    from garrison.console.allow_list import render

    sys.stdout.write(render(listed, format))  # type: ignore[arg-type]


def health(
    console: ConsoleOption = None, data: DataOption = None, json: JsonOption = False
) -> None:
    """Say how every purpose, proxy and route does. Exit 1 when one fails."""
    chosen = target(console, data)
    if isinstance(chosen, Remote):
        document = chosen.call("GET", "/egress/health")
    else:
        from datetime import UTC, datetime

        from garrison.console import contacts
        from garrison.console.api.connections import health_view

        with chosen.state() as state:
            found = contacts.health(state, datetime.now(UTC))
            document = health_view(state, found).model_dump(mode="json")
    if json:
        print_json(document)
    else:
        _print_health(document)
    if any(each["state"] in {"fails", "partly"} for each in document["routes"]):
        raise typer.Exit(_EXIT_NO)


# --- where the settings are -------------------------------------------------------------------


def _in_force(chosen: Local) -> ProxySettings:
    """Saved settings, else the environment's."""
    from garrison.egress import settings_from_environment

    if not chosen.exists:
        return settings_from_environment(chosen.environ)
    from garrison.console.assemble import open_database
    from garrison.console.proxy import load
    from garrison.console.settings import ConsoleSettings

    settings = ConsoleSettings.from_environment(chosen.environ, data=chosen.data)
    database = open_database(settings)
    try:
        return load(database, settings.environment_proxy).settings
    finally:
        database.close()


def _shown(chosen: Remote | Local) -> dict[str, Any]:
    if isinstance(chosen, Remote):
        document: dict[str, Any] = chosen.call("GET", "/settings/proxy")
        return document
    if chosen.exists:
        from garrison.console import proxy

        with chosen.state(foreign=True) as state:
            return _document(proxy.current(state))
    settings = _in_force(chosen)
    view = settings.as_view()
    return {**view, "saved_at": None, "saved_by": "", "warnings": list(settings.warnings)}


def _document(saved: Any) -> dict[str, Any]:
    return {
        **saved.settings.as_view(),
        "revision": saved.revision,
        "saved_at": saved.saved_at.isoformat() if saved.saved_at else None,
        "saved_by": saved.saved_by,
        "warnings": list(saved.settings.warnings),
    }


def _connections(chosen: Remote | Local, asked: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    if isinstance(chosen, Remote):
        return chosen.items("/egress/connections", limit, **asked)
    from garrison.console import contacts
    from garrison.console.api.connections import contact_view

    wanted = _wanted(asked)
    with chosen.state() as state:
        rows = all_items(lambda n, cursor: contacts.page(state, n, cursor, wanted), limit)
    return [contact_view(row).model_dump(mode="json") for row in rows]


def _allow_list(chosen: Remote | Local, asked: dict[str, Any], via: str) -> list[dict[str, Any]]:
    if isinstance(chosen, Remote):
        found = chosen.call("GET", "/egress/allow-list", None, via=via, **asked)
        return list(found["items"])
    from garrison.console.api.connections import allow_list_items

    with chosen.state() as state:
        return allow_list_items(state, _wanted(asked), via)  # type: ignore[arg-type]


def _wanted(asked: dict[str, Any]) -> Any:
    from datetime import datetime

    from garrison.console.api.connections import wanted_of

    since = datetime.fromisoformat(asked["since"]) if asked["since"] else None
    return wanted_of(asked["search"], asked["purpose"], since, asked["failing"])


def _moment(text: str) -> str:
    """`7d`, `12h` or a date, as RFC 3339."""
    from datetime import UTC, datetime, timedelta

    if not text:
        return ""
    units = {"h": "hours", "d": "days", "w": "weeks"}
    try:
        if text[-1] in units and text[:-1].isdecimal():
            ago = timedelta(**{units[text[-1]]: int(text[:-1])})
            return (datetime.now(UTC) - ago).isoformat()
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InvalidSettingError(
            "since", f"{text!r} is no moment", "Write 12h, 7d, 2w or 2026-11-24."
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


def _changes(
    http_proxy: str | None,
    no_proxy: str | None,
    ca_file: str | None,
    user: str | None,
    password_stdin: bool,
) -> dict[str, Any]:
    given: dict[str, Any] = {"http_proxy": http_proxy, "no_proxy": no_proxy, "user": user}
    if ca_file is not None:
        given["ca"] = _read_ca(ca_file)
    if password_stdin:
        given["password"] = Secret(_read_password())
    return {name: value for name, value in given.items() if value is not None}


def _read_file(path: str) -> dict[str, Any]:
    """The fields of a JSON file; what `show` says besides them is no setting."""
    import json

    from garrison.egress import MORE_FIELDS

    try:
        with open(path, encoding="utf-8") as file:
            document = json.loads(file.read(_INPUT_LIMIT * 8))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON"
        raise InvalidSettingError("file", f"cannot read {path}: {reason}") from error
    if not isinstance(document, dict):
        raise InvalidSettingError("file", f"{path} is not a JSON object")
    known = {*_LABELS, *MORE_FIELDS}
    if unknown := sorted(set(document) - known - _SHOWN_ONLY):
        raise InvalidSettingError(
            "file",
            f"{path}: there is no setting {unknown[0]}",
            f"Known: {', '.join(sorted(known))}.",
        )
    found = {name: value for name, value in document.items() if name in known}
    for name in ("http_proxy", "ca", "user"):
        if not isinstance(found.get(name, ""), str):
            raise InvalidSettingError(name, f"{path}: {name} is not a text")
    if isinstance(found.get("password"), str):
        found["password"] = Secret(found["password"])
    return found


def _read_ca(path: str) -> str:
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_INPUT_LIMIT * 4 + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise InvalidSettingError("ca", f"cannot read {path}: {reason}") from error
    if not text.strip():
        raise InvalidSettingError("ca", f"{path} is empty", "To have none, give --ca-file ''.")
    return text


def _read_password() -> str:
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass("Password: ", stream=sys.stderr)
    text = sys.stdin.read(_INPUT_LIMIT).rstrip("\r\n")
    if not text:
        raise InvalidSettingError(
            "password",
            "standard input holds no password",
            "To have none, clear the user too: --user ''.",
        )
    return text


def _set_local(chosen: Local, changes: dict[str, Any]) -> dict[str, Any]:
    from garrison.console import proxy
    from garrison.egress import MORE_FIELDS

    with chosen.state(create=True) as state:
        before = proxy.current(state)
        values = {**before.settings.as_view(), **changes}
        form = proxy.ProxyForm(
            http_proxy=values["http_proxy"],
            no_proxy=values["no_proxy"],
            ca=values["ca"],
            user=values["user"],
            password=changes.get("password", proxy.KEEP),
            revision=before.revision,
            more={name: changes[name] for name in MORE_FIELDS if name in changes},
        )
        return _document(proxy.save(state, form, actor()))


def _set_remote(chosen: Remote, changes: dict[str, Any]) -> dict[str, Any]:
    before = chosen.call("GET", "/settings/proxy")
    body = {
        name: before[name] for name in ("http_proxy", "no_proxy", "ca", "user", "revision")
    } | changes
    if isinstance(body["no_proxy"], str):
        body["no_proxy"] = _words(body["no_proxy"])
    if isinstance(body.get("password"), Secret):
        body["password"] = body["password"].reveal()
    document: dict[str, Any] = chosen.call("PUT", "/settings/proxy", body)
    return document


def _words(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]


def _purpose(text: str) -> Purpose:
    from garrison.egress import PURPOSES

    for purpose in PURPOSES:
        if purpose == text:
            return purpose
    raise InvalidSettingError(
        "purpose", f"there is no purpose {text}", f"Use one of: {', '.join(PURPOSES)}."
    )


def _only_console(from_: str) -> None:
    if from_ != "console":
        raise InvalidSettingError(
            "from",
            "a Defender is asked by the running Console",
            "Name the Console with --console URL and set GARRISON_TOKEN.",
        )


def _decided(what: Any) -> dict[str, Any]:
    """The answer of `what`; an address that cannot be used is wrong usage."""
    from garrison.egress import BadUrlError

    try:
        document: dict[str, Any] = what()
    except BadUrlError as error:
        raise RefusedValueError("url", error.message, error.hint, error.code) from error
    return document


# --- what is shown ------------------------------------------------------------------------------


def _print_settings(document: dict[str, Any]) -> None:
    sources = document["sources"]
    values = {
        "http_proxy": document["http_proxy"],
        "no_proxy": ", ".join(document["no_proxy"]),
        "ca": _certificates(document["ca_certificates"]),
        "user": document["user"],
        "password": "set" if document["password_set"] else "",
    }
    for name, value in values.items():
        source = sources.get(name, "")
        shown = value or "none"
        print(f"{_LABELS[name]:15}  {shown}" + (f"  ({source})" if source else ""))
    for label, value in _more_lines(document):
        print(f"{label:15}  {value}")
    if document["revision"]:
        print(f"Revision {document['revision']}, saved by {document['saved_by']}.")
    else:
        print("Not saved in a Console: these are the environment's.")


def _print_connections(rows: list[dict[str, Any]]) -> None:
    print_table(
        ["Destination", "From", "Why", "Route", "Last", "Opened", "Failed", "First", "Last seen"],
        [
            [
                f"{row['host']}:{row['port']}",
                row["source_name"],
                row["purpose"],
                row["route"],
                "ok" if row["last_ok"] else row["last_code"],
                str(row["succeeded"]),
                str(row["failed"]),
                str(row["first_at"])[:16],
                str(row["last_at"])[:16],
            ]
            for row in rows
        ],
        "No such host was contacted.",
    )


def _print_health(document: dict[str, Any]) -> None:
    print_table(
        ["Purpose", "State", "Routes", "Failing", "Last worked", "Last failed", "Code"],
        [
            [
                each["purpose"],
                each["state"],
                str(each["routes"]),
                str(each["failing"]),
                str(each["last_ok_at"] or "")[:16],
                str(each["last_failed_at"] or "")[:16],
                each["last_failure"]["code"] if each["last_failure"] else "",
            ]
            for each in document["purposes"]
        ],
        "",
    )
    wrong = [each for each in document["routes"] if each["state"] in {"fails", "partly", "slow"}]
    if not wrong:
        return
    print()
    print_table(
        ["From", "To", "Why", "Route", "State", "Stops at", "Code"],
        [
            [
                each["source"],
                f"{each['host']}:{each['port']}",
                each["purpose"],
                each["route"],
                f"{each['state']} ({each['failing']} of {each['sources']})"
                if each["state"] == "partly"
                else each["state"],
                each["stopped"],
                each["code"],
            ]
            for each in wrong
        ],
        "",
    )


def _more_lines(document: dict[str, Any]) -> list[tuple[str, str]]:
    """What goes beyond the five, where it is set."""
    lines = []
    if document["auth"] != "auto":
        lines.append(("Authentication", document["auth"]))
    lines += [
        (
            "Proxy",
            f"{one['name']}: {one['address']}" + (f", user {one['user']}" if one["user"] else ""),
        )
        for one in document["proxies"]
    ]
    if document["failover"]:
        lines.append(("Failover", ", ".join(document["failover"])))
    if document["pac_url"]:
        lines.append(("PAC file", document["pac_url"]))
    for rule in document["rules"]:
        matched = [
            *rule["purposes"],
            *rule["destinations"],
            *(f"group {g}" for g in rule["groups"]),
        ]
        use = ", ".join(rule["proxies"]) or rule["use"]
        lines.append(("Rule", f"{rule['name']}: {', '.join(matched) or 'everything'} → {use}"))
    lines += [("CA", f"for {', '.join(one['destinations'])}") for one in document["destination_ca"]]
    if document["strict"]:
        lines.append(("Strict mode", f"allowed: {', '.join(document['allowed'])}"))
    if not document["direct_in_cluster"]:
        lines.append(("In-cluster", "names of the cluster are not direct by themselves"))
    return lines


def _way(route: dict[str, Any]) -> str:
    return f"via {route['proxy']}" if route["proxy"] else str(route["route"])


def _certificates(certificates: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{each['subject']} (SHA-256 {str(each['sha256'])[:16]}…)" for each in certificates
    )


def _print_test(document: dict[str, Any]) -> None:
    route = document["route"]
    print(f"{document['url']} from {document['from']}: {_way(route)} ({route['because']})")
    ways = {step.get("via", "") for step in document["trace"]}
    before = None
    for step in document["trace"]:
        way = step.get("via", "")
        if len(ways) > 1 and way != before:
            print(f"  {'directly' if way == 'direct' else f'by {way}'}:")
        before = way
        mark = "ok  " if step["ok"] else "FAIL"
        detail = f"  {step['detail']}" if step["detail"] else ""
        print(f"  {mark} {step['hop']:10} {step['target']}  {step['ms']:.1f} ms{detail}")
        _print_step_facts(step)
    if document["intercepted_by"]:
        found = document.get("interception")
        sure = f" ({found['certainty']}: {found['evidence']})" if found else ""
        print(f"TLS is opened on the way by: {document['intercepted_by']}{sure}")
    for told in document.get("notes") or ():
        print(f"Note: {told['message']}. {told['hint']}")
    error = document["error"]
    if error is None:
        print("The connection works.")
        return
    note(f"error: {error['message']}")
    if error["hint"]:
        note(f"hint:  {error['hint']}")
    note(f"code:  {error['code']}")
    note(f"who:   {error['who']}")
    if offer := document.get("trust"):
        note(f"CA:    {offer['subject']}, until {offer['not_after'][:10]}")
        note(f"       SHA-256 {offer['fingerprint']}")
        note("       To trust it, once compared: the same command with --trust-ca FINGERPRINT")


def _print_step_facts(step: dict[str, Any]) -> None:
    """What was negotiated beside the detail, and the certificates."""
    given = step.get("negotiated") or {}
    more = [f"{name} {given[name]}" for name in ("alpn", "auth", "http") if given.get(name)]
    if more:
        print(f"       {', '.join(more)}")
    certificates = step.get("certificates")
    if not certificates:
        return
    print(f"       {'verified' if certificates['verified'] else 'presented'} certificates:")
    for one in certificates["chain"]:
        since, until = str(one["not_before"])[:10], str(one["not_after"])[:10]
        print(f"         {one['subject']} (by {one['issuer']}), {since} to {until}")
        print(f"           SHA-256 {one['sha256']}")
