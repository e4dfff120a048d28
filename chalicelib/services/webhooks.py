"""Webhooks of GPU providers: verified, deduplicated, and then only a hint that wakes the job's workflow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from chalicelib.domain.failures import ProviderFault
from chalicelib.domain.jobs import Job
from chalicelib.domain.lifecycle import Change, JobGoneError, change, mutate
from chalicelib.domain.ports import Ports
from chalicelib.domain.webhook_signing import WebhookRejected, check_form, verify
from chalicelib.errors import AuthenticationError, BadRequest, NotFound, PayloadTooLarge, Unavailable

MAX_BODY_BYTES = 5 * 1024 * 1024
#: Longer than the signature's tolerance on both sides, so that no replay slips in between.
REMEMBER_FOR = timedelta(minutes=15)
#: What may be looked up; a text that fits into no database key is no id.
_PREDICTION_ID = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True)
class Received:
    status: Literal["received", "duplicate", "ignored"]
    job_id: str | None = None
    reason: str | None = None
    updates: dict[str, Any] = field(default_factory=dict)


class WebhookService:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def receive(self, provider_name: str, headers: Mapping[str, str], body: bytes, tag: str | None) -> Received:
        """Takes one webhook: ``headers`` with lower-case names, the raw ``body``, ``tag`` from the URL (the job id).

        The body's claims are not believed: a verified webhook only makes the workflow ask the provider. Raises NotFound
        (provider), PayloadTooLarge, AuthenticationError (signature, timestamp), BadRequest (not JSON), Unavailable (the
        signing secret can't be had now; the sender will try again).
        """
        provider = self._ports.providers(provider_name)
        if provider is None:
            raise NotFound(f"Provider '{provider_name}' is not known here.", code="provider_not_found")
        if len(body) > MAX_BODY_BYTES:
            raise PayloadTooLarge(f"A webhook body may have {MAX_BODY_BYTES} bytes.")
        now = self._ports.clock.now()
        self._verify(provider_name, headers, body, now)
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            raise BadRequest("Invalid JSON payload", code="invalid_json") from None
        if not isinstance(payload, dict):
            raise BadRequest("Invalid JSON payload: not an object", code="invalid_json")
        webhook_id = headers["webhook-id"]
        if self._ports.webhooks.seen(provider_name, webhook_id, now=now):
            return Received("duplicate", job_id=tag)
        received = self._apply(provider_name, payload, tag, now)
        # Only now: the sender tries again with the same id when this one died in between, and that try must count.
        # Two at once may both be applied; a webhook only makes somebody look, so that costs a look.
        self._ports.webhooks.remember(provider_name, webhook_id, now=now, keep=REMEMBER_FOR)
        return received

    def _verify(self, provider_name: str, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        provider = self._ports.providers(provider_name)
        assert provider is not None  # noqa: S101 - checked by the caller
        try:
            check_form(headers, now=now)
            secret = provider.webhook_secret()
            try:
                verify(body, headers, [secret], now=now)
            except WebhookRejected as rejected:
                if not rejected.may_be_rotation:
                    raise
                fresh = provider.webhook_secret(refresh=True)
                if fresh == secret:
                    raise
                verify(body, headers, [fresh], now=now)
        except WebhookRejected as rejected:
            raise AuthenticationError(str(rejected), code="invalid_webhook_signature") from None
        except ProviderFault:
            raise Unavailable("The webhook signing secret can't be read now; send it again.") from None

    def _apply(self, provider_name: str, payload: Mapping[str, Any], tag: str | None, now: datetime) -> Received:
        prediction_id = payload.get("id") or payload.get("prediction_id") or payload.get("job_id")
        if not isinstance(prediction_id, str) or not _PREDICTION_ID.fullmatch(prediction_id):
            prediction_id = None
        job = self._ports.jobs.get(tag) if tag else None
        if job is None and prediction_id is not None:
            job = self._ports.jobs.find_by_prediction(provider_name, prediction_id)
        if job is None or job.provider != provider_name:
            return Received("ignored", reason="unknown job")
        if job.prediction_id is not None and prediction_id is not None and job.prediction_id != prediction_id:
            return Received("ignored", job_id=job.job_id, reason="not this job's prediction")
        claimed = payload.get("status")

        def decide(current: Job) -> Change | None:
            if current.is_terminal:
                return None
            news = claimed != current.provider_status
            return change(current.moved(now=now, webhook_seen_at=now, wakes=current.wakes + int(news)), now)

        try:
            job = mutate(self._ports.jobs, job.job_id, decide)
        except JobGoneError:
            return Received("ignored", reason="unknown job")
        if job.is_terminal:
            return Received("ignored", job_id=job.job_id, reason="the job is over")
        if job.task_token is not None and claimed != job.provider_status:
            self._ports.runner.wake(job.task_token)
        return Received("received", job_id=job.job_id)
