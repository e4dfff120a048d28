"""Datasets: a version is made from a manifest, filled by presigned PUTs, and immutable once every file is confirmed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.datasets import (
    Dataset,
    DatasetVersion,
    ManifestFile,
    VersionStatus,
    file_problem,
    merkle_root,
    sorted_files,
    version_id_of,
)
from chalicelib.domain.ports import InvalidCursorError, Ports, PresignedPut, StaleRecordError
from chalicelib.errors import BadRequest, Conflict, FieldError, NotFound, PayloadTooLarge, ValidationFailed
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.services import inspection
from chalicelib.services.dataset_records import change_dataset, repoint
from chalicelib.services.dataset_removal import DatasetRemoval

URL_LIFETIME = timedelta(hours=1)
#: How exactly it is known when somebody last worked on an upload.
TOUCH_EVERY = timedelta(days=1)
#: One confirming call looks at this many files at most, so that it ends well within API Gateway's 29 seconds.
CONFIRM_BATCH = 1_000
CONFIRM_THREADS = 16
MAX_VERSION_BYTES = 1024**4
#: How many problems one answer lists.
MAX_LISTED = 50


@dataclass(frozen=True)
class UploadBatch:
    uploads: list[tuple[ManifestFile, PresignedPut]]
    present: int
    next: str | None


class DatasetService:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def create_version(self, owner: str, body: NewVersionBody) -> tuple[DatasetVersion, bool]:
        """Creates the version of this manifest, or finds it: the same content has the same version id.

        Returns the version and whether it is new. The dataset's ``source_path`` becomes this one; its latest version
        becomes this one once it is ready. Raises ValidationFailed, PayloadTooLarge, Conflict (``version_deleting``).
        """
        files = self._checked(body.files)
        root = merkle_root(files)
        version_id = version_id_of(root)
        now = self._ports.clock.now()
        source = body.source_path.rstrip("/") or body.source_path if body.source_path else None
        proposed = DatasetVersion(
            owner=owner,
            dataset_id=body.dataset_id,
            version_id=version_id,
            status=VersionStatus.UPLOADING,
            source_path=source,
            files=len(files),
            bytes=sum(f.size for f in files),
            merkle_root=root,
            prefix=f"{owner}/{body.dataset_id}/{version_id}/",
            manifest_key=f"_manifests/{owner}/{body.dataset_id}/{version_id}.json",
            created_at=now,
            touched_at=now,
        )
        # The manifest is written first: a version record without one could never be completed.
        data = json.dumps([f.model_dump() for f in files], ensure_ascii=False, separators=(",", ":")).encode()
        self._ports.dataset_files.put(proposed.manifest_key, data, content_type="application/json")
        version = self._ports.datasets.create_version(proposed)
        if version.status is VersionStatus.DELETING:
            raise Conflict(
                f"The same files are being deleted as version {version_id}. Push them again when that is done; should "
                "it not end, delete the version once more.",
                code="version_deleting",
            )
        ready = version.status is VersionStatus.READY
        if version.created_at != now:
            self._touch(version, now)

        def decide(dataset: Dataset | None) -> Dataset:
            if dataset is None:
                latest = version_id if ready else None
                return Dataset(
                    owner=owner,
                    dataset_id=body.dataset_id,
                    source_path=source,
                    latest_version=latest,
                    created_at=now,
                    updated_at=now,
                )
            latest = version_id if ready else dataset.latest_version
            return dataset.changed(now, source_path=source or dataset.source_path, latest_version=latest)

        change_dataset(self._ports, owner, body.dataset_id, decide)
        if ready:
            repoint(self._ports, owner, body.dataset_id)
        return version, version.created_at == now and not ready

    def _touch(self, version: DatasetVersion, now: datetime) -> None:
        """Notes that somebody goes on with the upload, so that it is not taken for one that was given up."""
        if version.status is VersionStatus.READY or now - (version.touched_at or version.created_at) < TOUCH_EVERY:
            return
        # When somebody else changed it at this moment, that was noted too.
        with suppress(StaleRecordError):
            self._ports.datasets.update_version(version.changed(touched_at=now))

    @staticmethod
    def _checked(files: Sequence[ManifestFile]) -> list[ManifestFile]:
        problems: list[FieldError] = []
        seen: set[str] = set()
        for i, file in enumerate(files):
            problem = file_problem(file)
            if problem is None and file.path in seen:
                problem = f"path '{file.path}' is listed twice"
            if problem is not None:
                problems.append(FieldError(f"files.{i}", problem, "invalid_file"))
                if len(problems) >= MAX_LISTED:
                    break
            seen.add(file.path)
        if problems:
            raise ValidationFailed(
                f"{len(problems)} manifest entries are not acceptable: {problems[0].field} {problems[0].message}",
                code="invalid_manifest",
                errors=problems,
            )
        total = sum(f.size for f in files)
        if total > MAX_VERSION_BYTES:
            raise PayloadTooLarge(f"A version may have {MAX_VERSION_BYTES} bytes; this one has {total}. Split it.")
        return sorted_files(files)

    def uploads(self, owner: str, dataset_id: str, version_id: str, *, after: str | None, limit: int) -> UploadBatch:
        """Presigned PUTs for up to ``limit`` files behind ``after`` that are not in S3 yet, good for an hour.

        Each URL accepts exactly its file: the checksum is part of the signature. Raises NotFound.
        """
        version = self._version(owner, dataset_id, version_id)
        if version.status is VersionStatus.READY:
            return UploadBatch([], version.files, None)
        files: Sequence[ManifestFile] = self._manifest(version)
        if after is not None:
            files = [f for f in files if f.path.encode() > after.encode()]
        there = self._sizes(version, after)
        now = self._ports.clock.now()
        self._touch(version, now)
        batch: list[tuple[ManifestFile, PresignedPut]] = []
        present = 0
        for i, file in enumerate(files):
            if there.get(file.path) == file.size:
                present += 1
                continue
            put = self._ports.dataset_files.presign_put(
                version.prefix + file.path, size=file.size, sha256=file.sha256, now=now, expires=URL_LIFETIME
            )
            batch.append((file, put))
            if len(batch) == limit:
                return UploadBatch(batch, present, file.path if i + 1 < len(files) else None)
        return UploadBatch(batch, present, None)

    def _sizes(self, version: DatasetVersion, after: str | None) -> dict[str, int]:
        start = version.prefix + after if after is not None else None
        objects = self._ports.dataset_files.list(version.prefix, start_after=start, limit=version.files + 1)
        return {info.key[len(version.prefix) :]: info.size for info in objects}

    def complete(self, owner: str, dataset_id: str, version_id: str) -> DatasetVersion:
        """Confirms that every file is there with its size and checksum; READY when all are.

        Looks at CONFIRM_BATCH files a call and remembers how far it came: while the answer is still UPLOADING, call
        again. Raises NotFound, Conflict (``upload_incomplete``, naming up to 50 files).
        """
        version = self._version(owner, dataset_id, version_id)
        if version.status is VersionStatus.READY:
            return version
        batch = self._manifest(version)[version.checked : version.checked + CONFIRM_BATCH]
        with ThreadPoolExecutor(CONFIRM_THREADS) as pool:
            wrong = [problem for problem in pool.map(lambda f: self._problem(version, f), batch) if problem]
        if wrong:
            raise Conflict(
                f"{len(wrong)} files are missing or differ from the manifest. Ask for their upload URLs again, upload "
                "them, then complete again.",
                code="upload_incomplete",
                errors=wrong[:MAX_LISTED],
            )
        checked = version.checked + len(batch)
        now = self._ports.clock.now()
        done = checked >= version.files
        confirmed = version.changed(
            checked=checked,
            status=VersionStatus.READY if done else VersionStatus.UPLOADING,
            completed_at=now if done else None,
            touched_at=now,
            # In the same write: a job must never see a version that is ready and not to be inspected.
            inspection=inspection.asked(now) if done else None,
        )
        try:
            self._ports.datasets.update_version(confirmed)
        except StaleRecordError:
            # Another call of this kind came first, or a deletion. What it wrote is what is true.
            current = self._ports.datasets.get_version(owner, dataset_id, version_id)
            if current is None or current.status is VersionStatus.DELETING:
                raise NotFound(f"Version {version_id} was deleted meanwhile.", code="version_not_found") from None
            return current
        if done:
            self._make_latest(confirmed)
            inspection.start(self._ports, confirmed)
        return confirmed

    def _problem(self, version: DatasetVersion, file: ManifestFile) -> FieldError | None:
        info = self._ports.dataset_files.head(version.prefix + file.path)
        if info is None:
            return FieldError(file.path, "is missing", "missing")
        if info.size != file.size or info.sha256 != file.sha256:
            return FieldError(file.path, "has other content than the manifest says", "differs")
        return None

    def _make_latest(self, version: DatasetVersion) -> None:
        now = self._ports.clock.now()

        def decide(dataset: Dataset | None) -> Dataset:
            if dataset is not None:
                return dataset.changed(now, latest_version=version.version_id)
            return Dataset(
                owner=version.owner,
                dataset_id=version.dataset_id,
                source_path=version.source_path,
                latest_version=version.version_id,
                created_at=now,
                updated_at=now,
            )

        change_dataset(self._ports, version.owner, version.dataset_id, decide)
        # It may have been deleted between the two writes.
        repoint(self._ports, version.owner, version.dataset_id)

    def list(self, owner: str, *, limit: int, cursor: str | None) -> tuple[list[Dataset], str | None]:
        try:
            return self._ports.datasets.list_datasets(owner, limit=limit, cursor=cursor)
        except InvalidCursorError:
            raise BadRequest("The cursor is not one of this list.", code="invalid_cursor") from None

    def get(self, owner: str, dataset_id: str) -> tuple[Dataset, Sequence[DatasetVersion]]:
        """The dataset and its versions, newest first, without those that are being deleted. Raises NotFound."""
        dataset = self._ports.datasets.get_dataset(owner, dataset_id)
        if dataset is None:
            raise NotFound(f"Dataset '{dataset_id}' not found.", code="dataset_not_found")
        versions = self._ports.datasets.list_versions(owner, dataset_id)
        return dataset, [v for v in versions if v.status is not VersionStatus.DELETING]

    def version(self, owner: str, dataset_id: str, version_id: str) -> tuple[DatasetVersion, str]:
        """The version and a link to its manifest, good for an hour."""
        version = self._version(owner, dataset_id, version_id)
        return version, self._ports.dataset_files.presign_get(version.manifest_key, expires=URL_LIFETIME)

    def delete(self, owner: str, dataset_id: str) -> int:
        """Deletes the dataset with all versions. Returns the number of objects deleted.

        Raises NotFound, Conflict (``dataset_in_use``), Unavailable (``deletion_unfinished``: repeat the call).
        """
        return DatasetRemoval(self._ports).dataset(owner, dataset_id)

    def delete_version(self, owner: str, dataset_id: str, version_id: str) -> int:
        """Deletes one version, also one whose deletion was broken off. Raises NotFound, Conflict."""
        return DatasetRemoval(self._ports).version(self._version(owner, dataset_id, version_id, deleting=True))

    def _version(self, owner: str, dataset_id: str, version_id: str, *, deleting: bool = False) -> DatasetVersion:
        """Raises NotFound, unless ``deleting`` also for a version that is being deleted."""
        version = self._ports.datasets.get_version(owner, dataset_id, version_id)
        if version is None or (version.status is VersionStatus.DELETING and not deleting):
            raise NotFound(f"Version '{version_id}' of dataset '{dataset_id}' not found.", code="version_not_found")
        return version

    def _manifest(self, version: DatasetVersion) -> Sequence[ManifestFile]:
        data = self._ports.dataset_files.get(version.manifest_key)
        if data is None:
            raise NotFound(
                f"The manifest of version '{version.version_id}' is gone; push the dataset again.",
                code="version_not_found",
            )
        return list(_parse_manifest(data))


def _parse_manifest(data: bytes) -> Iterator[ManifestFile]:
    for line in json.loads(data):
        yield ManifestFile.model_validate(line)
