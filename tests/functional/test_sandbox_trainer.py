"""A whole run of the sandbox's trainer on an S3 in memory: what it prints, writes and publishes, and how it fails."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from chalicelib.domain.classify import classify_failure
from chalicelib.domain.escrow import FileKind, file_kind
from chalicelib.domain.launch_payload import S3Location, launch_dataloader, launch_inputs
from chalicelib.domain.predictions import Prediction, PredictionStatus
from chalicelib.domain.progress import has_diverged, loss_points, parse_progress
from chalicelib.domain.safetensors import parse_header
from chalicelib.domain.trainer import prepare_config
from local.sandbox.trainer.cog import error_text, predict
from local.sandbox.trainer.console import Console
from local.sandbox.trainer.order import Order
from tests.unit.sandbox.support import MemoryS3, entry, fill, inputs, picture

PUBLISHED = "u/job_1/artifacts/job_1/"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass
class Ran:
    """What one run left behind; ``error`` is the prediction's error text."""

    s3: MemoryS3
    log: str
    output: str | None = None
    error: str | None = None
    slept: float = 0.0

    @property
    def published(self) -> set[str]:
        return {key.removeprefix(PUBLISHED) for key in self.s3.keys("outputs")}

    @property
    def failure_code(self) -> str:
        prediction = Prediction(
            id="p", status=PredictionStatus.FAILED, raw_status="failed", error=self.error, logs=self.log
        )
        failure = classify_failure(prediction, now=NOW)
        assert failure is not None
        return failure.code


@dataclass
class Runner:
    """Runs trainings in virtual time."""

    work: Path
    s3: MemoryS3 = field(default_factory=MemoryS3)
    fetch: Callable[[str], bytes] | None = None

    def __call__(
        self,
        given: dict[str, Any] | None = None,
        *,
        faults: dict[str, dict[str, Any]] | None = None,
        step_seconds: float = 0.0,
        publish_final: bool = False,
    ) -> Ran:
        out, time = io.StringIO(), [0.0]

        def sleep(seconds: float) -> None:
            time[0] += seconds

        order = Order(1, "p1", inputs() if given is None else given, faults or {}, step_seconds, seed=3)
        optional = {"fetch": self.fetch} if self.fetch else {}
        ran = Ran(self.s3, "")
        try:
            ran.output = predict(
                order,
                self.work,
                connect=self.s3.connect,
                console=Console(out, now=lambda: NOW),
                sleep=sleep,
                monotonic=lambda: time[0],
                publish_final=publish_final,
                **optional,
            )
        except Exception as error:  # noqa: BLE001 - as the trainer's own entry does
            ran.error = error_text(error)
        ran.log, ran.slept = out.getvalue(), time[0]
        return ran


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    runner = Runner(tmp_path)
    fill(runner.s3)
    return runner


def test_a_good_run(run: Runner) -> None:
    ran = run()
    assert ran.error is None
    assert ran.output == "Training complete. Output: output/job_1"
    progress = parse_progress(ran.log)
    assert (progress.step, progress.total_steps, progress.checkpoint_count) == (20, 20, 2)
    assert progress.learning_rate == 1e-4
    assert progress.stage == "Training complete"
    points = loss_points(ran.log)
    assert [step for step, _ in points] == list(range(21))[1:]
    assert sum(loss for _, loss in points[-5:]) < sum(loss for _, loss in points[:5])


def test_the_log_says_plainly_that_this_is_a_sandbox(run: Runner) -> None:
    log = run().log
    assert log.startswith("[COG] Webhook receiver started on ")
    assert "small CPU model in place of a GPU" in log
    assert log.index("VAE caching (100.0%)") < log.index("Steps:   5%") < log.index("[CHECKPOINT] Checkpoint saved")


def test_event_lines_stand_alone_below_the_bar(run: Runner) -> None:
    log = run().log
    lines = log.replace("\r", "\n").split("\n")
    events = [line for line in lines if any(tag in line for tag in ("[STAGE]", "[CHECKPOINT]", "[TRAINING]"))]
    assert all(line.startswith("[") for line in events)
    assert "\n\n[STAGE]" not in log
    assert events.count("[CHECKPOINT] Checkpoint saved") == 2


