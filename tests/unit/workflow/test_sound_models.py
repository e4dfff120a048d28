"""What counts as the model: all of the last step's weights, and nothing that only looks like them."""

from __future__ import annotations

import pytest

from chalicelib.domain.escrow import FileKind, file_kind, missing_shards
from chalicelib.domain.jobs import JobStatus
from tests.fakes.world import ME, OWNER, World, safetensors

LAST = "checkpoint-200"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (f"job/{LAST}/pytorch_lora_weights.safetensors", FileKind.WEIGHTS),
        (f"{LAST}/transformer/diffusion_pytorch_model-00001-of-00002.safetensors", FileKind.WEIGHTS),
        ("job/pytorch_lora_weights.safetensors", FileKind.WEIGHTS),
        ("checkpoint-100/pytorch_lora_weights.safetensors", FileKind.CHECKPOINT),
        (f"{LAST}/optimizer.safetensors", FileKind.CHECKPOINT),
        (f"{LAST}/ema/pytorch_lora_weights.safetensors", FileKind.CHECKPOINT),
        (f"{LAST}/ema_model.safetensors", FileKind.CHECKPOINT),
        ("ema/pytorch_lora_weights.safetensors", FileKind.OTHER),
        ("sample.safetensors", FileKind.OTHER),
        (f"{LAST}/training_state.json", FileKind.CHECKPOINT),
        ("validation_images/step_200.png", FileKind.SAMPLE),
    ],
)
def test_kinds_of_published_files(path: str, kind: FileKind) -> None:
    assert file_kind(path, 200) is kind


def test_shards_are_counted_by_their_names() -> None:
    there = ["a/m-00001-of-00003.safetensors", "a/m-00003-of-00003.safetensors", "b/x.safetensors"]
    assert missing_shards(there) == ["a/m-00002-of-00003.safetensors"]
    assert missing_shards([*there, "a/m-00002-of-00003.safetensors"]) == []
    assert missing_shards(["m-00001-of-99999.safetensors", "m-00001-of-00000.safetensors"]) == []


def _published(world: World, files: dict[str, bytes]) -> str:
    world.push(source="/data/photos")
    world.weights = None
    job_id = world.submit().job.job_id
    world.run(60)
    for path, data in files.items():
        world.outputs.put(f"{OWNER}/{job_id}/artifacts/{path}", data)
    world.run(300)
    return job_id


def test_a_model_with_a_missing_part_is_no_model() -> None:
    world = World()
    job_id = _published(world, {f"{LAST}/model-00001-of-00002.safetensors": safetensors()})
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert job.failure.code == "model_incomplete"
    assert "model-00002-of-00002" in job.failure.message
    assert job.delivery.verified_at is None


def test_optimizer_state_alone_is_no_model() -> None:
    world = World()
    job_id = _published(world, {f"{LAST}/optimizer.safetensors": safetensors(), "sample.safetensors": safetensors()})
    job = world.job(job_id)
    assert job.failure is not None
    assert job.failure.code == "model_missing"


def test_a_broken_earlier_checkpoint_does_not_spoil_a_sound_model() -> None:
    world = World()
    files = {
        "checkpoint-100/pytorch_lora_weights.safetensors": safetensors()[:-7],
        f"{LAST}/pytorch_lora_weights.safetensors": safetensors(),
    }
    job_id = _published(world, files)
    job = world.job(job_id)
    assert job.status is JobStatus.COMPLETED
    problems = [file.path for file, _ in world.services.jobs.outputs(ME, job_id).files if file.problem]
    assert problems == ["checkpoint-100/pytorch_lora_weights.safetensors"]


def test_an_end_that_raced_with_verify_keeps_what_verify_found() -> None:
    """A conclusion that read the record before Verify wrote must not replace its result or its manifest."""
    world = World()
    world.push(source="/data/photos")
    job_id = world.submit().job.job_id
    while world.job(job_id).phase != "collecting":
        world.clock.advance(5)
        world.machine.tick()
    real = world.dataset_files.delete_prefix
    raced: list[bool] = []

    def verify_first(prefix: str) -> int:
        if not raced:
            raced.append(True)
            world.settle()
        return real(prefix)

    world.dataset_files.delete_prefix = verify_first  # type: ignore[method-assign]
    world.services.jobs._conclusion.conclude(job_id)
    world.run(120)
    job = world.job(job_id)
    assert job.status is JobStatus.COMPLETED
    assert job.delivery.verified_at is not None
    outputs = world.services.jobs.outputs(ME, job_id)
    assert outputs.verified
    assert all(file.sha256 for file, _ in outputs.files)


def _with_values(value: bytes) -> bytes:
    """The little adapter, all of its values this one."""
    sound = safetensors()
    return sound[:-256] + value * 64


def test_a_diverged_training_is_no_model_and_says_what_to_do() -> None:
    world = World()
    job_id = _published(world, {f"{LAST}/pytorch_lora_weights.safetensors": _with_values(b"\x00\x00\xc0\x7f")})
    job = world.job(job_id)
    assert job.failure is not None
    assert (job.failure.code, job.failure.kind) == ("model_diverged", "user")
    assert "NaN" in job.failure.message
    assert "learning rate" in job.failure.advice
    assert (job.delivery.verified_at, job.delivery.broken_files) == (None, 1)


def test_a_zero_filled_model_is_none() -> None:
    world = World()
    job_id = _published(world, {f"{LAST}/pytorch_lora_weights.safetensors": _with_values(bytes(4))})
    job = world.job(job_id)
    assert job.failure is not None
    assert (job.failure.code, job.failure.kind) == ("model_corrupt", "provider")


def test_a_model_of_another_rank_is_kept_with_a_warning() -> None:
    world = World()
    other = safetensors({"layer.lora_A.weight": [8, 4], "layer.lora_B.weight": [4, 8]})
    job_id = _published(world, {f"{LAST}/pytorch_lora_weights.safetensors": other})
    job = world.job(job_id)
    assert job.status is JobStatus.COMPLETED
    path = f"{LAST}/pytorch_lora_weights.safetensors"
    assert job.delivery.warnings == (f"{path}: its rank is 8, and 4 was configured",)
