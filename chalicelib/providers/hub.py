"""The Hugging Face Hub over its public HTTP API, without a credential."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx

from chalicelib.domain.hub import HubRepo, HubUnreachableError, RepoKind, is_repo_name
from chalicelib.providers.http import AnswerTooLarge, AnswerTooSlow, BoundedTransport, Refused, fresh_connections

HUB_URL = "https://huggingface.co"
TIMEOUT = httpx.Timeout(3.0)
MAX_SECONDS = 4.0
MAX_BYTES = 2 * 1024 * 1024
MAX_LICENSE = 60
#: Names are kept in one spelling, and renamed repositories keep their old names: both answer with where to look.
MAX_MOVES = 2
_MOVED = frozenset({301, 302, 307, 308})


class HttpModelHub:
    """The ModelHub port. Each look is one GET of about seven seconds at most, three when the repository has
    moved; sends no credential."""

    def __init__(self, base_url: str = HUB_URL, *, transport: httpx.BaseTransport | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._transport = transport

    def look(self, kind: RepoKind, name: str) -> HubRepo | None:
        if not is_repo_name(name):
            raise ValueError("not the name of a repository")
        path = f"/api/{kind.value}/{quote(name)}"
        for _ in range(MAX_MOVES + 1):
            try:
                return _read(self._get(path), name)
            except Refused as refused:
                # Without a credential the Hub answers 401 for what is private and for what does not exist alike.
                if refused.status in {401, 403, 404}:
                    return None
                moved = refused.headers.get("location", "") if refused.status in _MOVED else ""
                if not moved.startswith("/api/"):
                    raise HubUnreachableError(f"the Hub answered {refused.status}") from None
                path = moved
        raise HubUnreachableError("the Hub sends from one address to the next")

    def _get(self, path: str) -> Any:
        bounded = BoundedTransport(self._transport or fresh_connections(), max_bytes=MAX_BYTES, max_seconds=MAX_SECONDS)
        try:
            with httpx.Client(transport=bounded, timeout=TIMEOUT) as client:
                return client.get(f"{self._base_url}{path}").json()
        except (AnswerTooLarge, AnswerTooSlow) as bad:
            raise HubUnreachableError(f"the Hub's answer took {bad}") from None
        except httpx.HTTPError as error:
            raise HubUnreachableError(f"the Hub does not answer ({type(error).__name__})") from None
        except (ValueError, RecursionError):
            raise HubUnreachableError("the Hub's answer is no JSON") from None


def _read(raw: Any, name: str) -> HubRepo:
    if not isinstance(raw, dict) or not isinstance(raw.get("id"), str):
        raise HubUnreachableError("the Hub's answer describes no repository")
    card = raw.get("cardData")
    licence = card.get("license") if isinstance(card, dict) else None
    # "auto" and "manual" say how access is granted.
    gated = raw.get("gated") not in (None, False, "false")
    return HubRepo(name=name, gated=gated, license=licence[:MAX_LICENSE] if isinstance(licence, str) else None)
