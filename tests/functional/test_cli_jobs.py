"""``stcloud jobs`` and ``configs`` against the real API: a whole training, and what goes wrong on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.domain.predictions import PredictionStatus
from chalicelib.services.observation import read_log
from tests.fakes.provider import Life
from tests.functional.cli_server import CliServer, Fault, cli_server
from tests.functional.cli_tools import Cli, config_files, picture_folder


@pytest.fixture
def server() -> Iterator[CliServer]:
    with cli_server() as running:
        yield running


@pytest.fixture
def cli(server: CliServer, tmp_path: Path) -> Cli:
    return Cli(server.url, tmp_path / "home", [])


@pytest.fixture
def config(cli: Cli, tmp_path: Path) -> Path:
    """A config whose dataset is pushed."""
    folder = picture_folder(tmp_path)
    assert cli.run("datasets", "push", str(folder), "--yes").code == 0
    return config_files(tmp_path, folder)


def test_from_submit_to_the_weights(server: CliServer, cli: Cli, config: Path) -> None:
    done = cli.run("jobs", "submit", str(config), "--run-name", "first", "--max-run", "90m", "--watch")
    assert done.code == 0, done.err
    job_id = done.out.strip()
    assert "step 200/200" in done.err
    assert "Completed" in done.err
    assert server.world.job(job_id).max_run_seconds == 5400
    pulled = cli.run("jobs", "pull", job_id)
    assert pulled.code == 0, pulled.err
    weights = Path(pulled.out.strip())
    assert (
        weights == cli.home / ".simpletuner/cloud_outputs" / job_id / "checkpoint-200/pytorch_lora_weights.safetensors"
    )
    assert weights.read_bytes() == server.world.weights
    assert not list(weights.parent.glob("*.part"))
    again = cli.run("jobs", "pull", job_id, "--json")
    assert [f["fresh"] for f in again.json()["files"]] == [False]
    everything = cli.run("jobs", "pull", job_id, "--kind", "all", "--to", str(cli.home / "all"), "--json").json()
    assert {f["kind"] for f in everything["files"]} == {"weights", "sample"}


def test_watch_as_json_lines(cli: Cli, config: Path) -> None:
    lines = cli.run("jobs", "submit", str(config), "--watch", "--json").lines()
    assert lines[0]["type"] == "submitted"
    assert {line["type"] for line in lines[1:-1]} == {"progress"}
    assert lines[-1]["type"] == "finished"
    assert lines[-1]["job"]["status"] == "completed"
    steps = [line["step"] for line in lines[1:-1] if line["step"] is not None]
    assert steps == sorted(steps)


def test_a_failed_training_ends_with_one_and_says_what_to_do(server: CliServer, cli: Cli, config: Path) -> None:
    tail = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    server.world.provider.lives.append(Life(end=PredictionStatus.FAILED, error="CUDA out of memory", log_tail=tail))
    done = cli.run("jobs", "submit", str(config), "--watch")
    assert done.code == 1
    job = server.world.job(done.out.strip())
    assert job.failure is not None
    assert job.failure.advice in done.err
    nothing = cli.run("jobs", "pull", job.job_id, "--json")
    assert nothing.code == 4
    assert nothing.json()["error"]["code"] == "nothing_to_pull"


def test_a_cancelled_job_ends_the_watch_with_three(server: CliServer, cli: Cli, config: Path) -> None:
    job_id = cli.run("jobs", "submit", str(config)).out.strip()
    cancelled = cli.run("jobs", "cancel", job_id, "--json").json()
    assert cancelled["cancel_requested"] is True
    assert cli.run("jobs", "watch", job_id, "--quiet").code == 3
    assert cli.run("jobs", "cancel", job_id).code == 0
    assert "job.cancel_requested" in cli.run("jobs", "events", job_id).out


def test_cancelling_a_completed_job_is_refused(cli: Cli, config: Path) -> None:
    job_id = cli.run("jobs", "submit", str(config), "--watch", "--quiet").out.strip()
    refused = cli.run("jobs", "cancel", job_id, "--json")
    assert refused.code == 4
    assert refused.json()["error"]["code"] == "invalid_job_state"


def test_a_lost_answer_to_submit_makes_one_job(server: CliServer, cli: Cli, config: Path) -> None:
    server.faults.append(Fault(r"POST /api/cloud/jobs/submit", drop=True, after=True))
    submitted = cli.run("jobs", "submit", str(config), "--json")
    assert submitted.code == 0, submitted.err
    assert submitted.json()["idempotent_hit"] is True
    assert server.count(r"POST /api/cloud/jobs/submit") == 2
    assert len(cli.run("jobs", "list", "--json").json()["jobs"]) == 1


def test_a_submit_without_any_answer_names_the_key_to_repeat_with(server: CliServer, cli: Cli, config: Path) -> None:
    server.faults.append(Fault(r"POST /api/cloud/jobs/submit", times=100, drop=True, after=True))
    lost = cli.run("jobs", "submit", str(config))
    assert lost.code == 5
    key = lost.err.split("--idempotency-key ")[1].split()[0]
    server.faults.clear()
    again = cli.run("jobs", "submit", str(config), "--idempotency-key", key, "--json").json()
    assert again["idempotent_hit"] is True
    assert len(cli.run("jobs", "list", "--json").json()["jobs"]) == 1


def test_two_submits_are_two_jobs(cli: Cli, config: Path) -> None:
    one, two = (cli.run("jobs", "submit", str(config)).out.strip() for _ in range(2))
    assert one != two


def test_watching_survives_a_restart_of_the_server(server: CliServer, cli: Cli, config: Path) -> None:
    job_id = cli.run("jobs", "submit", str(config)).out.strip()
    server.faults += [
        Fault(r"GET .*/inline-progress", times=3, drop=True),
        Fault(r"GET .*/inline-progress", times=3, status=502),
    ]
    watched = cli.run("jobs", "watch", job_id)
    assert watched.code == 0
    assert watched.err.count("does not answer") == 1
    assert "answers again" in watched.err


def test_stopping_the_watch_leaves_the_job_alone(server: CliServer, cli: Cli, config: Path) -> None:
    job_id = cli.run("jobs", "submit", str(config)).out.strip()
    looks: list[float] = []

    class Impatient(list[float]):
        def append(self, seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 3:
                raise KeyboardInterrupt

    stopped = Cli(server.url, cli.home, Impatient()).run("jobs", "watch", job_id)
    assert stopped.code == 130
    assert f"stcloud jobs cancel {job_id}" in stopped.err
    assert server.world.job(job_id).is_active


def test_field_errors_are_shown_one_by_one(cli: Cli, tmp_path: Path) -> None:
    config = config_files(tmp_path, Path("/data/nowhere"), **{"--max_train_steps": 0})
    refused = cli.run("jobs", "submit", str(config))
    assert refused.code == 4
    assert "config.max_train_steps: is 0, and must be a whole number from 1 to" in refused.err
    assert "stcloud datasets push /data/nowhere" in refused.err
    assert cli.run("jobs", "submit", str(config), "--json").json()["error"]["errors"]


def test_too_many_jobs_is_said_at_once(server: CliServer, cli: Cli, config: Path) -> None:
    for _ in range(5):
        assert cli.run("jobs", "submit", str(config)).code == 0
    refused = cli.run("jobs", "submit", str(config), "--json")
    assert refused.code == 4
    assert refused.json()["error"]["code"] == "concurrency_limit"
    assert cli.slept == []


def test_configs(cli: Cli, config: Path) -> None:
    assert cli.run("configs", "push", "cups", str(config), "--description", "red ones").out == "cups 1\n"
    assert cli.run("configs", "push", "cups", str(config), "--description", "red ones").out == "cups 1\n"
    shown = json.loads(cli.run("configs", "show", "cups").out)
    assert shown["config"] == json.loads(config.read_text())
    assert shown["dataloader_config"][0]["id"] == "pictures"
    assert cli.run("configs", "list").out.startswith("cups\t1\tflux\tlora")
    done = cli.run("jobs", "submit", "--config-name", "cups", "--json").json()
    assert done["job"]["config_name"] == "cups"
    assert cli.run("configs", "delete", "cups", "--yes").code == 0
    missing = cli.run("jobs", "submit", "--config-name", "cups")
    assert missing.code == 4
    assert "stcloud configs push cups" in missing.err


def test_logs_and_following_them(cli: Cli, config: Path) -> None:
    job_id = cli.run("jobs", "submit", str(config), "--watch", "--quiet").out.strip()
    whole = cli.run("jobs", "logs", job_id).out
    assert "VAE caching" in whole
    assert "Checkpoint saved" in whole
    assert cli.run("jobs", "logs", job_id, "-f").out.strip() == whole.strip()
    assert cli.run("jobs", "logs", job_id, "-f", "--json").lines()[0]["job_id"] == job_id


def test_following_a_log_prints_every_part_once(server: CliServer, cli: Cli, config: Path) -> None:
    job_id = cli.run("jobs", "submit", str(config)).out.strip()
    assert cli.run("jobs", "logs", job_id).out == ""

    class Living(list[float]):
        def append(self, seconds: float) -> None:
            with server.lock:
                server.world.run(30)

    followed = Cli(server.url, cli.home, Living()).run("jobs", "logs", job_id, "-f")
    assert followed.code == 0
    assert followed.out.encode() == read_log(server.world.outputs, server.world.job(job_id))
    assert followed.out.count("Checkpoint saved") == 1


def test_list_get_delete(cli: Cli, config: Path) -> None:
    job_id = cli.run("jobs", "submit", str(config), "--run-name", "mine").out.strip()
    assert cli.run("jobs", "list").out.split("\t")[0] == job_id
    assert cli.run("jobs", "list", "--status", "failed").out == ""
    assert f"job        {job_id}" in cli.run("jobs", "get", job_id).out
    active = cli.run("jobs", "delete", job_id, "--yes")
    assert active.code == 4
    cli.run("jobs", "watch", job_id, "--quiet")
    assert cli.run("jobs", "delete", job_id, "--yes").code == 0
    assert cli.run("jobs", "get", job_id).code == 4


def test_pull_goes_on_after_a_cut_and_throws_damage_away(server: CliServer, cli: Cli, config: Path) -> None:
    job_id = cli.run("jobs", "submit", str(config), "--watch", "--quiet").out.strip()
    server.faults.append(Fault(r"GET /storage/outputs/.*safetensors", cut=100))
    pulled = cli.run("jobs", "pull", job_id, "--json")
    assert pulled.code == 0, pulled.err
    ranges = [
        h.get("range") for r, h in zip(server.requests, server.request_headers, strict=True) if "safetensors" in r
    ]
    assert ranges == [None, "bytes=100-"]
    file = pulled.json()["files"][0]
    assert hashlib.sha256(Path(file["path"]).read_bytes()).hexdigest() == file["sha256"]
    key = next(i.key for i in server.world.outputs.list("local/") if i.key.endswith(".safetensors"))
    data = server.world.outputs.get(key)
    assert data is not None
    server.world.outputs.put(key, data[:-1] + b"!")
    damaged = cli.run("jobs", "pull", job_id, "--to", str(cli.home / "other"), "--json")
    assert damaged.code == 4
    assert damaged.json()["error"]["code"] == "checksum_mismatch"
    assert not [p for p in (cli.home / "other").rglob("*") if p.is_file()]


def test_pull_before_the_end_says_to_wait(cli: Cli, config: Path) -> None:
    job_id = cli.run("jobs", "submit", str(config)).out.strip()
    early = cli.run("jobs", "pull", job_id, "--json")
    assert early.code == 4
    assert early.json()["error"]["code"] == "not_finished"
    assert cli.run("jobs", "pull", "nobody").code == 4


def test_status(cli: Cli) -> None:
    well = cli.run("status", "--json")
    assert well.code == 0
    assert well.json()["stage"] == "test"


def test_nobody_at_home(tmp_path: Path) -> None:
    nowhere = Cli("http://127.0.0.1:9", tmp_path, [])
    refused = nowhere.run("status", "--json")
    assert refused.code == 5
    assert refused.json()["error"]["code"] == "unreachable"
    assert "make run" in refused.err
    assert len(nowhere.slept) == 4
