"""What the Console does with its database, once more on PostgreSQL: the same tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from garrison.console.state import AppState
from lab.errors import MissingProgramError
from lab.postgres import Postgres
from tests.unit.console.harness import Client, console, token_for
from tests.unit.console.test_accounts import (  # noqa: F401
    test_a_new_link_replaces_the_old,
    test_api_tokens_end,
    test_sign_in_and_out,
    test_the_set_up_link_works_once,
    test_two_at_once_make_one_administrator,
)
from tests.unit.console.test_deliveries import (  # noqa: F401
    test_a_message_is_sent_once,
    test_a_removed_profile_sends_nothing,
    test_saved_proxy_settings_try_waiting_messages_at_once,
    test_what_failed_is_tried_again_with_its_trace,
)
from tests.unit.console.test_proxy_settings import (  # noqa: F401
    test_a_saved_setting_is_used_at_once,
    test_a_stale_form_is_refused,
    test_api_round_trip,
)
from tests.unit.console.test_scans import (  # noqa: F401
    test_a_failed_transaction_leaves_nothing,
    test_a_finding_is_told_once,
    test_a_new_advisory_is_found_in_known_images,
    test_an_image_scanned_before_any_advisory_is_told_when_they_come,
    test_over_the_api,
)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    try:
        made = Postgres().__enter__()
    except MissingProgramError as error:
        pytest.skip(str(error))
    yield made
    made.__exit__(None, None, None)


@pytest.fixture
def state(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppState]:
    url = server.url(server.new_database())
    with console(tmp_path, monkeypatch, GARRISON_DATABASE_URL=url) as made:
        assert made.db.kind == "postgresql"
        yield made


@pytest.fixture
def client(state: AppState) -> Client:
    return Client(state, token_for(state, "admin"))


async def test_metrics(client: Client) -> None:
    assert "garrison_images 0.0" in (await client.call("GET", "/metrics")).text
