"""One delivery from escrow to its destination, in virtual time: what is sent, retried, given up, cancelled."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.credential_secrets import Given
from chalicelib.domain.credentials import CredentialKind, HubSecret
from chalicelib.domain.deliveries import GIVE_UP_AFTER, DeliveryState
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.destinations import HubDestination, Part, label
from chalicelib.domain.job_deliveries import DeliveriesState
from chalicelib.domain.ports import ExecutionState
from chalicelib.services.credentials import CredentialService, remove
from chalicelib.workflow.delivering import LONGEST_WAIT, MAX_PIECES, MAX_STEPS, deliver_step
from tests.fakes.delivery_runner import Died
from tests.fakes.world import OWNER, World
from tests.support.deliveries import FILES, HUB, HUB_TOKEN, begin, completed_job, deliver, delivery_of, with_credentials

PLACE = label(HUB)
DOWN = DeliveryFault("unavailable", "The Hub answers 503.", "Nothing to do: it is tried again.", retry=True)
DENIED = DeliveryFault("forbidden", "The token may not write there.", "stcloud credentials rotate hub", retry=False)


@pytest.fixture
def world() -> World:
    return with_credentials(World())


def event(attempt: int = 1, **more: Any) -> dict[str, Any]:
    return {"job_id": "job1", "delivery_id": "d-job1-001", "attempt": attempt, **more}


def test_a_model_arrives_and_is_verified(world: World) -> None:
    job = completed_job(world)
    world.targets.result = {"commit": "abc"}
    begin(world, job)
    assert world.job("job1").deliveries.state is DeliveriesState.DELIVERING
    world.settle()
    delivery = delivery_of(world)
    assert (delivery.state, delivery.tries, delivery.problem) == (DeliveryState.VERIFIED, 0, None)
    place = world.targets.places[PLACE]
    assert list(place)[-1] == "manifest.json"
    assert place["pytorch_lora_weights.safetensors"] == FILES["checkpoint-200/pytorch_lora_weights.safetensors"]
    listed = {line["path"]: line["sha256"] for line in json.loads(place["manifest.json"])["files"]}
    assert listed == {p: hashlib.sha256(d).hexdigest() for p, d in place.items() if p != "manifest.json"}
    assert (delivery.files_total, delivery.files_done) == (4, 4)
    assert delivery.bytes_done == delivery.bytes_total == sum(map(len, place.values()))
    assert delivery.result == {"url": f"https://target.test/{PLACE}", "commit": "abc"}
    assert delivery.resolved_credential == "huggingface"
    secret = world.targets.secrets[-1]
    assert isinstance(secret, HubSecret)
    assert secret.token.get_secret_value() == HUB_TOKEN
    after = world.job("job1")
    assert after.output_url == f"https://target.test/{PLACE}"
    assert (after.deliveries.state, after.deliveries.verified, after.deliveries.open) == ("verified", 1, 0)
    assert world.event_types("job1") == ["delivery.started", "delivery.verified"]
    assert delivery.settled
    left = [info.key.rsplit("/", 1)[-1] for info in world.outputs.list(f"{OWNER}/job1/deliveries/")]
    assert left == ["manifest.json"]


def test_only_what_is_included_is_sent(world: World) -> None:
    job = completed_job(world)
    begin(world, job, HubDestination(repo_id="acme/cats", include=(Part.WEIGHTS,)))
    world.settle()
    assert set(world.targets.places[PLACE]) == {"pytorch_lora_weights.safetensors", "manifest.json"}


def test_nothing_to_send_is_a_failure(world: World) -> None:
    begin(world, completed_job(world), HubDestination(repo_id="acme/cats", include=(Part.CHECKPOINTS,)))
    world.settle()
    problem = delivery_of(world).problem
    assert problem is not None
    assert (problem.code, problem.will_retry) == ("source_missing", False)
    assert PLACE not in world.targets.places


def test_pieces_are_sent_side_by_side(world: World) -> None:
    world.targets.fan = True
    begin(world, completed_job(world))
    world.settle()
    assert delivery_of(world).state is DeliveryState.VERIFIED
    assert world.targets.count("piece") == 4


def test_more_pieces_than_one_round_takes(world: World) -> None:
    world.targets.fan = True
    files = {f"validation_images/{i:04d}.png": b"x" for i in range(MAX_PIECES + 20)}
    begin(world, completed_job(world, files=files))
    deliver(world)
    assert delivery_of(world).state is DeliveryState.VERIFIED
    assert world.targets.count("piece") == len(files) + 1


@pytest.mark.parametrize("fan", [False, True])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("call", ["connect", "send", "piece", "confirm"])
@pytest.mark.parametrize("nth", [0, 1, 2])
def test_a_fault_at_any_call_is_tried_again(world: World, call: str, nth: int, late: bool, fan: bool) -> None:
    world.targets.fan = fan
    script = world.targets.late_faults if late else world.targets.faults
    script[call] = [*[None] * nth, DOWN]
    begin(world, completed_job(world))
    deliver(world)
    delivery = delivery_of(world)
    assert delivery.state is DeliveryState.VERIFIED
    assert set(world.targets.places[PLACE]) >= {"pytorch_lora_weights.safetensors", "manifest.json"}
    types = world.event_types("job1")
    assert types[0] == "delivery.started" or call == "connect"
    assert types[-1] == "delivery.verified"
    assert types.count("delivery.retrying") <= 1


@pytest.mark.parametrize("call", ["connect", "send", "piece", "confirm"])
def test_what_can_t_mend_itself_fails_at_once(world: World, call: str) -> None:
    world.targets.fan = call == "piece"
    world.targets.faults[call] = [DENIED]
    begin(world, completed_job(world))
    deliver(world, 300)
    delivery = delivery_of(world)
    assert delivery.state is DeliveryState.FAILED
    assert delivery.problem is not None
    assert (delivery.problem.code, delivery.problem.advice) == ("forbidden", DENIED.advice)
    assert not delivery.problem.will_retry
    assert world.event_types("job1")[-1] == "delivery.failed"
    assert world.job("job1").deliveries.state is DeliveriesState.FAILED
    assert world.job("job1").status == "completed"
    assert world.targets.abandoned == ["d-job1-001"]


def test_after_days_of_failures_it_is_given_up(world: World) -> None:
    world.targets.faults["send"] = [DOWN] * 10_000
    begin(world, completed_job(world))
    began = world.clock.now()
    deliver(world, GIVE_UP_AFTER.total_seconds() + 7200, step=120)
    delivery = delivery_of(world)
    assert delivery.state is DeliveryState.FAILED
    assert delivery.finished_at is not None
    assert GIVE_UP_AFTER <= delivery.finished_at - began <= GIVE_UP_AFTER + timedelta(minutes=10)
    assert 70 <= world.targets.count("send") <= 100
    assert delivery.attempt <= 100
    assert world.event_types("job1") == ["delivery.started", "delivery.retrying", "delivery.failed"]


def test_a_problem_is_shown_while_it_is_tried_again(world: World) -> None:
    world.targets.faults["send"] = [DOWN]
    begin(world, completed_job(world))
    world.settle()
    delivery = delivery_of(world)
    assert delivery.state is DeliveryState.PENDING
    assert delivery.problem is not None
    assert delivery.problem.will_retry
    assert delivery.next_try_at == world.clock.now() + timedelta(seconds=10)
    world.run(9, step=1)
    assert world.targets.count("send") == 1
    world.run(1)
    assert delivery_of(world).state is DeliveryState.VERIFIED
    assert delivery_of(world).problem is None


def test_a_long_pause_is_not_slept_through(world: World) -> None:
    slow = DeliveryFault("throttled", "Too much.", "Wait.", retry=True, retry_after=timedelta(hours=1))
    world.targets.faults["send"] = [slow]
    begin(world, completed_job(world))
    world.settle()
    assert world.delivery_runner.state(delivery_of(world)) is ExecutionState.OVER
    world.run(3500, sweep_every=60, step=50)
    assert world.targets.count("send") == 1
    world.run(300, sweep_every=60, step=50)
    assert delivery_of(world).state is DeliveryState.VERIFIED
    assert delivery_of(world).attempt == 2


def test_a_copy_that_differs_is_sent_again_and_not_for_ever(world: World) -> None:
    spoils = 2

    def tamper(place: dict[str, bytes]) -> None:
        nonlocal spoils
        spoils -= 1
        if spoils >= 0:
            place["pytorch_lora_weights.safetensors"] = b"zero"

    world.targets.tamper = tamper
    begin(world, completed_job(world))
    deliver(world)
    assert delivery_of(world).state is DeliveryState.VERIFIED
    assert delivery_of(world).restarts == 2
    spoils = 1000
    begin(world, world.job("job1"))
    deliver(world, GIVE_UP_AFTER.total_seconds())
    second = delivery_of(world, number=2)
    assert second.state is DeliveryState.FAILED
    assert second.problem is not None
    assert second.problem.code == "corrupt_at_target"
    assert second.restarts == 6


def test_an_unexpected_error_is_recorded_without_its_text(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.targets.faults["send"] = [RuntimeError(f"https://x.test/?token={HUB_TOKEN}")]
    begin(world, completed_job(world))
    world.settle()
    problem = delivery_of(world).problem
    assert problem is not None
    assert (problem.code, problem.will_retry) == ("unavailable", True)
    assert HUB_TOKEN not in problem.model_dump_json() + caplog.text
    assert "RuntimeError" in caplog.text
    deliver(world)
    assert delivery_of(world).state is DeliveryState.VERIFIED


def test_a_fault_s_secrets_are_not_kept(world: World) -> None:
    world.targets.faults["send"] = [DeliveryFault("unavailable", f"Bearer {HUB_TOKEN} refused", HUB_TOKEN, retry=True)]
    begin(world, completed_job(world))
    world.settle()
    assert HUB_TOKEN not in delivery_of(world).model_dump_json()
    assert HUB_TOKEN not in json.dumps([e.model_dump(mode="json") for e in world.jobs.events("job1")])


@pytest.mark.parametrize("dies", ["send", "piece", "confirm"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("times", [1, 4, 9])
def test_a_function_that_dies_is_replaced(world: World, dies: str, late: bool, times: int) -> None:
    world.targets.fan = dies == "piece"
    script = world.targets.late_faults if late else world.targets.faults
    script[dies] = [Died()] * times  # type: ignore[list-item]
    begin(world, completed_job(world))
    deliver(world)
    assert delivery_of(world).state is DeliveryState.VERIFIED


def test_a_piece_that_dies_again_and_again_is_a_fault(world: World) -> None:
    world.targets.fan = True
    world.targets.faults["piece"] = [Died()] * 4  # type: ignore[list-item]
    begin(world, completed_job(world))
    world.run(90)
    problem = delivery_of(world).problem
    assert problem is None or problem.code == "unavailable"
    deliver(world)
    assert delivery_of(world).state is DeliveryState.VERIFIED


def test_executions_that_end_for_no_reason_are_replaced(world: World) -> None:
    begin(world, completed_job(world))
    for _ in range(3):
        world.delivery_runner.tick()
        world.delivery_runner.fail_all()
        world.run(600, sweep_every=60, step=60)
    assert delivery_of(world).state is DeliveryState.VERIFIED


def test_a_start_that_failed_is_made_up_for(world: World) -> None:
    world.delivery_runner.start_fails = 3
    begin(world, completed_job(world))
    deliver(world, 600)
    assert delivery_of(world).state is DeliveryState.VERIFIED


def test_a_long_delivery_goes_on_in_another_execution(world: World) -> None:
    begin(world, completed_job(world))
    answer = deliver_step(event(steps=MAX_STEPS), world.ports)
    assert answer["next"] == "done"
    assert not delivery_of(world).is_over
    assert world.targets.count("send") == 0


def test_an_earlier_execution_ends_itself(world: World) -> None:
    begin(world, completed_job(world))
    current = delivery_of(world)
    world.deliveries.update(current.moved(world.clock.now(), attempt=2, attempt_at=world.clock.now()))
    assert deliver_step(event(1), world.ports)["next"] == "done"
    assert world.targets.calls == []
    assert deliver_step(event(2), world.ports)["next"] == "again"


def test_a_deleted_job_ends_its_deliveries(world: World) -> None:
    job = completed_job(world)
    begin(world, job)
    world.jobs.delete(job if world.job("job1").version == job.version else world.job("job1"))
    assert deliver_step(event(), world.ports)["next"] == "done"
    assert world.deliveries.list_of("job1") == []
    assert world.targets.calls == []


def test_a_credential_that_is_gone_fails_with_advice(world: World) -> None:
    begin(world, completed_job(world))
    remove(world.ports, OWNER, CredentialKind.HUGGINGFACE.value)
    world.settle()
    problem = delivery_of(world).problem
    assert problem is not None
    assert problem.code == "credential_missing"
    assert "stcloud credentials add" in problem.message
    assert not problem.will_retry


def test_a_rotated_credential_is_used_from_the_next_step_on(world: World) -> None:
    begin(world, completed_job(world))
    world.delivery_runner.tick()
    CredentialService(world.ports).rotate(OWNER, "huggingface", Given(token="hf_" + "b" * 34), keep_previous=False)
    world.delivery_runner.tick()
    secret = world.targets.secrets[-1]
    assert isinstance(secret, HubSecret)
    assert secret.token.get_secret_value() == "hf_" + "b" * 34


def test_a_job_that_has_not_ended_yet_is_waited_for(world: World) -> None:
    job = completed_job(world)
    begin(world, job)
    world.jobs._jobs["job1"] = world.job("job1").model_copy(update={"status": "running"})
    answer = deliver_step(event(), world.ports)
    assert (answer["next"], answer["seconds"] <= LONGEST_WAIT) == ("wait", True)
    assert world.targets.calls == []
