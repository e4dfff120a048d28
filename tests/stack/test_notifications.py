"""Notifications on a deployed stack: what a job comes to is at a receiver within seconds, signed."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from chalicelib.domain.webhook_signing import verify
from tests.support.receiver import receiver
from tests.support.stack import Stack, eventually

CHANNELS = "/cloud/notifications/channels"


def test_a_job_is_told_of_from_submit_to_end(stack: Stack) -> None:
    stack.inspected(stack.push("told"))
    with receiver() as there:
        channel = stack.ok("POST", CHANNELS, json={"channel_type": "webhook", "name": "t", "webhook_url": there.url})
        assert stack.ok("POST", f"{CHANNELS}/{channel['id']}/test", json={})["success"] is True
        there.answers = [500]
        job_id = stack.submit("told")["job_id"]
        # Woken, not waited for: the schedule alone comes once a minute.
        eventually(lambda: len(there.got) >= 2 or None, seconds=20)
        assert stack.wait(job_id)["status"] == "completed", stack.story(job_id)

        def told() -> set[str] | None:
            types = {str(json.loads(body)["type"]) for _, body in there.got}
            return types if types >= {"job.submitted", "job.running", "job.completed"} else None

        eventually(told, seconds=40)
        for headers, body in there.got:
            assert verify(body, headers, [channel["secret"]], now=datetime.now(UTC))

        def settled() -> bool | None:
            entries = stack.ok("GET", "/cloud/notifications/history")["entries"]
            return all(e["delivery_status"] == "delivered" for e in entries) or None

        eventually(settled, seconds=20)
    stack.ok("DELETE", f"{CHANNELS}/{channel['id']}")


def test_mail_goes_through_the_stacks_topic(stack: Stack) -> None:
    """The emulator takes every address for confirmed."""
    channel = stack.ok("POST", CHANNELS, json={"channel_type": "email", "name": "t", "email": "rita@example.com"})
    assert channel["state"] == "active"
    assert stack.ok("POST", f"{CHANNELS}/{channel['id']}/test", json={})["success"] is True
    stack.ok("DELETE", f"{CHANNELS}/{channel['id']}")
    topic = stack.client("sns").list_topics()["Topics"][0]["TopicArn"]
    assert stack.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []
