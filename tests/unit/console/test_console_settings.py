"""Settings of a Console process: what is taken, and what is an error at startup."""

from __future__ import annotations

from pathlib import Path

import pytest

from garrison.advisories.feeds import DEFAULT_ECOSYSTEMS
from garrison.console.settings import (
    ConsoleSettings,
    ListenAddress,
    with_file,
)
from garrison.errors import InvalidSettingError


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8083", "127.0.0.1", 8083, True),
        ("localhost:1", "localhost", 1, True),
        ("127.8.9.1:1", "127.8.9.1", 1, True),
        ("[::1]:8083", "::1", 8083, True),
        ("0.0.0.0:8083", "0.0.0.0", 8083, False),
        (":8083", "0.0.0.0", 8083, False),
        ("[::]:0", "::", 0, False),
        ("console.corp.test:443", "console.corp.test", 443, False),
        ("10.1.2.3:443", "10.1.2.3", 443, False),
    ],
)
def test_listen_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    """Loopback decides whether HTTP may be plain."""
    address = ListenAddress.parse(text, setting="GARRISON_LISTEN")

    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert ListenAddress.parse(str(address), setting="x") == address


@pytest.mark.parametrize("text", ["", "8083", "::1:8083", "h:", "h:x", "h:70000", "h:-1", "h:１"])
def test_bad_listen_addresses_name_their_setting(text: str) -> None:
    with pytest.raises(InvalidSettingError) as error:
        ListenAddress.parse(text, setting="GARRISON_LISTEN")

    assert error.value.field == "GARRISON_LISTEN"
    assert error.value.hint


def test_defaults(tmp_path: Path) -> None:
    settings = ConsoleSettings.from_environment({"XDG_DATA_HOME": str(tmp_path)})

    assert settings.data == tmp_path / "garrison"
    assert settings.console_url == "http://127.0.0.1:8083"
    assert settings.defender_url == "ws://127.0.0.1:8084"
    assert settings.intel_ecosystems == DEFAULT_ECOSYSTEMS
    assert settings.admin_password is None
    assert not settings.secure


def test_everything_set(tmp_path: Path) -> None:
    password, url = tmp_path / "password", tmp_path / "url"
    password.write_text("correct horse battery\n")
    url.write_text("postgresql://u:p@db.test/garrison\n")

    settings = ConsoleSettings.from_environment(
        {
            "GARRISON_DATA": "/from/environment",
            "GARRISON_LISTEN": "0.0.0.0:443",
            "GARRISON_PUBLIC_URL": "https://garrison.corp.test/",
            "GARRISON_GATEWAY_URL": "wss://defenders.corp.test:8084",
            "GARRISON_ADMIN_PASSWORD_FILE": str(password),
            "GARRISON_DATABASE_URL_FILE": str(url),
            "GARRISON_INTEL_URL": "https://feed.test/osv/",
            "GARRISON_INTEL_ECOSYSTEMS": "PyPI, Red Hat,, Debian,PyPI",
            "GARRISON_HTTP_PROXY": "http://proxy.test:3128",
        },
        listen="0.0.0.0:444",
    )

    assert settings.data == Path("/from/environment")
    assert settings.listen.port == 444
    assert settings.console_url == "https://garrison.corp.test"
    assert settings.secure
    assert settings.admin_password is not None
    assert settings.admin_password.reveal() == "correct horse battery"
    assert settings.database_url is not None
    assert settings.database_url.reveal() == "postgresql://u:p@db.test/garrison"
    assert settings.intel_url == "https://feed.test/osv"
    assert settings.intel_ecosystems == ("PyPI", "Red Hat", "Debian")
    assert str(settings.environment_proxy.proxy) == "http://proxy.test:3128"
    assert "correct horse" not in repr(settings)
    assert "u:p@" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GARRISON_PUBLIC_URL", "garrison.corp.test"),
        ("GARRISON_PUBLIC_URL", "https://u:p@garrison.corp.test"),
        ("GARRISON_GATEWAY_URL", "https://defenders.corp.test"),
        ("GARRISON_INTEL_URL", "ftp://feed.test"),
        ("GARRISON_ADMIN_PASSWORD_FILE", "/does/not/exist"),
        ("GARRISON_HTTP_PROXY", "proxy"),
        ("GARRISON_PROXY_PASSWORD_FILE", "/does/not/exist"),
    ],
)
def test_values_that_cannot_work_are_errors(name: str, value: str) -> None:
    """Never a silent fall back: a bad proxy must not become a direct connection."""
    with pytest.raises(InvalidSettingError) as error:
        ConsoleSettings.from_environment({name: value})

    assert "u:p@" not in str(error.value)


def test_settings_file_gives_way_to_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "console.env"
    path.write_text("# comment\n\nGARRISON_LISTEN = 127.0.0.1:1\nGARRISON_DATA='/a b'\n")

    found = with_file({"GARRISON_LISTEN": "127.0.0.1:2"}, path)

    assert found == {"GARRISON_LISTEN": "127.0.0.1:2", "GARRISON_DATA": "/a b"}


@pytest.mark.parametrize("line", ["GARRISON_LISTEN", "LISTEN=1", "export GARRISON_DATA=/a"])
def test_settings_file_names_the_bad_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "console.env"
    path.write_text(f"GARRISON_DATA=/a\n{line}\n")

    with pytest.raises(InvalidSettingError, match="line 2"):
        with_file({}, path)
