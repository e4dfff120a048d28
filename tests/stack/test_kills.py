"""Parts of the stack are killed while jobs are under way: every job ends, and is paid for once."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.support.kills import (
    check_settled,
    kill,
    kill_at_random,
    kill_each_at_work,
    kill_workers,
    on_prediction,
    settle,
    shorten_lease,
    workers,
)
from tests.support.stack import Stack, eventually, running_stack

DATASET = "killed"
CREATE = {"method": "POST", "path": "^/v1/predictions$"}


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("killed-stack")) as stack:
        shorten_lease(stack)
        stack.push(DATASET)
        yield stack


@pytest.fixture
def stack(own_stack: Stack) -> Iterator[Stack]:
    own_stack.sandbox.faults()
    yield own_stack
    own_stack.sandbox.faults()


def test_workers_killed_before_and_after_the_provider_took_the_training(stack: Stack) -> None:
    """The first job's create is taken, its answer held back, and the worker that waits for it is killed. The second's
    is held back before it is taken. Nobody knows which was which; the provider's list tells."""
    stack.sandbox.faults({"fault": "api_hang", "when": "after", "seconds": 15, "times": 1, "match": CREATE})
    taken = stack.submit(DATASET)["job_id"]
    on_prediction(stack, taken)
    assert kill_workers(w for w in workers(stack) if w.function == "launch") >= 1
    stack.sandbox.faults({"fault": "api_hang", "when": "before", "seconds": 15, "times": 1, "match": CREATE})
    not_taken = stack.submit(DATASET)["job_id"]
    eventually(lambda: stack.sandbox.struck() == [1])
    assert kill_workers(w for w in workers(stack) if w.function == "launch") >= 1

    jobs = settle(stack, [taken, not_taken])
    assert jobs[taken]["status"] == "completed", stack.story(taken)
    assert jobs[not_taken]["status"] == "completed", stack.story(not_taken)
    assert "job.adopted" in [event["type"] for event in stack.events(taken)]
    assert len(stack.sandbox.predictions(not_taken)) == 1
    check_settled(stack, jobs)


def test_the_worker_of_each_step_is_killed_at_its_work(stack: Stack) -> None:
    steps = ["prepare", "await-change", "observe", "deliver", "verify", "finish"]
    kill_workers(worker for worker in workers(stack) if worker.function in steps)
    job_ids = [stack.submit(DATASET)["job_id"] for _ in range(2)]
    kill_each_at_work(stack, steps)
    jobs = settle(stack, job_ids)
    assert [job["status"] for job in jobs.values()] == ["completed"] * 2, "\n".join(map(stack.story, job_ids))
    check_settled(stack, jobs)


def test_workers_killed_at_random(stack: Stack) -> None:
    """All functions, the API's and the sweeper's too."""
    rng = random.Random(20)
    job_ids = [stack.submit(DATASET)["job_id"] for _ in range(5)]
    assert kill_at_random(stack, rng, seconds=6) > 0
    jobs = settle(stack, job_ids)
    assert [job["status"] for job in jobs.values()] == ["completed"] * 5, "\n".join(map(stack.story, job_ids))
    check_settled(stack, jobs)


def test_the_provider_killed_during_a_training(stack: Stack) -> None:
    """The one that trained is lost, and says so; the one that waited there is trained afterwards."""
    stack.sandbox.faults({"fault": "pace", "seconds": 1})
    running = [stack.submit(DATASET, steps=100)["job_id"] for _ in range(2)]
    for job_id in running:
        stack.wait(job_id, lambda job: job["phase"] == "training")
    stack.sandbox.faults()
    waiting = stack.submit(DATASET, steps=3)["job_id"]
    on_prediction(stack, waiting)
    kill(stack, "sandbox")
    stack.wait_ready()
    jobs = settle(stack, [*running, waiting])
    for job_id in running:
        assert (jobs[job_id]["status"], jobs[job_id]["failure"]["code"]) == ("failed", "provider_interrupted")
    assert jobs[waiting]["status"] == "completed", stack.story(waiting)
    check_settled(stack, jobs)


def test_the_front_door_killed_and_the_last_webhook_lost(stack: Stack) -> None:
    """The webhook that tells of the end meets a closed door, and the tries after it are lost too."""
    stack.sandbox.faults({"fault": "pace", "seconds": 0.5})
    job_id = stack.submit(DATASET, steps=30)["job_id"]
    stack.wait(job_id, lambda job: job["phase"] == "training")
    stack.sandbox.faults({"fault": "webhook_lose", "match": {"event": "completed"}})
    kill(stack, "front door")
    stack.wait_ready()
    eventually(lambda: stack.sandbox.predictions(job_id)[0]["status"] == "succeeded")
    assert stack.job(job_id)["status"] == "running"
    # A look at its progress is what a watching user does, and what the sweeper does every few minutes by itself.
    stack.ok("GET", f"/cloud/jobs/{job_id}/inline-progress")
    jobs = settle(stack, [job_id])
    assert jobs[job_id]["status"] == "completed", stack.story(job_id)
    check_settled(stack, jobs)
