"""A proxy in front of DynamoDB that loses answers, refuses requests or answers with errors, as told."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass(frozen=True)
class LoseAnswer:
    """The request takes effect; its answer never arrives."""

    operation: str


@dataclass(frozen=True)
class Refuse:
    """The connection is closed and the request takes no effect."""

    operation: str


@dataclass(frozen=True)
class Fail:
    """DynamoDB's error ``code`` is answered; the request takes no effect. ``reasons`` are cancellation codes."""

    operation: str
    code: str
    status: int = 400
    reasons: Sequence[str] = ()

    def body(self) -> bytes:
        document: dict[str, Any] = {"__type": f"com.amazonaws.dynamodb.v20120810#{self.code}", "message": "made up"}
        if self.reasons:
            document["CancellationReasons"] = [{"Code": code, "Message": "made up"} for code in self.reasons]
        return json.dumps(document).encode()


@dataclass(frozen=True)
class Meanwhile:
    """``happens`` is called before the request goes on."""

    operation: str
    happens: Callable[[], None]


Fault = LoseAnswer | Refuse | Fail | Meanwhile


@dataclass
class LossyProxy:
    """``plan`` holds the faults to come: the next request of the first one's operation gets it. ``calls`` are the
    operations seen, in order."""

    url: str
    plan: deque[Fault] = field(default_factory=deque)
    calls: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self, operation: str) -> Fault | None:
        with self._lock:
            self.calls.append(operation)
            if self.plan and self.plan[0].operation == operation:
                return self.plan.popleft()
            return None


@contextmanager
def lossy_proxy(port: int) -> Iterator[LossyProxy]:
    """A proxy on a free loopback port before the server on ``port``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fault = proxy.next_fault(self.headers["X-Amz-Target"].rpartition(".")[2])
            if isinstance(fault, Fail):
                self._answer(fault.status, {"Content-Type": "application/x-amz-json-1.0"}, fault.body())
                return
            if isinstance(fault, Meanwhile):
                fault.happens()
            if not isinstance(fault, Refuse):
                upstream = HTTPConnection("127.0.0.1", port, timeout=30)
                try:
                    upstream.request("POST", self.path, body, dict(self.headers))
                    response = upstream.getresponse()
                    data = response.read()
                finally:
                    upstream.close()
                if fault is None or isinstance(fault, Meanwhile):
                    self._answer(response.status, dict(response.getheaders()), data)
                    return
            self.close_connection = True

        def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            """Tests need no access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = LossyProxy(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
