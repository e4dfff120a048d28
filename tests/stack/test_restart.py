"""The whole stack is stopped, killed and started again while jobs are under way: every job ends, and is paid for once.

These tests have a stack of their own: what they do to it would fail the tests beside them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from local.stack.processes import identity
from tests.support.kills import (
    alive,
    check_settled,
    ended,
    kill,
    on_prediction,
    processes_of,
    settle,
    shorten_lease,
    slots,
)
from tests.support.stack import Stack, eventually, running_stack

DATASET = "restarted"
#: A training of 100 steps at this pace is still under way when its stack is stopped.
SLOW = {"fault": "pace", "seconds": 1}


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("restarted-stack")) as stack:
        shorten_lease(stack)
        stack.push(DATASET)
        yield stack


@pytest.fixture
def stack(own_stack: Stack) -> Iterator[Stack]:
    own_stack.sandbox.faults()
    yield own_stack
    own_stack.sandbox.faults()


def test_a_stop_in_the_middle_of_everything_is_healed_by_the_next_start(stack: Stack) -> None:
    """One job finished, two that train, one that waits at the provider, and one in the middle of its launch."""
    finished = ended(stack, stack.submit(DATASET)["job_id"])
    stack.sandbox.faults(SLOW)
    running = [stack.submit(DATASET, steps=100)["job_id"] for _ in range(2)]
    for job_id in running:
        stack.wait(job_id, "running")
    stack.sandbox.faults()
    waiting = stack.submit(DATASET)["job_id"]
    on_prediction(stack, waiting)
    launching = stack.submit(DATASET)["job_id"]

    facts = stack.facts
    stack.stop()
    assert processes_of(stack) == []
    stack.start()
    assert stack.facts == facts

    assert stack.job(finished["job_id"]) == finished
    assert {job["job_id"] for job in stack.ok("GET", "/cloud/jobs?limit=10")["jobs"]} >= {
        finished["job_id"], *running, waiting, launching
    }  # fmt: skip
    jobs = settle(stack, [*running, waiting, launching])
    for job_id in running:
        assert (jobs[job_id]["status"], jobs[job_id]["failure"]["code"]) == ("failed", "provider_interrupted")
    assert jobs[waiting]["status"] == "completed", stack.story(waiting)
    assert jobs[launching]["status"] == "completed", stack.story(launching)
    check_settled(stack, jobs)


@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_the_emulator_killed_while_jobs_are_launched_and_trained(stack: Stack, seconds: float) -> None:
    """What it stored in its last seconds may be gone: jobs, intents, ids of predictions. The provider knows them."""
    stack.sandbox.faults({"fault": "pace", "seconds": 0.15})
    older = stack.submit(DATASET, steps=30)["job_id"]
    stack.wait(older, "running")
    younger = stack.submit(DATASET, steps=30)["job_id"]
    on_prediction(stack, younger)
    time.sleep(seconds)  # into another moment between two checkpoints
    kill(stack, "emulator")
    stack.wait_ready()
    # Of jobs that ended just before, the end may be forgotten: they have to end again.
    known = {job["job_id"] for job in stack.ok("GET", "/cloud/jobs?limit=100")["jobs"]}
    jobs = settle(stack, known | {older, younger}, may_be_forgotten=True)
    check_settled(stack, jobs)
    assert all(stack.sandbox.overlap(job_id)["predictions"] == 1 for job_id in (older, younger))
    assert slots(stack) == set()
    # The training of a forgotten job ends by itself, or the sweeper ends it once it can't be a launch any more.
    eventually(lambda: not alive(stack, [older, younger]), seconds=120)


def test_a_killed_supervisor_takes_everything_down_and_the_next_start_goes_on(stack: Stack) -> None:
    stack.sandbox.faults(SLOW)
    job_id = stack.submit(DATASET, steps=100)["job_id"]
    stack.wait(job_id, "running")
    parts = {name: stack.process(name) for name in ("emulator", "sandbox", "front door")}
    os.kill(stack.process("supervisor"), signal.SIGKILL)
    for pid in parts.values():
        eventually(lambda pid=pid: identity(pid) is None)  # type: ignore[misc]
    eventually(lambda: processes_of(stack) == [])
    stack.start()
    jobs = settle(stack, [job_id])
    assert jobs[job_id]["failure"]["code"] == "provider_interrupted"
    check_settled(stack, jobs)
