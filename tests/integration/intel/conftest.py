"""A feed on loopback and a client that goes straight to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from garrison.advisories import AdvisoryStore
from garrison.egress import ProxySettings
from garrison.egress.http import EgressClient
from tests.integration.intel import real
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


@pytest.fixture(scope="session")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> AdvisoryStore:
    """A snapshot of all real advisories."""
    if not real.FOLDER.is_dir():
        pytest.skip("the real advisories are not beside the repository (../shared/data/advisories)")
    return real.load(tmp_path_factory.mktemp("real"))
