"""Delivery by webhook in virtual time: the event, what its answers mean, and what a receipt makes of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from chalicelib.delivery.webhook import ANNOUNCED, UNANNOUNCED
from chalicelib.domain.credential_secrets import Given
from chalicelib.domain.credentials import CredentialKind
from chalicelib.domain.deliveries import DeliveryState
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.destinations import Part, WebhookDestination
from chalicelib.domain.model_event import MAX_LINKS
from chalicelib.services.credentials import CredentialService, find_credential, load_secret
from chalicelib.services.receipts import ReceiptService
from chalicelib.services.receipts import Receiver as Asking
from chalicelib.workflow.delivering import deliver_step
from tests.fakes.world import World
from tests.support.deliveries import FILES, HOOK, begin, completed_job, deliver, delivery_of, with_credentials
from tests.support.receivers import PUBLIC, Receiver

EXPECTED = httpx.Response(202, json={"receipt": "expected"})


@pytest.fixture
def receiver() -> Receiver:
    world = with_credentials(World())
    receiver = Receiver(world)
    world.ports = replace(world.ports, targets=receiver)
    world.machine.ports = world.ports
    world.delivery_runner.step = lambda event: deliver_step(event, world.ports)
    return receiver


def sent(receiver: Receiver, seconds: float = 0) -> None:
    """A delivery that the workflow has worked on for so long."""
    begin(receiver.world, completed_job(receiver.world), HOOK)
    receiver.world.settle()
    if seconds:
        deliver(receiver.world, seconds)


def says(receiver: Receiver, document: Any) -> None:
    body, headers = receiver.signed(document)
    ReceiptService(receiver.world.ports).take("job1", "d-job1-001", Asking(headers, body, None))


def test_the_event_names_every_file_with_hash_and_link(receiver: Receiver) -> None:
    sent(receiver)
    (event,) = receiver.events
    data = event["data"]
    assert event["type"] == "model.ready"
    assert (data["job_id"], data["delivery_id"], data["next"]) == ("job1", "d-job1-001", None)
    assert data["receipt_url"] == f"{PUBLIC}/api/cloud/jobs/job1/deliveries/d-job1-001/receipt"
    files = {f["path"]: f for f in data["files"]}
    assert set(files) == {"manifest.json", "pytorch_lora_weights.safetensors", "samples/one.png", "samples/two.png"}
    weights = FILES["checkpoint-200/pytorch_lora_weights.safetensors"]
    assert files["pytorch_lora_weights.safetensors"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert all(f["url"] for f in data["files"])
    assert data["manifest"]["sha256"] == files["manifest.json"]["sha256"]
    assert receiver.ids == ["d-job1-001"]
    assert delivery_of(receiver.world).state is DeliveryState.DELIVERED


def test_a_receiver_that_sends_no_receipt_has_answered_2xx_and_no_more_is_said(receiver: Receiver) -> None:
    sent(receiver, UNANNOUNCED.total_seconds() - 60)
    assert delivery_of(receiver.world).state is DeliveryState.DELIVERED
    deliver(receiver.world, 120)
    delivery = delivery_of(receiver.world)
    assert delivery.state is DeliveryState.VERIFIED
    assert (delivery.result["confirmed"], delivery.result["taken"]) == (False, "HTTP 200")
    assert len(receiver.events) == 1


def test_an_honest_receipt_verifies(receiver: Receiver) -> None:
    sent(receiver)
    says(receiver, receiver.receipt(receiver.events[0]))
    deliver(receiver.world, 120)
    delivery = delivery_of(receiver.world)
    assert (delivery.state, delivery.result["confirmed"]) == (DeliveryState.VERIFIED, True)
    assert delivery.result["receipt_at"]


def test_a_receipt_may_be_faster_than_our_own_record(receiver: Receiver) -> None:
    receiver.on_event = lambda event: says(receiver, receiver.receipt(event))
    sent(receiver)
    deliver(receiver.world, 60)
    assert delivery_of(receiver.world).result["confirmed"] is True


def _without(files: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    return [f for f in files if f["path"] != path]


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lambda files: _without(files, "samples/one.png"), "1 files are missing (samples/one.png)"),
        (lambda files: [{**f, "size": f["size"] - 1} for f in files], "4 files differ"),
        (lambda files: [{**f, "sha256": "0" * 64} for f in files], "4 files differ"),
        (lambda files: [{**f, "sha256": files[0]["sha256"]} for f in files], "differ"),
        (lambda _: [], "3 files are missing"),
    ],
)
def test_a_receiver_with_other_files_is_sent_the_event_again(receiver: Receiver, tamper: Any, said: str) -> None:
    sent(receiver)
    receipt = receiver.receipt(receiver.events[0])
    says(receiver, {**receipt, "files": tamper(receipt["files"])})
    receiver.on_event = lambda event: says(receiver, receiver.receipt(event))
    for _ in range(10):
        problem = delivery_of(receiver.world).problem
        if problem is not None:
            break
        deliver(receiver.world, 30)
    assert problem is not None
    assert (problem.code, problem.will_retry) == ("corrupt_at_target", True)
    assert said in problem.message
    deliver(receiver.world, 600)
    assert len(receiver.events) == 2
    assert receiver.ids == ["d-job1-001"] * 2
    delivery = delivery_of(receiver.world)
    assert (delivery.state, delivery.result["confirmed"]) == (DeliveryState.VERIFIED, True)


def test_the_manifest_need_not_be_in_a_receipt_and_case_is_no_difference(receiver: Receiver) -> None:
    sent(receiver)
    receipt = receiver.receipt(receiver.events[0])
    files = [{**f, "sha256": f["sha256"].upper()} for f in _without(receipt["files"], "manifest.json")]
    says(receiver, {**receipt, "files": files})
    deliver(receiver.world, 120)
    assert delivery_of(receiver.world).result["confirmed"] is True


def test_an_announced_receipt_is_waited_for_a_day_and_then_asked_for_again(receiver: Receiver) -> None:
    receiver.answers = [EXPECTED]
    sent(receiver, 3600)
    assert delivery_of(receiver.world).state is DeliveryState.DELIVERED
    receiver.world.run(ANNOUNCED.total_seconds(), sweep_every=300, step=300)
    assert len(receiver.events) == 2
    says(receiver, receiver.receipt(receiver.events[1]))
    deliver(receiver.world, 600)
    delivery = delivery_of(receiver.world)
    assert (delivery.state, delivery.result["confirmed"]) == (DeliveryState.VERIFIED, True)


def test_a_receiver_that_could_not_save_it_says_why(receiver: Receiver) -> None:
    receiver.answers = [EXPECTED]
    sent(receiver)
    says(receiver, receiver.receipt(receiver.events[0], status="failed", files=[], error="disk\x1b[2J full"))
    deliver(receiver.world, 30)
    problem = delivery_of(receiver.world).problem
    assert problem is not None
    assert "disk [2J full" in problem.message
    assert problem.will_retry


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again(receiver: Receiver, status: int) -> None:
    receiver.answers = [httpx.Response(status), httpx.Response(status), httpx.Response(204)]
    sent(receiver, 1800)
    assert delivery_of(receiver.world).state is DeliveryState.VERIFIED
    assert receiver.ids == ["d-job1-001"] * 3


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, "bad_destination"),
        (307, "bad_destination"),
        (400, "bad_destination"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "not_found"),
        (405, "bad_destination"),
        (410, "gone"),
        (413, "too_large"),
        (418, "bad_destination"),
    ],
)
def test_what_will_be_the_same_tomorrow_fails_with_advice(receiver: Receiver, status: int, code: str) -> None:
    receiver.answers = [httpx.Response(status, headers={"Location": "http://169.254.169.254/"})]
    sent(receiver)
    delivery = delivery_of(receiver.world)
    assert delivery.state is DeliveryState.FAILED
    assert delivery.problem is not None
    assert (delivery.problem.code, delivery.problem.will_retry) == (code, False)
    assert str(status) in delivery.problem.message
    assert delivery.problem.advice
    assert len(receiver.events) == 1


def test_lost_connections_are_tried_again_with_the_same_id(receiver: Receiver) -> None:
    receiver.answers = [httpx.ReadTimeout("late"), httpx.ConnectError("down"), httpx.Response(200)]
    sent(receiver, 1800)
    assert delivery_of(receiver.world).state is DeliveryState.VERIFIED
    assert receiver.ids == ["d-job1-001"] * 3


def test_patience_that_is_asked_for_is_given(receiver: Receiver) -> None:
    receiver.answers = [httpx.Response(429, headers={"Retry-After": "1200"}), httpx.Response(200)]
    sent(receiver, 1080)
    assert len(receiver.events) == 1
    deliver(receiver.world, 300)
    assert len(receiver.events) == 2


def test_while_a_secret_changes_both_sign(receiver: Receiver) -> None:
    CredentialService(receiver.world.ports).rotate("local", "webhook", Given(), keep_previous=True)
    sent(receiver)
    assert len(receiver.secrets) == 2
    says(receiver, receiver.receipt(receiver.events[0]))
    body, headers = receiver.signed(receiver.receipt(receiver.events[0]), secret=receiver.secrets[1])
    ReceiptService(receiver.world.ports).take("job1", "d-job1-001", Asking(headers, body, None))


def test_a_ping_is_signed_and_any_2xx_will_do(receiver: Receiver) -> None:
    target = _connected(receiver)
    checked = target.check(seconds=10)
    assert receiver.events[-1]["type"] == "ping"
    assert checked.facts == ["https://hooks.example.com answered a signed ping with 200"]
    assert "key=abc" not in str(checked)
    receiver.answers = [httpx.Response(404)]
    with pytest.raises(DeliveryFault) as caught:
        target.check(seconds=10)
    assert caught.value.code == "not_found"


def test_private_addresses_are_refused_at_once(receiver: Receiver) -> None:
    completed_job(receiver.world)
    hook = WebhookDestination(url="https://169.254.169.254/latest")
    begin(receiver.world, receiver.world.job("job1"), hook)
    receiver.world.settle()
    problem = delivery_of(receiver.world).problem
    assert problem is not None
    assert (problem.code, problem.will_retry) == ("address_refused", False)
    assert receiver.events == []


def test_without_a_secret_nothing_is_connected(receiver: Receiver) -> None:
    with pytest.raises(DeliveryFault) as caught:
        receiver(HOOK, None)
    assert caught.value.code == "credential_missing"


def test_many_files_come_in_pages(receiver: Receiver) -> None:
    files = {f"validation_images/{n:04d}.png": b"x" for n in range(MAX_LINKS + 50)}
    begin(receiver.world, completed_job(receiver.world, files={**FILES, **files}), HOOK)
    receiver.world.settle()
    data = receiver.events[0]["data"]
    assert (len(data["files"]), data["total_files"]) == (MAX_LINKS, MAX_LINKS + 54)
    body, headers = receiver.signed({"job_id": "job1", "delivery_id": "d-job1-001"})
    asking = Asking(headers, body, None)
    found = ReceiptService(receiver.world.ports).links("job1", "d-job1-001", asking, data["next"])
    assert found.next is None
    paths = [f["path"] for f in [*data["files"], *found.files]]
    assert paths == sorted(set(paths))
    assert len(paths) == data["total_files"]


def test_only_what_is_included_is_named(receiver: Receiver) -> None:
    hook = WebhookDestination(url=HOOK.url, include=(Part.WEIGHTS,))
    begin(receiver.world, completed_job(receiver.world), hook)
    receiver.world.settle()
    assert len(receiver.events[0]["data"]["files"]) == 2
    receiver.world.clock.advance(timedelta(days=1).total_seconds())
    body, headers = receiver.signed({"job_id": "job1", "delivery_id": "d-job1-001"})
    found = ReceiptService(receiver.world.ports).links("job1", "d-job1-001", Asking(headers, body, None), None)
    assert [f["path"] for f in found.files] == [f["path"] for f in receiver.events[0]["data"]["files"]]


def _connected(receiver: Receiver) -> Any:

    ports = receiver.world.ports
    return receiver(HOOK, load_secret(ports, find_credential(ports, "local", CredentialKind.WEBHOOK, None)))
