"""What an image's page makes of findings and layers."""

from __future__ import annotations

import pytest

from garrison.console.pages import image
from garrison.database.images import LayerRow
from garrison.findings import Cvss, Finding, Match, Severity
from garrison.packages import Layer, Package

LAYERS = tuple(
    LayerRow(n, Layer(f"sha256:{n:064x}", f"sha256:{n + 99:064x}", size, step), 1)
    for n, (size, step) in enumerate([(900, "ADD rootfs /"), (100, "RUN pip install x")])
)
NUMBERS = image.layer_numbers(LAYERS)


def finding(
    name: str, advisory: str, severity: Severity, fixed_in: str, *, source: str = "", layer: int = 0
) -> Finding:
    kind = "deb" if source else "pypi"
    package = Package(
        type=kind,
        namespace="",
        name=name,
        version="1.0",
        purl=f"pkg:{kind}/{name}@1.0",
        path="var/lib/dpkg/status" if source else f"site-packages/{name}",
        source=source,
        source_version="1.0" if source else "",
        layer=LAYERS[layer].layer.digest,
    )
    evidence = f"{advisory}: Debian:12 {source or name} 1.0 (introduced 0, fixed {fixed_in})"
    match = Match(advisory, (), severity, "", (Cvss("v", 9.8),), fixed_in, evidence, (advisory,))
    return Finding(package, match)


FINDINGS = [
    finding("libssl3", "CVE-1", Severity.CRITICAL, "1.10", source="openssl"),
    finding("openssl", "CVE-1", Severity.CRITICAL, "1.10", source="openssl"),
    finding("openssl", "CVE-2", Severity.HIGH, "1.9", source="openssl"),
    finding("requests", "CVE-3", Severity.MEDIUM, "2.0", layer=1),
    finding("zlib1g", "CVE-4", Severity.CRITICAL, "", source="zlib"),
]


def grouped(by: str) -> list[image.Group]:
    address = image._Address("sha256:00", group=by)
    return image.group(FINDINGS, address, lambda f: image.line(f, NUMBERS))


def test_one_upgrade_removes_what_its_source_package_brought() -> None:
    """1.10 is above 1.9 for dpkg, not for text; the binary packages move together."""
    first, *_ = grouped("fix")
    assert (first.title, first.installed, first.fixed_in) == ("openssl", "1.0", "1.10")
    assert first.total == 3
    assert [(item.advisory, item.package) for item in first.lines] == [
        ("CVE-1", "libssl3 and openssl"),
        ("CVE-2", "openssl"),
    ]
    assert first.where == "by apt, layer 1"


def test_what_has_no_fix_stands_apart() -> None:
    groups = grouped("fix")
    assert [g.title for g in groups if not g.fixed_in] == ["No fix yet"]


def test_layers_count_their_own_findings() -> None:
    assert [(g.title, g.total) for g in grouped("layer")] == [("Layer 1", 4), ("Layer 2", 1)]


def test_core_sample_fills_the_rows_beside_it() -> None:
    lines = image.layer_lines(LAYERS, FINDINGS, NUMBERS, image._Address("sha256:00"))
    assert [line.number for line in lines] == [2, 1]
    assert [line.worst for line in lines] == ["m", "c"]
    bottom = lines[-1].y + lines[-1].height
    assert bottom == pytest.approx(image.ROW * 2 - 2, abs=0.2)
    assert lines[0].height >= 5


def test_core_sample_of_many_empty_layers() -> None:
    heights = image.slice_heights([0] * 40)
    assert len(set(heights)) == 1
    assert image.slice_heights([]) == []


@pytest.mark.parametrize(
    ("created_by", "step"),
    [
        ("RUN /bin/sh -c apt-get update # buildkit", "RUN apt-get update"),
        ("/bin/sh -c apt-get   update", "RUN apt-get update"),
        ('/bin/sh -c #(nop)  CMD ["bash"]', 'CMD ["bash"]'),
        ("/bin/sh -c #(nop) ADD file:0123456789abcdef in / ", "ADD … in /"),
        ("RUN |1 VERSION=3 /bin/sh -c make # buildkit", "RUN make"),
        ("COPY . /srv # buildkit", "COPY . /srv"),
        ("", ""),
    ],
)
def test_build_steps_read_like_the_dockerfile(created_by: str, step: str) -> None:
    assert image.build_step(created_by) == step


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ("CVE-1: Debian:12 openssl 1.0 (introduced 0, fixed 1.2)", "< 1.2"),
        ("DSA-7: Debian:12 openssl 1.0 (introduced 0, fixed 1.2)", "DSA-7: < 1.2"),
        ("CVE-1: PyPI x 1.0 (introduced 0.9, last affected 1.1)", "≥ 0.9, ≤ 1.1"),
        ("CVE-1: PyPI x 1.0 (introduced 0, no fix named)", "every version"),
        ("CVE-1: PyPI x 1.0 (listed)", "listed"),
        (
            "CVE-1: PyPI x 1 (introduced 0, fixed 2); GHSA-2: PyPI x 1 (listed)",
            "< 2; GHSA-2: listed",
        ),
        ("something else entirely", "something else entirely"),
    ],
)
def test_evidence_in_short(evidence: str, said: str) -> None:
    assert image.because(evidence, "CVE-1") == said


def test_addresses_keep_what_was_chosen() -> None:
    address = image._Address.read(
        "sha256:00", {"group": "layer", "severity": "high", "layer": "2", "q": "a b", "from": "x"}
    )
    assert address.narrowed
    assert address.link() == "/images/sha256:00?group=layer&severity=high&layer=2&q=a+b"
    assert address.link(group="fix", layer="") == "/images/sha256:00?severity=high&q=a+b"
    assert not image._Address.read("sha256:00", {"group": "nonsense"}).narrowed


@pytest.mark.parametrize(
    ("kind", "versions", "highest"),
    [
        ("rpm", ["1:1.9-1.el9", "1:1.10-1.el9", "2.0-1.el9"], "1:1.10-1.el9"),
        ("golang", ["1.9.0", "1.10.0"], "1.10.0"),
        ("gem", ["1.9", "1.10", "1.10.rc1"], "1.10"),
        ("maven", ["2.9", "2.10", "2.10-alpha-1"], "2.10"),
    ],
)
def test_the_version_that_fixes_all_is_the_highest_of_its_kind(
    kind: str, versions: list[str], highest: str
) -> None:
    assert image.highest(kind, versions) == highest
