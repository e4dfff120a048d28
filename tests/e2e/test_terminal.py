"""A newcomer's walk with the installed ``stcloud``, as separate programs: what is printed where, and the exit codes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator import free_port
from tests.support.stack import Stack
from tests.support.trainings import dataloader, pictures, training_config

STCLOUD = Path(sys.executable).parent / "stcloud"
SECONDS = 90.0
STEPS = 20


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Of a command with ``--json``: stdout is one document and nothing else."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Terminal:
    """A user's shell: their own home, their own folder, the stack's address in the environment."""

    home: Path
    url: str

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("STCLOUD_", "XDG_"))}
        environment = inherited | {"HOME": str(self.home), "STCLOUD_URL": self.url, "COLUMNS": "100"}
        return subprocess.Popen(
            [str(STCLOUD), *arguments],
            cwd=self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def run(self, *arguments: str) -> Ran:
        return ended(self.start(*arguments))


def ended(process: subprocess.Popen[str]) -> Ran:
    """What a command did. Never a traceback."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"{process.args!r} did not end:\n{out}\n{err}")
    assert "Traceback" not in out + err, err
    return Ran(process.returncode, out, err)


@pytest.fixture(scope="module")
def terminal(whole_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """With a folder of pictures, among them what must not be uploaded, and a config beside it."""
    home = tmp_path_factory.mktemp("newcomer")
    photos = home / "photos"
    photos.mkdir()
    for name, data in pictures().items():
        (photos / name).write_bytes(data)
    (photos / ".env").write_text("AWS_SECRET_ACCESS_KEY=not-for-you")
    entries = [entry | {"instance_data_dir": str(photos)} for entry in dataloader("photos")]
    (home / "config.json").write_text(json.dumps(training_config(STEPS)))
    (home / "multidatabackend.json").write_text(json.dumps(entries))
    return Terminal(home, whole_stack.url)


@pytest.fixture
def prepared(terminal: Terminal) -> Terminal:
    """With the pictures pushed and the config saved; doing so again changes nothing."""
    pushed = terminal.run("datasets", "push", "photos", "--yes", "--json")
    assert pushed.code == 0, pushed.err
    saved = terminal.run("configs", "push", "my-lora", "config.json", "--json")
    assert saved.code == 0, saved.err
    return terminal


@pytest.fixture
def slow_job(stack: Stack, prepared: Terminal) -> Iterator[str]:
    """The id of a job that trains for minutes. It is cancelled afterwards, whatever happened."""
    stack.sandbox.faults({"fault": "pace", "seconds": 5})
    submitted = prepared.run("jobs", "submit", "--config-name", "my-lora", "--quiet")
    assert submitted.code == 0, submitted.err
    job_id = submitted.out.strip()
    yield job_id
    stack.api("POST", f"/cloud/jobs/{job_id}/cancel")
    stack.wait(job_id, lambda job: job["is_terminal"])


def test_from_a_folder_of_pictures_to_a_checked_model(stack: Stack, terminal: Terminal) -> None:
    pushed = terminal.run("datasets", "push", "photos", "--yes")
    assert pushed.code == 0, pushed.err
    assert ".env" in pushed.err, "what is left out is listed"
    versions = stack.ok("GET", "/cloud/datasets/photos")["versions"]
    assert [version["files"] for version in versions] == [len(pictures())]
    saved = terminal.run("configs", "push", "my-lora", "config.json")
    assert saved.code == 0, saved.err

    trained = terminal.run("jobs", "submit", "--config-name", "my-lora", "--run-name", "first", "--watch")
    assert trained.code == 0, trained.err
    job_id = trained.out.strip()
    assert "Completed" in trained.err
    assert f"stcloud jobs pull {job_id}" in trained.err, "it says how to go on"

    pulled = terminal.run("jobs", "pull", job_id)
    assert pulled.code == 0, pulled.err
    weights = Path(pulled.out.strip())
    assert weights.is_relative_to(terminal.home)
    outputs = stack.ok("GET", f"/cloud/jobs/{job_id}/outputs")
    (expected,) = [file["sha256"] for file in outputs["files"] if file["kind"] == "weights"]
    assert outputs["verified"]
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == expected
    assert len(stack.sandbox.predictions(job_id)) == 1


def test_json_is_all_there_is_on_stdout(stack: Stack, prepared: Terminal) -> None:
    again = prepared.run("datasets", "push", "photos", "--yes", "--json")
    assert again.json["dataset_id"] == "photos"
    assert len(stack.ok("GET", "/cloud/datasets/photos")["versions"]) == 1, "unchanged pictures are no new version"
    watched = prepared.run("jobs", "submit", "--config-name", "my-lora", "--watch", "--json")
    assert watched.code == 0, watched.err
    documents = [json.loads(line) for line in watched.out.splitlines()]
    job_id = documents[0]["job_id"]
    assert [document["type"] for document in documents[:2]] == ["submitted", "progress"]
    assert (documents[-1]["type"], documents[-1]["job"]["status"]) == ("finished", "completed")
    assert prepared.run("jobs", "get", job_id, "--json").json["job"]["job_id"] == job_id
    assert job_id in {job["job_id"] for job in prepared.run("jobs", "list", "--json").json["jobs"]}
    assert len(prepared.run("jobs", "pull", job_id, "--to", "model", "--json").json["files"]) == 1


def test_a_failed_training_says_why_and_what_to_do(stack: Stack, prepared: Terminal) -> None:
    stack.sandbox.faults({"fault": "oom", "at": 0.3})
    failed = prepared.run("jobs", "submit", "--config-name", "my-lora", "--watch")
    assert failed.code == 1, failed.err
    words = " ".join(failed.err.split())
    assert "needed more memory than the machine has" in words
    assert "train_batch_size" in words, "what to do about it"


def test_a_cancelled_training(stack: Stack, prepared: Terminal, slow_job: str) -> None:
    watching = prepared.start("jobs", "watch", slow_job)
    stack.wait(slow_job, lambda job: job["phase"] == "training")
    cancelled = prepared.run("jobs", "cancel", slow_job)
    assert cancelled.code == 0, cancelled.err
    watched = ended(watching)
    assert watched.code == 3, watched.err
    assert "Cancelled" in watched.err


def test_a_server_that_is_not_there(prepared: Terminal) -> None:
    nobody = Terminal(prepared.home, f"http://127.0.0.1:{free_port()}")
    refused = nobody.run("jobs", "list", "--json")
    assert refused.code == 5
    assert refused.json["error"]["code"] == "unreachable"
    assert "make run" in refused.json["error"]["advice"]


def test_what_the_server_refuses_and_what_is_typed_wrong(prepared: Terminal) -> None:
    unknown = prepared.run("jobs", "get", "no-such-job")
    assert (unknown.code, unknown.out) == (4, "")
    assert "no-such-job" in unknown.err
    missing = prepared.run("jobs", "submit", "no-such-config.json")
    assert missing.code == 2
    assert "no-such-config.json" in missing.err
