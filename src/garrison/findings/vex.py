"""VEX: statements on whether a vulnerability matters in a product. Pure.

OpenVEX and CycloneDX documents are read; `apply_vex` attaches to each finding the newest
statement that is about it. A statement is about a finding when it names the vulnerability, by id
or alias, and a product that is the package itself, or the image with the package among its
subcomponents (or with none named).

Source: OpenVEX specification 0.2.0; CycloneDX 1.4 to 1.6, `vulnerabilities[].analysis`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast, get_args
from urllib.parse import unquote

import msgspec

from garrison.errors import InvalidSettingError
from garrison.findings.finding import Decision, DecisionStatus, Finding, ScanReport

if TYPE_CHECKING:
    from packageurl import PackageURL

MAX_BYTES = 32 << 20
"""Of one document."""
MAX_TEXT = 2000
"""Characters kept of a reason."""

JUSTIFICATIONS = (
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
)
_STATUSES = frozenset(get_args(DecisionStatus)) - {"accepted"}
_CYCLONEDX_STATES: dict[str, DecisionStatus] = {
    "resolved": "fixed",
    "resolved_with_pedigree": "fixed",
    "exploitable": "affected",
    "in_triage": "under_investigation",
    "false_positive": "not_affected",
    "not_affected": "not_affected",
}
_BOM_LINK = re.compile(r"urn:cdx:[0-9a-fA-F-]+/\d+#(?P<ref>.+)")
_HUB = ("index.docker.io/", "registry-1.docker.io/", "docker.io/")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class VexUnreadableError(InvalidSettingError):
    """A file that is no VEX document, or says something that VEX does not allow."""

    code = "findings.bad_vex"

    def __init__(self, source: str, message: str) -> None:
        super().__init__(
            "vex", f"{source}: {message}", "Use OpenVEX, or CycloneDX with analysis, as JSON."
        )


@dataclass(frozen=True, slots=True)
class Product:
    """names: package URLs, digests (`sha256:…`) and other identifiers of one product.

    parts: the same of its subcomponents; empty for all of the product.
    """

    names: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """at: since when it is true; of two about the same, the later holds."""

    vulnerabilities: frozenset[str]
    products: tuple[Product, ...]
    decision: Decision
    at: datetime


def parse_vex(data: bytes, source: str) -> tuple[Statement, ...]:
    """The statements of one document, as ordered there. source: what to call it to people.

    Raises: VexUnreadableError.
    """
    if len(data) > MAX_BYTES:
        raise VexUnreadableError(source, f"more than {MAX_BYTES} bytes")
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise VexUnreadableError(source, f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise VexUnreadableError(source, "not a VEX document")
    if _text(document.get("@context")).startswith("https://openvex.dev/ns"):
        return tuple(_openvex(document, source))
    if document.get("bomFormat") == "CycloneDX":
        return tuple(_cyclonedx(document, source))
    raise VexUnreadableError(source, "neither OpenVEX nor CycloneDX")


def apply_vex(
    report: ScanReport, statements: Sequence[Statement], image_purl: str = ""
) -> ScanReport:
    """The report with what the statements decide; what they suppress stands apart.

    image_purl: the image's own package URL, if it has one.
    """
    ordered = sorted(statements, key=lambda statement: statement.at)
    by_id: dict[str, list[int]] = {}
    for rank, statement in enumerate(ordered):
        for id in statement.vulnerabilities:
            by_id.setdefault(id, []).append(rank)
    image = _Image(report, image_purl)
    kept, suppressed = [], list(report.suppressed)
    for finding in report.findings:
        decision = _newest(finding, ordered, by_id, image)
        if decision is None:
            kept.append(finding)
        elif decision.suppresses:
            suppressed.append(replace(finding, decision=decision))
        else:
            kept.append(replace(finding, decision=decision))
    return replace(report, findings=tuple(kept), suppressed=tuple(suppressed))


def _newest(
    finding: Finding,
    ordered: Sequence[Statement],
    by_id: Mapping[str, list[int]],
    image: _Image,
) -> Decision | None:
    match = finding.match
    ids = {id.upper() for id in (match.id, *match.aliases, *match.records)}
    ranks = {rank for id in ids for rank in by_id.get(id, ())}
    for rank in sorted(ranks, reverse=True):
        statement = ordered[rank]
        if any(_is_about(product, finding, image) for product in statement.products):
            return statement.decision
    return None


class _Image:
    """What the image is known by."""

    def __init__(self, report: ScanReport, purl: str) -> None:
        inventory = report.inventory
        self.purl = _purl(purl)
        self.names = {inventory.reference, inventory.digest, purl} - {""}


def _is_about(product: Product, finding: Finding, image: _Image) -> bool:
    own = _package_purls(finding)
    if any(_names(name, own) for name in product.names):
        return True
    if not any(_is_image(name, image) for name in product.names):
        return False
    return not product.parts or any(_names(name, own) for names in product.parts for name in names)


def _is_image(name: str, image: _Image) -> bool:
    if name in image.names:
        return True
    if image.purl is None:
        return False
    wanted = _purl(name)
    return wanted is not None and _covers(wanted, image.purl)


def _names(name: str, own: Sequence[PackageURL]) -> bool:
    wanted = _purl(name)
    return wanted is not None and any(_covers(wanted, purl) for purl in own)


def _covers(wanted: PackageURL, actual: PackageURL) -> bool:
    """A purl covers all that it does not exclude: without a version every one, without a
    qualifier every value of it."""
    if (wanted.type, wanted.namespace, wanted.name) != (
        actual.type, actual.namespace, actual.name,
    ):  # fmt: skip
        return False
    if wanted.version and wanted.version != actual.version:
        return False
    given: Mapping[str, str] = wanted.qualifiers
    has: Mapping[str, str] = actual.qualifiers
    return all(
        _qualifier(key, value) == _qualifier(key, has.get(key, "")) for key, value in given.items()
    )


def _qualifier(key: str, value: str) -> str:
    if key == "repository_url":
        value = value.removeprefix("https://")
        for prefix in _HUB:
            if value.startswith(prefix):
                return value.removeprefix(prefix).removeprefix("library/")
    return value


def _package_purls(finding: Finding) -> tuple[PackageURL, ...]:
    package = finding.package
    version = package.source_version or package.version
    return _purls(package.purl, package.source, version, package.arch)


@lru_cache(maxsize=65536)
def _purls(text: str, source: str, version: str, arch: str) -> tuple[PackageURL, ...]:
    """The package's own, and that of its source package, which distributions name."""
    from packageurl import PackageURL

    own = _purl(text)
    if own is None or not source:
        return () if own is None else (own,)
    qualifiers = dict(own.qualifiers)
    return (
        own,
        *(
            PackageURL(own.type, own.namespace, source, version, qualifiers | {"arch": each})
            for each in ("source", arch)
        ),
    )


