"""The key file, and what it seals."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garrison.database.errors import KeyFileError, KeyMismatchError, SealBrokenError
from garrison.database.keys import SEAL_PROXY, SEAL_WEBHOOK, Key, token_hash
from garrison.secret import Secret


def test_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    first = Key.load_or_create(path)
    second = Key.load_or_create(path)
    assert first.value == second.value
    assert (first.created, second.created) == (True, False)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


def test_programs_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    keys: list[Key] = []
    barrier = threading.Barrier(8)

    def load() -> None:
        barrier.wait()
        keys.append(Key.load_or_create(tmp_path / "key"))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key.value for key in keys}) == 1
    assert [key.created for key in keys].count(True) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    Key.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError) as caught:
        Key.load_or_create(path)
    assert caught.value.code == "key.unusable"
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("content", ["", "x" * 1000, "garrison-key-1:", "garrison-key-1:AAAA"])
def test_file_without_a_key_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        Key.load_or_create(path)
    assert path.read_text() == content


def test_folder_in_place_of_the_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir(mode=0o700)
    with pytest.raises(KeyFileError):
        Key.load_or_create(tmp_path / "key")


def test_link_to_the_key_is_followed(tmp_path: Path) -> None:
    """Kubernetes mounts the files of a Secret as links."""
    real = Key.load_or_create(tmp_path / "real")
    (tmp_path / "key").symlink_to("real")
    assert Key.load_or_create(tmp_path / "key").value == real.value
    (tmp_path / "real").unlink()
    with pytest.raises(KeyFileError, match="nothing"):
        Key.load_or_create(tmp_path / "key")


def test_key_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    Key.load_or_create(path)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    else:
        monkeypatch.setattr("os.geteuid", lambda: 65534)
    with pytest.raises(KeyFileError, match="another user"):
        Key.load_or_create(path)


@given(st.text(), st.text(max_size=20))
def test_sealed_value_opens_for_its_purpose(text: str, purpose: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    purpose = purpose.encode("utf-8", "replace").decode()
    key = Key(bytes(32))
    sealed = key.seal(purpose, Secret(text))
    assert key.open(purpose, sealed).reveal() == text
    assert sealed != key.seal(purpose, Secret(text))
    with pytest.raises(SealBrokenError):
        key.open(purpose + "x", sealed)


def test_value_of_another_key_is_a_mismatch() -> None:
    sealed = Key(bytes(32)).seal(SEAL_PROXY, Secret("hidden-word"))
    with pytest.raises(KeyMismatchError) as caught:
        Key.generate().open(SEAL_PROXY, sealed)
    assert caught.value.code == "key.mismatch"
    assert caught.value.hint


def test_value_that_was_changed_or_moved_is_broken() -> None:
    key = Key.generate()
    sealed = key.seal(SEAL_PROXY, Secret("hidden-word"))
    assert b"hidden-word" not in sealed
    for wrong in (b"", sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), b"\2" + sealed[1:]):
        with pytest.raises(SealBrokenError):
            key.open(SEAL_PROXY, wrong)
    with pytest.raises(SealBrokenError):
        key.open(SEAL_WEBHOOK, sealed)


def test_key_does_not_print_and_has_one_size() -> None:
    assert "value" not in repr(Key(b"k" * 32))
    assert "kkk" not in repr(Key(b"k" * 32))
    with pytest.raises(ValueError, match="32 bytes"):
        Key(b"short")


def test_token_hash_is_sha_256() -> None:
    assert token_hash("abc").hex().startswith("ba7816bf8f01cfea414140de5dae2223")
