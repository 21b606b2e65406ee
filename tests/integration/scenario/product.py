"""Garrison in a lab network: a Console in `console`, a Defender in `remote`."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from garrison.cli.target import Local
from garrison.console import accounts
from lab.http import Answer, request
from lab.process import Process
from lab.scene import DEFENDER_NAME, PROGRAM, Scene
from lab.wait import until

CONSOLE = "http://127.0.0.1:8083"
PASSWORD = "correct horse battery"


class Product:
    """A running Console, spoken to from inside its namespace."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.data = scene.directory / "console-data"
        self.console: Process | None = None
        self.defender: Process | None = None
        self._token = ""
        self._cookie = ""
        self._starts = 0

    def __enter__(self) -> Self:
        password = self.scene.directory / "admin-password"
        password.write_text(PASSWORD)
        self.start_console(password)
        with Local(self.data, {}).state() as state:
            self.ca = state.authority.certificate_pem
            made = accounts.create_token(
                state, "test", "admin", expires_at=None, actor="test", now=datetime.now(UTC)
            )
        self._token = made.secret.reveal()
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.defender, self.console):
            if process is not None:
                process.stop()

    def start_console(self, password: Path | None = None) -> None:
        environment = self.scene.console_settings
        if password is not None:
            environment["GARRISON_ADMIN_PASSWORD_FILE"] = str(password)
        # Each start has logs of its own: an old line must not pass for a new one.
        self._starts += 1
        self.console = self.scene.start(
            "console",
            [*PROGRAM, "console", "--data", self.data],
            name=f"console-{self._starts}",
            env=environment,
        )
        self.console.wait_line("^Console: ", timeout=30)

    def restart_console(self) -> None:
        assert self.console is not None
        self.console.stop()
        self.start_console()

    def start_defender(self) -> None:
        """A Defender in `remote` with proxy settings of its own, from its deployment."""
        token = self.ok("POST", "/join-tokens", {})["token"]
        self.defender = self.scene.start(
            "remote",
            [*PROGRAM, "defender", "--data", self.scene.directory / "defender-data"],
            name="defender",
            env=self.scene.defender_settings(token),
        )

    def wait_connected(self) -> dict[str, Any]:
        def connected() -> dict[str, Any] | None:
            items = self.ok("GET", "/defenders")["items"]
            return next((each for each in items if each["connected"]), None)

        assert self.defender is not None
        return until(
            connected,
            timeout=40,
            what="the Defender's session",
            alive=self.defender.check,
            detail=self.defender.tail,
        )

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """One request to the API."""
        return request(
            self.scene.net,
            "console",
            method,
            f"{CONSOLE}/api/v1{path}",
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
            },
            body=None if body is None else json.dumps(body).encode(),
        )

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.call(method, path, body)
        assert answer.status < 300, (method, path, answer.status, answer.body)
        return answer.json() if answer.body else None

    def page(self, path: str) -> str:
        """The words of a page, as the administrator sees it."""
        if not self._cookie:
            form = urlencode({"name": "admin", "password": PASSWORD})
            self._cookie = self._page("POST", "/sign-in", form.encode()).headers["set-cookie"]
        shown = self._page("GET", path)
        assert shown.status == 200, shown.body
        return html.unescape(re.sub(r"<[^>]*>", " ", shown.body.decode()))

    def _page(self, method: str, path: str, body: bytes | None = None) -> Answer:
        headers = {"Cookie": self._cookie.partition(";")[0], "Sec-Fetch-Site": "same-origin"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        return request(
            self.scene.net, "console", method, CONSOLE + path, headers=headers, body=body
        )

    def save_proxy(self, **changes: Any) -> None:
        wanted = self.scene.settings
        self.ok(
            "PUT",
            "/settings/proxy",
            {
                "http_proxy": wanted.http_proxy,
                "user": wanted.user,
                "password": wanted.password or None,
                "ca": wanted.ca,
                **changes,
            },
        )

    def update(self, outcome: str) -> dict[str, Any]:
        """Update the Intelligence Stream until it ends in `outcome`: a code, or `done`.

        Saving proxy settings tries a failed update again by itself, so several may end here.
        """
        self.ok("POST", "/intel/update")

        def ended() -> dict[str, Any] | None:
            state: dict[str, Any] = self.ok("GET", "/intel")
            code = state["last_error"]["code"] if state["last_error"] else "done"
            settled = not state["running"] and (state["revision"] or code != "done")
            return state if settled and code == outcome else None

        return self._until(ended, f"the feed's update to end in {outcome}")

    def scan(self, reference: str, defender: str = DEFENDER_NAME) -> dict[str, Any]:
        """Scan an image and wait for its end; the scan."""
        scan = self.ok("POST", "/scans", {"reference": reference, "defender": defender})["id"]

        def ended() -> dict[str, Any] | None:
            state: dict[str, Any] = self.ok("GET", f"/scans/{scan}")
            return state if state["state"] in ("done", "failed") else None

        return self._until(ended, "the scan")

    def _until(self, look: Any, what: str) -> dict[str, Any]:
        assert self.console is not None
        found: dict[str, Any] = until(
            look, timeout=40, what=what, alive=self.console.check, detail=self.console.tail
        )
        return found

    def authority(self) -> Path:
        """The PEM of the Console's own authority, as an operator would give it to a proxy."""
        path = self.scene.directory / "garrison-ca.pem"
        path.write_text(self.ca)
        return path
