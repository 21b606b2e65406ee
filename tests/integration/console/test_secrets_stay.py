"""Passwords, webhooks and tokens are in no answer, no page, no log, no file and no output."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.console.program import PASSWORD, Browser, Program, garrison

PROXY = "pr0xy-c4n4ry@:/%"
REGISTRY = "r3gistry-c4n4ry"
WEBHOOK = "w3bhook-c4n4ry"


def test_secrets_stay(tmp_path: Path) -> None:
    password, data = tmp_path / "password", tmp_path / "data"
    password.write_text(PASSWORD)
    environ = {"GARRISON_ADMIN_PASSWORD_FILE": str(password)}
    with Program("up", data, environ) as program:
        program.wait_event("Defender connected")
        token = program.token()
        api = Browser(program.url, token=token)
        settings = {"http_proxy": "http://127.0.0.1:9", "user": "svc", "password": PROXY}
        seen = [
            api.call("PUT", "/api/v1/settings/proxy", settings).text,
            api.call(
                "POST",
                "/api/v1/registries",
                {"host": "registry.test", "user": "u", "password": REGISTRY},
            ).text,
        ]
        profile = api.call(
            "POST",
            "/api/v1/alert-profiles",
            {"name": "s", "webhook": f"https://hooks.slack.test/services/T/B/{WEBHOOK}"},
        ).json
        sent = api.call("POST", f"/api/v1/alert-profiles/{profile['id']}/test").json
        assert not sent["ok"]
        assert sent["error"]["code"].startswith("egress.")
        tested = api.call("POST", "/api/v1/egress/test", {"url": "https://hub.test/"})
        join = api.call("POST", "/api/v1/join-tokens", {}).json["token"]
        api.call("POST", "/api/v1/scans", {"reference": "registry.test/app:1"})
        seen += [str(sent), tested.text, *crawl_api(api), *crawl_pages(program.url)]
        seen += [
            done.stdout + done.stderr
            for words in (["egress", "show", "--json"], ["alerts", "--json"], ["tokens", "list"])
            if (done := garrison(*words, "--data", data))
        ]

    seen += program.log
    secrets = (PROXY, REGISTRY, WEBHOOK, PASSWORD, token, join)
    for text in seen:
        for secret in secrets:
            assert secret not in text, text[:500]
    for path in data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in secrets:
                assert secret.encode() not in content, path
    assert data.stat().st_mode & 0o777 == 0o700
    assert (data / "key").stat().st_mode & 0o777 == 0o600


def crawl_api(api: Browser) -> list[str]:
    document = api.call("GET", "/api/v1/openapi.json").json
    paths = [path for path, methods in document["paths"].items() if "get" in methods]
    lists = [path for path in paths if "{" not in path]
    assert len(lists) > 12
    return [api.call("GET", path).text for path in lists]


def crawl_pages(url: str) -> list[str]:
    """Every page that a link leads to."""
    browser = Browser(url)
    assert browser.call("POST", "/sign-in", form={"name": "admin", "password": PASSWORD}).status
    waiting, done, texts = ["/images"], set(), []
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        answer = browser.call("GET", path)
        assert answer.status < 500, path
        texts.append(answer.text)
        links = re.findall(r'href="(/[^"#]*)"', answer.text)
        waiting += [link.replace("&amp;", "&") for link in links if "/static/" not in link]
        assert len(done) < 300
    assert len(done) > 8
    return texts
