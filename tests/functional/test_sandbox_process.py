"""The sandbox as it is started by hand: real processes, a real trainer, S3 on the emulator, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from chalicelib.domain.progress import loss_points, parse_progress
from chalicelib.domain.safetensors import parse_header
from local.sandbox.trainer import s3 as trainer_s3
from tests.functional.sandbox_server import (
    TOKEN,
    Receiver,
    Sandbox,
    clients,
    eventually,
    running_receiver,
    running_sandbox,
)
from tests.support.emulator import Emulator, free_port, running_emulator
from tests.unit.sandbox.support import config, entry, inputs, picture

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "u/ds/v1/files/"
PUBLISHED = "u/job_1/artifacts/job_1/"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        client = running.client("s3")
        for bucket in ("datasets", "outputs"):
            client.create_bucket(Bucket=bucket)
        for number in range(4):
            client.put_object(Bucket="datasets", Key=f"{PREFIX}{number}.png", Body=picture(number))
            client.put_object(Bucket="datasets", Key=f"{PREFIX}{number}.txt", Body=f"picture {number}".encode())
        yield running


def given(emulator: Emulator, credentials: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """Inputs whose data and outputs lie on the emulator; ``credentials`` as boto3 names them."""
    keys = credentials or emulator.credentials
    reach = {
        "aws_endpoint_url": emulator.url,
        "aws_access_key_id": keys["aws_access_key_id"],
        "aws_secret_access_key": keys["aws_secret_access_key"],
        "aws_session_token": keys.get("aws_session_token"),
    }
    publishing = config()["publishing_config"][0] | {
        "endpoint_url": emulator.url,
        "access_key": keys["aws_access_key_id"],
        "secret_key": keys["aws_secret_access_key"],
        "session_token": keys.get("aws_session_token"),
    }
    return inputs({"publishing_config": [publishing]} | changes, [entry(**reach)])


def keys(emulator: Emulator, bucket: str, prefix: str = "") -> set[str]:
    client = emulator.client("s3")
    return set(trainer_s3.list_keys(client, bucket, prefix))


@contextmanager
def server(data_dir: Path, port: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m local.sandbox`` as a user starts it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "local.sandbox", "--port", str(port), "--data-dir", str(data_dir), *arguments],
        cwd=ROOT,
        env=os.environ | {"SANDBOX_TOKEN": TOKEN},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _answers(port))
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()


def _answers(port: int) -> bool | None:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/__sandbox__/health", timeout=2, trust_env=False).is_success
    return None


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


def trainer_pid(sandbox: Sandbox, data_dir: Path, prediction_id: str) -> int:
    """The process that works in the prediction's directory."""

    def look() -> int | None:
        for found in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):
                if found.readlink() == data_dir / "work" / prediction_id:
                    return int(found.parent.name)
        return None

    return eventually(look)


def gone(pid: int) -> bool | None:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return True if state == "Z" else None


def test_a_training_from_create_to_published_weights(tmp_path: Path, emulator: Emulator) -> None:
    with running_sandbox(tmp_path) as sandbox:
        created = sandbox.create(given(emulator))
        done = sandbox.until(created["id"], "succeeded", "failed")
    assert (done["status"], done["error"]) == ("succeeded", None)
    assert done["output"] == "Training complete. Output: output/job_1"
    assert parse_progress(done["logs"]).step == 20
    assert len(loss_points(done["logs"])) == 20
    assert f"{PUBLISHED}checkpoint-20/pytorch_lora_weights.safetensors" in keys(emulator, "outputs")
    weights = emulator.client("s3").get_object(
        Bucket="outputs", Key=f"{PUBLISHED}checkpoint-20/pytorch_lora_weights.safetensors"
    )
    assert parse_header(weights["Body"].read()).rank == 4
    assert keys(emulator, "datasets", "_scratch/") == {
        f"_scratch/u/job_1/pictures/aspect_ratio_bucket_{kind}_pictures.json" for kind in ("indices", "metadata")
    }
    assert not list((tmp_path / "work").iterdir()), "the working directory is removed"


def test_weights_of_more_than_8_mb_go_up_in_parts(tmp_path: Path, emulator: Emulator) -> None:
    with running_sandbox(tmp_path) as sandbox:
        big = given(emulator, lora_rank=3000, max_train_steps=1, checkpoint_step_interval=1, validation_step_interval=1)
        done = sandbox.until(sandbox.create(big)["id"], "succeeded", "failed")
    assert done["error"] is None
    head = emulator.client("s3").head_object(
        Bucket="outputs", Key=f"{PUBLISHED}checkpoint-1/pytorch_lora_weights.safetensors"
    )
    assert head["ContentLength"] > trainer_s3.MULTIPART_BYTES
    assert head["ETag"].strip('"').endswith("-2")


