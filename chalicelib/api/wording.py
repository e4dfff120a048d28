"""What is wrong with a field, in words that say what to do. Pydantic's own speak of Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_Context = Mapping[str, Any]


def _count(number: Any, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"


#: Our words by pydantic's error type. ``{…}`` are members of the error's context, which are ours: bounds and names.
_WORDS: Mapping[str, str | Callable[[_Context], str]] = {
    "missing": "is missing",
    "extra_forbidden": "is not known here; leave it out, or look for a typing error",
    "string_type": "must be a text",
    "string_unicode": "must be a text",
    "string_too_short": lambda c: f"must have {_count(c['min_length'], 'character')} at least",
    "string_too_long": lambda c: f"may have {_count(c['max_length'], 'character')} at most",
    "string_pattern_mismatch": "must fit the pattern {pattern}",
    "too_short": lambda c: f"must have {_count(c['min_length'], 'entry').replace('entrys', 'entries')} at least",
    "too_long": lambda c: f"may have {_count(c['max_length'], 'entry').replace('entrys', 'entries')} at most",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "decimal_max_places": "may have {decimal_places} decimal places at most",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "enum": "must be one of: {expected}",
    "union_tag_not_found": "must have its {discriminator}",
    "union_tag_invalid": "must be of one of the kinds {expected_tags}",
    "literal_error": "must be: {expected}",
    "list_type": "must be a list",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "datetime_type": "must be a time like 2026-01-31T12:00:00Z",
    "datetime_parsing": "must be a time like 2026-01-31T12:00:00Z",
    "datetime_from_date_parsing": "must be a time like 2026-01-31T12:00:00Z",
    "timezone_aware": "must name its time zone, like 2026-01-31T12:00:00Z",
    "url_parsing": "must be a URL like https://example.com/path",
    "url_type": "must be a URL like https://example.com/path",
}
_OURS = "Value error, "


def in_words(error: Mapping[str, Any]) -> str:
    """The message of one of pydantic's errors (as ``ValidationError.errors()`` gives it, with its context).

    Messages of our own validators stay; of a type that has no words here pydantic's own stay.
    """
    words = _WORDS.get(error["type"])
    if words is None:
        return str(error["msg"]).removeprefix(_OURS)
    context = error.get("ctx") or {}
    return words(context) if callable(words) else words.format(**context)
