"""The patterns of ``.gitignore``, each as a regular expression for a whole path, as git's wildmatch reads them.

A library that also matches what lies in a matched folder does not do here: with ``*.png`` and ``!keep/`` it takes back
``keep/a.png``, which git leaves out, for git takes back the folder ``keep`` alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SPECIAL = re.compile(r"[*?[\\]")
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "\\x21-\\x7e",
    "lower": "a-z",
    "print": "\\x20-\\x7e",
    "punct": "\\x21-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7e",
    "space": " \\t\\n\\r\\f\\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


@dataclass(frozen=True)
class Pattern:
    """One line. ``leaves_out`` is False where it begins with ``!``."""

    leaves_out: bool
    folders_only: bool
    #: Of a pattern without a slash the name alone is compared, else the path below the ignore file's folder.
    name_alone: bool
    expression: re.Pattern[str]

    def matches(self, path: str, *, directory: bool) -> bool:
        """Whether it speaks of this very path; what lies below is judged on its own."""
        if self.folders_only and not directory:
            return False
        text = path.rpartition("/")[2] if self.name_alone else path
        return self.expression.fullmatch(text) is not None


def pattern_of(line: str) -> Pattern | None:
    """None for a line that says nothing: empty, a comment. Raises ValueError for one that is no pattern."""
    text = _without_trailing_spaces(line.removesuffix("\r"))
    if not text or text.startswith("#"):
        return None
    leaves_out = not text.startswith("!")
    text = text.removeprefix("!")
    if not text:
        raise ValueError("nothing after '!'")
    folders_only = text.endswith("/") and not text.endswith("\\/")
    text = text.removesuffix("/") if folders_only else text
    name_alone = "/" not in text
    expression = re.compile(_translated(text.removeprefix("/"), in_path=not name_alone), re.DOTALL)
    return Pattern(leaves_out, folders_only, name_alone, expression)


def _without_trailing_spaces(line: str) -> str:
    """A space behind a backslash stays."""
    end = len(line)
    while end and line[end - 1] == " ":
        backslashes = len(line[: end - 1]) - len(line[: end - 1].rstrip("\\"))
        if backslashes % 2:
            break
        end -= 1
    return line[:end]


def _translated(text: str, *, in_path: bool) -> str:
    out, at = "", 0
    while at < len(text):
        char = text[at]
        if char == "*":
            length = len(text[at:]) - len(text[at:].lstrip("*"))
            piece, used = _stars(text, at, length, in_path)
            out, at = out + piece, at + used
        elif char == "?":
            out, at = out + "[^/]", at + 1
        elif char == "[":
            piece, at = _class(text, at + 1)
            out += piece
        elif char == "\\":
            if at + 1 == len(text):
                raise ValueError("ends in a backslash")
            out, at = out + re.escape(text[at + 1]), at + 2
        else:
            out, at = out + re.escape(char), at + 1
    return out


def _stars(text: str, at: int, length: int, in_path: bool) -> tuple[str, int]:
    """The expression for a run of stars, and how many characters it stands for."""
    end = at + length
    # git compares what stands before the first special character on its own, so that ``a**/b`` begins with two stars.
    begins = at == 0 or text[at - 1] == "/" or (in_path and _SPECIAL.search(text[:at]) is None)
    alone = begins and (end == len(text) or text[end] == "/")
    if length == 1 or not alone:
        return "[^/]*", length
    # Two stars between slashes are any number of folders, none too.
    return (".*", length) if end == len(text) else ("(?:.*/)?", length + 1)


def _class(text: str, at: int) -> tuple[str, int]:
    """The expression for ``[…]`` whose inside begins at ``at``, and where the text goes on. Raises ValueError."""
    negated = text[at : at + 1] in {"!", "^"}
    at += negated
    members, first = "", True
    while first or text[at : at + 1] != "]":
        named = re.match(r"\[:(\w*):\]", text[at:])
        if named:
            if named.group(1) not in _CLASSES:
                raise ValueError(f"no such class: {named.group()}")
            members, at = members + _CLASSES[named.group(1)], at + named.end()
        else:
            low, at = _member(text, at)
            high = low
            if text[at : at + 1] == "-" and text[at + 1 : at + 2] not in {"", "]"}:
                high, at = _member(text, at + 1)
            if low > high:
                raise ValueError(f"no such range: {low}-{high}")
            members += f"{re.escape(low)}-{re.escape(high)}"
        first = False
    return f"(?!/)[{'^' if negated else ''}{members}]", at + 1


def _member(text: str, at: int) -> tuple[str, int]:
    at += text[at : at + 1] == "\\"
    if at >= len(text):
        raise ValueError("'[' is not closed")
    return text[at], at + 1
