"""Hashes and their cache."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from stcloud.errors import UsageError
from stcloud.hashing import PART_BYTES, HashCache, hash_files, hashes_of
from stcloud.listing import Kind, Listing
from stcloud.scan import scan

LONG_AGO = time.time_ns() - 3600 * 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    for name in ("a.txt", "b.txt"):
        (made / name).write_bytes(name.encode())
        os.utime(made / name, ns=(LONG_AGO, LONG_AGO))
    return made


def hashes(folder: Path, cache_dir: Path) -> dict[str, str | None]:
    with scan(folder) as found:
        hash_files(found, HashCache.of(cache_dir, folder))
        return {file.path: file.sha256 for file in found.files()}


def cache_file(cache_dir: Path) -> Path:
    return next((cache_dir / "hashes").iterdir())


def poison(folder: Path, cache_dir: Path) -> None:
    """Makes the cache name other hashes, so that a test sees whether it was asked."""
    with closing(sqlite3.connect(cache_file(cache_dir))) as db, db:
        db.execute("UPDATE hashes SET sha256 = ?", ("f" * 64,))


def test_hashes_are_right_and_remembered(folder: Path, tmp_path: Path) -> None:
    found = hashes(folder, tmp_path / "cache")
    assert found == {n: hashlib.sha256(n.encode()).hexdigest() for n in ("a.txt", "b.txt")}
    poison(folder, tmp_path / "cache")
    assert hashes(folder, tmp_path / "cache") == {"a.txt": "f" * 64, "b.txt": "f" * 64}


def test_a_changed_file_is_hashed_again(folder: Path, tmp_path: Path) -> None:
    hashes(folder, tmp_path / "cache")
    poison(folder, tmp_path / "cache")
    (folder / "a.txt").write_bytes(b"other")  # same length as before
    found = hashes(folder, tmp_path / "cache")
    assert found == {"a.txt": hashlib.sha256(b"other").hexdigest(), "b.txt": "f" * 64}


def test_another_file_under_the_same_name_and_time_is_hashed_again(folder: Path, tmp_path: Path) -> None:
    hashes(folder, tmp_path / "cache")
    (folder / "new").write_bytes(b"other")
    os.utime(folder / "new", ns=(LONG_AGO, LONG_AGO))
    os.replace(folder / "new", folder / "a.txt")
    assert hashes(folder, tmp_path / "cache")["a.txt"] == hashlib.sha256(b"other").hexdigest()


def test_a_file_changed_in_place_whose_time_is_set_back_is_hashed_again(folder: Path, tmp_path: Path) -> None:
    hashes(folder, tmp_path / "cache")
    inode = (folder / "a.txt").stat().st_ino
    (folder / "a.txt").write_bytes(b"other")
    os.utime(folder / "a.txt", ns=(LONG_AGO, LONG_AGO))
    assert (folder / "a.txt").stat().st_ino == inode
    assert hashes(folder, tmp_path / "cache")["a.txt"] == hashlib.sha256(b"other").hexdigest()


def test_a_file_that_has_just_changed_is_not_remembered(folder: Path, tmp_path: Path) -> None:
    now = time.time_ns()
    os.utime(folder / "a.txt", ns=(now, now))
    hashes(folder, tmp_path / "cache")
    poison(folder, tmp_path / "cache")
    found = hashes(folder, tmp_path / "cache")
    assert found["a.txt"] == hashlib.sha256(b"a.txt").hexdigest()
    assert found["b.txt"] == "f" * 64


@pytest.mark.parametrize("content", [b"", b"{", b"SQLite format 3\x00" + bytes(200), bytes(5000)])
def test_a_broken_cache_is_no_problem(folder: Path, tmp_path: Path, content: bytes) -> None:
    hashes(folder, tmp_path / "cache")
    cache_file(tmp_path / "cache").write_bytes(content)
    assert len(hashes(folder, tmp_path / "cache")) == 2


def test_a_cache_that_cannot_be_written_is_no_problem(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert len(hashes(folder, tmp_path / "file")) == 2


def test_a_file_that_changed_since_it_was_found_is_refused(folder: Path, tmp_path: Path) -> None:
    with Listing(folder) as stale:
        stale.add("a.txt", "a.txt", 3, Kind.CAPTION, "a")
        with pytest.raises(UsageError, match="changed"):
            hash_files(stale, HashCache.of(tmp_path / "cache", folder))


def test_progress_counts_every_byte_once(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        told: list[int] = []
        with scan(folder) as found:
            hash_files(found, HashCache.of(tmp_path / "cache", folder), on_bytes=told.append)
        assert sum(told) == 10


def test_what_is_gone_is_forgotten(folder: Path, tmp_path: Path) -> None:
    hashes(folder, tmp_path / "cache")
    (folder / "b.txt").unlink()
    hashes(folder, tmp_path / "cache")
    with closing(sqlite3.connect(cache_file(tmp_path / "cache"))) as db:
        assert [path for (path,) in db.execute("SELECT path FROM hashes")] == ["a.txt"]


def test_a_cache_that_another_push_writes_is_read_and_not_waited_for_at_each_file(folder: Path, tmp_path: Path) -> None:
    hashes(folder, tmp_path / "cache")
    poison(folder, tmp_path / "cache")
    with closing(sqlite3.connect(cache_file(tmp_path / "cache"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert hashes(folder, tmp_path / "cache") == {"a.txt": "f" * 64, "b.txt": "f" * 64}


def test_a_large_file_has_the_hash_of_each_part_read_once(folder: Path, tmp_path: Path) -> None:
    content = b"x" * PART_BYTES + b"tail"
    (folder / "big.bin").write_bytes(content)
    told: list[int] = []
    found = hashes_of(folder / "big.bin", None, told.append)
    assert sum(told) == len(content)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.parts == (hashlib.sha256(content[:PART_BYTES]).hexdigest(), hashlib.sha256(b"tail").hexdigest())
    os.utime(folder / "big.bin", ns=(LONG_AGO, LONG_AGO))
    for _ in range(2):
        with scan(folder) as listing:
            hash_files(listing, HashCache.of(tmp_path / "cache", folder))
            line = listing.file("big.bin")
            assert line is not None
            assert (line.sha256, line.parts) == (found.sha256, found.parts)
            assert "parts" in line.line
            small = listing.file("a.txt")
            assert small is not None
            assert "parts" not in small.line