def test_what_is_published(run: Runner) -> None:
    ran = run()
    checkpoint = {".guard", "checkpoint_manifest.json", "pytorch_lora_weights.safetensors", "training_state.json"}
    assert ran.published == {
        *(f"checkpoint-{step}/{name}" for step in (10, 20) for name in checkpoint),
        *(f"validation_images/step_{step}_validation_0_64x64.png" for step in (10, 20)),
    }
    assert {k.access_key_id for k in run.s3.accesses} == {"ASIADATA", "ASIAOUT"}
    manifest = json.loads(run.s3.objects["outputs", f"{PUBLISHED}checkpoint-20/checkpoint_manifest.json"])
    assert manifest["files"] == ["pytorch_lora_weights.safetensors", "training_state.json"]
    state = json.loads(run.s3.objects["outputs", f"{PUBLISHED}checkpoint-20/training_state.json"])
    assert state["global_step"] == 20


def test_published_files_are_what_the_product_looks_for(run: Runner) -> None:
    ran = run()
    kinds = {path: file_kind(f"job_1/{path}", 20) for path in ran.published}
    assert kinds["checkpoint-20/pytorch_lora_weights.safetensors"] is FileKind.WEIGHTS
    assert kinds["checkpoint-10/pytorch_lora_weights.safetensors"] is FileKind.CHECKPOINT
    assert kinds["validation_images/step_20_validation_0_64x64.png"] is FileKind.SAMPLE
    header = parse_header(run.s3.objects["outputs", f"{PUBLISHED}checkpoint-20/pytorch_lora_weights.safetensors"])
    assert header.rank == 4
    sample = run.s3.objects["outputs", f"{PUBLISHED}validation_images/step_20_validation_0_64x64.png"]
    with Image.open(io.BytesIO(sample)) as image:
        assert (image.format, image.size) == ("PNG", (64, 64))


def test_a_seed_repeats_a_run_byte_for_byte(run: Runner, tmp_path_factory: pytest.TempPathFactory) -> None:
    def again(given: dict[str, Any]) -> dict[tuple[str, str], bytes]:
        other = Runner(tmp_path_factory.mktemp("again"))
        fill(other.s3)
        assert other(given).error is None
        return other.s3.objects

    run()
    assert again(inputs()) == run.s3.objects
    assert again(inputs({"seed": 8})) != run.s3.objects
    assert again(inputs({"seed": None})) == again(inputs({"seed": 3})), "the order's seed holds without one"


def test_nothing_is_published_without_a_validation(run: Runner) -> None:
    for changes in ({"validation_prompt": None}, {"validation_disable": True}, {"validation_step_interval": 7}):
        ran = run(inputs({"max_train_steps": 6, "validation_step_interval": 7} | changes))
        assert ran.error is None
        assert ran.published == set()


def test_the_final_weights_are_published_only_when_the_environment_says_so(run: Runner) -> None:
    final = "pytorch_lora_weights.safetensors"
    assert final not in run().published
    assert (run.work / "output/job_1" / final).is_file()
    assert final in run(publish_final=True).published


def test_a_checkpoint_after_the_last_validation_stays_unpublished(run: Runner) -> None:
    ran = run(inputs({"checkpoint_step_interval": 20, "validation_step_interval": 15}))
    assert not any(path.startswith("checkpoint-20") for path in ran.published)


def test_old_checkpoints_are_removed_but_what_was_published_stays(run: Runner) -> None:
    ran = run(inputs({"checkpoint_step_interval": 5, "validation_step_interval": 5, "checkpoints_total_limit": 2}))
    assert sorted(p.name for p in (run.work / "output/job_1").glob("checkpoint-*")) == [
        "checkpoint-15",
        "checkpoint-20",
    ]
    assert any(path.startswith("checkpoint-5/") for path in ran.published)


def test_epochs_decide_when_no_steps_are_given(run: Runner) -> None:
    progress = parse_progress(run(inputs({"max_train_steps": None, "num_train_epochs": 3})).log)
    assert progress.total_steps == 6  # four pictures in batches of two, three times


def test_the_input_overrides_the_configs_steps(run: Runner) -> None:
    assert parse_progress(run(inputs() | {"max_train_steps": 10}).log).total_steps == 10


@pytest.mark.parametrize("faults", [{}, {"pace": {"seconds": 0.5}}])
def test_the_pace(run: Runner, faults: dict[str, Any]) -> None:
    per_step = 0.5 if faults else 0.06
    assert run(faults=faults, step_seconds=0.06).slept == pytest.approx((20 + 8) * per_step)


