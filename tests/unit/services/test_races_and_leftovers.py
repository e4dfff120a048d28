"""Services when the world changes between two of their steps, or was left in disorder by something that died."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.configs import TrainingConfig
from chalicelib.domain.datasets import ManifestFile, VersionStatus
from chalicelib.domain.ports import Limits, StaleRecordError
from chalicelib.errors import Conflict, NotFound, TooManyRequests, ValidationFailed
from chalicelib.schemas.configs import ConfigBody
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.schemas.jobs import SubmitRequest
from chalicelib.services.configs import MAX_TRIES, ConfigService
from chalicelib.services.datasets import DatasetService
from chalicelib.services.manifests import MAX_LISTED
from chalicelib.services.submission import SubmissionService
from tests.fakes.multipart import Stored
from tests.fakes.provider import Life
from tests.fakes.world import CONFIG, DATALOADER, ME, OWNER, World
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


# --- submit ---------------------------------------------------------------------------------------------------
def test_two_submits_with_one_key_at_the_same_moment_make_one_job(world: World) -> None:
    theirs: list[str] = []
    ports = replace(
        world.ports, jobs=Between(world.jobs, "submit", lambda: theirs.append(world.submit(key="k").job.job_id))
    )
    request = _request()
    ours = SubmissionService(ports).submit(ME, request, provider_name="replicate", idempotency_key="k")
    assert (ours.job.job_id, ours.idempotent_hit) == (theirs[0], True)
    assert world.jobs.slot_holders(OWNER) == {theirs[0]}


def test_a_different_request_that_lost_the_race_for_its_key_is_refused(world: World) -> None:
    ports = replace(
        world.ports, jobs=Between(world.jobs, "submit", lambda: world.submit(key="k", tracker_run_name="x"))
    )
    with pytest.raises(ValidationFailed) as caught:
        SubmissionService(ports).submit(ME, _request(), provider_name="replicate", idempotency_key="k")
    assert (caught.value.code, [e.field for e in caught.value.errors]) == ("idempotency_mismatch", ["tracker_run_name"])


def test_a_key_is_free_again_after_a_day(world: World) -> None:
    first = world.submit(key="k").job.job_id
    world.run(300)
    world.clock.advance(timedelta(hours=24))
    again = world.submit(key="k")
    assert (again.idempotent_hit, again.job.job_id != first) == (False, True)


def test_a_key_whose_job_is_being_deleted_is_a_conflict(world: World) -> None:
    job_id = world.submit(key="k").job.job_id
    ports = replace(world.ports, jobs=_Without(world.jobs, job_id))
    with pytest.raises(Conflict) as caught:
        SubmissionService(ports).submit(ME, _request(), provider_name="replicate", idempotency_key="k")
    assert caught.value.code == "idempotent_job_deleted"


def test_slots_of_jobs_that_are_over_or_gone_are_freed_when_they_are_needed() -> None:
    world = World(limits=Limits(max_concurrent_jobs=2))
    world.push(source="/data/photos")
    done = world.submit().job.job_id
    world.run(300)
    world.jobs._slots[OWNER] |= {done, "gone"}  # what a restored backup looks like
    fresh = world.submit().job.job_id
    assert world.jobs.slot_holders(OWNER) == {fresh}
    world.submit()
    with pytest.raises(TooManyRequests):
        world.submit()


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "no name!", "instance_data_dir": "/data/photos"},
        {"id": "z", "dataset_id": None, "instance_data_dir": "/data/photos/"},
        {"id": "z", "dataset_id": "photos", "instance_data_dir": "/elsewhere"},
        {"id": "z", "instance_data_root": "/data/photos"},
    ],
)
def test_a_dataset_is_found_by_a_sound_name_or_its_folder(world: World, entry: dict[str, Any]) -> None:
    job = world.submit(dataloader_config=[{"type": "local", **entry}]).job
    assert job.datasets[0].dataset_id == "photos"


@pytest.mark.parametrize("named", ["photos-typo", ["photos"], "", 7, "../photos", "x" * 5000])
def test_a_named_dataset_is_that_one_or_none(world: World, named: Any) -> None:
    entry = {"id": "photos", "type": "local", "dataset_id": named, "instance_data_dir": "/data/photos"}
    with pytest.raises(ValidationFailed) as caught:
        world.submit(dataloader_config=[entry])
    assert caught.value.code == "dataset_unresolved"
    assert caught.value.errors[0].field == "dataloader_config.0.dataset_id"
    assert len(caught.value.detail) < 600


@pytest.mark.parametrize("path", [None, 7, "", "/" * 5000, "/elsewhere", "/data/photos/sub"])
def test_another_folder_is_no_dataset(world: World, path: Any) -> None:
    with pytest.raises(ValidationFailed) as caught:
        world.submit(dataloader_config=[{"type": "local", "id": "z", "instance_data_dir": path}])
    assert caught.value.code == "dataset_unresolved"
    assert "stcloud datasets push" in caught.value.detail


def test_a_dataset_without_a_ready_version_can_not_be_used(world: World) -> None:
    body = NewVersionBody(dataset_id="half", source_path="/half", files=[ManifestFile(path="a", size=1, sha256=SHA)])
    world.services.datasets.create_version(OWNER, body)
    for entry in ({"id": "half"}, {"id": "z", "instance_data_dir": "/half"}):
        with pytest.raises(ValidationFailed):
            world.submit(dataloader_config=[{"type": "local", **entry}])


# --- configs --------------------------------------------------------------------------------------------------
def test_two_saves_at_once_make_two_versions(world: World) -> None:
    theirs = ConfigBody(config={"a": 1})
    ports = replace(
        world.ports,
        configs=Between(world.ports.configs, "save", lambda: world.services.configs.save(OWNER, "c", theirs)),
    )
    ours = ConfigService(ports).save(OWNER, "c", ConfigBody(config={"a": 2}))
    assert ours.version == 2
    assert [c.config["a"] for c in world.ports.configs.versions(OWNER, "c")] == [2, 1]


def test_an_endless_race_for_a_version_ends_with_a_conflict(world: World) -> None:
    class Busy:
        tries = 0

        def get(self, owner: str, name: str, version: int | None = None) -> TrainingConfig | None:
            return None

        def save(self, config: TrainingConfig) -> None:
            self.tries += 1
            raise StaleRecordError(config.name)

    busy = Busy()
    with pytest.raises(Conflict) as caught:
        ConfigService(replace(world.ports, configs=busy)).save(OWNER, "c", ConfigBody(config={}))  # type: ignore[arg-type]
    assert (caught.value.code, busy.tries) == ("changed_meanwhile", MAX_TRIES)


# --- datasets -------------------------------------------------------------------------------------------------
class _SlowLists:
    """An object store of which each listing takes six seconds."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        if name == "list":
            self._world.clock.advance(6)
        return getattr(self._world.dataset_files, name)


