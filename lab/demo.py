"""`make demo`: Garrison in a whole company network on this machine, without internet.

A Console in one namespace, a Defender in another, and only the proxy between them and the
registry, the advisory feed and Slack. The Console is given no proxy: typing it in is the demo.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

from garrison.cli.target import Local
from garrison.console import fleet
from lab.errors import LabError
from lab.process import Process
from lab.relay import Relay
from lab.scene import ADVISORIES, DEFENDER_NAME, PROGRAM, Kind, Scene
from lab.slack import Message

PORT = 8083
SMALL_FEED = Path(__file__).resolve().parent / "data" / "advisories"
"""180 records about packages of the image; see ORIGIN.md beside it."""


class Demo:
    """Everything that runs, from entering to leaving."""

    def __init__(self, kind: Kind, advisories: Path) -> None:
        self.scene = Scene(kind, image="real", advisories=advisories)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Demo":
        with self._stack:
            self._build()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        enter = self._stack.enter_context
        # The scene's own folder is root's alone; the browser's user must read this one.
        self.folder = Path(enter(tempfile.TemporaryDirectory(prefix="garrison-demo-")))
        self.folder.chmod(0o755)
        scene = enter(self.scene)
        self.data = scene.directory / "console-data"
        self.relay = enter(self._pages())
        self.url = f"http://{self.relay.address}"
        slack = Relay(scene.net, "outside", scene.slack.name, scene.slack.port)
        self.slack_url = f"https://{enter(slack).address}/"
        self.ca_file = self._write("proxy-ca.pem", scene.settings.ca)
        self.console = self._start_console()
        self.setup_link = self.console.wait_line(r"^Set-up: (\S+)")[1]
        self.defender = self._start_defender()
        self.defender.wait_line('"event": "connected"', timeout=40, stream="err")

    def _pages(self) -> Relay:
        net = self.scene.net
        try:
            return Relay(net, "console", "127.0.0.1", PORT, port=PORT)
        except OSError:
            return Relay(net, "console", "127.0.0.1", PORT)

    def _start_console(self) -> Process:
        return self.scene.start(
            "console",
            [*PROGRAM, "console", "--data", self.data],
            name="console",
            env={
                **self.scene.console_settings,
                "GARRISON_PUBLIC_URL": self.url,
                "GARRISON_INTEL_EPSS_URL": f"{self.scene.feed.url}/beside/epss.csv",
                "GARRISON_INTEL_KEV_URL": f"{self.scene.feed.url}/beside/kev.json",
            },
        )

    def _start_defender(self) -> Process:
        """In `remote`, with the proxy in its own deployment, as for a site far away."""
        with Local(self.data, {}).state() as state:
            authority = state.authority.certificate_pem
            expires = datetime.now(UTC) + timedelta(hours=1)
            made = fleet.create_join_token(state, expires_at=expires, uses=1, actor="demo")
        self.scene.trust_console(self._write("garrison-ca.pem", authority))
        env = self.scene.defender_settings(made.text.reveal())
        argv = [*PROGRAM, "defender", "--data", str(self.scene.directory / "defender-data")]
        return self.scene.start("remote", argv, name="defender", env=env)

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def health(self) -> str:
        """What the Console says of itself, through the relay."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}/healthz", timeout=10) as answer:
            return str(answer.read().decode())

    def text(self) -> str:
        """What to do, in the order in which it works."""
        wanted = self.scene.settings
        proxy = [("HTTP Proxy", wanted.http_proxy)]
        if wanted.ca:
            proxy.append(("CA certificates", f"Add PEM, Choose a file: {self.ca_file}"))
        if wanted.user:
            proxy += [("User", wanted.user), ("Password", wanted.password)]
        steps: list[tuple[str, str, list[tuple[str, str]]]] = [
            ("Set up the Console", self.setup_link, []),
            ("Enter the proxy, save, test", f"{self.url}/manage/system/proxy", proxy),
            ("See the advisories arrive", f"{self.url}/manage/system/intelligence", []),
            (
                "Make an alert profile",
                f"{self.url}/alerts/new",
                [("Webhook address", self.scene.slack.webhook)],
            ),
            (
                "Scan an image",
                f"{self.url}/scans/new",
                [("Image", self.scene.reference), ("Defender", DEFENDER_NAME)],
            ),
            ("Read Slack's messages", f"{self.slack_url}  (your browser will warn: lab CA)", []),
        ]
        lines = ["", "Garrison in a network that only a proxy leads out of", ""]
        for number, (title, address, fields) in enumerate(steps, 1):
            lines.append(f"  {number}. {title:<28} {address}")
            lines += [f"       {name:<26} {value}" for name, value in fields]
        lines += [
            "",
            f"  Defender `{DEFENDER_NAME}` is connected through the same proxy.",
            f"  Logs: {self.scene.directory / 'logs'}",
            f"  Advisories: {self.scene.advisories}",
            "",
        ]
        return "\n".join(lines)

    def watch(self) -> Iterator[Message]:
        """Each message that reaches Slack, for as long as the product runs."""
        shown = 0
        while True:
            self.console.check()
            self.defender.check()
            messages = self.scene.slack.messages()
            yield from messages[shown:]
            shown = len(messages)
            time.sleep(0.5)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Start it, say what to click, wait for Ctrl-C, take everything down."""
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description=__doc__)
    parser.add_argument("--kind", choices=get_args(Kind), default="basic", help="of the proxy")
    parser.add_argument(
        "--small-feed", action="store_true", help="serve the advisories shipped beside this file"
    )
    parser.add_argument("--check", action="store_true", help="start, print, stop")
    given = parser.parse_args(argv)
    if os.geteuid() != 0:
        print("The demo makes network namespaces: run it as root.", file=sys.stderr)
        return 1
    small = given.small_feed or not ADVISORIES.is_dir()
    signal.signal(signal.SIGTERM, _interrupt)
    print("Starting the network, the Console and a Defender …", flush=True)
    try:
        with Demo(given.kind, SMALL_FEED if small else ADVISORIES) as demo:
            health = demo.health()
            print(demo.text(), flush=True)
            if given.check:
                print(f"/healthz: {health}")
                return 0
            try:
                print("Ctrl-C ends it and removes everything.", flush=True)
                for message in demo.watch():
                    print(f"Slack got: {message.text.splitlines()[0]}", flush=True)
            finally:
                # A second Ctrl-C must not leave namespaces behind.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                print("\nTaking everything down …", flush=True)
    except KeyboardInterrupt:
        return 0
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
