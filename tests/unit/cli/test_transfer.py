"""Uploads and downloads of single files over scripted storage."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from stcloud.client import storage_client
from stcloud.download import Downloader, local_path
from stcloud.errors import NetworkError, TransferError, UsageError
from stcloud.models import OutputFile
from stcloud.upload import Piece, Uploader

from tests.unit.cli.support import Answer, Naps, Script

DATA = bytes(range(256)) * 8
SHA = hashlib.sha256(DATA).hexdigest()


def uploader(script: Script, told: list[int]) -> Uploader:
    http = storage_client(connections=2, transport=script.transport)
    return Uploader(http, concurrency=2, retry=Naps().retry(3), on_bytes=told.append)


def piece(source: Path, size: int, offset: int = 0, file_size: int | None = None) -> Piece:
    headers = {"x-amz-checksum-sha256": "sum"}
    return Piece("a", source, offset, size, file_size or offset + size, "http://s3.test/a", headers)


def test_a_put_has_the_given_headers_its_length_and_nothing_of_ours(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    script, told = Script([httpx.Response(200)]), []
    assert uploader(script, told).run([piece(tmp_path / "a", len(DATA))]).stored == 1
    sent = script.asked[0]
    assert sent.content == DATA
    assert sent.headers["x-amz-checksum-sha256"] == "sum"
    assert sent.headers["content-length"] == str(len(DATA))
    assert not {"content-type", "authorization", "transfer-encoding"} & set(sent.headers)
    assert sum(told) == len(DATA)


def test_an_empty_file_is_sent(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    script = Script([httpx.Response(200)])
    assert uploader(script, []).run([piece(tmp_path / "a", 0)]).stored == 1
    assert script.asked[0].headers["content-length"] == "0"


@pytest.mark.parametrize("trouble", [httpx.Response(503), httpx.Response(500), httpx.WriteError("cut")])
def test_trouble_is_tried_again_and_progress_stays_true(tmp_path: Path, trouble: Answer) -> None:
    (tmp_path / "a").write_bytes(DATA)
    script, told = Script([trouble, httpx.Response(200)]), []
    uploader(script, told).run([piece(tmp_path / "a", len(DATA))])
    assert len(script.asked) == 2
    assert sum(told) == len(DATA)


def test_a_403_is_given_back_for_renewal(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    refusal = httpx.Response(403, text="<Error><Code>AccessDenied</Code></Error>")
    script, told = Script([refusal]), []
    result = uploader(script, told).run([piece(tmp_path / "a", len(DATA))])
    assert (result.stored, result.refused, result.examples, result.reason) == (0, 1, ["a"], "AccessDenied")
    assert sum(told) == 0


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_a_file_that_changed_is_not_sent_as_something_else(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(DATA)
    with pytest.raises(UsageError, match="changed"):
        uploader(Script([httpx.Response(200)]), []).run([piece(tmp_path / "a", size)])


def test_other_content_is_called_a_change_and_other_refusals_by_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    bad = httpx.Response(400, text="<Error><Code>BadDigest</Code></Error>")
    with pytest.raises(UsageError, match="changed"):
        uploader(Script([bad]), []).run([piece(tmp_path / "a", len(DATA))])
    gone = httpx.Response(404, text="<Error><Code>NoSuchBucket</Code></Error>")
    with pytest.raises(TransferError, match="NoSuchBucket"):
        uploader(Script([gone]), []).run([piece(tmp_path / "a", len(DATA))])


def test_a_part_is_the_bytes_from_its_offset(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    script = Script([httpx.Response(200)])
    uploader(script, []).run([piece(tmp_path / "a", 10, 100, len(DATA)), piece(tmp_path / "a", len(DATA) - 110, 110)])
    assert sorted((r.content for r in script.asked), key=len) == [DATA[100:110], DATA[110:]]


def test_a_large_piece_is_streamed_with_its_length(tmp_path: Path) -> None:
    content = DATA * 1024
    (tmp_path / "a").write_bytes(content)
    script, told = Script([httpx.Response(503), httpx.Response(200)]), []
    uploader(script, told).run([piece(tmp_path / "a", len(content))])
    assert script.asked[1].content == content
    assert script.asked[1].headers["content-length"] == str(len(content))
    assert "transfer-encoding" not in script.asked[1].headers
    assert sum(told) == len(content)


def test_a_part_whose_upload_is_gone_is_given_back_for_renewal(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    gone = httpx.Response(404, text="<Error><Code>NoSuchUpload</Code></Error>")
    assert uploader(Script([gone]), []).run([piece(tmp_path / "a", len(DATA))]).refused == 1


# --- downloads ----------------------------------------------------------------------------------------------------
def output(path: str = "model.safetensors", **changes: Any) -> OutputFile:
    file: OutputFile = {
        "path": path,
        "size": len(DATA),
        "sha256": SHA,
        "kind": "weights",
        "url": "http://s3.test/old",
        "verified": True,
        "problem": None,
    }
    file.update(changes)  # type: ignore[typeddict-item]
    return file


def ranged(request: httpx.Request) -> httpx.Response:
    asked = request.headers.get("range")
    if asked is None:
        return httpx.Response(200, content=DATA)
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    headers = {"content-range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}
    return httpx.Response(206, headers=headers, content=DATA[start:])


def downloader(script: Script, root: Path, *, overwrite: bool = False, told: list[int] | None = None) -> Downloader:
    return Downloader(
        storage_client(connections=1, transport=script.transport),
        root,
        retry=Naps().retry(4),
        renew=lambda _path: "http://s3.test/new",
        overwrite=overwrite,
        on_bytes=(told if told is not None else []).append,
    )


def test_a_file_is_fetched_checked_and_put_in_place(tmp_path: Path) -> None:
    told: list[int] = []
    done = downloader(Script([ranged]), tmp_path, told=told).fetch(output("a/b/model.safetensors"))
    assert done.path == tmp_path / "a/b/model.safetensors"
    assert done.path.read_bytes() == DATA
    assert [p.name for p in done.path.parent.iterdir()] == ["model.safetensors"]
    assert sum(told) == len(DATA)


def test_it_goes_on_where_a_part_ends(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.part").write_bytes(DATA[:1000])
    script = Script([ranged])
    told: list[int] = []
    assert downloader(script, tmp_path, told=told).fetch(output()).path.read_bytes() == DATA
    assert script.asked[0].headers["range"] == "bytes=1000-"
    assert sum(told) == len(DATA)


def test_a_server_without_ranges_starts_again(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.part").write_bytes(b"x" * 10)
    script = Script([httpx.Response(200, content=DATA)])
    assert downloader(script, tmp_path).fetch(output()).path.read_bytes() == DATA


@pytest.mark.parametrize("part", [b"wrong" * 10, b"x" * len(DATA), b"x" * (len(DATA) + 5)])
def test_a_wrong_part_is_thrown_away(tmp_path: Path, part: bytes) -> None:
    (tmp_path / "model.safetensors.part").write_bytes(part)
    assert downloader(Script([ranged]), tmp_path).fetch(output()).path.read_bytes() == DATA


@pytest.mark.parametrize(
    "bad",
    [
        httpx.Response(200, content=b"y" * len(DATA)),
        httpx.Response(200, content=DATA[:-1] + b"!"),
    ],
)
def test_damage_never_gets_the_files_name(tmp_path: Path, bad: httpx.Response) -> None:
    with pytest.raises(TransferError) as caught:
        downloader(Script([lambda _r: httpx.Response(200, content=bad.content)]), tmp_path).fetch(output())
    assert caught.value.code == "checksum_mismatch"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [DATA[:-1], DATA + b"!"])
def test_another_length_is_never_accepted(tmp_path: Path, content: bytes) -> None:
    with pytest.raises((NetworkError, TransferError)):
        downloader(Script([lambda _r: httpx.Response(200, content=content)]), tmp_path).fetch(output())
    assert not (tmp_path / "model.safetensors").exists()


def test_an_expired_url_is_renewed(tmp_path: Path) -> None:
    script = Script([httpx.Response(403), ranged])
    assert downloader(script, tmp_path).fetch(output()).fresh
    assert [str(r.url) for r in script.asked] == ["http://s3.test/old", "http://s3.test/new"]


def test_the_same_file_is_kept_and_another_one_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    target.write_bytes(DATA)
    script = Script([ranged])
    assert downloader(script, tmp_path).fetch(output()).fresh is False
    assert script.asked == []
    target.write_bytes(b"my own")
    with pytest.raises(UsageError, match="another file"):
        downloader(script, tmp_path).fetch(output())
    assert target.read_bytes() == b"my own"
    assert downloader(script, tmp_path, overwrite=True).fetch(output()).fresh
    assert target.read_bytes() == DATA


def test_without_a_checksum_the_content_is_compared_after_fetching(tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    target.write_bytes(b"z" * len(DATA))
    with pytest.raises(UsageError, match="another file"):
        downloader(Script([ranged]), tmp_path).fetch(output(sha256=None))
    assert target.read_bytes() == b"z" * len(DATA)


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "", "a/", "..", "C:/x", "a\\..\\b", "a\x00b", "a\nb"],
)
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TransferError):
        local_path(tmp_path, name)


def test_a_link_in_the_folder_does_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "door").symlink_to(tmp_path)
    with pytest.raises(TransferError, match="link"):
        local_path(tmp_path / "in", "door/x")


@pytest.mark.parametrize(
    ("name", "safe"),
    [("step 1: a?.png", "step 1_ a_.png"), ("con.txt", "_con.txt"), ("a./b ", "a_/b_"), ("LPT1/x", "_LPT1/x")],
)
def test_names_windows_cannot_hold_are_changed_there_alone(tmp_path: Path, name: str, safe: str) -> None:
    assert local_path(tmp_path, name, windows=True) == tmp_path / safe
    assert local_path(tmp_path, name, windows=False) == tmp_path / name
