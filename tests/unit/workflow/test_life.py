"""Whole lives of jobs in virtual time: the normal one, and one for everything that can go wrong on the way."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.jobs import JobStatus, Phase
from chalicelib.domain.predictions import PredictionStatus
from tests.fakes.machine import Killed
from tests.fakes.provider import LOST, REFUSED, Life
from tests.fakes.world import ME, OWNER, World, safetensors


@pytest.fixture
def world() -> World:
    world = World()
    world.push(source="/data/photos")
    return world


def test_a_job_goes_from_submit_to_a_verified_model(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(300)
    job = world.job(job_id)
    assert (job.status, job.phase) == (JobStatus.COMPLETED, Phase.FINISHED)
    assert job.delivery.weights == ("checkpoint-200/pytorch_lora_weights.safetensors",)
    assert job.delivery.verified_files == job.delivery.files == 2
    assert job.cost_usd is not None
    assert float(job.cost_usd) == pytest.approx(120 * 0.001525)
    assert job.progress.step == 200
    assert job.logs_complete
    assert world.jobs.slot_holders(OWNER) == frozenset()
    assert len(world.provider.records) == 1
    seqs = [e.seq for e in world.jobs.events(job_id, limit=1000)]
    assert seqs == list(range(1, len(seqs) + 1))


def test_the_trainer_gets_credentials_for_its_own_prefixes_only(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(20)
    (issued,) = world.broker.issued
    assert issued["read"] == [world.job(job_id).datasets[0].prefix]
    assert issued["write"] == f"{OWNER}/{job_id}/artifacts/"
    assert issued["scratch"] == f"_scratch/{OWNER}/{job_id}/"
    assert issued["duration"] == timedelta(hours=26)


def test_the_scratch_space_is_gone_when_the_job_is_over(world: World) -> None:
    job_id = world.submit().job.job_id
    world.dataset_files.put(f"_scratch/{OWNER}/{job_id}/photos/indices.json", b"{}")
    world.run(300)
    assert list(world.dataset_files.list("_scratch/")) == []


@pytest.mark.parametrize(
    ("life", "status", "code"),
    [
        (Life(end=PredictionStatus.FAILED, error="CUDA out of memory"), JobStatus.FAILED, "out_of_memory"),
        (Life(end=PredictionStatus.FAILED, error="weird"), JobStatus.FAILED, "unknown"),
        (Life(end=PredictionStatus.CANCELED), JobStatus.CANCELLED, None),
        (Life(end=PredictionStatus.ABORTED), JobStatus.FAILED, "aborted_before_start"),
        (Life(publish=False), JobStatus.FAILED, "model_missing"),
        (Life(run=10**6), JobStatus.FAILED, "cancelled_by_provider_deadline"),
        (Life(raw_status="hibernating"), JobStatus.COMPLETED, None),
    ],
)
def test_every_end_of_a_prediction_ends_the_job(world: World, life: Life, status: JobStatus, code: str | None) -> None:
    world.provider.lives = [life]
    job_id = world.submit(max_run_seconds=3600).job.job_id
    world.run(2 * 3600, step=30)
    job = world.job(job_id)
    assert (job.status, job.failure.code if job.failure else None) == (status, code)
    assert world.provider.live() == []
    assert world.jobs.slot_holders(OWNER) == frozenset()


@pytest.mark.parametrize(
    ("weights", "code"),
    [
        (safetensors()[:-1], "model_corrupt"),
        (b"", "model_corrupt"),
        (b"garbage" * 10, "model_corrupt"),
        (None, "model_missing"),
    ],
)
def test_a_model_that_is_not_sound_is_a_failure_and_is_kept(world: World, weights: bytes | None, code: str) -> None:
    world.weights = weights
    job_id = world.submit().job.job_id
    world.run(300)
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert job.failure.code == code
    outputs = world.services.jobs.outputs(ME, job_id)
    assert "validation_images/sample.png" in [f.path for f, _ in outputs.files]
    assert not outputs.verified


# --- at most one prediction -----------------------------------------------------------------------------------
def test_a_lost_answer_is_found_and_adopted(world: World) -> None:
    world.provider.lost_answers = 1
    job_id = world.submit().job.job_id
    world.run(400)
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert "job.adopted" in world.event_types(job_id)
    assert len(world.provider.records) == 1


def test_a_request_that_may_have_been_taken_is_not_repeated_before_looking(world: World) -> None:
    world.provider.faults["create"] = [LOST]
    job_id = world.submit().job.job_id
    world.run(20)
    assert world.provider.calls.count("create") == 1
    world.run(600)
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert world.provider.calls.count("create") == 2
    first_list = world.provider.calls.index("list")
    assert world.provider.calls.index("create", 1 + world.provider.calls.index("create")) > first_list


def test_a_launch_that_died_after_creating_is_adopted(world: World) -> None:
    real = world.provider.create

    def create_and_die(request):  # type: ignore[no-untyped-def]
        real(request)
        world.provider.create = real  # type: ignore[method-assign]
        raise Killed

    world.provider.create = create_and_die  # type: ignore[method-assign]
    job_id = world.submit().job.job_id
    world.run(600)
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert world.provider.max_live[job_id] == 1


@pytest.mark.parametrize("kind", [FaultKind.USER, FaultKind.AUTH, FaultKind.LIMIT])
def test_a_final_refusal_fails_the_job_with_the_providers_words(world: World, kind: FaultKind) -> None:
    world.provider.faults["create"] = [ProviderFault("no credit", kind=kind, code="refused", sent=False)]
    job_id = world.submit().job.job_id
    world.run(60)
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert (job.failure.code, job.failure.kind, job.failure.message) == ("refused", kind, "no credit")
    assert world.jobs.slot_holders(OWNER) == frozenset()


def test_a_throttled_launch_tries_again(world: World) -> None:
    throttled = ProviderFault("429", kind=FaultKind.THROTTLED, code="throttled", sent=False)
    world.provider.faults["create"] = [throttled, throttled, REFUSED]
    job_id = world.submit().job.job_id
    world.run(900)
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert len(world.provider.records) == 1


def test_a_provider_that_never_takes_it_is_given_up(world: World) -> None:
    world.provider.faults["create"] = [REFUSED] * 500
    job_id = world.submit().job.job_id
    world.run(3 * 3600, step=30)
    job = world.job(job_id)
    assert job.failure is not None
    assert (job.status, job.failure.code) == (JobStatus.FAILED, "launch_failed")


def test_looking_waits_while_the_provider_can_not_be_asked(world: World) -> None:
    world.provider.lost_answers = 1
    world.provider.faults["list"] = [REFUSED] * 3
    job_id = world.submit().job.job_id
    world.run(600)
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert len(world.provider.records) == 1


def test_of_two_tagged_predictions_one_is_kept_and_the_other_cancelled(world: World) -> None:
    world.provider.default_life = Life(run=3600)
    world.provider.lost_answers = 1
    job_id = world.submit().job.job_id
    world.run(5)
    (first,) = world.provider.records.values()
    world.provider.create(first.request)  # somebody else's mistake
    world.run(200)
    assert [r.id for r in world.provider.live(job_id)] == ["pred1"]
    assert world.job(job_id).prediction_id == "pred1"


def test_a_prediction_created_after_its_lease_ran_out_is_cancelled(world: World) -> None:
    real = world.provider.create

    def slow(request):  # type: ignore[no-untyped-def]
        prediction = real(request)
        job = world.job(request.tag)
        world.jobs.save(job.moved(now=world.clock.now(), prediction_id="other", launched_at=world.clock.now()))
        return prediction

    world.provider.create = slow  # type: ignore[method-assign]
    job_id = world.submit().job.job_id
    world.run(5)
    assert world.provider.live(job_id) == []


def test_a_provider_that_is_not_configured_fails_the_job() -> None:
    world = World()
    world.push(source="/data/photos")
    job_id = world.submit().job.job_id
    object.__setattr__(world.ports, "providers", lambda _: None)
    world.run(30)
    job = world.job(job_id)
    assert job.failure is not None
    assert job.failure.code == "provider_not_configured"


# --- waiting and waking ---------------------------------------------------------------------------------------
def test_a_webhook_wakes_the_job_at_once(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(12)
    world.webhook(job_id, "processing")
    world.settle()
    assert world.job(job_id).status is JobStatus.RUNNING


def test_a_webhook_between_looking_and_sleeping_is_not_slept_over(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(5)
    real = world.provider.get

    def get_then_webhook(prediction_id: str):  # type: ignore[no-untyped-def]
        answer = real(prediction_id)
        world.provider.get = real  # type: ignore[method-assign]
        world.clock.advance(5)
        world.webhook(job_id, "processing", webhook_id="between")
        return answer

    world.provider.get = get_then_webhook  # type: ignore[method-assign]
    world.clock.advance(30)
    world.settle()
    assert world.job(job_id).status is JobStatus.RUNNING


def test_with_webhooks_a_day_long_job_takes_about_a_dozen_transitions(world: World) -> None:
    world.provider.default_life = Life(start=60, run=10 * 3600)
    job_id = world.submit().job.job_id
    world.run(61)
    world.webhook(job_id, "processing", webhook_id="a")
    world.run(10 * 3600 + 1, step=60)
    world.webhook(job_id, "succeeded", webhook_id="b")
    world.settle()
    (execution,) = world.machine.executions.values()
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert execution.transitions <= 26  # Route and Await counted; see test_state_machine for the history
    assert world.provider.calls.count("get") <= 6


def test_without_webhooks_polling_backs_off_to_five_minutes(world: World) -> None:
    world.provider.default_life = Life(start=60, run=23 * 3600)
    world.submit()
    world.run(3600, step=10)
    before = world.provider.calls.count("get")
    world.run(3600, step=10)
    assert world.provider.calls.count("get") - before <= 13


def test_an_unreachable_provider_is_not_the_end(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(5)
    world.provider.faults["get"] = [REFUSED] * 10
    world.run(900)
    job = world.job(job_id)
    assert job.status is JobStatus.COMPLETED
    assert world.event_types(job_id).count("provider.unreachable") == 1


def test_a_provider_unreachable_for_a_day_after_the_deadline_ends_the_job(world: World) -> None:
    job_id = world.submit(max_run_seconds=300).job.job_id
    world.run(5)
    world.provider.faults["get"] = [REFUSED] * 10_000
    world.run(26 * 3600, step=60)
    job = world.job(job_id)
    assert job.failure is not None
    assert job.failure.code == "provider_unreachable"


def test_a_prediction_the_provider_forgot_ends_the_job(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(5)
    world.provider.records.clear()
    world.run(600)
    job = world.job(job_id)
    assert job.failure is not None
    assert job.failure.code == "prediction_lost"


def test_a_provider_that_overruns_its_deadline_is_told_to_stop(world: World) -> None:
    job_id = world.submit(max_run_seconds=300).job.job_id
    world.run(5)
    (record,) = world.provider.records.values()
    stuck = record.request.__class__(**{**record.request.__dict__, "max_run_seconds": 10**6})
    record.request, record.life = stuck, Life(run=10**6)
    world.run(1500, step=10)
    assert world.job(job_id).is_terminal
    assert world.provider.live() == []


# --- cancelling -----------------------------------------------------------------------------------------------
def test_cancel_before_launch_never_launches(world: World) -> None:
    job_id = world.submit().job.job_id
    job = world.services.jobs.cancel(ME, job_id)
    assert job.status is JobStatus.CANCELLED
    world.run(60)
    assert world.provider.records == {}


def test_cancel_while_running_waits_for_the_provider(world: World) -> None:
    world.provider.cancel_takes = 45
    job_id = world.submit().job.job_id
    world.run(40)
    job = world.services.jobs.cancel(ME, job_id)
    assert job.status is JobStatus.RUNNING
    assert job.cancel_requested_at is not None
    world.run(120)
    assert world.job(job_id).status is JobStatus.CANCELLED
    assert world.job(job_id).cost_usd is not None


def test_cancel_is_immediate_when_the_provider_is(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(40)
    assert world.services.jobs.cancel(ME, job_id).status is JobStatus.CANCELLED
    assert world.provider.live() == []
    world.settle()
    assert world.machine.running() == []


def test_cancel_while_the_launch_is_ambiguous_stops_what_was_created(world: World) -> None:
    world.provider.default_life = Life(run=3600)
    world.provider.lost_answers = 1
    job_id = world.submit().job.job_id
    world.run(5)
    job = world.services.jobs.cancel(ME, job_id)
    assert job.is_active
    world.run(300)
    assert world.job(job_id).status is JobStatus.CANCELLED
    assert world.provider.live() == []


def test_cancel_while_the_launch_is_ambiguous_and_nothing_was_created(world: World) -> None:
    world.provider.faults["create"] = [LOST]
    job_id = world.submit().job.job_id
    world.run(5)
    world.services.jobs.cancel(ME, job_id)
    world.run(300)
    assert world.job(job_id).status is JobStatus.CANCELLED
    assert world.provider.records == {}


def test_cancel_survives_a_provider_that_can_not_be_reached(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(40)
    world.provider.faults["cancel"] = [REFUSED] * 2
    assert world.services.jobs.cancel(ME, job_id).is_active
    world.run(200)
    assert world.job(job_id).status is JobStatus.CANCELLED


# --- what may vanish meanwhile ----------------------------------------------------------------------------------
def test_a_dataset_that_was_deleted_before_launch_fails_the_job(world: World) -> None:
    submitted = world.submit().job
    reference = submitted.datasets[0]
    world.ports.datasets.delete_version(OWNER, reference.dataset_id, reference.version_id)
    world.run(60)
    job = world.job(submitted.job_id)
    assert job.failure is not None
    assert job.failure.code == "dataset_gone"
    assert world.provider.records == {}


def test_a_lost_input_fails_the_job(world: World) -> None:
    job_id = world.submit().job.job_id
    world.jobs._inputs.clear()
    world.run(60)
    job = world.job(job_id)
    assert job.failure is not None
    assert job.failure.code == "input_missing"


def test_the_trainer_finds_empty_indices_in_its_scratch_space() -> None:
    world = World()
    world.push(source="/data/photos")
    job_id = world.submit().job.job_id
    world.settle()
    prefix = f"_scratch/{OWNER}/{job_id}/photos/aspect_ratio_bucket"
    keys = [info.key for info in world.dataset_files.list(f"_scratch/{OWNER}/{job_id}/")]
    assert keys == [f"{prefix}_indices_photos.json", f"{prefix}_metadata_photos.json"]
    assert {world.dataset_files.get(key) for key in keys} == {b"{}"}
    world.run(600)
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert list(world.dataset_files.list(f"_scratch/{OWNER}/{job_id}/")) == []
