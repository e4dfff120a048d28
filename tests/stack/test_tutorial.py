"""SimpleTuner's cloud training tutorial, run as printed against this stack: bash, curl and jq, character for character.

Filled in is what the tutorial asks its reader to fill in (PROVIDER, JOB_ID, the server's address), and in the workflow
what GitHub would (``${{ … }}``, the file GITHUB_ENV). ``sleep 60`` takes a fraction of a second here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.stack import Stack, eventually
from tests.support.trainings import pictures, training_config

PRINTED = Path(__file__).parent / "tutorial"
ADDRESS = "http://localhost:8001"
RUN_SECONDS = 120
DATASET = "training-images"
NAMED = ("my-training-config", "my-config", "production-lora")


def a_jq() -> Path:
    """jq, or jaq, which reads the same filters and comes with the development environment."""
    found = shutil.which("jq") or shutil.which("jaq", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.fail("The tutorial needs jq: apt-get install jq, or pip install -r requirements-dev.txt (jaq)")
    return Path(found)


@dataclass
class Shell:
    """Runs the tutorial's lines. ``slept`` holds how long they wanted to sleep."""

    stack: Stack
    tools: Path
    extra: dict[str, str] = field(default_factory=dict)

    def run(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.tools}{os.pathsep}{os.environ['PATH']}"
        kept = {k: v for k, v in os.environ.items() if k in {"HOME", "LANG", "LC_ALL", "TMPDIR"}}
        return subprocess.run(
            ["bash", "-e", "-c", script],
            env={**kept, "PATH": path, "SLEPT": str(self.tools / "slept"), "NO_PROXY": "*", **env},
            cwd=self.tools,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def printed(self, name: str, job_id: str = "JOB_ID") -> list[Any]:
        """The JSON documents that the tutorial's script ``name`` shows."""
        script = (PRINTED / f"{name}.sh").read_text(encoding="utf-8")
        filled = script.replace(ADDRESS, self.stack.url).replace("PROVIDER", "replicate").replace("JOB_ID", job_id)
        done = self.run(filled)
        assert done.returncode == 0, (name, done.stdout, done.stderr)
        return documents(done.stdout)

    def slept(self) -> list[str]:
        return (self.tools / "slept").read_text().split() if (self.tools / "slept").exists() else []


def documents(text: str) -> list[Any]:
    """Several JSON documents one after the other."""
    decoder, found, rest = json.JSONDecoder(), [], text.lstrip()
    while rest:
        document, end = decoder.raw_decode(rest)
        found.append(document)
        rest = rest[end:].lstrip()
    return found


@pytest.fixture(scope="module")
def shell(whole_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    if shutil.which("curl") is None:
        pytest.fail("The tutorial needs curl, which is not on PATH. Install it (apt-get install curl) and run again.")
    tools = tmp_path_factory.mktemp("tools")
    (tools / "jq").symlink_to(a_jq())
    sleep = tools / "sleep"
    sleep.write_text(f'#!/bin/sh\necho "$1" >> "$SLEPT"\nexec {shutil.which("sleep")} 0.5\n')
    sleep.chmod(0o755)
    return Shell(whole_stack, tools)


@pytest.fixture(scope="module", autouse=True)
def prepared(whole_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the tutorial takes for granted: captioned pictures and saved configs; pushed with the command line."""
    folder = tmp_path_factory.mktemp("my-dataset")
    for path, data in pictures(8, side=256).items():
        (folder / path).write_bytes(data)
    stcloud(whole_stack, "datasets", "push", str(folder), "--id", DATASET, "--yes")
    work = tmp_path_factory.mktemp("configs")
    (work / "config.json").write_text(json.dumps(training_config(8) | {"--data_backend_config": "loader.json"}))
    entry = {"id": DATASET, "type": "local", "instance_data_dir": "/data/datasets/my-dataset", "resolution": 256,
             "resolution_type": "pixel", "caption_strategy": "textfile"}  # fmt: skip
    (work / "loader.json").write_text(json.dumps([entry]))
    for name in NAMED:
        config, loader = str(work / "config.json"), str(work / "loader.json")
        stcloud(whole_stack, "configs", "push", name, config, "--dataloader", loader)


def stcloud(stack: Stack, *arguments: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("stcloud")), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(stack.folder), "STCLOUD_URL": stack.url},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(autouse=True)
def _nothing_runs(stack: Stack) -> Iterator[None]:
    """Leaves no job of one lesson to the next: each may have a slot."""
    yield
    stack.sandbox.faults()
    active = [j["job_id"] for j in stack.ok("GET", "/cloud/jobs?limit=500")["jobs"] if j["is_active"]]
    for job_id in active:
        stack.api("POST", f"/cloud/jobs/{job_id}/cancel")
        stack.wait(job_id)


def test_a_config_is_submitted_by_its_name(stack: Stack, shell: Shell) -> None:
    (answer,) = shell.printed("submit_by_name")
    assert answer["success"] is True
    assert answer["error"] is None
    job = stack.wait(answer["job_id"], "completed")
    assert (job["config_name"], job["run_name"]) == ("my-training-config", "api-test-run")
    assert job["metadata"]["tracker_run_name"] == "api-test-run"


def test_an_inline_config_trains_its_thousand_steps(stack: Stack, shell: Shell) -> None:
    stack.sandbox.faults({"fault": "pace", "seconds": 0})
    (answer,) = shell.printed("submit_inline")
    assert (answer["success"], answer["data_uploaded"]) == (True, True)
    job = stack.wait(answer["job_id"], "completed", seconds=120)
    assert job["progress"]["step"] == 1000
    assert [d["dataset_id"] for d in job["datasets"]] == [DATASET]
    assert len(job["delivery"]["weights"]) == 1


def test_a_job_is_followed_and_its_log_read(stack: Stack, shell: Shell) -> None:
    (answer,) = shell.printed("submit_by_name")
    job_id = answer["job_id"]
    detail, some, synced = shell.printed("follow", job_id)
    assert detail["job"]["job_id"] == job_id
    assert detail["job"]["status"] in {"queued", "running", "completed"}
    for page in (some, synced):
        assert page["jobs"][0]["job_id"] == job_id
        assert page["total"] == len(page["jobs"])
    assert len(some["jobs"]) <= 10
    stack.wait(job_id, "completed")
    (log,) = shell.printed("logs", job_id)
    assert "8/8 [" in log


def test_a_running_job_is_cancelled(stack: Stack, shell: Shell) -> None:
    stack.sandbox.faults({"fault": "pace", "seconds": 2})
    (answer,) = shell.printed("submit_by_name")
    stack.wait(answer["job_id"], "running")
    (cancelled,) = shell.printed("cancel", answer["job_id"])
    assert cancelled["success"] is True
    stack.wait(answer["job_id"], "cancelled")


def test_a_finished_job_is_deleted(stack: Stack, shell: Shell) -> None:
    (answer,) = shell.printed("submit_by_name")
    stack.wait(answer["job_id"], "completed")
    (deleted,) = shell.printed("delete", answer["job_id"])
    assert deleted["success"] is True
    (gone,) = shell.printed("delete", answer["job_id"])
    assert gone["detail"] == f"Job not found: {answer['job_id']}"


def test_the_same_idempotency_key_gives_the_same_job(stack: Stack, shell: Shell) -> None:
    (first,) = shell.printed("submit_idempotent")
    (second,) = shell.printed("submit_idempotent")
    assert first["success"] is second["success"] is True
    assert second["job_id"] == first["job_id"]
    assert (first["idempotent_hit"], second["idempotent_hit"]) == (False, True)
    stack.wait(first["job_id"], "completed")
    assert stack.sandbox.overlap(first["job_id"])["predictions"] == 1


# The workflow for GitHub Actions


@dataclass
class Runner:
    """As much of GitHub Actions as two ``run:`` blocks see. The address is set for the whole job: as printed it is
    known to the first step alone, and the second needs it too."""

    shell: Shell
    facts: Mapping[str, str]
    exported: dict[str, str] = field(default_factory=dict)

    def steps(self) -> dict[str, str]:
        workflow = yaml.safe_load((PRINTED / "github_actions.yml").read_text(encoding="utf-8"))
        return {s["name"]: s["run"] for s in workflow["jobs"]["train"]["steps"] if "run" in s}

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        script = re.sub(r"\$\{\{\s*([\w.]+)\s*\}\}", lambda found: self.facts[found[1]], self.steps()[name])
        exports = self.shell.tools / "github_env"
        exports.write_text("")
        done = self.shell.run(
            script, GITHUB_ENV=str(exports), SIMPLETUNER_URL=self.facts["secrets.SIMPLETUNER_URL"], **self.exported
        )
        self.exported |= dict(line.split("=", 1) for line in exports.read_text().splitlines())
        return done


def runner(stack: Stack, shell: Shell, sha: str) -> Runner:
    return Runner(shell, {"secrets.SIMPLETUNER_URL": stack.url, "github.sha": sha, "github.run_number": "17"})


def test_the_github_workflow_submits_and_waits_for_the_end(stack: Stack, shell: Shell) -> None:
    github = runner(stack, shell, "a" * 40)
    stack.sandbox.faults({"fault": "pace", "seconds": 0.2})
    submitted = github.run("Submit Training Job")
    assert submitted.returncode == 0, submitted.stderr
    job_id = github.exported["JOB_ID"]
    assert submitted.stdout == f"Submitted job: {job_id}\n"
    waited = github.run("Wait for Completion")
    assert waited.returncode == 0, (waited.stdout, waited.stderr)
    assert waited.stdout.splitlines()[-1] == "Job status: completed"
    assert set(shell.slept()) == {"60"}
    job = stack.job(job_id)
    assert (job["config_name"], job["run_name"]) == ("production-lora", "gh-run-17")
    # Somebody runs the workflow again for the same commit: the job stands.
    again = runner(stack, shell, "a" * 40)
    assert again.run("Submit Training Job").returncode == 0
    assert again.exported["JOB_ID"] == job_id


def test_the_github_workflow_fails_with_the_job(stack: Stack, shell: Shell) -> None:
    github = runner(stack, shell, "b" * 40)
    stack.sandbox.faults({"fault": "oom", "at": 0.5})
    assert github.run("Submit Training Job").returncode == 0
    waited = github.run("Wait for Completion")
    assert waited.returncode == 1
    assert waited.stdout.splitlines()[-1] == "Job status: failed"
    eventually(lambda: stack.job(github.exported["JOB_ID"])["failure"]["code"] == "out_of_memory" or None)
