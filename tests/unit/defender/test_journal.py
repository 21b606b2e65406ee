"""Results that wait for their acknowledgement survive restarts, full disks and broken files."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from garrison.defender import journal as journal_module
from garrison.defender.journal import Journal
from garrison.fleet.messages import Failure, ScanFailed, ScanResult


def result(scan_id: str, size: int = 10) -> ScanResult:
    return ScanResult(id=scan_id, inventory="x" * size)


def test_results_survive_a_restart_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    failed = ScanFailed(id="s-2", error=Failure(code="images.not_found", message="no"))
    journal.add(result("s-1"))
    journal.add(failed)
    journal.add(result("s-3"))
    journal.acknowledged("s-1")

    again = Journal(tmp_path / "journal")
    again.add(result("s-4"))

    assert again.ids() == ["s-2", "s-3", "s-4"]
    assert list(again.pending()) == [failed, result("s-3"), result("s-4")]
    assert "s-3" in again
    assert len(again) == 3


def test_files_are_private_and_gone_when_acknowledged(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.add(result("s-1"))
    (file,) = (tmp_path / "journal").iterdir()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    journal.acknowledged("s-1")
    assert list((tmp_path / "journal").iterdir()) == []
    journal.acknowledged("s-1")


def test_a_scan_id_is_never_a_path(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.add(result("../../../etc/passwd"))
    (file,) = tmp_path.rglob("*.json")

    assert file.parent == tmp_path / "journal"
    assert Journal(tmp_path / "journal").ids() == ["../../../etc/passwd"]


def test_a_second_result_of_a_scan_replaces_the_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.add(result("s-1", 10))
    journal.add(result("s-1", 20))

    assert list(journal.pending()) == [result("s-1", 20)]
    assert len(list((tmp_path / "journal").iterdir())) == 1


@pytest.mark.parametrize("limits", [{"max_entries": 3}, {"max_bytes": 450}])
def test_the_oldest_gives_way(tmp_path: Path, limits: dict[str, int]) -> None:
    journal = Journal(tmp_path / "journal", **limits)
    for number in range(6):
        journal.add(result(f"s-{number}", 100))

    assert journal.ids() == ["s-3", "s-4", "s-5"]
    assert len(list((tmp_path / "journal").iterdir())) == 3


def test_one_result_is_kept_whatever_its_size(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", max_bytes=10)
    journal.add(result("s-1", 1000))

    assert journal.ids() == ["s-1"]


def test_broken_files_are_dropped(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    journal = Journal(directory)
    journal.add(result("s-1"))
    journal.add(result("s-2"))
    first, _ = sorted(directory.iterdir())
    first.write_bytes(b"{")
    (directory / f".{first.name}.half").write_bytes(b"{")
    (directory / "readme.txt").write_text("not ours")

    assert Journal(directory).ids() == ["s-2"]
    assert sorted(path.name for path in directory.iterdir() if path.name.startswith(".")) == []
    assert (directory / "readme.txt").exists()


def test_a_file_that_breaks_later_is_no_result(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.add(result("s-1"))
    (file,) = (tmp_path / "journal").iterdir()
    file.write_bytes(b"")

    assert list(journal.pending()) == []
    assert len(journal) == 0


def test_a_full_disk_is_survived_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    journal = Journal(tmp_path / "journal")
    monkeypatch.setattr(journal_module, "write_private", full)
    journal.add(result("s-1"))

    assert list(journal.pending()) == [result("s-1")]
    journal.acknowledged("s-1")
    assert list(journal.pending()) == []
