"""Which files belong to a dataset."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from stcloud.errors import UsageError
from stcloud.scan import scan


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))
    return folder


def reasons(folder: Path) -> dict[str, str]:
    return {e.path: e.reason for e in scan(folder).excluded}


def test_files_come_sorted_by_bytes_with_relative_paths(tmp_path: Path) -> None:
    fill(tmp_path, "b.jpg", "a/z.jpg", "a.jpg", "é.jpg", "Z.jpg")
    found = scan(tmp_path)
    assert [f.path for f in found.files] == ["Z.jpg", "a.jpg", "a/z.jpg", "b.jpg", "é.jpg"]
    assert found.bytes == sum(f.source.stat().st_size for f in found.files)


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".env.local",
        "prod.env",
        "tls.pem",
        "TLS.PEM",
        "id_rsa",
        "id_ed25519.pub",
        "server.key",
        "credentials",
        "Credentials.csv",
        ".netrc",
        "vault.kdbx",
    ],
)
def test_what_may_hold_secrets_stays(tmp_path: Path, name: str) -> None:
    assert reasons(fill(tmp_path, "a.jpg", name)) == {name: "may hold secrets"}


def test_folders_of_secrets_hidden_and_junk_stay_whole(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", ".git/config", ".aws/credentials", "__MACOSX/a.jpg", "sub/.DS_Store", "sub/b.jpg")
    assert reasons(tmp_path) == {
        ".git/": "hidden",
        ".aws/": "may hold secrets",
        "__MACOSX/": "system file",
        "sub/.DS_Store": "hidden",
    }
    assert [f.path for f in scan(tmp_path).files] == ["a.jpg", "sub/b.jpg"]


def test_links(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a.jpg", "sub/b.jpg")
    fill(tmp_path, "secret.jpg")
    (folder / "inside.jpg").symlink_to("a.jpg")
    (folder / "outside.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "nowhere.jpg").symlink_to("gone")
    (folder / "again").symlink_to("sub")
    (folder / "up").symlink_to("..")
    (folder / "loop").symlink_to("loop")
    found = scan(folder)
    assert [f.path for f in found.files] == ["a.jpg", "inside.jpg", "sub/b.jpg"]
    assert {e.path: e.reason for e in found.excluded} == {
        "outside.jpg": "link that leaves the folder",
        "nowhere.jpg": "link to nowhere",
        "again": "link to a folder",
        "up": "link that leaves the folder",
        "loop": "link to nowhere",
    }


def test_a_folder_reached_through_a_link_is_scanned(tmp_path: Path) -> None:
    folder = fill(tmp_path / "real", "a.jpg")
    (folder / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "link").symlink_to("real")
    assert [f.path for f in scan(tmp_path / "link").files] == ["a.jpg", "b.jpg"]


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reasons(tmp_path) == {"pipe.jpg": "not a regular file"}


def test_names_that_cannot_be_stored(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "back\\slash.jpg", "new\nline.jpg", "/".join(["d" * 200] * 3) + "/x.jpg")
    os.close(os.open(bytes(tmp_path) + b"/bad\xff.jpg", os.O_CREAT | os.O_WRONLY))
    left_out = scan(tmp_path).excluded
    assert len(left_out) == 4
    assert all("\n" not in e.path for e in left_out)
    [e.path.encode() for e in left_out]


def test_decomposed_names_are_stored_composed(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    fill(tmp_path, f"{decomposed}/{decomposed}.jpg")
    found = scan(tmp_path)
    assert [f.path for f in found.files] == ["café/café.jpg"]
    assert found.files[0].source.read_bytes()


def test_two_names_that_become_one_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "é.jpg", unicodedata.normalize("NFD", "é.jpg"))
    with pytest.raises(UsageError, match="Two files"):
        scan(tmp_path)


def test_images_and_captions_are_paired_by_name_and_folder(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "a.txt", "b.PNG", "c.txt", "x/a.webp", "x/d.mp4", "x/d.txt", "meta.json")
    found = scan(tmp_path)
    assert found.images == ["a.jpg", "b.PNG", "x/a.webp", "x/d.mp4"]
    assert found.without_caption == ["b.PNG", "x/a.webp"]
    assert found.without_image == ["c.txt"]


def test_nothing_to_send_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        scan(tmp_path / "missing")
    with pytest.raises(UsageError, match="holds no files"):
        scan(tmp_path)
    fill(tmp_path, ".env")
    with pytest.raises(UsageError, match="1 entries were left out"):
        scan(tmp_path)
