"""The feed behaves like the public bulk export, and breaks when told to."""

import json
import zipfile
from collections.abc import Iterator
from http.client import IncompleteRead
from pathlib import Path

import pytest

from garrison.advisories.facts import Scores, read_catalogue
from lab.authority import Authority
from lab.feed import Feed
from lab.http import Answer, request
from lab.network import Network

pytestmark = pytest.mark.network

RECORD = {"id": "PYSEC-2020-1", "modified": "2020-01-01T00:00:00Z", "affected": []}


@pytest.fixture(scope="module")
def feed(
    net: Network, public_ca: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Feed]:
    data = tmp_path_factory.mktemp("data")
    (data / "PyPI").mkdir()
    (data / "ecosystems.txt").write_text("PyPI\n")
    (data / "PyPI/modified_id.csv").write_text("2020-01-01T00:00:00Z,PYSEC-2020-1\n")
    with zipfile.ZipFile(data / "PyPI/all.zip", "w") as archive:
        archive.writestr("PYSEC-2020-1.json", json.dumps(RECORD) + " " * 4000)
    with Feed(net, public_ca, data) as running:
        yield running


def get(feed: Feed, path: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    trust = feed.authority.certificate
    return request(feed.net, "outside", "GET", feed.url + path, trust=trust, headers=named)


def test_serves_the_bulk_layout(feed: Feed) -> None:
    assert get(feed, "/ecosystems.txt").body == b"PyPI\n"
    assert get(feed, "/PyPI/modified_id.csv").status == 200
    assert get(feed, "/PyPI/all.zip").body == (feed.data / "PyPI/all.zip").read_bytes()
    assert get(feed, "/PyPI/PYSEC-2020-1.json").json() == RECORD
    assert get(feed, "/PyPI/PYSEC-2020-2.json").status == 404
    assert get(feed, "/npm/all.zip").status == 404


def test_serves_what_stands_beside_advisories(feed: Feed) -> None:
    """And the Console's own readers take it."""
    scores = Scores(get(feed, "/beside/epss.csv").body.decode().splitlines())
    assert len(list(scores)) > 1000
    assert not scores.skipped
    assert len(read_catalogue(get(feed, "/beside/kev.json").body).entries) == 70
    assert get(feed, "/beside/other.json").status == 404


@pytest.mark.parametrize("path", ["/../x.txt", "/PyPI/%2e%2e/ecosystems.txt", "//x", "/PyPI"])
def test_leaves_its_folder_alone(feed: Feed, path: str) -> None:
    assert get(feed, path).status == 404


def test_answers_conditions(feed: Feed) -> None:
    first = get(feed, "/PyPI/all.zip")
    assert get(feed, "/PyPI/all.zip", If_None_Match=first.headers["etag"]).status == 304
    assert get(feed, "/PyPI/all.zip", If_None_Match='"other"').status == 200
    date = first.headers["last-modified"]
    assert get(feed, "/PyPI/all.zip", If_Modified_Since=date).status == 304


def test_a_cut_download_can_be_resumed(feed: Feed) -> None:
    whole = get(feed, "/PyPI/all.zip")
    feed.cut("/PyPI/all.zip", after=100)
    with pytest.raises(IncompleteRead) as cut:
        get(feed, "/PyPI/all.zip")
    rest = get(feed, "/PyPI/all.zip", Range="bytes=100-", If_Range=whole.headers["etag"])
    assert rest.status == 206
    assert rest.headers["content-range"] == f"bytes 100-{len(whole.body) - 1}/{len(whole.body)}"
    assert cut.value.partial + rest.body == whole.body
    changed = get(feed, "/PyPI/all.zip", Range="bytes=100-", If_Range='"other"')
    assert changed.status == 200
    assert get(feed, "/PyPI/all.zip", Range="bytes=999999-").status == 416


def test_fails_as_often_as_told(feed: Feed) -> None:
    feed.answer(503, path="csv$", times=2, headers={"Retry-After": "1"})
    assert get(feed, "/ecosystems.txt").status == 200
    statuses = [get(feed, "/PyPI/modified_id.csv").status for _ in range(3)]
    assert statuses == [503, 503, 200]
    assert feed.wait_request(lambda request: request.status == 503).path == "/PyPI/modified_id.csv"


def test_a_changed_file_is_served_at_once(feed: Feed) -> None:
    old = get(feed, "/ecosystems.txt").headers["etag"]
    Path(feed.data / "ecosystems.txt").write_text("PyPI\nnpm\n")
    assert get(feed, "/ecosystems.txt", If_None_Match=old).body == b"PyPI\nnpm\n"
    Path(feed.data / "ecosystems.txt").write_text("PyPI\n")
