"""The calls of the API, one method each. Names that come from the user are quoted into the path."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote

from stcloud.client import Client, shaped
from stcloud.errors import ApiError, Conflict
from stcloud.models import Job, OutputFile, Outputs, Progress, Submitted

PAGE = 200
#: More pages than any list of this product has; a server that goes on forever is broken.
MAX_PAGES = 10_000
# What the commands show of answers that have no class in ``models``.
_HEALTH = ("status", "version", "stage", "sandbox", "components")
_CONFIG = ("name", "version", "model_family", "model_type", "modified_at", "description")
_PREFLIGHT = ("ok", "findings", "checks", "estimate")
_LOGS = ("logs", "truncated", "complete", "next_offset", "size")
_EVENT = ("at", "type", "message")


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
        return self._client.call("GET", "/cloud/health", needs=_HEALTH)

    # --- configs ----------------------------------------------------------------------------------------------
    def save_config(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._client.call("PUT", f"/configs/{_quoted(name)}", json=body, needs=("name", "version"))

    def configs(self) -> Iterator[dict[str, Any]]:
        return self._pages("/configs", "configs", {}, _CONFIG)

    def config(self, name: str, version: int | None = None) -> dict[str, Any]:
        needs = ("name", "version", "versions", "config", "dataloader_config")
        return self._client.call("GET", f"/configs/{_quoted(name)}", query={"version": version}, needs=needs)

    def delete_config(self, name: str) -> dict[str, Any]:
        return self._client.call("DELETE", f"/configs/{_quoted(name)}")

    # --- jobs -------------------------------------------------------------------------------------------------
    def preflight(self, body: Mapping[str, Any], *, provider: str) -> dict[str, Any]:
        """Every check of a submission; makes nothing."""
        query = {"provider": provider}
        return self._client.call("POST", "/cloud/jobs/preflight", json=body, query=query, needs=_PREFLIGHT)

    def submit(self, body: Mapping[str, Any], *, provider: str, idempotency_key: str) -> Submitted:
        done = self._client.call(
            "POST",
            "/cloud/jobs/submit",
            json=body,
            query={"provider": provider},
            headers={"Idempotency-Key": idempotency_key},
            limits_are_final=True,
            needs=Submitted.__required_keys__,
        )
        shaped(done["job"], Job.__required_keys__, self.url)
        return cast(Submitted, done)

    def jobs(self, *, status: str | None = None, sync: bool = False, limit: int) -> Iterator[Job]:
        """The newest ``limit`` jobs."""
        query = {"status": status, "sync_active": "true" if sync else None, "limit": min(limit, PAGE)}
        for count, job in enumerate(self._pages("/cloud/jobs", "jobs", query, Job.__required_keys__)):
            if count >= limit:
                return
            yield cast(Job, job)

    def job(self, job_id: str) -> Job:
        answer = self._client.call("GET", f"/cloud/jobs/{_quoted(job_id)}", needs=("job",))
        return cast(Job, shaped(answer["job"], Job.__required_keys__, self.url))

    def progress(self, job_id: str) -> Progress:
        """One look, not repeated: whoever polls looks again anyway."""
        path = f"/cloud/jobs/{_quoted(job_id)}/inline-progress"
        return cast(Progress, self._client.call("GET", path, attempts=1, needs=Progress.__required_keys__))

    def logs(self, job_id: str, *, offset: int | None = None) -> dict[str, Any]:
        return self._client.call("GET", f"/cloud/jobs/{_quoted(job_id)}/logs", query={"offset": offset}, needs=_LOGS)

    def events(self, job_id: str) -> Iterator[dict[str, Any]]:
        after = 0
        for _ in range(MAX_PAGES):
            query = {"after": after, "limit": PAGE}
            path = f"/cloud/jobs/{_quoted(job_id)}/events"
            answer = self._client.call("GET", path, query=query, needs=("events", "next"))
            for event in answer["events"]:
                yield shaped(event, _EVENT, self.url)
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
            answer = self._client.call("GET", path, query={"after": after}, needs=Outputs.__required_keys__)
            files += cast(list[OutputFile], answer["files"])
            after = answer.get("next")
            if after is None:
                return cast(Outputs, {**answer, "files": files})
        raise _endless()

    def manifest(self, job_id: str) -> dict[str, Any]:
        """All of it, page by page."""
        path = f"/cloud/jobs/{_quoted(job_id)}/manifest"
        files: list[dict[str, Any]] = []
        after: str | None = None
        for _ in range(MAX_PAGES):
            answer = self._client.call("GET", path, query={"after": after}, needs=("files", "complete", "next"))
            files += answer["files"]
            after = answer["next"]
            if after is None:
                return {**answer, "files": files}
        raise _endless()

    def escrow_days(self) -> dict[str, Any]:
        return self._client.call("GET", "/cloud/escrow/settings", needs=("days",))

    def set_escrow_days(self, days: int | None) -> dict[str, Any]:
        return self._client.call("PUT", "/cloud/escrow/settings", json={"days": days}, needs=("days",))

    def set_job_escrow(self, job_id: str, days: int | None) -> dict[str, Any]:
        path = f"/cloud/jobs/{_quoted(job_id)}/escrow"
        return self._client.call("PUT", path, json={"days": days}, needs=("days", "expires_at"))

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Asks for the end of a job. A job that is cancelled already is what was wanted.

        Raises Conflict (``invalid_job_state``) when it is over otherwise.
        """
        try:
            return self._client.call("POST", f"/cloud/jobs/{_quoted(job_id)}/cancel")
        except Conflict as conflict:
            details = conflict.extra.get("details")
            state = details.get("current_state") if isinstance(details, dict) else None
            if state == "cancelled":
                return {"success": True, "job_id": job_id, "status": "cancelled", "cancel_requested": True}
            if conflict.code == "invalid_job_state":
                # The server's words are SimpleTuner's, made for programs.
                raise conflict.said(f"The job is over ({state}); nothing to cancel.") from None
            raise

    def delete_job(self, job_id: str) -> dict[str, Any]:
        return self._client.call("DELETE", f"/cloud/jobs/{_quoted(job_id)}")

    def _pages(self, path: str, key: str, query: Mapping[str, Any], needs: Collection[str]) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            answer = self._client.call("GET", path, query={"limit": PAGE, **query, "cursor": cursor}, needs=(key,))
            for entry in answer[key]:
                yield shaped(entry, needs, self.url)
            cursor = answer.get("next")
            if cursor is None:
                return
        raise _endless()


def _endless() -> ApiError:
    return ApiError(200, "Endless list", "The server's list has no end.", code="endless_list")
