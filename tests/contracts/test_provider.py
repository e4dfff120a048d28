"""What every GPU provider promises, run against the fake in virtual time and Replicate's adapter over the sandbox."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from chalicelib.domain.failures import ProviderFault
from chalicelib.domain.ports import Provider
from chalicelib.domain.predictions import LaunchRequest, Prediction, PredictionStatus
from chalicelib.providers.access import ProviderAccess
from chalicelib.providers.replicate import ReplicateProvider
from local.sandbox.process import Result
from tests.fakes.clock import FakeClock
from tests.fakes.provider import LOST, REFUSED, FakeProvider, Life
from tests.functional.sandbox_server import TOKEN, Sandbox, ScriptedLauncher, eventually, running_sandbox


class Rig(Protocol):
    """A provider and the means to make its predictions go one way or the other."""

    @property
    def provider(self) -> Provider: ...

    def will_end(self, error: str | None = None) -> None:
        """Trainings created from now on succeed, or fail with ``error``."""

    def will_run_on(self) -> None:
        """Trainings created from now on never end by themselves."""

    def refuse_next_create(self) -> None:
        """The next create is refused for certain."""

    def lose_next_answer(self) -> None:
        """The next create happens, and its answer is lost."""

    def pass_time(self) -> None:
        """A moment, so that what follows is later."""

    def until(self, prediction_id: str, status: PredictionStatus) -> Prediction: ...


@dataclass
class FakeRig:
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.provider = FakeProvider(self.clock)

    def will_end(self, error: str | None = None) -> None:
        end = PredictionStatus.FAILED if error else PredictionStatus.SUCCEEDED
        self.provider.default_life = Life(start=1, run=5, end=end, error=error)

    def will_run_on(self) -> None:
        self.provider.default_life = Life(start=1, run=10**9)

    def refuse_next_create(self) -> None:
        self.provider.faults["create"] = [REFUSED]

    def lose_next_answer(self) -> None:
        self.provider.lost_answers = 1
        assert LOST.sent

    def pass_time(self) -> None:
        self.clock.advance(0.01)

    def until(self, prediction_id: str, status: PredictionStatus) -> Prediction:
        for _ in range(60):
            found = self.provider.get(prediction_id)
            assert found is not None
            if found.status is status:
                return found
            self.clock.advance(1)
        raise AssertionError(f"it never was {status}")


@dataclass
class SandboxRig:
    sandbox: Sandbox
    launcher: ScriptedLauncher

    def __post_init__(self) -> None:
        self.provider = ReplicateProvider.connect(ProviderAccess(token=TOKEN, base_url=self.sandbox.origin))

    def will_end(self, error: str | None = None) -> None:
        self.launcher.result = Result(error=error) if error else Result(output="Training complete")

    def will_run_on(self) -> None:
        self.launcher.result = None

    def refuse_next_create(self) -> None:
        self._next_create({"fault": "api_429", "when": "before"})

    def lose_next_answer(self) -> None:
        self._next_create({"fault": "api_close", "when": "after"})

    def _next_create(self, fault: dict[str, object]) -> None:
        self.sandbox.plan(fault | {"times": 1, "match": {"method": "POST", "path": "^/v1/predictions$"}})

    def pass_time(self) -> None:
        time.sleep(0.005)  # the sandbox's clock is the real one

    def until(self, prediction_id: str, status: PredictionStatus) -> Prediction:
        def look() -> Prediction | None:
            found = self.provider.get(prediction_id)
            return found if found is not None and found.status is status else None

        return eventually(look)


@contextmanager
def _sandbox_rig(data_dir: Path) -> Iterator[SandboxRig]:
    launcher = ScriptedLauncher()
    with running_sandbox(data_dir, launcher=launcher) as sandbox:
        yield SandboxRig(sandbox, launcher)


@pytest.fixture(params=["fake", "replicate"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "fake":
        yield FakeRig()
        return
    with _sandbox_rig(tmp_path) as real:
        yield real


def launch(rig: Rig, tag: str = "job_1", max_run_seconds: int = 600) -> LaunchRequest:
    return LaunchRequest(
        tag=tag,
        profile=rig.provider.profiles["h100"],
        inputs={"config_json": '{"model_family": "flux"}', "max_train_steps": 5},
        webhook_url=f"http://127.0.0.1:1/api/webhooks/replicate?job={tag}",
        max_run_seconds=max_run_seconds,
    )


def every(rig: Rig) -> list[Prediction]:
    found: list[Prediction] = []
    cursor: str | None = None
    for _ in range(20):
        page = rig.provider.list(cursor=cursor)
        found += page.predictions
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError("the list has no end")


def test_the_account_has_a_name(rig: Rig) -> None:
    assert rig.provider.validate().username


def test_profiles_have_prices(rig: Rig) -> None:
    assert {"h100", "l40s"} <= set(rig.provider.profiles)
    for profile_id, profile in rig.provider.profiles.items():
        assert profile.id == profile_id
        assert profile.price_per_second > 0


def test_a_new_prediction(rig: Rig) -> None:
    rig.will_run_on()
    made = rig.provider.create(launch(rig))
    assert made.status in {PredictionStatus.STARTING, PredictionStatus.PROCESSING}
    assert made.tags == {"job_1"}
    assert made.created_at is not None
    assert made.deadline == made.created_at + timedelta(seconds=600)
    assert made.completed_at is made.run_seconds is made.error is None
    again = rig.provider.get(made.id)
    assert again is not None
    assert (again.id, again.created_at, again.tags) == (made.id, made.created_at, made.tags)


def test_a_success(rig: Rig) -> None:
    rig.will_end()
    done = rig.until(rig.provider.create(launch(rig)).id, PredictionStatus.SUCCEEDED)
    assert done.output == "Training complete"
    assert done.error is None
    assert done.logs is not None
    assert done.started_at is not None
    assert done.completed_at is not None
    assert done.run_seconds == pytest.approx((done.completed_at - done.started_at).total_seconds(), abs=0.01)


def test_a_failure(rig: Rig) -> None:
    rig.will_end(error="CUDA out of memory")
    done = rig.until(rig.provider.create(launch(rig)).id, PredictionStatus.FAILED)
    assert done.error == "CUDA out of memory"
    assert done.output is None
    assert done.run_seconds is not None


def test_cancelling_is_final_and_can_be_repeated(rig: Rig) -> None:
    rig.will_run_on()
    made = rig.provider.create(launch(rig))
    rig.until(made.id, PredictionStatus.PROCESSING)
    rig.provider.cancel(made.id)
    done = rig.until(made.id, PredictionStatus.CANCELED)
    again = rig.provider.cancel(made.id)
    assert again is not None
    assert (again.status, again.completed_at) == (PredictionStatus.CANCELED, done.completed_at)


def test_cancelling_what_is_over_changes_nothing(rig: Rig) -> None:
    rig.will_end()
    made = rig.provider.create(launch(rig))
    rig.until(made.id, PredictionStatus.SUCCEEDED)
    after = rig.provider.cancel(made.id)
    assert after is not None
    assert after.status is PredictionStatus.SUCCEEDED


def test_what_does_not_exist(rig: Rig) -> None:
    assert rig.provider.get("nothing") is None
    assert rig.provider.cancel("nothing") is None


def test_a_refused_create_makes_nothing(rig: Rig) -> None:
    rig.refuse_next_create()
    with pytest.raises(ProviderFault) as caught:
        rig.provider.create(launch(rig))
    assert caught.value.sent is False
    assert every(rig) == []
    assert rig.provider.create(launch(rig)).tags == {"job_1"}


def test_a_lost_answer_can_be_found_by_its_tag(rig: Rig) -> None:
    rig.will_run_on()
    rig.lose_next_answer()
    with pytest.raises(ProviderFault) as caught:
        rig.provider.create(launch(rig, "job_9"))
    assert caught.value.sent is True
    (found,) = every(rig)
    assert found.tags == {"job_9"}
    assert not found.status.is_over


def test_a_list_is_newest_first_and_complete(rig: Rig) -> None:
    rig.will_run_on()
    made = []
    for number in range(105):
        made.append(rig.provider.create(launch(rig, f"job_{number}")).id)
        rig.pass_time()
    first = rig.provider.list()
    assert len(first.predictions) == 100
    assert first.cursor is not None
    assert first.unreadable == 0
    found = every(rig)
    assert [p.id for p in found] == made[::-1]
    assert found[0].tags == {"job_104"}


def test_a_list_can_begin_at_a_moment(rig: Rig) -> None:
    rig.will_run_on()
    rig.provider.create(launch(rig, "early"))
    rig.pass_time()
    late = rig.provider.create(launch(rig, "late"))
    assert late.created_at is not None
    page = rig.provider.list(created_after=late.created_at - timedelta(microseconds=100))
    assert [p.id for p in page.predictions] == [late.id]
    assert page.cursor is None
    assert rig.provider.list(created_after=late.created_at + timedelta(hours=1)).predictions == ()


def test_the_webhook_secret_stays(rig: Rig) -> None:
    secret = rig.provider.webhook_secret()
    assert secret.startswith("whsec_")
    assert rig.provider.webhook_secret() == rig.provider.webhook_secret(refresh=True) == secret
