"""``stcloud datasets``: consent, check, show, archives, over a scripted server."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from stcloud import archives
from stcloud.archives import stem_of

from tests.unit.cli.support import Naps, Ran, Script, ok, problem, run_cli

Reply = httpx.Response | Callable[[httpx.Request], httpx.Response]


class Routes:
    """Answers by the request's line; the first pattern that matches, each reply once, the last one for ever."""

    def __init__(self, **_: Any) -> None:
        self.known: list[tuple[str, list[Reply]]] = []
        self.asked: list[str] = []
        self.bodies: dict[str, Any] = {}

    def on(self, pattern: str, *replies: Reply) -> Routes:
        self.known.append((pattern, list(replies)))
        return self

    def __call__(self, request: httpx.Request) -> httpx.Response:
        line = f"{request.method} {request.url.path}"
        self.asked.append(line)
        if request.method == "POST" and request.content:
            self.bodies[line] = json.loads(request.content)
        for pattern, replies in self.known:
            if re.search(pattern, line):
                reply = replies.pop(0) if len(replies) > 1 else replies[0]
                return reply(request) if callable(reply) else reply
        return problem(404, "not_found", f"no route {line}")

    @property
    def script(self) -> Script:
        return Script([self])

    def sent(self) -> list[str]:
        return [line for line in self.asked if not line.startswith("GET")]


VERSION = {
    "dataset_id": "photos",
    "version_id": "v-1",
    "status": "ready",
    "files": 1,
    "bytes": 3,
    "checked": 1,
    "source_path": None,
    "created_at": "2026-11-24T12:00:00Z",
}
DATASET = {"dataset_id": "photos", "latest_version": "v-1", "source_path": "/p", "updated_at": "2026-11-24T12:00:00Z"}


def consent(value: str) -> httpx.Response:
    return ok({"consent": value})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    (made / "a.jpg").write_bytes(b"\xff\xd8\xff")
    return made


def push(routes: Routes, source: Path, tmp_path: Path, *more: str, **kwargs: Any) -> Ran:
    return run_cli("datasets", "push", str(source), *more, script=routes.script, home=tmp_path, **kwargs)


# --- consent --------------------------------------------------------------------------------------------------------
def test_asking_without_a_terminal_refuses_and_names_the_way(folder: Path, tmp_path: Path) -> None:
    routes = Routes().on("data-consent", consent("ask"))
    ran = push(routes, folder, tmp_path)
    assert ran.code == 2
    assert "--yes" in ran.err
    assert "--list" in ran.err
    assert routes.sent() == []


def test_a_no_sends_nothing(folder: Path, tmp_path: Path) -> None:
    routes = Routes().on("data-consent", consent("ask"))
    ran = push(routes, folder, tmp_path, interactive=True, answer="n\n")
    assert (ran.code, routes.sent()) == (130, [])


@pytest.mark.parametrize(
    ("setting", "more", "interactive"), [("allow", (), False), ("ask", ("--yes",), False), ("ask", (), True)]
)
def test_consent_is_given_by_the_setting_the_option_or_a_yes(
    folder: Path, tmp_path: Path, setting: str, more: tuple[str, ...], interactive: bool
) -> None:
    routes = Routes().on("data-consent", consent(setting)).on("POST /api/cloud/datasets$", ok(VERSION))
    ran = push(routes, folder, tmp_path, *more, interactive=interactive, answer="y\n")
    assert ran.code == 0, ran.err
    assert routes.sent() == ["POST /api/cloud/datasets"]


def test_denied_is_denied_whatever_the_option_says(folder: Path, tmp_path: Path) -> None:
    routes = Routes().on("data-consent", consent("deny"))
    ran = push(routes, folder, tmp_path, "--yes", "--json")
    assert ran.code == 4
    assert json.loads(ran.out)["error"]["code"] == "consent_denied"
    assert "stcloud consent set ask" in ran.err
    assert routes.sent() == []


@pytest.mark.parametrize("answer", [problem(404, "not_found"), problem(403, "forbidden"), consent("sometimes")])
def test_a_server_that_does_not_say_is_one_that_asks(folder: Path, tmp_path: Path, answer: httpx.Response) -> None:
    assert push(Routes().on("data-consent", answer), folder, tmp_path).code == 2


