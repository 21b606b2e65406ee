"""What a redirect leads to. Each step is routed anew by whoever follows it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urljoin

from garrison.egress.answer import Headers
from garrison.egress.endpoint import Target

REDIRECTS = (301, 302, 303, 307, 308)


def redirected(
    url: str, status: int, headers: Headers, method: str, given: Mapping[str, str]
) -> tuple[str, str, dict[str, str]] | None:
    """The URL, method and headers of the next request, when this answer is a redirect.

    What tells who we are stays behind when the host or port changes, or TLS ends."""
    location = headers.get("location", "")
    if status not in REDIRECTS or not location:
        return None
    target = urljoin(url, location)
    if status == 303 or (status in (301, 302) and method == "POST"):
        method = "HEAD" if method == "HEAD" else "GET"
    old, new = Target.parse(url), Target.parse(target)
    kept = dict(given)
    if old.endpoint != new.endpoint or (old.tls and not new.tls):
        secret = ("authorization", "cookie")
        kept = {name: value for name, value in given.items() if name.lower() not in secret}
    return target, method, kept
