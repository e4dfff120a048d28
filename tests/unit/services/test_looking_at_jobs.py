"""Reading, observing, webhooks and health when the world changes between two steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.domain.jobs import JobStatus
from chalicelib.domain.lifecycle import JobGoneError
from chalicelib.domain.ports import Limits
from chalicelib.domain.webhook_signing import sign
from chalicelib.errors import AuthenticationError, Conflict, Unavailable
from chalicelib.schemas.jobs import ListJobsQuery
from chalicelib.services.conclusion import ConclusionService
from chalicelib.services.jobs import JobsService
from chalicelib.services.observation import UNREACHABLE_AFTER, ObservationService
from chalicelib.services.system import SystemService
from chalicelib.services.webhooks import WebhookService
from tests.fakes.provider import LOST, REFUSED, Life
from tests.fakes.world import ME, World
from tests.unit.services.between import Between

SHA = "a" * 64


@pytest.fixture
def world() -> World:
    world = World()
    world.push(source="/data/photos")
    return world


def training(world: World, seconds: float = 60) -> str:
    world.provider.default_life = Life(start=0, run=3600)
    job_id = world.submit().job.job_id
    world.run(seconds)
    return job_id


# --- reading jobs ---------------------------------------------------------------------------------------------
def service(world: World, **ports: Any) -> JobsService:
    changed = replace(world.ports, **ports)
    return JobsService(changed, ObservationService(changed), ConclusionService(changed))


def test_a_log_that_is_replaced_while_it_is_read_is_read_again(world: World) -> None:
    job_id = training(world)
    jobs = world.services.jobs
    jobs.progress(ME, job_id)

    def somebody_looks() -> None:
        world.clock.advance(600)
        ObservationService(world.ports).observe(job_id)

    before = world.job(job_id).log_bytes
    racing = service(world, outputs=Between(world.outputs, "get", somebody_looks))
    part = racing.logs(ME, job_id, offset=None, limit=1000)
    assert "Steps:" in part.text
    assert part.size == world.job(job_id).log_bytes > before


@pytest.mark.parametrize("shift", range(3))
def test_only_the_end_of_a_long_log_is_shown_and_no_character_is_cut(world: World, shift: int) -> None:
    world.provider.default_life = Life(start=0, run=100, log_tail="⏳" * 400_000 + "x" * shift)
    job_id = world.submit().job.job_id
    world.run(300)
    part = world.services.jobs.logs(ME, job_id, offset=None, limit=1000)
    assert part.truncated
    assert (part.offset > 0, part.next_offset) == (True, part.size)
    assert "\ufffd" not in part.text


def test_a_job_deleted_while_it_is_looked_at_is_shown_as_it_was(world: World) -> None:
    job_id = training(world)
    world.clock.advance(60)
    gone = lambda: world.jobs.delete(world.job(job_id))  # noqa: E731
    assert service(world, providers=_provider(world, "get", gone)).progress(ME, job_id).job_id == job_id


def test_a_read_that_sees_the_end_wakes_the_workflow(world: World) -> None:
    world.provider.default_life = Life(start=0, run=400)
    job_id = world.submit().job.job_id
    world.run(320)
    world.clock.advance(100)
    (execution,) = world.machine.running()
    assert execution.token is not None
    world.services.jobs.list(ME, ListJobsQuery(sync_active=True))
    assert execution.token is None
    world.settle()
    assert world.job(job_id).status is JobStatus.COMPLETED


def test_sync_asks_about_ten_jobs_at_most() -> None:
    world = World(limits=Limits(max_concurrent_jobs=15))
    world.push(source="/data/photos")
    for _ in range(12):
        training(world, 0)
    world.settle()
    world.clock.advance(10)
    world.provider.calls.clear()
    world.services.jobs.list(ME, ListJobsQuery(sync_active=True))
    assert world.provider.calls.count("get") == 10


def test_outputs_without_their_manifest_are_listed_unverified(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(300)
    key = world.job(job_id).delivery.manifest_key
    assert key is not None
    world.outputs.delete([key])
    outputs = world.services.jobs.outputs(ME, job_id)
    assert outputs.manifest_url is None
    assert len(outputs.files) == 2
    assert all(file.sha256 is None for file, _ in outputs.files)


def test_a_job_that_changes_while_it_is_deleted_stays(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(300)
    touch = lambda: world.jobs.save(world.job(job_id).annotated(now=world.clock.now()))  # noqa: E731
    with pytest.raises(Conflict):
        service(world, jobs=Between(world.jobs, "delete", touch)).delete(ME, job_id)
    assert world.job(job_id).status is JobStatus.COMPLETED


# --- observing ------------------------------------------------------------------------------------------------
def test_looking_at_a_job_that_is_gone_or_has_no_provider(world: World) -> None:
    job_id = training(world)
    with pytest.raises(JobGoneError):
        ObservationService(world.ports).observe("nosuch")
    with pytest.raises(Unavailable):
        ObservationService(replace(world.ports, providers=lambda _: None)).observe(job_id)


@pytest.mark.parametrize("answer", ["news", "fault", "none"])
def test_an_answer_that_comes_after_the_end_changes_nothing(world: World, answer: str) -> None:
    job_id = training(world)
    world.clock.advance(60)

    def ends() -> None:
        world.services.jobs.cancel(ME, job_id)
        if answer == "fault":
            raise REFUSED
        if answer == "none":
            world.provider.records.clear()

    late = ObservationService(replace(world.ports, providers=_provider(world, "get", ends)))
    assert late.observe(job_id).status is JobStatus.CANCELLED
    assert world.job(job_id).status is JobStatus.CANCELLED


def test_a_provider_that_stays_silent_for_a_day_behind_the_deadline_ends_the_job(world: World) -> None:
    job_id = training(world)
    deadline = world.job(job_id).deadline
    assert deadline is not None
    world.clock.advance_to(deadline + UNREACHABLE_AFTER)
    world.provider.faults["get"] = [LOST]
    assert ObservationService(world.ports).observe(job_id).failure is None
    world.clock.advance(1)
    world.provider.faults["get"] = [LOST]
    failure = ObservationService(world.ports).observe(job_id).failure
    assert failure is not None
    assert failure.code == "provider_unreachable"


# --- webhooks and health --------------------------------------------------------------------------------------
def hook(world: World, payload: dict[str, Any], **ports: Any) -> Any:
    body = json.dumps(payload).encode()
    headers = sign(body, webhook_id="m1", at=world.clock.now(), secrets=[world.provider.secret])
    return WebhookService(replace(world.ports, **ports)).receive("replicate", headers, body, payload.get("tag"))


def test_a_secret_that_was_rotated_is_fetched_once_more(world: World) -> None:
    job_id = training(world)
    old = "whsec_b2xkLXNlY3JldC1vbGQtc2VjcmV0"

    class Rotated:
        calls: list[bool] = []  # noqa: RUF012 - one instance

        def webhook_secret(self, *, refresh: bool = False) -> str:
            self.calls.append(refresh)
            return world.provider.secret if refresh else old

    rotated = Rotated()
    received = hook(world, {"tag": job_id, "status": "processing"}, providers=lambda _: rotated)
    assert (received.status, rotated.calls) == ("received", [False, True])


def test_a_signature_that_fits_no_secret_asks_once_and_is_refused(world: World) -> None:
    forged = sign(b"{}", webhook_id="m", at=world.clock.now(), secrets=["whsec_Zm9yZ2VkLWZvcmdlZC1mb3JnZWQ="])
    world.provider.calls.clear()
    with pytest.raises(AuthenticationError):
        world.services.webhooks.receive("replicate", forged, b"{}", None)
    assert world.provider.calls == ["webhook_secret", "webhook_secret"]


def test_a_webhook_about_another_prediction_or_a_finished_job_is_ignored(world: World) -> None:
    job_id = training(world)
    assert hook(world, {"tag": job_id, "id": "other", "status": "succeeded"}).reason == "not this job's prediction"
    world.services.jobs.cancel(ME, job_id)
    world.clock.advance(3600)
    assert hook(world, {"tag": job_id, "status": "canceled"}).reason == "the job is over"


def test_a_webhook_for_a_job_deleted_at_this_moment_is_ignored(world: World) -> None:
    job_id = training(world)
    gone = lambda: world.jobs.delete(world.job(job_id))  # noqa: E731
    received = hook(world, {"tag": job_id, "status": "x"}, jobs=Between(world.jobs, "get", gone, after=True))
    assert (received.status, received.reason) == ("ignored", "unknown job")


def test_a_webhook_that_could_not_be_handled_counts_when_it_comes_again(world: World) -> None:
    job_id = training(world)
    payload = {"tag": job_id, "status": "processing-more"}

    def breaks() -> None:
        raise ConnectionError("database")

    with pytest.raises(ConnectionError):
        hook(world, payload, jobs=Between(world.jobs, "get", breaks))
    assert hook(world, payload).status == "received"


def test_health_shows_what_a_part_says_about_itself(world: World) -> None:
    class NoUrl:
        def public_url(self) -> str:
            raise Unavailable("The public URL is not set: run the deploy program.")

    health = SystemService(replace(world.ports, facts=NoUrl()), {}).health()
    assert health.status == "unhealthy"
    assert {c.name: c.message for c in health.components}["settings"].startswith("The public URL is not set")


def _provider(world: World, call: str, happens: Callable[[], object]) -> Callable[[str], Any]:
    between = Between(world.provider, call, happens)
    return lambda _: between


def test_a_job_that_can_t_be_asked_about_does_not_spoil_the_list(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(30)
    world.clock.advance(60)
    blind = JobsService(
        replace(world.ports, providers=lambda _: None),
        ObservationService(replace(world.ports, providers=lambda _: None)),
        ConclusionService(world.ports),
    )
    page = blind.list(ME, ListJobsQuery(sync_active=True))
    assert [job.job_id for job in page.jobs] == [job_id]
    assert blind.progress(ME, job_id).status is world.job(job_id).status


def test_anybody_may_ask_for_health_and_the_parts_are_asked_every_few_seconds(world: World) -> None:
    sick = False

    class Facts:
        def public_url(self) -> str:
            if sick:
                raise Unavailable("The public URL is not set.")
            asked.append(1)
            return "https://example.com"

    asked: list[int] = []
    system = SystemService(replace(world.ports, facts=Facts()), {})
    assert {system.health().status for _ in range(20)} == {"healthy"}
    assert len(asked) == 1
    sick = True
    world.clock.advance(4)
    assert (system.health().status, system.health().uptime_seconds) == ("healthy", 4)
    world.clock.advance(1)
    assert system.health().status == "unhealthy"
