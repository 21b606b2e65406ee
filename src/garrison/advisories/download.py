"""Fetching one file of a feed: only when it changed, and on from where a cut left it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from garrison.advisories.archive import MAX_ARCHIVE
from garrison.advisories.errors import BadFeedError, FeedNotFoundError, FeedStatusError
from garrison.advisories.snapshot import Validators
from garrison.advisories.state import replace_file
from garrison.egress import EgressError, Headers
from garrison.egress.redirect import redirected

if TYPE_CHECKING:
    from garrison.egress.http import EgressClient, Streamed

_TIMEOUT = 60.0
_MAX_REDIRECTS = 5
_MAX_CUTS = 20
"""Broken transfers of one file that are resumed, as long as each brought something."""
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+|\*)")

Report = Callable[[int, int | None], None]
"""Bytes there are, and bytes in all as far as the server says."""


@dataclass(frozen=True, slots=True)
class _Partial:
    """What is known of the file on disk.

    size: its bytes in all, None when the server did not say. complete: nothing is missing.
    """

    url: str = ""
    etag: str = ""
    last_modified: str = ""
    size: int | None = None
    complete: bool = False

    @property
    def validators(self) -> Validators:
        return Validators(self.etag, self.last_modified)

    @property
    def resumable_by(self) -> str:
        """What to send as `If-Range`: a strong validator, else nothing."""
        return "" if self.etag.startswith("W/") else self.etag or self.last_modified


@dataclass(frozen=True, slots=True)
class Archive:
    """A complete archive on disk."""

    path: Path
    validators: Validators


class _Again(Exception):
    """What is on disk is of no use: ask once more for all of it."""


class Download:
    """One file in `folder`, called `label` there and in messages; `limit` is in bytes."""

    def __init__(
        self, client: EgressClient, url: str, label: str, folder: Path, limit: int = MAX_ARCHIVE
    ) -> None:
        self._client = client
        self.url = url
        self._label = label
        self._limit = limit
        name = quote(label, safe=" ")
        self._path = folder / f"{name}.part"
        self._about = folder / f"{name}.json"

    @classmethod
    def of_ecosystem(
        cls, client: EgressClient, base: str, ecosystem: str, file: str, folder: Path
    ) -> Download:
        """One of the files that an OSV bulk export has of an ecosystem."""
        label = ecosystem if file == "all.zip" else f"{ecosystem} {file}"
        return cls(client, url_of(base, ecosystem, file), label, folder)

    async def fetch(self, known: Validators, report: Report) -> Archive | None:
        """The archive; None when it is still the one that `known` describes.

        Raises:
            EgressError: the server was not reached, or the transfer broke and could not go on.
            FeedNotFoundError, FeedStatusError: the server answered something else.
            BadFeedError: too large, or not as long as announced.
        """
        cuts = 0
        while True:
            before = self._on_disk()
            try:
                return await self._attempt(known, report)
            except _Again:
                self.forget()
            except EgressError:
                cuts += 1
                if self._on_disk() <= before or cuts > _MAX_CUTS:
                    raise

    def forget(self) -> None:
        """Remove what is on disk."""
        self._about.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    async def _attempt(self, known: Validators, report: Report) -> Archive | None:
        partial = self._partial()
        async with self._answer(self._headers(partial, known)) as answer:
            if answer.status == 304:
                return Archive(self._path, partial.validators) if partial.complete else None
            if answer.status == 206 and not partial.complete:
                start, partial = _continued(partial, answer.headers, self._on_disk())
            elif answer.status == 200:
                start, partial = 0, self._begun(answer.headers)
            elif answer.status == 416 and partial.url:
                raise _Again
            else:
                raise self._refused(answer.status)
            size = await self._receive(answer, start, partial, report)
        if partial.size is not None and size != partial.size:
            self.forget()
            raise BadFeedError(
                f"{self.url} ended after {size} of {partial.size} bytes", "Try again."
            )
        partial = replace(partial, size=size, complete=True)
        self._remember(partial)
        return Archive(self._path, partial.validators)

    @asynccontextmanager
    async def _answer(self, given: dict[str, str]) -> AsyncIterator[Streamed]:
        """The answer at the end of the redirects: files of today have a name of their own."""
        url, step = self.url, None
        for _ in range(_MAX_REDIRECTS + 1):
            async with self._client.stream(
                "GET", url, purpose="intel", headers=given, timeout=_TIMEOUT
            ) as answer:
                step = redirected(url, answer.status, answer.headers, "GET", given)
                if step is None:
                    yield answer
                    return
            if url.startswith("https:") and not step[0].startswith("https:"):
                raise FeedStatusError(f"{url} leads away from https, to {step[0][:200]}")
            url = step[0]
        raise FeedStatusError(f"{self.url} leads on and on: more than {_MAX_REDIRECTS} redirects")

    def _headers(self, partial: _Partial, known: Validators) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        on_disk = self._on_disk()
        if not partial.complete and on_disk and partial.resumable_by:
            return headers | {"Range": f"bytes={on_disk}-", "If-Range": partial.resumable_by}
        validators = partial.validators if partial.complete else known
        if validators.etag:
            headers["If-None-Match"] = validators.etag
        if validators.last_modified:
            headers["If-Modified-Since"] = validators.last_modified
        return headers

    def _begun(self, headers: Headers) -> _Partial:
        length = headers.get("Content-Length") or ""
        partial = _Partial(
            url=self.url,
            etag=headers.get("ETag") or "",
            last_modified=headers.get("Last-Modified") or "",
            size=int(length) if length.isdecimal() else None,
        )
        if partial.size is not None and partial.size > self._limit:
            raise BadFeedError(f"{self.url} has {partial.size} bytes, more than {self._limit}")
        self.forget()
        self._remember(partial)
        return partial

    async def _receive(
        self, answer: Streamed, start: int, partial: _Partial, report: Report
    ) -> int:
        """Append the body to the file; returns the file's size."""
        size = start
        report(size, partial.size)
        with self._path.open("ab") as file:
            file.truncate(start)
            async for chunk in answer.chunks():
                size += len(chunk)
                if size > self._limit:
                    raise BadFeedError(f"{self.url} has more than {self._limit} bytes")
                await asyncio.to_thread(file.write, chunk)
                report(size, partial.size)
            file.flush()
            # The description that follows says "complete": it must not outlive the bytes.
            await asyncio.to_thread(os.fsync, file.fileno())
        return size

    def _refused(self, status: int) -> FeedNotFoundError | FeedStatusError:
        if status in {404, 410}:
            return FeedNotFoundError(
                f"there is no feed for {self._label}: {self.url} answered {status}",
                "Check the address (docs/reference/settings.md lists what can be set);"
                " for ecosystems, ecosystems.txt at GARRISON_INTEL_URL lists what there is.",
            )
        return FeedStatusError(
            f"{self.url} answered {status}",
            "Look at who answered with: garrison egress test " + self.url,
        )

    def _on_disk(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _partial(self) -> _Partial:
        """The description of the file on disk; an empty one where they do not belong together."""
        try:
            partial = msgspec.json.decode(self._about.read_bytes(), type=_Partial)
        except (OSError, msgspec.MsgspecError):
            return _Partial()
        wrong = partial.complete and partial.size != self._on_disk()
        return _Partial() if partial.url != self.url or wrong else partial

    def _remember(self, partial: _Partial) -> None:
        self._about.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._about, msgspec.json.encode(partial))


def url_of(base: str, ecosystem: str, file: str) -> str:
    """The address of a file of an ecosystem in an OSV bulk export."""
    return f"{base.rstrip('/')}/{quote(ecosystem, safe='')}/{quote(file, safe='')}"


def _continued(partial: _Partial, headers: Headers, on_disk: int) -> tuple[int, _Partial]:
    """Where the part that a 206 brings begins: exactly where the file on disk ends."""
    match = _CONTENT_RANGE.fullmatch((headers.get("Content-Range") or "").strip())
    if match is None or int(match[1]) != on_disk:
        raise _Again
    total = None if match[2] == "*" else int(match[2])
    if partial.size is not None and total not in {None, partial.size}:
        raise _Again
    return on_disk, replace(partial, size=total if total is not None else partial.size)
