"""Inspections and unpackings of datasets on AWS Step Functions."""

from __future__ import annotations

import hashlib

from chalicelib.aws.clients import ClientSource
from chalicelib.aws.runner import start_once, state_of
from chalicelib.domain.datasets import DatasetVersion
from chalicelib.domain.ports import ExecutionState


class StepFunctionsDatasetRunner:
    """The DatasetRunner port over two STANDARD state machines.

    Needs states:StartExecution on the machines and states:DescribeExecution on their executions. Raises Unavailable
    when Step Functions is busy, botocore's ClientError when the deployment is wrong.
    """

    def __init__(self, *, inspection_arn: str, unpack_arn: str, client: ClientSource) -> None:
        self._inspection, self._unpack = inspection_arn, unpack_arn
        self._client = client

    def start_inspection(self, version: DatasetVersion, attempt: int) -> None:
        payload = {
            "owner": version.owner,
            "dataset_id": version.dataset_id,
            "version_id": version.version_id,
            "attempt": attempt,
        }
        start_once(self._client, self._inspection, inspection_name(version, attempt), payload)

    def inspection_state(self, version: DatasetVersion, attempt: int) -> ExecutionState:
        return state_of(self._client, self._inspection, inspection_name(version, attempt))

    def start_unpack(self, owner: str, dataset_id: str, archive_id: str, attempt: int) -> None:
        payload = {"owner": owner, "dataset_id": dataset_id, "archive_id": archive_id, "attempt": attempt}
        start_once(self._client, self._unpack, unpack_name(owner, dataset_id, archive_id, attempt), payload)

    def unpack_state(self, owner: str, dataset_id: str, archive_id: str, attempt: int) -> ExecutionState:
        return state_of(self._client, self._unpack, unpack_name(owner, dataset_id, archive_id, attempt))


def inspection_name(version: DatasetVersion, attempt: int) -> str:
    """Distinct for a version that was deleted and pushed again: names of executions stay taken for 90 days."""
    born = version.created_at.isoformat()
    return f"{version.version_id}-{_digest(version.owner, version.dataset_id, version.version_id, born)}-{attempt}"


def unpack_name(owner: str, dataset_id: str, archive_id: str, attempt: int) -> str:
    return f"{archive_id}-{_digest(owner, dataset_id, archive_id)}-{attempt}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
