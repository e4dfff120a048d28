"""An archive's way through the service and the steps, as the state machine runs them, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chalicelib.domain.archives import ArchiveRecord, ArchiveReport
from chalicelib.domain.ports import Ports
from chalicelib.schemas.archives import NewArchiveBody
from chalicelib.services.manifests import decode
from chalicelib.workflow.unpack_assemble import assemble_archive
from chalicelib.workflow.unpack_piece import unpack_piece
from chalicelib.workflow.unpack_plan import plan_archive
from tests.fakes.world import OWNER, World

DATASET = "packed"
MAX_CALLS = 500


@dataclass(frozen=True)
class Unpacked:
    """What became of an archive. ``files`` are the version's, by path."""

    archive: ArchiveRecord
    report: ArchiveReport
    files: dict[str, bytes]

    @property
    def code(self) -> str:
        """``ready``, or why it was refused."""
        return self.archive.failure.code if self.archive.failure else self.archive.status.value

    @property
    def left_out(self) -> dict[str, str]:
        return {entry.path: entry.code for entry in self.report.left_out}


def upload(world: World, data: bytes, filename: str = "a.zip", **body: Any) -> ArchiveRecord:
    """Through the service, up to its completion; nothing is unpacked yet."""
    service = world.services.archives
    wanted = NewArchiveBody(filename=filename, size=len(data), **body)
    archive, batch = service.create(OWNER, DATASET, wanted, limit=1000)
    for number, size, put in batch.parts:
        start = (number - 1) * archive.part_size
        world.dataset_files.upload(put.url, put.headers, data[start : start + size], now=world.clock.now())
    return service.complete(OWNER, DATASET, archive.archive_id)


def event_of(archive: ArchiveRecord) -> dict[str, Any]:
    return {
        "owner": archive.owner,
        "dataset_id": archive.dataset_id,
        "archive_id": archive.archive_id,
        "attempt": archive.attempt,
    }


def run_steps(archive: ArchiveRecord, ports: Ports, tick: Callable[[], None] = lambda: None) -> None:
    """What ``infra/unpack.asl.json`` does; ``tick`` is called before each step."""
    event = event_of(archive)
    for _ in range(MAX_CALLS):
        tick()
        planned = plan_archive(event, ports)
        if planned["next"] != "plan":
            break
    if planned["next"] == "done":
        return
    for item in planned["items"]:
        for _ in range(MAX_CALLS):
            tick()
            if not unpack_piece({**event, **item}, ports)["more"]:
                break
    tick()
    assemble_archive(event, ports)


def result(world: World, archive: ArchiveRecord) -> Unpacked:
    current = world.services.archives.get(archive.owner, archive.dataset_id, archive.archive_id)
    report = world.services.archives.report(current)
    assert report is not None, f"{current.status} is not the end"
    files: dict[str, bytes] = {}
    if current.failure is None:
        assert current.version_id is not None
        version = world.ports.datasets.get_version(OWNER, DATASET, current.version_id)
        assert version is not None
        manifest = world.dataset_files.get(version.manifest_key)
        assert manifest is not None
        for file in decode(manifest):
            content = world.dataset_files.get(version.prefix + file.path)
            assert content is not None, file.path
            assert len(content) == file.size
            files[file.path] = content
    return Unpacked(current, report, files)


def unpack(world: World, data: bytes, filename: str = "a.zip", **body: Any) -> Unpacked:
    archive = upload(world, data, filename, **body)
    run_steps(archive, world.ports)
    return result(world, archive)
