"""Inspections on the deployed stack with IAM on: a folder with all kinds of trouble gets its report, a job over it
costs nothing, and a clean one trains."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.corpus.images import cases, encoded, picture
from tests.support.stack import Stack, eventually
from tests.support.trainings import submission

#: Corpus and captions: what can't be pushed by the command line can by anybody with curl.
TROUBLE: dict[str, bytes] = {f"images/{case.name}": case.data for case in cases()} | {
    "images/sound.txt": b"a soft picture",
    "images/cut.txt": "日本の写真".encode("cp932"),
    "images/palette.txt": b"",
    "images/alpha.txt": b"\xef\xbb\xbfa picture with alpha",
    "images/icon.txt": b"word " * 900,
    "images/nobody.txt": b"a caption of nothing",
    "clip.mp4": b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41" + bytes(50),
    "song.flac": b"fLaC" + bytes(50),
    "notes.md": b"my token is hf_" + b"a" * 34,
    ".env": b"PASSWORD=1",
    "日本/写真.png": encoded(picture(700, 500, seed=77), "PNG"),
    "copy/one.png": encoded(picture(600, 600, seed=78), "PNG"),
    "copy/two.png": encoded(picture(600, 600, seed=78), "PNG"),
    "copy/small.jpg": encoded(picture(600, 600, seed=78).resize((300, 300)), "JPEG"),
}


def route_of(version: dict[str, Any]) -> str:
    return f"/cloud/datasets/{version['dataset_id']}/versions/{version['version_id']}"


def reported(stack: Stack, version: dict[str, Any]) -> dict[str, Any]:
    """The report, once there is one."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = stack.ok("GET", f"{route_of(version)}/report")
        return found if found["inspection"]["status"] in {"done", "failed"} else None

    found = eventually(look)
    assert found["inspection"]["status"] == "done", found
    return found


@pytest.fixture(scope="module")
def trouble(whole_stack: Stack) -> dict[str, Any]:
    return whole_stack.push("trouble", TROUBLE)


@pytest.fixture(scope="module")
def report(whole_stack: Stack, trouble: dict[str, Any]) -> dict[str, Any]:
    return reported(whole_stack, trouble)


def test_every_odd_file_is_in_the_report(report: dict[str, Any]) -> None:
    findings = {f["code"]: f for f in report["report"]["findings"]}
    for case in cases():
        for problem in case.problems:
            found = findings[problem.value]
            assert found["count"] > len(found["paths"]) or f"images/{case.name}" in found["paths"], (case.name, found)
    assert findings["caption_not_utf8"]["paths"] == ["images/cut.txt"]
    assert findings["caption_empty"]["paths"] == ["images/palette.txt"]
    assert findings["caption_bom"]["paths"] == ["images/alpha.txt"]
    assert findings["caption_over_t5"]["paths"] == ["images/icon.txt"]
    assert findings["caption_without_media"]["paths"] == ["images/nobody.txt"]
    assert findings["secret_in_text"]["paths"] == ["notes.md"]
    assert findings["secret_file"]["paths"] == [".env"]
    assert {"copy/one.png", "copy/two.png"} <= set(findings["duplicates"]["paths"])
    assert "hf_" not in json.dumps(report)
    levels = [f["level"] for f in report["report"]["findings"]]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert all(f["advice"] for f in report["report"]["findings"])


def test_the_report_counts_every_file(report: dict[str, Any], trouble: dict[str, Any]) -> None:
    counts = report["report"]["counts"]
    assert (counts["files"], counts["bytes"]) == (len(TROUBLE), trouble["bytes"])
    assert (counts["video"], counts["audio"], counts["captions"]) == (1, 1, 6)
    assert counts["images"] == len(cases()) + 4
    assert {"width": 700, "height": 500, "images": 1} in report["report"]["sizes"]


def test_the_contact_sheet_can_be_looked_at(report: dict[str, Any]) -> None:
    answer = httpx.get(report["contact_sheet_url"], trust_env=False)
    assert answer.status_code == 200
    with Image.open(io.BytesIO(answer.content)) as sheet:
        assert sheet.format == "JPEG"
    assert "日本/写真.png" in report["report"]["contact_sheet_paths"]


