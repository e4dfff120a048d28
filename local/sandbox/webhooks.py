"""Signed webhooks as Replicate sends them: Standard Webhooks, retries of the terminal one only, no redirects."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from local.sandbox.clock import Clock, iso
from local.sandbox.faults import WEBHOOK_FAULTS, FaultPlan, Strike
from local.sandbox.recorder import Recorder

#: Seconds between the tries of a terminal webhook: the last one is about a minute after completion.
RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 29.0)
ATTEMPT_TIMEOUT = 10.0


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` header: ``v1,`` and the base64 HMAC-SHA256 of ``id.timestamp.body`` under the key that
    follows ``whsec_``. https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def new_message_id() -> str:
    return f"msg_{secrets.token_hex(13)}"


@dataclass(frozen=True)
class Message:
    """One webhook. ``id`` stays the same over all its tries and duplicates."""

    id: str
    url: str
    event: str
    body: bytes
    prediction_id: str
    ordinal: int
    job: str | None

    @property
    def is_terminal(self) -> bool:
        return self.event == "completed"


class Webhooks:
    """Sends in the order of ``send`` for one prediction, unless a fault says otherwise.

    ``plan`` gives the current fault plan; ``on_outcome(message, outcome)`` hears ``sent``, ``lost`` or ``gave_up`` of
    every terminal message. ``sleep`` is injected so that tests need not wait.
    """

    def __init__(
        self,
        *,
        secret: str,
        client: httpx.AsyncClient,
        plan: Callable[[], FaultPlan],
        recorder: Recorder,
        clock: Clock,
        on_outcome: Callable[[Message, str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._secret = secret
        self._client = client
        self._plan = plan
        self._recorder = recorder
        self._clock = clock
        self._on_outcome = on_outcome
        self._sleep = sleep
        self._tails: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, list[asyncio.Event]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sequence: dict[str, int] = {}

    def send(self, message: Message) -> None:
        """Returns at once; needs a running event loop."""
        number = self._sequence[message.prediction_id] = self._sequence.get(message.prediction_id, 0) + 1
        strikes = self._plan().strike(
            WEBHOOK_FAULTS,
            f"{message.ordinal}/{message.event}/{number}",
            prediction=message.ordinal,
            job=message.job,
            event=message.event,
        )
        struck = {s.kind: s for s in strikes}
        overtaken = "webhook_delay" in struck or "webhook_reorder" in struck
        before = None if overtaken else self._tails.get(message.prediction_id)
        task = asyncio.get_running_loop().create_task(self._deliver(message, struck, before))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if not overtaken:
            self._tails[message.prediction_id] = task
            task.add_done_callback(lambda done: self._forget_tail(message.prediction_id, done))

    def _forget_tail(self, prediction_id: str, done: asyncio.Task[None]) -> None:
        if self._tails.get(prediction_id) is done:
            del self._tails[prediction_id]

    async def drain(self) -> None:
        """Waits until nothing is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def stop(self) -> None:
        """Drops what is under way; pending terminal webhooks are sent again after the next start."""
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tails.clear()
        self._held.clear()
        self._sequence.clear()

    async def _deliver(self, message: Message, struck: dict[str, Strike], before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        if "webhook_lose" in struck:
            self._record(message, 0, None, "lost by fault plan")
            self._finish(message, "lost")
            return
        if delay := struck.get("webhook_delay"):
            await self._sleep(delay.seconds)
        if reorder := struck.get("webhook_reorder"):
            await self._wait_for_another(message.prediction_id, reorder.seconds)
        outcome = await self._try(message)
        if "webhook_duplicate" in struck:
            await self._attempt(message, 0)
        for event in self._held.pop(message.prediction_id, []):
            event.set()
        self._finish(message, outcome)

    async def _try(self, message: Message) -> str:
        delays = RETRY_DELAYS if message.is_terminal else ()
        for number, delay in enumerate((*delays, None), start=1):
            if await self._attempt(message, number):
                return "sent"
            if delay is not None:
                await self._sleep(delay)
        return "gave_up"

    async def _attempt(self, message: Message, number: int) -> bool:
        timestamp = int(self._clock().timestamp())
        headers = {
            "content-type": "application/json",
            "user-agent": "stcloud-sandbox-provider",
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._secret, message.id, timestamp, message.body),
        }
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT):  # httpx's own begins anew with every byte
                response = await self._client.post(
                    message.url, content=message.body, headers=headers, timeout=ATTEMPT_TIMEOUT, follow_redirects=False
                )
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            self._record(message, number, None, type(error).__name__)
            return False
        self._record(message, number, response.status_code, None)
        return response.is_success

    async def _wait_for_another(self, prediction_id: str, seconds: float) -> None:
        """Until another webhook of this prediction went out, at most this long (there may be none to come)."""
        event = asyncio.Event()
        self._held.setdefault(prediction_id, []).append(event)
        waiter = asyncio.ensure_future(event.wait())
        limit = asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait({waiter, limit}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
            limit.cancel()

    def _finish(self, message: Message, outcome: str) -> None:
        if message.is_terminal:
            self._on_outcome(message, outcome)

    def _record(self, message: Message, attempt: int, status: int | None, note: str | None) -> None:
        entry: dict[str, Any] = {
            "time": iso(self._clock()),
            "prediction": message.prediction_id,
            "event": message.event,
            "webhook_id": message.id,
            "attempt": attempt,
            "status": status,
            "note": note,
        }
        self._recorder.webhooks.append(entry)
