"""``.stcloudignore``: what a user wants left out, in the syntax and with the rules of ``.gitignore``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec

from stcloud.errors import UsageError

NAME = ".stcloudignore"
MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class IgnoreFile:
    """One file of patterns; they speak of paths below its own folder. ``negates``: some take things back in."""

    folder: PurePosixPath
    spec: GitIgnoreSpec
    negates: bool

    @property
    def name(self) -> str:
        return str(self.folder / NAME)

    def verdict(self, path: PurePosixPath, *, directory: bool) -> tuple[bool, int] | None:
        """Whether ``path`` is left out, and the line that says so; None when no line speaks of it."""
        text = str(path.relative_to(self.folder))
        found = self.spec.check_file(f"{text}/" if directory else text)
        if found.include is None or found.index is None:
            return None
        return found.include, found.index + 1


@dataclass(frozen=True)
class Rules:
    """The ignore files that hold in a folder, from the outermost to its own."""

    files: tuple[IgnoreFile, ...] = ()

    def reason(self, path: PurePosixPath, *, directory: bool) -> str | None:
        """Why ``path`` is left out (None: it is not). The innermost file that speaks of it decides.

        A folder is left out as a whole only where nothing in it could be taken back in.
        """
        if directory and any(file.negates for file in self.files):
            return None
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
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"'{file}' is not text in UTF-8.", advice="Save it as UTF-8.") from None
    for number, line in enumerate(lines, 1):
        try:
            GitIgnoreSpec.from_lines([line])
        except (ValueError, re.error):
            raise UsageError(f"'{file}', line {number}: '{line}' is no pattern.", advice="Repair the line.") from None
    # Empty lines would not be counted.
    spec = GitIgnoreSpec.from_lines([line or "#" for line in lines])
    return IgnoreFile(folder, spec, any(line.startswith("!") for line in lines))
