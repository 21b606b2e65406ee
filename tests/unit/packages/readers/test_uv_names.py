"""Found by fuzzing: a name in `uv.lock` that is no text is no reader's mistake."""

from __future__ import annotations

import contextlib

from garrison.images import FileError
from garrison.packages.readers.locks.python import read_uv_lock

LOCK = b"""[[package]]
name = "app"
source = { virtual = "." }

[[package]]
name = ["flask"]
version = "1.0"
"""


def test_a_name_that_is_a_list_is_no_package() -> None:
    with contextlib.suppress(FileError):
        assert read_uv_lock(LOCK).packages == ()
