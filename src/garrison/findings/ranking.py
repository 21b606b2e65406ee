"""The one order of findings, and why each stands where it does. Pure.

Severity first, then whether it is known to be exploited, then how likely exploitation is, then
whether something can be done about it. `database.matches` has the same order in a query.
"""

from __future__ import annotations

from garrison.findings.finding import Match


def rank(match: Match) -> tuple[int, int, int, int]:
    """Higher comes first."""
    return (
        int(match.severity),
        int(bool(match.exploited)),
        round(match.epss.score * 100_000) if match.epss else -1,
        int(bool(match.fixed_in)),
    )


def reasons(match: Match) -> tuple[str, ...]:
    """The same as words, in the same order: `critical`, `exploited since 2024-06-12`, …"""
    said = [match.severity.label if match.severity else "severity unknown"]
    if match.kev is not None:
        since = f" since {match.kev.added}" if match.kev.added else ""
        said.append(f"known to be exploited{since}")
    elif match.exploited:
        said.append("known to be exploited")
    if match.epss is not None:
        said.append(f"exploitation within 30 days {percent(match.epss.score)} likely")
    said.append(f"fixed in {match.fixed_in}" if match.fixed_in else "no fix yet")
    return tuple(said)


def percent(score: float) -> str:
    """A score of EPSS as people read it: `< 0.1 %`, `0.3 %`, `97 %`."""
    share = score * 100
    if 0 < share < 0.1:
        return "< 0.1 %"
    return f"{share:.0f} %" if share >= 10 else f"{share:.1f} %"
