"""``DeliveryStore``: records of deliveries, and those of them that are open."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.deliveries import GIVE_UP_AFTER, Delivery, DeliveryState, Origin, delivery_id
from chalicelib.domain.destinations import HubDestination
from chalicelib.domain.ports import DeliveryStore, StaleRecordError
from chalicelib.store.deliveries import DynamoDeliveryStore
from tests.fakes.deliveries import InMemoryDeliveryStore
from tests.support.jobs import NOW, OWNER, together


@pytest.fixture(params=["memory", "dynamodb"])
def delivery_store(request: pytest.FixtureRequest) -> DeliveryStore:
    if request.param == "memory":
        return InMemoryDeliveryStore()
    return DynamoDeliveryStore(request.getfixturevalue("jobs_table"))


def a_delivery(number: int = 1, *, job_id: str = "j1", **changes: Any) -> Delivery:
    base = Delivery(
        delivery_id=delivery_id(job_id, number),
        job_id=job_id,
        owner=OWNER,
        destination=HubDestination(repo_id="acme/cats"),
        origin=Origin.REQUEST,
        created_at=NOW,
        updated_at=NOW,
        give_up_at=NOW + GIVE_UP_AFTER,
    )
    return base.model_copy(update=changes)


def failed(delivery: Delivery) -> Delivery:
    return delivery.moved(NOW, DeliveryState.FAILED)


def test_a_delivery_is_created_once_changed_and_kept(delivery_store: DeliveryStore) -> None:
    first = a_delivery()
    assert delivery_store.get("j1", first.delivery_id) is None
    delivery_store.create(first)
    with pytest.raises(StaleRecordError):
        delivery_store.create(a_delivery(bytes_total=7))
    assert delivery_store.get("j1", first.delivery_id) == first
    moved = first.moved(NOW + timedelta(seconds=1), DeliveryState.DELIVERING, bytes_done=3)
    delivery_store.update(moved)
    assert delivery_store.get("j1", first.delivery_id) == moved
    with pytest.raises(StaleRecordError):
        delivery_store.update(first.moved(NOW, DeliveryState.FAILED))
    with pytest.raises(StaleRecordError):
        delivery_store.update(a_delivery(2).moved(NOW, DeliveryState.DELIVERING))
    assert delivery_store.get("other", first.delivery_id) is None


def test_of_many_changes_at_once_one_wins(delivery_store: DeliveryStore) -> None:
    delivery_store.create(a_delivery())
    news = [a_delivery().moved(NOW, DeliveryState.DELIVERING, bytes_done=i) for i in range(6)]
    results = together(6, lambda i: delivery_store.update(news[i]))
    assert results.count(None) == 1
    assert sum(isinstance(r, StaleRecordError) for r in results) == 5
    assert delivery_store.get("j1", "d-j1-001") == news[results.index(None)]


def test_a_jobs_deliveries_come_in_order_of_creation(delivery_store: DeliveryStore) -> None:
    for number in (10, 2, 1):
        delivery_store.create(a_delivery(number))
    delivery_store.create(a_delivery(1, job_id="j2"))
    assert [d.delivery_id for d in delivery_store.list_of("j1")] == ["d-j1-001", "d-j1-002", "d-j1-010"]
    assert [d.delivery_id for d in delivery_store.list_of("j1", limit=1)] == ["d-j1-001"]
    assert delivery_store.list_of("j3") == []


def test_open_ones_are_found_until_they_are_settled(delivery_store: DeliveryStore) -> None:
    for job_id, number in (("j2", 1), ("j1", 2), ("j1", 1)):
        delivery_store.create(a_delivery(number, job_id=job_id))
    assert [d.delivery_id for d in delivery_store.list_open()] == ["d-j1-001", "d-j1-002", "d-j2-001"]
    assert [d.delivery_id for d in delivery_store.list_open(limit=1, after="d-j1-001")] == ["d-j1-002"]
    assert delivery_store.list_open(after="d-j2-001") == []
    delivery_store.update(a_delivery(1).moved(NOW, DeliveryState.DELIVERING))
    assert delivery_store.list_open()[0].state is DeliveryState.DELIVERING
    over = failed(a_delivery(2))
    delivery_store.update(over)
    assert delivery_store.list_open()[1] == over
    delivery_store.update(over.told_of(NOW))
    assert [d.delivery_id for d in delivery_store.list_open()] == ["d-j1-001", "d-j2-001"]


def test_deliveries_go_with_their_job(delivery_store: DeliveryStore) -> None:
    for number in range(1, 61):
        delivery_store.create(a_delivery(number))
    delivery_store.create(a_delivery(job_id="j2"))
    delivery_store.delete_of("j1")
    delivery_store.delete_of("j1")
    assert delivery_store.list_of("j1") == []
    assert [d.job_id for d in delivery_store.list_open()] == ["j2"]
    with pytest.raises(StaleRecordError):
        delivery_store.update(failed(a_delivery(1)))
    assert delivery_store.get("j1", "d-j1-001") is None
