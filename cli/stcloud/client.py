"""HTTP to the server: one place for timeouts, retries and errors.

Every call the product makes may be repeated without harm: reads, PUT and DELETE by nature, a dataset version because
its id is made from its content, a submit because it carries an idempotency key. So every call is retried, but for those
that say ``attempts=1`` (a second API key would be one too many).
"""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from stcloud import __version__
from stcloud.errors import ApiError, FieldProblem, NetworkError, StcloudError, UsageError, api_error_class
from stcloud.retry import TRANSIENT, Retry, parse_retry_after

#: API Gateway answers within 29 seconds or not at all.
API_TIMEOUT = httpx.Timeout(35.0, connect=5.0)
STORAGE_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_API_PATH = re.compile(r"/api(/(cloud|auth)(/.*)?)?$")
_NOT_SENT_AGAIN = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
#: Statuses that our server, its gateway and what stands before them give with a reason, always.
_NOT_OURS = frozenset({400, 404, 405, 406, 422, 501})
_ADVICE = {
    401: "Sign in: stcloud login. A machine puts an API key into STCLOUD_TOKEN.",
    403: "Ask an admin for this permission. What you may do: stcloud whoami",
    429: "Wait a little, then repeat the command.",
    500: "Try again; if it stays, look for the request id in the server's log.",
}


def normalize_url(url: str) -> str:
    """The server's origin (and path, if it lives below one) without a trailing slash, ``/api`` or ``/api/cloud``.

    Raises UsageError when it is no http(s) URL or holds credentials.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"'{url}' is not a URL of a server.", advice="It looks like http://localhost:8001.")
    if parts.username or parts.password:
        raise UsageError("The URL must not hold a user or password.", advice="Put the token into STCLOUD_TOKEN.")
    # An address as documents of the API have it leads to the server as well.
    path = _API_PATH.sub("", parts.path.rstrip("/")).rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def check_token(url: str, token: str) -> None:
    """Refuses to send a token where others could read it. Raises UsageError."""
    require_private(url, "The token")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("The token holds characters that can't be in a token.", advice="Copy it again.")


def require_private(url: str, what: str) -> None:
    """Refuses to send ``what`` over plain http to another computer. Raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise UsageError(
            f"{what} is not sent to {url}: plain http can be read on the way.", advice="Use the https URL."
        )


class Client:
    """JSON over HTTP to one server. Use as a context manager; several threads may call.

    ``on_retry(message)`` is told before each repeated try. ``renew()`` is asked for another token when the server
    answers 401, once a call; None means that there is none. Raises ApiError, NetworkError.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
        on_retry: Callable[[str], None] | None = None,
        renew: Callable[[], str | None] | None = None,
    ) -> None:
        self.url = normalize_url(url)
        headers = {"User-Agent": f"stcloud/{__version__}", "Accept": "application/json"}
        if token:
            headers["Authorization"] = self._bearer(token)
        self._renew = renew
        self._renewing = threading.Lock()
        self._retry = retry or Retry()
        self._on_retry = on_retry or (lambda _message: None)
        self._http = httpx.Client(base_url=f"{self.url}/api", headers=headers, timeout=API_TIMEOUT, transport=transport)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        attempts: int | None = None,
        limits_are_final: bool = False,
        final: Collection[str] = (),
        needs: Collection[str] = (),
    ) -> dict[str, Any]:
        """The JSON object that answers. ``path`` begins behind ``/api``; None in ``query`` is left out.

        ``needs``: members our API's answer always has; an answer without them is another program's (ApiError,
        ``not_the_api``).

        ``attempts=1``: not repeated, for what must not be done twice. ``limits_are_final``: a 429 that names a limit of
        the user (a problem document with a code) is no throttling, and waiting would not help; it is raised at once.
        ``final``: codes of errors that the caller deals with, raised at once too.
        """
        response = self._answer(method, path, json, query, headers, attempts, limits_are_final, final)
        return {} if response is None else shaped(_json(response, self.url, "object"), needs, self.url)

    def call_list(
        self, path: str, *, query: Mapping[str, Any] | None = None, needs: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        """The JSON list of objects that answers a GET; each has the members ``needs``."""
        response = self._answer("GET", path, None, query, None, None, False)
        entries = [] if response is None else _json(response, self.url, "list")
        return [shaped(entry, needs, self.url) for entry in entries]

    def _answer(
        self,
        method: str,
        path: str,
        json: Any,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        attempts: int | None,
        limits_are_final: bool,
        final: Collection[str] = (),
    ) -> httpx.Response | None:
        """The answer that is a success; None for a repeated DELETE that finds nothing."""
        tries = attempts or self._retry.attempts
        params = {k: v for k, v in (query or {}).items() if v is not None}
        for attempt in range(tries):
            last = attempt + 1 == tries
            try:
                response = self._send(method, path, json, params, headers)
            except httpx.TransportError as error:
                if last or isinstance(error, _NOT_SENT_AGAIN) or _is_certificate_problem(error):
                    raise self._unreachable(error) from error
                self._on_retry(f"No answer from {self.url}, trying again.")
                self._retry.wait(attempt)
                continue
            except httpx.RequestError as error:
                raise self._unreachable(error) from error
            if response.is_success:
                return response
            error_found = read_error(response, self.url)
            limit = limits_are_final and response.status_code == 429 and error_found.code != "http_429"
            if last or limit or error_found.code in final or response.status_code not in TRANSIENT:
                # The first DELETE may have worked and its answer been lost.
                if method == "DELETE" and attempt > 0 and response.status_code == 404:
                    return None
                raise error_found
            self._on_retry(f"{self.url} answered {response.status_code}, trying again.")
            self._retry.wait(attempt, error_found.retry_after)
        raise AssertionError("unreachable: the last try returns or raises")

    def wait(self, attempt: int, retry_after: float | None = None) -> None:
        """As between two tries."""
        self._retry.wait(attempt, retry_after)

    def _send(
        self, method: str, path: str, json: Any, params: Mapping[str, Any], headers: Mapping[str, str] | None
    ) -> httpx.Response:
        used = self._http.headers.get("Authorization")
        response = self._http.request(method, path, json=json, params=params, headers=headers)
        if response.status_code == httpx.codes.UNAUTHORIZED and self._renewed_since(used):
            response = self._http.request(method, path, json=json, params=params, headers=headers)
        return response

    def _renewed_since(self, used: str | None) -> bool:
        """Whether there is another token than the one that was refused. One thread renews for all."""
        if self._renew is None:
            return False
        with self._renewing:
            if self._http.headers.get("Authorization") == used:
                token = self._renew()
                if token is None:
                    return False
                self._http.headers["Authorization"] = self._bearer(token)
            return True

    def _bearer(self, token: str) -> str:
        check_token(self.url, token)
        return f"Bearer {token}"

    def _unreachable(self, error: httpx.RequestError) -> StcloudError:
        reason = "it took too long to answer" if isinstance(error, httpx.TimeoutException) else str(error)
        local = urlsplit(self.url).hostname in LOOPBACK
        return NetworkError(
            f"Can't reach {self.url}: {reason or type(error).__name__}.",
            advice="Is the local stack running? Start it with `make run`."
            if local
            else "Check STCLOUD_URL (or --url) and your connection.",
        )


def storage_client(*, connections: int, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """For presigned URLs: carries no token of ours, follows no redirects."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    headers = {"User-Agent": f"stcloud/{__version__}", "Accept-Encoding": "identity"}
    return httpx.Client(headers=headers, timeout=STORAGE_TIMEOUT, limits=limits, transport=transport)


