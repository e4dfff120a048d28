"""Hashes and their cache."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from stcloud.errors import UsageError
from stcloud.hashing import HashCache, hash_files
from stcloud.scan import FoundFile, scan

LONG_AGO = time.time_ns() - 3600 * 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    for name in ("a.txt", "b.txt"):
        (made / name).write_bytes(name.encode())
        os.utime(made / name, ns=(LONG_AGO, LONG_AGO))
    return made


def hashes(folder: Path, cache_dir: Path) -> tuple[dict[str, str], HashCache]:
    cache = HashCache.of(cache_dir, folder)
    return hash_files(scan(folder).files, cache), cache


def poison(folder: Path, cache_dir: Path) -> None:
    """Makes the cache name other hashes, so that a test sees whether it was asked."""
    file = next((cache_dir / "hashes").iterdir())
    text = file.read_text()
    for name in ("a.txt", "b.txt"):
        text = text.replace(hashlib.sha256(name.encode()).hexdigest(), "f" * 64)
    file.write_text(text)


def test_hashes_are_right_and_remembered(folder: Path, tmp_path: Path) -> None:
    found, _ = hashes(folder, tmp_path / "cache")
    assert found == {n: hashlib.sha256(n.encode()).hexdigest() for n in ("a.txt", "b.txt")}
    poison(folder, tmp_path / "cache")
    assert hashes(folder, tmp_path / "cache")[0] == {"a.txt": "f" * 64, "b.txt": "f" * 64}


def test_a_changed_file_is_hashed_again(folder: Path, tmp_path: Path) -> None:
    hashes(folder, tmp_path / "cache")
    poison(folder, tmp_path / "cache")
    (folder / "a.txt").write_bytes(b"other")  # same length as before
    found, _ = hashes(folder, tmp_path / "cache")
    assert found == {"a.txt": hashlib.sha256(b"other").hexdigest(), "b.txt": "f" * 64}


def test_another_file_under_the_same_name_and_time_is_hashed_again(folder: Path, tmp_path: Path) -> None:
    hashes(folder, tmp_path / "cache")
    (folder / "new").write_bytes(b"other")
    os.utime(folder / "new", ns=(LONG_AGO, LONG_AGO))
    os.replace(folder / "new", folder / "a.txt")
    assert hashes(folder, tmp_path / "cache")[0]["a.txt"] == hashlib.sha256(b"other").hexdigest()


def test_a_file_that_has_just_changed_is_not_remembered(folder: Path, tmp_path: Path) -> None:
    now = time.time_ns()
    os.utime(folder / "a.txt", ns=(now, now))
    hashes(folder, tmp_path / "cache")
    poison(folder, tmp_path / "cache")
    found, _ = hashes(folder, tmp_path / "cache")
    assert found["a.txt"] == hashlib.sha256(b"a.txt").hexdigest()
    assert found["b.txt"] == "f" * 64


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 99, "files": {}}', '{"format": 1, "files": {"a.txt": 3}}']
)
def test_a_broken_cache_is_no_problem(folder: Path, tmp_path: Path, content: str) -> None:
    hashes(folder, tmp_path / "cache")
    next((tmp_path / "cache" / "hashes").iterdir()).write_text(content)
    assert len(hashes(folder, tmp_path / "cache")[0]) == 2


def test_a_cache_that_cannot_be_written_is_no_problem(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert len(hashes(folder, tmp_path / "file")[0]) == 2


def test_a_file_that_changed_since_it_was_found_is_refused(folder: Path, tmp_path: Path) -> None:
    stale = [FoundFile("a.txt", folder / "a.txt", 3)]
    with pytest.raises(UsageError, match="changed"):
        hash_files(stale, HashCache.of(tmp_path / "cache", folder))


def test_progress_counts_every_byte_once(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        told: list[int] = []
        hash_files(scan(folder).files, HashCache.of(tmp_path / "cache", folder), on_bytes=told.append)
        assert sum(told) == 10
