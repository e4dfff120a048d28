"""A Hub that keeps nothing: it answers as the Hub does, counts the bytes it gets, and gives the pattern when asked."""

from __future__ import annotations

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from benchmarks.delivery.pattern import slice_of

CHUNK = 64 * 1000 * 1000
HEAD = "1" * 40
DONE = "2" * 40


class Sink(ThreadingHTTPServer):
    """``received`` counts bytes of parts. What was committed is there at DONE."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received = 0
        self.parts = 0
        self.committed: dict[str, dict[str, Any]] = {}
        self.stored: set[str] = set()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Sink

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, body: Any, headers: dict[str, str] | None = None, status: int = 200) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def do_PUT(self) -> None:
        left = int(self.headers["content-length"])
        buffer = bytearray(1 << 20)
        while left and (count := self.rfile.readinto(memoryview(buffer)[: min(left, len(buffer))])):  # type: ignore[attr-defined]
            left -= count
            with self.server.lock:
                self.server.received += count
        with self.server.lock:
            self.server.parts += 1
        self.answer(b"", {"etag": '"part"'})

    def do_GET(self) -> None:
        if "/resolve/" in self.path:
            first, last = re.findall(r"\d+", self.headers["range"])
            self.answer(slice_of(int(first), int(last) - int(first) + 1), status=206)
        elif self.path == "/counted":
            self.answer({"received": self.server.received, "parts": self.server.parts})
        else:
            sha = DONE if self.server.committed else HEAD
            self.answer({"id": "sandbox/large", "sha": sha, "private": True, "tags": [], "siblings": []})

    def do_POST(self) -> None:
        body = self.body()
        if self.path.endswith("/repos/create"):
            self.answer({"url": f"{self.server.url}/sandbox/large"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "lfs", "shouldIgnore": False} for f in files]
            for mode in modes:
                mode["uploadMode"] = "regular" if str(mode["path"]).endswith((".md", ".json")) else "lfs"
            self.answer({"files": modes})
        elif "/paths-info/" in self.path:
            wanted = parse_qs(body.decode()).get("paths", [])
            self.answer([self.server.committed[path] for path in wanted if path in self.server.committed])
        elif self.path.endswith("/objects/batch"):
            self.answer({"objects": [self.planned(entry) for entry in json.loads(body)["objects"]]})
        elif "/commit/" in self.path:
            self.commit(body)
        else:
            self.server.stored |= {str(json.loads(body).get("oid"))} if self.path == "/complete" else set()
            self.answer({"errors": [], "warnings": []})

    def planned(self, entry: dict[str, Any]) -> dict[str, Any]:
        if entry["oid"] in self.server.stored:
            return entry
        parts = -(-entry["size"] // CHUNK)
        links = {f"{n:05d}": f"{self.server.url}/part/{n}?{'signature' * 80}" for n in range(1, parts + 1)}
        upload = {"href": f"{self.server.url}/complete", "header": {"chunk_size": str(CHUNK), **links}}
        return {**entry, "actions": {"upload": upload, "verify": {"href": f"{self.server.url}/verify"}}}

    def commit(self, body: bytes) -> None:
        for line in body.splitlines():
            value = json.loads(line)["value"]
            if "oid" in value:
                large = {"oid": value["oid"], "size": value["size"], "pointerSize": 134}
                described = {"type": "file", "path": value["path"], "size": value["size"], "oid": "0" * 40}
                self.server.committed[value["path"]] = {**described, "lfs": large}
            elif "path" in value:
                described = {"type": "file", "path": value["path"], "size": 1, "oid": "0" * 40}
                self.server.committed[value["path"]] = described
        self.answer({"commitUrl": f"{self.server.url}/sandbox/large/commit/{DONE}", "commitOid": DONE})


if __name__ == "__main__":
    sink = Sink()
    print(sink.url, flush=True)
    sys.stdout.flush()
    sink.serve_forever()
