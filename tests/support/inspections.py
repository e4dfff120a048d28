"""Running an inspection in memory, step by step as its state machine does."""

from __future__ import annotations

from typing import Any

from chalicelib.domain.datasets import DatasetVersion, InspectionSummary
from chalicelib.domain.inspection_facts import ImageProbe
from chalicelib.domain.ports import Ports
from chalicelib.workflow import inspection as steps
from chalicelib.workflow.inspection_files import batch
from tests.fakes.probe import FakeProbe

#: Calls of one batch.
MAX_CALLS = 1_000


class CallDiedError(Exception):
    """What a probe raises to take its function with it, each time that it is tried."""


def event_of(version: DatasetVersion, attempt: int = 1) -> dict[str, Any]:
    """The input of an execution."""
    return {
        "owner": version.owner,
        "dataset_id": version.dataset_id,
        "version_id": version.version_id,
        "attempt": attempt,
    }


def inspect(ports: Ports, version: DatasetVersion, attempt: int = 1, probe: ImageProbe | None = None) -> dict[str, Any]:
    """What an execution does; returns its output."""
    probe = probe or FakeProbe()
    event = event_of(version, attempt)
    planned = steps.plan(event, ports)
    for number in planned["batches"]:
        state = {**event, "prefix": planned["prefix"], "work": planned["work"], "batch": number, "at": 0}
        for _ in range(MAX_CALLS):
            try:
                state = batch(state, ports, probe)
            except CallDiedError:
                state = batch({**state, "blind": True}, ports, probe)
            if state["done"]:
                break
        else:
            raise AssertionError(f"batch {number} does not end")
    steps.sheet(event, ports, probe)
    return steps.report(event, ports)


def summary(ports: Ports, owner: str, dataset_id: str, version_id: str) -> InspectionSummary:
    version = ports.datasets.get_version(owner, dataset_id, version_id)
    assert version is not None
    assert version.inspection is not None
    return version.inspection
