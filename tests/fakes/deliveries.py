"""The DeliveryStore port in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from chalicelib.domain.deliveries import Delivery
from chalicelib.domain.ports import StaleRecordError


class InMemoryDeliveryStore:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._deliveries: dict[tuple[str, str], Delivery] = {}

    def create(self, delivery: Delivery) -> None:
        with self._lock:
            if _key(delivery) in self._deliveries:
                raise StaleRecordError(delivery.delivery_id)
            self._deliveries[_key(delivery)] = delivery

    def get(self, job_id: str, delivery_id: str) -> Delivery | None:
        return self._deliveries.get((job_id, delivery_id))

    def update(self, delivery: Delivery) -> None:
        with self._lock:
            current = self._deliveries.get(_key(delivery))
            if current is None or current.revision != delivery.revision - 1:
                raise StaleRecordError(delivery.delivery_id)
            self._deliveries[_key(delivery)] = delivery

    def list_of(self, job_id: str, *, limit: int = 100) -> Sequence[Delivery]:
        return sorted((d for d in self._all() if d.job_id == job_id), key=_id)[:limit]

    def list_open(self, *, limit: int = 100, after: str | None = None) -> Sequence[Delivery]:
        found = (d for d in self._all() if not d.settled and (after is None or d.delivery_id > after))
        return sorted(found, key=_id)[:limit]

    def delete_of(self, job_id: str) -> None:
        with self._lock:
            for key in [key for key in self._deliveries if key[0] == job_id]:
                del self._deliveries[key]

    def _all(self) -> list[Delivery]:
        with self._lock:
            return list(self._deliveries.values())


def _key(delivery: Delivery) -> tuple[str, str]:
    return delivery.job_id, delivery.delivery_id


def _id(delivery: Delivery) -> str:
    return delivery.delivery_id
