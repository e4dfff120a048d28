"""``.stcloudignore``: what a user wants left out, in the syntax and with the rules of ``.gitignore``.

As in git, what lies in a folder that is left out can't be taken back in, and ignore files in it are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stcloud.errors import UsageError
from stcloud.ignore_patterns import Pattern, pattern_of

NAME = ".stcloudignore"
MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class IgnoreFile:
    """One file of patterns, each with the number of its line; they speak of paths below its own folder."""

    folder: PurePosixPath
    patterns: tuple[tuple[int, Pattern], ...]

    @property
    def name(self) -> str:
        return str(self.folder / NAME)

    def verdict(self, path: PurePosixPath, *, directory: bool) -> tuple[bool, int] | None:
        """Whether ``path`` is left out, and the last line that says so; None when no line speaks of it."""
        text = str(path.relative_to(self.folder))
        for line, pattern in reversed(self.patterns):
            if pattern.matches(text, directory=directory):
                return pattern.leaves_out, line
        return None


@dataclass(frozen=True)
class Rules:
    """The ignore files that hold in a folder, from the outermost to its own."""

    files: tuple[IgnoreFile, ...] = ()

    def reason(self, path: PurePosixPath, *, directory: bool) -> str | None:
        """Why ``path`` is left out (None: it is not). The innermost file that speaks of it decides.

        Only asked of what lies in a folder that is not left out itself.
        """
        for file in reversed(self.files):
            verdict = file.verdict(path, directory=directory)
            if verdict is not None:
                out, line = verdict
                return f"excluded by {file.name}:{line}" if out else None
        return None

    def within(self, directory: Path, relative: PurePosixPath) -> Rules:
        """The rules inside ``directory``, which may have an ignore file of its own. Raises UsageError."""
        own = _read(directory / NAME, relative)
        return self if own is None else Rules((*self.files, own))


def _read(file: Path, folder: PurePosixPath) -> IgnoreFile | None:
    """None when there is no such file. One that can't be understood is an error: guessing would send too much."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"'{file}' can't be read: {error.strerror}.", advice="Repair or remove it.") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"'{file}' is larger than {MAX_BYTES:,} bytes.", advice="Use fewer, wider patterns.")
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UsageError(f"'{file}' is not text in UTF-8.", advice="Save it as UTF-8.") from None
    patterns = []
    for number, line in enumerate(lines, 1):
        try:
            pattern = pattern_of(line)
        except ValueError as error:
            raise UsageError(
                f"'{file}', line {number}: '{line.rstrip()}' is no pattern ({error}).", advice="Repair the line."
            ) from None
        if pattern is not None:
            patterns.append((number, pattern))
    return IgnoreFile(folder, tuple(patterns))
