"""Which files of a folder belong to a dataset, and which do not, with the reason."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from pathlib import Path, PurePosixPath

from stcloud.errors import UsageError
from stcloud.heads import HEAD, UNREAD_BY_TRAINER, WITHOUT_SIGNATURE, image_format, read_start
from stcloud.ignore import Rules
from stcloud.kinds import IMAGE_SUFFIXES, MEDIA_SUFFIXES, is_text, kind_of, private_part
from stcloud.listing import Flaw, Listing
from stcloud.render import count_text
from stcloud.texts import MAX_TEXT_BYTES, judge

MAX_FILES = 200_000
MAX_FILE_BYTES = 100 * 1024**3
MAX_PATH_BYTES = 512
#: Deeper than any dataset; what is below is reported, not followed.
MAX_DEPTH = 64

EMPTY = "empty (0 bytes)"
NO_IMAGE = "not an image (its content is of no image format)"
UNREADABLE = "can't be read"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


def scan(folder: Path) -> Listing:
    """Walks ``folder``. Reads names, sizes, the first bytes of images and small texts. The caller closes the listing.

    Left out: what may hold secrets, by its name or its text, hidden and system files, what a ``.stcloudignore`` names,
    links that leave the folder or lead to what is left out, links to folders, special files, what can't be read, empty
    images, videos and audio, images that are none, and names that can't be stored. Raises UsageError when ``folder`` is
    no readable folder, when nothing is left, when two files have one name, when an ignore file can't be understood, or
    when there are more than 200,000 files.
    """
    if not folder.is_dir():
        raise UsageError(f"'{folder}' is not a folder.", advice="Give the folder that holds your images and captions.")
    found = Listing(folder)
    try:
        _walk(folder, found)
        _check_whole(found)
    except BaseException:
        found.close()
        raise
    return found


def _walk(folder: Path, found: Listing) -> None:
    inside = folder.resolve()
    targets = _Targets(inside)
    waiting = [(folder, PurePosixPath(), 0, Rules())]
    taken = 0
    while waiting:
        directory, relative, depth, outer = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                rules = outer.within(directory, relative)
                for entry in entries:
                    path = relative / unicodedata.normalize("NFC", entry.name)
                    reason, below = _judge(entry, path, targets, depth, rules)
                    if reason:
                        found.exclude(_shown(path, directory=below), reason)
                    elif below:
                        waiting.append((Path(entry.path), path, depth + 1, rules))
                    elif _take(found, entry, path):
                        taken += 1
                        _check_number(folder, taken)
        except OSError as error:
            if not relative.parts:
                raise UsageError(f"'{folder}' can't be read: {error.strerror}.") from error
            found.exclude(f"{relative}/", f"{UNREADABLE}: {error.strerror}")


def _check_number(folder: Path, taken: int) -> None:
    if taken > MAX_FILES:
        raise UsageError(
            f"'{folder}' holds more than {MAX_FILES:,} files.",
            advice="Split it into several datasets; a dataloader can name more than one.",
        )


def _judge(
    entry: os.DirEntry[str], path: PurePosixPath, targets: _Targets, depth: int, rules: Rules
) -> tuple[str | None, bool]:
    """Why the entry is left out (None: it stays), and whether it is a folder."""
    directory = _is_directory(entry)
    problem = private_part(entry.name) or _name_problem(path) or rules.reason(path, directory=directory)
    if problem:
        return problem, directory
    if entry.is_symlink():
        return targets.problem(entry), False
    if directory:
        return ("is nested too deep" if depth >= MAX_DEPTH else None), True
    return None, False


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


class _Targets:
    """Judges what links lead to: by another name a file is no less private."""

    def __init__(self, inside: Path) -> None:
        self._inside = inside
        #: Of each folder: why all in it is left out (None: it is not), and the rules in it.
        self._folders: dict[PurePosixPath, tuple[str | None, Rules]] = {}

    def problem(self, link: os.DirEntry[str]) -> str | None:
        """Why the link is left out; None when it leads to a file that could be taken. Raises UsageError."""
        try:
            target = Path(link.path).resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
            return "link to nowhere"
        if not target.is_relative_to(self._inside):
            return "link that leaves the folder"
        if target.is_dir():
            return "link to a folder"
        reason = self._reason(PurePosixPath(target.relative_to(self._inside).as_posix()), directory=False)
        return reason and f"link to a file that is left out ({reason})"

    def _reason(self, path: PurePosixPath, *, directory: bool) -> str | None:
        reason, rules = self._folder(path.parent)
        path = PurePosixPath(unicodedata.normalize("NFC", str(path)))
        return reason or private_part(path.name) or rules.reason(path, directory=directory)

    def _folder(self, path: PurePosixPath) -> tuple[str | None, Rules]:
        """``path`` as the disk spells it, without links."""
        known = self._folders.get(path)
        if known is None:
            reason, outer = None, Rules()
            if path.parts:
                reason, outer = self._reason(path, directory=True), self._folder(path.parent)[1]
            named = PurePosixPath(unicodedata.normalize("NFC", str(path)))
            # As in git, an ignore file in a folder that is left out says nothing.
            known = self._folders[path] = reason, outer if reason else outer.within(self._inside / path, named)
        return known


def _name_problem(path: PurePosixPath) -> str | None:
    text = str(path)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return "name is not valid Unicode"
    if len(data) > MAX_PATH_BYTES:
        return f"path is longer than {MAX_PATH_BYTES} bytes"
    if "\\" in path.name or _CONTROL.search(path.name):
        return "name holds a backslash or control character"
    if _DRIVE.match(text):
        return "name looks like a drive"
    return None


def _take(found: Listing, entry: os.DirEntry[str], path: PurePosixPath) -> bool:
    """Adds the file, or the reason why it is left out. Raises UsageError for a second file of the same name."""
    source, name, suffix = Path(entry.path), str(path), path.suffix.lower()
    reason: str | None
    flaw = Flaw.NONE
    try:
        status = source.stat()
        reason = _file_problem(source, status)
        if reason is None:
            reason, flaw = _look(source, suffix, status.st_size)
    except OSError as error:
        reason = f"{UNREADABLE}: {error.strerror}"
    if reason:
        found.exclude(name, reason)
        return False
    below = source.relative_to(found.root).as_posix()
    if not found.add(name, below, status.st_size, kind_of(suffix), str(path.with_suffix("")), flaw):
        raise UsageError(
            f"Two files are named '{name}', once with composed and once with decomposed accents.",
            advice="Rename one of them.",
        )
    return True


def _file_problem(source: Path, status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if status.st_size > MAX_FILE_BYTES:
        return "larger than 100 GiB"
    if not os.access(source, os.R_OK):
        return f"{UNREADABLE}: no permission"
    return None


def _look(source: Path, suffix: str, size: int) -> tuple[str | None, Flaw]:
    """Why the file is left out (None: it is not), and what is wrong with it otherwise. Raises OSError."""
    if is_text(suffix):
        # A megabyte asked for is a megabyte set aside, whatever there is.
        return judge(read_start(source, min(size + 1, MAX_TEXT_BYTES)), size, suffix)
    return judge_media(read_start(source, HEAD) if size and suffix in IMAGE_SUFFIXES else b"", suffix, size)


def judge_media(head: bytes, suffix: str, size: int) -> tuple[str | None, Flaw]:
    """Why the trainer could not read a file that begins with ``head``: one that is no image would end the training."""
    if size == 0:
        return (EMPTY if suffix in MEDIA_SUFFIXES else None), Flaw.NONE
    if suffix not in IMAGE_SUFFIXES:
        return None, Flaw.NONE
    found = image_format(head)
    if found is None and suffix not in WITHOUT_SIGNATURE:
        return NO_IMAGE, Flaw.NONE
    return None, Flaw.FORMAT if found in UNREAD_BY_TRAINER else Flaw.NONE


def _check_whole(found: Listing) -> None:
    if found.count:
        return
    example = next(found.excluded(1), None)
    left_out = ""
    if example is not None:
        count = count_text(found.excluded_count, "entry was", "entries were")
        left_out = f" ({count} left out, like {example.path}: {example.reason})"
    raise UsageError(
        f"'{found.root}' holds no files for a dataset{left_out}.",
        advice="Put images and a .txt caption of the same name beside each into it.",
    )


def _shown(path: PurePosixPath, *, directory: bool) -> str:
    text = _CONTROL.sub("?", str(path)).encode("utf-8", "replace").decode()
    return f"{text}/" if directory else text
