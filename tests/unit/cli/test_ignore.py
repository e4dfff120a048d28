"""``.stcloudignore`` leaves out what git leaves out. The table was filled by ``git check-ignore``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

import pytest
from stcloud.ignore import IgnoreFile, Rules
from stcloud.ignore_patterns import pattern_of

FILES = ("a.png", "a b.png", "x].png", "keep/a.png", "keep/b.txt", "d/a.png", "d/keep/a.png", "d/e/f.txt", "ab/c/d.png")

#: Lines by ignore file, and which of FILES git leaves out with them.
TABLE: list[tuple[Mapping[str, list[str]], set[str]]] = [
    ({"": ["*.png"]}, {f for f in FILES if f.endswith(".png")}),
    ({"": ["/*.png"]}, {"a.png", "a b.png", "x].png"}),
    ({"": ["d/"]}, {"d/a.png", "d/keep/a.png", "d/e/f.txt"}),
    ({"": ["d/", "!d/a.png"]}, {"d/a.png", "d/keep/a.png", "d/e/f.txt"}),
    ({"": ["d"], "d": ["!*"]}, {"d/a.png", "d/keep/a.png", "d/e/f.txt"}),
    ({"": ["d/*", "!d/a.png"]}, {"d/keep/a.png", "d/e/f.txt"}),
    ({"": ["d/**", "!d/keep/", "!d/keep/a.png"]}, {"d/a.png", "d/e/f.txt"}),
    ({"": ["d/**", "!d/keep/a.png"]}, {"d/a.png", "d/keep/a.png", "d/e/f.txt"}),
    # A folder that is taken back is not its files.
    ({"": ["*.png", "!keep/"]}, {f for f in FILES if f.endswith(".png")}),
    ({"": ["*.png"], "d": ["!keep/"]}, {f for f in FILES if f.endswith(".png")}),
    ({"": ["*.png"], "keep": ["!a.png"]}, {f for f in FILES if f.endswith(".png")} - {"keep/a.png"}),
    ({"": ["!*.png"], "d": ["*.png"]}, {"d/a.png", "d/keep/a.png"}),
    ({"": ["keep"]}, {"keep/a.png", "keep/b.txt", "d/keep/a.png"}),
    ({"": ["/keep"]}, {"keep/a.png", "keep/b.txt"}),
    ({"": ["d/keep"]}, {"d/keep/a.png"}),
    ({"": ["**/keep"]}, {"keep/a.png", "keep/b.txt", "d/keep/a.png"}),
    ({"": ["**/keep/*.txt"]}, {"keep/b.txt"}),
    ({"": ["d/**/*.txt"]}, {"d/e/f.txt"}),
    ({"": ["d/**/a.png"]}, {"d/a.png", "d/keep/a.png"}),
    ({"": ["*/a.png"]}, {"keep/a.png", "d/a.png"}),
    ({"": ["a**/d.png"]}, {"ab/c/d.png"}),
    ({"": ["a?*"]}, {"a.png", "a b.png", "keep/a.png", "d/a.png", "d/keep/a.png", "ab/c/d.png"}),
    ({"": ["a b.png  "]}, {"a b.png"}),
    ({"": ["[!a]].png", "x\\].png"]}, {"x].png"}),
    ({"": ["[]x]*.png"]}, {"x].png"}),
    ({"": ["[[:alpha:]].txt"]}, {"keep/b.txt", "d/e/f.txt"}),
    ({"": ["[^c-z]"]}, set()),
    ({"": ["[c-e]"]}, {"d/a.png", "d/keep/a.png", "d/e/f.txt", "ab/c/d.png"}),
    ({"": ["# a.png", "", "\\#a.png", "/", "a.png/"]}, set()),
    ({"": ["b.txt\r"]}, {"keep/b.txt"}),
]


def file_of(folder: str, lines: list[str]) -> IgnoreFile:
    patterns = [(number, pattern) for number, line in enumerate(lines, 1) if (pattern := pattern_of(line))]
    return IgnoreFile(PurePosixPath(folder), tuple(patterns))


def left_out(ignore: Mapping[str, list[str]]) -> Iterator[str]:
    """As a walk does it: from the outermost folder in, and no further than into what is left out."""
    for path in map(PurePosixPath, FILES):
        rules = Rules()
        for step in (*reversed(path.parents[:-1]), path):
            if str(step.parent) in {name or "." for name in ignore}:
                name = "" if str(step.parent) == "." else str(step.parent)
                rules = Rules((*rules.files, file_of(name, ignore[name])))
            if rules.reason(step, directory=step != path):
                yield str(path)
                break


@pytest.mark.parametrize(
    ("ignore", "expected"), TABLE, ids=lambda value: None if isinstance(value, set) else str(value)
)
def test_what_git_leaves_out(ignore: Mapping[str, list[str]], expected: set[str]) -> None:
    assert set(left_out(ignore)) == expected
