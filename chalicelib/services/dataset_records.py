"""Changing the record of a dataset while others change it too, and keeping its latest version one that is there."""

from __future__ import annotations

from collections.abc import Callable

from chalicelib.domain.datasets import Dataset, VersionStatus
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.errors import Unavailable

#: Tries of a compare-and-set; writers of one dataset are few, so this only keeps the loop bounded.
MAX_TRIES = 20


def change_dataset(
    ports: Ports, owner: str, dataset_id: str, decide: Callable[[Dataset | None], Dataset | None]
) -> None:
    """Stores what ``decide`` makes of the record (None: nothing), and asks it anew when somebody else was faster.

    Raises Unavailable when that never ends.
    """
    for _ in range(MAX_TRIES):
        new = decide(ports.datasets.get_dataset(owner, dataset_id))
        if new is None:
            return
        try:
            ports.datasets.put_dataset(new)
        except StaleRecordError:
            continue
        return
    raise Unavailable(f"Dataset '{dataset_id}' is being changed by several clients at once; try again.", retry_after=1)


def repoint(ports: Ports, owner: str, dataset_id: str) -> None:
    """Makes the newest version that is ready the latest, when the one that was can't be used any more."""

    def decide(dataset: Dataset | None) -> Dataset | None:
        if dataset is None or dataset.latest_version is None:
            return None
        latest = ports.datasets.get_version(owner, dataset_id, dataset.latest_version)
        if latest is not None and latest.status is VersionStatus.READY:
            return None
        rest = ports.datasets.list_versions(owner, dataset_id)
        ready = next((v.version_id for v in rest if v.status is VersionStatus.READY), None)
        return dataset.changed(ports.clock.now(), latest_version=ready)

    change_dataset(ports, owner, dataset_id, decide)