def test_at_full_speed_nothing_waits(run: Runner) -> None:
    assert run().slept == 0


def test_a_launch_of_the_product_runs_as_it_is(run: Runner) -> None:
    prepared, _ = prepare_config({"model_family": "sdxl", "max_train_steps": 12, "train_batch_size": 1, "lora_rank": 2})
    assert prepared is not None
    place = {"bucket": "datasets", "prefix": "u/ds/v1/files/", "endpoint_url": "http://127.0.0.1:1"}
    access = {"region": "us-east-1", "access_key_id": "a", "secret_access_key": "b", "session_token": "c"}
    dataloader = launch_dataloader(
        [{"id": "pics", "type": "local", "instance_data_dir": "/home/me/pics", "caption_strategy": "textfile"}],
        {"pics": S3Location(**place, **access)},
        "_scratch/u/job_1/",
    )
    out = S3Location(**place | {"bucket": "outputs", "prefix": "u/job_1/artifacts/"}, **access)
    ran = run(launch_inputs(prepared.config, dataloader, output=out, job_id="job_1", run_name="mine"))
    assert ran.error is None
    assert "checkpoint-12/pytorch_lora_weights.safetensors" in ran.published


# -- failures ---------------------------------------------------------------------------------------------------------


def test_out_of_memory(run: Runner) -> None:
    ran = run(faults={"oom": {"at": 0.5}})
    assert ran.error is not None
    assert ran.error.startswith("Prediction failed: Prediction failed: OutOfMemoryError: CUDA out of memory.")
    assert "torch.OutOfMemoryError: CUDA out of memory" in ran.log
    assert "[TRAINING] Training failed: CUDA out of memory" in ran.log
    assert parse_progress(ran.log).step == 9
    assert ran.failure_code == "out_of_memory"


def test_a_loss_that_is_no_number_ends_the_run(run: Runner) -> None:
    ran = run(faults={"nan": {"at": 0.5, "then": "fail"}})
    assert ran.error is not None
    assert "RuntimeError: Non-finite training loss detected (loss=nan" in ran.error
    assert has_diverged(parse_progress(ran.log.split("[ERROR]")[0]))


def test_older_trainers_carried_on(run: Runner) -> None:
    ran = run(faults={"nan": {"at": 0.5, "then": "continue"}})
    assert ran.error is None
    assert len(set(re.findall(r"(\d+)/20 [^\r]*step_loss=nan", ran.log))) == 11
    assert "checkpoint-20/pytorch_lora_weights.safetensors" in ran.published


def test_a_rate_far_too_high_diverges_by_itself(run: Runner) -> None:
    ran = run(inputs({"learning_rate": 1e36}))
    assert ran.error is not None
    assert "Non-finite training loss" in ran.error


def test_weights_that_never_arrive(run: Runner) -> None:
    published = run(faults={"no_publish": {"files": "weights"}}).published
    assert published
    assert not any(path.endswith(".safetensors") for path in published)


def test_nothing_arrives(run: Runner) -> None:
    ran = run(faults={"no_publish": {"files": "all"}})
    assert ran.error is None
    assert ran.published == set()


def test_weights_cut_in_half(run: Runner) -> None:
    run(faults={"truncate": {}})
    data = run.s3.objects["outputs", f"{PUBLISHED}checkpoint-20/pytorch_lora_weights.safetensors"]
    with pytest.raises(Exception, match="there are"):
        parse_header(data)


def test_a_refused_upload_is_logged_and_the_training_goes_on(run: Runner) -> None:
    given = inputs(entries=[entry()])
    run.s3.refuse = set()
    original = run.s3.put_object

    def only_scratch(**kwargs: Any) -> None:
        run.s3.refuse = {"PutObject"} if kwargs["Bucket"] == "outputs" else set()
        original(**kwargs)
        run.s3.refuse = {"PutObject"}

    run.s3.put_object = only_scratch  # type: ignore[method-assign]
    ran = run(given)
    assert ran.error is None
    assert ran.published == set()
    assert ran.log.count("[ERROR] Publishing via s3 failed: An error occurred (AccessDenied)") >= 2


def test_refused_data_ends_the_run(run: Runner) -> None:
    run.s3.refuse = {"ListObjectsV2"}
    ran = run()
    assert ran.error is not None
    assert "ClientError: An error occurred (AccessDenied)" in ran.error
    assert ran.failure_code == "storage_refused"


