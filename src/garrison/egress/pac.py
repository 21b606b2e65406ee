"""PAC files: fetched directly, evaluated in a sandbox of their own, answers kept for a while.

A script that cannot be fetched, fails, loops or eats memory is an error with a code of its own;
nothing is reached directly because of it.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from garrison.egress.endpoint import Endpoint, ProxyAddress, ProxyScheme, Target
from garrison.egress.errors import (
    EgressError,
    PacAnswerError,
    PacFetchError,
    PacMemoryError,
    PacScriptError,
    PacTimeoutError,
    PacUnavailableError,
)
from garrison.egress.route import PacAnswer
from garrison.egress.rules import More

MAX_SCRIPT = 1 << 20
"""Bytes of a PAC file; large ones have some 200 KiB."""
REFRESH_SECONDS = 300.0
RETRY_SECONDS = 60.0
ANSWER_SECONDS = 60.0
MAX_ANSWERS = 4096
MAX_CANDIDATES = 16
WALL_SECONDS = 5.0
"""For one answer of the sandbox, whose own limit counts processor time; then it is killed."""
START_SECONDS = 15.0

Load: TypeAlias = Callable[[str], str]
"""Fetches a PAC file's text. Raises EgressError."""

_WORKER = Path(__file__).with_name("pac_worker.py")
_KINDS: dict[str, tuple[ProxyScheme, int]] = {
    "PROXY": ("http", 80),
    "HTTP": ("http", 80),
    "HTTPS": ("https", 443),
    "SOCKS": ("socks5h", 1080),
    "SOCKS5": ("socks5h", 1080),
}


@dataclass(frozen=True, slots=True)
class Found:
    """What a PAC file says of one destination. unresolved: names it wanted to look up in vain."""

    answer: PacAnswer
    unresolved: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        if not self.unresolved:
            return ""
        return (
            f"the PAC file asked for the address of {', '.join(self.unresolved[:3])}, and names"
            " are not resolved for it (pac_dns)"
        )


def read_answer(kind: str, said: str) -> PacAnswer:
    """The list in what `FindProxyForURL` returned; null and an empty text mean DIRECT.

    Entries that we cannot speak, such as SOCKS4, are left out.

    Raises PacAnswerError: nothing usable is left.
    """
    if kind == "null" or (kind == "string" and not said.strip(" ;\t\r\n")):
        return (None,)
    if kind != "string":
        raise PacAnswerError(f"not a text but {kind}")
    found: list[ProxyAddress | None] = []
    for entry in said.split(";"):
        words = entry.split()
        if [word.upper() for word in words] == ["DIRECT"]:
            found.append(None)
        elif len(words) == 2 and (address := _proxy(*words)) is not None:
            found.append(address)
    if not found:
        raise PacAnswerError(repr(said[:80]))
    return tuple(dict.fromkeys(found))[:MAX_CANDIDATES]


def _proxy(word: str, where: str) -> ProxyAddress | None:
    known = _KINDS.get(word.upper())
    if known is None:
        return None
    scheme, port = known
    host, colon, number = where.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, number = where, str(port)
    try:
        return ProxyAddress(scheme, Endpoint(host, int(number)))
    except ValueError:
        return None


# --- the sandbox ----------------------------------------------------------------------------


