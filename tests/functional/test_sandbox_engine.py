"""The sandbox's engine in virtual time: queue, deadlines, endings, retention, recovery, overlaps."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.sandbox.contract import REDACTED, resolve_version
from local.sandbox.engine import Engine, EngineOptions
from local.sandbox.predictions import INTERRUPTED, Prediction, Status
from local.sandbox.process import Result, Run
from local.sandbox.store import Store
from local.sandbox.webhooks import Message
from tests.functional.sandbox_server import MODEL, ScriptedLauncher, plan

DONE = Result(output="Training complete. Output: output/x")


@dataclass
class World:
    root: Path
    launcher: ScriptedLauncher = field(default_factory=ScriptedLauncher)
    now: datetime = datetime(2026, 11, 24, 12, tzinfo=UTC)
    sent: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = self.start()

    def start(self, **options: Any) -> Engine:
        """A server's engine over the same files, as after a restart."""
        return Engine(
            store=Store(self.root),
            launcher=self.launcher,
            clock=lambda: self.now,
            options=EngineOptions("http://sandbox", **options),
            send=self.sent.append,
        )

    def create(self, job: str = "job_1", **changes: Any) -> Prediction:
        arguments: dict[str, Any] = {
            "machine": resolve_version(MODEL),
            "given": {"hf_token": "hf_secret", "max_train_steps": 5},
            "webhook": f"http://hook/?job={job}",
            "events": ["start", "output", "logs", "completed"],
            "cancel_after": None,
        }
        return self.engine.create(**arguments | changes)

    def tick(self, seconds: float = 1) -> None:
        self.now += timedelta(seconds=seconds)
        self.engine.tick()

    @property
    def events(self) -> list[str]:
        return [m.event for m in self.sent]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "sandbox")


def test_a_life(world: World) -> None:
    p = world.create()
    assert p.status is Status.STARTING
    world.tick()
    assert p.status is Status.PROCESSING
    world.tick(10)
    world.launcher.runs[p.id].result = DONE
    world.tick(10)
    shown = world.engine.public(p)
    assert (shown["status"], shown["output"], shown["error"]) == ("succeeded", DONE.output, None)
    assert shown["metrics"] == {"total_time": 21.0, "predict_time": 20.0}
    assert world.events == ["start", "output", "completed"]


def test_the_trainer_gets_the_secrets_and_nobody_else_does(world: World) -> None:
    p = world.create()
    world.tick()
    assert world.launcher.inputs[p.id]["hf_token"] == "hf_secret"
    assert p.input["hf_token"] == REDACTED
    assert b"hf_secret" not in b"".join(path.read_bytes() for path in world.root.rglob("*") if path.is_file())


def test_only_a_few_run_at_once_and_in_order(world: World) -> None:
    first, second, third = (world.create() for _ in range(3))
    world.tick()
    assert [p.status for p in (first, second, third)] == [Status.PROCESSING, Status.PROCESSING, Status.STARTING]
    world.launcher.runs[first.id].result = DONE
    world.tick()
    world.tick()
    assert third.status is Status.PROCESSING


def test_a_deadline_in_the_queue_aborts_and_while_running_cancels(world: World) -> None:
    running = [world.create(cancel_after=timedelta(seconds=30)) for _ in range(2)]
    waiting = world.create(cancel_after=timedelta(seconds=30))
    world.tick(1)
    world.tick(29)
    assert [p.status for p in running] == [Status.CANCELED, Status.CANCELED]
    assert all(world.launcher.runs[p.id].killed for p in running)
    assert waiting.status is Status.ABORTED
    assert "predict_time" not in waiting.metrics()
    assert waiting.id not in world.launcher.runs


def test_cancelling_kills_and_is_final(world: World) -> None:
    p = world.create()
    world.tick()
    world.engine.cancel(p)
    assert p.status is Status.CANCELED
    assert world.launcher.runs[p.id].killed
    world.launcher.runs[p.id].result = DONE
    world.tick()
    world.engine.cancel(p)
    assert (p.status, world.events.count("completed")) == (Status.CANCELED, 1)


def test_cancelling_before_the_start(world: World) -> None:
    p = world.create()
    world.engine.cancel(p)
    world.tick()
    assert p.status is Status.CANCELED
    assert world.launcher.runs == {}


