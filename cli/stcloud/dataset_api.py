"""The calls of the API about datasets, one method each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote

from stcloud.api import Api
from stcloud.client import shaped
from stcloud.errors import ApiError, NotFound, PermissionDenied, ServerError
from stcloud.models import Download, Staged, UploadBatch, Version

_DATASET = ("dataset_id", "latest_version", "source_path", "updated_at")
_FILE_CHANGE = ("path", "change", "size", "base_size")
_DOWNLOAD = ("path", "size", "sha256", "url")
_ARCHIVE = ("archive_id", "status")
CONSENTS = ("ask", "allow", "deny")


#: What the server says of a deletion whose time is up, and calls that it may take, each of a thousand objects or more.
UNFINISHED = "deletion_unfinished"
MAX_DELETIONS = 2000
#: Calls in a row that deleted nothing.
MAX_IDLE = 5


@dataclass(frozen=True)
class Deleted:
    """What the calls of one deletion removed. ``answer`` is the last one's, empty when it was lost."""

    objects: int = 0
    bytes: int = 0
    answer: Mapping[str, Any] = field(default_factory=dict)

    def more(self, answer: Mapping[str, Any]) -> Deleted:
        objects, size = (int(answer.get(name) or 0) for name in ("deleted_objects", "deleted_bytes"))
        return Deleted(self.objects + objects, self.bytes + size)

    def ended(self, answer: Mapping[str, Any]) -> Deleted:
        """With the last call's share. A server that counts over all calls knows of those of an earlier command too."""
        done = self.more(answer)
        objects, size = int(answer.get("total_objects") or 0), int(answer.get("total_bytes") or 0)
        return Deleted(max(done.objects, objects), max(done.bytes, size), answer)


