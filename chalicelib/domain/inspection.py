"""The inspection of a version: what its files' facts add up to, and the findings that follow. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from chalicelib.domain.captions import CLIP_TOKENS, T5_LONG_TOKENS, T5_SHORT_TOKENS
from chalicelib.domain.duplicates import Fingerprint, near_groups
from chalicelib.domain.histograms import classes, coarse
from chalicelib.domain.inspection_facts import CaptionCounts, Counts, FileFacts, Problem, ReportFacts
from chalicelib.domain.inspection_findings import MAX_PATHS, Finding, Level, in_order
from chalicelib.domain.inspection_fit import caption_fit, fit
from chalicelib.domain.inspection_words import PROBLEMS
from chalicelib.domain.media import Kind, is_caption_name, stem_of
from chalicelib.domain.wording import count_text

__all__ = ["Collector", "caption_fit", "fit"]

#: Upper ends of the classes of caption lengths, in tokens.
TOKEN_CLASSES = (10, 25, 50, CLIP_TOKENS, 150, T5_SHORT_TOKENS, T5_LONG_TOKENS)
#: Upper ends of the classes of the smaller side, in pixels.
SIDE_CLASSES = (256, 512, 768, 1024, 1536, 2048, 4096)
#: Problems of which the details say more, and how many of those a message names.
_DETAILED = frozenset({Problem.FORMAT_UNSUPPORTED, Problem.SECRET_CONTENT, Problem.NOT_AN_IMAGE})
MAX_DETAILS = 4
_USELESS = frozenset(
    {Problem.EMPTY_FILE, Problem.NOT_AN_IMAGE, Problem.UNREADABLE, Problem.TRUNCATED, Problem.TOO_MANY_PIXELS,
     Problem.FORMAT_UNSUPPORTED, Problem.MISSING}
)  # fmt: skip


class _Examples:
    """Counts, and keeps the first paths by name."""

    def __init__(self) -> None:
        self.count = 0
        self._paths: list[str] = []

    def add(self, path: str) -> None:
        self.count += 1
        self._paths.append(path)
        if len(self._paths) >= 4 * MAX_PATHS:
            self._paths = self.paths()

    def paths(self) -> list[str]:
        return sorted(self._paths, key=str.encode)[:MAX_PATHS]


class Collector:
    """Takes the facts of every file, in any order; then tells what they add up to.

    Keeps a few hundred bytes of each file, so 200,000 fit into a small function's memory.
    """

    def __init__(self) -> None:
        self._kinds: Counter[Kind] = Counter()
        self._files = self._bytes = 0
        self._problems: dict[Problem, _Examples] = defaultdict(_Examples)
        self._details: dict[Problem, set[str]] = defaultdict(set)
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._media: dict[str, str] = {}
        self._captioned: dict[str, str] = {}
        #: Named like .TXT, which the trainer does not look for.
        self._miscased: dict[str, str] = {}
        self._texts: Counter[str] = Counter()
        self._tokens: list[int] = []
        self._long: dict[str, _Examples] = defaultdict(_Examples)
        self._by_hash: dict[str, list[str]] = defaultdict(list)
        self._pictures: list[tuple[str, Fingerprint]] = []

    @property
    def files(self) -> int:
        return self._files

    def add(self, file: FileFacts) -> None:
        self._files += 1
        self._bytes += file.size
        self._kinds[file.kind] += 1
        for problem in file.problems:
            self._problems[problem].add(file.path)
            if file.detail:
                self._details[problem].add(file.detail)
        if file.kind is Kind.CAPTION:
            self._add_caption(file)
        elif file.kind in {Kind.IMAGE, Kind.VIDEO, Kind.AUDIO}:
            self._add_media(file)

    def _add_caption(self, file: FileFacts) -> None:
        if not is_caption_name(file.path):
            self._miscased[stem_of(file.path)] = file.path
            return
        self._captioned[stem_of(file.path)] = file.path
        if not file.text:
            return
        self._texts[file.text] += 1
        self._tokens.append(file.tokens)
        for code, limit in (("caption_over_clip", CLIP_TOKENS), ("caption_over_t5", T5_LONG_TOKENS)):
            if file.tokens > limit:
                self._long[code].add(file.path)

    def _add_media(self, file: FileFacts) -> None:
        if file.kind is not Kind.AUDIO:
            self._media.setdefault(stem_of(file.path), file.path)
        else:
            self._media.setdefault(stem_of(file.path), "")
        if file.kind is not Kind.IMAGE:
            return
        self._by_hash[file.sha256].append(file.path)
        if file.width and file.height and not _USELESS & set(file.problems):
            self._sizes[file.width, file.height] += 1
        if file.rows is not None and file.columns is not None:
            self._pictures.append((file.path, Fingerprint(file.rows, file.columns)))

    def facts(self) -> ReportFacts:
        kinds, tokens = self._kinds, self._tokens
        sizes, exact = coarse(self._sizes)
        return ReportFacts(
            counts=Counts(
                files=self._files,
                bytes=self._bytes,
                images=kinds[Kind.IMAGE],
                captions=kinds[Kind.CAPTION],
                video=kinds[Kind.VIDEO],
                audio=kinds[Kind.AUDIO],
                metadata=kinds[Kind.METADATA],
                other=kinds[Kind.OTHER],
            ),
            captions=CaptionCounts(
                captions=len(self._captioned),
                missing=len(self._without_caption()),
                empty=self._problems[Problem.CAPTION_EMPTY].count,
                orphans=len(self._without_media()),
                distinct=len(self._texts),
                over_clip=sum(t > CLIP_TOKENS for t in tokens),
                over_t5_short=sum(t > T5_SHORT_TOKENS for t in tokens),
                over_t5_long=sum(t > T5_LONG_TOKENS for t in tokens),
                longest_tokens=max(tokens, default=0),
            ),
            sizes=sizes,
            sizes_exact=exact,
        )

    def histograms(self) -> dict[str, dict[str, int]]:
        """Counts by class: "smaller_side" in pixels, "aspect" to one decimal, "caption_tokens"."""
        sides: Counter[int] = Counter()
        aspects: Counter[float] = Counter()
        for (width, height), images in self._sizes.items():
            sides[min(width, height)] += images
            aspects[round(width / height, 1)] += images
        return {
            "smaller_side": classes(sides, SIDE_CLASSES),
            "aspect": {f"{aspect:.1f}": images for aspect, images in sorted(aspects.items())[:200]},
            "caption_tokens": classes(Counter(self._tokens), TOKEN_CLASSES),
        }

    def findings(self) -> list[Finding]:
        found = [self._finding(problem, seen) for problem, seen in self._problems.items() if seen.count]
        found += self._about_captions()
        found += self._about_duplicates()
        if not any(self._kinds[k] for k in (Kind.IMAGE, Kind.VIDEO, Kind.AUDIO, Kind.METADATA)):
            found.append(
                Finding(
                    level=Level.WARNING,
                    code="no_media",
                    message="The dataset holds no images, videos or audio.",
                    advice="Put pictures beside the captions and push again. stcloud datasets push FOLDER --list shows "
                    "what is left out and why.",
                )
            )
        return in_order(found)

    def _finding(self, problem: Problem, seen: _Examples) -> Finding:
        words = PROBLEMS[problem]
        message = words.one if seen.count == 1 else words.many.format(n=f"{seen.count:,}")
        details = sorted(self._details[problem])[:MAX_DETAILS] if problem in _DETAILED else []
        if details:
            message = f"{message[:-1]} ({', '.join(details)})."
        return _found(words.level, problem.value, message, words.advice, seen.count, seen.paths())

    def _without_caption(self) -> list[str]:
        return [path for stem, path in self._media.items() if path and stem not in self._captioned]

    def _without_media(self) -> list[str]:
        return [path for stem, path in self._captioned.items() if stem not in self._media]

    def _about_captions(self) -> Iterable[Finding]:
        missing, orphans = self._without_caption(), self._without_media()
        if self._miscased:
            yield self._about_miscased()
        if missing and self._captioned:
            yield _listed(
                Level.WARNING,
                "caption_missing",
                f"{len(missing):,} of {self._pictures_and_videos():,} images and videos "
                f"{'has' if len(missing) == 1 else 'have'} no caption (.txt) of the same name.",
                "Write them, or set caption_strategy to filename or instanceprompt.",
                missing,
            )
        elif missing:
            yield _found(
                Level.NOTE,
                "captions_none",
                "The dataset has no captions (.txt).",
                "That suits caption_strategy filename, instanceprompt and parquet. For textfile write one beside each "
                "picture.",
                len(missing),
                [],
            )
        if orphans and self._media:
            yield _listed(
                Level.WARNING,
                "caption_without_media",
                "A caption belongs to no file of its name."
                if len(orphans) == 1
                else f"{len(orphans):,} captions belong to no file of their name.",
                "Rename them like their pictures, or remove them.",
                orphans,
            )
        total = sum(self._texts.values())
        if len(self._texts) == 1 and total > 1:
            yield _found(
                Level.NOTE,
                "captions_identical",
                f"All {total:,} captions are the same.",
                "That works for one subject; what differs between the pictures is better said.",
                total,
                [],
            )
        longest = max(self._tokens, default=0)
        for code, level, message, advice in (
            (
                "caption_over_t5",
                Level.WARNING,
                f"{{n}} longer than 512 tokens (the longest about {longest:,}), more than any text encoder takes.",
                "Shorten them: what is beyond is cut off.",
            ),
            (
                "caption_over_clip",
                Level.NOTE,
                f"{{n}} longer than 77 tokens (the longest about {longest:,}).",
                "SD 1.5 and SDXL cut them off there, and so does the CLIP half of SD3 and Flux; T5 reads on to 256 or "
                "512. Put what matters first.",
            ),
        ):
            if code in self._long:
                seen = self._long[code]
                said = count_text(seen.count, "caption is", "captions are")
                yield _found(level, code, message.format(n=said), advice, seen.count, seen.paths())

    def _about_miscased(self) -> Finding:
        """Captions named .TXT: an error when a picture has no other."""
        leaves = sum(1 for stem in self._miscased if self._media.get(stem) and stem not in self._captioned)
        count = len(self._miscased)
        said = "A caption's name does" if count == 1 else f"The names of {count:,} captions do"
        without = ""
        if leaves:
            left = "1 image or video" if leaves == 1 else f"{leaves:,} images and videos"
            without = f" That leaves {left} without a caption."
        return _listed(
            Level.ERROR if leaves else Level.WARNING,
            "caption_suffix",
            f"{said} not end in .txt in small letters, and the trainer reads no other.{without}",
            "Rename them to .txt and push again, or leave them out.",
            list(self._miscased.values()),
        )

    def _pictures_and_videos(self) -> int:
        return sum(1 for path in self._media.values() if path)

    def _about_duplicates(self) -> Iterable[Finding]:
        copies = [paths for paths in self._by_hash.values() if len(paths) > 1]
        if copies:
            same = sum(len(paths) for paths in copies)
            several = f" ({count_text(len(copies), 'group')})" if len(copies) > 1 else ""
            yield _listed(
                Level.NOTE,
                "duplicates",
                f"{same:,} images are exact copies of one another{several}.",
                "Keep one of each group, unless you mean to weigh these pictures more.",
                [path for paths in sorted(sorted(paths) for paths in copies) for path in paths],
                ordered=True,
            )
        seen = set()
        pictures = []
        # Copies are told of above.
        first = {min(paths) for paths in self._by_hash.values()}
        for path, fingerprint in sorted(self._pictures):
            if path in first and path not in seen:
                seen.add(path)
                pictures.append((path, fingerprint))
        groups = near_groups([fingerprint for _, fingerprint in pictures])
        if groups.groups:
            alike = [pictures[i][0] for group in groups.groups for i in group]
            more = "" if groups.whole else "At least "
            yield _listed(
                Level.NOTE,
                "near_duplicates",
                f"{more}{len(alike):,} images look almost the same as another one "
                f"({count_text(len(groups.groups), 'group')}).",
                "Look at them on the contact sheet; keep the best of each group unless the likeness is meant.",
                alike,
                ordered=True,
            )


def _found(level: Level, code: str, message: str, advice: str, count: int, paths: Sequence[str]) -> Finding:
    return Finding(level=level, code=code, message=message, advice=advice, count=count, paths=tuple(paths[:MAX_PATHS]))


def _listed(
    level: Level,
    code: str,
    message: str,
    advice: str,
    paths: Sequence[str],
    *,
    count: int | None = None,
    ordered: bool = False,
) -> Finding:
    shown = list(paths) if ordered else sorted(paths, key=str.encode)
    return _found(level, code, message, advice, len(paths) if count is None else count, shown)
