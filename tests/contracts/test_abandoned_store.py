"""``DatasetStore``: what versions leave behind."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.datasets import AbandonedPrefix
from chalicelib.domain.ports import DatasetStore, StaleRecordError
from tests.contracts.test_dataset_store import a_version
from tests.support.jobs import NOW, OWNER


def test_prefixes_that_versions_left_are_remembered_until_they_are_forgotten(dataset_store: DatasetStore) -> None:
    def left(prefix: str, seconds: int) -> AbandonedPrefix:
        return AbandonedPrefix(prefix=prefix, due_at=NOW + timedelta(seconds=seconds))

    def due(before: int, limit: int = 100) -> list[AbandonedPrefix]:
        return dataset_store.list_abandoned(due_before=NOW + timedelta(seconds=before), limit=limit)

    first, second, third = left("local/photos/v-1/", 20), left("local/photos/v-2/", 10), left("o/x/a-3/", 30)
    dataset_store.create_version(a_version())
    with pytest.raises(StaleRecordError):
        dataset_store.update_version(a_version().changed().changed(), leaves=third)
    with pytest.raises(StaleRecordError):
        dataset_store.delete_version(OWNER, "photos", "v-1", revision=7, leaves=third)
    dataset_store.delete_version(OWNER, "photos", "v-none", leaves=third)
    assert due(1000) == []
    moved = a_version().changed(prefix="local/photos/v-2/")
    dataset_store.update_version(moved, leaves=first)
    dataset_store.delete_version(OWNER, "photos", "v-1", revision=2, leaves=second)
    assert (due(10), due(11), due(1000), due(1000, limit=1)) == ([], [second], [second, first], [second])
    dataset_store.forget_abandoned(second)
    dataset_store.forget_abandoned(second)
    assert due(1000) == [first]
