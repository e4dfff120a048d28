"""``python -m benchmarks.run``: measures a local stack of its own, or with ``--url`` one that is up; prints a table."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.fill import fill
from benchmarks.measures import Line, at_once, milliseconds, run, summary
from tests.support.stack import Stack, running_stack
from tests.support.trainings import pictures, submission

DATASET = "benchmark"
CLIENTS = 16
#: A job submitted here holds a slot until the stack goes; a stack of our own has room for all of them.
SLOTS = 1000


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--url", help="a local stack that is up; only what changes nothing for good is measured then")
    parser.add_argument("--jobs", type=int, default=10_000, help="in the long list")
    parser.add_argument("--files", type=int, default=5_000, help="of the dataset that is pushed")
    parser.add_argument("--calls", type=int, default=100, help="of each route")
    args = parser.parse_args(argv)
    if min(args.jobs, args.files, args.calls) < 1:
        parser.error("--jobs, --files and --calls must be 1 or more")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f}, Python {platform.python_version()}")
    if args.url:
        lines = of_a_url(args.url.rstrip("/"), calls=args.calls, files=args.files)
    else:
        lines = of_own_stack(jobs=args.jobs, calls=args.calls, files=args.files)
    for line in lines:
        print(f"{line.what:<56}{line.figure}", flush=True)
    return 0


def of_a_url(url: str, *, calls: int, files: int) -> Iterator[Line]:
    """Reads, and pushes a dataset, which it deletes again. Submits nothing: that may cost money."""
    with httpx.Client(base_url=f"{url}/api", timeout=60, trust_env=False) as http:
        if token := os.environ.get("STCLOUD_TOKEN"):
            http.headers["Authorization"] = f"Bearer {token}"
        yield from _reads(http, calls)
        yield from _push(url, files)
        _must(http.delete(f"/cloud/datasets/{DATASET}-files"))


def of_own_stack(*, jobs: int, calls: int, files: int) -> Iterator[Line]:
    with _own_stack() as stack, httpx.Client(base_url=f"{stack.url}/api", timeout=60, trust_env=False) as http:
        stack.push(DATASET, pictures())
        yield from _one_job(stack)
        yield from _reads(http, calls)
        yield from _submits(stack, calls)
        fill(stack.client("dynamodb"), stack.facts["jobs_table"], jobs)
        yield _latency(f"GET /cloud/jobs?limit=50, {jobs:,} jobs", lambda: http.get("/cloud/jobs?limit=50"), calls)
        yield from _push(stack.url, files)


@contextmanager
def _own_stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="stcloud-benchmark-") as folder, running_stack(Path(folder)) as stack:
        functions, name = stack.client("lambda"), f"stcloud-{stack.facts['stage']}-api-handler"
        variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        functions.update_function_configuration(
            FunctionName=name, Environment={"Variables": variables | {"STC_MAX_CONCURRENT_JOBS": str(SLOTS)}}
        )
        yield stack


def _one_job(stack: Stack) -> Iterator[Line]:
    job = stack.wait(stack.submit(DATASET, steps=20)["job_id"])
    arn = stack.execution(job["job_id"], job["attempt"])
    pages = stack.client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=arn)
    history = [event["type"] for page in pages for event in page["events"]]
    entered = sum(kind.endswith("StateEntered") for kind in history)
    yield Line("One job: state transitions", f"{entered}  (history events: {len(history)})")
    yield Line("One job: lines of its timeline", str(len(stack.events(job["job_id"]))))


def _reads(http: httpx.Client, calls: int) -> Iterator[Line]:
    yield _latency("GET /cloud/health/live", lambda: http.get("/cloud/health/live"), calls)
    yield _latency("GET /cloud/jobs?limit=50", lambda: http.get("/cloud/jobs?limit=50"), calls)
    listed = _must(http.get("/cloud/jobs?limit=1")).json()["jobs"]
    if listed:
        route = f"/cloud/jobs/{listed[0]['job_id']}"
        yield _latency("GET /cloud/jobs/{job_id}", lambda: http.get(route), calls)


def _submits(stack: Stack, calls: int) -> Iterator[Line]:
    body, path = submission(DATASET), "/api/cloud/jobs/submit?provider=replicate"
    taken = []
    for _ in range(min(calls, 10)):
        began = time.perf_counter()
        job = _must(stack.http.post(path, json=body)).json()["job"]
        taken.append(1000 * (time.perf_counter() - began))
        stack.wait(job["job_id"], seconds=600)  # its workflow and training would slow down the next submit
    yield Line("POST /cloud/jobs/submit, nothing else running", summary(taken))
    rate = at_once(lambda _: _must(stack.http.post(path, json=body)), times=4 * CLIENTS, clients=CLIENTS)
    yield Line(f"POST /cloud/jobs/submit, {CLIENTS} clients", f"{rate:.0f} a second")
    for job in stack.ok("GET", "/cloud/jobs?limit=100")["jobs"]:
        stack.wait(job["job_id"], seconds=600)


def _push(url: str, files: int) -> Iterator[Line]:
    few = pictures(50)
    with tempfile.TemporaryDirectory(prefix="stcloud-benchmark-files-") as folder:
        names = sorted(name for name in few if name.endswith(".png"))
        for n in range(files // 2 + files % 2):
            # A few bytes behind the picture's end make each file another one.
            Path(folder, f"p{n:05d}.png").write_bytes(few[names[n % len(names)]] + n.to_bytes(4))
        for n in range(files // 2):
            Path(folder, f"p{n:05d}.txt").write_text(f"picture number {n}", encoding="utf-8")
        stcloud = Path(sys.executable).with_name("stcloud")
        command = [str(stcloud), "datasets", "push", folder, "--id", f"{DATASET}-files", "--yes", "--quiet"]
        environment = {**os.environ, "STCLOUD_URL": url}
        for what in ("first", "again, nothing new"):
            done = run(command, environment)
            rate, megabytes = files / done.seconds, done.peak_bytes / 1e6
            yield Line(
                f"stcloud datasets push, {files:,} files, {what}",
                f"{done.seconds:.1f} s, {rate:.0f} files a second, {megabytes:.0f} MB at most",
            )


def _latency(what: str, call: Callable[[], httpx.Response], calls: int) -> Line:
    return Line(what, summary(milliseconds(lambda: _must(call()), times=calls)))


def _must(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise RuntimeError(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:500]}")
    return answer


if __name__ == "__main__":
    sys.exit(main())
