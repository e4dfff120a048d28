"""The real API over a world in memory, on a real port, with the storage its presigned URLs lead to.

Time is virtual: every look at a job's progress lets ``seconds_per_look`` pass, so a training takes a few requests.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlsplit

from chalice.config import Config
from chalice.local import LocalChalice, LocalGateway, LocalGatewayException

from chalicelib.api.application import mount
from chalicelib.api.auth import Caller, authenticate
from chalicelib.domain.permissions import administrator
from chalicelib.settings import AuthMode
from tests.fakes.aws import InMemoryObjectStore, UploadRefused
from tests.fakes.world import OWNER, World

STORAGE = "/storage/"
_REFUSED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"


@dataclass
class Fault:
    """Strikes ``times`` requests whose line ("METHOD /path") matches ``pattern``.

    ``status`` answers instead of the server; ``drop`` closes the connection, before the request reaches it or
    (``after``) when it has been done; ``cut`` sends only that many bytes of the answer's body.
    """

    pattern: str
    times: int = 1
    status: int | None = None
    drop: bool = False
    after: bool = False
    cut: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    then: Callable[[], None] | None = None


class CliServer:
    """``url`` is the server's address, ``requests`` are the lines of what was asked, in order.

    ``mode`` None: whoever calls is an admin, and credentials are not looked at.
    """

    def __init__(self, world: World, port: int, mode: AuthMode | None = None) -> None:
        self.world = world
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[str] = []
        self.uploaded: list[str] = []
        self.request_headers: list[dict[str, str]] = []
        self.faults: list[Fault] = []
        self.seconds_per_look: float = 20
        self.lock = threading.RLock()
        app = LocalChalice(app_name="test")
        if mode is None:
            mount(app, lambda: world.services, lambda _services, _facts: Caller(administrator(OWNER)))
        else:
            settings = world.services.settings.model_copy(update={"auth_mode": mode})
            services = replace(world.services, settings=settings)
            mount(app, lambda: services, authenticate)
        self._gateway = LocalGateway(app, Config.create())

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, line)) for line in self.requests)

    def fault_for(self, line: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, line):
                    fault.times -= 1
                    return fault
        return None

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if path.startswith(STORAGE):
            return self._storage(method, path, headers, body)
        if not path.startswith("/api/"):
            return 404, {"Content-Type": "text/html"}, b"<html>not here</html>"
        with self.lock:
            if path.endswith("/inline-progress"):
                self.world.run(self.seconds_per_look)
            if method == "GET" and path.endswith("/deliveries"):
                self.world.run(self.seconds_per_look, sweep_every=20)
            try:
                answer = self._gateway.handle_request(method, path.removeprefix("/api"), headers, body)
            except LocalGatewayException as refused:
                return refused.CODE, {"Content-Type": "application/json"}, refused.body or b""
        text = answer["body"] or ""
        content = text.encode() if isinstance(text, str) else text
        return answer["statusCode"], answer["headers"], content.replace(b"fake://", f"{self.url}{STORAGE}".encode())

    def _storage(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        bucket, _, key = urlsplit(path).path.removeprefix(STORAGE).partition("/")
        store: InMemoryObjectStore = self.world.outputs if bucket == "outputs" else self.world.dataset_files
        if method == "PUT":
            # A server may quote a path differently from the way it was signed; the fake wants its own spelling.
            url = f"fake://{bucket}/{quote(unquote(key))}?{urlsplit(path).query}"
            try:
                store.upload(url, headers, body, now=self.world.clock.now())
            except UploadRefused:
                return 403, {"Content-Type": "application/xml"}, _REFUSED
            with self.lock:
                self.uploaded.append(unquote(key).split("/", 3)[-1])
            return 200, {}, b""
        data = store.get(unquote(key))
        if data is None:
            return 404, {}, b""
        wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        if wanted is None:
            return 200, {}, data
        start = int(wanted.group(1))
        if start >= len(data):
            return 416, {}, b""
        return 206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:]


def _handler(server: CliServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def log_message(self, *_: object) -> None:
            return

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {k.lower(): v for k, v in self.headers.items()}
            line = f"{self.command} {self.path}"
            with server.lock:
                server.requests.append(line)
                server.request_headers.append(headers)
            fault = server.fault_for(line)
            if fault is not None and fault.then is not None:
                fault.then()
            if fault is not None and fault.drop and not fault.after:
                self.close_connection = True
                return
            if fault is not None and fault.status is not None:
                self._send(fault.status, fault.headers, _REFUSED if fault.status == 403 else b"")
                return
            status, answered, content = server.answer(self.command, self.path, headers, body)
            if fault is not None and fault.after:
                self.close_connection = True
                return
            self._send(status, answered, content, fault.cut if fault else None)

        def _send(self, status: int, headers: dict[str, str], content: bytes, cut: int | None = None) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() != "content-length":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if cut is None else content[:cut])
            if cut is not None:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    return Handler


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the tests."""


@contextmanager
def cli_server(world: World | None = None, mode: AuthMode | None = None) -> Iterator[CliServer]:
    """A server on a free loopback port."""
    listener = _Listener(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server = CliServer(world or World(), listener.server_address[1], mode)
    listener.RequestHandlerClass = _handler(server)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join(5)
