"""A whole local stack of its own for tests: emulator, deployment, sandbox provider and front door on free ports."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import httpx

from local.stack import record
from local.stack.layout import DATA_VARIABLE, Layout, Ports
from local.stack.ports import is_free
from local.stack.processes import identity, signal_group, tail
from local.stack.supervisor import remove_leftovers
from tests.support.emulator import REGION, aws_client, free_port
from tests.support.trainings import pictures, submission

UP_SECONDS = 180.0
STOP_SECONDS = 90.0
POLL_SECONDS = 0.1
#: Short names of the parts; the record has those shown to people.
PARTS = {"emulator": "AWS emulator", "sandbox": "sandbox provider", "front door": "front door"}
#: How the record's fields with a time are named; the provider's deadline is not ours to move.
_TIMES = ("_at", "_until", "_since")
OVER = frozenset({"completed", "failed", "cancelled"})
Job = dict[str, Any]
_T = TypeVar("_T")


class StackFailed(RuntimeError):
    """The stack did not come up or go down; the message has the end of its log."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Sandbox:
    """The sandbox provider's control routes (local/sandbox/README.md)."""

    http: httpx.Client

    def faults(self, *rules: Mapping[str, Any], seed: int = 0) -> None:
        """Replaces the fault plan; without rules nothing goes wrong any more."""
        answer = self.http.put("/__sandbox__/faults", json={"seed": seed, "rules": list(rules)})
        assert answer.status_code == 200, answer.text

    def struck(self) -> list[int]:
        """How often each rule of the plan struck."""
        return [rule["struck"] for rule in self.http.get("/__sandbox__/faults").json()["rules"]]

    def predictions(self, job_id: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/__sandbox__/predictions").json()["predictions"]
        return [p for p in found if job_id in (None, p["job"])]

    def overlap(self, job_id: str) -> dict[str, int]:
        """Of one job's predictions: how many there were, and how many were alive and running at one moment at most."""
        found: dict[str, dict[str, int]] = self.http.get("/__sandbox__/predictions").json()["jobs"]
        return found.get(job_id, {})

    def requests(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/__sandbox__/requests").json()["requests"]
        return found

    def webhooks(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/__sandbox__/webhooks").json()["webhooks"]
        return found

    def reset(self) -> None:
        """Forgets every prediction. Jobs that run meanwhile will fail: their prediction is gone."""
        self.http.post("/__sandbox__/reset").raise_for_status()


@dataclass
class Stack:
    """A stack with its state in ``folder``. ``start`` and ``stop`` may alternate; what is stored survives."""

    folder: Path
    ports: Ports
    _serving: subprocess.Popen[bytes] | None = None
    _clients: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def layout(self) -> Layout:
        return Layout(data_dir=self.folder)

    @property
    def url(self) -> str:
        """Where users reach it."""
        return self.ports.public_url

    @cached_property
    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    @cached_property
    def sandbox(self) -> Sandbox:
        return Sandbox(httpx.Client(base_url=self.ports.sandbox_url, timeout=10, trust_env=False))

    @property
    def facts(self) -> dict[str, Any]:
        """``stack.json``: names of the tables, buckets and so on."""
        found: dict[str, Any] = json.loads(self.layout.stack_file.read_text(encoding="utf-8"))
        return found

    def client(self, service: str, **credentials: str) -> Any:
        """A boto3 client of the emulator; without ``credentials`` (boto3's names) the root user's, made once."""
        if credentials:
            return aws_client(self.ports.emulator_url, service, {"region_name": REGION} | credentials)
        if service not in self._clients:
            root = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION}
            self._clients[service] = aws_client(self.ports.emulator_url, service, root)
        return self._clients[service]

    # Up and down

    def start(self) -> None:
        """Brings it up and waits until it answers. Raises StackFailed."""
        if not self.layout.python.exists() or not self.layout.emulator_python.exists():
            raise StackFailed("The environments are missing: run `make setup` first.")
        self.layout.prepare()
        self._reap()
        self.layout.record.unlink(missing_ok=True)
        command = [str(self.layout.python), "-m", "local.stack", "serve", "--port", str(self.ports.front_door)]
        with self.layout.log("supervisor").open("ab") as log:
            self._serving = subprocess.Popen(
                [*command, "--parent", str(os.getpid())],
                cwd=self.layout.root,
                env={**os.environ, DATA_VARIABLE: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_ready()

    def wait_ready(self, seconds: float = UP_SECONDS) -> None:
        """Until the supervisor says that the whole stack answers (again). Raises StackFailed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = record.read(self.layout.record)
            if found is not None and found.ready:
                return
            if self._serving is None or self._serving.poll() is not None:
                break
            time.sleep(POLL_SECONDS)
        raise StackFailed(f"The stack did not come up. Its log ends:\n{tail(self.layout.log('supervisor'), 40)}")

    def stop(self) -> None:
        """A clean stop: everything is saved. Raises StackFailed when it takes too long (then it was killed)."""
        serving, self._serving = self._serving, None
        if serving is None:
            return
        serving.send_signal(signal.SIGTERM)
        try:
            serving.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            signal_group(serving.pid, signal.SIGKILL)
            serving.wait(10)
            remove_leftovers(self.layout)
            raise StackFailed(
                f"The stack did not stop. Its log ends:\n{tail(self.layout.log('supervisor'), 40)}"
            ) from None

    def _reap(self) -> None:
        """Of a stack whose supervisor was killed: the process, and what it left running."""
        if self._serving is not None:
            signal_group(self._serving.pid, signal.SIGKILL)
            self._serving.wait(10)
            self._serving = None
        remove_leftovers(self.layout)

    def process(self, name: str) -> int:
        """The pid of ``emulator``, ``sandbox``, ``front door`` or ``supervisor``. LookupError: it is down."""
        found = record.read(self.layout.record)
        if found is None:
            raise LookupError("The stack is down")
        pid, started = (found.pid, found.started) if name == "supervisor" else _member(found, PARTS[name])
        if identity(pid) != started:
            raise LookupError(f"The {name} is down")
        return pid

    def close(self) -> None:
        """Stops it, if it runs, and closes every connection."""
        try:
            if self._serving is not None and self._serving.poll() is None:
                self.stop()
            self._reap()
        finally:
            self.http.close()
            self.sandbox.http.close()
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    # The product, as its users see it

    def api(self, method: str, path: str, **request: Any) -> Answer:
        """One request through the front door; ``path`` is below ``/api`` (``/cloud/jobs``). ``request`` is httpx's."""
        answer = self.http.request(method, f"/api{path}", **request)
        return Answer(answer.status_code, answer.headers, answer.content)

    def ok(self, method: str, path: str, **request: Any) -> Any:
        """The JSON of an answer that must be a success."""
        answer = self.api(method, path, **request)
        assert 200 <= answer.status < 300, (method, path, answer.status, answer.body[:2000])
        return answer.json

    def push(
        self, dataset_id: str, files: Mapping[str, bytes] | None = None, *, source_path: str | None = None
    ) -> dict[str, Any]:
        """Uploads a dataset version as clients do; returns it when it is ready. Default: six small pictures."""
        files = pictures() if files is None else files
        manifest = [
            {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for path, data in sorted(files.items())
        ]
        body = {"dataset_id": dataset_id, "files": manifest, "source_path": source_path}
        version = self.ok("POST", "/cloud/datasets", json=body)
        route = f"/cloud/datasets/{dataset_id}/versions/{version['version_id']}"
        if version["status"] != "ready":
            after = None
            for _ in range(len(files) + 1):
                batch = self.ok("POST", f"{route}/uploads", json={"after": after})
                for upload in batch["uploads"]:
                    stored = self.http.put(upload["url"], content=files[upload["path"]], headers=upload["headers"])
                    assert stored.status_code == 200, stored.text
                after = batch["next"]
                if after is None:
                    break
            version = eventually(
                lambda: done if (done := self.ok("POST", f"{route}/complete"))["status"] == "ready" else None
            )
        return dict(version)

    def inspected(self, version: dict[str, Any]) -> dict[str, Any]:
        """The pushed version once its inspection is over, so that a job over it does not wait for that."""
        route = f"/cloud/datasets/{version['dataset_id']}/versions/{version['version_id']}"

        def over() -> dict[str, Any] | None:
            found: dict[str, Any] = self.ok("GET", route)
            return found if found["inspection"]["status"] in {"done", "failed"} else None

        return eventually(over)

    def submit(self, dataset_id: str, *, steps: int = 6, key: str | None = None, **fields: Any) -> Job:
        """Submits a LoRA training on a pushed dataset. ``fields`` go into the body, over the defaults."""
        headers = {"Idempotency-Key": key} if key else {}
        body = submission(dataset_id, steps=steps) | fields
        job: Job = self.ok("POST", "/cloud/jobs/submit?provider=replicate", json=body, headers=headers)["job"]
        return job

    def job(self, job_id: str) -> Job:
        found: Job = self.ok("GET", f"/cloud/jobs/{job_id}")["job"]
        return found

    def wait(self, job_id: str, until: str | Callable[[Job], bool] | None = None, *, seconds: float = 60.0) -> Job:
        """The job once it has the status, or fulfils the condition, ``until`` (default: it is over). Fails with its
        timeline when it ends otherwise or ``seconds`` pass."""
        wanted = _condition(until)
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(job_id)
            if wanted(job):
                return job
            if job["status"] in OVER or time.monotonic() > deadline:
                raise AssertionError(f"waited in vain for {until or 'the end'}:\n{self.story(job_id)}")
            time.sleep(POLL_SECONDS)

    def events(self, job_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ok("GET", f"/cloud/jobs/{job_id}/events?limit=500")["events"]
        return found

    def story(self, job_id: str) -> str:
        """What happened to a job, for messages of failed tests."""
        job = self.job(job_id)
        lines = [f"  {event['at']} {event['type']}: {event['message']}" for event in self.events(job_id)]
        kept = ("status", "phase", "attempt", "failure", "progress", "metadata", "cancel_requested")
        return "\n".join([json.dumps({key: job[key] for key in kept}), *lines])

    def sweep(self) -> dict[str, Any]:
        """Runs the sweeper now and returns its report."""
        name = f"stcloud-{self.facts['stage']}-sweep"
        answer = self.client("lambda").invoke(FunctionName=name, Payload=b"{}")
        report: dict[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, report
        return report

    def as_if_later(self, job_id: str, seconds: float) -> None:
        """Moves what a job's record says of the past further back, so that waits, leases and graces are over."""
        dynamodb, key = self.client("dynamodb"), {"pk": {"S": f"job#{job_id}"}, "sk": {"S": "record"}}
        for _ in range(20):
            item = dynamodb.get_item(TableName=self.facts["jobs_table"], Key=key, ConsistentRead=True)["Item"]
            document = json.loads(item["document"]["S"])
            for part in (document, document.get("launch") or {}):
                for name in [k for k, v in part.items() if k.endswith(_TIMES) and v is not None]:
                    moment = datetime.fromisoformat(part[name]) - timedelta(seconds=seconds)
                    part[name] = moment.isoformat().replace("+00:00", "Z")
            try:
                dynamodb.update_item(
                    TableName=self.facts["jobs_table"],
                    Key=key,
                    UpdateExpression="SET document = :new",
                    ConditionExpression="document = :old",
                    ExpressionAttributeValues={":new": {"S": json.dumps(document)}, ":old": item["document"]},
                )
            except dynamodb.exceptions.ConditionalCheckFailedException:
                continue  # the product wrote meanwhile
            return
        raise AssertionError(f"the record of {job_id} never came to rest")

    def execution(self, job_id: str, attempt: int = 1) -> str:
        """The ARN of a job's execution."""
        machine: str = self.facts["state_machine_arn"]
        return f"{machine.replace(':stateMachine:', ':execution:')}:{job_id}-{attempt}"


def _member(found: record.Record, name: str) -> tuple[int, str]:
    member = found.children.get(name)
    if member is None:
        raise LookupError(f"The {name} is down")
    return member.pid, member.started


def _condition(until: str | Callable[[Job], bool] | None) -> Callable[[Job], bool]:
    if until is None:
        return lambda job: job["status"] in OVER
    if isinstance(until, str):
        return lambda job: job["status"] == until
    return until


def eventually(look: Callable[[], _T | None], *, seconds: float = 30.0) -> _T:
    """What ``look`` returns once it is neither None nor False. Fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen within {seconds:.0f} seconds")
        time.sleep(POLL_SECONDS)


def free_ports() -> Ports:
    """Three free ports in a row. Raises StackFailed."""
    for _ in range(200):
        first = free_port()
        if first < 65000 and all(is_free(first + offset) for offset in range(3)):
            return Ports(first)
    raise StackFailed("No three free ports in a row were found.")


@contextmanager
def running_stack(folder: Path) -> Iterator[Stack]:
    """A started stack with its state in ``folder``; everything it started is gone afterwards."""
    stack = Stack(folder, free_ports())
    try:
        stack.start()
        yield stack
    finally:
        stack.close()
