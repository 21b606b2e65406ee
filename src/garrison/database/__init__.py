"""What the Console remembers: tables, migrations and queries, on SQLite and PostgreSQL alike.

`Database` gives transactions; each other module holds the functions of one subject, which take a
Connection first. Functions that take an `actor` write their audit row themselves, so that no
change of a setting goes without one.
"""

from garrison.database.engine import Database
from garrison.database.errors import DatabaseError
from garrison.database.keys import Key
from garrison.database.page import Page

__all__ = ["Database", "DatabaseError", "Key", "Page"]
