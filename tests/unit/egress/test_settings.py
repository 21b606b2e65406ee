"""Settings: every bad field at once, a PEM's line, sources, and no password anywhere."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from garrison.egress import (
    MORE_FIELDS,
    BadCertificateError,
    Credentials,
    InvalidSettings,
    ProxySettings,
    TrustBundle,
    settings_from_environment,
)
from garrison.egress.trust import MAX_PEM
from garrison.secret import Secret
from lab.authority import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "Some CA")


def test_build_and_view(authority: Authority) -> None:
    settings = ProxySettings.build(
        http_proxy=" http://proxy.corp.test:8080 ",
        no_proxy="a.test, 10.0.0.0/8",
        ca=f"Bag Attributes\n{authority.pem}\n{authority.pem}",
        user="agent",
        password=Secret("p@ss:w/rd%"),
        revision=7,
        sources={"http_proxy": "saved"},
    )
    view = settings.as_view()
    certificates = view.pop("ca_certificates")
    assert TrustBundle.parse(view.pop("ca")) == settings.trust
    assert {"entry": "127.0.0.0/8", "note": "this machine"} in view.pop("builtin")
    assert {name: view.pop(name) for name in MORE_FIELDS} == {
        "auth": "auto",
        "failover": [],
        "proxies": [],
        "pac_url": "",
        "pac_dns": False,
        "rules": [],
        "destination_ca": [],
        "strict": False,
        "allowed": [],
        "direct_in_cluster": True,
    }
    assert view == {
        "http_proxy": "http://proxy.corp.test:8080",
        "no_proxy": ["a.test", "10.0.0.0/8"],
        "user": "agent",
        "password_set": True,
        "revision": 7,
        "sources": {"http_proxy": "saved"},
    }
    assert [one["subject"] for one in certificates] == ["ACME Corp, Some CA"]
    assert len(certificates[0]["sha256"]) == 64
    assert settings.warnings == ()
    assert "p@ss" not in repr(settings)


def test_every_bad_field_is_reported() -> None:
    with pytest.raises(InvalidSettings) as error:
        ProxySettings.build(
            http_proxy="proxy:8080",
            no_proxy=["10.*", "ok.test", "http://x"],
            ca="-----BEGIN CERTIFICATE-----\nno\n",
            user="a:b",
            password=Secret("x\n"),
        )
    fields = [problem.field for problem in error.value.problems]
    assert fields == ["http_proxy", "no_proxy", "no_proxy", "ca", "user", "password"]
    assert all(problem.hint for problem in error.value.problems)
    assert error.value.code == "settings.invalid"


def test_nothing_set_is_direct() -> None:
    settings = ProxySettings.build()
    assert settings.proxy is None
    assert settings.credentials is None
    assert settings.as_view()["http_proxy"] == ""


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({"http_proxy": "http://p:1", "no_proxy": "*"}, "every connection direct"),
        ({"http_proxy": "http://p:1", "no_proxy": "127.0.0.1"}, "always direct"),
        ({"password": Secret("x"), "http_proxy": "http://p:1"}, "not used without a user"),
        ({"user": "x"}, "not used without a proxy"),
    ],
)
def test_warnings(values: dict[str, object], warning: str) -> None:
    (found,) = ProxySettings.build(**values).warnings  # type: ignore[arg-type]
    assert warning in found


@pytest.mark.parametrize(
    ("user", "password", "header"),
    [
        # RFC 7617 section 2.1 has the second one.
        ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ("test", "123£", "Basic dGVzdDoxMjPCow=="),
        ("agent", "p@ss:w%20rd/#ü", "Basic YWdlbnQ6cEBzczp3JTIwcmQvI8O8"),
        ("agent", "", "Basic YWdlbnQ6"),
    ],
)
def test_basic(user: str, password: str, header: str) -> None:
    assert Credentials(user, Secret(password)).basic() == header


def test_credentials_print_no_password() -> None:
    credentials = Credentials("agent", Secret("canary"))
    assert "canary" not in f"{credentials!r} {credentials}"
    with pytest.raises(TypeError):
        pickle.dumps(credentials)


def test_scrub() -> None:
    credentials = Credentials("agent", Secret("p@ss word"))
    token = credentials.basic().partition(" ")[2]
    text = f"{token} / p@ss word / p%40ss%20word / agent:p@ss word"
    assert credentials.scrub(text) == "*** / *** / *** / ***"
    assert Credentials("a", Secret("")).scrub("a text") == "a text"


# --- PEM ------------------------------------------------------------------------------------


def lines(*parts: str) -> str:
    return "\n".join(parts) + "\n"


BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@pytest.mark.parametrize(
    ("pem", "line", "says"),
    [
        ("hello", 1, "no certificate"),
        (lines("# ours", BEGIN, "AAAA"), 2, "has no"),
        (lines(BEGIN, "AAAA", END), 1, "no X.509 certificate"),
        (lines(BEGIN, "AAA", END), 1, "not complete Base64"),
        (lines("", BEGIN, "AAAA", "AA?A", END), 4, "not Base64"),
        (lines("-----BEGIN PRIVATE KEY-----", "AAAA", "-----END PRIVATE KEY-----"), 1,
         "a private key, not a certificate"),
    ],
)  # fmt: skip
def test_bad_pem_is_named_by_line(pem: str, line: int, says: str) -> None:
    with pytest.raises(BadCertificateError) as error:
        TrustBundle.parse(pem)
    assert error.value.line == line
    assert says in str(error.value)


def test_second_block_is_named_by_its_line(authority: Authority) -> None:
    good = authority.pem.count("\n")
    with pytest.raises(BadCertificateError) as error:
        TrustBundle.parse(authority.pem + lines(BEGIN, "AAAA", END))
    assert error.value.line == good + 1


def test_endless_pem_is_refused() -> None:
    with pytest.raises(BadCertificateError):
        TrustBundle.parse("x" * (MAX_PEM + 1))


def test_windows_line_ends(authority: Authority) -> None:
    assert TrustBundle.parse(authority.pem.replace("\n", "\r\n")) == TrustBundle.parse(
        authority.pem
    )


# --- the environment ------------------------------------------------------------------------


def test_own_variables_win() -> None:
    settings = settings_from_environment(
        {
            "GARRISON_HTTP_PROXY": "http://own:1",
            "HTTPS_PROXY": "http://user:pw@other:2",
            "NO_PROXY": "a.test",
        }
    )
    assert str(settings.proxy) == "http://own:1"
    assert settings.credentials is None
    assert dict(settings.sources) == {
        "http_proxy": "GARRISON_HTTP_PROXY",
        "no_proxy": "NO_PROXY",
    }


def test_credentials_in_a_foreign_address_are_decoded_once() -> None:
    settings = settings_from_environment({"https_proxy": "http://us%40er:p%2540ss%3A@proxy:3128"})
    assert str(settings.proxy) == "http://proxy:3128"
    assert settings.credentials == Credentials("us@er", Secret("p%40ss:"))
    assert settings.sources["password"] == "https_proxy"


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("proxy:3128", "http://proxy:3128"),
        ("http://proxy", "http://proxy:80"),
        ("https://proxy", "https://proxy:443"),
        ("u:p@proxy:3128", "http://proxy:3128"),
    ],
)
def test_foreign_address_may_be_short(text: str, proxy: str) -> None:
    assert str(settings_from_environment({"HTTP_PROXY": text}).proxy) == proxy


def test_empty_own_value_means_none() -> None:
    settings = settings_from_environment({"GARRISON_HTTP_PROXY": "", "HTTPS_PROXY": "http://x:1"})
    assert settings.proxy is None
    assert settings_from_environment({"HTTPS_PROXY": "", "HTTP_PROXY": "http://x:1"}).proxy


def test_files(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "password").write_text("p@ss \n")
    settings = settings_from_environment(
        {
            "HTTPS_PROXY": "http://a:b@proxy:1",
            "GARRISON_PROXY_USER": "agent",
            "GARRISON_PROXY_PASSWORD_FILE": str(tmp_path / "password"),
            "GARRISON_CA_FILE": str(authority.certificate),
            "SSL_CERT_FILE": "/nonexistent",
        }
    )
    assert settings.credentials == Credentials("agent", Secret("p@ss "))
    assert len(settings.trust.ders) == 1
    assert settings.sources["ca"] == "GARRISON_CA_FILE"


def test_own_user_does_not_get_a_foreign_password() -> None:
    settings = settings_from_environment(
        {"HTTPS_PROXY": "http://a:b@proxy:1", "GARRISON_PROXY_USER": "agent"}
    )
    assert settings.credentials == Credentials("agent", Secret(""))


@pytest.mark.parametrize(
    ("environ", "field", "name"),
    [
        ({"GARRISON_HTTP_PROXY": "proxy"}, "http_proxy", "GARRISON_HTTP_PROXY"),
        ({"GARRISON_HTTP_PROXY": "http://u:canary@p:1"}, "http_proxy", "GARRISON_HTTP_PROXY"),
        ({"HTTPS_PROXY": "socks4://u:canary@p:1"}, "http_proxy", "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "ftp://u:canary@p:1"}, "http_proxy", "HTTPS_PROXY"),
        ({"NO_PROXY": "10.*"}, "no_proxy", "NO_PROXY"),
        ({"GARRISON_CA_FILE": "/nonexistent/ca.pem"}, "ca", "GARRISON_CA_FILE"),
        ({"GARRISON_PROXY_PASSWORD_FILE": "/nonexistent/x"}, "password", "PASSWORD_FILE"),
    ],
)
def test_unreadable_values_are_errors(environ: dict[str, str], field: str, name: str) -> None:
    """Never a silent direct connection."""
    with pytest.raises(InvalidSettings) as error:
        settings_from_environment(environ)
    (problem,) = error.value.problems
    assert problem.field == field
    assert name in str(problem)
    assert "canary" not in str(problem)


def test_system_store_in_ssl_cert_file_is_not_the_operators(authority: Authority) -> None:
    """Many images set SSL_CERT_FILE to the system's own bundle: that is no interception."""
    from garrison.egress.trust import system_certificates

    environ = {"SSL_CERT_FILE": str(authority.certificate)}
    assert len(settings_from_environment(environ).trust.ders) == 1
    store = Path("/etc/ssl/certs/ca-certificates.crt")
    if not store.is_file():
        pytest.skip("no system store in one file")
    assert len(system_certificates()) > 10
    assert not settings_from_environment({"SSL_CERT_FILE": str(store)}).trust
