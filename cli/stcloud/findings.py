"""What is wrong with a dataset, in words: the server's findings after its inspection, and those a folder shows here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stcloud.listing import Kind, Listing, Some
from stcloud.render import count_text, some
from stcloud.scan import EMPTY, NO_IMAGE, UNREADABLE

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
    """What the names, sizes and first bytes of a folder's files tell; errors first."""
    unreadable = found.excluded_as(prefix=UNREADABLE)
    broken = found.excluded_as(EMPTY, NO_IMAGE)
    unknown = found.of(Kind.UNKNOWN)
    nothing = not found.of(Kind.IMAGE, Kind.VIDEO, Kind.AUDIO)
    checks = (
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
            found.without_caption,
            f"{count_text(found.without_caption.count, 'image')} without a .txt caption",
            'With caption_strategy "textfile" this ends the training: give each a caption, or use "filename" or '
            '"instanceprompt".',
        ),
        _finding(
            "warning",
            "caption_empty",
            found.empty_captions,
            f"{count_text(found.empty_captions.count, 'caption')} without text",
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


def _finding(level: str, code: str, files: Some, what: str, advice: str) -> Finding | None:
    if not files:
        return None
    message = f"{what}: {some(files.paths, files.count)}."
    return Finding(level, code, message, advice, files.count, tuple(files.paths[:MAX_PATHS]))
