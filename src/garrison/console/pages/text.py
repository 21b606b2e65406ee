"""How values read on a page: times, durations, sizes, counts, names. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from garrison.findings.finding import Severity

SHAPES = ("ok", "run", "warn", "fail", "idle", "back", "done")


def iso(at: datetime) -> str:
    """For `<time datetime>`."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def exact(at: datetime) -> str:
    """The time on hover: to the second, with its zone."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(at: datetime, now: datetime) -> str:
    """`09:40 UTC` today, `23 Nov` this year, else `23 Nov 2025`: what is read without script."""
    if at.date() == now.date():
        return at.strftime("%H:%M UTC")
    day = f"{at.day} {at.strftime('%b')}"
    return day if at.year == now.year else f"{day} {at.year}"


def moment(at: datetime, now: datetime) -> str:
    """Like `clock`, and with the time of day for other days: for lists of events."""
    if at.date() == now.date():
        return clock(at, now)
    return f"{clock(at, now)}, {at.strftime('%H:%M UTC')}"


def day(at: datetime) -> str:
    """A date that matters as such, such as the end of a certificate."""
    return at.strftime("%Y-%m-%d")


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `38 min`, `1 h 27 min`, `3 d`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d"


def age(at: datetime, now: datetime) -> str:
    """How long ago, in whole units: `2 s`, `6 min`, `1 h 53 min`, `12 d`."""
    passed = max(now - at, timedelta()).total_seconds()
    return f"{int(passed)} s" if passed < 60 else duration(passed)


def milliseconds(value: float) -> str:
    """`1.2 ms`, `38 ms`, `3,000 ms`."""
    if value < 9.95:
        return f"{value:.1f} ms"
    return f"{round(value):,} ms"


def size(count: int) -> str:
    """`0 B`, `9 KB`, `246 MB`, `1.2 GB`: decimal units, as registries count."""
    if count < 1000:
        return f"{count} B"
    for unit in ("KB", "MB", "GB"):
        value = count / 1000
        count = round(value)
        if value < 999.5:
            return (
                f"{value:.1f} {unit}" if value < 9.95 and unit != "KB" else f"{round(value)} {unit}"
            )
    return f"{count / 1000:.1f} TB"


def number(count: int) -> str:
    """`2,318`."""
    return f"{count:,}"


def plural(count: int, one: str, many: str = "") -> str:
    """`1 package`, `2,318 packages`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def share(part: int, whole: int) -> str:
    """`94 %`; never rounds something to nothing or a part to the whole."""
    if whole == 0:
        return "0 %"
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "1 %"
    if 99 < percent < 100:
        return "99 %"
    return f"{round(percent)} %"


def digest(text: str) -> str:
    """`sha256:9c41d7…e20b`: enough to recognise; the whole one stands beside it for machines."""
    algorithm, colon, hexadecimal = text.partition(":")
    if not colon or len(hexadecimal) < 20:
        return text
    return f"{algorithm}:{hexadecimal[:6]}…{hexadecimal[-4:]}"


def fingerprint(hexadecimal: str) -> str:
    """`4F:9A:31:C2 … 0B:7E` of a SHA-256 in hexadecimal, with or without colons."""
    plain = hexadecimal.replace(":", "").upper()
    pairs = [plain[i : i + 2] for i in range(0, len(plain), 2)]
    return f"{':'.join(pairs[:4])} … {':'.join(pairs[-2:])}" if len(pairs) > 8 else ":".join(pairs)


@dataclass(frozen=True, slots=True)
class ImageName:
    """An image reference cut for reading: the host is pale, the repository strong, the tag pale."""

    host: str
    repository: str
    tag: str

    def __str__(self) -> str:
        return f"{self.host}{self.repository}{self.tag}"


def image_name(reference: str) -> ImageName:
    """Cut `registry.test/pay/checkout:4.12.0` at the places a reader looks for."""
    if reference.startswith(("oci:", "docker-archive:", "rootfs:", "dir:", "docker:")):
        kind, _, rest = reference.partition(":")
        return ImageName(f"{kind}:", rest, "")
    rest, at, pinned = reference.partition("@")
    tag = f"@{digest(pinned)}" if at else ""
    head, slash, last = rest.rpartition("/")
    name, colon, label = last.partition(":")
    if colon:
        tag = f":{label}{tag}"
    path = f"{head}{slash}{name}"
    host, slash, repository = path.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return ImageName(f"{host}/", repository, tag)
    return ImageName("", path, tag)


def severity(value: Severity) -> tuple[str, str, str]:
    """Letter, class suffix, word: `("C", "c", "Critical")`."""
    word = value.label.capitalize()
    return word[0], word[0].lower(), word


def words(items: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    parts = list(items)
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def sentence(text: str) -> str:
    """`text` as a sentence: capital first, a full stop last. Names in backticks are left alone."""
    text = text.strip()
    if not text:
        return ""
    first = text if text[0] == "`" or "://" in text.split()[0] else text[0].upper() + text[1:]
    # A host or a command at the start keeps its spelling.
    if "." in text.split()[0].rstrip(".") or "_" in text.split()[0]:
        first = text
    return first if first[-1] in ".!?…" else f"{first}."


def finite(value: float) -> float:
    """`value`, or 0 where it is not a number that can be drawn."""
    return value if math.isfinite(value) else 0.0