def test_a_trainer_that_does_not_start(world: World) -> None:
    world.launcher.error = OSError("no memory")
    p = world.create()
    world.tick()
    assert (p.status, p.error) == (Status.FAILED, "Prediction failed: the trainer did not start: no memory")


def test_one_that_cant_be_moved_does_not_hold_up_the_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    odd, good = world.create(), world.create()
    start = world.launcher.start

    def refuse_the_odd(prediction: Prediction) -> Run:
        if prediction.id == odd.id:
            raise RuntimeError("a bug")
        return start(prediction)

    world.launcher.start = refuse_the_odd  # type: ignore[method-assign]
    world.tick()
    assert (odd.status, good.status) == (Status.STARTING, Status.PROCESSING)
    assert odd.id in caplog.text


@pytest.mark.parametrize(
    ("rule", "status", "error"),
    [
        ({"fault": "abort"}, Status.ABORTED, None),
        ({"fault": "timeout", "seconds": 3}, Status.FAILED, "Prediction timed out"),
    ],
)
def test_faults_of_the_provider(world: World, rule: dict[str, Any], status: Status, error: str | None) -> None:
    world.engine.plan = plan(rule)
    p = world.create()
    for _ in range(6):
        world.tick()
    assert (p.status, p.error) == (status, error)


def test_a_slow_start(world: World) -> None:
    world.engine.plan = plan({"fault": "slow_start", "seconds": 10})
    p = world.create()
    world.tick(9)
    assert p.status is Status.STARTING
    world.tick(1)
    assert p.status is Status.PROCESSING


def test_log_events_come_at_most_twice_a_second_and_only_when_there_is_more(world: World) -> None:
    p = world.create()
    world.tick()
    log = world.engine.store.log_path(p.id)
    for _ in range(30):
        with log.open("a") as handle:
            handle.write("a line\n")
        world.tick(0.1)
    assert 5 <= world.events.count("logs") <= 6
    for _ in range(20):
        world.tick(0.1)
    assert world.events.count("logs") <= 7


def test_only_events_asked_for_are_sent(world: World) -> None:
    p = world.create(events=["start"])
    world.tick()
    world.launcher.runs[p.id].result = DONE
    world.tick()
    assert world.events == ["start"]
    assert p.terminal_webhook == "none"


def test_the_default_events(world: World) -> None:
    p = world.create(events=None)
    world.tick()
    world.launcher.runs[p.id].result = DONE
    world.tick()
    assert world.events == ["output", "completed"]


def test_data_is_removed_after_the_retention(world: World) -> None:
    p = world.create()
    world.tick()
    world.engine.store.log_path(p.id).write_text("a log")
    world.launcher.runs[p.id].result = DONE
    world.tick()
    assert world.engine.public(p)["logs"] == "a log"
    world.tick(3599)
    assert not p.data_removed
    world.tick(1)
    shown = world.engine.public(p)
    assert (shown["data_removed"], shown["input"], shown["output"]) == (True, {}, None)
    assert "logs" not in shown
    assert shown["metrics"]["predict_time"] == 1.0
    assert not list((world.root / "logs").iterdir())


def test_after_a_crash_running_ones_have_failed_and_waiting_ones_wait(world: World) -> None:
    running, other, waiting = (world.create() for _ in range(3))
    world.tick()
    again = world.start()
    world.sent.clear()
    assert again.recover() == []
    found = {p.id: p for p in again.all()}
    for p in (running, other):
        assert (found[p.id].status, found[p.id].error) == (Status.FAILED, INTERRUPTED)
    assert found[waiting.id].status is Status.STARTING
    assert world.events == ["completed", "completed"]
    again.tick()
    assert world.launcher.inputs[waiting.id]["hf_token"] == "hf_secret"
    assert again.next_ordinal == 4


@pytest.mark.parametrize("stopped", [True, False])
def test_the_time_a_server_was_down_is_nobodys_run_time(world: World, stopped: bool) -> None:
    p = world.create()
    for _ in range(61):
        world.tick()
    if stopped:
        world.now += timedelta(seconds=0.5)
        world.engine.stop()
    world.now += timedelta(hours=9)
    again = world.start()
    again.recover()
    (found,) = again.all()
    assert found.metrics()["predict_time"] == (60.5 if stopped else 60.0)
    assert found.completed_at == p.created_at + timedelta(seconds=61.5 if stopped else 61.0)
    again.tick()
    assert not found.data_removed, "nobody could fetch it meanwhile"
    world.now += timedelta(hours=1)
    again.tick()
    assert found.data_removed


