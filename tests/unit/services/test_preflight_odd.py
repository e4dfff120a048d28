"""Odd entries and defects: preflight and submit judge them alike, and none is a way around a check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from chalicelib.domain.check_results import Level
from chalicelib.errors import ValidationFailed
from chalicelib.schemas.jobs import SubmitRequest
from chalicelib.services.preflight import PreflightService
from chalicelib.services.submission import SubmissionService
from tests.fakes.world import DATALOADER, ME, World
from tests.unit.services.checked import GOOD, codes, facts, good_world, inspected, preflight, the


@pytest.fixture
def world() -> World:
    return good_world()


def test_a_check_with_a_defect_is_no_failure_and_has_to_be_accepted(world: World) -> None:
    class Broken:
        def check(self, **_: object) -> None:
            raise OverflowError("math range error")

    ports = replace(world.ports, broker=cast(Any, Broken()))
    service = PreflightService(ports)
    done = preflight(world, service=service)
    check = next(c for c in done.checks if c.name == "datasets")
    assert (check.status.value, check.reason) == ("skipped", "something went wrong on our side")
    assert (done.ok, the(done, "check_failed").level) == (True, Level.WARNING)
    submission = SubmissionService(ports, service)
    request = SubmitRequest.model_validate({"config": GOOD, "dataloader_config": DATALOADER})
    with pytest.raises(ValidationFailed) as caught:
        submission.submit(ME, request, provider_name="replicate")
    assert caught.value.code == "warnings_not_accepted"


def test_what_turns_the_fit_off_is_no_way_around_it(world: World) -> None:
    inspected(world, facts=facts(side=64), findings=[])
    crop = {**DATALOADER[0], "crop": True, "crop_aspect": "closest", "crop_aspect_buckets": [-1]}
    done = preflight(world, dataloader_config=[crop])
    assert not done.ok
    assert {"out_of_range", "images_too_small"} <= set(codes(done))
    less = {**DATALOADER[0], "resolution": 0.5, "resolution_type": "pixel"}
    assert the(preflight(world, dataloader_config=[less]), "fit_not_checked").level is Level.WARNING


@pytest.mark.parametrize("switch", [{"disable": True}, {"disabled": True}, {"disabled": "false"}, {"disable": 1}])
def test_an_entry_that_is_switched_off_is_for_nobody(world: World, switch: dict[str, Any]) -> None:
    off = {"id": "x", "instance_data_dir": "/nowhere", "caption_strategy": "textfile", **switch}
    done = preflight(world, dataloader_config=[DATALOADER[0], off])
    assert done.ok
    assert len(world.submit(config=GOOD, dataloader_config=[DATALOADER[0], off]).job.datasets) == 1
    alone = preflight(world, dataloader_config=[{**DATALOADER[0], **switch}])
    assert "no_dataset" in codes(alone)


def test_an_entry_with_an_empty_type_is_local(world: World) -> None:
    done = preflight(world, dataloader_config=[{**DATALOADER[0], "type": ""}])
    assert done.ok
    job = world.submit(config=GOOD, dataloader_config=[{**DATALOADER[0], "type": ""}]).job
    assert [d.dataset_id for d in job.datasets] == ["photos"]
    world.settle()
    (record,) = world.provider.records.values()
    assert '"type": "aws"' in str(record) or "'type': 'aws'" in str(record)
