"""Pushes by hand, for tests of what a push is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chalicelib.domain.datasets import PART_BYTES, DatasetVersion, VersionStatus
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.services.dataset_uploads import UploadBatch
from chalicelib.services.datasets import DatasetService
from tests.fakes.world import OWNER, World, manifest_file

PHOTOS = {f"{i:02d}.jpg": f"picture {i}".encode() for i in range(20)}
#: Three parts; the last is short.
BIG = b"a" * PART_BYTES + b"b" * PART_BYTES + b"tail"


def begin(
    world: World, files: Mapping[str, bytes], *, dataset_id: str = "photos", owner: str = OWNER
) -> DatasetVersion:
    body = NewVersionBody(dataset_id=dataset_id, files=[manifest_file(p, b) for p, b in files.items()])
    return world.services.datasets.create_version(owner, body)[0]


def batch(world: World, version: DatasetVersion, after: str | None = None, limit: int = 500) -> UploadBatch:
    service = world.services.datasets
    return service.uploads(version.owner, version.dataset_id, version.version_id, after=after, limit=limit)


def paths(found: UploadBatch) -> list[str]:
    return [u.file.path for u in found.uploads]


def ready(world: World, version: DatasetVersion) -> DatasetVersion:
    done = world.services.datasets.complete(version.owner, version.dataset_id, version.version_id)
    assert done.status is VersionStatus.READY
    return done


class Slow:
    """The object store when each of some calls takes ``seconds``."""

    def __init__(self, world: World, seconds: float, *names: str) -> None:
        self._world, self._seconds, self._names = world, seconds, names
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._world.dataset_files, name)
        if name not in self._names:
            return real

        def slowly(*args: Any, **options: Any) -> Any:
            self.calls.append((name, options))
            self._world.clock.advance(self._seconds)
            return real(*args, **options)

        return slowly


def service_with(world: World, files: Any) -> DatasetService:
    return DatasetService(replace(world.ports, dataset_files=files))