class DatasetApi(Api):
    """Every method raises ApiError and NetworkError."""

    # --- pushing ----------------------------------------------------------------------------------------------
    def consent(self) -> str:
        """``ask``, ``allow`` or ``deny``; ``ask`` where the server has no such setting or the caller may not see it."""
        try:
            setting = self.consent_setting()
        except (NotFound, PermissionDenied):
            return "ask"
        except ApiError as error:
            if error.code == "not_the_api":
                return "ask"
            raise
        return setting if setting in CONSENTS else "ask"

    def consent_setting(self) -> str:
        return str(self._client.call("GET", "/cloud/data-consent/setting", needs=("consent",))["consent"])

    def set_consent(self, consent: str) -> str:
        """Returns the setting as it is now."""
        answer = self._client.call("PUT", "/cloud/data-consent/setting", json={"consent": consent}, needs=("consent",))
        return str(answer["consent"])

    def stage_manifest(self, dataset_id: str, size: int, sha256: str) -> Staged:
        """Where a manifest that is too large for ``create_version`` is put first."""
        path = f"/cloud/datasets/{_quoted(dataset_id)}/manifests"
        body = {"size": size, "sha256": sha256}
        return cast(Staged, self._client.call("POST", path, json=body, needs=("manifest_id", "url", "headers")))

    def create_version(self, dataset_id: str, source_path: str, content: Mapping[str, Any]) -> Version:
        """``content``: ``files`` or ``manifest_id``."""
        body = {"dataset_id": dataset_id, "source_path": source_path, **content}
        return cast(Version, self._client.call("POST", "/cloud/datasets", json=body, needs=_version()))

    def uploads(self, dataset_id: str, version_id: str, *, after: str | None, limit: int) -> UploadBatch:
        """Presigned PUTs of the next files that are not there yet."""
        body = {"limit": limit} if after is None else {"limit": limit, "after": after}
        path = f"{_path(dataset_id, version_id)}/uploads"
        answer = self._client.call("POST", path, json=body, needs=("uploads", "present", "next"))
        return cast(UploadBatch, answer)

    def finish_upload(self, dataset_id: str, version_id: str, file: str) -> None:
        """Puts the parts of a file together. Raises Conflict (``upload_incomplete``)."""
        self._client.call("POST", f"{_path(dataset_id, version_id)}/uploads/finish", json={"path": file})

    def complete(self, dataset_id: str, version_id: str) -> Version:
        answer = self._client.call("POST", f"{_path(dataset_id, version_id)}/complete", needs=_version())
        return cast(Version, answer)

    # --- looking ----------------------------------------------------------------------------------------------
    def datasets(self) -> Iterator[dict[str, Any]]:
        return self._pages("/cloud/datasets", "datasets", {}, _DATASET)

    def dataset(self, dataset_id: str) -> dict[str, Any]:
        return self._client.call("GET", f"/cloud/datasets/{_quoted(dataset_id)}", needs=(*_DATASET, "versions"))

    def version(self, dataset_id: str, version_id: str) -> dict[str, Any]:
        return self._client.call("GET", _path(dataset_id, version_id), needs=(*_version(), "manifest_url"))

    def usage(self) -> dict[str, Any]:
        needs = ("bytes", "quota_bytes", "versions", "datasets")
        return self._client.call("GET", "/cloud/datasets/usage", needs=needs)

    def report(self, dataset_id: str, version_id: str) -> dict[str, Any]:
        return self._client.call("GET", f"{_path(dataset_id, version_id)}/report")

    def inspect(self, dataset_id: str, version_id: str) -> dict[str, Any]:
        """Starts the inspection again. Raises Conflict while one runs."""
        return self._client.call("POST", f"{_path(dataset_id, version_id)}/inspect")

    def diff(
        self, dataset_id: str, version_id: str, base: str | None, *, cursor: str | None, limit: int
    ) -> dict[str, Any]:
        """``base`` None: the ready version made before this one."""
        query = {"base": base, "limit": limit, "cursor": cursor}
        answer = self._client.call(
            "GET", f"{_path(dataset_id, version_id)}/diff", query=query, needs=("base", "files", "next")
        )
        for entry in answer["files"]:
            shaped(entry, _FILE_CHANGE, self.url)
        return answer

    def downloads(
        self, dataset_id: str, version_id: str, *, after: str | None, limit: int
    ) -> tuple[list[Download], str | None]:
        """URLs of the files behind ``after``, and where to go on (None: these were the last)."""
        body = {"limit": limit} if after is None else {"limit": limit, "after": after}
        path = f"{_path(dataset_id, version_id)}/downloads"
        answer = self._client.call("POST", path, json=body, needs=("downloads", "next"))
        return cast(list[Download], [shaped(d, _DOWNLOAD, self.url) for d in answer["downloads"]]), answer["next"]

    # --- keeping ----------------------------------------------------------------------------------------------
    def delete(
        self, dataset_id: str, version_id: str | None = None, *, on_progress: Callable[[int], None] | None = None
    ) -> Deleted:
        """Deletes the dataset, or one version. A large one takes several calls, each of which says what it deleted;
        ``on_progress`` hears of the objects so far.

        Raises ApiError too when the server does not get on with it.
        """
        path = f"/cloud/datasets/{_quoted(dataset_id)}" if version_id is None else _path(dataset_id, version_id)
        done, idle = Deleted(), 0
        for number in range(MAX_DELETIONS):
            try:
                return done.ended(self._client.call("DELETE", path, final=(UNFINISHED,)))
            except NotFound:
                # The call before may have ended it, and its answer been lost.
                if number == 0:
                    raise
                return done
            except ServerError as error:
                if error.code != UNFINISHED:
                    raise
                before, done = done, done.more(error.extra)
                idle = idle + 1 if done == before else 0
                if idle >= MAX_IDLE or number + 1 == MAX_DELETIONS:
                    raise
                (on_progress or (lambda _objects: None))(done.objects)
                self._client.wait(0, error.retry_after)
        raise AssertionError("unreachable: the last call returns or raises")

    def set_retention(self, dataset_id: str, days: int | None) -> dict[str, Any]:
        body = {"retention_days": days}
        return self._client.call("PATCH", f"/cloud/datasets/{_quoted(dataset_id)}", json=body, needs=("dataset_id",))

    # --- archives ---------------------------------------------------------------------------------------------
    def create_archive(self, dataset_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._client.call("POST", f"/cloud/datasets/{_quoted(dataset_id)}/archives", json=body, needs=_ARCHIVE)

    def archive_parts(self, dataset_id: str, archive_id: str, *, after: int, limit: int) -> dict[str, Any]:
        """URLs of the parts behind number ``after`` that are not there yet."""
        path = f"{_archive(dataset_id, archive_id)}/parts"
        return self._client.call("POST", path, json={"after": after, "limit": limit}, needs=("parts", "next"))

    def complete_archive(self, dataset_id: str, archive_id: str) -> dict[str, Any]:
        return self._client.call("POST", f"{_archive(dataset_id, archive_id)}/complete", needs=_ARCHIVE)

    def archive(self, dataset_id: str, archive_id: str) -> dict[str, Any]:
        return self._client.call("GET", _archive(dataset_id, archive_id), needs=_ARCHIVE)


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _path(dataset_id: str, version_id: str) -> str:
    return f"/cloud/datasets/{_quoted(dataset_id)}/versions/{_quoted(version_id)}"


def _archive(dataset_id: str, archive_id: str) -> str:
    return f"/cloud/datasets/{_quoted(dataset_id)}/archives/{_quoted(archive_id)}"


def _version() -> frozenset[str]:
    return Version.__required_keys__
