"""Pushing: manifests, batches, parts, what is counted, and what differs between versions."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from stcloud.client import Client, storage_client
from stcloud.commands.datasets import tally_text
from stcloud.dataset_api import DatasetApi
from stcloud.errors import TransferError, UsageError
from stcloud.hashing import PART_BYTES, HashCache, hash_files
from stcloud.listing import FoundFile, Kind, Listing
from stcloud.manifest import MAX_INLINE_FILES, Manifest, write_manifest
from stcloud.pushing import Push, Tally, ahead, batch_limit, start
from stcloud.render import progress_text
from stcloud.scan import scan
from stcloud.versions import Change, Known, compare, read_manifest

from tests.unit.cli.support import Naps, ok, problem
from tests.unit.cli.test_dataset_commands import VERSION, Routes


class Progress:
    def __init__(self) -> None:
        self.bytes = 0

    def advance(self, count: int) -> None:
        self.bytes += count

    def stored(self, files: int) -> None: ...

    def confirming(self, checked: int, files: int) -> None: ...


def hashed(folder: Path, cache: Path) -> Listing:
    found = scan(folder)
    hash_files(found, HashCache.of(cache, folder))
    return found


# --- the manifest ---------------------------------------------------------------------------------------------------
def test_a_small_manifest_goes_in_the_request(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_bytes(b"a cup")
    routes = Routes().on("POST /api/cloud/datasets$", ok(VERSION))
    with hashed(tmp_path / "d", tmp_path / "c") as found, write_manifest(found) as manifest:
        start_with(routes, manifest)
    files = routes.bodies["POST /api/cloud/datasets"]["files"]
    assert files == [{"path": "a.txt", "size": 5, "sha256": hashlib.sha256(b"a cup").hexdigest()}]


def start_with(routes: Routes, manifest: Manifest) -> None:
    http = storage_client(connections=1, transport=routes.script.transport)
    with Client("http://localhost:8001", transport=routes.script.transport) as client:
        start(DatasetApi(client), http, Naps().retry(3), "photos", "/p", manifest)


@pytest.mark.parametrize("trouble", [httpx.Response(200), httpx.Response(503)])
def test_a_large_manifest_is_stored_first(trouble: httpx.Response) -> None:
    lines = b"".join(json.dumps({"path": f"{n:06}", "size": 1}).encode() + b"\n" for n in range(MAX_INLINE_FILES + 1))
    manifest = Manifest(io.BytesIO(lines), len(lines), hashlib.sha256(lines).hexdigest(), MAX_INLINE_FILES + 1)
    stored: list[bytes] = []

    def put(request: httpx.Request) -> httpx.Response:
        stored.append(request.content)
        assert request.headers["content-length"] == str(len(lines))
        return httpx.Response(200)

    routes = (
        Routes()
        .on("POST .*/manifests$", ok({"manifest_id": "m1", "url": "http://s3.test/m", "headers": {"x": "y"}}))
        .on("PUT /m", trouble, put)
        .on("POST /api/cloud/datasets$", ok(VERSION))
    )
    if trouble.is_success:
        routes.known[1] = ("PUT /m", [put])
    start_with(routes, manifest)
    assert stored == [lines]
    assert routes.bodies["POST /api/cloud/datasets/photos/manifests"] == {
        "size": len(lines),
        "sha256": manifest.sha256,
    }
    body = routes.bodies["POST /api/cloud/datasets"]
    assert (body["manifest_id"], "files" in body) == ("m1", False)


# --- batches and parts ----------------------------------------------------------------------------------------------
def large(tmp_path: Path) -> Path:
    folder = tmp_path / "d"
    folder.mkdir()
    with (folder / "film.mp4").open("wb") as file:
        file.truncate(2 * PART_BYTES + 7)
        file.seek(0)
        file.write(b"film")
    (folder / "z.txt").write_bytes(b"the end")
    return folder


def part(number: int) -> dict[str, Any]:
    size = 7 if number == 3 else PART_BYTES
    return {"number": number, "size": size, "url": f"http://s3.test/film/{number}", "headers": {}}


def batch(*uploads: dict[str, Any], after: str | None = None, **counts: int) -> dict[str, Any]:
    return {"uploads": list(uploads), "present": 0, "copied": 0, "copied_bytes": 0, "next": after, **counts}


def test_parts_that_come_in_two_batches_make_one_file(tmp_path: Path) -> None:
    folder, size = large(tmp_path), 2 * PART_BYTES + 7
    film = {"path": "film.mp4", "size": size}
    small = {"path": "z.txt", "size": 7, "url": "http://s3.test/z", "headers": {}}
    routes = (
        Routes()
        .on(
            "POST .*/uploads$",
            ok(batch({**film, "parts": [part(2)], "more_parts": True}, after="film.mp4\n2")),
            ok(batch({**film, "parts": [part(3)], "more_parts": False}, small)),
        )
        .on("POST .*/uploads/finish$", ok({"path": "film.mp4", "size": size}))
        .on("POST .*/complete$", ok({**VERSION, "files": 2, "checked": 2}))
        .on("PUT ", httpx.Response(200))
    )
    progress = Progress()
    with hashed(folder, tmp_path / "c") as found:
        done = push(routes, found, progress).fill({**VERSION, "status": "uploading", "files": 2, "bytes": size + 7})  # type: ignore[typeddict-item]
    puts = [line for line in routes.asked if line.startswith("PUT")]
    assert sorted(puts) == ["PUT /film/2", "PUT /film/3", "PUT /z"]
    assert sum(line.endswith("/finish") for line in routes.asked) == 1
    assert (done.tally.sent, done.tally.sent_bytes, done.tally.kept_bytes) == (2, PART_BYTES + 14, PART_BYTES)
    assert progress.bytes == size + 7


def push(routes: Routes, found: Listing, progress: Progress) -> Push:
    transport = routes.script.transport
    http = storage_client(connections=2, transport=transport)
    api = DatasetApi(Client("http://localhost:8001", transport=transport))
    return Push(api, http, found, progress, concurrency=2, retry=Naps().retry(3), resume="again")


def test_a_part_the_server_misses_at_the_end_is_asked_for_again(tmp_path: Path) -> None:
    folder, size = large(tmp_path), 2 * PART_BYTES + 7
    film = {"path": "film.mp4", "size": size, "more_parts": False}
    rest = batch(after=None, present=1)
    routes = (
        Routes()
        .on(
            "POST .*/uploads$",
            ok(batch({**film, "parts": [part(3)]})),
            ok(batch({**film, "parts": [part(1)]})),
            ok(rest),
        )
        .on("POST .*/finish$", problem(409, "upload_incomplete"), ok({"path": "film.mp4", "size": size}))
        .on("POST .*/complete$", ok({**VERSION, "files": 2, "checked": 2}))
        .on("PUT ", httpx.Response(200))
    )
    with hashed(folder, tmp_path / "c") as found:
        push(routes, found, Progress()).fill({**VERSION, "status": "uploading", "files": 2, "bytes": size + 7})  # type: ignore[typeddict-item]
    assert [line for line in routes.asked if line.startswith("PUT")] == ["PUT /film/3", "PUT /film/1"]


def test_only_files_of_the_folder_are_sent(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_bytes(b"a cup")
    strange = {"path": "../../etc/passwd", "size": 3, "url": "http://s3.test/x", "headers": {}}
    routes = Routes().on("POST .*/uploads$", ok(batch(strange)))
    with hashed(tmp_path / "d", tmp_path / "c") as found, pytest.raises(TransferError, match="not part of this"):
        push(routes, found, Progress()).fill({**VERSION, "status": "uploading"})  # type: ignore[typeddict-item]
    assert not [line for line in routes.asked if line.startswith("PUT")]


def test_a_large_file_that_grew_is_not_sent(tmp_path: Path) -> None:
    folder, size = large(tmp_path), 2 * PART_BYTES + 7
    routes = Routes().on("POST .*/uploads$", ok(batch({"path": "film.mp4", "size": size, "parts": [part(1)]})))
    with hashed(folder, tmp_path / "c") as found:
        with (folder / "film.mp4").open("ab") as file:
            file.write(b"more")
        with pytest.raises(UsageError, match="changed"):
            push(routes, found, Progress()).fill({**VERSION, "status": "uploading"})  # type: ignore[typeddict-item]


# --- pure parts -----------------------------------------------------------------------------------------------------
def test_bytes_between_cursors() -> None:
    with Listing(Path()) as found:
        for name, size in (("a", 1), ("b", 10), ("c", 100), ("ü", 1000)):
            found.add(name, name, size, Kind.UNKNOWN, name)
        assert found.bytes_between(None, None) == 1111
        assert found.bytes_between(None, "b") == 11
        assert found.bytes_between("b", None) == 1100
        assert found.bytes_between(None, "b\n3") == 1
        assert found.bytes_between("b\n3", "c") == 110
        assert found.bytes_between("c", "ü") == 1000


def test_batches_are_so_large_that_their_urls_do_not_expire() -> None:
    assert batch_limit(100_000, 100_000 * 20_000) == 500
    assert batch_limit(1000, 1000 * 50_000_000) == 42
    assert batch_limit(2, 200 * 1024**3) == 32
    assert batch_limit(0, 0) == 500


def test_the_next_is_made_while_one_is_used() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    taken = ahead(items())
    assert next(taken) == 1
    assert made.wait(5)
    assert list(taken) == [2]


def test_an_error_on_the_way_is_raised_where_it_would_be_used() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise TransferError("no more")

    taken = ahead(items())
    assert next(taken) == 1
    with pytest.raises(TransferError, match="no more"):
        next(taken)


def test_what_became_of_the_files_in_words() -> None:
    tally = Tally(sent=3, sent_bytes=1_200_000, copied=1997, copied_bytes=1, kept_bytes=500_000_000)
    assert tally_text(tally) == "Sent 3 files (1.2 MB), 1,997 unchanged (copied inside S3), 500.0 MB not sent"
    assert tally_text(Tally(sent=1, sent_bytes=5)) == "Sent 1 file (5 B)"
    assert tally_text(Tally(present=2, kept_bytes=7)) == "Sent 0 files (0 B), 2 there already, 7 B not sent"


def test_progress_has_rate_and_time_left() -> None:
    assert progress_text(400_000_000, 1_000_000_000, 40) == "40 % of 1.0 GB, 10.0 MB/s, 1m 00s left"
    assert progress_text(0, 1000, 5) == "0 % of 1.0 kB"
    assert progress_text(2000, 1000, 1) == "100 % of 1.0 kB, 1.0 kB/s, 0s left"


def test_what_differs_between_a_version_and_a_folder() -> None:
    def known(path: str, digest: str) -> Known:
        return Known(path, len(digest), digest)

    def found(path: str, digest: str) -> FoundFile:
        return FoundFile(path, Path(path), len(digest), digest)

    base = [known("a", "1"), known("b", "2"), known("d", "4"), known("é", "5")]
    files = [found("a", "1"), found("b", "22"), found("c", "3"), found("é", "5")]
    assert compare(lambda: base, files) == [
        Change("changed", "b", 2, 1),
        Change("added", "c", 1, None),
        Change("removed", "d", None, 1),
    ]
    assert compare(list, []) == []
    moved = [found("a", "1"), found("copy", "1"), found("f", "4"), found("g", "4"), found("é", "2")]
    changes = compare(lambda: base, moved)
    assert changes == [
        Change("removed", "b", None, 1),
        Change("added", "copy", 1, None, copy_of="a"),
        Change("renamed", "f", 1, 1, "d"),
        Change("added", "g", 1, None, copy_of="d"),
        Change("changed", "é", 1, 1, copy_of="b"),
    ]
    assert sum(change.to_send for change in changes) == 0


def test_manifests_are_read_as_lines_and_as_the_array_of_the_first_release() -> None:
    lines = [{"path": "a", "size": 1, "sha256": "x"}, {"path": "b", "size": 2, "sha256": "y", "parts": ["z"]}]
    expected = [Known("a", 1, "x"), Known("b", 2, "y")]
    as_lines = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    assert list(read_manifest(io.BytesIO(as_lines))) == expected
    assert list(read_manifest(io.BytesIO(json.dumps(lines[::-1]).encode()))) == expected
    for nonsense in (b"", b"<html>", b'{"path": "a"}\n', b"[3]"):
        with pytest.raises(TransferError, match="understood"):
            list(read_manifest(io.BytesIO(nonsense)))