@lru_cache(maxsize=65536)
def _purl(text: str) -> PackageURL | None:
    if not text.startswith("pkg:"):
        return None
    from packageurl import PackageURL

    try:
        return PackageURL.from_string(text)
    except ValueError:
        return None


def _openvex(document: Mapping[str, Any], source: str) -> Iterator[Statement]:
    issued = _moment(document.get("last_updated")) or _moment(document.get("timestamp"))
    author = _text(document.get("author"))
    label = f"{source}, {author}" if author else source
    statements = document.get("statements")
    if not isinstance(statements, list):
        raise VexUnreadableError(source, "an OpenVEX document without statements")
    for number, entry in enumerate(statements, 1):
        if not isinstance(entry, dict):
            raise VexUnreadableError(source, f"statement {number} is none")
        ids = _openvex_ids(entry.get("vulnerability"))
        products = tuple(_openvex_products(entry))
        status, justification = _text(entry.get("status")), _text(entry.get("justification"))
        impact = _text(entry.get("impact_statement"))
        if not ids:
            raise VexUnreadableError(source, f"statement {number} names no vulnerability")
        if status not in _STATUSES:
            raise VexUnreadableError(source, f"statement {number} has no status of VEX: {status!r}")
        if status == "not_affected" and not (justification or impact):
            raise VexUnreadableError(
                source, f"statement {number} says not_affected without a justification"
            )
        if justification and justification not in JUSTIFICATIONS:
            raise VexUnreadableError(
                source, f"statement {number} has no justification of VEX: {justification!r}"
            )
        if not products:
            raise VexUnreadableError(source, f"statement {number} names no product")
        notes = [impact, _text(entry.get("action_statement")), _text(entry.get("status_notes"))]
        reason = "; ".join(dict.fromkeys(note for note in notes if note))[:MAX_TEXT]
        decision = Decision("vex", cast(DecisionStatus, status), justification, reason, label)
        at = _moment(entry.get("last_updated")) or _moment(entry.get("timestamp")) or issued
        yield Statement(ids, products, decision, at or _EPOCH)


