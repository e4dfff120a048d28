"""Secrets stay out of what is stored and shown, whatever the text around them, in time that grows with its length."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from chalicelib.domain.redaction import MIN_SECRET_CHARS, Masker, redact, redact_log, secret_values, spellings

KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    "text",
    [
        f"secret_access_key={KEY}",
        f'"aws_secret_access_key": "{KEY}"',
        f"'secret_key' : '{KEY}'",
        f"AWS_SESSION_TOKEN={KEY}",
        f"password: {KEY}",
        json.dumps(json.dumps({"session_token": KEY})),
        json.dumps(json.dumps(json.dumps({"aws_session_token": KEY}))),
        f"url=foo;token={KEY}",
        f"a-token-of-mine={KEY}, next",
        f"https://user:{KEY.replace('/', '')}@h/x",
        f"Authorization: Bearer {KEY}",
        f"https://s3/x?X-Amz-Signature={KEY}&x=1",
        f"https://s3/x?X-Amz-Security-Token={KEY}",
    ],
)
def test_a_named_credential_is_gone(text: str) -> None:
    assert KEY not in redact(text)
    assert KEY.replace("/", "") not in redact(text)
    assert "[redacted]" in redact(text)


@pytest.mark.parametrize("token", ["hf_" + "a" * 20, "r8_" + "b" * 20, "ghp_" + "c" * 20, "AKIAABCDEFGHIJKLMNOP"])
def test_a_credential_is_known_by_its_shape(token: str) -> None:
    assert token not in redact(f"ValueError: bad ({token})")


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "tokenizer_max_length: 77",
        "401 Client Error for url: https://huggingface.co/x",
        "Steps: 25%|##5 | 250/1000 [00:12<00:36, 20.1it/s, lr=0.0001, step_loss=0.123]",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "token" * 600,
        "a" * 20_000,
        "x-" * 10_000,
        "hf_" + "a" * 20_000,
        "://" + "a" * 20_000,
        "Bearer " * 3_000,
        "access_key" * 2_000 + "=",
    ],
    ids=lambda t: t[:8],
)
def test_a_hostile_line_takes_no_time(text: str) -> None:
    """Backtracking made four thousand characters of ``token`` take a minute and a half; these end at once or never."""
    assert len(redact(text)) <= len(text) + len("[redacted]")


def test_secret_values_are_found_by_name_also_inside_json_texts() -> None:
    inputs = {
        "config_json": json.dumps({"publishing_config": [{"secret_key": KEY, "bucket": "the-bucket"}]}),
        "hf_token": "hf_abcdefgh",
        "images": "https://h/x",
        "nested": {"credentials": ["first-credential", "second-credential"]},
        "short_token": "1234567",
        "token_count": 12345678,
        "broken": "{not json",
        "deep": "[" * 100_000,
    }
    assert secret_values(inputs) == {KEY, "hf_abcdefgh", "first-credential", "second-credential"}


def test_a_masked_secret_shows_its_first_four_characters_and_its_length() -> None:
    assert Masker([KEY]).mask(f"a {KEY} b") == f"a wJal{'*' * (len(KEY) - 4)} b"


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    assert Masker(["abcdefgh", "abcdefghijkl"]).mask("abcdefghijkl") == "abcd********"


def test_what_is_too_short_for_a_secret_is_left_alone() -> None:
    assert Masker(["a" * (MIN_SECRET_CHARS - 1), ""]).mask("aaaaaaa bbb") == "aaaaaaa bbb"


@pytest.mark.parametrize("cut", range(5, len(KEY)))
def test_a_secret_cut_by_the_end_is_masked_as_far_as_it_is_there(cut: int) -> None:
    assert Masker([KEY]).mask(f"log wJal {KEY[:cut]}") == f"log wJal wJal{'*' * (cut - 4)}"


def test_a_masker_does_not_show_its_secrets() -> None:
    assert KEY not in repr(Masker([KEY]))


@pytest.mark.parametrize(
    "print_it", [str, lambda s: quote(s, safe=""), quote, quote_plus, lambda s: json.dumps(s)[1:-1]]
)
def test_a_known_secret_is_masked_in_every_spelling(print_it: Callable[[str], str]) -> None:
    secret = 'ab+/="quoted"/&x'
    text = f"GET https://s3/x?X-Token={print_it(secret)} done"
    masked = Masker(spellings([secret])).mask(text)
    assert print_it(secret) not in masked
    assert masked.startswith("GET https://s3/x?X-Token=ab")


def test_a_log_is_redacted_by_whole_lines_so_that_it_only_grows() -> None:
    log = f"one\ntoken={KEY}\rtwo\nsecret_key={KEY} more\n"
    whole = redact_log(log, ended=True)
    assert KEY not in whole
    for end in range(len(log) + 1):
        part = redact_log(log[:end], ended=False)
        assert whole.startswith(part)
        assert KEY[:12] not in part
    assert redact_log("no line end", ended=False) == ""
    assert redact_log("no line end", ended=True) == "no line end"
