"""The front door's rules alone; over HTTP: tests/functional/test_frontdoor.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local.frontdoor.answers import as_page, as_problem, broken_off, starting, timed_out
from local.frontdoor.rules import MAX_BODY_BYTES, Headers, host_name, refusal, to_client, to_upstream, wants_page
from local.frontdoor.stackfile import StackFile

HOST: Headers = [(b"host", b"localhost:8001")]


@pytest.mark.parametrize(
    ("authority", "name"),
    [("localhost", "localhost"), ("LocalHost:80", "localhost"), ("[::1]:8001", "[::1]"), ("[::1]", "[::1]"), ("", "")],
)
def test_host_names(authority: str, name: str) -> None:
    assert host_name(authority) == name


@pytest.mark.parametrize("hosts", [[], [b""], [b"localhost", b"evil.example"], [b"localhost", b"localhost"]])
def test_a_request_has_one_host(hosts: list[bytes]) -> None:
    refused = refusal("GET", "/", [(b"host", host) for host in hosts], 8001)
    assert refused is not None
    assert refused.status == 421


def test_reading_is_allowed_from_anywhere_because_browsers_keep_the_answer() -> None:
    assert refusal("GET", "/", [*HOST, (b"origin", b"https://evil.example")], 8001) is None


@pytest.mark.parametrize(
    "origin", [b"file://", b"null", b"http://localhost@evil.example", b"https://localhost.evil.example"]
)
def test_strange_origins_change_nothing(origin: bytes) -> None:
    refused = refusal("DELETE", "/api/x", [*HOST, (b"origin", origin)], 8001)
    assert refused is not None
    assert refused.status == 403


@pytest.mark.parametrize(("length", "allowed"), [(MAX_BODY_BYTES, True), (MAX_BODY_BYTES + 1, False)])
def test_the_limit_is_exact(length: int, allowed: bool) -> None:
    assert (refusal("POST", "/api/x", [*HOST, (b"content-length", b"%d" % length)], 8001) is None) is allowed


def test_hop_by_hop_headers_end_here() -> None:
    headers: Headers = [
        (b"Host", b"localhost"),
        (b"Connection", b"close, X-Hop"),
        (b"X-Hop", b"1"),
        (b"TE", b"trailers"),
        (b"Upgrade", b"h2c"),
        (b"Cookie", b"a=1"),
        (b"X-Forwarded-Proto", b"https"),
    ]
    assert to_upstream(headers, "d1.cloudfront.net") == [(b"host", b"d1.cloudfront.net"), (b"Cookie", b"a=1")]
    answer: Headers = [(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"), (b"Transfer-Encoding", b"chunked")]
    assert to_client(answer) == [(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")]


def test_only_browsers_that_show_a_page_get_one() -> None:
    html: Headers = [(b"accept", b"text/html,application/xhtml+xml")]
    assert wants_page("GET", html)
    assert not wants_page("POST", html)
    assert not wants_page("GET", [(b"accept", b"application/json")])


def test_own_answers_are_problems_or_pages_and_never_kept() -> None:
    headers, body = as_problem(starting("Deploying"))
    problem = json.loads(body)
    assert dict(headers)[b"content-type"] == b"application/problem+json"
    assert dict(headers)[b"retry-after"] == b"2"
    assert (problem["status"], problem["code"]) == (503, "stack_starting")
    assert "Deploying" in problem["detail"]
    headers, body = as_page(starting(""), "<script>")
    assert dict(headers)[b"cache-control"] == b"no-store"
    assert b"<script>" not in body


def test_the_stack_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    stack = StackFile(path)
    assert stack.upstream() is None
    for number in (1, 2):
        new = tmp_path / "new"
        new.write_text(
            json.dumps({"emulator_url": "http://127.0.0.1:9/", "distribution_domain": f"d{number}.cloudfront.net"})
        )
        new.replace(path)
        found = stack.upstream()
        assert found is not None
        assert (found.origin, found.host) == ("http://127.0.0.1:9", f"d{number}.cloudfront.net")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"emulator_url": "file:///x", "distribution_domain": "d"}',
        '{"emulator_url": "http://x", "distribution_domain": ""}',
    ],
)
def test_a_stack_file_that_is_not_whole_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.json").write_text(text)
    assert StackFile(tmp_path / "stack.json").upstream() is None


def test_whoever_sent_a_change_is_told_that_it_may_have_been_carried_out() -> None:
    for answer in (broken_off("POST"), timed_out("POST", 35)):
        assert "may have been carried out: look before you repeat it" in answer.detail
    for answer in (broken_off("GET"), timed_out("GET", 35)):
        assert "carried out" not in answer.detail