def read_error(response: httpx.Response, url: str) -> ApiError:
    """The problem document of an answer as an exception; also of answers that hold none."""
    status = response.status_code
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {}
    errors = [
        FieldProblem(str(e.get("field", "")), str(e.get("message", "")), str(e.get("code", "invalid")))
        for e in document.get("errors") or []
        if isinstance(e, dict)
    ]
    detail = document.get("detail") or document.get("message") or ""
    advice = document.get("advice") or _ADVICE.get(status)
    if status == 403 and detail == "Missing Authentication Token":
        # API Gateway's words for a path it does not know.
        detail, advice = "The server has no such route.", "Is it older than this stcloud, or another service?"
    if response.is_redirect:
        detail = f"{url} sends us to {response.headers.get('location', 'another place')}"
        advice = "Use that address as STCLOUD_URL."
    elif status in _NOT_OURS and "code" not in document and "message" not in document:
        return not_the_api(url, f"It answered {status} {response.reason_phrase}, not as the API does.", status)
    elif not document:
        detail = f"{url} answered {status} {response.reason_phrase} without a reason."
        advice = advice or "Is this the URL of a SimpleTuner Cloud? Look at STCLOUD_URL (or --url)."
    return api_error_class(status)(
        status,
        str(document.get("title") or response.reason_phrase or "Error"),
        str(detail),
        code=str(document.get("code") or f"http_{status}"),
        errors=errors,
        request_id=document.get("request_id"),
        advice=str(advice) if advice else None,
        retry_after=parse_retry_after(response.headers.get("retry-after")),
        extra=document,
    )


def _json(response: httpx.Response, url: str, name: str) -> Any:
    """The JSON ``object`` or ``list``, whichever ``name`` says, that answers. Raises ApiError (``not_the_api``)."""
    try:
        data = response.json()
    except ValueError:
        data = None
    if not isinstance(data, {"object": dict, "list": list}[name]):
        kind = response.headers.get("content-type", "").partition(";")[0]
        raise not_the_api(
            url, f"It answered with {kind or 'something'} instead of a JSON {name}.", response.status_code
        )
    return data


def shaped(data: Any, needs: Collection[str], url: str) -> dict[str, Any]:
    """``data`` if it is an object with these members. Raises ApiError (``not_the_api``)."""
    missing = sorted(set(needs) - set(data)) if isinstance(data, dict) else sorted(needs)
    if not isinstance(data, dict) or missing:
        raise not_the_api(url, f"Its answer lacks {', '.join(missing[:3])}.", 200)
    return data


def not_the_api(url: str, reason: str, status: int) -> ApiError:
    """The error for an answer that no server of ours gives."""
    return api_error_class(status)(
        status,
        "Wrong server",
        f"{url} does not look like a SimpleTuner Cloud. {reason}",
        code="not_the_api",
        advice="Look at STCLOUD_URL (or --url). A server that is older than this stcloud may answer so, too.",
    )


def _is_certificate_problem(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
