"""What a Defender is told from outside, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from garrison.defender.settings import DefenderSettings, console_address
from garrison.errors import InvalidSettingError
from garrison.fleet.authority import Authority
from garrison.fleet.join_token import JoinToken
from tests.unit.fleet.certificates import NOW

TOKEN = JoinToken.create(Authority.create(NOW))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wss://console.test:8084", "wss://console.test:8084"),
        ("ws://127.0.0.1:8084/", "ws://127.0.0.1:8084"),
        ("https://console.test", "wss://console.test:443"),
        ("http://console.test", "ws://console.test:80"),
        ("console.test:8084", "wss://console.test:8084"),
        ("wss://[2001:db8::1]:8084", "wss://[2001:db8::1]:8084"),
        ("wss://console.test:8084/v1/fleet", "wss://console.test:8084"),
    ],
)
def test_console_addresses(text: str, expected: str) -> None:
    assert console_address(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "ftp://console.test", "wss://", "wss://u:p@console.test", "wss://console.test/x",
     "wss://console.test:0", "wss://console.test:99999", "wss://console.test:8084?x=1",
     "wss://[::1", "wss://console.test:port"],
)  # fmt: skip
def test_what_is_no_console_address(text: str) -> None:
    with pytest.raises(InvalidSettingError) as caught:
        console_address(text)

    assert caught.value.field == "console"
    assert caught.value.hint
    assert "u:p" not in caught.value.message


def test_everything_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN.reveal() + "\n")
    settings = DefenderSettings.from_environment(
        {
            "GARRISON_CONSOLE": "https://console.test:8084",
            "GARRISON_JOIN_TOKEN_FILE": str(file),
            "GARRISON_DATA": str(tmp_path),
            "GARRISON_HEALTH_LISTEN": "0.0.0.0:9000",
            "GARRISON_DEFENDER_NAME": "edge-1",
        }
    )

    assert settings == DefenderSettings(
        console="wss://console.test:8084",
        data=tmp_path,
        join_token=TOKEN,
        name="edge-1",
        health_listen=("0.0.0.0", 9000),
    )
    assert settings.url == "wss://console.test:8084/v1/fleet"
    assert settings.node_name == "edge-1"
    assert TOKEN.secret_text not in repr(settings)


def test_options_win(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN.reveal())
    settings = DefenderSettings.from_environment(
        {"GARRISON_CONSOLE": "a.test", "GARRISON_JOIN_TOKEN": "gjt1_x", "GARRISON_DATA": "/x"},
        console="b.test",
        join_token_file=file,
        data=tmp_path,
        health_listen="off",
    )

    assert settings.console == "wss://b.test:443"
    assert settings.join_token == TOKEN
    assert settings.data == tmp_path
    assert settings.health_listen is None


def test_defaults() -> None:
    settings = DefenderSettings.from_environment({"GARRISON_CONSOLE": "a.test", "HOME": "/root"})

    assert settings.join_token is None
    assert settings.health_listen == ("127.0.0.1", 9091)
    assert settings.data.name == "garrison"
    assert settings.node_name


@pytest.mark.parametrize(
    ("environ", "field"),
    [
        ({"GARRISON_JOIN_TOKEN": "gjt1_nonsense"}, "join_token"),
        ({"GARRISON_JOIN_TOKEN_FILE": "/does/not/exist"}, "join_token"),
        ({"GARRISON_HEALTH_LISTEN": "9091"}, "health_listen"),
        ({"GARRISON_HEALTH_LISTEN": "localhost:x"}, "health_listen"),
    ],
)
def test_values_that_cannot_work_are_errors(environ: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidSettingError) as caught:
        DefenderSettings.from_environment({"GARRISON_CONSOLE": "a.test", **environ})

    assert caught.value.field == field
