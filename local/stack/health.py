"""Short questions to the parts of the stack: up or not."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping

SECONDS = 3.0
#: No proxy of the developer's: all this is on loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def has_people(public_url: str, seconds: float = SECONDS) -> bool:
    """Whether the stack has its first admin, so that callers have to sign in; False when it doesn't say."""
    try:
        # http URL of our own making
        with _opener.open(f"{public_url}/api/auth/setup/status", timeout=seconds) as response:
            status = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return isinstance(status, dict) and status.get("has_admin") is True


def answers(url: str, headers: Mapping[str, str] | None = None, seconds: float = SECONDS) -> bool:
    """Whether a GET of ``url`` answers 2xx within ``seconds``."""
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 - http URLs of our own making
    try:
        with _opener.open(request, timeout=seconds) as response:
            response.read()
            return bool(200 <= response.status < 300)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except (OSError, http.client.HTTPException):
        return False
