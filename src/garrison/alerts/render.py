"""Alert → Slack message in Block Kit, inside the limits Slack publishes.

Source: docs.slack.dev/reference/block-kit/blocks and /messaging/formatting-message-text.
"""

from __future__ import annotations

from typing import Any

from garrison.alerts.rules import Alert
from garrison.findings.finding import Finding, Severity

HEADER_LIMIT = 150
SECTION_LIMIT = 3000
TEXT_LIMIT = 4000
BLOCK_LIMIT = 50
_LISTED = 10
_MARKS = {
    Severity.CRITICAL: ":red_circle:",
    Severity.HIGH: ":large_orange_circle:",
    Severity.MEDIUM: ":large_yellow_circle:",
    Severity.LOW: ":white_circle:",
    Severity.UNKNOWN: ":grey_question:",
}


def slack_message(alert: Alert, public_url: str) -> dict[str, Any]:
    """The body of a request to an incoming webhook.

    public_url: of the Console, without a trailing slash; links lead there.
    """
    link = f"{public_url}/images/{alert.image.digest}"
    blocks = [
        _header(headline(alert)),
        _section(_what(alert)),
        _section(_counts(alert)),
        *_top_findings(alert),
        _section(f"<{escape(link)}|Open the image in Garrison>"),
        _context(_foot(alert)),
    ]
    return {
        "text": _cut(escape(f"Garrison: {headline(alert)}"), TEXT_LIMIT),
        "blocks": blocks[:BLOCK_LIMIT],
    }


def slack_test_message(profile: str, public_url: str) -> dict[str, Any]:
    """A message that says where it comes from and that nothing is wrong."""
    text = f"Test message of the alert profile *{escape(profile)}*. Nothing is wrong."
    return {
        "text": _cut(f"Garrison: test message of the alert profile {escape(profile)}", TEXT_LIMIT),
        "blocks": [
            _header("Garrison can reach this channel"),
            _section(text),
            _context(f"Sent by the Console at <{escape(public_url)}|{escape(public_url)}>"),
        ],
    }


def headline(alert: Alert) -> str:
    """What and how bad, in one line: `2 critical, 5 high findings in debian:12`."""
    parts = [f"{count} {severity.label}" for severity, count in alert.fresh_by_severity().items()]
    noun = "finding" if len(alert.findings) == 1 else "findings"
    start = f"{', '.join(parts)} {noun} in "
    # No reference has these; a header is not escaped.
    name = "".join(c if c.isprintable() and c not in "<>" else "?" for c in alert.image.reference)
    return start + _shorten_reference(name, HEADER_LIMIT - len(start))


def escape(text: str) -> str:
    """`text` as Slack shows it: three characters are special to it; a name has one line."""
    text = "".join(char if char.isprintable() else " " for char in text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _what(alert: Alert) -> str:
    image = alert.image
    lines = [f"*Image* {_code(_shorten_reference(image.reference, 500))}"]
    facts = [part for part in (image.os, image.platform) if part]
    if facts:
        lines.append(f"*System* {escape(_cut(', '.join(facts), 300))}")
    lines.append(f"*Digest* {_code(image.digest)}")
    return "\n".join(lines)


def _counts(alert: Alert) -> str:
    total = sum(alert.counts.values())
    shown = [
        f"{_MARKS[severity]} {alert.counts.get(severity, 0)} {severity.label}"
        for severity in sorted(_MARKS, reverse=True)
    ]
    lines = [f"*All findings of this image: {total}*", "   ".join(shown)]
    lines += [f":warning: {escape(_cut(warning, 400))}" for warning in alert.warnings[:3]]
    return "\n".join(lines)


def _top_findings(alert: Alert) -> list[dict[str, Any]]:
    listed = alert.findings[:_LISTED]
    lines = [_finding(finding) for finding in listed]
    if more := len(alert.findings) - len(listed):
        lines.append(f"and {more} more")
    return [_section(text) for text in _pack(lines)]


def _finding(finding: Finding) -> str:
    match, package = finding.match, finding.package
    name = escape(_cut(match.id, 80))
    if match.url.startswith(("https://", "http://")) and len(match.url) < 300:
        name = f"<{escape(match.url).replace('|', '%7C')}|{name}>"
    fix = f"fixed in {_code(_cut(match.fixed_in, 80))}" if match.fixed_in else "no fix yet"
    return (
        f"{_MARKS[match.severity]} *{name}* {match.severity.label}: "
        f"{_code(_cut(package.name, 80))} {_code(_cut(package.version, 80))}, {fix}"
    )


def _foot(alert: Alert) -> str:
    return (
        f"New at or above {alert.threshold.label} · "
        f"{alert.at.strftime('%Y-%m-%d %H:%M')} UTC · each finding is told once"
    )


def _pack(lines: list[str]) -> list[str]:
    """Lines joined into texts no longer than a section may be; no line is cut in half."""
    texts: list[str] = []
    current = ""
    for line in lines:
        joined = f"{current}\n{line}" if current else line
        if len(joined) > SECTION_LIMIT:
            texts.append(current)
            joined = line
        current = joined
    return [*texts, current]


def _shorten_reference(reference: str, limit: int) -> str:
    """The end of a reference says more than its start: name and tag are kept."""
    if len(reference) <= limit:
        return reference
    return "…" + reference[-(limit - 1) :]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _code(text: str) -> str:
    return f"`{escape(text.replace('`', chr(39)))}`"


def _header(text: str) -> dict[str, Any]:
    return {
        "type": "header",
        "text": {"type": "plain_text", "text": _cut(text, HEADER_LIMIT), "emoji": False},
    }


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, SECTION_LIMIT)}}


def _context(text: str) -> dict[str, Any]:
    return {
        "type": "context",
        "elements": [{"type": "mrkdwn", "text": _cut(text, SECTION_LIMIT)}],
    }
