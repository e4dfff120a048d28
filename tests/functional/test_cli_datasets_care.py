"""What a push notices before anything leaves this computer, and what is said when a folder is not what was pushed."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.corpus.zips import ENCRYPTED, Item, zipped
from tests.fakes.world import OWNER
from tests.functional.cli_server import CliServer, Fault, cli_server
from tests.functional.cli_tools import PICTURES, Cli, config_files, picture_folder
from tests.support.unpacking import run_steps

TOKEN = "hf_" + "a" * 34


@pytest.fixture
def server() -> Iterator[CliServer]:
    with cli_server() as running:
        yield running


@pytest.fixture
def cli(server: CliServer, tmp_path: Path) -> Cli:
    return Cli(server.url, tmp_path / "home", [])


def folder_with_token(tmp_path: Path) -> Path:
    folder = picture_folder(tmp_path)
    (folder / "two.txt").write_text(f"a cat {TOKEN}")
    return folder


# --- secrets ------------------------------------------------------------------------------------------------------
def test_a_token_in_a_caption_stops_the_push_and_yes_is_no_answer(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = folder_with_token(tmp_path)
    ran = cli.run("datasets", "push", str(folder), "--yes", "--json")
    assert ran.code == 1
    assert ran.json()["error"]["code"] == "secrets_found"
    assert "two.txt" in ran.err
    assert "--exclude-secrets" in ran.err
    assert TOKEN not in ran.out + ran.err
    assert server.requests == []


def test_the_rest_goes_up_when_told_so(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = folder_with_token(tmp_path)
    ran = cli.run("datasets", "push", str(folder), "--yes", "--exclude-secrets", "--json")
    assert ran.code == 0, ran.err
    assert sorted(server.uploaded) == sorted(set(PICTURES) - {"two.txt"})
    assert ran.json()["images_without_caption"] == ["two.png"]


@pytest.mark.parametrize(("answer", "code", "sent"), [("n\n", 130, 0), ("y\ny\n", 0, len(PICTURES) - 1)])
def test_on_a_terminal_it_is_asked(
    server: CliServer, cli: Cli, tmp_path: Path, answer: str, code: int, sent: int
) -> None:
    ran = cli.run("datasets", "push", str(folder_with_token(tmp_path)), interactive=True, answer=answer)
    assert (ran.code, len(server.uploaded)) == (code, sent)


def test_the_list_names_the_file_and_its_reason_and_contacts_nobody(
    server: CliServer, cli: Cli, tmp_path: Path
) -> None:
    folder = folder_with_token(tmp_path)
    shown = cli.run("datasets", "push", str(folder), "--list", "--json")
    assert shown.code == 0
    assert shown.json()["excluded"] == [{"path": "two.txt", "reason": "holds what looks like a Hugging Face token"}]
    assert "two.txt: holds what looks like" in cli.run("datasets", "push", str(folder), "--list").err
    assert server.requests == []


def test_captions_that_cannot_be_used_are_told_and_sent(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    for number in range(7):
        (folder / f"{number}.txt").write_bytes("赤いカップ".encode("cp932"))
        (folder / f"{number}.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes([number]))
    (folder / "one.txt").write_bytes(b" \n")
    (folder / "two.txt").unlink()
    ran = cli.run("datasets", "push", str(folder), "--yes")
    assert ran.code == 0, ran.err
    assert "7 captions not in UTF-8, so the trainer can't read them: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 2" in ran.err
    assert "iconv -f CP932" in ran.err
    assert "1 caption without text: one.txt" in ran.err
    assert "1 image without a .txt caption: two.png" in ran.err
    assert cli.run("datasets", "check", str(folder)).code == 1


def test_kinds_are_counted_apart(cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    (folder / "film.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom")
    (folder / "art.psd").write_bytes(b"8BPS\x00\x01")
    (folder / "phone.heic").write_bytes(b"\x00\x00\x00\x18ftypheic")
    shown = cli.run("datasets", "push", str(folder), "--dry-run", "--json")
    assert (shown.json()["images"], shown.json()["videos"]) == (5, 1)
    assert "5 images, 1 video, 3 captions, 9 files in all" in shown.err
    assert "3 images and videos without a .txt caption" in shown.err
    assert "1 image in a format that the trainer can't read (HEIF or JPEG XL): phone.heic" in shown.err


# --- archives -----------------------------------------------------------------------------------------------------
def test_the_list_of_a_zip_has_the_servers_verdicts(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "photos.zip"
    jpg = PICTURES["one.jpg"]
    names = ["../up.jpg", "/abs.jpg", "写真.jpg", "page.png", "inner.zip", "sub/.env"]
    file.write_bytes(zipped([Item(name.encode("cp932"), jpg if name != "page.png" else b"<html>") for name in names]))
    shown = cli.run("datasets", "push", str(file), "--list", "--json")
    assert shown.code == 0, shown.err
    data = shown.json()
    assert data["files"] == [{"path": "写真.jpg", "size": len(jpg)}]
    assert (data["files_count"], data["bytes"], data["archive_bytes"]) == (1, len(jpg), file.stat().st_size)
    assert {e["path"]: e["reason"] for e in data["excluded"]} == {
        "../up.jpg": "leads out of the folder ('..' in its path)",
        "/abs.jpg": "is absolute; use a path relative to the dataset's folder",
        "page.png": "not an image (its content is of no image format)",
        "inner.zip": "an archive inside the archive is not unpacked",
        "sub/.env": "may hold secrets",
    }
    assert "Shift_JIS" in shown.err
    assert "It leaves this computer whole" in shown.err
    assert "1 entry is named like one that holds secrets: sub/.env." in shown.err
    assert server.requests == []


@pytest.mark.parametrize(
    ("items", "code", "said"),
    [
        ([Item("a.jpg", PICTURES["one.jpg"], flags=ENCRYPTED)], 2, "with its password, and push the folder"),
        ([Item("a.jpg", PICTURES["one.jpg"]), Item("a.txt", TOKEN.encode())], 1, "pack it again"),
        (
            [Item("a.jpg", PICTURES["one.jpg"]), Item("x/.env", b"A=1")],
            1,
            "1 entry is named like one that holds secrets",
        ),
        ([Item("a.jpg", PICTURES["one.jpg"]), Item("keys/id_rsa", b"")], 1, "keys/id_rsa"),
        ([Item("a.jpg", PICTURES["one.jpg"]), Item(".git/config", TOKEN.encode())], 1, "A text file holds"),
        ([Item("../a.jpg", PICTURES["one.jpg"])], 2, "leads out of the folder"),
        ([], 2, "holds no files"),
    ],
)
def test_an_archive_that_cannot_be_right_is_not_uploaded(
    server: CliServer, cli: Cli, tmp_path: Path, items: list[Item], code: int, said: str
) -> None:
    file = tmp_path / "photos.zip"
    file.write_bytes(zipped(items))
    ran = cli.run("datasets", "push", str(file), "--yes")
    assert ran.code == code
    assert said in ran.err
    assert server.requests == []


def test_the_question_about_an_archive_says_that_it_goes_whole(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "photos.zip"
    file.write_bytes(zipped([Item("a.jpg", PICTURES["one.jpg"]), Item(".DS_Store", b"x"), Item("b.png", b"<html>")]))
    ran = cli.run("datasets", "push", str(file), interactive=True, answer="n\n")
    assert ran.code == 130
    assert "2 entries leave this computer in it, to be left out on the server's side: .DS_Store, b.png." in ran.err
    assert f"Upload photos.zip, whole, to {server.url}?" in ran.err
    file.write_bytes(b"PK nothing")
    assert "nobody has looked for keys" in cli.run("datasets", "push", str(file), interactive=True, answer="n\n").err


# --- where it came from -------------------------------------------------------------------------------------------
def test_a_push_from_another_folder_under_the_same_name_says_so(cli: Cli, tmp_path: Path) -> None:
    first, second = picture_folder(tmp_path / "a"), picture_folder(tmp_path / "b", {"x.jpg": b"\xff\xd8\xff"})
    assert "before" not in cli.run("datasets", "push", str(first), "--yes").err
    assert "before" not in cli.run("datasets", "push", str(first), "--yes").err
    ran = cli.run("datasets", "push", str(second), "--yes")
    assert ran.code == 0, ran.err
    assert f"Dataset 'photos' was pushed from {first} before; this becomes its next version." in ran.err


def test_a_job_hears_that_its_folder_changed_since_the_push(cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    config = config_files(tmp_path, folder)
    assert cli.run("datasets", "push", str(folder), "--yes").code == 0
    assert "since the push" not in cli.run("jobs", "preflight", str(config)).err
    (folder / "one.txt").write_bytes(b"a blu cup")
    (folder / "two.png").unlink()
    (folder / "new.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    ran = cli.run("jobs", "preflight", str(config))
    assert f"3 files of {folder} changed since the push" in ran.err
    assert f"stcloud datasets push {folder} --id photos" in ran.err
    assert cli.run("datasets", "push", str(folder), "--yes").code == 0
    later = time.time_ns() + 10**12
    os.utime(folder / "one.txt", ns=(later, later))
    assert "since the push" not in cli.run("jobs", "submit", str(config)).err


# --- consent ------------------------------------------------------------------------------------------------------
def test_consent_is_shown_and_set(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    assert cli.run("consent", "show").out == "ask: push shows what would be sent, and asks.\n"
    assert cli.run("consent", "set", "allow", "--json").json() == {"consent": "allow"}
    assert cli.run("datasets", "push", str(folder)).code == 0
    assert cli.run("consent", "set", "deny").out.startswith("deny: push refuses")
    denied = cli.run("datasets", "push", str(folder), "--yes")
    assert denied.code == 4
    assert "stcloud consent set ask" in denied.err
    wrong = cli.run("consent", "set", "perhaps")
    assert (wrong.code, "ask, allow, deny" in wrong.err) == (2, True)
    assert cli.run("consent", "show", "--json").json() == {"consent": "deny"}


def test_an_archive_is_found_by_its_own_path_and_by_no_folder_that_never_was(
    server: CliServer, cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "packed.zip"
    file.write_bytes(zipped([Item(name, data) for name, data in PICTURES.items()]))
    world = server.world

    def unpack() -> None:
        found, _ = world.ports.archives.list_of(OWNER, "packed", limit=1, cursor=None)
        run_steps(found[0], world.ports)

    server.faults.append(Fault(r"GET .*/archives/", then=unpack))
    pushed = cli.run("datasets", "push", str(file), "--yes")
    assert pushed.code == 0, pushed.err
    assert cli.run("datasets", "list", "--json").json()["datasets"][0]["source_path"] == str(file)
    for path, found in ((file, True), (tmp_path / "packed", False)):
        answer = cli.run("jobs", "preflight", str(config_files(tmp_path, path)), "--json").json()
        assert ("dataset_unresolved" not in [f["code"] for f in answer["findings"]]) is found


# --- remembered hashes --------------------------------------------------------------------------------------------
def test_a_remembered_hash_that_proves_wrong_is_forgotten(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    for file in (f for f in folder.rglob("*") if f.is_file()):
        os.utime(file, (time.time() - 100, time.time() - 100))
    assert cli.run("datasets", "push", str(folder), "--yes").code == 0
    # As of a file that changed on a disk that does not keep its times.
    [cache] = (cli.home / "cache").rglob("hashes/*.sqlite")
    with closing(sqlite3.connect(cache)) as db:
        assert db.execute("UPDATE hashes SET sha256 = ? WHERE path = 'one.jpg'", ("0" * 64,)).rowcount == 1
        db.commit()
    refused = cli.run("datasets", "push", str(folder), "--yes", "--json")
    assert (refused.code, refused.json()["error"]["code"]) == (2, "file_changed"), refused.err
    again = cli.run("datasets", "push", str(folder), "--yes", "--json")
    assert (again.code, again.json()["unchanged"]) == (0, True), again.err
