"""What people read: options instead of fields, nothing twice, no error where there is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.main
from stcloud.main import app
from stcloud.models import JOB_STATUSES

from chalicelib.domain.jobs import JobStatus
from tests.unit.cli.support import Ran, Script, job, ok, problem, progress, run_cli

DATALOADER = [{"id": "photos", "type": "local", "instance_data_dir": "/p"}]


def refused_submit(*errors: tuple[str, str], detail: str | None = None) -> Ran:
    fields = [{"field": f, "message": m, "code": "invalid"} for f, m in errors]
    first = f"{errors[0][0]}: {errors[0][1]}"
    answer = problem(422, "validation_failed", detail or first, errors=fields, title="Validation failed")
    return run_cli("jobs", "submit", "--config-name", "x", script=Script([answer]))


def test_one_wrong_field_is_told_once() -> None:
    err = refused_submit(("config.max_train_steps", "is missing")).err
    assert err.splitlines()[0] == "Validation failed: config.max_train_steps: is missing"
    assert err.count("is missing") == 1


def test_several_wrong_fields_get_a_line_each_and_none_twice() -> None:
    wrong = (("config.a", "is missing"), ("config.b", "is wrong"))
    err = refused_submit(*wrong, detail="config.a: is missing (and 1 more, see errors)").err
    assert err.splitlines()[:3] == [
        "Validation failed: these fields are wrong.",
        "  config.a: is missing",
        "  config.b: is wrong",
    ]


def test_a_message_of_its_own_stays_above_the_fields() -> None:
    err = refused_submit(("config", "differs from the first request"), detail="The key was used before.").err
    assert err.splitlines()[:2] == [
        "Validation failed: The key was used before.",
        "  config: differs from the first request",
    ]


@pytest.mark.parametrize(
    ("field", "message", "shown"),
    [
        ("max_run_seconds", "must be 600 or more", "--max-run: at least 10m"),
        ("max_run_seconds", "must be 90 or less", "--max-run: at most 90s"),
        ("config_version", "must be 1000 or less", "--config-version: at most 1000"),
        ("tracker_run_name", "may have 200 characters at most", "--run-name: may have 200 characters at most"),
        ("config.lora_rank", "must be 5 or less", "config.lora_rank: must be 5 or less"),
    ],
)
def test_limits_of_the_server_name_our_options(field: str, message: str, shown: str) -> None:
    assert f"Validation failed: {shown}" in refused_submit((field, message)).err


def test_advice_names_our_options() -> None:
    failure = {"code": "x", "kind": "limit", "message": "Too long.", "advice": "Use a longer max_run_seconds."}
    for args in (["jobs", "watch", "job1"], ["jobs", "get", "job1"]):
        over = {"job": job("failed", failure=failure)}
        script = Script([ok(progress("failed")), ok(over)] if "watch" in args else [ok(over)])
        ran = run_cli(*args, script=script)
        assert "Use a longer --max-run." in ran.out + ran.err


@pytest.mark.parametrize(("given", "code"), [("1m", 2), ("35h", 2), ("299", 2), ("5m", 0), ("34h", 0)])
def test_the_longest_run_is_checked_before_anything_is_sent(given: str, code: int) -> None:
    script = Script([ok({"job_id": "job1", "job": job(), "idempotent_hit": False, "adjustments": []})])
    ran = run_cli("jobs", "submit", "--config-name", "x", "--max-run", given, script=script)
    assert ran.code == code
    assert len(script.asked) == (0 if code else 1)
    assert ("--max-run" in ran.err and "at least 5m" in ran.err) is bool(code)


def test_the_statuses_are_the_servers() -> None:
    assert set(JOB_STATUSES) == {s.value for s in JobStatus}


def test_an_unknown_status_is_a_usage_error_that_lists_them() -> None:
    script = Script([ok({"jobs": [], "next": None})])
    ran = run_cli("jobs", "list", "--status", "bogus", script=script)
    assert ran.code == 2
    assert all(status in ran.err for status in JOB_STATUSES)
    assert script.asked == []
    assert run_cli("jobs", "list", "--status", "failed", script=script).code == 0


def test_submit_tells_the_datasets_it_took_and_every_adjustment() -> None:
    uses = [
        {"entry_id": e, "dataset_id": "photos", "version_id": f"v-{e}", "files": 2, "bytes": 1500} for e in ("a", "b")
    ]
    done = {"job_id": "job1", "job": job(datasets=uses), "idempotent_hit": False, "adjustments": ["one", "two"]}
    err = run_cli("jobs", "submit", "--config-name", "x", script=Script([ok(done)])).err
    assert "Dataset a: photos v-a (2 files, 1.5 kB)" in err
    assert "Dataset b: photos v-b (2 files, 1.5 kB)" in err
    assert "Adjusted: one" in err
    assert "Adjusted: two" in err


def test_cancelling_a_job_that_is_over_says_so() -> None:
    words = "Job job1 is in state 'completed', operation requires one of: ['pending', 'running']"
    details = {"job_id": "job1", "current_state": "completed", "allowed_states": ["pending"]}
    answer = problem(409, "invalid_job_state", words, title="Conflict", details=details)
    ran = run_cli("jobs", "cancel", "job1", "--json", script=Script([answer]))
    assert ran.code == 4
    assert ran.err.splitlines()[0] == "Conflict: The job is over (completed); nothing to cancel."
    error = json.loads(ran.out)["error"]
    assert (error["code"], error["request_id"]) == ("invalid_job_state", "r-1")


def test_stopping_the_watch_is_no_error() -> None:
    def stop(_seconds: float) -> None:
        raise KeyboardInterrupt

    script = Script([ok(progress()), ok({"job": job()})])
    ran = run_cli("jobs", "watch", "job1", script=script, sleep=stop)
    assert ran.code == 130
    assert "Stopped watching; the job goes on." in ran.err.splitlines()
    assert "Error" not in ran.err


NOT_OURS = [
    httpx.Response(200, text="<html>hello</html>", headers={"content-type": "text/html"}),
    httpx.Response(200, json={"status": "ok"}),
    httpx.Response(200, json={"jobs": [{"job_id": "x", "status": "completed"}]}),
    httpx.Response(404, text="<html>nothing</html>"),
    httpx.Response(404, json={"detail": "Not Found"}),
    httpx.Response(405, json={"detail": "Method Not Allowed"}),
]


@pytest.mark.parametrize("answer", NOT_OURS)
@pytest.mark.parametrize(
    "args",
    [
        ["status"],
        ["jobs", "list"],
        ["jobs", "get", "job1"],
        ["jobs", "logs", "job1"],
        ["jobs", "pull", "job1"],
        ["jobs", "submit", "--config-name", "x"],
        ["datasets", "list"],
        ["configs", "show", "x"],
        ["whoami"],
        ["keys", "list"],
        ["keys", "create", "ci"],
        ["users", "list"],
        ["audit", "list"],
        ["audit", "verify"],
    ],
)
def test_another_server_is_called_one(args: list[str], answer: httpx.Response) -> None:
    if args == ["jobs", "list"] and "jobs" in answer.text:
        assert "lacks attempt" in run_cli(*args, script=Script([answer])).err
    ran = run_cli(*args, script=Script([answer]))
    assert ran.code == 4
    assert "http://localhost:8001 does not look like a SimpleTuner Cloud." in ran.err
    assert "STCLOUD_URL" in ran.err


def flags_and_values(command: Any, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every command with its words."""
    below = getattr(command, "commands", {})
    return [(words, command)] + [x for name, c in below.items() for x in flags_and_values(c, (*words, name))]


