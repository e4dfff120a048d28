"""Webhooks go out signed, in order, and only the terminal one is tried again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from replicate.webhook import Webhooks as OfficialWebhooks
from replicate.webhook import WebhookSigningSecret

from chalicelib.domain.webhook_signing import verify
from local.sandbox.faults import FaultPlan
from local.sandbox.recorder import Recorder
from local.sandbox.webhooks import RETRY_DELAYS, Message, Webhooks

SECRET = "whsec_dGVzdC1zZWNyZXQtdGVzdC1zZWNyZXQ="
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass
class Post:
    """The receiver: ``answers`` are statuses (or errors) given in order, then 200."""

    answers: list[int | Exception] = field(default_factory=list)
    got: list[httpx.Request] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    outcomes: list[tuple[str, str]] = field(default_factory=list)
    recorder: Recorder = field(default_factory=Recorder)

    def send(self, *messages: Message, rules: list[dict[str, Any]] | None = None) -> None:
        plan = FaultPlan.parse({"rules": rules or []})

        def answer(request: httpx.Request) -> httpx.Response:
            self.got.append(request)
            status = self.answers.pop(0) if self.answers else 200
            if isinstance(status, Exception):
                raise status
            return httpx.Response(status)

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            for _ in range(200):  # lets the others go first, as time would
                await asyncio.sleep(0)

        async def main() -> None:
            async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
                webhooks = Webhooks(
                    secret=SECRET,
                    client=client,
                    plan=lambda: plan,
                    recorder=self.recorder,
                    clock=lambda: NOW,
                    on_outcome=lambda message, outcome: self.outcomes.append((message.id, outcome)),
                    sleep=sleep,
                )
                for message in messages:
                    webhooks.send(message)
                await webhooks.drain()

        asyncio.run(main())

    @property
    def order(self) -> list[str]:
        return [json.loads(request.content)["event"] for request in self.got]


def message(event: str, number: int = 1, prediction: str = "p1") -> Message:
    return Message(
        id=f"msg_{prediction}_{event}_{number}",
        url="http://receiver/hook?job=job_1",
        event=event,
        body=json.dumps({"event": event, "n": number, "text": "ü"}).encode(),
        prediction_id=prediction,
        ordinal=1,
        job="job_1",
    )


def check_signature(request: httpx.Request) -> None:
    OfficialWebhooks.validate(
        headers=dict(request.headers),
        body=request.content.decode(),
        secret=WebhookSigningSecret(key=SECRET),
    )


def test_the_official_client_accepts_the_signature() -> None:
    post = Post()
    post.send(message("completed"))
    check_signature(post.got[0])
    assert post.got[0].headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert str(post.got[0].url) == "http://receiver/hook?job=job_1"


def test_the_product_accepts_the_signature() -> None:
    post = Post()
    post.send(message("completed"))
    request = post.got[0]
    assert verify(request.content, dict(request.headers), [SECRET], now=NOW) == "msg_p1_completed_1"


def test_order_is_kept() -> None:
    post = Post()
    post.send(message("start"), message("logs", 1), message("logs", 2), message("completed"))
    assert post.order == ["start", "logs", "logs", "completed"]
    assert post.outcomes == [("msg_p1_completed_1", "sent")]


@pytest.mark.parametrize("answer", [500, 404, 302, httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
def test_only_the_terminal_one_is_tried_again(answer: int | Exception) -> None:
    post = Post([answer])
    post.send(message("start"))
    assert len(post.got) == 1
    post = Post([answer, answer])
    post.send(message("completed"))
    assert [r.headers["webhook-id"] for r in post.got] == ["msg_p1_completed_1"] * 3
    assert post.slept == list(RETRY_DELAYS[:2])
    for request in post.got:
        check_signature(request)


def test_the_last_try_is_about_a_minute_later_and_then_it_gives_up() -> None:
    post = Post([503] * 20)
    post.send(message("completed"))
    assert len(post.got) == len(RETRY_DELAYS) + 1
    assert 55 <= sum(post.slept) <= 65
    assert post.outcomes == [("msg_p1_completed_1", "gave_up")]


def test_redirects_are_not_followed() -> None:
    post = Post([307])
    post.send(message("start"))
    assert post.recorder.webhooks[0]["status"] == 307


def test_a_lost_one_never_leaves() -> None:
    post = Post()
    post.send(
        message("start"), message("completed"), rules=[{"fault": "webhook_lose", "match": {"event": "completed"}}]
    )
    assert post.order == ["start"]
    assert post.outcomes == [("msg_p1_completed_1", "lost")]
    assert post.recorder.webhooks[-1]["note"] == "lost by fault plan"


def test_a_duplicate_has_the_same_id_and_body() -> None:
    post = Post()
    post.send(message("completed"), rules=[{"fault": "webhook_duplicate"}])
    first, second = post.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.content == second.content


def test_a_delayed_one_lets_others_pass() -> None:
    post = Post()
    rules = [{"fault": "webhook_delay", "seconds": 9, "match": {"event": "start"}}]
    post.send(message("start"), message("completed"), rules=rules)
    assert post.order == ["completed", "start"]
    assert post.slept == [9]


def test_a_reordered_one_comes_behind_the_next() -> None:
    post = Post()
    rules = [{"fault": "webhook_reorder", "match": {"event": "start"}}]
    post.send(message("start"), message("completed"), rules=rules)
    assert post.order == ["completed", "start"]


def test_a_reordered_one_goes_out_when_nothing_follows() -> None:
    post = Post()
    post.send(message("completed"), rules=[{"fault": "webhook_reorder", "seconds": 3}])
    assert post.order == ["completed"]
    assert post.slept == [3]


def test_predictions_do_not_wait_for_each_other() -> None:
    post = Post([500])
    post.send(message("completed", prediction="slow"), message("completed", prediction="fast"))
    assert [r.headers["webhook-id"] for r in post.got] == [
        "msg_slow_completed_1",
        "msg_fast_completed_1",
        "msg_slow_completed_1",
    ]