# --- check and show -------------------------------------------------------------------------------------------------
FINDINGS = [
    {"level": "note", "code": "n", "message": "All alike.", "advice": "", "count": 9, "paths": []},
    {"level": "error", "code": "truncated", "message": "2 images end too early.", "advice": "Save them again.",
     "count": 2, "paths": ["b.jpg", "c.jpg"]},
    {"level": "warning", "code": "w", "message": "Small.", "advice": "Larger ones.", "count": 1, "paths": ["a.jpg"]},
]  # fmt: skip


def report(findings: list[dict[str, Any]]) -> httpx.Response:
    inner = {
        "counts": {"images": 3, "captions": 1},
        "findings": findings,
        "fits": [{"resolution": 512, "buckets_in_all": 2, "scaled_up": 1}],
    }
    return ok({"report": inner, "contact_sheet_url": "http://s3.test/sheet.jpg"})


def inspected(status: str | None, **more: Any) -> httpx.Response:
    inspection = None if status is None else {"status": status, "errors": 1, "warnings": 1, "notes": 1, **more}
    return ok({**VERSION, "manifest_url": "http://s3.test/m", "inspection": inspection})


def checked(*versions: httpx.Response, findings: list[dict[str, Any]] = FINDINGS) -> Routes:
    return (
        Routes()
        .on("GET .*/versions/v-1$", *versions)
        .on("GET .*/report$", report(findings))
        .on("POST .*/inspect$", ok(VERSION))
        .on("GET .*/datasets/photos$", ok({**DATASET, "versions": [json.loads(versions[0].content)]}))
        .on("sheet.jpg", httpx.Response(200, content=b"\xff\xd8\xff sheet"))
    )


def test_check_waits_and_prints_errors_first_with_what_to_do() -> None:
    naps = Naps()
    routes = checked(inspected("pending"), inspected("running"), inspected("done"))
    ran = run_cli("datasets", "check", "photos", script=routes.script, sleep=naps)
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[0] == "ERROR    2 images end too early."
    assert lines[1].split() == ["b.jpg,", "c.jpg"]
    assert lines[2].strip() == "→ Save them again."
    assert lines[-1] == "1 error, 1 warning, 1 note."
    assert len(naps.taken) == 2
    assert "3 images, 1 caption," in ran.err
    assert "at 512: 2 aspect buckets, 1 image scaled up" in ran.err


def test_warnings_alone_end_with_zero() -> None:
    routes = checked(inspected("done"), findings=FINDINGS[2:])
    assert run_cli("datasets", "check", "photos", script=routes.script).code == 0


def test_a_version_that_was_never_inspected_is_now() -> None:
    routes = checked(inspected(None), inspected("done"))
    assert run_cli("datasets", "check", "photos", script=routes.script).code == 1
    assert [line.rsplit("/", 1)[1] for line in routes.sent()] == ["inspect"]


def test_a_failed_inspection_is_said() -> None:
    routes = checked(inspected("failed", problem="The function ran out of time."))
    ran = run_cli("datasets", "check", "photos", script=routes.script)
    assert ran.code == 4
    assert "ran out of time" in ran.err
    assert "--again" in ran.err


def test_check_does_not_wait_for_ever() -> None:
    seconds = iter(range(0, 100_000, 60))
    routes = checked(inspected("running"))
    ran = run_cli("datasets", "check", "photos", script=routes.script, monotonic=lambda: float(next(seconds)))
    assert ran.code == 4
    assert "goes on" in ran.err


