"""The calls of the API, one method each. Names that come from the user are quoted into the path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote

from stcloud.client import Client
from stcloud.errors import ApiError, Conflict
from stcloud.models import Job, OutputFile, Outputs, Progress, Upload, Version

PAGE = 200
#: More pages than any list of this product has; a server that goes on forever is broken.
MAX_PAGES = 10_000


def _quoted(name: str) -> str:
    return quote(name, safe="")


class Api:
    """Typed calls over a Client. Every method raises ApiError and NetworkError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def url(self) -> str:
        return self._client.url

    def health(self) -> dict[str, Any]:
        return self._client.call("GET", "/cloud/health")

    # --- datasets ---------------------------------------------------------------------------------------------
    def create_version(self, dataset_id: str, source_path: str, files: list[dict[str, Any]]) -> Version:
        body = {"dataset_id": dataset_id, "source_path": source_path, "files": files}
        return cast(Version, self._client.call("POST", "/cloud/datasets", json=body))

    def uploads(self, dataset_id: str, version_id: str) -> Iterator[Upload]:
        """Presigned PUTs of every file that is not there yet, fetched as they are needed."""
        path = f"/cloud/datasets/{_quoted(dataset_id)}/versions/{_quoted(version_id)}/uploads"
        after: str | None = None
        for _ in range(MAX_PAGES):
            body = {"limit": PAGE} if after is None else {"limit": PAGE, "after": after}
            answer = self._client.call("POST", path, json=body)
            yield from cast(list[Upload], answer["uploads"])
            after = answer["next"]
            if after is None:
                return
        raise _endless()

    def complete(self, dataset_id: str, version_id: str) -> Version:
        path = f"/cloud/datasets/{_quoted(dataset_id)}/versions/{_quoted(version_id)}/complete"
        return cast(Version, self._client.call("POST", path))

    def datasets(self) -> Iterator[dict[str, Any]]:
        return self._pages("/cloud/datasets", "datasets", {})

    def dataset(self, dataset_id: str) -> dict[str, Any]:
        return self._client.call("GET", f"/cloud/datasets/{_quoted(dataset_id)}")

    def delete_dataset(self, dataset_id: str) -> dict[str, Any]:
        return self._client.call("DELETE", f"/cloud/datasets/{_quoted(dataset_id)}")

    # --- configs ----------------------------------------------------------------------------------------------
    def save_config(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._client.call("PUT", f"/configs/{_quoted(name)}", json=body)

    def configs(self) -> Iterator[dict[str, Any]]:
        return self._pages("/configs", "configs", {})

    def config(self, name: str, version: int | None = None) -> dict[str, Any]:
        return self._client.call("GET", f"/configs/{_quoted(name)}", query={"version": version})

    def delete_config(self, name: str) -> dict[str, Any]:
        return self._client.call("DELETE", f"/configs/{_quoted(name)}")

    # --- jobs -------------------------------------------------------------------------------------------------
    def submit(self, body: Mapping[str, Any], *, provider: str, idempotency_key: str) -> dict[str, Any]:
        return self._client.call(
            "POST",
            "/cloud/jobs/submit",
            json=body,
            query={"provider": provider},
            headers={"Idempotency-Key": idempotency_key},
            limits_are_final=True,
        )

    def jobs(self, *, status: str | None = None, sync: bool = False, limit: int) -> Iterator[Job]:
        """The newest ``limit`` jobs."""
        query = {"status": status, "sync_active": "true" if sync else None, "limit": min(limit, PAGE)}
        for count, job in enumerate(self._pages("/cloud/jobs", "jobs", query)):
            if count >= limit:
                return
            yield cast(Job, job)

    def job(self, job_id: str) -> Job:
        return cast(Job, self._client.call("GET", f"/cloud/jobs/{_quoted(job_id)}")["job"])

    def progress(self, job_id: str) -> Progress:
        """One look, not repeated: whoever polls looks again anyway."""
        return cast(Progress, self._client.call("GET", f"/cloud/jobs/{_quoted(job_id)}/inline-progress", attempts=1))

    def logs(self, job_id: str, *, offset: int | None = None) -> dict[str, Any]:
        return self._client.call("GET", f"/cloud/jobs/{_quoted(job_id)}/logs", query={"offset": offset})

    def events(self, job_id: str) -> Iterator[dict[str, Any]]:
        after = 0
        for _ in range(MAX_PAGES):
            answer = self._client.call(
                "GET", f"/cloud/jobs/{_quoted(job_id)}/events", query={"after": after, "limit": PAGE}
            )
            yield from answer["events"]
            if answer["next"] is None:
                return
            after = answer["next"]
        raise _endless()

    def outputs(self, job_id: str) -> Outputs:
        """All files of the job, however many pages they take; the other facts are the last page's."""
        path = f"/cloud/jobs/{_quoted(job_id)}/outputs"
        files: list[OutputFile] = []
        after: str | None = None
        for _ in range(MAX_PAGES):
            answer = self._client.call("GET", path, query={"after": after})
            files += cast(list[OutputFile], answer["files"])
            after = answer.get("next")
            if after is None:
                return cast(Outputs, {**answer, "files": files})
        raise _endless()

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Asks for the end of a job. A job that is cancelled already is what was wanted."""
        try:
            return self._client.call("POST", f"/cloud/jobs/{_quoted(job_id)}/cancel")
        except Conflict as conflict:
            details = conflict.extra.get("details")
            if isinstance(details, dict) and details.get("current_state") == "cancelled":
                return {"success": True, "job_id": job_id, "status": "cancelled", "cancel_requested": True}
            raise

    def delete_job(self, job_id: str) -> dict[str, Any]:
        return self._client.call("DELETE", f"/cloud/jobs/{_quoted(job_id)}")

    def _pages(self, path: str, key: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            answer = self._client.call("GET", path, query={"limit": PAGE, **query, "cursor": cursor})
            yield from answer[key]
            cursor = answer.get("next")
            if cursor is None:
                return
        raise _endless()


def _endless() -> ApiError:
    return ApiError(200, "Endless list", "The server's list has no end.", code="endless_list")
