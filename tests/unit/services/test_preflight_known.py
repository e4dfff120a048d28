"""What preflight and submit say of a dataset of which not all is known: never that it passed."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.check_results import Level
from chalicelib.domain.datasets import DatasetVersion, InspectionStatus
from chalicelib.errors import ValidationFailed
from tests.fakes.world import DATALOADER, OWNER, World
from tests.unit.services.checked import GOOD, codes, facts, good_world, inspected, preflight, statuses, the


@pytest.fixture
def world() -> World:
    return good_world()


def version_of(world: World) -> DatasetVersion:
    dataset = world.ports.datasets.get_dataset(OWNER, "photos")
    version = world.ports.datasets.get_version(OWNER, "photos", (dataset and dataset.latest_version) or "")
    assert version is not None
    return version


def recorded(world: World, **update: Any) -> None:
    """Changes the record of the version's inspection."""
    version = version_of(world)
    assert version.inspection is not None
    world.ports.datasets.update_version(version.changed(inspection=version.inspection.model_copy(update=update)))


def without_names(world: World) -> None:
    """As when the list of files is too long to be read."""
    world.dataset_files.put(version_of(world).manifest_key, b"no list")


def reason(world: World, **body: Any) -> str:
    return next(c.reason for c in preflight(world, **body).checks if c.name == "datasets") or ""


def test_an_inspection_that_failed_has_to_be_accepted(world: World) -> None:
    inspected(world)
    recorded(world, status=InspectionStatus.FAILED, problem="The inspection itself failed (States.Timeout).")
    done = preflight(world)
    finding = the(done, "not_inspected")
    assert (finding.level, finding.check) == (Level.WARNING, "datasets")
    assert "States.Timeout" in finding.message
    assert statuses(done)["datasets"] == "skipped"
    assert "not_checked" not in codes(done)
    with pytest.raises(ValidationFailed) as caught:
        world.submit(config=GOOD)
    assert caught.value.code == "warnings_not_accepted"
    job = world.submit(config=GOOD, accept_warnings=True).job
    world.settle()
    assert {"job.warning_accepted", "dataset.not_inspected"} <= set(world.event_types(job.job_id))


def test_what_the_record_calls_broken_is_refused_without_its_report(world: World) -> None:
    inspected(world, facts=facts(), findings=[])
    recorded(world, errors=3, first_errors=("3 images can't be decoded.",))
    finding = the(preflight(world), "dataset_rejected")
    assert (finding.level, finding.count) == (Level.ERROR, 3)
    assert "3 images can't be decoded. And 2 more." in finding.message
    world.dataset_files.delete(["_reports/x.json"])
    done = preflight(world)
    assert (done.ok, statuses(done)["datasets"]) == (False, "failed")
    with pytest.raises(ValidationFailed) as caught:
        world.submit(config=GOOD, accept_warnings=True)
    assert caught.value.code == "dataset_rejected"


def test_what_the_report_says_is_not_said_twice(world: World) -> None:
    broken = {"level": "error", "code": "image_unreadable", "message": "m", "advice": "a", "count": 3, "paths": []}
    inspected(world, facts=facts(), findings=[broken])
    recorded(world, errors=1, first_errors=("m",))
    assert codes(preflight(world), Level.ERROR) == ["image_unreadable"]


def test_a_version_that_was_never_inspected_has_not_passed(world: World) -> None:
    world.ports.datasets.update_version(version_of(world).changed(inspection=None))
    assert statuses(preflight(world))["datasets"] == "skipped"
    assert "'photos' was never inspected" in reason(world)
    job = world.submit(config=GOOD).job
    assert "job.note" in world.event_types(job.job_id)


def test_without_a_list_of_names_captions_are_judged_by_the_report(world: World) -> None:
    without_names(world)
    inspected(world, facts=facts(missing=3), findings=[])
    finding = the(preflight(world), "captions_missing")
    assert (finding.level, finding.count) == (Level.WARNING, 3)


def test_without_a_list_of_names_no_captions_at_all_are_an_error_in_both(world: World) -> None:
    without_names(world)
    inspected(world, facts=facts(missing=10), findings=[])
    assert the(preflight(world), "captions_missing").level is Level.ERROR
    with pytest.raises(ValidationFailed) as caught:
        world.submit(config=GOOD, accept_warnings=True)
    assert caught.value.code == "captions_missing"


def test_a_table_that_can_not_be_looked_for_is_said_so(world: World) -> None:
    without_names(world)
    inspected(world, facts=facts(), findings=[])
    table = {**DATALOADER[0], "caption_strategy": "parquet", "metadata_backend": "parquet", "parquet": {"path": "t"}}
    assert "whether its table is there is not known" in reason(world, dataloader_config=[table])


def test_without_names_and_report_nothing_is_known_and_that_is_said(world: World) -> None:
    without_names(world)
    assert "nothing is known of its files" in reason(world)
    recorded(world, status=InspectionStatus.RUNNING)
    done = preflight(world)
    assert statuses(done)["datasets"] == "pending"
    assert "nothing is known of its files" in reason(world)
    assert the(done, "not_checked").level is Level.NOTE


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"aws_bucket_name": "b", "aws_region_name": "auto"}, "bucket_incomplete"),
        ({"aws_bucket_name": "b", "aws_region_name": "auto", "aws_endpoint_url": "https://s3"}, "bucket_without_keys"),
    ],
)
def test_a_bucket_of_ones_own_is_the_same_warning_in_both(world: World, entry: dict[str, str], code: str) -> None:
    dataloader = [DATALOADER[0], {"id": "b", "type": "aws", "caption_strategy": "textfile", **entry}]
    done = preflight(world, dataloader_config=dataloader)
    assert (done.ok, the(done, code).level) == (True, Level.WARNING)
    with pytest.raises(ValidationFailed) as caught:
        world.submit(config=GOOD, dataloader_config=dataloader)
    assert caught.value.code == "warnings_not_accepted"
    assert code in {e.code for e in caught.value.errors}
    assert world.submit(config=GOOD, dataloader_config=dataloader, accept_warnings=True).job
