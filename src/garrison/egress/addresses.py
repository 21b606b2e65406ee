"""Several addresses of one name: in which order, and which failure to report."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from garrison.egress.plan import Address

STAGGER = 0.25
"""Seconds until the next address is tried beside the one before (RFC 8305 section 5)."""


def interleaved(addresses: Iterable[Address]) -> list[Address]:
    """Families in turn, the resolver's first one first, so that a broken one costs one try."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address.family, []).append(address)
    rows = itertools.zip_longest(*families.values())
    return [address for row in rows for address in row if address is not None]


def worst(errors: Sequence[OSError]) -> OSError:
    """The error that tells most: a refusal was an answer, a missing route may be IPv6's alone."""
    if not errors:
        return OSError("no address")

    def rank(error: OSError) -> int:
        if isinstance(error, ConnectionRefusedError):
            return 0
        return 1 if isinstance(error, TimeoutError) else 2

    return min(errors, key=rank)
