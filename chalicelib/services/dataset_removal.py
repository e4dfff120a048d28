"""Deleting datasets and versions, without taking one away from a job that has just been submitted.

A version is marked DELETING first; from then on no submit takes it (its transaction looks at the mark). Then the jobs
are looked at once more: one that was taken just before the mark gets the version back. Only then bytes are deleted,
and the record last. Whoever comes to a removal that was broken off takes it over: marks it anew, and so tells the other
one, should it still be alive, that the record is not its own any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.datasets import AbandonedPrefix, Dataset, DatasetVersion, VersionStatus
from chalicelib.domain.inspection_report import reports_prefix
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.errors import Conflict, NotFound, Unavailable
from chalicelib.services.archive_ending import remove_archive_of_version, remove_archives_of_dataset
from chalicelib.services.dataset_records import change_dataset, repoint

#: One call deletes for about so long, well within API Gateway's 29 seconds; repeating it goes on.
BUDGET = timedelta(seconds=18)
#: Pages of versions looked through in one call, 1,000 each, and tries to mark one.
MAX_ROUNDS = 100
#: Unfinished uploads in parts that are aborted in one go.
MAX_UPLOADS = 1_000
#: All URLs that were handed out have expired so long after a deletion; they are good for an hour.
URLS_LIVE = timedelta(hours=2)
#: Objects deleted between two looks at the clock; S3's page.
PAGE = 1_000


class _OutOfTimeError(Exception):
    """The rest comes with the next call. ``removed`` is what this one removed of the version at hand."""

    def __init__(self, removed: Removed) -> None:
        super().__init__(removed)
        self.removed = removed


@dataclass(frozen=True)
class Removed:
    """What was removed from S3."""

    objects: int = 0
    bytes: int = 0

    def __add__(self, other: Removed) -> Removed:
        return Removed(self.objects + other.objects, self.bytes + other.bytes)


@dataclass(frozen=True)
class Removal:
    """What ``call`` removed, and what all calls that it took removed ``in_all``."""

    call: Removed
    in_all: Removed


class DatasetRemoval:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def dataset(self, owner: str, dataset_id: str) -> Removal:
        """Deletes all versions, then the dataset.

        Raises NotFound, Conflict (``dataset_in_use``), Unavailable (``deletion_unfinished``: repeat the call).
        """
        store = self._ports.datasets
        if store.get_dataset(owner, dataset_id) is None:
            raise NotFound(f"Dataset '{dataset_id}' not found.", code="dataset_not_found")
        self._refuse_if_used(owner, dataset_id, None)
        remove_archives_of_dataset(self._ports, owner, dataset_id)
        until = self._ports.clock.now() + BUDGET
        deleted = Removed()
        for _ in range(MAX_ROUNDS):
            # The record is read before the versions: one that is pushed meanwhile changes it, and it stays.
            dataset = store.get_dataset(owner, dataset_id)
            versions = store.list_versions(owner, dataset_id)
            for version in versions:
                if self._ports.clock.now() > until:
                    raise self._broken_off(owner, dataset_id, deleted)
                try:
                    deleted += self._remove_one_of_all(version, until)
                except _OutOfTimeError as late:
                    raise self._broken_off(owner, dataset_id, deleted + late.removed) from None
            if versions:
                continue
            try:
                if dataset is not None:
                    store.delete_dataset(dataset)
            except StaleRecordError:
                continue
            return Removal(deleted, deleted + _before(dataset))
        raise self._broken_off(owner, dataset_id, deleted)

    def _broken_off(self, owner: str, dataset_id: str, deleted: Removed) -> Unavailable:
        """Remembers what this call removed, for the one that ends the deletion."""

        def decide(dataset: Dataset | None) -> Dataset | None:
            if dataset is None:
                return None
            sums = _before(dataset) + deleted
            return dataset.changed(dataset.updated_at, removed_objects=sums.objects, removed_bytes=sums.bytes)

        change_dataset(self._ports, owner, dataset_id, decide)
        return _unfinished(dataset_id, deleted)

    def version(self, version: DatasetVersion) -> Removal:
        """Deletes one version.

        Raises Conflict (``dataset_in_use``), Unavailable (``deletion_unfinished``: repeat the call)."""
        self._refuse_if_used(version.owner, version.dataset_id, version.version_id)
        try:
            deleted = self._remove(version, self._ports.clock.now() + BUDGET)
        except _OutOfTimeError as late:
            raise _unfinished(version.dataset_id, late.removed) from None
        repoint(self._ports, version.owner, version.dataset_id)
        return Removal(deleted, deleted + _before(version))

    def unchanged_version(self, version: DatasetVersion) -> bool:
        """Deletes the version if nobody has changed it since it was read; True when it did."""
        doomed = version.changed(status=VersionStatus.DELETING, touched_at=self._ports.clock.now())
        try:
            self._ports.datasets.update_version(doomed)
        except StaleRecordError:
            return False
        try:
            self._finish(version, doomed, self._ports.clock.now() + BUDGET)
        except _OutOfTimeError as late:
            raise _unfinished(version.dataset_id, late.removed) from None
        repoint(self._ports, version.owner, version.dataset_id)
        return True

    def _remove_one_of_all(self, version: DatasetVersion, until: datetime) -> Removed:
        try:
            return self._remove(version, until)
        except Conflict:
            # It stays, and newer ones may be gone.
            repoint(self._ports, version.owner, version.dataset_id)
            raise

    def _remove(self, version: DatasetVersion, until: datetime) -> Removed:
        store = self._ports.datasets
        current: DatasetVersion | None = version
        for _ in range(MAX_ROUNDS):
            if current is None:
                return Removed()
            doomed = current.changed(status=VersionStatus.DELETING, touched_at=self._ports.clock.now())
            try:
                store.update_version(doomed)
            except StaleRecordError:
                current = store.get_version(version.owner, version.dataset_id, version.version_id)
                continue
            return self._finish(current, doomed, until)
        raise _OutOfTimeError(Removed())

    def _finish(self, before: DatasetVersion, doomed: DatasetVersion, until: datetime) -> Removed:
        """Deletes what is marked as ``doomed``, or gives it back as it was ``before`` when a job uses it."""
        try:
            self._refuse_if_used(doomed.owner, doomed.dataset_id, doomed.version_id)
        except Conflict:
            self._give_back(before, doomed)
            raise
        try:
            deleted = self._delete_files(doomed, until)
        except _OutOfTimeError as late:
            self._note(doomed, late.removed)
            raise
        # A URL that was handed out before the mark still writes: what comes by it goes when it has expired.
        leaves = AbandonedPrefix(prefix=doomed.prefix, due_at=self._ports.clock.now() + URLS_LIVE)
        try:
            self._ports.datasets.delete_version(
                doomed.owner, doomed.dataset_id, doomed.version_id, revision=doomed.revision, leaves=leaves
            )
        except StaleRecordError:
            return deleted  # another removal took over and ends it
        remove_archive_of_version(self._ports, doomed)
        return deleted

    def _note(self, doomed: DatasetVersion, removed: Removed) -> None:
        sums = _before(doomed) + removed
        # Another removal took over, and has its own sums.
        with suppress(StaleRecordError):
            self._ports.datasets.update_version(doomed.changed(removed_objects=sums.objects, removed_bytes=sums.bytes))

    def _delete_files(self, doomed: DatasetVersion, until: datetime) -> Removed:
        """Parts of unfinished uploads, files, report, and the manifest last: what is broken off can be gone on with."""
        store = self._ports.dataset_files
        for upload in store.multiparts(doomed.prefix, limit=MAX_UPLOADS):
            store.abort_multipart(upload.key, upload.upload_id)
        deleted = Removed()
        for prefix in (doomed.prefix, reports_prefix(doomed)):
            sizes: list[int] = []

            def keys(prefix: str = prefix, sizes: list[int] = sizes) -> Iterator[str]:
                for info in store.list(prefix):
                    if len(sizes) % PAGE == 0 and sizes and self._ports.clock.now() > until:
                        return
                    sizes.append(info.size)
                    yield info.key

            store.delete(keys())
            deleted += Removed(len(sizes), sum(sizes))
            if next(iter(store.list(prefix, limit=1)), None) is not None:
                raise _OutOfTimeError(deleted)
        manifest = store.head(doomed.manifest_key)
        if manifest is not None:
            store.delete([doomed.manifest_key])
            deleted += Removed(1, manifest.size)
        return deleted

    def _give_back(self, before: DatasetVersion, doomed: DatasetVersion) -> None:
        if before.status is VersionStatus.DELETING:
            return  # nobody knows how far the removal before this one came
        try:
            self._ports.datasets.update_version(doomed.changed(status=before.status, touched_at=before.touched_at))
        except StaleRecordError:
            return  # another removal took over and has looked at the jobs itself

    def _refuse_if_used(self, owner: str, dataset_id: str, version_id: str | None) -> None:
        """A version in use by an active job stays. The owner's slots name every active job, strongly consistent."""
        for job_id in self._ports.jobs.slot_holders(owner):
            job = self._ports.jobs.get(job_id)
            if job is None or job.is_terminal:
                continue
            if any(d.dataset_id == dataset_id and version_id in {None, d.version_id} for d in job.datasets):
                raise Conflict(
                    f"Job {job_id} is using this dataset. Wait for it to end, or cancel it first.",
                    code="dataset_in_use",
                    extra={"job_id": job_id},
                )


def _before(thing: Dataset | DatasetVersion | None) -> Removed:
    """What earlier calls removed."""
    return Removed() if thing is None else Removed(thing.removed_objects, thing.removed_bytes)


def _unfinished(dataset_id: str, deleted: Removed) -> Unavailable:
    return Unavailable(
        f"Dataset '{dataset_id}' is large: {deleted.objects} objects are deleted so far. Repeat the request to go on.",
        code="deletion_unfinished",
        retry_after=1,
        extra={"deleted_objects": deleted.objects, "deleted_bytes": deleted.bytes},
    )
