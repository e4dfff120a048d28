"""``stcloud datasets`` beyond the first push: copies, parts, kills, differences, downloads, deletion."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.cli_server import CliServer, Fault, cli_server
from tests.functional.cli_tools import PICTURES, Cli, picture_folder

ROOT = Path(__file__).resolve().parents[2]
PART = 64 * 1024**2


@pytest.fixture
def server() -> Iterator[CliServer]:
    with cli_server() as running:
        yield running


@pytest.fixture
def cli(server: CliServer, tmp_path: Path) -> Cli:
    return Cli(server.url, tmp_path / "home", [])


def push(cli: Cli, folder: Path, *more: str) -> dict[str, object]:
    pushed = cli.run("datasets", "push", str(folder), "--yes", "--json", *more)
    assert pushed.code == 0, pushed.err
    data: dict[str, object] = pushed.json()
    return data


def stored(server: CliServer, version: object) -> dict[str, bytes | None]:
    files = server.world.dataset_files
    found = server.world.ports.datasets.get_version("local", "photos", str(version))
    assert found is not None
    prefix = found.prefix
    return {info.key.removeprefix(prefix): files.get(info.key) for info in files.list(prefix)}


def test_a_changed_folder_sends_what_changed_and_says_so(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    push(cli, folder)
    server.uploaded.clear()
    (folder / "one.txt").write_bytes(b"a blue cup")
    again = cli.run("datasets", "push", str(folder), "--yes")
    assert again.code == 0, again.err
    assert server.uploaded == ["one.txt"]
    kept = sum(len(data) for name, data in PICTURES.items() if name != "one.txt")
    assert f"Sent 1 file (10 B), 5 unchanged (copied inside S3), {kept} B not sent" in again.err
    assert stored(server, again.out.split()[1]) == {**PICTURES, "one.txt": b"a blue cup"}


def test_a_renamed_file_is_not_sent_again(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    push(cli, folder)
    server.uploaded.clear()
    (folder / "one.jpg").rename(folder / "first.jpg")
    data = push(cli, folder)
    assert server.uploaded == []
    assert (data["uploaded_files"], data["copied_files"]) == (0, 6)


@pytest.fixture(scope="module")
def film() -> bytes:
    return random.Random(5).randbytes(1024) * (2 * PART // 1024) + b"the end"


def test_a_large_file_goes_up_in_parts_and_a_second_run_sends_the_missing_one(
    server: CliServer, cli: Cli, tmp_path: Path, film: bytes
) -> None:
    folder = picture_folder(tmp_path, {"film.mp4": film, "film.txt": b"a film"})
    server.faults.append(Fault(r"PUT /storage/.*partNumber=2", times=1000, drop=True))
    broken = cli.run("datasets", "push", str(folder), "--yes", "--concurrency", "1")
    assert broken.code == 5, broken.err
    server.faults.clear()
    server.requests.clear()
    data = push(cli, folder, "--concurrency", "1")
    numbers = [line for line in server.requests if line.startswith("PUT") and "partNumber" in line]
    assert numbers
    assert not [line for line in numbers if "partNumber=1&" in line or line.endswith("partNumber=1")]
    assert stored(server, data["version_id"])["film.mp4"] == film
    assert server.count(r"POST .*/uploads/finish") == 1


def test_killed_ten_times_at_random_it_ends_complete_and_right(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    rng = random.Random(20)
    files = {f"{n % 7}/p{n:03}.jpg": b"\xff\xd8\xff" + rng.randbytes(rng.randrange(3000)) for n in range(320)}
    folder = picture_folder(tmp_path, files)
    environment = {
        **os.environ,
        "STCLOUD_URL": server.url,
        "STCLOUD_KEYRING": "off",
        "PYTHONPATH": str(ROOT / "cli"),
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    command = [sys.executable, "-m", "stcloud", "datasets", "push", str(folder), "--yes", "--quiet", "--json"]
    killed = 0
    for _ in range(10):
        left = [rng.randrange(1, 30)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:

            def count_down(left: list[int] = left, process: subprocess.Popen[bytes] = process) -> None:
                left[0] -= 1
                if left[0] == 0:
                    process.send_signal(signal.SIGKILL)

            server.faults[:] = [Fault(r".", times=10_000, then=count_down)]
            process.communicate(timeout=60)
            killed += process.returncode == -signal.SIGKILL
    server.faults.clear()
    assert killed == 10
    data = push(cli, folder)
    assert data["status"] == "ready"
    assert stored(server, data["version_id"]) == files
    # A file is sent twice only when it was on its way at a kill.
    assert len(server.uploaded) <= len(files) + 10 * 16


def test_the_list_names_every_file_and_what_stays_here_and_contacts_nobody(
    server: CliServer, cli: Cli, tmp_path: Path
) -> None:
    folder = picture_folder(tmp_path)
    (folder / ".env").write_text("SECRET=1")
    (folder / "drafts").mkdir()
    (folder / "drafts" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / ".stcloudignore").write_text("# not yet\n\ndrafts/\n")
    shown = cli.run("datasets", "push", str(folder), "--list", "--json").json()
    assert shown["files"] == [{"path": p, "size": len(PICTURES[p])} for p in sorted(PICTURES, key=str.encode)]
    assert {e["path"]: e["reason"] for e in shown["excluded"]} == {
        ".env": "may hold secrets",
        ".stcloudignore": "hidden",
        "drafts/": "excluded by .stcloudignore:3",
    }
    plain = cli.run("datasets", "push", str(folder), "--list")
    assert plain.out.splitlines() == [f"{f['size']}\t{f['path']}" for f in shown["files"]]
    assert "drafts/: excluded by .stcloudignore:3" in plain.err
    assert server.requests == []
    push(cli, folder)
    assert sorted(server.uploaded) == sorted(PICTURES)


def test_diff_of_versions_and_of_a_folder(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    first = push(cli, folder)["version_id"]
    (folder / "one.txt").write_bytes(b"a blue cup")
    (folder / "two.png").unlink()
    (folder / "two.txt").rename(folder / "zwei.txt")
    (folder / "new.jpg").write_bytes(b"\xff\xd8\xff new")
    (folder / "more" / "again.jpg").write_bytes(PICTURES["one.jpg"])
    local = cli.run("datasets", "diff", "photos", str(folder))
    assert local.code == 0, local.err
    assert [line.split("\t")[0] for line in local.out.splitlines()] == [
        "+ more/again.jpg (a copy of one.jpg)",
        "+ new.jpg",
        "~ one.txt",
        "- two.png",
        "> zwei.txt (was two.txt)",
    ]
    assert "17 B new" in local.err
    second = push(cli, folder)["version_id"]
    expected = ["+ more/again.jpg", "+ new.jpg", "~ one.txt", "- two.png", "> zwei.txt (was two.txt)"]
    for args in ((str(first), str(second)), (f"{first}..{second}",)):
        between = cli.run("datasets", "diff", "photos", *args)
        assert [line.split("\t")[0] for line in between.out.splitlines()] == expected
    data = cli.run("datasets", "diff", "photos", str(first), str(second), "--json").json()
    assert (data["base"], data["version"]) == (first, second)
    assert [f["path"] for f in data["files"]] == ["more/again.jpg", "new.jpg", "one.txt", "two.png", "zwei.txt"]
    same = cli.run("datasets", "diff", "photos", str(folder))
    assert (same.out, "no difference" in same.err) == ("", True)


def test_download_is_checked_goes_on_and_overwrites_nothing(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    push(cli, picture_folder(tmp_path))
    target = tmp_path / "back"
    got = cli.run("datasets", "download", "photos", "--to", str(target))
    assert got.code == 0, got.err
    assert {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()} == PICTURES
    server.requests.clear()
    again = cli.run("datasets", "download", "photos", "--to", str(target), "--json").json()
    assert (again["fetched"], again["present"]) == (0, len(PICTURES))
    assert server.count(r"GET /storage/local|GET /storage/.*photos") == 0
    (target / "one.txt").write_bytes(b"mine")
    refused = cli.run("datasets", "download", "photos", "--to", str(target))
    assert refused.code == 2
    assert "--force" in refused.err
    assert (target / "one.txt").read_bytes() == b"mine"
    assert cli.run("datasets", "download", "photos", "--to", str(target), "--force").code == 0
    assert (target / "one.txt").read_bytes() == PICTURES["one.txt"]


def test_a_download_with_expired_links_asks_for_others(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    push(cli, picture_folder(tmp_path))
    server.faults.append(Fault(r"GET /storage/", times=4, status=403))
    got = cli.run("datasets", "download", "photos", "--to", str(tmp_path / "back"))
    assert got.code == 0, got.err
    assert server.count(r"POST .*/downloads") > 1


def test_a_download_never_leaves_its_folder(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    push(cli, picture_folder(tmp_path))
    target, elsewhere = tmp_path / "back", tmp_path / "elsewhere"
    target.mkdir()
    elsewhere.mkdir()
    (target / "more").symlink_to(elsewhere)
    refused = cli.run("datasets", "download", "photos", "--to", str(target))
    assert refused.code == 4
    assert "outside" in refused.err
    assert list(elsewhere.iterdir()) == []


def test_deleting_says_what_was_removed(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    first = push(cli, folder)["version_id"]
    (folder / "one.txt").write_bytes(b"a blue cup")
    push(cli, folder)
    one = cli.run("datasets", "delete", "photos", "--version", str(first), "--yes")
    assert one.code == 0, one.err
    assert f"Deleted photos {first}" in one.out
    assert "B removed)" in one.out
    data = cli.run("datasets", "delete", "photos", "--yes", "--json").json()
    assert data["deleted_bytes"] > 0
    assert not list(server.world.dataset_files.list("local/photos/"))


def test_usage_and_retention(cli: Cli, tmp_path: Path) -> None:
    push(cli, picture_folder(tmp_path))
    size = sum(map(len, PICTURES.values()))
    assert cli.run("datasets", "usage").out.startswith(f"{size} B of ")
    assert "keeps all versions" in cli.run("datasets", "retention", "photos").out
    assert "for 30 days" in cli.run("datasets", "retention", "photos", "30").out
    assert cli.run("datasets", "retention", "photos", "--json").json()["retention_days"] == 30
    assert "keeps all versions" in cli.run("datasets", "retention", "photos", "off").out
    assert cli.run("datasets", "retention", "photos", "soon").code == 2
