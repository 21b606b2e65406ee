"""Layers on top of each other, as containerd would unpack them."""

from __future__ import annotations

import tarfile

import pytest

from garrison.images import Broken, FileView, merge
from tests.unit.images.samples import tar_of, walked


def view_of(*tars: bytes) -> FileView:
    return merge(walked(tar) for tar in tars)


def files(*tars: bytes) -> dict[str, object]:
    return {path: entry.facts for path, entry in view_of(*tars).files.items()}


def test_a_higher_layer_wins_and_lower_ones_are_remembered() -> None:
    view = view_of(tar_of([("a/keep", b"1")]), tar_of([]), tar_of([("a/keep", b"2")]))
    entry = view.files["a/keep"]
    assert [(e.layer, e.facts) for e in entry.history()] == [(2, "2"), (0, "1")]


def test_whiteout_of_a_file() -> None:
    lower = tar_of([("a/keep", b"1"), ("ab/keep", b"2")])
    assert files(lower, tar_of([("a/.wh.keep", b"")])) == {"ab/keep": "2"}


def test_whiteout_of_a_folder_takes_what_is_below() -> None:
    lower = tar_of([("a/b/keep", b"1"), ("a/bc/keep", b"2")])
    assert files(lower, tar_of([("a/.wh.b", b"")])) == {"a/bc/keep": "2"}


def test_a_deleted_file_has_no_history() -> None:
    view = view_of(
        tar_of([("a/keep", b"1")]), tar_of([("a/.wh.keep", b"")]), tar_of([("a/keep", b"3")])
    )
    assert [e.layer for e in view.files["a/keep"].history()] == [2]


def test_an_opaque_folder_hides_lower_layers_only() -> None:
    lower = tar_of([("a/keep", b"1"), ("a/b/keep", b"2"), ("ab/keep", b"3")])
    upper = tar_of([("a/new/keep", b"4"), ("a/.wh..wh..opq", b"")])
    assert files(lower, upper) == {"ab/keep": "3", "a/new/keep": "4"}


def test_an_opaque_root_hides_all() -> None:
    assert files(tar_of([("a/keep", b"1")]), tar_of([(".wh..wh..opq", b"")])) == {}


def test_a_whiteout_does_not_hit_its_own_layer() -> None:
    """The order within a layer does not matter: OCI layer.md, "Whiteouts"."""
    upper = tar_of([("a/keep", b"2"), ("a/.wh.keep", b"")])
    assert files(tar_of([("a/keep", b"1")]), upper) == {"a/keep": "2"}


@pytest.mark.parametrize("kind", ["file", "symlink", "hard link"])
def test_a_folder_replaced_by_something_else(kind: str) -> None:
    lower = tar_of([("a/b/c/keep", b"1"), ("a/keep", b"2")])
    if kind == "file":
        upper = tar_of([("a/b", b"now a file")])
    else:
        link = tarfile.SYMTYPE if kind == "symlink" else tarfile.LNKTYPE
        upper = tar_of([], links=[("a/b", "a/x", link)])
    assert files(lower, upper) == {"a/keep": "2"}


def test_a_file_replaced_by_a_folder() -> None:
    """An egg-info may be either."""
    lower = tar_of([("a/keep", b"1")])
    upper = tar_of([("a/keep/package.json", b"2")], folders=["a/keep"])
    assert files(lower, upper) == {"a/keep/package.json": "2"}


def test_a_file_replaced_by_a_symbolic_link() -> None:
    lower = tar_of([("etc/keep", b"1"), ("usr/keep", b"2")])
    view = view_of(lower, tar_of([], links=[("etc/keep", "../usr/keep", tarfile.SYMTYPE)]))
    assert set(view.files) == {"usr/keep"}
    entry = view.get("etc/keep")
    assert entry is not None
    assert entry.facts == "2"


def test_a_symbolic_link_replaced_by_a_file() -> None:
    lower = tar_of([("usr/keep", b"1")], links=[("etc/keep", "../usr/keep", tarfile.SYMTYPE)])
    view = view_of(lower, tar_of([("etc/keep", b"2")]))
    assert {path: e.facts for path, e in view.files.items()} == {"usr/keep": "1", "etc/keep": "2"}
    entry = view.get("etc/keep")
    assert entry is not None
    assert entry.facts == "2"


def test_a_linked_parent_is_followed() -> None:
    """The merged /usr: a layer may say `lib/…` where `lib` is a link to `usr/lib`."""
    lower = tar_of([("usr/lib/keep", b"1")], links=[("lib", "usr/lib", tarfile.SYMTYPE)])
    upper = tar_of([("lib/keep", b"2")])
    view = view_of(lower, upper)
    assert set(view.files) == {"usr/lib/keep"}
    assert [e.facts for e in view.files["usr/lib/keep"].history()] == ["2", "1"]


def test_a_whiteout_below_a_linked_parent() -> None:
    lower = tar_of([("usr/lib/keep", b"1")], links=[("lib", "/usr/lib", tarfile.SYMTYPE)])
    assert files(lower, tar_of([("lib/.wh.keep", b"")])) == {}


def test_a_folder_replaces_a_link() -> None:
    lower = tar_of([("usr/lib/keep", b"1")], links=[("lib", "usr/lib", tarfile.SYMTYPE)])
    upper = tar_of([("lib/keep", b"2")], folders=["lib"])
    assert files(lower, upper) == {"usr/lib/keep": "1", "lib/keep": "2"}


def test_links_leave_the_root_nowhere() -> None:
    lower = tar_of([("etc/keep", b"1")], links=[("x", "../../../etc", tarfile.SYMTYPE)])
    entry = view_of(lower).get("x/keep")
    assert entry is not None
    assert entry.facts == "1"


@pytest.mark.parametrize("links", [[("a", "a")], [("a", "b"), ("b", "a")], [("a", "a/a/a/a")]])
def test_links_in_circles_end(links: list[tuple[str, str]]) -> None:
    tar = tar_of([("a/keep", b"1")], links=[(n, t, tarfile.SYMTYPE) for n, t in links])
    view = view_of(tar, tar)
    assert view.get("a/keep") is not None
    assert view.resolve("b/x/y") in ("b/x/y", "a/x/y")


def test_a_long_chain_of_growing_links_ends() -> None:
    links = [(f"l{n}", "/".join([f"l{n + 1}"] * 50), tarfile.SYMTYPE) for n in range(60)]
    view = view_of(tar_of([], links=links))
    assert view.resolve("l0/x")


def test_a_hard_link_to_a_lower_layer() -> None:
    lower = tar_of([("a/keep", b"1")])
    view = view_of(lower, tar_of([], links=[("b/keep", "a/keep", tarfile.LNKTYPE)]))
    assert (view.files["b/keep"].facts, view.files["b/keep"].layer) == ("1", 1)


def test_a_hard_link_to_nothing_is_said() -> None:
    view = view_of(tar_of([], links=[("b/keep", "a/other", tarfile.LNKTYPE)]))
    facts = view.files["b/keep"].facts
    assert isinstance(facts, Broken)
    assert facts.code == "images.hard_link"


def test_many_layers_with_many_files_stay_quick() -> None:
    tars = [tar_of([(f"n/{n}/keep", b"x") for n in range(300)]) for _ in range(60)]
    assert len(view_of(*tars).files) == 300
