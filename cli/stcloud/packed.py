"""What of a zip or tar the server would take, and what it would leave out: its rules, applied here before the upload.

The rules, reasons and codes are those of the server's unpacking (a test runs both over the same archives). What is
refused as a whole, because it is damaged or made to deceive, is left to the server to tell.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from stcloud.heads import HEAD
from stcloud.kinds import IMAGE_SUFFIXES, is_text, kind_of, private_part
from stcloud.listing import Excluded, Flaw, Kind
from stcloud.packed_entries import Packed, entries
from stcloud.scan import MAX_DEPTH, MAX_PATH_BYTES, judge_media
from stcloud.texts import MAX_TEXT_BYTES, judge, secret_reason

GIB, MIB = 1024**3, 1024**2
MAX_ENTRY_BYTES = 10 * GIB
#: What one entry may unpack to before it counts as a bomb.
BOMB_FREE_BYTES, BOMB_RATIO = 16 * MIB, 500
_ARCHIVES = (
    *(".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".7z", ".rar", ".zst", ".lz4", ".jar", ".cab"),
    ".iso",
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"^[A-Za-z]:")
#: The code of what is named like something that holds secrets.
NAMED_SECRET = "secret"  # noqa: S105
#: Why the name, not the content, speaks against an entry.
_PRIVATE_CODES = {"may hold secrets": NAMED_SECRET, "system file": "system_file", "hidden": "hidden"}


@dataclass(frozen=True)
class Verdict:
    """``path`` in the dataset. With a ``code`` the entry is left out, for ``reason``. ``secret`` is what a text seems
    to hold, in words, taken or not: an archive is sent whole. ``planned``: only its content speaks against it."""

    path: str
    size: int
    code: str | None = None
    reason: str | None = None
    kind: Kind = Kind.UNKNOWN
    flaw: Flaw = Flaw.NONE
    secret: str | None = None
    planned: bool = False

    def below(self, folder: str) -> Verdict:
        """The same without the folder around it."""
        return replace(self, path=self.path[len(folder) + 1 :]) if self.planned else self


@dataclass
class Contents:
    """The verdicts in the archive's order. ``stripped`` is the one folder around everything, which is left away;
    ``notes`` say how names were read."""

    verdicts: list[Verdict] = field(default_factory=list)
    stripped: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def taken(self) -> list[Verdict]:
        return [v for v in self.verdicts if v.code is None]

    @property
    def left_out(self) -> list[Excluded]:
        return [Excluded(v.path, v.reason or "") for v in self.verdicts if v.code is not None]

    def paths(self, *codes: str) -> list[str]:
        """What was left out for one of ``codes``."""
        return [v.path for v in self.verdicts if v.code in codes]

    @property
    def secrets(self) -> list[Verdict]:
        """Texts that seem to hold one."""
        return [v for v in self.verdicts if v.secret is not None]

    def flawed(self, flaw: Flaw) -> list[str]:
        return [v.path for v in self.taken if v.flaw is flaw]

    @property
    def kinds(self) -> Counter[Kind]:
        return Counter(v.kind for v in self.taken)

    @property
    def bytes(self) -> int:
        return sum(v.size for v in self.taken)


def look(file: Path) -> Contents:
    """Judges every entry; reads the directory, the first bytes of images, and small texts.

    Raises OSError, and UnreadableArchiveError when it is no archive that can be read here.
    """
    contents = Contents()
    with entries(file, contents.notes) as found:
        contents.verdicts = list(_judged(found))
    stripped = contents.stripped = _only_folder(contents.verdicts)
    if stripped is not None:
        contents.verdicts = [verdict.below(stripped) for verdict in contents.verdicts]
        contents.notes.append(f"Everything lay in the folder '{stripped}', which is left away.")
    return contents


def _judged(found: Iterable[Packed]) -> Iterator[Verdict]:
    taken: set[str] = set()
    folders: set[str] = set()
    for entry in found:
        path, problem = judge_name(entry.name, backslashes=entry.backslashes)
        problem = problem or entry.problem or _size_problem(path, entry)
        if problem is None and path in taken:
            problem = "duplicate_name", "is in the archive twice; the first one is taken"
        if problem is None and (path in folders or any(parent in taken for parent in _folders(path))):
            problem = "name_conflict", "is the name of a file and of a folder"
        if problem is not None:
            yield Verdict(_shown(path), entry.size, *problem, secret=_secret_left_out(path, entry))
            continue
        # A file whose content speaks against it has its name all the same, as on the server.
        taken.add(path)
        folders.update(_folders(path))
        yield _content(path, entry)


def _secret_left_out(path: str, entry: Packed) -> str | None:
    """What secret a text holds that is left out for its name: it leaves this computer in the archive all the same."""
    suffix = _suffix(path)
    if entry.problem is not None or not is_text(suffix) or _size_problem(path, entry) is not None:
        return None
    data = entry.start(MAX_TEXT_BYTES)
    return None if isinstance(data, tuple) else secret_reason(data)


def judge_name(name: str, *, backslashes: bool) -> tuple[str, tuple[str, str] | None]:
    """What the name means as a path, and the code and reason when it is left out."""
    text = unicodedata.normalize("NFC", name.replace("\\", "/") if backslashes else name)
    if text.startswith("/"):
        return text, ("absolute_path", "is absolute; use a path relative to the dataset's folder")
    parts = [part for part in text.split("/") if part not in {"", "."}]
    path = "/".join(parts)
    if ".." in parts:
        return text, ("path_traversal", "leads out of the folder ('..' in its path)")
    if any(_DRIVE.match(part) for part in parts):
        return path, ("absolute_path", "name looks like a drive")
    for reason in filter(None, map(private_part, parts)):
        return path, (_PRIVATE_CODES[reason], reason)
    problem = _path_problem(path, parts)
    if problem:
        return path, ("bad_name", problem)
    if path.lower().endswith(_ARCHIVES):
        return path, ("nested_archive", "an archive inside the archive is not unpacked")
    return path, None


def _path_problem(path: str, parts: list[str]) -> str | None:
    if not parts:
        return "has no name"
    if any(0xD800 <= ord(c) <= 0xDFFF for c in path):
        return "name is not valid Unicode"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"path is longer than {MAX_PATH_BYTES} bytes"
    if "\\" in path or _CONTROL.search(path):
        return "name holds a backslash or control character"
    return "is nested too deep" if len(parts) > MAX_DEPTH + 1 else None


def _size_problem(path: str, entry: Packed) -> tuple[str, str] | None:
    if entry.size > MAX_ENTRY_BYTES:
        return "too_large", "larger than 10 GiB; send it with stcloud datasets push"
    if entry.compressed and entry.size > BOMB_FREE_BYTES and entry.size > BOMB_RATIO * entry.packed:
        return "bomb", f"{entry.packed:,} bytes would unpack to {entry.size:,}, as in a zip bomb"
    empty, _ = judge_media(b"", _suffix(path), 0) if not entry.size else (None, None)
    return None if empty is None else ("empty", empty)


def _content(path: str, entry: Packed) -> Verdict:
    """The verdict on a file that only its content can speak against."""
    suffix = _suffix(path)
    verdict = Verdict(path, entry.size, kind=kind_of(suffix), planned=True)
    image = suffix in IMAGE_SUFFIXES
    if not image and not is_text(suffix):
        return verdict
    data = entry.start(HEAD if image else MAX_TEXT_BYTES)
    if isinstance(data, tuple):
        return replace(verdict, code=data[0], reason=data[1])
    if image:
        reason, flaw = judge_media(data, suffix, entry.size)
        return replace(verdict, code=reason and "not_an_image", reason=reason, flaw=flaw)
    secret, flaw = judge(data, entry.size, suffix)
    return replace(verdict, secret=secret, flaw=flaw)


def _only_folder(verdicts: list[Verdict]) -> str | None:
    tops = {v.path.partition("/")[0] if "/" in v.path else None for v in verdicts if v.planned}
    return tops.pop() if len(tops) == 1 else None


def _folders(path: str) -> list[str]:
    """``a/b/c`` lies in ``a`` and ``a/b``."""
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _shown(path: str) -> str:
    text = _CONTROL.sub("?", path).encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_PATH_BYTES else f"{text[: MAX_PATH_BYTES - 1]}…"
