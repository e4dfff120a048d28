"""A proxy in front of an S3 server that loses, refuses, breaks or delays answers, as told."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server", "expect"}


class Harm(StrEnum):
    """REFUSE: the connection is closed and nothing happens. LOSE: it happens, the answer never arrives. RESET: the
    connection is reset in the middle of the answer. HANG: no answer comes, until the caller has given up. The others
    are answers."""

    REFUSE = "refuse"
    LOSE = "lose"
    RESET = "reset"
    HANG = "hang"
    ERROR = "500 InternalError"
    BAD_GATEWAY = "502 html"
    SLOW_DOWN = "503 SlowDown"


_ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>made up</Message></Error>"
_ANSWERS = {
    Harm.ERROR: (500, _ERROR.format("InternalError")),
    Harm.BAD_GATEWAY: (502, "<html><body>Bad gateway</body></html>"),
    Harm.SLOW_DOWN: (503, _ERROR.format("SlowDown")),
}


def operation_of(method: str, path: str) -> str:
    """S3's name of a request for an object."""
    query = parse_qs(urlsplit(path).query, keep_blank_values=True)
    if "uploads" in query:
        return "ListMultipartUploads" if method == "GET" else "CreateMultipartUpload"
    if "uploadId" in query:
        return {
            "PUT": "UploadPart",
            "GET": "ListParts",
            "POST": "CompleteMultipartUpload",
            "DELETE": "AbortMultipartUpload",
        }[method]
    return {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}[method]


@dataclass
class LossyS3:
    """The next ``times`` requests of ``operation`` get ``harm``. ``calls`` are the operations seen."""

    url: str
    operation: str = ""
    harm: Harm | None = None
    times: int = 0
    calls: list[str] = field(default_factory=list)
    harmed: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_harm(self, operation: str) -> Harm | None:
        with self._lock:
            self.calls.append(operation)
            if operation != self.operation or self.harmed >= self.times:
                return None
            self.harmed += 1
            return self.harm


class _Handler(BaseHTTPRequestHandler):
    proxy: LossyS3
    upstream_port: int
    protocol_version = "HTTP/1.1"
    timeout = 30

    def handle_one_request(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            super().handle_one_request()
            return
        self.close_connection = True

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        harm = self.proxy.next_harm(operation_of(self.command, self.path))
        if harm in _ANSWERS:
            status, text = _ANSWERS[harm]
            self.answer(status, {"Content-Type": "application/xml"}, text.encode())
            return
        if harm is Harm.HANG:
            self.proxy.released.wait(20)
        if harm in {Harm.HANG, Harm.REFUSE}:
            self.close_connection = True
            return
        upstream = HTTPConnection("127.0.0.1", self.upstream_port, timeout=30)
        try:
            headers = {n: v for n, v in self.headers.items() if n.lower() not in _HOP_BY_HOP}
            upstream.request(self.command, self.path, body, headers)
            response = upstream.getresponse()
            data = response.read()
        except (OSError, HTTPException):
            self.close_connection = True
            return
        finally:
            upstream.close()
        if harm is Harm.LOSE:
            self.close_connection = True
            return
        headers = dict(response.getheaders())
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.answer(response.status, headers, data, length=length, broken=harm is Harm.RESET)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward

    def answer(
        self, status: int, headers: dict[str, str], data: bytes, *, length: str | None = None, broken: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        if broken:
            # Half an answer, then RST instead of FIN.
            self.wfile.write(b"".join(self._headers_buffer) + b"X-Half: ")  # type: ignore[attr-defined]
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Tests need no access log."""


@contextmanager
def lossy_s3(port: int) -> Iterator[LossyS3]:
    """A proxy on a free loopback port before the server on ``port``."""

    class Handler(_Handler):
        upstream_port = port

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = LossyS3(f"http://127.0.0.1:{server.server_address[1]}")
    Handler.proxy = proxy
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.released.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
