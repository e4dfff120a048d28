"""The DatasetRunner port in memory: remembers what was started; a test says what runs and what is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chalicelib.domain.datasets import DatasetVersion
from chalicelib.domain.ports import ExecutionState
from chalicelib.errors import Unavailable

Inspection = tuple[str, str, str, str, int]
Unpack = tuple[str, str, str, int]


@dataclass
class FakeDatasetRunner:
    """``when_inspecting`` is called with what was started: a test's own inspection. ``inspections`` and
    ``unpacks`` map what was started to its state, in order of start. ``start_fails`` counts the next starts that raise.
    """

    inspections: dict[Inspection, ExecutionState] = field(default_factory=dict)
    unpacks: dict[Unpack, ExecutionState] = field(default_factory=dict)
    start_fails: int = 0
    when_inspecting: Callable[[DatasetVersion, int], None] | None = None

    def start_inspection(self, version: DatasetVersion, attempt: int) -> None:
        self._may_fail()
        if _inspection(version, attempt) in self.inspections:
            return
        self.inspections[_inspection(version, attempt)] = ExecutionState.RUNNING
        if self.when_inspecting is not None:
            self.when_inspecting(version, attempt)
            self.end_inspection(version, attempt)

    def inspection_state(self, version: DatasetVersion, attempt: int) -> ExecutionState:
        return self.inspections.get(_inspection(version, attempt), ExecutionState.UNKNOWN)

    def end_inspection(self, version: DatasetVersion, attempt: int) -> None:
        """The execution ends, in whatever way."""
        self.inspections[_inspection(version, attempt)] = ExecutionState.OVER

    def start_unpack(self, owner: str, dataset_id: str, archive_id: str, attempt: int) -> None:
        self._may_fail()
        self.unpacks.setdefault((owner, dataset_id, archive_id, attempt), ExecutionState.RUNNING)

    def unpack_state(self, owner: str, dataset_id: str, archive_id: str, attempt: int) -> ExecutionState:
        return self.unpacks.get((owner, dataset_id, archive_id, attempt), ExecutionState.UNKNOWN)

    def end_unpack(self, owner: str, dataset_id: str, archive_id: str, attempt: int) -> None:
        """The execution ends, in whatever way."""
        self.unpacks[owner, dataset_id, archive_id, attempt] = ExecutionState.OVER

    def _may_fail(self) -> None:
        if self.start_fails > 0:
            self.start_fails -= 1
            raise Unavailable("The workflow engine did not answer.")


def _inspection(version: DatasetVersion, attempt: int) -> Inspection:
    return version.owner, version.dataset_id, version.version_id, version.created_at.isoformat(), attempt
