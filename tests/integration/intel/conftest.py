"""A feed on loopback and a client that goes straight to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from garrison.egress import ProxySettings
from garrison.egress.http import EgressClient
from tests.integration.intel.server import Feed, serve


@pytest.fixture
def feed() -> Iterator[Feed]:
    with serve() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[EgressClient]:
    running = EgressClient(ProxySettings.build())
    yield running
    await running.aclose()