@pytest.mark.parametrize("left", [None, "", "soon", "2020-01-01T00:00:00.000000Z", "2030-01-01T00:00:00.000000Z"])
def test_without_a_useful_sign_of_life_a_run_ends_between_its_start_and_now(world: World, left: str | None) -> None:
    world.create()
    world.tick()
    heartbeat = world.root / "heartbeat"
    heartbeat.unlink()
    if left is not None:
        heartbeat.write_text(left)
    world.now += timedelta(minutes=5)
    again = world.start()
    again.recover()
    assert again.all()[0].metrics()["predict_time"] == (300.0 if left and left.startswith("2030") else 0.0)


def test_signs_of_life_are_left_once_a_second_and_only_by_what_runs(world: World) -> None:
    heartbeat = world.root / "heartbeat"
    world.tick()
    assert not heartbeat.exists()
    world.create()
    signs = set()
    for _ in range(40):
        world.tick(0.1)
        signs.add(heartbeat.read_text())
    assert 4 <= len(signs) <= 5


def test_a_disk_that_takes_no_sign_of_life_does_not_stop_anything(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    (world.root / "heartbeat").mkdir()
    p = world.create()
    world.tick()
    assert "No sign of life" in caplog.text
    world.launcher.runs[p.id].result = DONE
    world.tick()
    assert p.status is Status.SUCCEEDED


def test_a_terminal_webhook_nobody_got_is_sent_again_with_its_id(world: World) -> None:
    p = world.create()
    world.engine.cancel(p)
    (first,) = world.sent
    again = world.start()
    again.recover()
    assert [m.id for m in world.sent] == [first.id, first.id]
    again.outcome(world.sent[-1], "sent")
    world.start().recover()
    assert len(world.sent) == 2


def test_an_unreadable_record_is_left_alone(world: World) -> None:
    world.create()
    (world.root / "predictions" / "odd.json").write_text("{")
    again = world.start()
    assert again.recover() == ["odd.json"]
    assert len(again.all()) == 1
    assert (world.root / "predictions" / "odd.json").exists()


def test_overlaps_are_counted_by_job(world: World) -> None:
    first = world.create("job_1")
    world.tick()
    world.engine.cancel(first)
    world.tick()
    world.create("job_1")
    world.create("job_2")
    world.create("job_2")
    assert world.engine.overlap() == {
        "job_1": {"predictions": 2, "max_alive": 1, "max_running": 1},
        "job_2": {"predictions": 2, "max_alive": 2, "max_running": 0},
    }


def test_pages(world: World) -> None:
    for _ in range(205):
        world.create()
        world.now += timedelta(seconds=1)

    def page(below: int | None, **bounds: Any) -> tuple[list[int], int | None]:
        found, following = world.engine.page(
            below=below, created_after=bounds.get("after"), created_before=bounds.get("before")
        )
        return [p.ordinal for p in found], following

    ordinals, below = page(None)
    assert (ordinals, below) == (list(range(205, 105, -1)), 106)
    assert page(below)[0][0] == 105
    assert page(page(below)[1]) == ([5, 4, 3, 2, 1], None)
    late = world.now - timedelta(seconds=3)
    assert page(None, after=late) == ([205, 204, 203], None)
    assert len(page(None, before=late)[0]) == 100


def test_stopping_leaves_the_record_for_the_recovery(world: World) -> None:
    p = world.create()
    world.tick()
    world.engine.stop()
    assert world.launcher.runs[p.id].killed
    record = json.loads((world.root / "predictions" / f"{p.id}.json").read_text())
    assert record["status"] == "processing"


def test_files_are_readable_by_their_user_only(world: World) -> None:
    p = world.create()
    world.engine.store.log_path(p.id)
    world.engine.store.webhook_secret()
    assert all(path.stat().st_mode & 0o077 == 0 for path in world.root.rglob("*"))
