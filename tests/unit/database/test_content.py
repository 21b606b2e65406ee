"""What an inventory becomes: the same content has the same hashes, other content others."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from garrison.database.content import MAX_INDEXED, NO_LAYER, Content
from garrison.packages.package import Inventory, Layer, Package

BASE, APP = Layer("sha256:1", "sha256:d1", 10, "ADD"), Layer("sha256:2", "sha256:d2", 20)


def package(name: str = "a", **changes: str) -> Package:
    one = Package(
        "deb", "debian", name, "1", f"pkg:deb/debian/{name}@1", "status", layer=BASE.digest
    )
    return replace(one, **changes)  # type: ignore[arg-type]


def content(*packages: Package, layers: tuple[Layer, ...] = (BASE, APP)) -> Content:
    return Content.of(Inventory("r", "sha256:x", "linux/amd64", None, layers, packages))


def test_order_of_packages_does_not_matter() -> None:
    packages = [package(f"p{n}") for n in range(20)]
    shuffled = random.Random(1).sample(packages, len(packages))
    assert content(*packages).sets.keys() == content(*shuffled).sets.keys()


def test_every_part_of_a_link_matters() -> None:
    digests = {
        next(iter(content(one).sets))
        for one in (
            package(),
            package(path="other"),
            package(position="owned"),
            package(owner="dpkg"),
            package(version="2"),
        )
    }
    assert len(digests) == 5


_field = st.text(alphabet="ab", max_size=2)


@given(st.tuples(*[_field] * 8), st.tuples(*[_field] * 8))
def test_fields_do_not_run_together(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    """`ab`+`c` is not `a`+`bc`: a package could take another's place."""

    def key(fields: tuple[str, ...]) -> bytes:
        kind, namespace, name, version, arch, distro, source, source_version = fields
        made = Package(
            kind,
            namespace,
            name,
            version,
            "purl",
            "p",
            arch=arch,
            distro=distro,
            source=source,
            source_version=source_version,
        )
        return next(iter(content(made).packages))

    assert (key(one) == key(two)) == (one == two)


def test_layer_and_place_are_no_part_of_a_package() -> None:
    here, there = package(), package(layer=APP.digest, path="other", position="vendored")
    assert len(content(here, there).packages) == 1
    assert len(content(here, there).sets) == 2


def test_one_package_for_each_purl_and_path() -> None:
    """A reader that lists a package twice, or under two versions of its source, makes one."""
    found = content(package(), package(), package(source_version="9"), package(path="other"))
    assert found.count == 2


def test_package_finds_its_layer_by_digest_or_diff_id() -> None:
    found = content(
        package("a"),
        package("b", layer="", diff_id=APP.diff_id),
        package("c", layer="sha256:unknown"),
        package("d", layer=""),
    )
    names = {
        place.position: [found.packages[link.package][2] for link in found.sets[place.set]]
        for place in found.places
        if place.set
    }
    assert {position: sorted(each) for position, each in names.items()} == {
        NO_LAYER: ["c", "d"],
        0: ["a"],
        1: ["b"],
    }
    assert [place.layer is None for place in found.places] == [True, False, False]


def test_upper_of_two_equal_layers_has_the_packages() -> None:
    found = content(package(), layers=(BASE, APP, BASE))
    assert [place.set is not None for place in found.places] == [False, False, True]
    assert found.places[0].layer == found.places[2].layer


def test_only_what_nobody_else_answers_for_counts() -> None:
    def counted(**changes: str) -> bool:
        (links,) = content(package(**changes)).sets.values()
        return links[0].counted

    assert counted()
    assert counted(position="owned")
    assert counted(type="pypi", position="vendored")
    assert not counted(type="pypi", position="owned")
    assert not counted(type="npm", position="owned")
    assert not counted(type="gem", position="owned")


def test_long_names_are_cut_but_stay_apart() -> None:
    """An index entry of PostgreSQL holds 2,704 bytes."""
    long = "é" * 4000
    found = content(package(long), package(long + "x", path="other"))
    assert len(found.packages) == 2
    for row in found.packages.values():
        assert all(len(text) <= MAX_INDEXED for text in row[:-1])
