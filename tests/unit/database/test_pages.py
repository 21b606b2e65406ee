"""Cursors come from outside: only this list's own are taken."""

from __future__ import annotations

import base64
import contextlib
import json
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garrison.database.errors import InvalidCursorError
from garrison.database.ids import new_id
from garrison.database.page import Keyset
from garrison.database.tables import image
from garrison.database.types import clean, clean_json

ORDER = Keyset(
    "test",
    [image.c.scanned_at, image.c.reference, image.c.id],
    [datetime, str, int],
    descending=True,
)
_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_times = st.datetimes(timezones=st.just(UTC))


@given(_times, _text, st.integers(-(2**63), 2**63 - 1))
def test_cursor_gives_back_the_key(at: datetime, text: str, number: int) -> None:
    assert ORDER.values(ORDER.cursor([at, text, number])) == [at, text, number]


@given(st.text(max_size=200))
def test_any_text_is_a_key_or_an_invalid_cursor(text: str) -> None:
    with contextlib.suppress(InvalidCursorError):
        assert len(ORDER.values(text)) == 3


AT = "2026-11-24T08:00:00+00:00"


@pytest.mark.parametrize(
    "values",
    [
        ["other", AT, "a", 1],
        ["test", AT, "a"],
        ["test", AT, "a", 1, 2],
        ["test", AT, "a", "1"],
        ["test", AT, "a", True],
        ["test", AT, "a", 1.0],
        ["test", AT, "a", 2**63],
        ["test", AT, "a\0", 1],
        ["test", AT, None, 1],
        ["test", "2026-11-24T08:00:00", "a", 1],
        ["test", "yesterday", "a", 1],
        ["test", 5, "a", 1],
        {"test": 1},
        [],
        None,
    ],
)
def test_forged_cursor_is_refused(values: object) -> None:
    forged = base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()
    with pytest.raises(InvalidCursorError):
        ORDER.values(forged)


def test_ids_are_uuids_in_the_order_of_time() -> None:
    start = datetime(2026, 11, 24, tzinfo=UTC)
    made = [new_id(start + timedelta(milliseconds=n)) for n in range(50)]
    assert made == sorted(made)
    assert {uuid.UUID(one).version for one in made} == {7}
    assert {uuid.UUID(one).variant for one in made} == {uuid.RFC_4122}
    elsewhere = start.astimezone(timezone(timedelta(hours=9)))
    assert new_id(elsewhere)[:13] == new_id(start)[:13]


@given(st.text())
def test_clean_text_can_be_stored(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert clean(cleaned) == cleaned


def test_clean_json_reaches_every_text() -> None:
    value = {"a\0": ["b\0", ("c\ud800", 1, None, True)], "d": {"e": "f\0"}}
    assert clean_json(value) == {
        "a\ufffd": ["b\ufffd", ["c?", 1, None, True]],
        "d": {"e": "f\ufffd"},
    }
