"""Answers of the front door's own: problem documents for programs, one small page for people."""

from __future__ import annotations

import html
import json
from pathlib import Path

from local.frontdoor.rules import SAFE_METHODS, Headers, Refusal

RETRY_SECONDS = 2
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="{retry}"><title>Starting · SimpleTuner Cloud</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem}}
:root{{color-scheme:light dark}}
p.now{{font-weight:600}}code{{font-size:.95em}}</style>
<h1>SimpleTuner Cloud is starting</h1><p class="now" role="status">{now}</p>
<p>This page comes back by itself as soon as the stack answers. If it stays, <code>make status</code> and
<code>make logs</code> say why.</p></html>
"""


class Status:
    """What the supervisor is doing, from the line it writes into a file; empty when it says nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def line(self) -> str:
        if self._path is None:
            return ""
        try:
            return self._path.read_text(encoding="utf-8").strip()[:200]
        except (OSError, UnicodeDecodeError):
            return ""


def starting(now: str) -> Refusal:
    detail = f"The stack is starting or restarting ({now})." if now else "The stack is starting or restarting."
    return Refusal(
        503,
        "stack_starting",
        "Temporarily unavailable",
        f"{detail} Try again in {RETRY_SECONDS} seconds; `make status` and `make logs` say more.",
        {"Retry-After": str(RETRY_SECONDS)},
    )


def broken_off(method: str) -> Refusal:
    again = "Try again." if method in SAFE_METHODS else "It may have been carried out: look before you repeat it."
    return Refusal(502, "stack_broke_off", "Bad gateway", f"The stack stopped while it answered. {again}")


def timed_out(method: str, seconds: float) -> Refusal:
    again = "" if method in SAFE_METHODS else " It may have been carried out: look before you repeat it."
    return Refusal(
        504,
        "stack_timeout",
        "Gateway timeout",
        f"The stack did not answer within {seconds:.0f} seconds.{again} `make logs` says why.",
    )


def as_problem(refusal: Refusal) -> tuple[Headers, bytes]:
    """RFC 9457, with the members the API's own problems have."""
    document = {
        "type": f"urn:problem-type:simpletuner-cloud:{refusal.code}",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code,
        "request_id": "local",
        "errors": [],
        "error": refusal.code,
        "message": refusal.detail,
    }
    return _answer(refusal, "application/problem+json", json.dumps(document).encode())


def as_page(refusal: Refusal, now: str) -> tuple[Headers, bytes]:
    """For a browser: says what happens and comes back by itself."""
    page = _PAGE.format(retry=RETRY_SECONDS, now=html.escape(now or "Waiting for the stack"))
    return _answer(refusal, "text/html; charset=utf-8", page.encode())


def _answer(refusal: Refusal, media_type: str, body: bytes) -> tuple[Headers, bytes]:
    headers = {
        "Content-Type": media_type,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **refusal.headers,
    }
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()], body
