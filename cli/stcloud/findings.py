"""What is wrong with a dataset, in words: the server's findings after its inspection, and those a folder shows here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stcloud.listing import Flaw, Kind, Listing, Some
from stcloud.render import count_text, some
from stcloud.scan import EMPTY, NO_IMAGE, UNREADABLE
from stcloud.texts import HOLDS

LEVELS = ("error", "warning", "note")
#: Paths a finding names, as the server's do.
MAX_PATHS = 20


@dataclass(frozen=True)
class Finding:
    """``level`` is error, warning or note; ``paths`` are some of the ``count`` files it is about."""

    level: str
    code: str
    message: str
    advice: str
    count: int = 1
    paths: Sequence[str] = ()

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Finding:
        """One of a report. A level that is not known here is taken for the worst."""
        level = data.get("level") if data.get("level") in LEVELS else "error"
        return cls(
            str(level),
            str(data.get("code") or "unknown"),
            str(data.get("message") or ""),
            str(data.get("advice") or ""),
            int(data.get("count") or 1),
            tuple(str(path) for path in data.get("paths") or ()),
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "paths": list(self.paths)}


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: LEVELS.index(f.level))


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """``errors``, ``warnings``, ``notes``."""
    levels = [finding.level for finding in findings]
    return {f"{level}s": levels.count(level) for level in LEVELS}


def counts_text(numbers: Mapping[str, int]) -> str:
    """``2 errors, 1 warning``; "nothing found" when all are 0."""
    said = [count_text(numbers[f"{level}s"], level) for level in LEVELS if numbers.get(f"{level}s")]
    return ", ".join(said) or "nothing found"


def local_findings(found: Listing) -> list[Finding]:
    """What the names, sizes, first bytes and texts of a folder's files tell; errors first."""
    secrets = found.excluded_as(prefix=HOLDS)
    not_utf8, format_unread = found.flawed(Flaw.NOT_UTF8), found.flawed(Flaw.FORMAT)
    uncaptioned, empty = found.without_caption, found.flawed(Flaw.EMPTY)
    pictures = ("image or video", "images and videos") if found.of(Kind.VIDEO) else ("image", "images")
    unreadable = found.excluded_as(prefix=UNREADABLE)
    broken = found.excluded_as(EMPTY, NO_IMAGE)
    unknown = found.of(Kind.UNKNOWN)
    nothing = not found.of(Kind.IMAGE, Kind.VIDEO, Kind.AUDIO)
    checks = (
        secrets_finding(secrets),
        _finding(
            "error",
            "unreadable",
            unreadable,
            f"{count_text(unreadable.count, 'entry', 'entries')} can't be read",
            "Give yourself the right to read them.",
        ),
        _finding(
            "error",
            "broken_file",
            broken,
            f"{count_text(broken.count, 'file')} left out that would end the training",
            "Replace or delete what is empty or not an image.",
        ),
        _finding(
            "error",
            "image_format_unsupported",
            format_unread,
            f"{count_text(format_unread.count, 'image')} in a format that the trainer can't read (HEIF or JPEG XL)",
            "Convert to PNG, JPEG or WebP.",
        ),
        _finding(
            "error",
            "caption_not_utf8",
            not_utf8,
            f"{count_text(not_utf8.count, 'caption')} not in UTF-8, so the trainer can't read "
            f"{'it' if not_utf8.count == 1 else 'them'}",
            "Save as UTF-8 (from Shift_JIS: iconv -f CP932 -t UTF-8 old.txt > new.txt).",
        ),
        Finding(
            "warning",
            "no_media",
            "There are no images, videos or audio among the files.",
            "Put the images beside their captions.",
        )
        if nothing
        else None,
        _finding(
            "warning",
            "caption_missing",
            uncaptioned,
            f"{count_text(uncaptioned.count, *pictures)} without a .txt caption",
            'With caption_strategy "textfile" this ends the training: give each a caption, or use "filename" or '
            '"instanceprompt".',
        ),
        _finding(
            "warning",
            "caption_empty",
            empty,
            f"{count_text(empty.count, 'caption')} without text",
            "Write what the image shows.",
        ),
        _finding(
            "warning",
            "unknown_kind",
            unknown,
            f"{count_text(unknown.count, 'file')} of no kind the trainer knows (image, video, audio, .txt, metadata)",
            "They are sent all the same; name them in .stcloudignore to keep them here.",
        ),
        _finding(
            "warning",
            "caption_orphan",
            found.without_image,
            f"{count_text(found.without_image.count, 'caption')} without an image",
            "Give caption and image the same name.",
        ),
    )
    return [check for check in checks if check is not None]


def secrets_finding(secrets: Some) -> Finding | None:
    """About texts that were left out since they seem to hold secrets."""
    count = secrets.count
    holds = "a text file holds" if count == 1 else f"{count:,} text files hold"
    return _finding(
        "error",
        "secret_in_text",
        secrets,
        f"{holds[0].upper()}{holds[1:]} what looks like {'a key or token' if count == 1 else 'keys or tokens'}",
        "Take it out of the text; if it was ever shared, revoke it too.",
    )


def named_secrets_finding(secrets: Some) -> Finding | None:
    """About files that may hold secrets by their names (``.env``, keys), in an archive."""
    holds = count_text(secrets.count, "entry is", "entries are")
    return _finding(
        "error",
        "secret_name",
        secrets,
        f"{holds} named like {'one that holds' if secrets.count == 1 else 'ones that hold'} secrets",
        "Take it out." if secrets.count == 1 else "Take them out.",
    )


def _finding(level: str, code: str, files: Some, what: str, advice: str) -> Finding | None:
    if not files:
        return None
    message = f"{what}: {some(files.paths, files.count)}."
    return Finding(level, code, message, advice, files.count, tuple(files.paths[:MAX_PATHS]))
