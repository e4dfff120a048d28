"""Which files of a folder belong to a dataset, and which do not, with the reason."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from stcloud.errors import UsageError
from stcloud.heads import is_image

MAX_FILES = 20_000
MAX_FILE_BYTES = 5 * 1024**3
MAX_PATH_BYTES = 512
#: Deeper than any dataset; what is below is reported, not followed.
MAX_DEPTH = 64

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif", ".jxl"}
)
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"})
AUDIO_SUFFIXES = frozenset({".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac"})
CAPTION_SUFFIX = ".txt"
#: Lists of captions and the like; the trainer's own caches are JSON too.
METADATA_SUFFIXES = frozenset({".json", ".jsonl", ".csv", ".parquet"})
_KNOWN_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | AUDIO_SUFFIXES | METADATA_SUFFIXES | {CAPTION_SUFFIX}
EMPTY = "empty (0 bytes)"
NO_IMAGE = "not an image (its content is of no image format)"

#: Compared in lower case, files and folders alike.
_SECRETS = (
    ".env",
    ".env.*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.ppk",
    "*.kdbx",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    "credentials*",
    ".netrc",
    ".ssh",
    ".aws",
)
_JUNK = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "$recycle.bin", "icon\r", "__pycache__"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class FoundFile:
    """A file of the dataset: ``path`` as the manifest names it (relative, ``/``, NFC), ``source`` on this disk."""

    path: str
    source: Path
    size: int


@dataclass(frozen=True)
class Excluded:
    """Something left out; folders end in a slash and stand for all they hold."""

    path: str
    reason: str


@dataclass
class Scan:
    """What a folder holds. ``files`` are sorted by path."""

    root: Path
    files: list[FoundFile] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(f.size for f in self.files)

    @property
    def images(self) -> list[str]:
        return [f.path for f in self.files if _suffix(f.path) in IMAGE_SUFFIXES | VIDEO_SUFFIXES]

    @property
    def audio(self) -> list[str]:
        return [f.path for f in self.files if _suffix(f.path) in AUDIO_SUFFIXES]

    @property
    def captions(self) -> list[str]:
        return [f.path for f in self.files if _suffix(f.path) == CAPTION_SUFFIX]

    @property
    def without_caption(self) -> list[str]:
        """Images and videos that have no ``.txt`` of the same name beside them."""
        stems = {_stem(p) for p in self.captions}
        return [p for p in self.images if _stem(p) not in stems]

    @property
    def without_image(self) -> list[str]:
        """Captions that have no image, video or audio of the same name beside them."""
        stems = {_stem(p) for p in (*self.images, *self.audio)}
        return [p for p in self.captions if _stem(p) not in stems]

    @property
    def empty_captions(self) -> list[str]:
        return [f.path for f in self.files if _suffix(f.path) == CAPTION_SUFFIX and f.size == 0]

    @property
    def unknown(self) -> list[str]:
        """Files that are neither image, video, audio, caption nor metadata."""
        return [f.path for f in self.files if _suffix(f.path) not in _KNOWN_SUFFIXES]

    @property
    def broken(self) -> list[str]:
        """Images and the like that were left out because no trainer could read them."""
        return [e.path for e in self.excluded if e.reason in (EMPTY, NO_IMAGE)]


def scan(folder: Path) -> Scan:
    """Walks ``folder``. Reads names, sizes and the first bytes of images.

    Left out: what may hold secrets, hidden and system files, links that leave the folder, links to folders, special
    files, what can't be read, empty images, videos and audio, images that are none, and names that can't be
    stored. Raises UsageError when ``folder`` is no readable folder, when nothing is left, or when there are more than
    20,000 files.
    """
    if not folder.is_dir():
        raise UsageError(f"'{folder}' is not a folder.", advice="Give the folder that holds your images and captions.")
    found = Scan(folder)
    inside = folder.resolve()
    waiting = [(folder, PurePosixPath(), 0)]
    while waiting:
        directory, relative, depth = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                listed = sorted(entries, key=lambda e: e.name)
        except OSError as error:
            if not relative.parts:
                raise UsageError(f"'{folder}' can't be read: {error.strerror}.") from error
            found.excluded.append(Excluded(f"{relative}/", f"can't be read: {error.strerror}"))
            continue
        for entry in listed:
            path = relative / unicodedata.normalize("NFC", entry.name)
            reason, below = _judge(entry, path, inside, depth)
            if reason:
                found.excluded.append(Excluded(_shown(path, directory=below), reason))
            elif below:
                waiting.append((Path(entry.path), path, depth + 1))
            else:
                _take(found, entry, path)
        if len(found.files) > MAX_FILES:
            raise UsageError(
                f"'{folder}' holds more than {MAX_FILES:,} files.",
                advice="Split it into several datasets; a dataloader can name more than one.",
            )
    found.files.sort(key=lambda f: f.path.encode())
    found.excluded.sort(key=lambda e: e.path)
    _check_whole(found)
    return found


def _judge(entry: os.DirEntry[str], path: PurePosixPath, inside: Path, depth: int) -> tuple[str | None, bool]:
    """Why the entry is left out (None: it stays), and whether it is a folder."""
    name = entry.name.lower()
    directory = _is_directory(entry)
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _SECRETS):
        return "may hold secrets", directory
    if name in _JUNK:
        return "system file", directory
    if name.startswith("."):
        return "hidden", directory
    problem = _name_problem(path)
    if problem:
        return problem, directory
    if entry.is_symlink():
        return _link_problem(entry, inside), False
    if directory:
        return ("is nested too deep" if depth >= MAX_DEPTH else None), True
    return None, False


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _link_problem(entry: os.DirEntry[str], inside: Path) -> str | None:
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
        return "link to nowhere"
    if not target.is_relative_to(inside):
        return "link that leaves the folder"
    if target.is_dir():
        return "link to a folder"
    return None


def _name_problem(path: PurePosixPath) -> str | None:
    text = str(path)
    if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        return "name is not valid Unicode"
    if len(text.encode()) > MAX_PATH_BYTES:
        return f"path is longer than {MAX_PATH_BYTES} bytes"
    if "\\" in path.name or _CONTROL.search(path.name):
        return "name holds a backslash or control character"
    if re.match(r"^[A-Za-z]:", text):
        return "name looks like a drive"
    return None


def _take(found: Scan, entry: os.DirEntry[str], path: PurePosixPath) -> None:
    source = Path(entry.path)
    try:
        status = source.stat()
    except OSError as error:
        found.excluded.append(Excluded(str(path), f"can't be read: {error.strerror}"))
        return
    if not stat.S_ISREG(status.st_mode):
        found.excluded.append(Excluded(str(path), "not a regular file"))
    elif status.st_size > MAX_FILE_BYTES:
        found.excluded.append(Excluded(str(path), "larger than 5 GiB"))
    elif not os.access(source, os.R_OK):
        found.excluded.append(Excluded(str(path), "can't be read: no permission"))
    else:
        reason = _content_problem(source, str(path), status.st_size)
        if reason:
            found.excluded.append(Excluded(str(path), reason))
        else:
            found.files.append(FoundFile(str(path), source, status.st_size))


def _content_problem(source: Path, path: str, size: int) -> str | None:
    """Why the trainer could not read the file; one such file would end the training."""
    suffix = _suffix(path)
    if size == 0:
        return EMPTY if suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES | AUDIO_SUFFIXES else None
    if suffix not in IMAGE_SUFFIXES:
        return None
    try:
        return None if is_image(source) else NO_IMAGE
    except OSError as error:
        return f"can't be read: {error.strerror}"


def _check_whole(found: Scan) -> None:
    if not found.files:
        left_out = ""
        if found.excluded:
            example = found.excluded[0]
            left_out = f" ({len(found.excluded)} entries were left out, like {example.path}: {example.reason})"
        raise UsageError(
            f"'{found.root}' holds no files for a dataset{left_out}.",
            advice="Put images and a .txt caption of the same name beside each into it.",
        )
    for one, two in zip(found.files, found.files[1:], strict=False):
        if one.path == two.path:
            raise UsageError(
                f"Two files are named '{one.path}', once with composed and once with decomposed accents.",
                advice="Rename one of them.",
            )


def _shown(path: PurePosixPath, *, directory: bool) -> str:
    text = _CONTROL.sub("?", str(path)).encode("utf-8", "replace").decode()
    return f"{text}/" if directory else text


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
