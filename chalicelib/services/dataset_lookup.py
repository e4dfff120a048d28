"""Which dataset version an entry of a dataloader stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.domain.datasets import MAX_SOURCE_PATH, Dataset, DatasetVersion, VersionStatus, is_name
from chalicelib.domain.jobs import DatasetRef
from chalicelib.domain.ports import Ports
from chalicelib.domain.trainer import ConfigProblem, needs_upload

#: Characters of a value that a message repeats.
MAX_SHOWN = 200


def resolve(
    ports: Ports, owner: str, dataloader: Sequence[Mapping[str, Any]]
) -> tuple[tuple[DatasetRef, ...], tuple[DatasetVersion, ...], list[ConfigProblem]]:
    """The exact dataset version of each local entry: by its ``dataset_id``, or else by its id, or else by the path
    it was pushed from, as the job records it and as the whole record. Whoever names a dataset means that one, or
    none."""
    references: list[DatasetRef] = []
    versions: list[DatasetVersion] = []
    problems: list[ConfigProblem] = []
    for i, entry in enumerate(dataloader):
        if not needs_upload(entry):
            continue
        version = _find(ports, owner, entry)
        if version is None:
            problems.append(_unresolved(i, entry))
            continue
        versions.append(version)
        references.append(
            DatasetRef(
                entry_id=str(entry.get("id")),
                dataset_id=version.dataset_id,
                version_id=version.version_id,
                prefix=version.prefix,
                files=version.files,
                bytes=version.bytes,
            )
        )
    return tuple(references), tuple(versions), problems


def pushed_elsewhere(ports: Ports, owner: str, entry: Mapping[str, Any], used: DatasetVersion) -> str | None:
    """The id of another dataset that was pushed from the folder of an entry, for which ``used`` was found by its id.
    None when there is none, or the entry says by ``dataset_id`` which one it means."""
    path = _folder(entry)
    if path is None or entry.get("dataset_id") is not None:
        return None
    mine = ports.datasets.get_dataset(owner, used.dataset_id)
    if mine is not None and mine.source_path == path:
        return None
    other = ports.datasets.find_by_source(owner, path)
    return other.dataset_id if other is not None and other.dataset_id != used.dataset_id else None


def _folder(entry: Mapping[str, Any]) -> str | None:
    path = entry.get("instance_data_dir") or entry.get("instance_data_root")
    if not isinstance(path, str) or not 0 < len(path) <= MAX_SOURCE_PATH:
        return None
    return path.rstrip("/") or path


def _find(ports: Ports, owner: str, entry: Mapping[str, Any]) -> DatasetVersion | None:
    store = ports.datasets
    if entry.get("dataset_id") is not None:
        return _latest(ports, owner, entry["dataset_id"])
    version = _latest(ports, owner, entry.get("id"))
    if version is not None:
        return version
    path = _folder(entry)
    return None if path is None else _ready(ports, store.find_by_source(owner, path))


def _latest(ports: Ports, owner: str, dataset_id: object) -> DatasetVersion | None:
    # Whatever is no name of a dataset is not looked up: it may be no text, or fit into no database key.
    if not isinstance(dataset_id, str) or not is_name(dataset_id):
        return None
    return _ready(ports, ports.datasets.get_dataset(owner, dataset_id))


def _ready(ports: Ports, dataset: Dataset | None) -> DatasetVersion | None:
    if dataset is None or dataset.latest_version is None:
        return None
    version = ports.datasets.get_version(dataset.owner, dataset.dataset_id, dataset.latest_version)
    return version if version is not None and version.status is VersionStatus.READY else None


def _unresolved(i: int, entry: Mapping[str, Any]) -> ConfigProblem:
    path = str(entry.get("instance_data_dir") or "<folder>")[:MAX_SHOWN]
    named = entry.get("dataset_id")
    if named is not None:
        return ConfigProblem(
            f"dataloader_config.{i}.dataset_id",
            f"no uploaded dataset that is ready has the id '{str(named)[:MAX_SHOWN]}'",
            "dataset_unresolved",
            f"See: stcloud datasets list, or run: stcloud datasets push {path}",
        )
    return ConfigProblem(
        f"dataloader_config.{i}",
        f"no uploaded dataset has the id '{str(entry.get('id'))[:MAX_SHOWN]}' or was pushed from '{path}'",
        "dataset_unresolved",
        f"Run: stcloud datasets push {path}",
    )
