"""Numbers in sentences."""

from __future__ import annotations


def count_text(count: int, one: str, many: str | None = None) -> str:
    """``1 file``, ``2,000 files``; ``many`` where it is not ``one`` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def about_text(amount: float, one: str, many: str | None = None) -> str:
    """An amount to one decimal: ``1 pass``, ``1.5 passes``, ``50 passes``."""
    text = f"{amount:,.1f}".removesuffix(".0")
    return f"{text} {one if text == '1' else many or one + 's'}"
