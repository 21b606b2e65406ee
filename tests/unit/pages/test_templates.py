"""Templates and static files keep their promises: no inline code, no raw markup, known hashes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from garrison.console.pages import view
from garrison.console.pages.static import ROOT, StaticFiles
from tests.unit.pages import samples

TEMPLATES = sorted(view.TEMPLATES.glob("*.html"))


@pytest.mark.parametrize("name", samples.PAGES)
def test_page_renders_from_its_context(name: str) -> None:
    template, context, title, here = samples.PAGES[name]
    html = view.html(template, context, shell=replace(samples.SHELL, here=here), title=title)
    assert f"<title>{title} · Garrison</title>" in html
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids)), "an id stands twice"


@pytest.mark.parametrize("name", samples.BARE)
def test_page_before_sign_in_renders(name: str) -> None:
    template, context, title = samples.BARE[name]
    assert "<h1>" in view.bare(template, context, title=title, now=samples.NOW)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.name)
def test_template_holds_nothing_inline(path: Path) -> None:
    """The policy would block it; `safe` would let an image's labels write markup."""
    source = path.read_text()
    assert not re.search(r"\sstyle\s*=|<style|\son\w+\s*=|hx-on|javascript:|\"js:", source)
    assert not re.search(r"<script(?![^>]*\bsrc=)", source)
    assert not re.search(r"\|\s*safe\b|Markup|autoescape false", source)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.name)
def test_every_form_that_posts_has_the_token(path: Path) -> None:
    source = path.read_text()
    for form in re.findall(r'<form\b[^>]*method="post".*?</form>', source, re.DOTALL):
        if 'action="/sign-in"' in form or 'action="/setup"' in form:
            continue
        assert "csrf()" in form or 'name="csrf_token"' in form


def test_markup_in_values_is_text() -> None:
    context = samples.proxy_page(saved_by="<b>mira</b>")
    html = view.html("proxy.html", context, shell=samples.SHELL, title="Proxy")
    assert "&lt;b&gt;mira&lt;/b&gt;" in html
    assert "<b>mira" not in html


def test_unknown_names_are_errors() -> None:
    with pytest.raises(UndefinedError):
        view.environment().from_string("{{ nothing }}").render()


def test_vendored_files_are_as_published() -> None:
    listing = (ROOT / "VENDORED.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", listing, re.MULTILINE)
    assert {name for name, _ in rows} >= {"htmx.min.js"}
    for name, digest in rows:
        assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == digest
    binaries = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.woff2")}
    assert binaries <= {name for name, _ in rows}


def test_static_address_changes_with_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a{}")
    before = StaticFiles(tmp_path)
    (tmp_path / "a.css").write_text("b{}")
    after = StaticFiles(tmp_path)
    assert before.url("a.css") != after.url("a.css")
    with pytest.raises(KeyError):
        after.url("b.css")


def test_icons_named_in_templates_exist() -> None:
    symbols = set(re.findall(r'<symbol id="([^"]+)"', (ROOT / "icons.svg").read_text()))
    for path in TEMPLATES:
        named = re.findall(r"icon\('([a-z0-9-]+)'", path.read_text())
        assert set(named) - {"st-"} <= symbols, path.name


def test_links_drop_what_is_empty() -> None:
    assert view.link("/images", q="a b", severity="", cursor=None, page=2) == "/images?q=a+b&page=2"
    assert view.link("/images") == "/images"
    assert view.segment("sha256:ab/../c") == "sha256:ab%2F..%2Fc"
