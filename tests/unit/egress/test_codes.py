"""Codes come from numbers, names of alerts, statuses and first bytes: never from a text."""

from __future__ import annotations

import ast
import errno
import inspect
import socket
import ssl
from pathlib import Path

import pytest

from garrison import egress
from garrison.egress import EgressError, ProxySettings, choose_route
from garrison.egress.endpoint import Target
from garrison.egress.plan import Address, Call, Limit, Resolve, calls_for, open_call
from garrison.egress.trace import Trace

SOURCES = sorted(Path(egress.__file__).parent.rglob("*.py"))
TEXTS = {"args", "strerror", "message", "verify_message"}


def a_call(settings: ProxySettings) -> Call:
    target = Target.parse("https://a.test/")
    (call,) = calls_for(target, choose_route(target, settings, "intel"), settings)
    return call


def readings(source: str) -> list[str]:
    """Where a caught exception's text is compared, searched or matched."""
    found = []
    for handler in ast.walk(ast.parse(source)):
        if isinstance(handler, ast.ExceptHandler) and handler.name:
            for node in ast.walk(handler):
                if isinstance(node, ast.Compare | ast.If | ast.IfExp | ast.Match | ast.Call):
                    found += [f"line {node.lineno}" for part in _asked(node)
                              if _is_text(part, handler.name)]  # fmt: skip
    return found


def _asked(node: ast.AST) -> list[ast.AST]:
    """The parts of a node that decide something."""
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.If | ast.IfExp):
        return [node.test]
    if isinstance(node, ast.Match):
        return [node.subject]
    assert isinstance(node, ast.Call)
    name = ast.unparse(node.func)
    searching = name.startswith("re.") or name.rpartition(".")[2] in {
        "startswith", "endswith", "find", "index", "count", "partition", "split",
    }  # fmt: skip
    return [node.func, *node.args] if searching else []


def _is_text(node: ast.AST, name: str) -> bool:
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and ast.unparse(part) in {f"str({name})", f"repr({name})"}:
            return True
        if isinstance(part, ast.Attribute) and ast.unparse(part) in {
            f"{name}.{attribute}" for attribute in TEXTS
        }:
            return True
    return False


def test_no_text_of_an_exception_decides() -> None:
    assert {file.name: readings(file.read_text()) for file in SOURCES} == {
        file.name: [] for file in SOURCES
    }


@pytest.mark.parametrize(
    "body",
    [
        'if "refused" in str(error): pass',
        'x = 1 if error.strerror == "no" else 2',
        're.search("x", repr(error))',
        "match error.args[0]:\n        case 1: pass",
        'str(error).startswith("x")',
    ],
)
def test_the_check_finds_what_it_looks_for(body: str) -> None:
    assert readings(f"try:\n    pass\nexcept OSError as error:\n    {body}\n")


LIES = ["", "timed out", "Connection refused", "certificate verify failed: expired"]
FAILURES = [
    (TimeoutError, (), "egress.proxy_connect_timeout"),
    (ConnectionRefusedError, (errno.ECONNREFUSED,), "egress.proxy_connection_refused"),
    (OSError, (errno.EHOSTUNREACH,), "egress.proxy_unreachable"),
    (OSError, (errno.EMFILE,), "egress.connect_failed"),
]


@pytest.mark.parametrize(("kind", "numbers", "code"), FAILURES)
def test_a_lying_text_changes_nothing(
    kind: type[OSError], numbers: tuple[int, ...], code: str
) -> None:
    found = set()
    for lie in LIES:
        error = kind(*numbers, lie) if numbers else kind(lie)
        plan = open_call(
            a_call(ProxySettings.build(http_proxy="http://p.test:1")),
            Trace(lambda: 0.0),
        )
        operation = next(plan)
        assert isinstance(operation, Resolve)
        plan.send((Address(socket.AF_INET, ("127.0.0.1", 1)),))
        with pytest.raises(EgressError) as raised:
            plan.throw(error)
        found.add(raised.value.code)
    assert found == {code}


def test_certificate_codes_come_from_the_number() -> None:
    """The text of OpenSSL is shown and never read."""
    for number, code in ((10, "egress.tls_expired"), (9, "egress.tls_not_yet_valid"),
                         (62, "egress.tls_wrong_name"), (20, "egress.tls_unknown_ca"),
                         (24, "egress.tls_bad_certificate")):  # fmt: skip
        error = ssl.SSLCertVerificationError("hostname mismatch")
        error.verify_code, error.verify_message = number, "certificate has expired"
        plan = open_call(a_call(ProxySettings.build()), Trace(lambda: 0.0))
        next(plan)
        plan.send((Address(socket.AF_INET, ("127.0.0.1", 1)),))
        plan.send(Address(socket.AF_INET, ("127.0.0.1", 1)))
        with pytest.raises(EgressError) as raised:
            operation = plan.throw(error)
            while True:  # the second look sees nothing
                quiet = isinstance(operation, Limit)
                operation = plan.send(None) if quiet else plan.throw(ConnectionResetError())
        assert raised.value.code == code


def test_each_code_has_one_remedy() -> None:
    """A hint is one sentence with names in it; what to do is not decided inside of it."""
    tree = ast.parse(Path(inspect.getfile(EgressError)).read_text())
    deciding = {
        cls.name
        for cls in ast.walk(tree)
        if isinstance(cls, ast.ClassDef)
        for method in cls.body
        if isinstance(method, ast.FunctionDef) and method.name == "hint"
        for part in ast.walk(method)
        if isinstance(part, ast.If | ast.IfExp | ast.Match | ast.BoolOp)
    }
    # What is added there: how long to wait; that a private CA is possible; whom to ask.
    assert deciding == {"ProxyRateLimitError", "UnknownCaError", "TlsClosedError"}
