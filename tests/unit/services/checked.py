"""A world with a dataset that is fine, and what a preflight over it says."""

from __future__ import annotations

import json
from typing import Any

from chalicelib.domain.check_results import Finding, Level
from chalicelib.domain.datasets import InspectionStatus, InspectionSummary
from chalicelib.domain.hub import HubRepo
from chalicelib.domain.inspection_facts import CaptionCounts, Counts, ReportFacts, SizeCount
from chalicelib.domain.permissions import Principal
from chalicelib.schemas.jobs import SubmitRequest
from chalicelib.services.preflight import Preflight, PreflightService
from tests.fakes.world import CONFIG, DATALOADER, ME, OWNER, World

GOOD = {**CONFIG, "--train_batch_size": 1, "--pretrained_model_name_or_path": "open/model"}
PICTURES = {f"{n}.{kind}": f"{kind} {n}".encode() for n in range(10) for kind in ("jpg", "txt")}


def good_world() -> World:
    """With ten captioned pictures, and an open base model on the Hub."""
    world = World()
    world.hub.put(HubRepo("open/model", license="apache-2.0"))
    world.push(PICTURES, source="/data/photos")
    return world


def preflight(world: World, *, who: Principal = ME, service: PreflightService | None = None, **body: Any) -> Preflight:
    request = SubmitRequest.model_validate({"config": GOOD, "dataloader_config": DATALOADER, **body})
    return (service or world.services.preflight).check(who, request, "replicate")


def statuses(done: Preflight) -> dict[str, str]:
    return {check.name: check.status.value for check in done.checks}


def codes(done: Preflight, *levels: Level) -> list[str]:
    return [f.code for f in done.findings if not levels or f.level in levels]


def the(done: Preflight, code: str) -> Finding:
    (finding,) = [f for f in done.findings if f.code == code]
    return finding


def inspected(world: World, **report: Any) -> None:
    """The version as an inspection leaves it. ``facts`` and ``findings`` are the report's."""
    dataset = world.ports.datasets.get_dataset(OWNER, "photos")
    assert dataset is not None
    version = world.ports.datasets.get_version(OWNER, "photos", dataset.latest_version or "")
    assert version is not None
    key = "_reports/x.json"
    world.dataset_files.put(key, json.dumps(report, default=lambda m: m.model_dump()).encode())
    summary = {"status": InspectionStatus.DONE, "asked_at": world.clock.now(), "tried_at": world.clock.now()}
    done = InspectionSummary.model_validate({**summary, "report_key": key})
    world.ports.datasets.update_version(version.changed(inspection=done))


def facts(images: int = 10, side: int = 1024, **captions: int) -> ReportFacts:
    return ReportFacts(
        counts=Counts(files=2 * images, images=images, captions=images),
        captions=CaptionCounts(captions=images, **captions),
        sizes=(SizeCount(width=side, height=side, images=images),),
    )
