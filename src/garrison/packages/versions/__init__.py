"""Version order, one comparator per scheme.

A wrong order is a wrong answer, so each scheme follows its package manager and is tested with
that project's published cases. `Scheme.parse` is strict; `compare` orders every text, invalid
versions below valid ones.
"""

from garrison.packages.versions.errors import InvalidVersionError
from garrison.packages.versions.scheme import SCHEMES, Scheme, compare, scheme_for

__all__ = ["SCHEMES", "InvalidVersionError", "Scheme", "compare", "scheme_for"]
