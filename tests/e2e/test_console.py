"""The console in a real browser: what is served, shown, downloaded and blocked. The walks themselves are in ``ui/``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from local.setup.node import find_node
from tests.support.stack import Stack
from tests.support.trainings import training_config

ROOT = Path(__file__).resolve().parents[2]
UI = ROOT / "tests" / "e2e" / "ui"
#: The walks have time limits for every step; this one is for a browser that hangs.
WALK_SECONDS = 420.0


def walk(*arguments: str) -> None:
    """Runs the walks; fails with what they found."""
    node = find_node(ROOT / ".local" / "venv" / "bin")
    if node is None or not (UI / "node_modules").is_dir():
        pytest.fail("Node.js or the browser tests' packages are missing: run `make setup-browser` first.")
    command = [str(node / "node"), str(UI / "run.mjs"), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=WALK_SECONDS, check=False, cwd=UI
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "nothing found" in done.stdout


def test_every_state_on_the_stand_in_server() -> None:
    walk()


def test_the_deployed_console_with_jobs_of_every_outcome(stack: Stack) -> None:
    stack.push("squares")
    stack.ok("POST", "/configs", json={"name": "walked", "config": training_config(20) | {"num_train_epochs": 1}})
    stack.sandbox.faults({"fault": "oom", "at": 0.5})
    failed = stack.submit("squares", tracker_run_name="too-large")["job_id"]
    stack.wait(failed, "failed")
    stack.sandbox.faults()
    saved = {"config": None, "config_name_to_load": "walked"}
    completed = stack.submit("squares", steps=20, **saved)["job_id"]
    stack.wait(completed, "completed")
    stack.sandbox.faults({"fault": "pace", "seconds": 0.5})
    running = stack.submit("squares", steps=2000, tracker_run_name="a-long-training")["job_id"]
    stack.wait(running, lambda job: job["phase"] == "training")
    try:
        walk(stack.url)
        assert stack.job(running)["status"] == "running", "the walk cancelled a job though it said no"
        for job_id in (completed, failed):
            assert stack.api("GET", f"/cloud/jobs/{job_id}").status == 200, "the walk deleted a job though it said no"
    finally:
        stack.api("POST", f"/cloud/jobs/{running}/cancel")
        stack.wait(running, "cancelled")