def test_a_large_version_is_confirmed_in_slices(world: World) -> None:
    files = {f"{i:05d}": b"" for i in range(2_001)}
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    body = NewVersionBody(dataset_id="big", files=[ManifestFile(path=p, size=0, sha256=empty) for p in files])
    version, _ = world.services.datasets.create_version(OWNER, body)
    world.send(version.version_id, files, dataset_id="big")
    service = DatasetService(replace(world.ports, dataset_files=_SlowLists(world)))  # type: ignore[arg-type]
    first = service.complete(OWNER, "big", version.version_id)
    assert (first.status, first.checked, first.completed_at) == (VersionStatus.UPLOADING, 2_000, None)
    second = service.complete(OWNER, "big", version.version_id)
    assert (second.status, second.checked) == (VersionStatus.READY, 2_001)


def test_a_manifest_full_of_errors_is_not_listed_to_its_end(world: World) -> None:
    files = [ManifestFile(path=f"../{i}", size=1, sha256=SHA) for i in range(500)]
    with pytest.raises(ValidationFailed) as caught:
        world.services.datasets.create_version(OWNER, NewVersionBody(dataset_id="d", files=files))
    assert len(caught.value.errors) == MAX_LISTED


def test_a_version_deleted_while_it_is_completed_is_not_found(world: World) -> None:
    body = NewVersionBody(dataset_id="d", files=[ManifestFile(path="a", size=1, sha256=SHA)])
    version, _ = world.services.datasets.create_version(OWNER, body)
    world.dataset_files._objects[version.prefix + "a"] = Stored(b"x", world.dataset_files.modified_at, SHA)
    delete = lambda: world.services.datasets.delete_version(OWNER, "d", version.version_id)  # noqa: E731
    ports = replace(world.ports, datasets=Between(world.ports.datasets, "update_version", delete))
    with pytest.raises(NotFound, match="deleted meanwhile"):
        DatasetService(ports).complete(OWNER, "d", version.version_id)


def test_a_version_whose_manifest_is_gone_says_what_to_do(world: World) -> None:
    body = NewVersionBody(dataset_id="d", files=[ManifestFile(path="a", size=1, sha256=SHA)])
    version, _ = world.services.datasets.create_version(OWNER, body)
    world.dataset_files.delete([version.manifest_key])
    with pytest.raises(NotFound, match="push the dataset again"):
        world.services.datasets.complete(OWNER, "d", version.version_id)


def test_deleting_an_older_version_leaves_the_latest(world: World) -> None:
    first = world.push(dataset_id="d")
    world.clock.advance(1)
    second = world.push({"z": b"z"}, dataset_id="d")
    world.services.datasets.delete_version(OWNER, "d", first)
    dataset, versions = world.services.datasets.get(OWNER, "d")
    assert (dataset.latest_version, [v.version_id for v in versions]) == (second, [second])


def test_a_slot_left_by_a_finished_job_does_not_keep_a_dataset(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(300)
    world.jobs._slots[OWNER] |= {job_id, "gone"}
    assert world.services.datasets.delete(OWNER, "photos").call.objects > 0


class _Without:
    """The job store without one job's record."""

    def __init__(self, store: Any, job_id: str) -> None:
        self._store, self._job_id = store, job_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, job_id: str) -> Any:
        return None if job_id == self._job_id else self._store.get(job_id)


def _request() -> SubmitRequest:
    return SubmitRequest.model_validate({"config": CONFIG, "dataloader_config": DATALOADER})
