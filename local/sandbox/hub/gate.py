"""What every request to the Hub passes: recorder, faults, token."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from local.sandbox.hub.faults import Rules
from local.sandbox.hub.people import Holder
from local.sandbox.routing import NoAnswer

Handler = Callable[[Request], Awaitable[Response]]
MAX_ENTRIES = 5000


class HubError(Exception):
    """Ends a request as the Hub does: JSON with ``error``, and the code in a header."""

    def __init__(self, status: int, text: str, code: str | None = None, **more: Any) -> None:
        super().__init__(text)
        self.status, self.text, self.code, self.more = status, text, code, more

    def response(self) -> JSONResponse:
        headers = {"x-error-message": self.text} | ({"x-error-code": self.code} if self.code else {})
        return JSONResponse({"error": self.text, **self.more}, self.status, headers=headers)


class HubGate:
    def __init__(self, tokens: Mapping[str, Holder]) -> None:
        self.tokens = dict(tokens)
        self.rules = Rules()
        self.requests: deque[dict[str, Any]] = deque(maxlen=MAX_ENTRIES)

    def wrap(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            path = path_below(request)
            entry: dict[str, Any] = {
                "method": request.method,
                "path": path,
                "authorized": "authorization" in request.headers,
                "bytes": int(request.headers.get("content-length") or 0),
                "range": request.headers.get("range"),
                "status": None,
                "fault": None,
            }
            self.requests.append(entry)
            rule = self.rules.strike(f"{request.method} {path}")
            if rule is not None:
                entry["fault"] = rule.fault
            if rule is None or rule.after:
                response = await _answered(handler, request)
            if rule is not None:
                response = await rule.answer()
            entry["status"] = None if isinstance(response, NoAnswer) else response.status_code
            return response

        return guarded

    def holder(self, request: Request) -> Holder | None:
        """Who asks; None without a token. Raises HubError for one that is none."""
        given = request.headers.get("authorization")
        if given is None:
            return None
        found = self.tokens.get(given.removeprefix("Bearer ").strip())
        if found is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return found

    def known(self, request: Request) -> Holder:
        holder = self.holder(request)
        if holder is None:
            raise HubError(401, "Invalid username or password.")
        return holder

    def writer(self, request: Request, repo: str) -> Holder:
        holder = self.known(request)
        if not holder.may_write(repo):
            raise HubError(403, f"You don't have the rights to write to {repo}")
        return holder


def path_below(request: Request) -> str:
    """The path as the Hub's own, without where it is mounted."""
    root = str(request.scope.get("root_path", ""))
    return request.url.path.removeprefix(root) or "/"


def base_of(request: Request) -> str:
    """Our address as the caller knows it; ``request.base_url`` would leave out where we are mounted."""
    return f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}"


async def _answered(handler: Handler, request: Request) -> Response:
    try:
        return await handler(request)
    except HubError as error:
        return error.response()
    except ClientDisconnect:
        return NoAnswer()