class Sandbox:
    """A process that evaluates one script at a time. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._script = ""

    def find(self, script: str, target: Target, *, dns: bool, now: float | None = None) -> Found:
        """What `script` says of `target`; its path and query are not shown to it.

        now: of the script's clock, in seconds, for tests.

        Raises EgressError.
        """
        endpoint = target.endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        scheme = {"ws": "http", "wss": "https"}.get(target.scheme, target.scheme)
        authority = host if target.has_default_port else str(endpoint)
        asked = {
            "url": f"{scheme}://{authority}/",
            "host": endpoint.host,
            "dns": dns,
            "now": None if now is None else now * 1000,
        }
        with self._lock:
            if self._process is None or self._process.poll() is not None or script != self._script:
                self._load(script)
            said = self._ask(asked, WALL_SECONDS)
            if "error" in said:
                self._script = ""
        _check(said)
        if said.get("missing"):
            raise PacScriptError("it has no function FindProxyForURL", None)
        answer = read_answer(said["kind"], said["said"])
        return Found(answer, tuple(said.get("unresolved") or ()))

    def _load(self, script: str) -> None:
        if self._process is None or self._process.poll() is not None:
            self._kill()
            self._start()
        self._script = ""
        _check(self._ask({"script": script}, START_SECONDS))
        self._script = script

    def _start(self) -> None:
        self._process = subprocess.Popen(
            # Isolated: neither variables nor the working directory choose what it imports.
            [sys.executable, "-I", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in ("PATH", "TZ", "LANG") if name in os.environ},
            cwd="/",
            start_new_session=True,
        )

    def _ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            line = _read_line(process.stdout.fileno(), seconds)
            answer: dict[str, Any] = json.loads(line)
        except TimeoutError:
            self._kill()
            raise PacTimeoutError(None) from None
        except (OSError, ValueError):
            # Killed for its memory, most likely by the system.
            self._kill()
            raise PacMemoryError(None) from None
        return answer

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:
                        continue

    def close(self) -> None:
        with self._lock:
            self._kill()


def _read_line(descriptor: int, seconds: float) -> bytes:
    end, line = time.monotonic() + seconds, bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, end - time.monotonic())):
                raise TimeoutError
            data = os.read(descriptor, 64 << 10)
            if not data:
                raise ConnectionResetError
            line += data
    return bytes(line)


def _check(said: dict[str, Any]) -> None:
    error = said.get("error")
    if error is None:
        return
    kind, line = error["kind"], error["line"]
    if kind == "missing":
        raise PacUnavailableError
    if kind == "time":
        raise PacTimeoutError(line)
    if kind == "memory":
        raise PacMemoryError(line)
    raise PacScriptError(str(error["message"]), line)


# --- files and answers ----------------------------------------------------------------------


@dataclass(slots=True)
class _File:
    """text: of the last fetch that worked. due: when to fetch again; failure: of the last fetch."""

    text: str | None = None
    due: float = 0.0
    failure: EgressError | None = None
    busy: bool = False


class PacFiles:
    """The PAC files of this process and what they said. Any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._fetching = threading.Lock()
        self._files: dict[str, _File] = {}
        self._answers: OrderedDict[tuple[Any, ...], tuple[float, Found]] = OrderedDict()
        self._sandbox = Sandbox()

    def find(self, more: More, target: Target, load: Load) -> Found:
        """What the PAC file says of `target`; fetched if that was never done.

        An old text is used on while a new one is fetched in the background, and if that fails.

        Raises EgressError.
        """
        text = self._text(more.pac_url, load)
        return self._evaluated(text, more, target)

    def known(self, more: More, target: Target) -> Found | None:
        """The same without a connection; None when the file was not fetched yet.

        Raises EgressError.
        """
        if urlsplit(more.pac_url).scheme == "file":
            return self._evaluated(read_file(more.pac_url), more, target)
        with self._lock:
            file = self._files.get(more.pac_url)
            text = file.text if file else None
        return None if text is None else self._evaluated(text, more, target)

    def prefetch(self, url: str, load: Load) -> None:
        """Fetch it in the background, so that nobody has to wait for it."""
        if url and urlsplit(url).scheme != "file":
            with self._lock:
                file = self._files.setdefault(url, _File())
            if file.text is None:
                self._refresh(url, file, load)

    def forget(self) -> None:
        """Fetch every file again when it is needed next."""
        with self._lock:
            self._answers.clear()
            for file in self._files.values():
                file.due = 0.0

    def close(self) -> None:
        self._sandbox.close()

    def _evaluated(self, text: str, more: More, target: Target) -> Found:
        digest = hashlib.sha256(text.encode()).digest()
        key = (digest, target.scheme, target.endpoint, more.pac_dns)
        now = self._clock()
        with self._lock:
            held = self._answers.get(key)
            if held is not None and now < held[0]:
                self._answers.move_to_end(key)
                return held[1]
        found = self._sandbox.find(text, target, dns=more.pac_dns)
        with self._lock:
            self._answers[key] = (now + ANSWER_SECONDS, found)
            while len(self._answers) > MAX_ANSWERS:
                self._answers.popitem(last=False)
        return found

    def _text(self, url: str, load: Load) -> str:
        if urlsplit(url).scheme == "file":
            return read_file(url)
        with self._lock:
            file = self._files.setdefault(url, _File())
            if file.text is not None:
                if self._clock() >= file.due and not file.busy:
                    self._refresh(url, file, load)
                return file.text
        # Those who wait share one fetch.
        with self._fetching:
            if file.text is None and (file.failure is None or self._clock() >= file.due):
                self._fetch(url, file, load)
        if file.text is None:
            assert file.failure is not None
            raise PacFetchError(file.failure)
        return file.text

    def _refresh(self, url: str, file: _File, load: Load) -> None:
        file.busy = True

        def work() -> None:
            with self._fetching:
                try:
                    self._fetch(url, file, load)
                finally:
                    file.busy = False

        threading.Thread(target=work, name="egress-pac", daemon=True).start()

    def _fetch(self, url: str, file: _File, load: Load) -> None:
        try:
            text = load(url)
        except EgressError as error:
            # A first fetch is asked for again soon: somebody waits for it.
            pause = 1.0 if file.text is None else RETRY_SECONDS
            file.failure, file.due = error, self._clock() + pause
            return
        file.text, file.failure, file.due = text, None, self._clock() + REFRESH_SECONDS


def read_file(url: str) -> str:
    """The text of a `file:` URL. Raises PacFetchError."""
    path = unquote(urlsplit(url).path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SCRIPT + 1)
    except OSError as error:
        raise PacFetchError(None, f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_SCRIPT:
        raise PacFetchError(None, f"{path} is larger than {MAX_SCRIPT >> 20} MiB")
    return decoded(data)


def decoded(data: bytes) -> str:
    """A PAC file's text: UTF-8, else Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


PAC = PacFiles()
"""Of this process."""
atexit.register(PAC.close)
