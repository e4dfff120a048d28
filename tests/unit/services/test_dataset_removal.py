"""Deleting datasets while jobs are submitted, pushes go on and other deletions run; and what broken-off ones leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.datasets import DatasetVersion, ManifestFile, VersionStatus
from chalicelib.errors import Conflict, NotFound, Unavailable, ValidationFailed
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.services.dataset_removal import BUDGET
from chalicelib.services.datasets import DatasetService
from chalicelib.services.leftovers import ABANDONED_AFTER, BROKEN_OFF_AFTER, LeftoversReport, remove_leftovers
from chalicelib.services.submission import SubmissionService
from tests.fakes.world import ME, OWNER, World
from tests.unit.services.between import Between
from tests.unit.services.test_races_and_leftovers import _request

SHA = "77af778b51abd4a3c51c5ddd97204a9c3ae614ebccb75a606c3b6865aed6744e"


@pytest.fixture
def world() -> World:
    made = World()
    made.push(source="/data/photos")
    return made


class KilledError(BaseException):
    """The function dies here."""


def killed(*_: Any, **__: Any) -> Any:
    raise KilledError


def a_body(*paths: str, dataset_id: str = "photos") -> NewVersionBody:
    return NewVersionBody(dataset_id=dataset_id, files=[ManifestFile(path=p, size=3, sha256=SHA) for p in paths])


def latest(world: World, dataset_id: str = "photos") -> str | None:
    dataset = world.ports.datasets.get_dataset(OWNER, dataset_id)
    assert dataset is not None
    return dataset.latest_version


def stored(world: World, version_id: str) -> DatasetVersion | None:
    return world.ports.datasets.get_version(OWNER, "photos", version_id)


def with_datasets(world: World, name: str, happens: Callable[[], object], *, after: bool = False) -> DatasetService:
    return DatasetService(replace(world.ports, datasets=Between(world.ports.datasets, name, happens, after=after)))


def leftovers(world: World) -> LeftoversReport:
    return remove_leftovers(world.ports, world.clock.now() + timedelta(minutes=3))


# --- against a submit -----------------------------------------------------------------------------------------
def test_a_job_taken_right_before_the_mark_gets_its_dataset_back(world: World) -> None:
    version_id = latest(world)
    assert version_id is not None
    deletions: list[Callable[[DatasetService], object]] = [
        lambda service: service.delete_version(OWNER, "photos", version_id),
        lambda service: service.delete(OWNER, "photos"),
    ]
    for delete in deletions:
        with pytest.raises(Conflict) as caught:
            delete(with_datasets(world, "update_version", lambda: world.submit().job))
        assert caught.value.code == "dataset_in_use"
        version = stored(world, version_id)
        assert version is not None
        assert version.status is VersionStatus.READY
        assert latest(world) == version_id
        assert len(list(world.dataset_files.list(version.prefix))) == version.files
        world.run(600)
    assert len(world.provider.records) == 2


def test_a_submit_right_after_the_mark_is_refused_and_nothing_is_paid(world: World) -> None:
    refused: list[str] = []

    def submit() -> None:
        with pytest.raises(ValidationFailed) as caught:
            world.submit(key="k")
        refused.append(caught.value.code)

    service = with_datasets(world, "update_version", submit, after=True)
    assert service.delete_version(OWNER, "photos", latest(world) or "").call.objects > 0
    world.settle()
    assert (refused, world.provider.records, world.jobs.slot_holders(OWNER)) == (
        ["dataset_unresolved"],
        {},
        frozenset(),
    )


def test_a_dataset_deleted_between_look_up_and_submit_is_found_missing(world: World) -> None:
    delete = lambda: world.services.datasets.delete(OWNER, "photos")  # noqa: E731
    ports = replace(world.ports, jobs=Between(world.jobs, "submit", delete))
    with pytest.raises(ValidationFailed) as caught:
        SubmissionService(ports).submit(ME, _request(), provider_name="replicate")
    assert (caught.value.code, caught.value.errors[0].field) == ("dataset_unresolved", "dataloader_config.0")
    assert world.jobs.slot_holders(OWNER) == frozenset()


def test_a_version_replaced_at_this_very_moment_asks_for_another_submit(world: World) -> None:
    first = latest(world)

    def replaced() -> None:
        world.push({"z.jpg": b"z", "z.txt": b"z"}, source="/data/photos")
        world.services.datasets.delete_version(OWNER, "photos", first or "")

    ports = replace(world.ports, jobs=Between(world.jobs, "submit", replaced))
    with pytest.raises(ValidationFailed, match="submit again"):
        SubmissionService(ports).submit(ME, _request(), provider_name="replicate")
    assert world.submit().job.datasets[0].version_id == latest(world) != first


# --- against a push and another deletion ----------------------------------------------------------------------
def test_a_version_that_is_being_deleted_is_no_version_for_anybody(world: World) -> None:
    version = stored(world, latest(world) or "")
    assert version is not None
    world.ports.datasets.update_version(version.changed(status=VersionStatus.DELETING))
    service = world.services.datasets
    assert service.get(OWNER, "photos")[1] == []
    for call in (service.version, service.complete):
        with pytest.raises(NotFound):
            call(OWNER, "photos", version.version_id)
    with pytest.raises(NotFound):
        service.uploads(OWNER, "photos", version.version_id, after=None, limit=1)
    with pytest.raises(Conflict) as caught:
        world.push(source="/data/photos")
    assert caught.value.code == "version_deleting"
    with pytest.raises(ValidationFailed):
        world.submit()
    assert service.delete_version(OWNER, "photos", version.version_id).call.objects > 0
    assert world.push(source="/data/photos") == version.version_id


@pytest.mark.parametrize("dies_at", ["multiparts", "delete"])
def test_a_deletion_that_died_is_ended_by_repeating_it(world: World, dies_at: str) -> None:
    version_id = latest(world) or ""
    ports = replace(world.ports, dataset_files=Between(world.dataset_files, dies_at, killed))
    with pytest.raises(KilledError):
        DatasetService(ports).delete_version(OWNER, "photos", version_id)
    with pytest.raises(ValidationFailed):
        world.submit()
    world.services.datasets.delete_version(OWNER, "photos", version_id)
    assert stored(world, version_id) is None
    assert latest(world) is None
    assert list(world.dataset_files.list("")) == []


def test_of_two_deletions_at_once_the_one_that_took_over_ends_it(world: World) -> None:
    version_id = latest(world) or ""
    other = lambda: world.services.datasets.delete_version(OWNER, "photos", version_id)  # noqa: E731
    ports = replace(world.ports, dataset_files=Between(world.dataset_files, "multiparts", other))
    DatasetService(ports).delete_version(OWNER, "photos", version_id)
    assert stored(world, version_id) is None
    assert world.push(source="/data/photos") == version_id
    assert world.submit().job.datasets[0].version_id == version_id


def test_whoever_lost_a_deletion_to_another_leaves_the_record_to_it(world: World) -> None:
    version_id = latest(world) or ""
    marked: list[DatasetVersion] = []

    def taken_over() -> None:
        version = stored(world, version_id)
        assert version is not None
        marked.append(version.changed(touched_at=world.clock.now()))
        world.ports.datasets.update_version(marked[0])

    ports = replace(world.ports, dataset_files=Between(world.dataset_files, "multiparts", taken_over))
    DatasetService(ports).delete_version(OWNER, "photos", version_id)
    assert stored(world, version_id) == marked[0]


def test_a_completion_does_not_undo_a_deletion(world: World) -> None:
    version, _ = world.services.datasets.create_version(OWNER, a_body("q"))
    world.dataset_files.put(version.prefix + "q", b"cat")
    world.dataset_files.put(version.prefix + "q", b"cat")
    doomed = version.changed(status=VersionStatus.DELETING)
    service = with_datasets(world, "update_version", lambda: world.ports.datasets.update_version(doomed))
    with pytest.raises(NotFound, match="deleted meanwhile"):
        service.complete(OWNER, "photos", version.version_id)
    assert stored(world, version.version_id) == doomed


def test_two_completions_at_once_agree(world: World) -> None:
    version, _ = world.services.datasets.create_version(OWNER, a_body("q"))
    world.dataset_files.put(version.prefix + "q", b"cat")
    complete = lambda: world.services.datasets.complete(OWNER, "photos", version.version_id)  # noqa: E731
    done = with_datasets(world, "update_version", complete).complete(OWNER, "photos", version.version_id)
    assert done.status is VersionStatus.READY
    assert latest(world) == version.version_id


def test_a_push_does_not_lose_the_latest_version_of_another_one(world: World) -> None:
    pushed: list[str] = []
    service = with_datasets(world, "put_dataset", lambda: pushed.append(world.push({"z": b"new"})))
    service.create_version(OWNER, a_body("q"))
    assert latest(world) == pushed[0]


def test_a_version_deleted_right_after_its_completion_is_not_the_latest(world: World) -> None:
    before = latest(world)
    version, _ = world.services.datasets.create_version(OWNER, a_body("q"))
    world.dataset_files.put(version.prefix + "q", b"cat")
    delete = lambda: world.services.datasets.delete_version(OWNER, "photos", version.version_id)  # noqa: E731
    with_datasets(world, "put_dataset", delete).complete(OWNER, "photos", version.version_id)
    assert latest(world) == before


def test_a_dataset_pushed_anew_while_it_is_deleted_stays_whole(world: World) -> None:
    pushed: list[str] = []
    push = lambda: pushed.append(world.push({"z": b"new"}, source="/data/photos"))  # noqa: E731
    with_datasets(world, "delete_dataset", push).delete(OWNER, "photos")
    dataset = world.ports.datasets.get_dataset(OWNER, "photos")
    versions = world.ports.datasets.list_versions(OWNER, "photos")
    # Deleted too, or there with its record: never a version that nobody can find.
    assert (dataset is None) == (versions == [])
    assert len(pushed) == 1


def test_a_dataset_with_more_versions_than_one_list_is_deleted_whole(world: World) -> None:
    for n in range(1005):
        base = DatasetVersion(
            owner=OWNER,
            dataset_id="photos",
            version_id=f"v-{n}",
            status=VersionStatus.UPLOADING,
            files=1,
            bytes=1,
            merkle_root="m",
            prefix=f"{OWNER}/photos/v-{n}/",
            manifest_key=f"_manifests/{OWNER}/photos/v-{n}.json",
            created_at=world.clock.now() + timedelta(seconds=n),
        )
        world.ports.datasets.create_version(base)
    world.services.datasets.delete(OWNER, "photos")
    assert world.ports.datasets.list_versions(OWNER, "photos") == []
    assert world.ports.datasets.get_dataset(OWNER, "photos") is None


def test_a_long_deletion_ends_in_time_and_goes_on_when_repeated(world: World) -> None:
    world.push({"z": b"z"})
    slow = lambda: world.clock.advance(BUDGET.total_seconds() + 1)  # noqa: E731
    ports = replace(world.ports, dataset_files=Between(world.dataset_files, "multiparts", slow))
    with pytest.raises(Unavailable, match="Repeat the request") as caught:
        DatasetService(ports).delete(OWNER, "photos")
    assert caught.value.code == "deletion_unfinished"
    assert len(world.ports.datasets.list_versions(OWNER, "photos")) == 1
    world.services.datasets.delete(OWNER, "photos")
    assert list(world.dataset_files.list("")) == []


# --- leftovers ------------------------------------------------------------------------------------------------
def test_an_upload_untouched_for_a_week_goes_with_its_bytes(world: World) -> None:
    version, _ = world.services.datasets.create_version(OWNER, a_body("q", "r"))
    world.dataset_files.put(version.prefix + "q", b"cat")
    world.clock.advance(ABANDONED_AFTER.total_seconds())
    assert leftovers(world) == LeftoversReport()
    assert stored(world, version.version_id) is not None
    world.clock.advance(1)
    assert leftovers(world) == LeftoversReport(uploads_removed=1)
    assert stored(world, version.version_id) is None
    assert list(world.dataset_files.list(version.prefix)) == []
    assert world.dataset_files.head(version.manifest_key) is None
    assert world.submit().job.datasets[0].version_id == latest(world)
    assert leftovers(world) == LeftoversReport()


@pytest.mark.parametrize("how", ["uploads", "create_version", "complete"])
def test_an_upload_that_goes_on_stays(world: World, how: str) -> None:
    service = world.services.datasets
    version, _ = service.create_version(OWNER, a_body("q"))
    for _ in range(10):
        world.clock.advance(timedelta(days=5).total_seconds())
        if how == "uploads":
            service.uploads(OWNER, "photos", version.version_id, after=None, limit=1)
        elif how == "create_version":
            service.create_version(OWNER, a_body("q"))
        else:
            service.uploads(OWNER, "photos", version.version_id, after=None, limit=1)
            with pytest.raises(Conflict):
                service.complete(OWNER, "photos", version.version_id)
        assert leftovers(world).uploads_removed == 0
    assert stored(world, version.version_id) is not None


def test_an_upload_resumed_at_this_very_moment_stays(world: World) -> None:
    version, _ = world.services.datasets.create_version(OWNER, a_body("q"))
    world.clock.advance(ABANDONED_AFTER.total_seconds() + 1)
    again = lambda: world.services.datasets.create_version(OWNER, a_body("q"))  # noqa: E731
    ports = replace(world.ports, datasets=Between(world.ports.datasets, "update_version", again))
    report = remove_leftovers(ports, world.clock.now() + timedelta(minutes=3))
    assert report.uploads_removed == 0
    kept = stored(world, version.version_id)
    assert kept is not None
    assert kept.status is VersionStatus.UPLOADING


def test_a_deletion_of_a_version_that_died_is_ended(world: World) -> None:
    version_id = latest(world) or ""
    ports = replace(world.ports, dataset_files=Between(world.dataset_files, "multiparts", killed))
    with pytest.raises(KilledError):
        DatasetService(ports).delete_version(OWNER, "photos", version_id)
    world.clock.advance(BROKEN_OFF_AFTER.total_seconds())
    assert leftovers(world) == LeftoversReport()
    world.clock.advance(1)
    assert leftovers(world) == LeftoversReport(deletions_finished=1)
    assert list(world.dataset_files.list("")) == []


def test_a_deletion_of_a_job_that_died_is_ended(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(600)
    ports = replace(world.ports, outputs=Between(world.outputs, "delete_prefix", killed))
    world.services.jobs._ports = ports
    with pytest.raises(KilledError):
        world.services.jobs.delete(ME, job_id)
    with pytest.raises(NotFound):
        world.services.jobs.get(ME, job_id)
    assert list(world.outputs.list(f"{OWNER}/{job_id}/")) != []
    assert leftovers(world) == LeftoversReport(jobs_forgotten=1)
    assert list(world.outputs.list(f"{OWNER}/{job_id}/")) == []
    assert world.jobs.get_input(job_id) is None
    assert list(world.jobs.events(job_id)) == []
    assert leftovers(world) == LeftoversReport()


def test_one_failure_does_not_keep_the_others_and_time_is_kept(world: World) -> None:
    for name in ("a", "b"):
        world.services.datasets.create_version(OWNER, a_body("q", dataset_id=name))
        world.clock.advance(1)
    world.clock.advance(ABANDONED_AFTER.total_seconds())

    def broken() -> None:
        raise Unavailable("S3 is busy")

    ports = replace(world.ports, dataset_files=Between(world.dataset_files, "multiparts", broken))
    stop_at = world.clock.now() + timedelta(minutes=3)
    assert remove_leftovers(ports, stop_at) == LeftoversReport(uploads_removed=1, failed=1)
    world.clock.advance(BROKEN_OFF_AFTER.total_seconds() + 1)
    assert remove_leftovers(world.ports, stop_at) == LeftoversReport(unfinished=True)
    assert leftovers(world) == LeftoversReport(deletions_finished=1)
