"""One is one thing, two are things."""

from __future__ import annotations

import pytest

from chalicelib.domain.wording import about_text, count_text


@pytest.mark.parametrize(("count", "said"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (2000, "2,000 files")])
def test_counts(count: int, said: str) -> None:
    assert count_text(count, "file") == said


def test_words_that_take_more_than_an_s() -> None:
    assert count_text(1, "entry is", "entries are") == "1 entry is"
    assert count_text(0, "entry is", "entries are") == "0 entries are"


@pytest.mark.parametrize(
    ("amount", "said"),
    [(0.04, "0 passes"), (1, "1 pass"), (1.04, "1 pass"), (1.5, "1.5 passes"), (5000, "5,000 passes")],
)
def test_amounts(amount: float, said: str) -> None:
    assert about_text(amount, "pass", "passes") == said
