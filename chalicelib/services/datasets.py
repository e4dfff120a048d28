"""Datasets: a version is made from a manifest, filled by presigned PUTs, and immutable once every file is confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from chalicelib.domain.dataset_diff import Diff, diff
from chalicelib.domain.datasets import (
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    RESERVED_NAMES,
    Dataset,
    DatasetVersion,
    ManifestFile,
    VersionStatus,
    file_problem,
    is_name,
    merkle_root,
    place_of,
    sorted_files,
    version_id_of,
)
from chalicelib.domain.ports import (
    DatasetUsage,
    InvalidCursorError,
    Ports,
    PresignedPut,
    QuotaExceededError,
    StaleRecordError,
)
from chalicelib.errors import BadRequest, Conflict, FieldError, NotFound, PayloadTooLarge, ValidationFailed
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.services.dataset_completion import DatasetCompletion
from chalicelib.services.dataset_parts import LargeFiles
from chalicelib.services.dataset_records import change_dataset, repoint
from chalicelib.services.dataset_removal import DatasetRemoval, Removal
from chalicelib.services.dataset_uploads import URL_LIFETIME, DatasetUploads, UploadBatch
from chalicelib.services.manifests import MAX_LISTED, Manifests, encode, file_of, parse_uploaded, position

#: How exactly it is known when somebody last worked on an upload.
TOUCH_EVERY = timedelta(days=1)
MAX_VERSION_BYTES = 1024**4
#: Pages of datasets that are counted.
MAX_PAGES = 20


class DatasetService:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._manifests = Manifests(ports)
        self._uploads = DatasetUploads(ports, self._manifests)
        self._large = LargeFiles(ports)
        self._completion = DatasetCompletion(ports, self._manifests)

    def create_version(self, owner: str, body: NewVersionBody) -> tuple[DatasetVersion, bool]:
        """Creates the version of this manifest, or finds it: the same content has the same version id.

        Returns the version and whether it is new. The dataset's ``source_path`` becomes this one; its latest version
        becomes this one once it is ready. Raises ValidationFailed, PayloadTooLarge (also ``quota_exceeded``), NotFound
        (``manifest_not_found``), Conflict (``version_deleting``).
        """
        files = self._new_files(owner, body)
        root = merkle_root(files)
        version_id = version_id_of(root)
        now = self._ports.clock.now()
        source = body.source_path.rstrip("/") or body.source_path if body.source_path else None
        # Of this record alone: neither a deletion that goes on nor a URL from before it can touch what comes after.
        place = place_of(version_id, self._ports.ids.job_id())
        proposed = DatasetVersion(
            owner=owner,
            dataset_id=body.dataset_id,
            version_id=version_id,
            status=VersionStatus.UPLOADING,
            source_path=source,
            files=len(files),
            bytes=sum(f.size for f in files),
            merkle_root=root,
            prefix=f"{owner}/{body.dataset_id}/{place}/",
            manifest_key=f"_manifests/{owner}/{body.dataset_id}/{place}.json",
            created_at=now,
            counted_bytes=sum(f.size for f in files),
            parted_bytes=sum(f.size for f in files if f.parts is not None),
            touched_at=now,
        )
        version = self._stored(proposed, files)
        if version.status is VersionStatus.DELETING:
            raise Conflict(
                f"The same files are being deleted as version {version_id}. Push them again when that is done; should "
                "it not end, delete the version once more.",
                code="version_deleting",
            )
        ready = version.status is VersionStatus.READY
        created = version.prefix == proposed.prefix
        if not created:
            self._refuse_other_parts(version, files)
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
            return dataset.changed(
                now,
                source_path=source or dataset.source_path,
                latest_version=version_id if ready else dataset.latest_version,
                removed_objects=0,
                removed_bytes=0,
            )

        change_dataset(self._ports, owner, body.dataset_id, decide)
        if ready:
            repoint(self._ports, owner, body.dataset_id)
        return version, created

    def _stored(self, proposed: DatasetVersion, files: Sequence[ManifestFile]) -> DatasetVersion:
        known = self._ports.datasets.get_version(proposed.owner, proposed.dataset_id, proposed.version_id)
        if known is not None:
            return known
        # The manifest is written first: a version record without one could never be completed.
        self._ports.dataset_files.put(proposed.manifest_key, encode(files), content_type="application/x-ndjson")
        quota = self.quota_bytes
        try:
            stored = self._ports.datasets.create_version(proposed, quota_bytes=quota)
            if stored.manifest_key != proposed.manifest_key:
                self._ports.dataset_files.delete([proposed.manifest_key])
            return stored
        except QuotaExceededError as error:
            self._ports.dataset_files.delete([proposed.manifest_key])
            raise PayloadTooLarge(
                f"Your datasets take {error.used} of {quota} bytes, and this version has {proposed.bytes}. Delete old "
                "versions, set retention_days, or ask your administrator for a larger quota.",
                code="quota_exceeded",
                extra={"used_bytes": error.used, "quota_bytes": quota, "needed_bytes": proposed.bytes},
            ) from None

    def _refuse_other_parts(self, version: DatasetVersion, files: Sequence[ManifestFile]) -> None:
        """The id of a version says nothing of the parts of its files; S3 compares what comes with those of its
        manifest."""
        if version.status is VersionStatus.READY or all(f.parts is None for f in files):
            return
        other = [f.path for f, known in zip(files, self._manifests.of(version), strict=True) if f.parts != known.parts]
        if other:
            raise Conflict(
                f"The same files are being uploaded as version {version.version_id}, and '{other[0]}' has other parts "
                "there: one of the two pushes hashed them wrongly, or while the file changed. Hash the file again; if "
                f"yours are right, delete version {version.version_id} and push again.",
                code="parts_differ",
                errors=[FieldError(path, "has other parts", "parts_differ") for path in other[:MAX_LISTED]],
            )

    def _touch(self, version: DatasetVersion, now: datetime) -> None:
        """Notes that somebody goes on with the upload, so that it is not taken for one that was given up."""
        if version.status is VersionStatus.READY or now - (version.touched_at or version.created_at) < TOUCH_EVERY:
            return
        # When somebody else changed it at this moment, that was noted too.
        with suppress(StaleRecordError):
            self._ports.datasets.update_version(version.changed(touched_at=now))

    def _new_files(self, owner: str, body: NewVersionBody) -> Sequence[ManifestFile]:
        """The files of the body, or of the manifest that was uploaded before; sorted."""
        if body.files is not None:
            problems = _problems_of(body.files)
            files = body.files if problems else sorted_files(body.files)
        else:
            key = _staging_key(owner, body.dataset_id, body.manifest_id or "")
            data = self._ports.dataset_files.get(key, length=MAX_MANIFEST_BYTES)
            if data is None:
                raise NotFound(
                    "The manifest is not there: it was not uploaded, or more than a day ago, or for another dataset. "
                    "Ask for a URL, and upload it.",
                    code="manifest_not_found",
                )
            files, problems = parse_uploaded(data, MAX_FILES)
        if problems:
            raise ValidationFailed(
                f"{len(problems)} manifest entries are not acceptable: {problems[0].field} {problems[0].message}",
                code="invalid_manifest",
                errors=problems,
            )
        total = sum(f.size for f in files)
        if total > MAX_VERSION_BYTES:
            raise PayloadTooLarge(f"A version may have {MAX_VERSION_BYTES} bytes; this one has {total}. Split it.")
        return files

    def stage_manifest(self, owner: str, dataset_id: str, *, size: int, sha256: str) -> tuple[str, PresignedPut]:
        """A place for a manifest that is too large for a request: its id, and where to PUT it. Good for a day.

        Raises ValidationFailed for what can't be the id of a dataset."""
        if not is_name(dataset_id) or dataset_id in RESERVED_NAMES:
            raise ValidationFailed(f"'{dataset_id[:100]}' can't be the id of a dataset.", code="invalid_name")
        manifest_id = self._ports.ids.token()
        put = self._ports.dataset_files.presign_put(
            _staging_key(owner, dataset_id, manifest_id),
            size=size,
            sha256=sha256,
            now=self._ports.clock.now(),
            expires=URL_LIFETIME,
        )
        return manifest_id, put

    def uploads(self, owner: str, dataset_id: str, version_id: str, *, after: str | None, limit: int) -> UploadBatch:
        """The next PUTs of a version, see DatasetUploads. Raises NotFound."""
        version = self._version(owner, dataset_id, version_id)
        self._touch(version, self._ports.clock.now())
        return self._uploads.batch(version, after=after, limit=limit)

    def finish_file(self, owner: str, dataset_id: str, version_id: str, path: str) -> ManifestFile:
        """Puts the parts of one file together; no effect when that was done. Raises NotFound, Conflict."""
        version = self._version(owner, dataset_id, version_id)
        file = file_of(self._manifests.of(version), path)
        if file is None:
            raise NotFound(f"Version {version_id} has no file '{path}'.", code="file_not_found")
        if version.status is not VersionStatus.READY:
            if file.parts is None:
                raise Conflict(
                    f"'{path}' has no parts: it is there once its PUT was answered with 200.", code="file_has_no_parts"
                )
            self._large.finish(version, file)
        return file

    def complete(self, owner: str, dataset_id: str, version_id: str) -> DatasetVersion:
        """Confirms the next files of a version, see DatasetCompletion: while the answer is UPLOADING, call again."""
        return self._completion.confirm(self._version(owner, dataset_id, version_id))

    def downloads(
        self, owner: str, dataset_id: str, version_id: str, *, after: str | None, limit: int
    ) -> tuple[list[tuple[ManifestFile, str]], str | None]:
        """Links to the next ``limit`` files behind ``after``, good for an hour, and where to go on.

        Raises NotFound, Conflict (``version_not_ready``)."""
        version = self._version(owner, dataset_id, version_id)
        if version.status is not VersionStatus.READY:
            raise Conflict(f"Version {version_id} is not complete yet.", code="version_not_ready")
        files = self._manifests.of(version)
        start = position(files, after, behind=True) if after is not None else 0
        page = files[start : start + limit]
        store = self._ports.dataset_files
        links = [(f, store.presign_get(version.prefix + f.path, expires=URL_LIFETIME)) for f in page]
        return links, page[-1].path if start + limit < len(files) else None

    def diff(
        self, owner: str, dataset_id: str, version_id: str, base_id: str | None
    ) -> tuple[DatasetVersion, DatasetVersion | None, Diff]:
        """What is different from ``base_id``, or from the ready version that was made before this one. Raises
        NotFound."""
        version = self._version(owner, dataset_id, version_id)
        if base_id is not None:
            base: DatasetVersion | None = self._version(owner, dataset_id, base_id)
        else:
            older = self._ports.datasets.list_versions(owner, dataset_id)
            older = [v for v in older if v.status is VersionStatus.READY and v.created_at < version.created_at]
            base = older[0] if older else None
        return version, base, diff(self._manifests.of(base) if base else (), self._manifests.of(version))

    def set_retention(self, owner: str, dataset_id: str, days: int | None) -> Dataset:
        """Old versions are removed so many days after they were complete; None: never. Raises NotFound."""
        now = self._ports.clock.now()

        def decide(dataset: Dataset | None) -> Dataset:
            if dataset is None:
                raise NotFound(f"Dataset '{dataset_id}' not found.", code="dataset_not_found")
            due = now if days is not None else None
            return dataset.changed(now, retention_days=days, retention_due=due)

        change_dataset(self._ports, owner, dataset_id, decide)
        return self.get(owner, dataset_id)[0]

    def usage(self, owner: str) -> tuple[DatasetUsage, int]:
        """What the owner's versions take of the quota, and how many datasets there are."""
        count, cursor = 0, None
        for _ in range(MAX_PAGES):
            found, cursor = self._ports.datasets.list_datasets(owner, limit=500, cursor=cursor)
            count += len(found)
            if cursor is None:
                break
        return self._ports.datasets.usage(owner), count

    @property
    def quota_bytes(self) -> int:
        return self._ports.limits.dataset_quota_bytes

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

    def delete(self, owner: str, dataset_id: str) -> Removal:
        """Deletes the dataset with all versions.

        Raises NotFound, Conflict (``dataset_in_use``), Unavailable (``deletion_unfinished``: repeat the call).
        """
        return DatasetRemoval(self._ports).dataset(owner, dataset_id)

    def delete_version(self, owner: str, dataset_id: str, version_id: str) -> Removal:
        """Deletes one version, also one whose deletion was broken off. Raises NotFound, Conflict."""
        return DatasetRemoval(self._ports).version(self._version(owner, dataset_id, version_id, deleting=True))

    def _version(self, owner: str, dataset_id: str, version_id: str, *, deleting: bool = False) -> DatasetVersion:
        """Raises NotFound, unless ``deleting`` also for a version that is being deleted."""
        version = self._ports.datasets.get_version(owner, dataset_id, version_id)
        if version is None or (version.status is VersionStatus.DELETING and not deleting):
            raise NotFound(f"Version '{version_id}' of dataset '{dataset_id}' not found.", code="version_not_found")
        return version


def _problems_of(files: Sequence[ManifestFile]) -> list[FieldError]:
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
    return problems


def _staging_key(owner: str, dataset_id: str, manifest_id: str) -> str:
    return f"_staging/{owner}/{dataset_id}/{manifest_id}.jsonl"
