"""Killing parts of a stack, and what must hold afterwards whatever was killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from local.stack.processes import identity
from tests.support.stack import OVER, POLL_SECONDS, Job, Stack, eventually

#: A launch whose worker died before the provider took it: the lease, the settling time, and the waits between.
LONGEST_SECONDS = 400.0
SWEEP_EVERY_SECONDS = 3.0
_WORKER = "ministack-lambda-stcloud-local-"


@dataclass(frozen=True)
class Worker:
    pid: int
    function: str


def processes() -> list[tuple[str, str, str]]:
    """Of this computer: pid, parent's pid, command line."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, timeout=10, check=True
    ).stdout
    return [(pid, parent, rest) for pid, parent, rest in (line.split(None, 2) for line in listed.splitlines())]


def processes_of(stack: Stack) -> list[str]:
    """Command lines that name the stack's folder, as all its programs' and workers' do."""
    return [command for _, _, command in processes() if str(stack.folder) in command]


def workers(stack: Stack) -> list[Worker]:
    """The Lambda workers that live, with the names of their functions (``verify``)."""
    emulator = str(stack.process("emulator"))
    found = []
    for pid, parent, command in processes():
        if parent == emulator and command.endswith("_worker.py") and _WORKER in command:
            found.append(Worker(int(pid), command.split(_WORKER)[1].rpartition("/")[0].rpartition("-")[0]))
    return found


def kill_workers(found: Iterable[Worker]) -> int:
    """SIGKILL; the number of those that still lived."""
    killed = 0
    for worker in found:
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
            killed += 1
    return killed


def kill_each_at_work(stack: Stack, functions: Iterable[str], *, seconds: float = LONGEST_SECONDS) -> None:
    """Kills the first worker that shows up of each function. None may have one before: it is started for the first call
    then, and dies in the middle of it. Fails after ``seconds``."""
    waiting, deadline = set(functions), time.monotonic() + seconds
    while waiting:
        seen = [worker for worker in workers(stack) if worker.function in waiting]
        kill_workers(seen)
        waiting -= {worker.function for worker in seen}
        if time.monotonic() > deadline:
            raise AssertionError(f"no workers were seen of {sorted(waiting)}")


def kill_at_random(stack: Stack, rng: random.Random, *, seconds: float) -> int:
    """Kills about every second worker again and again; returns how many."""
    deadline, killed = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        time.sleep(rng.uniform(0.05, 0.4))
        killed += kill_workers(w for w in workers(stack) if rng.random() < 0.5)
    return killed


def shorten_lease(stack: Stack) -> None:
    """The launch's rules with a third of their times, so that an unanswered launch is decided within a minute. The
    lease stays longer than the function's time limit, as it must."""
    functions = stack.client("lambda")
    name = f"stcloud-{stack.facts['stage']}-launch"
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    functions.update_function_configuration(
        FunctionName=name,
        Timeout=18,
        Environment={"Variables": variables | {"STC_LAUNCH_LEASE_SECONDS": "20", "STC_ADOPT_SETTLE_SECONDS": "10"}},
    )


def kill(stack: Stack, name: str) -> None:
    """SIGKILL to a part, and until the supervisor has noticed: ``wait_ready`` means the restarted one then."""
    pid = stack.process(name)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: identity(pid) is None)
    eventually(lambda: not json.loads(stack.layout.record.read_text(encoding="utf-8"))["ready"])


def on_prediction(stack: Stack, job_id: str) -> dict[str, Any]:
    """The job's prediction as soon as the provider has one."""
    return eventually(lambda: next(iter(stack.sandbox.predictions(job_id)), None))


def ended(stack: Stack, job_id: str) -> Job:
    """The job when its prediction and its files are done with; it may fail."""
    return stack.wait(job_id, seconds=LONGEST_SECONDS)


def settle(stack: Stack, job_ids: Iterable[str], *, may_be_forgotten: bool = False) -> dict[str, Job]:
    """Sweeps, as the schedule does once a minute, until every job is over; returns those that are known. Fails with the
    stories of the others after LONGEST_SECONDS."""
    deadline = time.monotonic() + LONGEST_SECONDS
    waiting, done, next_sweep = list(job_ids), dict[str, Job](), 0.0
    while waiting:
        if time.monotonic() > next_sweep:
            with suppress(BotoCoreError, ClientError):  # the emulator may be away, or its Lambda killed
                stack.sweep()
            next_sweep = time.monotonic() + SWEEP_EVERY_SECONDS
        for job_id in list(waiting):
            with suppress(httpx.TransportError):
                answer = stack.api("GET", f"/cloud/jobs/{job_id}")
                if answer.status == 404 and may_be_forgotten:
                    waiting.remove(job_id)
                elif answer.status == 200 and answer.json["job"]["status"] in OVER:
                    done[job_id] = answer.json["job"]
                    waiting.remove(job_id)
        if waiting and time.monotonic() > deadline:
            raise AssertionError("these jobs do not end:\n" + "\n".join(map(stack.story, waiting)))
        time.sleep(POLL_SECONDS)
    return done


def check_settled(stack: Stack, jobs: Mapping[str, Job]) -> None:
    """Of jobs that are over: at most one prediction each, none alive, slots free, executions over, and records that
    agree with themselves."""
    for job_id, job in jobs.items():
        assert stack.sandbox.overlap(job_id).get("predictions", 0) <= 1, stack.story(job_id)
        events = [event["type"] for event in stack.events(job_id)]
        ends = [event for event in events if event in {"job.completed", "job.failed", "job.cancelled"}]
        assert ends == [f"job.{job['status']}"], stack.story(job_id)
        assert events.count("job.submitted") == 1, events
        if job["status"] == "completed":
            assert job["delivery"]["verified_files"] == job["delivery"]["files"] > 0, stack.story(job_id)
        else:
            assert job["failure"]["message"], stack.story(job_id)
            assert job["failure"]["advice"], stack.story(job_id)
    assert alive(stack, jobs) == []
    assert slots(stack) & jobs.keys() == set()
    eventually(lambda: not running_executions(stack, jobs), seconds=40)


def alive(stack: Stack, job_ids: Iterable[str]) -> list[str]:
    """Which of these jobs have a prediction that is not over."""
    wanted = set(job_ids)
    return [
        p["job"]
        for p in stack.sandbox.predictions()
        if p["job"] in wanted and p["status"] in {"starting", "processing"}
    ]


def slots(stack: Stack) -> set[str]:
    """The jobs that hold a concurrency slot."""
    pages = stack.client("dynamodb").get_paginator("scan").paginate(TableName=stack.facts["jobs_table"])
    items = [item for page in pages for item in page["Items"] if item["sk"]["S"] == "slots"]
    assert items, "where slots are kept has changed"
    return {job_id for item in items for job_id in item.get("holders", {"SS": []})["SS"]}


def running_executions(stack: Stack, job_ids: Iterable[str]) -> list[str]:
    listed = stack.client("stepfunctions").list_executions(
        stateMachineArn=stack.facts["state_machine_arn"], statusFilter="RUNNING"
    )
    wanted = set(job_ids)
    return [e["name"] for e in listed["executions"] if e["name"].rpartition("-")[0] in wanted]
