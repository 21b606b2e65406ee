"""A scan: from an image's source to what is installed, and on to what is wrong with it.

`read_image` needs no advisories, so a Defender sends its result to the Console; `scan_image` is
the whole of it for the command line. Both block, and run in any thread.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from garrison.images import ImageContent, ImageSource, Progress, merge
from garrison.packages import Inventory, Layer, Support, support_of, support_sentence
from garrison.packages.readers import Assembled, PackageFiles, assemble

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from garrison.advisories import AdvisoryStore
    from garrison.findings.cache import ScanCache
    from garrison.findings.finding import ScanReport

MAX_SECONDS = 3600.0
"""Seconds that reading one image may take."""

MAX_LABELS = 500
MAX_TEXT = 4096
"""Characters kept of a label or a build step."""


def read_image(
    source: ImageSource,
    *,
    threads: int = 2,
    progress: Progress | None = None,
    seconds: float = MAX_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    cache: ScanCache | None = None,
) -> Inventory:
    """Everything installed in the image of `source`.

    cache: an image it knows costs its manifest, and no layer it knows is read again.
    progress: called with bytes done, bytes in all and the step, from the reading threads; what
        it raises ends the scan. seconds: for the whole of it.

    Raises:
        ImageError: the image cannot be read; a broken file inside it is only `skipped`.
        EgressError: the way to its registry failed.
    """
    began = clock()
    identity = source.identify() if cache is not None else ""
    if cache is not None and (known := cache.image(identity)) is not None:
        return replace(known, reference=source.reference, duration=clock() - began)
    content = source.read(
        PackageFiles(lock_files=source.reference.startswith("dir:")),
        threads=threads,
        progress=progress,
        seconds=seconds,
        cache=cache,
    )
    if progress is not None:
        progress(0, 0, "packages")
    found = assemble(merge(content.contents), content.layers)
    inventory = _inventory(content, found, clock() - began)
    if cache is not None:
        cache.remember(identity, inventory)
        cache.tidy()
    return inventory


def scan_image(
    source: ImageSource,
    store: AdvisoryStore | None,
    *,
    threads: int = 2,
    progress: Progress | None = None,
    seconds: float = MAX_SECONDS,
    cache: ScanCache | None = None,
    today: date | None = None,
) -> ScanReport:
    """`read_image`, and `judge`."""
    inventory = read_image(source, threads=threads, progress=progress, seconds=seconds, cache=cache)
    return judge(inventory, store, today)


def judge(
    inventory: Inventory, store: AdvisoryStore | None, today: date | None = None
) -> ScanReport:
    """The findings in `inventory` by the advisories in `store`, if there are any.

    today: for which the end of updates is looked up.
    """
    from garrison.findings.match import match_inventory

    report = match_inventory(inventory, store)
    support = support_of(inventory.os, today) if inventory.os and today else None
    warnings = (*report.warnings, *warnings_about(inventory, support))
    return replace(report, warnings=warnings, support=support)


def warnings_about(inventory: Inventory, support: Support | None = None) -> tuple[str, ...]:
    """What a reader of a report about `inventory` should know before believing it."""
    warnings = []
    if inventory.os and support is not None and support.over:
        warnings.append(support_sentence(inventory.os, support))
    distributions = [p for p in inventory.packages if p.type in ("deb", "apk", "rpm")]
    if inventory.os and not distributions and not inventory.unreadable:
        warnings.append(
            f"{inventory.os.pretty_name or inventory.os.id} without a package database: packages "
            "of the distribution cannot be listed"
        )
    return tuple(warnings)


def _inventory(content: ImageContent, found: Assembled, duration: float) -> Inventory:
    return Inventory(
        reference=content.reference,
        digest=content.digest,
        platform=content.platform,
        os=found.os,
        layers=tuple(
            Layer(layer.digest, layer.diff_id, layer.size, layer.created_by[:MAX_TEXT])
            for layer in content.layers
        ),
        packages=found.packages,
        skipped=found.skipped,
        unreadable=found.unreadable,
        duration=duration,
        labels={
            key: value[:MAX_TEXT]
            for key, value in list(content.labels.items())[:MAX_LABELS]
            if len(key) <= MAX_TEXT
        },
    )
