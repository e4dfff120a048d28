"""A receiver of webhook deliveries in memory: what it was sent, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from chalicelib.delivery.safe_http import SafeClient
from chalicelib.delivery.webhook import WebhookTarget
from chalicelib.domain.credentials import Secret
from chalicelib.domain.delivery_ports import AnyDestination, Target
from chalicelib.domain.destinations import WebhookDestination
from chalicelib.domain.webhook_signing import sign, verify
from tests.fakes.world import World

PUBLIC = "https://stack.test"


@dataclass
class Receiver:
    """``answers`` are given in turn, the last one for ever; one may be an exception. ``on_event`` is called with each
    event before it is answered."""

    world: World
    answers: list[httpx.Response | Exception] = field(default_factory=lambda: [httpx.Response(200)])
    events: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    on_event: Callable[[dict[str, Any]], None] | None = None

    def __call__(self, destination: AnyDestination, secret: Secret | None) -> Target:
        assert isinstance(destination, WebhookDestination)
        target = WebhookTarget(
            destination,
            secret,
            client=SafeClient(httpx.MockTransport(self._answer), allow_private=False),
            public_url=lambda: PUBLIC,
            now=self.world.clock.now,
        )
        self.secrets = target._secrets
        return target

    def receipt(self, event: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """What an honest receiver says of an event."""
        data = event["data"]
        files = [{name: f[name] for name in ("path", "size", "sha256")} for f in data["files"]]
        return {"job_id": data["job_id"], "delivery_id": data["delivery_id"], "files": files, **changes}

    def signed(self, document: Any, *, secret: str | None = None) -> tuple[bytes, dict[str, str]]:
        body = json.dumps(document).encode()
        secrets = [secret] if secret else self.secrets[:1]
        return body, sign(body, webhook_id="rcpt_1", at=self.world.clock.now(), secrets=secrets)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        self.ids.append(verify(body, dict(request.headers), self.secrets, now=self.world.clock.now()))
        event = json.loads(body)
        self.events.append(event)
        if self.on_event is not None:
            self.on_event(event)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
