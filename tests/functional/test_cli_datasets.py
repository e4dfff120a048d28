"""``stcloud datasets``: pushing folders to the real API and its storage."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.functional.cli_server import CliServer, Fault, cli_server
from tests.functional.cli_tools import PICTURES, Cli, picture_folder


@pytest.fixture
def server() -> Iterator[CliServer]:
    with cli_server() as running:
        yield running


@pytest.fixture
def cli(server: CliServer, tmp_path: Path) -> Cli:
    return Cli(server.url, tmp_path / "home", [])


def test_push_sends_every_file_and_the_version_is_ready(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    pushed = cli.run("datasets", "push", str(folder), "--yes", "--json")
    assert pushed.code == 0, pushed.err
    data = pushed.json()
    assert data["dataset_id"] == "photos"
    assert data["status"] == "ready"
    assert data["uploaded_files"] == data["files"] == len(PICTURES)
    assert data["source_path"] == str(folder)
    assert sorted(server.uploaded) == sorted(PICTURES)
    stored = {
        info.key.split("/", 3)[-1]: server.world.dataset_files.get(info.key)
        for info in server.world.dataset_files.list("local/photos/")
    }
    assert stored == PICTURES


def test_pushing_again_sends_nothing_and_a_new_caption_sends_one_file(
    server: CliServer, cli: Cli, tmp_path: Path
) -> None:
    folder = picture_folder(tmp_path)
    first = cli.run("datasets", "push", str(folder), "--yes", "--json").json()
    server.uploaded.clear()
    again = cli.run("datasets", "push", str(folder), "--yes")
    assert again.code == 0
    assert again.out == f"photos {first['version_id']}\n"
    assert "Nothing to send" in again.err
    assert server.uploaded == []
    (folder / "one.txt").write_bytes(b"a blue cup")
    changed = cli.run("datasets", "push", str(folder), "--yes", "--json").json()
    assert changed["version_id"] != first["version_id"]
    assert changed["status"] == "ready"


def test_secrets_and_junk_stay_here_and_are_listed(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    for name in (".env", "server.pem", "id_rsa", "credentials.json", "Thumbs.db", ".hidden"):
        (folder / name).write_text("SECRET=1")
    (tmp_path / "outside.jpg").write_bytes(b"not yours")
    (folder / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    pushed = cli.run("datasets", "push", str(folder), "--yes", "--json")
    assert pushed.code == 0
    reasons = {e["path"]: e["reason"] for e in pushed.json()["excluded"]}
    assert reasons == {
        ".env": "may hold secrets",
        "server.pem": "may hold secrets",
        "id_rsa": "may hold secrets",
        "credentials.json": "may hold secrets",
        "Thumbs.db": "system file",
        ".hidden": "hidden",
        "link.jpg": "link that leaves the folder",
    }
    assert sorted(server.uploaded) == sorted(PICTURES)
    assert ".env: may hold secrets" in pushed.err


def test_a_dry_run_contacts_nobody(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    shown = cli.run("datasets", "push", str(picture_folder(tmp_path)), "--dry-run", "--json")
    assert shown.code == 0
    assert shown.json()["paths"] == sorted(PICTURES, key=str.encode)
    assert server.requests == []


def test_expired_urls_are_renewed(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    server.faults.append(Fault(r"PUT /storage/", times=2, status=403))
    pushed = cli.run("datasets", "push", str(picture_folder(tmp_path)), "--yes", "--json")
    assert pushed.code == 0, pushed.err
    assert pushed.json()["status"] == "ready"
    assert server.count(r"POST .*/uploads") == 2


def test_storage_that_refuses_for_good_ends_with_advice(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    server.faults.append(Fault(r"PUT /storage/", times=1000, status=403))
    pushed = cli.run("datasets", "push", str(picture_folder(tmp_path)), "--yes", "--json")
    assert pushed.code == 4
    assert pushed.json()["error"]["code"] == "transfer_failed"
    assert "AccessDenied" in pushed.err
    assert "clock" in pushed.err


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"drop": True}, {"drop": True, "after": True}])
def test_a_failed_put_is_tried_again(server: CliServer, cli: Cli, tmp_path: Path, fault: dict[str, object]) -> None:
    server.faults.append(Fault(r"PUT /storage/", times=3, **fault))  # type: ignore[arg-type]
    pushed = cli.run("datasets", "push", str(picture_folder(tmp_path)), "--yes", "--json")
    assert pushed.code == 0, pushed.err
    assert cli.slept


def test_a_broken_push_goes_on_with_the_missing_files_alone(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    server.faults.append(Fault(r"PUT /storage/.*two\.png", times=1000, drop=True))
    broken = cli.run("datasets", "push", str(folder), "--yes", "--concurrency", "1")
    assert broken.code == 5
    assert "what is up stays up" in broken.err
    server.faults.clear()
    there = set(server.uploaded)
    server.uploaded.clear()
    assert cli.run("datasets", "push", str(folder), "--yes").code == 0
    assert "two.png" in server.uploaded
    assert not there & set(server.uploaded)


def test_an_interrupted_push_says_how_to_go_on(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    server.faults.append(Fault(r"PUT /storage/.*two\.png", times=1000, status=503))

    class Impatient(list[float]):
        def append(self, seconds: float) -> None:
            raise KeyboardInterrupt

    args = ("datasets", "push", str(folder), "--yes", "--concurrency", "1")
    stopped = Cli(server.url, tmp_path / "home", Impatient()).run(*args)
    assert stopped.code == 130
    assert f"stcloud datasets push {folder} --id photos" in stopped.err
    assert f"Stopped. {len(server.uploaded)} files of this run are up" in stopped.err
    assert server.uploaded
    server.faults.clear()
    assert cli.run("datasets", "push", str(folder), "--yes").code == 0


def test_files_that_vanish_from_the_bucket_are_sent_again(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)

    def lose() -> None:
        keys = [i.key for i in server.world.dataset_files.list("local/photos/") if i.key.endswith("one.jpg")]
        server.world.dataset_files.delete(keys)

    server.faults.append(Fault(r"POST .*/complete", then=lose))
    pushed = cli.run("datasets", "push", str(folder), "--yes", "--json")
    assert pushed.code == 0, pushed.err
    assert server.uploaded.count("one.jpg") == 2


def test_consent_is_asked_on_a_terminal_and_no_sends_nothing(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    folder = picture_folder(tmp_path)
    declined = cli.run("datasets", "push", str(folder), interactive=True, answer="n\n")
    assert declined.code == 130
    assert "Nothing was sent" in declined.err
    assert server.count(r"PUT |POST ") == 0
    unattended = cli.run("datasets", "push", str(folder))
    assert unattended.code == 2
    assert "--yes" in unattended.err
    assert server.count(r"PUT |POST ") == 0
    assert cli.run("datasets", "push", str(folder), interactive=True, answer="y\n").code == 0
    assert cli.run("datasets", "push", str(folder), "--yes", interactive=True).code == 0


def test_list_show_delete(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    version = cli.run("datasets", "push", str(picture_folder(tmp_path)), "--yes", "--json").json()["version_id"]
    listed = cli.run("datasets", "list")
    assert listed.out.split("\t")[:2] == ["photos", version]
    assert version in cli.run("datasets", "show", "photos").out
    assert cli.run("datasets", "show", "other").code == 4
    refused = cli.run("datasets", "delete", "photos")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert cli.run("datasets", "delete", "photos", "--yes").code == 0
    assert cli.run("datasets", "list", "--json").json() == {"datasets": []}


def test_deleting_survives_a_lost_answer(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    cli.run("datasets", "push", str(picture_folder(tmp_path)), "--yes")
    server.faults.append(Fault(r"DELETE ", drop=True, after=True))
    assert cli.run("datasets", "delete", "photos", "--yes").code == 0


def test_urls_really_expire_in_the_storage(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    """The storage itself refuses: an hour passes between the URLs and the first PUT."""
    passed: list[bool] = []

    def an_hour() -> None:
        if not passed:
            passed.append(True)
            server.world.clock.advance(timedelta(hours=2))

    server.faults.append(Fault(r"PUT /storage/", then=an_hour))
    pushed = cli.run("datasets", "push", str(picture_folder(tmp_path)), "--yes", "--json")
    assert pushed.code == 0, pushed.err
    assert pushed.json()["status"] == "ready"
    assert server.count(r"POST .*/uploads") >= 2


def test_the_token_goes_to_the_server_and_never_to_the_storage(server: CliServer, cli: Cli, tmp_path: Path) -> None:
    cli.environ["STCLOUD_TOKEN"] = "tok-canary-1"
    pushed = cli.run("datasets", "push", str(picture_folder(tmp_path)), "--yes")
    assert pushed.code == 0
    assert "tok-canary-1" not in pushed.out + pushed.err
    for line, headers in zip(server.requests, server.request_headers, strict=True):
        assert ("tok-canary-1" in str(headers)) is ("/api/" in line)
