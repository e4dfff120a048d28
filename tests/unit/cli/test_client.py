"""Retries, errors and secrets of the HTTP client, over scripted answers."""

from __future__ import annotations

import random
import ssl

import httpx
import pytest
from stcloud.client import Client, normalize_url, storage_client
from stcloud.errors import (
    ApiError,
    AuthenticationError,
    Conflict,
    ExitCode,
    NetworkError,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    UsageError,
    ValidationFailed,
)
from stcloud.retry import MAX_RETRY_AFTER, Retry, parse_retry_after

from tests.unit.cli.support import Naps, Script, ok, problem


def client(script: Script, naps: Naps, **options: object) -> Client:
    return Client("http://localhost:8001", retry=naps.retry(), transport=script.transport, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("closed"),
        httpx.Response(502),
        httpx.Response(503),
        httpx.Response(504),
        httpx.Response(429),
    ],
)
def test_passing_trouble_is_tried_again(trouble: httpx.Response | Exception) -> None:
    script, naps = Script([trouble, trouble, ok({"a": 1})]), Naps()
    with client(script, naps) as api:
        assert api.call("POST", "/x", json={"b": 2}) == {"a": 1}
    assert len(script.asked) == 3
    assert len(naps.taken) == 2
    assert {r.content for r in script.asked} == {b'{"b":2}'}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500])
def test_an_answer_that_would_not_change_is_final(status: int) -> None:
    script, naps = Script([problem(status, "some_code")]), Naps()
    with client(script, naps) as api, pytest.raises(ApiError):
        api.call("GET", "/x")
    assert len(script.asked) == 1
    assert naps.taken == []


def test_it_gives_up_after_five_tries() -> None:
    script, naps = Script([httpx.ConnectError("refused")]), Naps()
    with client(script, naps) as api, pytest.raises(NetworkError, match="Can't reach") as caught:
        api.call("GET", "/x")
    assert len(script.asked) == 5
    assert len(naps.taken) == 4
    assert caught.value.exit_code is ExitCode.NETWORK
    assert "make run" in (caught.value.advice or "")


def test_waits_are_random_and_grow_to_a_cap() -> None:
    retry = Retry(rng=random.Random(3), base=0.5, cap=8)
    for attempt in range(12):
        longest = min(8, 0.5 * 2**attempt)
        waits = [retry.delay(attempt) for _ in range(200)]
        assert 0 <= min(waits) < 0.1 * longest
        assert 0.9 * longest < max(waits) <= longest


def test_retry_after_is_obeyed_up_to_a_cap() -> None:
    script, naps = Script([httpx.Response(503, headers={"retry-after": "7"}), ok({})]), Naps()
    with client(script, naps) as api:
        api.call("GET", "/x")
    assert 7 <= naps.taken[0] <= 7.5
    assert Retry(rng=random.Random(1)).delay(0, 86_000) <= MAX_RETRY_AFTER + 0.5


@pytest.mark.parametrize(("text", "seconds"), [("3", 3.0), (None, None), ("soon", None), ("-1", None), ("nan", None)])
def test_parsing_retry_after(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text) == seconds


def test_a_limit_of_the_user_is_not_waited_for() -> None:
    script, naps = Script([problem(429, "concurrency_limit", headers={"retry-after": "60"})]), Naps()
    with client(script, naps) as api, pytest.raises(RateLimited, match="No"):
        api.call("POST", "/x", limits_are_final=True)
    assert naps.taken == []
    throttled = Script([httpx.Response(429, json={"message": "Too Many Requests"}), ok({})])
    with client(throttled, naps) as api:
        api.call("POST", "/x", limits_are_final=True)
    assert len(throttled.asked) == 2


def test_a_delete_whose_answer_was_lost_is_done() -> None:
    script = Script([httpx.ReadTimeout("slow"), problem(404, "not_found")])
    with client(script, Naps()) as api:
        assert api.call("DELETE", "/x") == {}
    with client(Script([problem(404, "not_found")]), Naps()) as api, pytest.raises(NotFound):
        api.call("DELETE", "/x")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ValidationFailed),
        (401, AuthenticationError),
        (403, PermissionDenied),
        (404, NotFound),
        (409, Conflict),
        (422, ValidationFailed),
        (500, ServerError),
    ],
)
def test_problems_become_typed_errors(status: int, kind: type[ApiError]) -> None:
    fields = [{"field": "config.x", "message": "is wrong", "code": "invalid"}]
    script = Script([problem(status, "the_code", "The detail.", errors=fields)])
    with client(script, Naps()) as api, pytest.raises(kind) as caught:
        api.call("GET", "/x")
    error = caught.value
    assert (error.code, error.detail, error.request_id, error.status) == ("the_code", "The detail.", "r-1", status)
    assert [(e.field, e.message) for e in error.errors] == [("config.x", "is wrong")]
    assert error.as_dict()["exit_code"] == 4


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>hello</html>"),
        httpx.Response(200, json=["a list"]),
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.Response(404, text="<html>nothing</html>"),
        httpx.Response(301, headers={"location": "https://elsewhere.test/"}),
    ],
)
def test_something_that_is_not_the_api_is_named(answer: httpx.Response) -> None:
    with client(Script([answer]), Naps()) as api, pytest.raises(ApiError) as caught:
        api.call("GET", "/x")
    assert "STCLOUD_URL" in (caught.value.advice or "")


def test_api_gateways_words_for_an_unknown_path_are_translated() -> None:
    script = Script([httpx.Response(403, json={"message": "Missing Authentication Token"})])
    with client(script, Naps()) as api, pytest.raises(PermissionDenied, match="no such route"):
        api.call("GET", "/x")


def test_a_wrong_certificate_is_not_tried_again() -> None:
    error = httpx.ConnectError("certificate verify failed")
    error.__cause__ = ssl.SSLCertVerificationError("self signed")
    script = Script([error])
    with client(script, Naps()) as api, pytest.raises(NetworkError):
        api.call("GET", "/x")
    assert len(script.asked) == 1


def test_the_token_is_sent_as_bearer_and_not_over_plain_http() -> None:
    script = Script([ok({})])
    with Client("https://cloud.test", "canary", transport=script.transport) as api:
        api.call("GET", "/cloud/jobs")
    assert script.asked[0].headers["authorization"] == "Bearer canary"
    assert str(script.asked[0].url) == "https://cloud.test/api/cloud/jobs"
    with pytest.raises(UsageError) as caught:
        Client("http://cloud.test", "canary")
    assert "canary" not in str(caught.value.as_dict())
    with pytest.raises(UsageError):
        Client("https://cloud.test", "two\nlines")


def test_the_storage_client_has_no_token_and_follows_nothing() -> None:
    with storage_client(connections=1, transport=Script([ok({})]).transport) as http:
        assert "authorization" not in http.headers
        assert http.follow_redirects is False


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://localhost:8001/", "http://localhost:8001"),
        ("https://cloud.test/api/", "https://cloud.test"),
        (" https://cloud.test/sub ", "https://cloud.test/sub"),
    ],
)
def test_urls_are_normalized(given: str, url: str) -> None:
    assert normalize_url(given) == url


@pytest.mark.parametrize("given", ["localhost:8001", "ftp://x", "", "https://user:canary@cloud.test", "http://"])
def test_what_is_no_url_is_refused_without_repeating_secrets(given: str) -> None:
    with pytest.raises(UsageError) as caught:
        normalize_url(given)
    assert "canary" not in caught.value.message
