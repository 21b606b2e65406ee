"""Package URLs, written as the specification says.

`packageurl-python` takes 20 ms to import and does more than is needed here; tests compare.

Source: github.com/package-url/purl-spec, PURL-SPECIFICATION.rst and PURL-TYPES.rst.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

_SEPARATORS = re.compile(r"[-_.]+")


def purl(
    type: str,
    namespace: str,
    name: str,
    version: str,
    qualifiers: Mapping[str, str] | None = None,
) -> str:
    """`pkg:TYPE/NAMESPACE/NAME@VERSION?QUALIFIERS`, normalised for its type."""
    if type == "pypi":
        name = pypi_name(name)
    elif type in ("deb", "apk", "rpm"):
        namespace = namespace.lower()
        name = name if type == "rpm" else name.lower()
    elif type in ("composer", "golang", "npm"):
        namespace, name = namespace.lower(), name.lower()
    path = "/".join(_quote(part) for part in (*namespace.split("/"), name) if part)
    text = f"pkg:{type}/{path}"
    if version:
        text += f"@{_quote(version)}"
    given = sorted((key, value) for key, value in (qualifiers or {}).items() if value)
    if given:
        text += "?" + "&".join(f"{key}={_quote(value)}" for key, value in given)
    return text


def pypi_name(name: str) -> str:
    """The normalised name of a Python project (PEP 503)."""
    return _SEPARATORS.sub("-", name).lower()


def _quote(text: str) -> str:
    return quote(text, safe=":~")