def _openvex_ids(value: Any) -> frozenset[str]:
    """Of 0.2 a table with aliases, before that a plain id; `@id` may be a URL ending in one."""
    if isinstance(value, str):
        return frozenset({value.upper()} - {""})
    table = value if isinstance(value, dict) else {}
    names = [_text(table.get("name")), *_texts(table.get("aliases"))]
    if not any(names):
        names = [_text(table.get("@id")).rpartition("/")[2]]
    return frozenset(name.upper() for name in names if name)


def _openvex_products(entry: Mapping[str, Any]) -> Iterator[Product]:
    products = entry.get("products")
    # Before 0.2, subcomponents stood beside products.
    shared = [_identifiers(each) for each in _list(entry.get("subcomponents"))]
    for each in _list(products):
        names = _identifiers(each)
        own = each.get("subcomponents") if isinstance(each, dict) else None
        parts = [_identifiers(part) for part in _list(own)] or shared
        if names:
            yield Product(names, tuple(part for part in parts if part))


def _identifiers(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    if not isinstance(value, dict):
        return ()
    found = [_text(value.get("@id"))]
    identifiers = value.get("identifiers")
    if isinstance(identifiers, dict):
        found += [_text(each) for each in identifiers.values()]
    hashes = value.get("hashes")
    if isinstance(hashes, dict):
        for name, digest in hashes.items():
            found.append(f"{str(name).lower().replace('sha-', 'sha')}:{_text(digest).lower()}")
    return tuple(dict.fromkeys(each for each in found if each))


def _cyclonedx(document: Mapping[str, Any], source: str) -> Iterator[Statement]:
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    issued = _moment(metadata.get("timestamp"))
    names = _references(document, metadata.get("component"))
    for number, entry in enumerate(_list(document.get("vulnerabilities")), 1):
        analysis = entry.get("analysis") if isinstance(entry, dict) else None
        if not isinstance(analysis, dict) or "state" not in analysis:
            continue
        status = _CYCLONEDX_STATES.get(_text(analysis["state"]))
        if status is None:
            raise VexUnreadableError(
                source, f"vulnerability {number} has no state of CycloneDX: {analysis['state']!r}"
            )
        ids = {_text(entry.get("id"))}
        ids |= {
            _text(each.get("id"))
            for each in _list(entry.get("references"))
            if isinstance(each, dict)
        }
        if not ids - {""}:
            raise VexUnreadableError(source, f"vulnerability {number} has no id")
        products = tuple(
            Product(names.get(ref, (ref,)))
            for each in _list(entry.get("affects"))
            if isinstance(each, dict) and (ref := _reference(_text(each.get("ref"))))
        )
        at = _moment(analysis.get("lastUpdated")) or _moment(entry.get("updated")) or issued
        decision = Decision(
            "vex",
            status,
            _text(analysis.get("justification")),
            _text(analysis.get("detail"))[:MAX_TEXT],
            source,
        )
        yield Statement(frozenset(id.upper() for id in ids if id), products, decision, at or _EPOCH)


def _reference(text: str) -> str:
    """A bom-ref; of another document by BOM-Link, where it is percent-encoded."""
    found = _BOM_LINK.fullmatch(text)
    return unquote(found["ref"]) if found else text


def _references(document: Mapping[str, Any], root: Any) -> dict[str, tuple[str, ...]]:
    """What the document's own bom-refs stand for."""
    found: dict[str, tuple[str, ...]] = {}
    waiting = [root, *_list(document.get("components"))]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, dict):
            continue
        names = [_text(each.get("purl"))]
        if each is root:
            names += [_text(each.get("version")), _text(each.get("name"))]
        ref = _text(each.get("bom-ref"))
        if ref and any(names):
            found[ref] = tuple(name for name in names if name)
        waiting += _list(each.get("components"))
    return found


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(_text(value).strip())
    except ValueError:
        # More digits of a second than Python reads.
        shorter = re.sub(r"(\.\d{6})\d+", r"\1", _text(value).strip())
        try:
            moment = datetime.fromisoformat(shorter)
        except ValueError:
            return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> Iterable[str]:
    return [each for each in _list(value) if isinstance(each, str)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
