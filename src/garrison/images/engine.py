"""Images of a local container engine: `docker:NAME`, over the engine's Unix socket.

Docker and Podman serve the same API. A Unix socket never leaves the machine, so this is the one
connection that `egress` does not open.

Source: Docker Engine API v1.41, ImageInspect and ImageGet.
"""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import quote

import msgspec

from garrison.images import limits
from garrison.images.content import Wanted
from garrison.images.errors import BadLayerError, BadReferenceError, EngineError, NotFoundError
from garrison.images.read import ImageContent, LayerCache, Meter, Progress
from garrison.images.saved import read_stream
from garrison.images.stream import Guard

MAX_HEAD = 64 << 10
MAX_INSPECT = 8 << 20
_MAX_NAME = 512
_MAX_SAID = 16 << 10
_MAX_MESSAGE = 300


class _InspectJson(msgspec.Struct, rename="pascal"):
    id: str = ""
    size: int = 0


class EngineSource:
    """An image of the local engine, as `docker save` writes it.

    The engine has unpacked it already, so there are no blobs and no digests to verify.
    timeout: seconds of each wait for the engine.
    """

    def __init__(self, name: str, engine: Path, timeout: float) -> None:
        if len(name) > _MAX_NAME or not name.isprintable() or " " in name:
            raise BadReferenceError(f"{name[:100]!r} is not the name of an image")
        self._name = name
        self._engine = engine
        self._timeout = timeout

    @property
    def reference(self) -> str:
        return f"docker:{self._name}"

    def identify(self) -> str:
        # The engine computed this digest itself when it took the image in.
        return f"engine {self._inspect().id}"

    def read(
        self,
        wanted: Wanted,
        *,
        threads: int = 2,
        progress: Progress | None = None,
        seconds: float = limits.MAX_SECONDS,
        cache: LayerCache | None = None,
    ) -> ImageContent:
        guard = Guard(seconds)
        about = self._inspect()
        meter = Meter(progress, about.size)
        answer = self._get("get")
        try:

            def readinto(buffer: memoryview) -> int:
                count = answer.readinto(buffer)
                meter.add(count)
                return count

            return read_stream(self.reference, about.id, readinto, wanted, guard, trusted=True)
        except BadLayerError as error:
            raise EngineError(
                f"the engine's archive of {self._name} is broken: {error}",
                "The engine may have stopped in the middle; try again.",
            ) from None
        finally:
            answer.close()

    def _inspect(self) -> _InspectJson:
        answer = self._get("json")
        try:
            about = msgspec.json.decode(answer.read(MAX_INSPECT), type=_InspectJson)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise EngineError(f"{self._engine} does not answer as a container engine") from None
        finally:
            answer.close()
        return about

    def _get(self, what: str) -> _Answer:
        answer = _Answer(
            self._engine, f"/images/{quote(self._name, safe='')}/{what}", self._timeout
        )
        if answer.status == 200:
            return answer
        status, said = answer.status, answer.read(_MAX_SAID)
        answer.close()
        if status == 404:
            raise NotFoundError(
                f"the local engine has no image {self._name}",
                "Pull it first, or leave out docker: to read it from its registry.",
            )
        raise EngineError(
            f"the local engine answered {status} for image {self._name}: {_message(said)}",
            "If the image is in a registry, leave out docker: to read it from there.",
        )


def _message(said: bytes) -> str:
    """What the engine says, in `message` or as it is; it comes from outside."""
    try:
        text = str(msgspec.json.decode(said, type=dict[str, object])["message"])
    except (msgspec.MsgspecError, KeyError, UnicodeDecodeError, RecursionError):
        text = said.decode("utf-8", "replace")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text[:_MAX_MESSAGE] or "without a word"


class _Answer:
    """A GET's answer. HTTP/1.0, so that the body is not chunked and ends with the connection."""

    def __init__(self, engine: Path, path: str, timeout: float) -> None:
        self._engine = engine
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(engine))
            self._socket.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            self.status, self._rest = self._head()
        except FileNotFoundError:
            self.close()
            raise EngineError(
                f"there is no container engine at {engine}", "Start it, or set DOCKER_HOST."
            ) from None
        except PermissionError:
            self.close()
            raise EngineError(
                f"{engine} may not be used by this user",
                "Run as a member of its group, or as root.",
            ) from None
        except OSError as error:
            self.close()
            raise EngineError(f"the engine at {engine} cannot be reached: {error}") from None
        except BaseException:
            self.close()
            raise

    def readinto(self, buffer: memoryview) -> int:
        if self._rest:
            count = min(len(self._rest), len(buffer))
            buffer[:count] = self._rest[:count]
            self._rest = self._rest[count:]
            return count
        try:
            return self._socket.recv_into(buffer)
        except OSError as error:
            raise EngineError(f"the engine at {self._engine} stopped answering: {error}") from None

    def read(self, limit: int) -> bytes:
        buffer = bytearray(limit)
        done = 0
        while done < limit and (count := self.readinto(memoryview(buffer)[done:])):
            done += count
        return bytes(buffer[:done])

    def close(self) -> None:
        self._socket.close()

    def _head(self) -> tuple[int, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            more = self._socket.recv(MAX_HEAD)
            data += more
            if not more or len(data) > MAX_HEAD:
                raise EngineError(f"{self._engine} does not answer as a container engine")
        head, _, rest = data.partition(b"\r\n\r\n")
        words = head.split(b"\r\n")[0].split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise EngineError(f"{self._engine} does not answer as a container engine")
        if b"transfer-encoding:" in head.lower():
            raise EngineError(f"{self._engine} does not speak HTTP/1.0")
        return int(words[1]), rest