def test_a_rejected_dataset_makes_no_job(stack: Stack, report: dict[str, Any]) -> None:
    body = submission("trouble") | {"accept_warnings": True}
    refused = stack.api("POST", "/cloud/jobs/submit?provider=replicate", json=body)
    assert refused.status == 422
    assert {"caption_not_utf8", "secret_in_text"} <= {e["code"] for e in refused.json["errors"]}
    assert "stcloud datasets check trouble" in refused.json["detail"]


def test_a_job_submitted_right_after_the_push_waits_for_the_verdict(stack: Stack) -> None:
    bad = {"a.png": b"this is no picture", "a.txt": b"a cat", "b.png": encoded(picture(seed=5), "PNG"), "b.txt": b"b"}
    stack.push("hasty", bad)
    job = stack.submit("hasty")
    over = stack.wait(job["job_id"], "failed")
    assert over["failure"]["code"] == "dataset_rejected"
    assert "stcloud datasets check hasty" in over["failure"]["advice"]
    assert stack.sandbox.predictions(job["job_id"]) == []


def test_a_clean_dataset_trains(stack: Stack) -> None:
    version = stack.push("clean")
    job = stack.submit("clean")
    assert stack.wait(job["job_id"])["status"] == "completed"
    assert reported(stack, version)["inspection"]["errors"] == 0


def test_a_version_can_be_inspected_again_and_its_report_goes_with_it(stack: Stack) -> None:
    version = stack.push("again", {"a.png": encoded(picture(seed=6), "PNG"), "a.txt": b"a"})
    reported(stack, version)
    asked = stack.api("POST", f"{route_of(version)}/inspect")
    assert asked.status == 202
    assert asked.json["inspection"]["attempt"] == 2
    assert reported(stack, version)["inspection"]["attempt"] == 2
    bucket, prefix = stack.facts["datasets_bucket"], f"_reports/local/again/{version['version_id']}/"
    kept = stack.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    names = {item["Key"].removeprefix(prefix) for item in kept["Contents"]}
    assert names == {"2/report.json", "2/sheet.jpg"}
    stack.ok("DELETE", route_of(version))
    assert stack.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)["KeyCount"] == 0


def test_several_batches_make_one_report(stack: Stack) -> None:
    data = encoded(picture(64, 64, seed=8), "PNG")
    files = {f"{n:04d}.png": data for n in range(450)} | {f"{n:04d}.txt": b"a" for n in range(450)}
    report = reported(stack, stack.push("many", files))["report"]
    assert (report["counts"]["images"], report["counts"]["captions"]) == (450, 450)
    assert len(report["contact_sheet_paths"]) == 200
    assert next(f for f in report["findings"] if f["code"] == "duplicates")["count"] == 450


def test_an_execution_for_a_version_that_is_gone_ends_by_itself(stack: Stack) -> None:
    states = stack.client("stepfunctions")
    machine = stack.facts["state_machine_arn"].replace("-job", "-inspection")
    gone = {"owner": "local", "dataset_id": "nothing", "version_id": "v-0", "attempt": 1}
    started = states.start_execution(stateMachineArn=machine, name="gone-1", input=json.dumps(gone))["executionArn"]
    over = eventually(
        lambda: found if (found := states.describe_execution(executionArn=started))["status"] != "RUNNING" else None
    )
    assert over["status"] == "SUCCEEDED", over


def test_a_step_that_fails_for_good_is_recorded_and_has_to_be_accepted(stack: Stack) -> None:
    version = stack.push("unlucky", {"a.png": encoded(picture(seed=9), "PNG"), "a.txt": b"a"})
    reported(stack, version)
    stack.ok("POST", f"{route_of(version)}/inspect")
    failing = {
        "owner": "local", "dataset_id": "unlucky", "version_id": version["version_id"], "attempt": 2, "step": "fail",
        "error": {"Error": "States.Timeout"},
    }  # fmt: skip
    name = f"stcloud-{stack.facts['stage']}-inspect-report"
    stack.client("lambda").invoke(FunctionName=name, Payload=json.dumps(failing).encode())
    found = stack.ok("GET", f"{route_of(version)}/report")
    assert found["inspection"]["status"] in {"failed", "done"}
    if found["inspection"]["status"] == "failed":
        refused = stack.api("POST", "/cloud/jobs/submit?provider=replicate", json=submission("unlucky"))
        assert (refused.status, refused.json["code"]) == (422, "warnings_not_accepted")
        assert [e["code"] for e in refused.json["errors"]] == ["not_inspected"]
    job = stack.submit("unlucky", accept_warnings=True)
    assert stack.wait(job["job_id"])["status"] == "completed"
