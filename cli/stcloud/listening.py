"""The small server of ``stcloud receive``: takes signed events, and nothing else."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stcloud.errors import LocalError
from stcloud.receiving import BadEvent, Inbox, ModelEvent, read_event
from stcloud.signing import SignatureRefused, verify

MAX_BODY = 8 * 1024 * 1024
#: Seconds that a sender may be silent.
SILENCE = 30
#: Connections at once; senders send one event at a time.
MAX_CONNECTIONS = 16


class Desk:
    """Looks at each message, writes a believed one down, and hands it on. A message that is sent again while its model
    is being fetched, or after, is taken again: its id is the delivery's, so nothing is done twice at once."""

    def __init__(
        self,
        keys: Sequence[bytes],
        inbox: Inbox,
        *,
        now: Callable[[], datetime],
        say: Callable[[str], None],
    ) -> None:
        self._keys = keys
        self._inbox = inbox
        self._now = now
        self._say = say
        self._lock = threading.Lock()
        self._taken: set[str] = set()
        self._seen: dict[tuple[str, str], float] = {}
        self.queue: queue.SimpleQueue[ModelEvent] = queue.SimpleQueue()

    def put(self, event: ModelEvent) -> None:
        with self._lock:
            if event.delivery_id in self._taken:
                return
            self._taken.add(event.delivery_id)
        self.queue.put(event)

    def done(self, event: ModelEvent) -> None:
        with self._lock:
            self._taken.discard(event.delivery_id)

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and answer."""
        try:
            message_id = verify(body, headers, self._keys, self._now())
        except SignatureRefused as refused:
            self._say(f"Refused a message: {refused}")
            return 401, {"error": str(refused)}
        try:
            document = json.loads(body)
            kind = document["type"]
        except (ValueError, RecursionError, KeyError, TypeError):
            return 400, {"error": "The body is no event."}
        if kind == "ping":
            self._say("Answered a ping.")
            return 200, {"ok": True}
        if kind != "model.ready":
            return 200, {"ignored": True}
        if self._is_replay(message_id, headers["webhook-timestamp"]):
            return 200, {"receipt": "expected", "duplicate": True}
        try:
            event = read_event(document)
            self._inbox.keep(event, document)
        except BadEvent as bad:
            self._say(f"Refused an event: {bad}.")
            return 400, {"error": str(bad)}
        except LocalError as error:
            self._say(f"An event could not be kept: {error.message}")
            return 503, {"error": "It could not be kept."}
        self.put(event)
        return 202, {"receipt": "expected"}

    def _is_replay(self, message_id: str, timestamp: str) -> bool:
        """The same message to the second: a repeat of the sender's own is signed anew."""
        now = self._now().timestamp()
        with self._lock:
            self._seen = {known: at for known, at in self._seen.items() if now - at < 900}
            replay = (message_id, timestamp) in self._seen
            self._seen[message_id, timestamp] = now
            return replay


class EventServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, address: tuple[str, int], desk: Desk) -> None:
        super().__init__(address, _Handler)
        self.desk = desk
        self.room = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break; there is nothing to tell the user about that."""


class _Handler(BaseHTTPRequestHandler):
    server: EventServer
    timeout = SILENCE
    server_version = "stcloud"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(200, {"listening": True})

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            self._answer(411, {"error": "Say how long the body is."})
            return
        if int(length) > MAX_BODY:
            self._answer(413, {"error": f"A body may have {MAX_BODY} bytes."})
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._answer(*self.server.desk.take(headers, body))

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """What matters is said by the desk."""
