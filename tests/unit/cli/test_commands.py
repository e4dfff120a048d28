"""Exit codes and output of the commands, over scripted answers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from stcloud.files import parse_duration
from stcloud.render import LineFolder, clean, duration_text, money_text, size_text

from tests.unit.cli.support import Naps, Script, job, ok, problem, progress, run_cli


def ending(status: str, **changes: Any) -> Script:
    """A job that runs for one look and is then over."""
    return Script([ok(progress()), ok({"job": job()}), ok(progress(status)), ok({"job": job(status, **changes)})])


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("failed", 1), ("cancelled", 3)])
def test_the_exit_code_is_the_outcome_of_the_job(status: str, code: int) -> None:
    assert run_cli("jobs", "watch", "job1", script=ending(status)).code == code


def test_a_failure_is_told_with_its_advice() -> None:
    failure = {"code": "oom", "kind": "user", "message": "Out of memory.", "advice": "Lower the resolution."}
    ran = run_cli("jobs", "watch", "job1", script=ending("failed", failure=failure))
    assert "Out of memory." in ran.err
    assert "→ Lower the resolution." in ran.err
    assert ran.out == ""


def test_usage_errors_end_with_two(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{ nope")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "good.json").write_text("{}")
    for args in (
        ["jobs", "submit"],
        ["jobs", "submit", str(tmp_path / "missing.json")],
        ["jobs", "submit", str(tmp_path / "broken.json")],
        ["jobs", "submit", str(tmp_path / "list.json")],
        ["jobs", "submit", str(tmp_path / "good.json")],  # no dataloader
        ["jobs", "submit", str(tmp_path / "good.json"), "--config-name", "x"],
        ["jobs", "submit", "--config-name", "x", "--max-run", "soon"],
        ["jobs", "nonsense"],
        ["datasets", "push", str(tmp_path / "missing")],
        ["datasets", "push", str(tmp_path), "--concurrency", "0"],
        ["configs", "push", "../x", str(tmp_path / "good.json")],
        ["jobs", "delete", "job1"],
        ["status", "--url", "nonsense"],
    ):
        script = Script([ok({})])
        ran = run_cli(*args, script=script)
        assert ran.code == 2, (args, ran.err)
        assert script.asked == []
        assert "Traceback" not in ran.err


def test_the_place_of_a_json_error_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"a": 1,\n "b" 2}')
    assert "line 2, column 6" in run_cli("jobs", "submit", str(tmp_path / "broken.json")).err


def test_refusals_end_with_four_and_silence_with_five() -> None:
    refused = run_cli("jobs", "get", "job1", script=Script([problem(404, "job_not_found", "Job not found: job1")]))
    assert refused.code == 4
    assert "Job not found: job1" in refused.err
    assert run_cli("jobs", "get", "job1").code == 5


def test_errors_are_json_in_json_mode_wherever_the_option_stands() -> None:
    for args in (["--json", "jobs", "get", "job1"], ["jobs", "get", "job1", "--json"]):
        ran = run_cli(*args, script=Script([problem(404, "job_not_found", "Not there.")]))
        error = json.loads(ran.out)["error"]
        assert (error["code"], error["message"], error["exit_code"]) == ("job_not_found", "Not there.", 4)
        assert error["request_id"] == "r-1"


def test_version_and_help() -> None:
    assert run_cli("--version").out.startswith("stcloud 0.")
    shown = run_cli("--help")
    assert shown.code == 0
    assert "Exit codes" in shown.out


def test_url_and_token_come_from_options_or_the_environment() -> None:
    health = {"status": "healthy", "version": "1", "stage": "s", "sandbox": False, "components": []}
    script = Script([ok(health)])
    run_cli("status", script=script, environ={"STCLOUD_URL": "https://a.test", "STCLOUD_TOKEN": "canary-a"})
    run_cli("--url", "https://b.test", "status", script=script, environ={"STCLOUD_URL": "", "STCLOUD_PROFILE": ""})
    refused = run_cli("--url", "https://b.test", "status", script=script, environ={"STCLOUD_TOKEN": "canary-b"})
    assert (refused.code, "canary-b" in refused.err) == (2, False)
    assert [(r.url.host, r.headers.get("authorization")) for r in script.asked] == [
        ("a.test", "Bearer canary-a"),
        ("b.test", None),
    ]


def test_no_output_ever_holds_the_token() -> None:
    for answer in (
        problem(401, "invalid_token", "The token is not valid."),
        httpx.ConnectError("x"),
        httpx.Response(500),
    ):
        for extra in ([], ["--json"]):
            ran = run_cli("status", *extra, script=Script([answer]), environ={"STCLOUD_TOKEN": "canary-c"})
            assert ran.code in {4, 5}
            assert "canary-c" not in ran.out + ran.err


def test_health_decides_the_exit_code_of_status() -> None:
    for status, code in (("healthy", 0), ("degraded", 0), ("unhealthy", 4)):
        part = {"name": "db", "status": status, "latency_ms": 1.5, "message": "fine"}
        health = {"status": status, "version": "1", "stage": "s", "sandbox": True, "components": [part]}
        ran = run_cli("status", script=Script([ok(health)]))
        assert ran.code == code
        assert ran.out == f"db\t{status}\t2 ms\tfine\n"


def test_each_submit_has_a_key_of_its_own_and_retries_share_it() -> None:
    done = {"job_id": "job1", "job": job(), "idempotent_hit": False, "adjustments": []}
    script = Script([httpx.ReadTimeout("slow"), ok(done)])
    for _ in range(2):
        assert run_cli("jobs", "submit", "--config-name", "x", script=script).out == "job1\n"
    keys = [r.headers["idempotency-key"] for r in script.asked]
    assert keys[0] == keys[1] != keys[2]


def test_quiet_leaves_results_and_errors() -> None:
    script = ending("completed")
    ran = run_cli("jobs", "watch", "job1", "-q", script=script)
    assert (ran.out, ran.err) == ("", "")
    failed = run_cli("jobs", "watch", "job1", "-q", script=ending("failed"))
    assert "failed" in failed.err


def test_polling_slows_down_without_news_and_speeds_up_with_them() -> None:
    naps = Naps()
    looks = [progress(updated_at=f"12:0{n}", last_confirmed_at=f"12:0{n}") for n in range(10)]
    quiet = [ok(looks[0]), ok({"job": job()}), *[ok(look) for look in looks[1:]]]
    script = Script([*quiet, ok(progress(step=6)), ok(progress("completed")), ok({"job": job("completed")})])
    assert run_cli("jobs", "watch", "job1", script=script, sleep=naps).code == 0
    assert naps.taken[0] == 1
    assert naps.taken[:10] == sorted(naps.taken[:10])
    assert max(naps.taken) == 15
    assert naps.taken[-1] == 1


def test_a_server_that_stays_away_is_given_up_after_ten_minutes() -> None:
    time = [0.0]

    def sleep(seconds: float) -> None:
        time[0] += seconds

    script = Script([ok(progress()), ok({"job": job()}), httpx.ConnectError("gone")])
    ran = run_cli("jobs", "watch", "job1", script=script, sleep=sleep, monotonic=lambda: time[0])
    assert ran.code == 5
    assert 600 < time[0] < 700
    assert "goes on without this computer" in ran.err


def test_the_cost_is_estimated_while_it_runs_and_billed_in_the_end() -> None:
    time = [0.0]

    def sleep(_seconds: float) -> None:
        time[0] += 540  # nine minutes, on top of the one it ran before

    script = Script(
        [
            ok(progress()),
            ok({"job": job()}),
            ok(progress(step=9)),
            ok(progress(step=9, phase="collecting", cost_usd=1.25)),
            ok(progress("completed")),
            ok({"job": job("completed", cost_usd=1.25)}),
        ]
    )
    err = run_cli("jobs", "watch", "job1", script=script, sleep=sleep, monotonic=lambda: time[0]).err
    assert "$0.10 so far" in err
    assert "$1.00 so far" in err
    assert " · $1.25\n" in err
    assert "Completed after 1m 00s, $1.25" in err


def test_text_from_the_server_cannot_drive_the_terminal() -> None:
    evil = "\x1b]0;title\x07\x1b[2Jred\u202e[bold]x[/bold]\x9b31m"
    ran = run_cli("jobs", "get", "job1", script=Script([ok({"job": job(run_name=evil)})]))
    assert "red[bold]x[/bold]" in ran.out
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(ran.out)


def test_a_job_id_from_the_server_is_no_way_out_of_the_folder(tmp_path: Path) -> None:
    file = {
        "path": "a",
        "size": 1,
        "sha256": None,
        "kind": "weights",
        "url": "http://x/",
        "verified": True,
        "problem": None,
    }
    outputs = {"job_id": "../../evil", "files": [file], "verified": True, "complete": True}
    ran = run_cli("jobs", "pull", "job1", "--json", script=Script([ok(outputs)]), home=tmp_path)
    assert ran.code == 4
    assert json.loads(ran.out)["error"]["code"] == "unsafe_path"


def test_the_trainers_folder_of_the_job_is_not_made_twice(tmp_path: Path) -> None:
    data = b"weights"
    digest = hashlib.sha256(data).hexdigest()

    def answer(paths: list[str]) -> Script:
        files = [
            {
                "path": p,
                "size": 7,
                "sha256": digest,
                "kind": "weights",
                "url": "http://x/f",
                "verified": True,
                "problem": None,
            }
            for p in paths
        ]
        outputs = {"job_id": "job1", "files": files, "verified": True, "complete": True}
        return Script([ok(outputs), lambda _request: httpx.Response(200, content=data)])

    root = tmp_path / ".simpletuner" / "cloud_outputs" / "job1"
    ran = run_cli("jobs", "pull", "job1", script=answer(["job1/checkpoint-2/w", "job1/x"]), home=tmp_path)
    assert ran.out.splitlines() == [str(root / "checkpoint-2/w"), str(root / "x")]
    ran = run_cli("jobs", "pull", "job1", script=answer(["job1/y", "z"]), home=tmp_path)
    assert ran.out.splitlines() == [str(root / "job1/y"), str(root / "z")]


def test_names_are_quoted_into_the_path() -> None:
    script = Script([problem(404, "job_not_found")])
    run_cli("jobs", "get", "../x?y", script=script)
    assert script.asked[0].url.raw_path == b"/api/cloud/jobs/..%2Fx%3Fy"


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("6h", 21600), ("1d", 86400), ("300", 300), ("5S", 5)])
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


def test_bars_are_folded_in_a_pipe_whatever_the_parts() -> None:
    text = "begin\r\n 1%|a\r 50%|b\r100%|c\nend of line\n 1%|x\r 2%|y"
    whole = LineFolder()
    assert whole.feed(text) + whole.end() == "begin\n100%|c\nend of line\n 1%|x\n 2%|y\n"
    for cut in range(len(text)):
        folder = LineFolder()
        shown = folder.feed(text[:cut]) + folder.feed(text[cut:]) + folder.end()
        lines = shown.splitlines()
        assert lines[0] == "begin"
        assert lines[-1] == " 2%|y"
        assert "100%|c" in lines
        assert "end of line" in lines
        assert "" not in lines


def test_small_texts() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 1_500_000, 2 * 10**12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.5 MB",
        "2.0 TB",
    ]
    assert [duration_text(s) for s in (None, 5, 65, 3720)] == ["–", "5s", "1m 05s", "1h 02m"]
    assert [money_text(m) for m in (None, 0.0, 0.0012, 1.5)] == ["–", "$0.00", "$0.0012", "$1.50"]
    assert clean("a\ud800b") == "a?b"