def squeezed(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


def test_help_shows_flags_bare_and_values_in_capitals() -> None:
    commands = flags_and_values(typer.main.get_command(app))
    assert len(commands) > 15
    for words, _ in commands:
        shown = run_cli(*words, "--help").out
        assert "<bool>" not in shown, words
        options = [line for line in shown.splitlines() if "--" in line]
        assert not [line for line in options if re.search(r" <\w[\w ]*>", line)], words
    assert "push [OPTIONS] FOLDER\n" in squeezed(run_cli("datasets", "push", "--help").out)
    assert "pull [OPTIONS] JOB\n" in squeezed(run_cli("jobs", "pull", "--help").out)


def test_a_config_without_a_dataloader_is_saved_with_a_warning(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}")
    saved = {"name": "mine", "version": 1, "message": "Saved."}
    warned = run_cli("configs", "push", "mine", str(config), "-q", script=Script([ok(saved)]))
    assert warned.code == 0
    assert f"stcloud configs push mine {config} --dataloader multidatabackend.json" in warned.err
    (tmp_path / "multidatabackend.json").write_text(json.dumps(DATALOADER))
    script = Script([ok(saved)])
    fine = run_cli("configs", "push", "mine", str(config), script=script)
    assert "Warning" not in fine.err
    assert json.loads(script.asked[0].content)["dataloader_config"] == DATALOADER


def test_a_push_warns_of_what_ends_the_training(tmp_path: Path) -> None:
    for name in ("bare.jpg", "captioned.jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    for name in ("captioned.txt", "empty.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "notes.docx").write_bytes(b"x")
    ran = run_cli("datasets", "push", str(tmp_path), "--id", "d", "--dry-run", "--json")
    assert ran.code == 0
    warned = [line for line in ran.err.splitlines() if line.startswith("Warning: ")]
    assert [w for w in warned if "empty.png" in w and "would end the training" in w]
    assert [w for w in warned if "bare.jpg" in w and 'caption_strategy "textfile" this ends the training' in w]
    assert [w for w in warned if "captioned.txt" in w and "without text" in w]
    assert [w for w in warned if "notes.docx" in w and "no kind" in w]
    assert len(warned) == 4
    data = json.loads(ran.out)
    assert data["excluded"] == [{"path": "empty.png", "reason": "empty (0 bytes)"}]
    assert (data["empty_captions"], data["unknown_files"]) == (["captioned.txt"], ["notes.docx"])


def test_pull_says_what_it_did_not_fetch(tmp_path: Path) -> None:
    def file(path: str, kind: str, size: int) -> dict[str, Any]:
        url = "http://x/f"
        return {"path": path, "size": size, "sha256": None, "kind": kind, "url": url, "verified": True, "problem": None}

    files = [file("w", "weights", 7), file("a.png", "sample", 1000), file("b.png", "sample", 500)]
    outputs = {"job_id": "job1", "files": files, "verified": True, "complete": True}
    for also, told in (([], True), (["--kind", "all"], False)):
        answers = [httpx.Response(200, content=bytes(f["size"])) for f in files]
        script = Script([ok(outputs), *answers])
        ran = run_cli("jobs", "pull", "job1", "--to", str(tmp_path), *also, script=script)
        assert ran.code == 0, ran.err
        assert ("2 other files (1.5 kB" in ran.err) is told
        assert ("stcloud jobs pull job1 --kind all" in ran.err) is told
