"""Caption files: what they hold, and an estimate of their tokens."""

from __future__ import annotations

import pytest

from chalicelib.domain.captions import estimate_tokens, read_caption


def test_a_plain_caption() -> None:
    text = read_caption(b"a cat on a mat\n")
    assert (text.problem, text.bom, text.lines, text.words, text.chars) == (None, False, 1, 5, 14)
    assert text.tokens == 7


def test_each_line_is_a_caption_of_its_own() -> None:
    text = read_caption(b"a cat\r\n\r\n  a very long dog  \n")
    assert (text.lines, text.words, text.chars) == (2, 4, 15)


@pytest.mark.parametrize("data", [b"", b" \n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
def test_nothing_but_space_is_empty(data: bytes) -> None:
    assert read_caption(data).problem == "empty"


@pytest.mark.parametrize("data", ["日本".encode("cp932"), "été".encode("latin-1"), "a".encode("utf-16"), b"a\x00b"])
def test_other_encodings_are_told(data: bytes) -> None:
    assert read_caption(data).problem == "not_utf8"


def test_a_byte_order_mark_is_told_and_is_no_part_of_the_text() -> None:
    marked, plain = read_caption(b"\xef\xbb\xbfa cat"), read_caption(b"a cat")
    assert marked.bom
    assert (marked.digest, marked.tokens) == (plain.digest, plain.tokens)


def test_the_digest_tells_texts_apart_but_not_space_around_them() -> None:
    assert read_caption(b"a cat\n").digest == read_caption(b"  a cat").digest
    assert read_caption(b"a cat").digest != read_caption(b"a dog").digest


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("", 2),
        ("cat", 3),
        ("a photograph of a cat, 4k", 11),
        ("猫の写真", 6),
        ("x" * 70, 12),
    ],
)
def test_tokens_are_estimated_by_words_marks_and_letters(line: str, tokens: int) -> None:
    assert estimate_tokens(line) == tokens