def test_an_unreadable_picture(run: Runner) -> None:
    run.s3.objects["datasets", "u/ds/v1/files/9.png"] = b"no picture"
    run.s3.objects["datasets", "u/ds/v1/files/9.txt"] = b"caption"
    ran = run()
    assert ran.failure_code == "dataset_unreadable"
    assert "cannot identify image file 'u/ds/v1/files/9.png'" in ran.log


def test_no_pictures(run: Runner) -> None:
    assert run(inputs(entries=[entry(aws_data_prefix="none/")])).failure_code == "dataset_unreadable"


# -- Cog's inputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"config_json": "{oops"}, "ValueError: config_json looks like JSON but failed to parse"),
        ({"config_json": "[" * 100_000}, "ValueError: config_json looks like JSON but failed to parse"),
        ({"config_json": "/etc/passwd"}, "FileNotFoundError: config_json file not found: /etc/passwd"),
        ({"config_json": "{}"}, "FileNotFoundError: No training config found"),
        ({"config_json": "[1]"}, "TypeError: config_json must be a JSON object"),
        ({"dataloader_json": "[{]"}, "ValueError: dataloader_json looks like JSON but failed to parse"),
        ({"dataloader_json": ""}, "ValueError: Either dataset_archive or dataloader config must be provided."),
        ({"dataloader_json": "[]"}, "ValueError: No images were found"),
        ({"lycoris_config": "lycoris.json"}, "FileNotFoundError: lycoris_config file not found"),
        ({"hub_model_id": "me/model"}, "ValueError: hf_token is required when using hub_model_id"),
    ],
)
def test_inputs_the_predictor_refuses(run: Runner, changes: dict[str, Any], error: str) -> None:
    ran = run(inputs() | changes)
    assert ran.error is not None
    assert ran.error.startswith(f"Prediction failed: Prediction failed: {error}")


def test_steps_and_epochs_together_are_refused(run: Runner) -> None:
    ran = run(inputs({"num_train_epochs": 1}))
    assert ran.failure_code == "config_rejected"


def test_the_epochs_default_counts_too(run: Runner) -> None:
    assert run(inputs({"num_train_epochs": None})).failure_code == "config_rejected"


def test_archives_are_downloaded_and_never_unpacked(run: Runner) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ds/a.jpg", picture())
    run.fetch = lambda _: packed.getvalue()
    given = inputs()
    assert run(given | {"images": "http://x/a.zip"}).error is None, "ignored beside a dataloader"
    alone = run({"config_json": given["config_json"], "images": "http://x/a.zip"})
    assert alone.error == "Prediction failed: Prediction failed: ValueError: Unsafe zip path detected: ds/a.jpg"
    run.fetch = lambda _: b"neither"
    assert "Unsupported dataset archive format" in str(run({"config_json": '{"a":1}', "images": "http://x/"}).error)


def test_an_archive_that_cant_be_fetched_fails_before_the_predictor(run: Runner) -> None:
    def refuse(_: str) -> bytes:
        raise ConnectionRefusedError(111, "Connection refused")

    run.fetch = refuse
    ran = run(inputs() | {"images": "http://127.0.0.1:1/x.zip"})
    assert ran.error is not None
    assert ran.error.startswith("Input validation error: http://127.0.0.1:1/x.zip")
    assert ran.log == ""


def test_s3_inputs_decide_where_to_publish(run: Runner) -> None:
    keys = {"s3_bucket": "b", "s3_base_path": "/p/q/", "s3_access_key": "k", "s3_secret_key": "s"}
    ran = run(inputs() | keys | {"s3_endpoint_url": "https://e/"})
    assert ran.output == "https://e/b/p/q/"
    assert ran.s3.keys("outputs") == set()
    assert "p/q/job_1/checkpoint-20/.guard" in ran.s3.keys("b")


def test_the_tail_of_the_log_comes_only_when_wanted(run: Runner) -> None:
    assert "=== debug.log tail ===" in run().log
    assert "=== debug.log tail ===" not in run(inputs() | {"return_logs": False}).log


def test_no_secret_is_printed(run: Runner) -> None:
    log = run(inputs() | {"hf_token": "hf_very_secret"}).log
    for secret in ("data-secret", "data-session", "out-secret", "out-session", "hf_very_secret"):
        assert secret not in log
