"""Which files belong to a dataset."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pytest
from stcloud.errors import UsageError
from stcloud.listing import Excluded, Flaw, FoundFile, Kind
from stcloud.scan import EMPTY, NO_IMAGE, scan


@dataclass(frozen=True)
class Seen:
    """All that a scan tells, in memory."""

    files: list[FoundFile]
    excluded: list[Excluded]
    bytes: int
    images: list[str]
    audio: list[str]
    unknown: list[str]
    without_caption: list[str]
    without_image: list[str]
    empty_captions: list[str]
    broken: list[str]


def look(folder: Path) -> Seen:
    with scan(folder) as found:
        return Seen(
            list(found.files()),
            list(found.excluded()),
            found.bytes,
            found.of(Kind.IMAGE, Kind.VIDEO).paths,
            found.of(Kind.AUDIO).paths,
            found.of(Kind.UNKNOWN).paths,
            found.without_caption.paths,
            found.without_image.paths,
            found.flawed(Flaw.EMPTY).paths,
            found.excluded_as(EMPTY, NO_IMAGE).paths,
        )


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8\xff" + name.encode("utf-8", "surrogateescape"))
    return folder


def reasons(folder: Path) -> dict[str, str]:
    return {e.path: e.reason for e in look(folder).excluded}


def test_files_come_sorted_by_bytes_with_relative_paths(tmp_path: Path) -> None:
    fill(tmp_path, "b.jpg", "a/z.jpg", "a.jpg", "é.jpg", "Z.jpg")
    found = look(tmp_path)
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
    assert [f.path for f in look(tmp_path).files] == ["a.jpg", "sub/b.jpg"]


def test_links(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a.jpg", "sub/b.jpg")
    fill(tmp_path, "secret.jpg")
    (folder / "inside.jpg").symlink_to("a.jpg")
    (folder / "outside.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "nowhere.jpg").symlink_to("gone")
    (folder / "again").symlink_to("sub")
    (folder / "up").symlink_to("..")
    (folder / "loop").symlink_to("loop")
    found = look(folder)
    assert [f.path for f in found.files] == ["a.jpg", "inside.jpg", "sub/b.jpg"]
    assert {e.path: e.reason for e in found.excluded} == {
        "outside.jpg": "link that leaves the folder",
        "nowhere.jpg": "link to nowhere",
        "again": "link to a folder",
        "up": "link that leaves the folder",
        "loop": "link to nowhere",
    }


def test_a_link_to_what_is_left_out_is_left_out(tmp_path: Path) -> None:
    folder = fill(
        tmp_path, "a.jpg", ".env", ".cache/x.png", "drafts/secret.png", "sub/raw/b.png", "sub/c.png", "sub/d.png"
    )
    ignore(folder, "drafts/")
    ignore(folder / "sub", "c.png", "raw")
    # Of no weight: what is in it stays, whatever this says.
    ignore(folder / "drafts", "!*.png")
    for name, target in {
        "notes.txt": ".env",
        "hidden.png": ".cache/x.png",
        "public.png": "drafts/secret.png",
        "nested.png": "sub/c.png",
        "deep.png": "sub/raw/b.png",
        "chain.png": "public.png",
        "good.png": "sub/d.png",
    }.items():
        (folder / name).symlink_to(target)
    (folder / "sub" / "round.txt").symlink_to("raw/../../.env")
    seen = look(folder)
    assert [f.path for f in seen.files] == ["a.jpg", "good.png", "sub/d.png"]
    links = {e.path: e.reason for e in seen.excluded if e.reason.startswith("link")}
    assert links == {
        "notes.txt": "link to a file that is left out (may hold secrets)",
        "hidden.png": "link to a file that is left out (hidden)",
        "public.png": "link to a file that is left out (excluded by .stcloudignore:1)",
        "nested.png": "link to a file that is left out (excluded by sub/.stcloudignore:1)",
        "deep.png": "link to a file that is left out (excluded by sub/.stcloudignore:2)",
        "chain.png": "link to a file that is left out (excluded by .stcloudignore:1)",
        "sub/round.txt": "link to a file that is left out (may hold secrets)",
    }


def test_a_link_to_what_has_decomposed_accents_is_judged_by_the_composed_name(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "é")
    fill(tmp_path, "a.jpg", f"{decomposed}/b.png")
    ignore(tmp_path, "é/b.png")
    (tmp_path / "c.png").symlink_to(f"{decomposed}/b.png")
    assert [f.path for f in look(tmp_path).files] == ["a.jpg"]


def test_a_folder_reached_through_a_link_is_scanned(tmp_path: Path) -> None:
    folder = fill(tmp_path / "real", "a.jpg")
    (folder / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "link").symlink_to("real")
    assert [f.path for f in look(tmp_path / "link").files] == ["a.jpg", "b.jpg"]


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reasons(tmp_path) == {"pipe.jpg": "not a regular file"}


def test_names_that_cannot_be_stored(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "back\\slash.jpg", "new\nline.jpg", "/".join(["d" * 200] * 3) + "/x.jpg")
    os.close(os.open(bytes(tmp_path) + b"/bad\xff.jpg", os.O_CREAT | os.O_WRONLY))
    left_out = look(tmp_path).excluded
    assert len(left_out) == 4
    assert all("\n" not in e.path for e in left_out)
    [e.path.encode() for e in left_out]


def test_decomposed_names_are_stored_composed(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    fill(tmp_path, f"{decomposed}/{decomposed}.jpg")
    found = look(tmp_path)
    assert [f.path for f in found.files] == ["café/café.jpg"]
    assert found.files[0].source.read_bytes()


def test_two_names_that_become_one_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "é.jpg", unicodedata.normalize("NFD", "é.jpg"))
    with pytest.raises(UsageError, match="Two files"):
        look(tmp_path)


def test_images_and_captions_are_paired_by_name_and_folder(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "a.txt", "b.PNG", "c.txt", "x/a.webp", "x/d.mp4", "x/d.txt", "meta.json")
    found = look(tmp_path)
    assert found.images == ["a.jpg", "b.PNG", "x/a.webp", "x/d.mp4"]
    assert found.without_caption == ["b.PNG", "x/a.webp"]
    assert found.without_image == ["c.txt"]


HEADS = {
    "jpeg": b"\xff\xd8\xff\xe0",
    "png": b"\x89PNG\r\n\x1a\n",
    "webp": b"RIFF\x24\x00\x00\x00WEBPVP8 ",
    "gif": b"GIF89a",
    "bmp": b"BM\x00",
    "tiff": b"II*\x00",
    "avif": b"\x00\x00\x00\x20ftypavif",
    "heic": b"\x00\x00\x00\x18ftypheic",
    "jxl": b"\xff\x0a\x00",
}


@pytest.mark.parametrize("kind", HEADS)
def test_images_are_known_by_their_content_whatever_their_name(tmp_path: Path, kind: str) -> None:
    for name in (f"own.{kind}", "other.jpg"):
        (tmp_path / name).write_bytes(HEADS[kind] + bytes(20))
    assert look(tmp_path).broken == []


def test_empty_images_and_images_that_are_none_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "good.jpg", "a.txt", "lost.mp4")
    for name in ("empty.jpg", "empty.MP4", "empty.wav", "empty.txt", "empty.json"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "page.png").write_bytes(b"<!DOCTYPE html><html>")
    (tmp_path / "sound.webp").write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt ")
    (tmp_path / "short.jpg").write_bytes(b"\xff")
    found = look(tmp_path)
    no_image = "not an image (its content is of no image format)"
    assert {e.path: e.reason for e in found.excluded} == {
        "empty.jpg": "empty (0 bytes)",
        "empty.MP4": "empty (0 bytes)",
        "empty.wav": "empty (0 bytes)",
        "page.png": no_image,
        "sound.webp": no_image,
        "short.jpg": no_image,
    }
    assert sorted(found.broken) == sorted(e.path for e in found.excluded)
    assert found.empty_captions == ["empty.txt"]


def test_only_broken_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match=r"a\.jpg: empty \(0 bytes\)"):
        look(tmp_path)


def test_files_of_no_known_kind_are_named(tmp_path: Path) -> None:
    fill(
        tmp_path, "a.jpg", "a.txt", "b.mp4", "c.FLAC", "meta.json", "captions.csv", "x.parquet", "notes.docx", "README"
    )
    assert look(tmp_path).unknown == ["README", "notes.docx"]


def test_a_caption_of_audio_is_not_alone(tmp_path: Path) -> None:
    found = look(fill(tmp_path, "song.flac", "song.txt"))
    assert (found.audio, found.without_image) == (["song.flac"], [])


def test_nothing_to_send_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        look(tmp_path / "missing")
    with pytest.raises(UsageError, match="holds no files"):
        look(tmp_path)
    fill(tmp_path, ".env")
    with pytest.raises(UsageError, match="1 entry was left out"):
        look(tmp_path)


# --- texts --------------------------------------------------------------------------------------------------------
def test_a_text_that_holds_a_token_stays_and_the_token_is_not_repeated(tmp_path: Path) -> None:
    token = "hf_" + "a" * 34
    fill(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "a.txt").write_text(f"a cup {token}")
    (tmp_path / "notes").write_text(f"token: {token}")
    (tmp_path / "late.md").write_text("x" * 400_000 + f" {token}")
    found = look(tmp_path)
    assert {e.path: e.reason for e in found.excluded} == dict.fromkeys(
        ("a.txt", "notes", "late.md"), "holds what looks like a Hugging Face token"
    )
    assert found.without_caption == ["a.jpg", "b.jpg"]


def test_captions_that_cannot_be_used_are_sent_and_counted(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    for name, content in {
        "a.txt": "赤いカップ".encode("cp932"),
        "b.txt": b"\xef\xbb\xbf \n",
        "c.txt": "é".encode(),
    }.items():
        (tmp_path / name).write_bytes(content)
    with scan(tmp_path) as found:
        assert found.flawed(Flaw.NOT_UTF8).paths == ["a.txt"]
        assert found.flawed(Flaw.EMPTY).paths == ["b.txt"]
        assert found.count == 4


# --- .stcloudignore -----------------------------------------------------------------------------------------------
def ignore(folder: Path, *lines: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".stcloudignore").write_text("\n".join(lines) + "\n")


def test_what_an_ignore_file_names_stays_with_file_and_line(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "raw/b.jpg", "raw/deep/c.jpg", "notes.md", "sub/notes.md", "sub/d.jpg")
    ignore(tmp_path, "# what is not finished", "", "raw/", "*.md")
    assert reasons(tmp_path) == {
        ".stcloudignore": "hidden",
        "raw/": "excluded by .stcloudignore:3",
        "notes.md": "excluded by .stcloudignore:4",
        "sub/notes.md": "excluded by .stcloudignore:4",
    }


def test_an_ignore_file_further_in_decides(tmp_path: Path) -> None:
    fill(tmp_path, "a.md", "sub/keep.md", "sub/other.md", "sub/b.jpg", "b.jpg")
    ignore(tmp_path, "*.md")
    ignore(tmp_path / "sub", "!keep.md", "/b.jpg")
    seen = look(tmp_path)
    assert [f.path for f in seen.files] == ["b.jpg", "sub/keep.md"]
    left_out = {e.path: e.reason for e in seen.excluded}
    assert left_out["sub/b.jpg"] == "excluded by sub/.stcloudignore:2"
    assert left_out["sub/other.md"] == "excluded by .stcloudignore:1"


def test_files_can_be_taken_back_in_from_a_folder_that_is_not_left_out_itself(tmp_path: Path) -> None:
    fill(tmp_path, "all/a.jpg", "all/b.jpg", "all/deep/c.jpg")
    ignore(tmp_path, "all/**", "!all/b.jpg")
    seen = look(tmp_path)
    assert [f.path for f in seen.files] == ["all/b.jpg"]
    assert {e.path for e in seen.excluded} == {".stcloudignore", "all/a.jpg", "all/deep/"}


def test_a_folder_that_is_left_out_stays_closed(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "drafts/keep.png", "drafts/secret.png", "other/keep.png")
    ignore(tmp_path, "drafts/", "!drafts/keep.png", "!other/")
    ignore(tmp_path / "drafts", "!*.png")
    # Not even looked at: a slip in it is none of ours.
    (tmp_path / "drafts" / ".stcloudignore").write_bytes(b"!\n")
    seen = look(tmp_path)
    assert [f.path for f in seen.files] == ["a.jpg", "other/keep.png"]
    assert reasons(tmp_path)["drafts/"] == "excluded by .stcloudignore:1"


def test_an_ignore_file_never_takes_secrets_back_in(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", ".env", ".hidden.jpg")
    ignore(tmp_path, "!.env", "!.hidden.jpg", "!*")
    assert [f.path for f in look(tmp_path).files] == ["a.jpg"]


@pytest.mark.parametrize("line", ["!", "! ", "[z-a].jpg", "[ab.jpg", "[[:letter:]]", "ends in\\"])
def test_a_line_that_is_no_pattern_is_refused_before_anything_is_sent(tmp_path: Path, line: str) -> None:
    fill(tmp_path, "a.jpg")
    ignore(tmp_path, "*.md", line)
    with pytest.raises(UsageError, match="line 2"):
        look(tmp_path)


def test_an_ignore_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    (tmp_path / ".stcloudignore").write_bytes(b"\xff\xfe*\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        look(tmp_path)
