"""The calls of deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from stcloud.client import Client, shaped

# What the commands show of answers.
_DELIVERY = (
    *("delivery_id", "kind", "destination", "state", "is_over", "cancel_requested", "origin"),
    *("percent", "bytes_total", "bytes_done", "next_try_at", "problem", "result"),
)
_SUMMARY = ("state", "verified", "open", "failed")


class DeliveryApi:
    """Every method raises ApiError and NetworkError. Asking for a delivery twice is safe: one that goes to the same
    place is found again while it is open."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def deliver(self, job_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        path = f"{_job(job_id)}/deliver"
        answer = self._client.call("POST", path, json=body, needs=("deliveries", "made"))
        for delivery in answer["deliveries"]:
            shaped(delivery, _DELIVERY, self._client.url)
        return answer

    def of_job(self, job_id: str) -> dict[str, Any]:
        """``deliveries``, of which the first is escrow, and their ``summary``."""
        answer = self._client.call("GET", f"{_job(job_id)}/deliveries", needs=("deliveries", "summary"))
        shaped(answer["summary"], _SUMMARY, self._client.url)
        for delivery in answer["deliveries"]:
            shaped(delivery, _DELIVERY, self._client.url)
        return answer

    def cancel(self, job_id: str, delivery_id: str) -> dict[str, Any]:
        return self._one(job_id, delivery_id, "cancel")

    def retry(self, job_id: str, delivery_id: str) -> dict[str, Any]:
        return self._one(job_id, delivery_id, "retry")

    def _one(self, job_id: str, delivery_id: str, action: str) -> dict[str, Any]:
        path = f"{_job(job_id)}/deliveries/{quote(delivery_id, safe='')}/{action}"
        delivery = self._client.call("POST", path, needs=("delivery",))["delivery"]
        return shaped(delivery, _DELIVERY, self._client.url)


def _job(job_id: str) -> str:
    return f"/cloud/jobs/{quote(job_id, safe='')}"