def test_the_thumbnails_are_saved_and_their_address_printed(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.jpg"
    args = ("datasets", "check", "photos", "--contact-sheet", str(sheet), "--open")
    ran = run_cli(*args, script=checked(inspected("done")).script)
    assert sheet.read_bytes() == b"\xff\xd8\xff sheet"
    assert ran.out.splitlines()[-1] == "http://s3.test/sheet.jpg"


def test_check_as_json() -> None:
    ran = run_cli("datasets", "check", "photos", "--json", script=checked(inspected("done")).script)
    data = json.loads(ran.out)
    assert (ran.code, data["version_id"]) == (1, "v-1")
    assert [f["code"] for f in data["report"]["findings"]] == ["n", "truncated", "w"]


def test_a_folder_is_checked_here(tmp_path: Path, folder: Path) -> None:
    script = Script([ok({})])
    fine = run_cli("datasets", "check", str(folder), script=script)
    assert fine.code == 0
    assert "without a .txt caption" in fine.out
    (folder / "b.png").write_bytes(b"<html>")
    broken = run_cli("datasets", "check", str(folder), "--json", script=script)
    assert broken.code == 1
    data = json.loads(broken.out)
    assert (data["errors"], data["findings"][0]["paths"]) == (1, ["b.png"])
    assert script.asked == []


def test_show_has_the_findings_of_the_latest_version() -> None:
    ran = run_cli("datasets", "show", "photos", script=checked(inspected("done")).script)
    assert ran.code == 0
    assert "1 error, 1 warning, 1 note" in ran.out
    assert "ERROR    2 images end too early." in ran.err
    assert run_cli("datasets", "show", "photos", script=checked(inspected("running")).script).err.count("ERROR") == 0


# --- archives -------------------------------------------------------------------------------------------------------
@pytest.fixture
def packed(tmp_path: Path) -> Path:
    file = tmp_path / "photos.zip"
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a.jpg", b"\xff\xd8\xff" + bytes(20))
        made.writestr("a.txt", "a cup")
    return file


def unpacking(size: int, part: int, *ends: dict[str, Any]) -> Routes:
    numbers = range(1, -(-size // part) + 1)
    parts = [
        {"number": n, "size": min(part, size - (n - 1) * part), "url": f"http://s3.test/part{n}", "headers": {}}
        for n in numbers
    ]
    base = {"archive_id": "ar1", "status": "uploading"}
    return (
        Routes()
        .on("data-consent", consent("allow"))
        .on("POST .*/archives$", ok({**base, "part_size": part, "parts": parts, "next": None}))
        .on("POST .*/parts$", ok({"parts": parts, "present": 0, "next": None}))
        .on("POST .*/complete$", ok({**base, "status": "unpacking"}))
        .on("GET .*/archives/ar1$", *(ok({**base, **end}) for end in ends))
        .on("PUT /part", httpx.Response(200))
    )


READY = {
    "status": "ready",
    "version_id": "v-9",
    "report": {
        "taken": {"files": 2, "bytes": 28},
        "left_out": [{"path": "../x", "code": "path", "reason": "leaves the folder"}],
        "left_out_counts": {"path": 1},
        "notes": ["Names were read as CP932."],
    },
}


def test_an_archive_goes_up_in_parts_and_what_was_left_out_is_said(packed: Path, tmp_path: Path) -> None:
    size = packed.stat().st_size
    routes = unpacking(size, 100, {"status": "unpacking"}, READY)
    ran = push(routes, packed, tmp_path)
    assert ran.code == 0, ran.err
    assert ran.out == "photos v-9\n"
    assert sum(line.startswith("PUT") for line in routes.asked) == -(-size // 100)
    assert "../x: leaves the folder" in ran.err
    assert "CP932" in ran.err
    assert "Took 2 files (28 B)" in ran.err
    body = routes.bodies["POST /api/cloud/datasets/photos/archives"]
    assert (body["filename"], body["size"], body["source_path"]) == ("photos.zip", size, str(packed))


def test_a_broken_off_upload_of_an_archive_goes_on_with_what_is_missing(packed: Path, tmp_path: Path) -> None:
    size = packed.stat().st_size
    broken = unpacking(size, 100, READY)
    broken.known.insert(0, ("PUT /part2", [httpx.Response(400, text="<Error><Code>Nope</Code></Error>")]))
    assert push(broken, packed, tmp_path).code == 4
    again = unpacking(size, 100, {"status": "uploading"}, READY)
    missing = [{"number": 2, "size": 100, "url": "http://s3.test/part2", "headers": {}}]
    again.known.insert(0, ("POST .*/parts$", [ok({"parts": missing, "present": 1, "next": None})]))
    ran = push(again, packed, tmp_path)
    assert ran.code == 0, ran.err
    assert [line for line in again.asked if line.startswith("PUT")] == ["PUT /part2"]
    assert "POST /api/cloud/datasets/photos/archives" not in again.asked


def test_an_archive_that_is_refused_says_why_and_what_to_do(packed: Path, tmp_path: Path) -> None:
    failure = {"code": "zip_bomb", "message": "It unpacks to too much.", "advice": "Pack the images alone."}
    routes = unpacking(packed.stat().st_size, 1000, {"status": "failed", "failure": failure, "report": None})
    ran = push(routes, packed, tmp_path, "--json")
    assert ran.code == 4
    assert json.loads(ran.out)["error"]["code"] == "zip_bomb"
    assert "Pack the images alone." in ran.err


def test_the_entries_of_an_archive_are_listed_here(packed: Path, tmp_path: Path) -> None:
    routes = Routes()
    listed = json.loads(push(routes, packed, tmp_path, "--list", "--json").out)
    assert [e["path"] for e in listed["files"]] == ["a.jpg", "a.txt"]
    assert routes.asked == []
    (tmp_path / "bad.zip").write_bytes(b"PK nothing")
    assert push(routes, tmp_path / "bad.zip", tmp_path, "--list").code == 2


def test_the_folder_of_an_archive() -> None:
    assert stem_of(Path("/d/photos.tar.gz")) == Path("/d/photos")
    assert stem_of(Path("/d/Photos.ZIP")) == Path("/d/Photos")
    assert archives.is_archive(Path("x.TAR.XZ"))
    assert not archives.is_archive(Path("x.rar"))


# --- delete -------------------------------------------------------------------------------------------------------
def unfinished(objects: int, size: int) -> httpx.Response:
    said = {"deleted_objects": objects, "deleted_bytes": size}
    return problem(503, "deletion_unfinished", "Repeat.", headers={"retry-after": "1"}, **said)


def deleted(objects: int, size: int, **more: int) -> httpx.Response:
    answer = {"success": True, "dataset_id": "photos", "deleted_objects": objects, "deleted_bytes": size, **more}
    return ok(answer)


def delete(*replies: Reply) -> tuple[Ran, Routes, Naps]:
    routes, naps = Routes().on("^DELETE", *replies), Naps()
    ran = run_cli("datasets", "delete", "photos", "--yes", "--json", script=routes.script, sleep=naps)
    return ran, routes, naps


def test_a_deletion_of_many_calls_says_the_sum() -> None:
    ran, routes, naps = delete(*(unfinished(1000, 5_000) for _ in range(12)), deleted(7, 70))
    assert ran.code == 0, ran.err
    assert (json.loads(ran.out)["deleted_objects"], json.loads(ran.out)["deleted_bytes"]) == (12_007, 60_070)
    assert len(routes.asked) == 13
    assert all(1 <= nap < 2 for nap in naps.taken)
    assert "12,000 objects removed" in ran.err


def test_what_an_earlier_command_deleted_counts_where_the_server_knows_it() -> None:
    ran, _, _ = delete(unfinished(1000, 5_000), deleted(7, 70, total_objects=3_007, total_bytes=15_070))
    assert (json.loads(ran.out)["deleted_objects"], json.loads(ran.out)["deleted_bytes"]) == (3_007, 15_070)


def test_a_deletion_whose_end_was_not_heard_of_is_done() -> None:
    ran, _, _ = delete(unfinished(1000, 5_000), problem(404, "dataset_not_found"))
    assert (ran.code, json.loads(ran.out)["deleted_objects"]) == (0, 1000)
    assert delete(problem(404, "dataset_not_found"))[0].code == 4


def test_other_503s_in_between_are_tried_again_by_the_client() -> None:
    ran, routes, _ = delete(unfinished(5, 5), problem(503, "unavailable"), unfinished(5, 5), deleted(1, 1))
    assert (json.loads(ran.out)["deleted_objects"], len(routes.asked)) == (11, 4)


def test_a_deletion_that_does_not_get_on_is_given_up() -> None:
    ran, routes, _ = delete(unfinished(9, 9), unfinished(0, 0))
    assert (ran.code, json.loads(ran.out)["error"]["code"]) == (4, "deletion_unfinished")
    assert len(routes.asked) == 6
