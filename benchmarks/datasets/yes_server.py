"""``python -m benchmarks.datasets.yes_server PORT``: speaks the dataset routes, stores nothing, and finds all well.

For measuring the command line alone: what a push of very many files needs of memory does not depend on who answers.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONFIRM = 10_000


class State:
    """The one version: its files as (path, size), how many have been confirmed, and how many PUTs came."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.files: list[tuple[str, int]] = []
        self.checked = 0
        self.puts = 0

    def version(self) -> dict[str, Any]:
        return {
            "dataset_id": "many",
            "version_id": "v-1",
            "status": "ready" if self.checked >= len(self.files) else "uploading",
            "files": len(self.files),
            "bytes": sum(size for _, size in self.files),
            "checked": self.checked,
            "source_path": None,
            "created_at": "2026-01-01T00:00:00Z",
        }

    def uploads(self, url: str, after: str | None, limit: int) -> dict[str, Any]:
        begin = next((n for n, (path, _) in enumerate(self.files) if path == after), -1) + 1 if after else 0
        page = self.files[begin : begin + limit]
        more = begin + limit < len(self.files)
        return {
            "uploads": [{"path": p, "size": s, "url": f"{url}/s3/{n}", "headers": {}} for n, (p, s) in enumerate(page)],
            "present": 0,
            "copied": 0,
            "copied_bytes": 0,
            "next": page[-1][0] if more else None,
        }


def handler(state: State) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def _reply(self, body: Any) -> None:
            data = json.dumps(body).encode()
            head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            self.wfile.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)

        def do_GET(self) -> None:
            self._reply({"consent": "allow"})

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/s3/manifest":
                lines = [json.loads(line) for line in body.splitlines()]
                state.files = [(line["path"], line["size"]) for line in lines]
            else:
                with state.lock:
                    state.puts += 1
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            url = f"http://127.0.0.1:{self.server.server_address[1]}"
            if self.path.endswith("/manifests"):
                self._reply({"manifest_id": "m", "url": f"{url}/s3/manifest", "headers": {}})
            elif self.path.endswith("/uploads"):
                self._reply(state.uploads(url, body.get("after"), body["limit"]))
            elif self.path.endswith("/complete"):
                if state.puts < len(state.files):
                    self.send_error(409)
                    return
                state.checked = min(len(state.files), state.checked + CONFIRM)
                self._reply(state.version())
            else:
                if "files" in body:
                    state.files = [(line["path"], line["size"]) for line in body["files"]]
                self._reply(state.version())

    return Handler


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), handler(State()))
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
