"""Negotiate with real tickets: Debian's KDC, and Squid's helper for Kerberos."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.authority import Authority
from lab.kerberos import REALM, Kdc, libraries
from lab.squid import Squid
from tests.integration.egress.destination import Destination

pytestmark = pytest.mark.long

PASSWORD = "p@ss w/rd%20ü"
ROOT = Path(__file__).parents[3]

CLIENT = """
import asyncio, json, sys
from garrison.egress import EgressError, ProxySettings, check_connection, open_body
from garrison.egress.http import EgressClient
from garrison.secret import Secret

given = json.load(sys.stdin)
password = Secret(given["password"]) if given["password"] else None
found = ProxySettings.build(http_proxy=given["proxy"], ca=given["ca"], user=given["user"],
                            password=password)

async def ask():
    client = EgressClient(found)
    try:
        bodies = []
        for n in range(3):
            answer = await client.request("POST", given["url"] + f"/echo?{n}", purpose="alerts",
                                          data=b"x")
            bodies.append(answer.json()["body"])
        socket = await client.websocket(given["ws"], purpose="fleet")
        await socket.send(b"hello")
        bodies.append((await socket.receive()).decode())
        await socket.close()
        return bodies
    finally:
        await client.aclose()

result = check_connection(given["url"], found, purpose="registry").as_dict()
bodies = None
if result["ok"]:
    bodies = asyncio.run(ask())
    with open_body(given["url"] + "/bytes/1000", found, purpose="registry") as body:
        bodies.append(len(body.read()))
json.dump({"result": result, "bodies": bodies}, sys.stdout)
"""


@dataclass
class Realm:
    kdc: Kdc
    squid: Squid
    ca: Authority

    def ask(
        self,
        destination: Destination,
        *,
        user: str = "",
        password: str = "",
        env: dict[str, str] | None = None,
        with_libraries: bool = True,
    ) -> dict[str, Any]:
        """Every face in a process of its own: libkrb5 reads the environment when it likes."""
        path = [str(ROOT / "src"), *([str(libraries())] if with_libraries else [])]
        done = subprocess.run(
            [sys.executable, "-c", CLIENT],
            input=json.dumps(
                {
                    "proxy": f"http://localhost:{self.squid.port}",
                    "ca": self.ca.pem,
                    "url": destination.url,
                    "ws": destination.ws,
                    "user": user,
                    "password": password,
                }
            ),
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path),
                **self.kdc.environment,
                **(env or {}),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def realm(start_squid: Callable[..., Squid], outside_ca: Authority) -> Iterator[Realm]:
    with Kdc() as kdc:
        kdc.principal("HTTP/localhost")
        kdc.principal("agent", PASSWORD)
        kdc.principal("robot")
        keytab = kdc.keytab("HTTP/localhost")
        with start_squid(name="kerberos", users={}, schemes=["negotiate"], keytab=keytab) as squid:
            yield Realm(kdc, squid, outside_ca)


def chosen(found: dict[str, Any]) -> str:
    assert found["result"]["ok"], found["result"]
    (step,) = [one for one in found["result"]["trace"] if one["hop"] == "proxy-auth"]
    return str(step["detail"])


@pytest.mark.parametrize("kind", ["secure", "plain"])
@pytest.mark.parametrize("source", ["keytab", "ccache", "password"])
def test_negotiate_signs_in(
    source: str, kind: str, realm: Realm, request: pytest.FixtureRequest
) -> None:
    destination: Destination = request.getfixturevalue(kind)
    mark = realm.squid.mark()
    user, password, env = "", "", {}
    if source == "keytab":
        env = {"KRB5_CLIENT_KTNAME": f"FILE:{realm.kdc.keytab('robot')}",
               "KRB5CCNAME": f"FILE:{realm.kdc.folder}/fresh-{kind}"}  # fmt: skip
    elif source == "ccache":
        env = {"KRB5CCNAME": realm.kdc.ticket("robot", realm.kdc.keytab("robot"))}
    else:
        user, password = f"agent@{REALM}", PASSWORD
    found = realm.ask(destination, user=user, password=password, env=env)

    who = f'user "{user}"' if user else "ticket of this process"
    assert chosen(found) == f"Negotiate (Kerberos), {who}"
    assert found["bodies"] == ["x", "x", "x", "hello", 1000]
    principal = f"agent@{REALM}" if user else f"robot@{REALM}"
    passed = [one for one in realm.squid.entries_since(mark) if one.status != 407]
    assert {one.user for one in passed} == {principal}
    assert "proxy-authorization" not in destination.headers_seen.lower()


def test_without_a_ticket_it_is_said(realm: Realm, secure: Destination) -> None:
    error = realm.ask(secure)["result"]["error"]
    assert (error["code"], error["who"]) == ("egress.proxy_auth_ticket", "you")
    assert "KRB5_CLIENT_KTNAME" in error["hint"]


def test_without_the_libraries_it_is_said(realm: Realm, secure: Destination) -> None:
    error = realm.ask(secure, with_libraries=False)["result"]["error"]
    assert error["code"] == "egress.proxy_auth_library"
    assert "garrison[kerberos]" in error["hint"]


def test_wrong_password_is_refused(realm: Realm, secure: Destination) -> None:
    found = realm.ask(secure, user=f"agent@{REALM}", password="canary-wrong")
    assert found["result"]["error"]["code"] == "egress.proxy_auth_refused"
    assert "canary" not in json.dumps(found)
