"""The front door between a client and a server that stands for the emulator, both real, on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from local.frontdoor.__main__ import listen
from local.frontdoor.rules import MAX_BODY_BYTES
from tests.support.emulator import ROOT, free_port, kill_group

DOMAIN = "d1234.cloudfront.net"
PNG = b"\x89PNG\r\n\x1a\n\x00\xff"


@dataclass
class Upstream:
    """What stands for the emulator; ``received`` counts body bytes as they come."""

    port: int = 0
    received: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> Starlette:
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
        return Starlette(
            routes=[
                Route("/api/cookies", self.cookies),
                Route("/api/moved", self.moved, methods=methods),
                Route("/api/picture", self.picture),
                Route("/api/stream", self.stream),
                Route("/api/cut", self.cut),
                Route("/{path:path}", self.echo, methods=methods),
            ]
        )

    async def echo(self, request: Request) -> Response:
        size = 0
        with suppress(ClientDisconnect):
            async for chunk in request.stream():
                size += len(chunk)
                self.received += len(chunk)
        seen = {
            "method": request.method,
            "target": request.scope["raw_path"].decode() + "?" + request.scope["query_string"].decode(),
            "headers": [[k.decode(), v.decode("latin-1")] for k, v in request.scope["headers"]],
            "size": size,
        }
        self.seen.append(seen)
        return JSONResponse(seen, status_code=418 if request.url.path == "/api/teapot" else 200)

    async def cookies(self, _: Request) -> Response:
        response = Response("ok")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        response.headers["Connection"] = "X-Internal"
        response.headers["X-Internal"] = "no business of the client"
        return response

    async def moved(self, _: Request) -> Response:
        return Response(status_code=307, headers={"Location": "http://127.0.0.1:9/bucket/key?X-Amz-Signature=a%2Fb"})

    async def picture(self, _: Request) -> Response:
        return Response(PNG, media_type="image/png")

    async def stream(self, _: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.sleep(0.5)
            yield b"second"

        return StreamingResponse(parts())

    async def cut(self, _: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"half"
            raise OSError("the server dies")

        return StreamingResponse(parts(), headers={"Content-Length": "100"})


@contextmanager
def serving(upstream: Upstream) -> Iterator[None]:
    config = uvicorn.Config(upstream.app(), port=upstream.port, log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", upstream.port))
        upstream.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield
        server.should_exit = True
        thread.join(10)


@dataclass(frozen=True)
class Door:
    port: int
    folder: Path
    client: httpx.Client

    def stack(self, upstream_port: int) -> None:
        text = json.dumps({"emulator_url": f"http://127.0.0.1:{upstream_port}", "distribution_domain": DOMAIN})
        (self.folder / "new.json").write_text(text, encoding="utf-8")
        (self.folder / "new.json").replace(self.folder / "stack.json")


@contextmanager
def running_door(folder: Path) -> Iterator[Door]:
    port = free_port()
    command = [sys.executable, "-m", "local.frontdoor", "--port", str(port)]
    command += ["--stack-file", str(folder / "stack.json"), "--status-file", str(folder / "status")]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://localhost:{port}", trust_env=False, timeout=20) as client:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                with suppress(httpx.TransportError):
                    if client.get("/_local/health").status_code == 200:
                        break
                time.sleep(0.05)
            yield Door(port, folder, client)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        kill_group(process)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    with serving(upstream):
        yield upstream


@pytest.fixture(scope="module")
def door(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with running_door(tmp_path_factory.mktemp("door")) as door:
        door.stack(upstream.port)
        yield door


def echo(response: httpx.Response) -> tuple[dict[str, Any], dict[str, str]]:
    seen = response.json()
    return seen, dict(seen["headers"])


def test_the_distribution_gets_the_request_as_it_was_sent(door: Door) -> None:
    target = "/api/cloud/jobs/a%20b%2Fc?status=running&status=queued&q=%E7%8C%AB"
    seen, headers = echo(door.client.get(target, headers={"Authorization": "Bearer x"}))
    assert seen["target"] == target
    assert headers["host"] == DOMAIN
    assert headers["authorization"] == "Bearer x"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_bodies_pass(door: Door, method: str) -> None:
    seen, headers = echo(door.client.request(method, "/api/x", content=b"\x00" * 70_000))
    assert (seen["method"], seen["size"], headers["content-length"]) == (method, 70_000, "70000")


def test_chunked_bodies_pass(door: Door) -> None:
    seen, _ = echo(door.client.post("/api/x", content=iter([b"a" * 1000, b"b" * 1000])))
    assert seen["size"] == 2000


def test_what_a_client_says_about_its_origin_is_dropped(door: Door) -> None:
    spoofed = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=203.0.113.9",
        "X-Real-IP": "203.0.113.9",
        "CloudFront-Viewer-Country": "JP",
        "X-Amz-Target": "DynamoDB_20120810.Scan",
        "Connection": "keep-alive, X-Secret",
        "X-Secret": "1",
    }
    _, headers = echo(door.client.get("/api/x", headers=spoofed))
    assert not {name.lower() for name in spoofed} & headers.keys()


def test_answers_pass_as_they_are(door: Door) -> None:
    assert door.client.get("/api/teapot").status_code == 418
    cookies = door.client.get("/api/cookies")
    assert [value.split(";")[0] for value in cookies.headers.get_list("set-cookie")] == ["a=1", "b=2"]
    assert not {"x-internal", "connection"} & cookies.headers.keys()
    moved = door.client.post("/api/moved", content=b"x")
    assert moved.status_code == 307
    assert moved.headers["location"] == "http://127.0.0.1:9/bucket/key?X-Amz-Signature=a%2Fb"
    picture = door.client.get("/api/picture")
    assert (picture.content, picture.headers["content-type"]) == (PNG, "image/png")
    head = door.client.head("/api/picture")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(PNG)), b"")


def test_answers_are_streamed(door: Door) -> None:
    with door.client.stream("GET", "/api/stream") as response:
        parts = response.iter_raw()
        assert next(parts) == b"first"  # and not both at once
        assert b"".join(parts) == b"second"


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(door: Door) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        door.client.get("/api/cut")
    assert door.client.get("/api/x").status_code == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8001", "LOCALHOST:80"])
def test_loopback_names_are_answered(door: Door, host: str) -> None:
    assert door.client.get("/api/x", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", DOMAIN, "192.168.1.5"])
def test_other_names_are_not_answered(door: Door, host: str) -> None:
    response = door.client.get("/api/x", headers={"Host": host})
    assert response.status_code == 421
    assert response.headers["content-type"] == "application/problem+json"
    assert f"http://localhost:{door.port}" in response.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://localhost:8001", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(door: Door, upstream: Upstream, headers: dict[str, str]) -> None:
    before = len(upstream.seen)
    response = door.client.post("/api/cloud/jobs/submit", headers=headers, json={})
    assert (response.status_code, response.json()["code"]) == (403, "cross_site")
    assert response.headers["content-type"] == "application/problem+json"
    assert len(upstream.seen) == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:8001", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://127.0.0.1:5173", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_the_console_curl_and_a_development_server_may_change_things(door: Door, headers: dict[str, str]) -> None:
    assert door.client.post("/api/x", headers=headers, json={}).status_code == 200


def test_the_emulators_own_addresses_are_closed(door: Door) -> None:
    assert door.client.post("/_ministack/reset").status_code == 404
    assert door.client.get("/_aws/execute-api/x/api/cloud").status_code == 404


def test_a_body_that_announces_too_much_is_refused_unread(door: Door, upstream: Upstream) -> None:
    before = upstream.received
    with closing(socket.create_connection(("127.0.0.1", door.port), timeout=10)) as raw:
        raw.sendall(b"POST /api/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1))
        answer = raw.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in answer
    assert upstream.received == before


def test_a_body_that_turns_out_too_long_is_cut_off_on_the_way(door: Door, upstream: Upstream) -> None:
    before = upstream.received
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 8 * MAX_BODY_BYTES:
            sent += 65536
            yield b"\x00" * 65536

    response = door.client.post("/api/x", content=endless())
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")
    assert upstream.received - before <= MAX_BODY_BYTES
    assert door.client.get("/api/x").status_code == 200


def test_it_answers_before_between_and_after_deployments(tmp_path: Path) -> None:
    with running_door(tmp_path) as door:
        early = door.client.get("/api/cloud/jobs")
        assert (early.status_code, early.headers["retry-after"]) == (503, "2")
        assert early.json()["code"] == "stack_starting"

        (tmp_path / "status").write_text("Deploying <the> stack\n", encoding="utf-8")
        page = door.client.get("/jobs", headers={"Accept": "text/html,*/*"})
        assert page.status_code == 503
        assert page.headers["content-type"].startswith("text/html")
        assert "Deploying &lt;the&gt; stack" in page.text

        upstream = Upstream()
        with serving(upstream):
            door.stack(upstream.port)
            assert door.client.get("/api/x").status_code == 200
        down = door.client.post("/api/x", content=b"x")
        assert (down.status_code, down.headers["content-type"]) == (503, "application/problem+json")
        assert "Deploying" in down.json()["detail"]

        with serving(upstream):
            assert door.client.get("/api/x").status_code == 200


def test_it_listens_on_ipv6_too_where_there_is_any(door: Door) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        with pytest.raises(OSError, match=r"."):
            socket.create_connection(("::1", door.port), timeout=2)
        return
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"http://[::1]:{door.port}/_local/health").json() == {"ok": True, "stack": True}


def test_a_taken_port_is_named_without_a_traceback(door: Door, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local.frontdoor", "--port", str(door.port), "--stack-file", str(tmp_path / "x")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert f"port {door.port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_answers_leave_at_once() -> None:
    """asyncio sets TCP_NODELAY on sockets that name their protocol alone; without it every answer waits for 40 ms."""
    sockets = listen(0)
    try:
        assert {made.proto for made in sockets} == {socket.IPPROTO_TCP}
    finally:
        for made in sockets:
            made.close()