def test_scoped_credentials_are_enough_and_are_all_it_has(tmp_path: Path, emulator: Emulator) -> None:
    """Credentials for the dataset's prefix, the scratch prefix and the job's own outputs, as the product hands out."""
    iam = emulator.client("iam")
    iam.create_user(UserName="trainer")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="trainer", PolicyName="all", PolicyDocument=json.dumps(everything))
    key = iam.create_access_key(UserName="trainer")["AccessKey"]
    owner = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": "arn:aws:s3:::datasets",
                "Condition": {"StringLike": {"s3:prefix": [f"{PREFIX}*"]}},
            },
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::datasets/{PREFIX}*"},
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::datasets/_scratch/u/job_1/*"},
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::outputs/u/job_1/artifacts/*"},
        ],
    }
    sts = emulator.client("sts", **owner)
    token = sts.get_federation_token(Name="job_1", Policy=json.dumps(policy), DurationSeconds=3600)["Credentials"]
    sts.close()
    scoped = {
        "aws_access_key_id": token["AccessKeyId"],
        "aws_secret_access_key": token["SecretAccessKey"],
        "aws_session_token": token["SessionToken"],
    }
    with running_sandbox(tmp_path) as sandbox:
        good = sandbox.until(sandbox.create(given(emulator, scoped))["id"], "succeeded", "failed")
        foreign = given(emulator, scoped)
        foreign["dataloader_json"] = foreign["dataloader_json"].replace(PREFIX, "somebody/else/")
        refused = sandbox.until(sandbox.create(foreign)["id"], "succeeded", "failed")
    assert good["error"] is None
    assert "Publishing via s3 failed" not in good["logs"]
    assert refused["status"] == "failed"
    assert "AccessDenied" in refused["error"]


def test_the_environments_credentials_are_not_used(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with running_sandbox(tmp_path) as sandbox:
        wrong = given(emulator, {"aws_access_key_id": "AKIAWRONG0000000", "aws_secret_access_key": "wrong"})
        done = sandbox.until(sandbox.create(wrong)["id"], "succeeded", "failed")
    assert done["status"] == "failed"
    assert "ClientError" in done["error"]


def test_cancelling_kills_the_trainer(tmp_path: Path, emulator: Emulator) -> None:
    with running_sandbox(tmp_path, step_seconds=5.0) as sandbox:
        created = sandbox.create(given(emulator))
        sandbox.until(created["id"], "processing")
        pid = trainer_pid(sandbox, tmp_path, created["id"])
        assert sandbox.client.post(f"/v1/predictions/{created['id']}/cancel").json()["status"] == "canceled"
        assert gone(pid)
    assert not keys(emulator, "outputs", f"{PUBLISHED}checkpoint-30/")


def test_a_trainer_that_dies_without_a_word(tmp_path: Path, emulator: Emulator) -> None:
    with running_sandbox(tmp_path, step_seconds=5.0) as sandbox:
        created = sandbox.create(given(emulator))
        os.kill(trainer_pid(sandbox, tmp_path, created["id"]), signal.SIGKILL)
        done = sandbox.until(created["id"], "failed")
    assert done["error"] == "Prediction failed: the trainer ended with exit code -9 and left no result"


def test_a_killed_server_takes_its_trainer_with_it_and_tells_the_truth_afterwards(
    tmp_path: Path, emulator: Emulator, receiver: Receiver
) -> None:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    with server(tmp_path, port, "--step-seconds", "5") as process, clients(origin) as sandbox:
        created = sandbox.create(
            given(emulator), webhook=f"{receiver.url}?job=job_1", webhook_events_filter=["completed"]
        )
        sandbox.until(created["id"], "processing")
        pid = trainer_pid(sandbox, tmp_path, created["id"])
        eventually(lambda: "[COG]" in sandbox.get(created["id"])["logs"] or None)
        process.kill()
        process.wait(10)
    eventually(lambda: gone(pid))
    assert receiver.got == []
    with server(tmp_path, port), clients(origin) as sandbox:
        found = sandbox.get(created["id"])
        assert (found["status"], found["error"]) == ("failed", "Prediction interrupted: the sandbox was stopped")
        assert "[COG]" in found["logs"], "the log survives"
        eventually(lambda: receiver.got or None)
    assert json.loads(receiver.got[0][2])["status"] == "failed"


def test_a_waiting_one_starts_after_a_restart(tmp_path: Path, emulator: Emulator) -> None:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    with server(tmp_path, port, "--step-seconds", "5", "--max-running", "1"), clients(origin) as sandbox:
        first = sandbox.create(given(emulator))
        second = sandbox.create(given(emulator))
        sandbox.until(first["id"], "processing")
        assert sandbox.get(second["id"])["status"] == "starting"
    with server(tmp_path, port, "--step-seconds", "0"), clients(origin) as sandbox:
        assert sandbox.until(first["id"], "failed")["error"].startswith("Prediction interrupted")
        assert sandbox.until(second["id"], "succeeded", "failed")["status"] == "succeeded"


def test_the_trainer_keeps_its_pace(tmp_path: Path, emulator: Emulator) -> None:
    """The trainer alone, as its server starts it: no step is shorter than step_seconds."""
    order = {
        "parent": os.getpid(),
        "prediction_id": "p1",
        "input": given(emulator, max_train_steps=60, checkpoint_step_interval=30, validation_step_interval=30),
        "faults": {},
        "step_seconds": 0.06,
        "seed": 1,
    }
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "local.sandbox.trainer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(json.dumps(order).encode())
    assert process.wait(timeout=120) == 0
    assert json.loads((tmp_path / "result.json").read_text())["error"] is None
    assert time.monotonic() - began >= 60 * 0.06


def test_a_trainer_whose_server_is_gone_does_nothing(tmp_path: Path, emulator: Emulator) -> None:
    order = {"parent": 1, "prediction_id": "p1", "input": given(emulator), "faults": {}, "step_seconds": 0, "seed": 1}
    ended = subprocess.run(
        [sys.executable, "-m", "local.sandbox.trainer"],
        input=json.dumps(order).encode(),
        capture_output=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout, list(tmp_path.iterdir())) == (1, b"", [])


def test_an_unusable_plan_is_refused_before_anything_starts(tmp_path: Path) -> None:
    bad = tmp_path / "plan.json"
    bad.write_text('{"rules": [{"fault": "meteor"}]}')
    ended = subprocess.run(
        [sys.executable, "-m", "local.sandbox", "--port", "1", "--data-dir", str(tmp_path), "--fault-plan", str(bad)],
        cwd=ROOT,
        env=os.environ | {"SANDBOX_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert "'meteor' is none of" in ended.stderr
    assert "Traceback" not in ended.stderr
