"""Archives: one upload in parts, by any HTTP client, that is then unpacked on our side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.domain.archives import (
    COMPRESSED_TAR_SUFFIXES,
    MAX_COMPRESSED_TAR_BYTES,
    MAX_OPEN_ARCHIVES,
    ArchiveRecord,
    ArchiveReport,
    ArchiveStatus,
)
from chalicelib.domain.datasets import is_name
from chalicelib.domain.ports import (
    InvalidCursorError,
    MultipartGoneError,
    PartInfo,
    PartRefusedError,
    Ports,
    PresignedPut,
    StaleRecordError,
)
from chalicelib.errors import (
    AppError,
    BadRequest,
    Conflict,
    FieldError,
    NotFound,
    PayloadTooLarge,
    ValidationFailed,
)
from chalicelib.schemas.archives import NewArchiveBody
from chalicelib.services.archive_ending import remove_archives

URL_LIFETIME = timedelta(hours=1)
#: How exactly it is known when somebody last worked on an upload.
TOUCH_EVERY = timedelta(hours=6)
#: How many parts one refusal lists.
MAX_LISTED = 50


@dataclass(frozen=True)
class PartBatch:
    """URLs of parts that are not there, by number; ``next`` is the number to go on behind, None at the end."""

    parts: list[tuple[int, int, PresignedPut]]
    present: int
    next: int | None


class ArchiveService:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def create(
        self, owner: str, dataset_id: str, body: NewArchiveBody, *, limit: int
    ) -> tuple[ArchiveRecord, PartBatch]:
        """Starts an upload. Raises ValidationFailed, PayloadTooLarge (``compressed_tar_too_large``,
        ``quota_exceeded``), Conflict (``too_many_archives``)."""
        if not is_name(dataset_id):
            raise ValidationFailed(
                "A dataset's name is 100 letters, digits, '.', '_' and '-' at most, beginning with a letter or digit.",
                code="invalid_name",
            )
        if body.filename.lower().endswith(COMPRESSED_TAR_SUFFIXES) and body.size > MAX_COMPRESSED_TAR_BYTES:
            raise PayloadTooLarge(
                f"A compressed tar may have {MAX_COMPRESSED_TAR_BYTES // 1024**3} GiB: it can only be read from front "
                "to back. Send a zip or an uncompressed tar, or push the folder: stcloud datasets push",
                code="compressed_tar_too_large",
            )
        if body.hash_is_too_much:
            raise PayloadTooLarge(
                "The SHA-256 of an archive above 20 GiB can't be compared: leave it out. A zip has a CRC-32 of "
                "each file, and those are compared.",
                code="archive_too_large_to_hash",
            )
        self._refuse_beyond_quota(owner, body.size)
        archive_id = self._ports.ids.job_id()
        now = self._ports.clock.now()
        source = body.source_path.rstrip("/") or body.source_path if body.source_path else None
        archive = ArchiveRecord(
            owner=owner,
            dataset_id=dataset_id,
            archive_id=archive_id,
            filename=body.filename,
            size=body.size,
            sha256=body.sha256,
            source_path=source,
            upload_id="",
            created_at=now,
            touched_at=now,
        )
        # Without checksums: those of the parts would have to be sent as headers, which no plain client makes. Zip and
        # the compressed forms have their own, and a SHA-256 that was announced is compared.
        upload_id = self._ports.dataset_files.start_multipart(archive.key, checksum=False)
        archive = archive.model_copy(update={"upload_id": upload_id})
        self._ports.archives.create(archive)
        return archive, self._batch(archive, after=0, limit=limit, there=frozenset())

    def _refuse_beyond_quota(self, owner: str, size: int) -> None:
        quota = self._ports.limits.dataset_quota_bytes
        others = self._ports.archives.list_open(owner)
        if len(others) >= MAX_OPEN_ARCHIVES:
            named = ", ".join(f"{a.archive_id} of '{a.dataset_id}' ({a.status.value})" for a in others)
            raise Conflict(
                f"{len(others)} archives are being uploaded or unpacked: {named}. Wait for one to end, or delete one: "
                "DELETE /api/cloud/datasets/{dataset_id}/archives/{archive_id}",
                code="too_many_archives",
            )
        # What is on its way counts like what is there.
        used = self._ports.datasets.usage(owner).bytes + sum(a.size for a in others)
        if used + size > quota:
            raise PayloadTooLarge(
                f"Your datasets and open archives take {used} of {quota} bytes, and this archive has {size}. Delete "
                "old versions, set retention_days, or ask your administrator for a larger quota.",
                code="quota_exceeded",
                extra={"used_bytes": used, "quota_bytes": quota, "needed_bytes": size},
            )

    def parts(self, owner: str, dataset_id: str, archive_id: str, *, after: int, limit: int) -> PartBatch:
        """URLs of up to ``limit`` parts behind number ``after`` that are not there yet, good for an hour.

        Raises NotFound, Conflict (``archive_not_uploading``, ``upload_expired``).
        """
        archive = self.get(owner, dataset_id, archive_id)
        if archive.status is not ArchiveStatus.UPLOADING:
            raise _not_uploading(archive)
        there = {part.number for part in self._there(archive) if part.size == archive.part_bytes(part.number)}
        now = self._ports.clock.now()
        if now - archive.touched_at > TOUCH_EVERY:
            # Whoever changed it at this moment noted the same.
            with suppress(StaleRecordError):
                self._ports.archives.update(archive.changed(now))
        return self._batch(archive, after=after, limit=limit, there=there)

    def _batch(self, archive: ArchiveRecord, *, after: int, limit: int, there: frozenset[int] | set[int]) -> PartBatch:
        now = self._ports.clock.now()
        missing = [n for n in range(after + 1, archive.parts + 1) if n not in there]
        batch = [
            (
                number,
                size := archive.part_bytes(number),
                self._ports.dataset_files.presign_part(
                    archive.key, archive.upload_id, number, size=size, sha256=None, now=now, expires=URL_LIFETIME
                ),
            )
            for number in missing[:limit]
        ]
        present = max(0, archive.parts - after) - len(missing)
        return PartBatch(batch, present, batch[-1][0] if len(missing) > limit else None)

    def _there(self, archive: ArchiveRecord) -> Sequence[PartInfo]:
        try:
            found = self._ports.dataset_files.list_parts(archive.key, archive.upload_id)
        except MultipartGoneError:
            raise Conflict(
                "The upload has expired or was thrown away. Start a new one.", code="upload_expired"
            ) from None
        return [part for part in found if part.number <= archive.parts]

    def complete(self, owner: str, dataset_id: str, archive_id: str) -> ArchiveRecord:
        """Puts the parts together and has the archive unpacked. Safe to repeat.

        Raises NotFound, Conflict (``upload_incomplete``, naming up to 50 parts, ``upload_expired``).
        """
        archive = self.get(owner, dataset_id, archive_id)
        if archive.status is ArchiveStatus.UNPACKING:
            self._start(archive)
            return archive
        if archive.status.is_over:
            return archive
        store = self._ports.dataset_files
        whole = store.head(archive.key)
        if whole is None or whole.size != archive.size:
            parts = self._there(archive)
            self._refuse_incomplete(archive, parts)
            try:
                store.finish_multipart(archive.key, archive.upload_id, parts)
            except (PartRefusedError, MultipartGoneError):
                raise Conflict(
                    "A part was replaced at this moment. Complete again.", code="upload_incomplete"
                ) from None
        now = self._ports.clock.now()
        started = archive.changed(now, status=ArchiveStatus.UNPACKING, attempt=1, attempt_at=now)
        try:
            self._ports.archives.update(started)
        except StaleRecordError:
            # Another call of this kind came first, or a deletion.
            return self.get(owner, dataset_id, archive_id)
        self._start(started)
        return started

    def _refuse_incomplete(self, archive: ArchiveRecord, parts: Sequence[PartInfo]) -> None:
        sizes = {part.number: part.size for part in parts}
        problems = []
        for number in range(1, archive.parts + 1):
            size, wanted = sizes.get(number), archive.part_bytes(number)
            if size is None:
                problems.append(FieldError(f"parts.{number}", "is missing", "missing"))
            elif size != wanted:
                problems.append(FieldError(f"parts.{number}", f"has {size} bytes instead of {wanted}", "differs"))
        if problems:
            said = "1 part is missing or has" if len(problems) == 1 else f"{len(problems)} parts are missing or have"
            raise Conflict(
                f"{said} another size. Ask for URLs again, upload what they name, then complete again.",
                code="upload_incomplete",
                errors=problems[:MAX_LISTED],
            )

    def _start(self, archive: ArchiveRecord) -> None:
        # What can't be started now, the sweeper starts.
        with suppress(AppError):
            self._ports.dataset_runner.start_unpack(
                archive.owner, archive.dataset_id, archive.archive_id, archive.attempt
            )

    def get(self, owner: str, dataset_id: str, archive_id: str) -> ArchiveRecord:
        """Raises NotFound."""
        archive = self._ports.archives.get(owner, dataset_id, archive_id)
        if archive is None:
            raise NotFound(f"Archive '{archive_id}' of dataset '{dataset_id}' not found.", code="archive_not_found")
        return archive

    def report(self, archive: ArchiveRecord) -> ArchiveReport | None:
        """What was taken and what was left out, once it is over."""
        if not archive.status.is_over:
            return None
        data = self._ports.dataset_files.get(archive.report_key)
        return ArchiveReport.model_validate_json(data) if data is not None else None

    def list_of(
        self, owner: str, dataset_id: str, *, limit: int, cursor: str | None
    ) -> tuple[list[ArchiveRecord], str | None]:
        """Newest first. Raises BadRequest, NotFound when there is neither an archive nor a dataset of this name."""
        try:
            found, following = self._ports.archives.list_of(owner, dataset_id, limit=limit, cursor=cursor)
        except InvalidCursorError:
            raise BadRequest("The cursor is not one of this list.", code="invalid_cursor") from None
        if not found and cursor is None and self._ports.datasets.get_dataset(owner, dataset_id) is None:
            raise NotFound(f"Dataset '{dataset_id}' not found.", code="dataset_not_found")
        return found, following

    def delete(self, owner: str, dataset_id: str, archive_id: str) -> int:
        """Deletes the record, the upload and the report; a version that was made of it stays. Returns the number of
        objects deleted. Raises NotFound, Conflict (``archive_unpacking``)."""
        archive = self.get(owner, dataset_id, archive_id)
        if archive.status is ArchiveStatus.UNPACKING:
            raise Conflict("The archive is being unpacked. Wait for that to end.", code="archive_unpacking")
        return remove_archives(self._ports, [archive])


def _not_uploading(archive: ArchiveRecord) -> Conflict:
    return Conflict(
        f"The archive is {archive.status.value}: nothing can be uploaded any more.", code="archive_not_uploading"
    )
